//! Counting without a database: what calls a photo worker makes of a batch that Redis alone counts.
//!
//! In scope: the calls, their repetition while Redis is away, what is made of the script's replies.
//! Out of scope: counting, which `wire`'s `track.lua` does.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use wire::{
    BatchId, Cause, Head, PhotoId, StateError, TraceParent,
    script::Call,
    track::{self, Answer, Context, Reply},
};

use crate::{PublishError, Publisher, backoff, metrics::Ended, publisher::now_ms};

mod builder;
mod error;
mod photo;

pub use builder::TrackerBuilder;
pub use error::TrackError;
pub use photo::TrackedPhoto;

/// How long a tracker's reports and declarations go on trying to reach Redis.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Counts one batch in Redis: any number of trackers, in any number of processes, on any number of machines, may count
/// the same batch at the same time. Made by [`Publisher::tracker`] and [`Publisher::tracked`]; cheap to clone.
///
/// **Every report may be repeated**, by whoever does not know whether it was heard, and every declaration: a photo counts
/// once. So a call goes on trying by itself while Redis does not answer, or takes no writes for a moment (`NOREPLICAS`,
/// `TRYAGAIN`, `BUSY`), for [`DEFAULT_PATIENCE`] or [`Tracker::patience`]. In which order the calls arrive does not matter
/// either, a photo only rises: queued, processing, failed, completed.
///
/// **What Redis loses is lost here**: nothing else knows the count. A Redis that comes back empty, or a batch that was not
/// heard of for its `ttl`, is [`TrackError::Unknown`]; one that comes back with less (a failover, a backup) has forgotten
/// reports that were acknowledged, and says nothing. Who watches goes on with what it knows all the same: versions are
/// times, so the positions that were lost are not given a second time, as long as the clocks of those who report agree to
/// within the time that the failover takes. Where nothing must be lost, keep the counts in a database, and give the
/// publisher a [`ProgressSource`](crate::ProgressSource).
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// let photos = [PhotoId::new("photo-1")?, PhotoId::new("photo-2")?];
/// let tracker = publisher.tracker(&batch, &photos).await?;
/// for id in &photos {
///     let photo = tracker.photo(id); // By this process or another, once or twice: it counts once.
///     photo.started().await?;
///     photo.completed(Json::new(&4032)?).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    publisher: Publisher,
    batch: BatchId,
    patience: Duration,
}

/// What came of a call that was heard.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// let tracked = tracker.photo(&photo).started().await?;
/// println!("{} %", tracked.head.progress());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tracked {
    /// What the call did.
    pub outcome: Outcome,
    /// The batch as it stood after it.
    pub head: Head,
}

impl Tracked {
    /// Whether this call ended the batch. Of all calls that of one epoch says so at most once: it may be told to a call
    /// whose answer was lost, and a repetition is [`Outcome::Already`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// if tracker.photo(&photo).completed(Json::new(&4032)?).await?.ended_it() {
    ///     println!("that was the last photo"); // At most one worker says so.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ended_it(&self) -> bool {
        self.outcome == Outcome::Counted && self.head.status.is_terminal()
    }
}

/// What a call did.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// match tracker.photo(&photo).started().await?.outcome {
///     Outcome::Ended => println!("cancelled: spare the work"),
///     _ => println!("work on it"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It changed the batch: written and announced.
    Counted,
    /// Nothing changed: it was so already, or further.
    Already,
    /// Nothing changed: the batch has ended. Of a photo: it was cancelled, or the work that failed began before a
    /// `reopen`. Of `cancel`: it had ended by itself. Of
    /// `reopen`: every photo is completed.
    Ended,
}

impl Tracker {
    pub(crate) fn new(publisher: Publisher, batch: BatchId) -> Self {
        Self { publisher, batch, patience: DEFAULT_PATIENCE }
    }

    /// How long its reports go on trying to reach Redis; zero: each tries once. One attempt may outlast it.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// // Where the queue itself tries a job again: one attempt, and an error.
    /// publisher.tracked(&batch).patience(Duration::ZERO).photo(&photo).started().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Which batch.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// println!("working on {}", tracker.batch_id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch_id(&self) -> &BatchId {
        &self.batch
    }

    /// One photo of it, to report of.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// let photo = tracker.photo(&photo);
    /// photo.started().await?;
    /// photo.failed("not a JPEG").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn photo(&self, photo: &PhotoId) -> TrackedPhoto<'_> {
        TrackedPhoto { tracker: self, photo: photo.clone(), trace: None, began: Arc::default() }
    }

    /// Ends the batch as cancelled, if it is open. What is reported of its photos afterwards changes nothing. Tried once,
    /// without patience: repeated, it could end what somebody has opened again since.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// match tracker.cancel().await?.outcome {
    ///     Outcome::Ended => println!("too late: it had ended"),
    ///     _ => println!("cancelled"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it was not heard, or not taken. After [`PublishError::Unanswered`] it is not known whether it was done: look
    /// ([`Publisher::cached`]), and call again.
    pub async fn cancel(&self) -> Result<Tracked, TrackError> {
        self.concluded(self.attempt(None, track::cancel).await?)
    }

    /// Opens an ended batch again, in a new epoch: what has failed or had not ended is queued, what is completed stays.
    /// Then have those photos worked on again. Work from before still counts where it succeeds; where it fails it changes
    /// nothing, if it was reported as [`started`](TrackedPhoto::started). Tried once, as [`Tracker::cancel`]: repeated, it
    /// could undo a cancel that came since.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// let head = tracker.reopen().await?.head;
    /// println!("{} photos are to be worked on again", head.counts.queued);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it was not heard, or not taken. After [`PublishError::Unanswered`] it is not known whether it was done: look
    /// ([`Publisher::cached`]), and call again.
    pub async fn reopen(&self) -> Result<Tracked, TrackError> {
        self.concluded(self.attempt(None, track::reopen).await?)
    }

    /// Makes a call and repeats it while Redis does not answer, or says no for a moment.
    async fn send(
        &self,
        trace: Option<TraceParent>,
        make: impl Fn(Context<'_>) -> Result<Call, StateError>,
    ) -> Result<Answer, TrackError> {
        let (begun, mut failures) = (Instant::now(), 0);
        loop {
            let result = self.attempt(trace, &make).await;
            let left = self.patience.saturating_sub(begun.elapsed());
            match result {
                Err(TrackError::Publish(error)) if !left.is_zero() && may_pass(&error) => {
                    failures += 1;
                    tracing::warn!(batch = %self.batch, %error, "counting: trying again");
                    tokio::time::sleep(backoff::random_pause(failures).min(left)).await;
                }
                result => return result,
            }
        }
    }

    /// Makes a call once, at the time that it is now: one that is repeated after a failover must not give a position that
    /// was lost there.
    async fn attempt(
        &self,
        trace: Option<TraceParent>,
        make: impl Fn(Context<'_>) -> Result<Call, StateError>,
    ) -> Result<Answer, TrackError> {
        if self.publisher.has_source() {
            return Err(TrackError::Source);
        }
        let (store, cause) = (self.publisher.store(), Cause::new(now_ms(), trace));
        let updated_at = updated_at(cause.at);
        let call = make(Context { prefix: store.prefix(), batch: &self.batch, cause, updated_at: &updated_at });
        let call = call.map_err(|error| {
            self.publisher.counters().ended(Ended::Invalid);
            TrackError::Publish(error.into())
        })?;
        let result = store.track(&call).await;
        self.count(&result);
        if let Ok(Answer { head: Some(head), .. }) = &result {
            // Also where nothing was changed: the answer that told of the change may have been lost.
            self.publisher.mark_sinks(head);
        }
        Ok(result?)
    }

    fn count(&self, result: &Result<Answer, PublishError>) {
        let counters = self.publisher.counters();
        counters.ended(match result {
            Ok(answer) => match answer.reply {
                Reply::Counted => Ended::Applied,
                Reply::Already => Ended::Stale,
                Reply::Ended => Ended::Finished,
                Reply::Unknown | Reply::Untracked | Reply::UnknownPhoto => Ended::Unknown,
                Reply::TooMany | Reply::TooLarge | Reply::Last => Ended::Invalid,
            },
            Err(PublishError::Unanswered { .. } | PublishError::NotAdmitted { .. }) => Ended::Unreachable,
            Err(_) => Ended::Failed,
        });
        if result.as_ref().is_ok_and(|answer| answer.replaced) {
            counters.replaced();
        }
    }

    fn concluded(&self, answer: Answer) -> Result<Tracked, TrackError> {
        let batch = || self.batch.clone();
        let outcome = match answer.reply {
            Reply::Counted => Outcome::Counted,
            Reply::Already => Outcome::Already,
            Reply::Ended => Outcome::Ended,
            Reply::Unknown => return Err(TrackError::Unknown(batch())),
            // Only a report of a photo is answered with the latter, and looks for it itself.
            Reply::Untracked | Reply::UnknownPhoto => return Err(TrackError::Untracked(batch())),
            Reply::TooMany => return Err(TrackError::TooMany),
            Reply::TooLarge => return Err(TrackError::TooLarge),
            Reply::Last => return Err(TrackError::Last),
        };
        // The script gives a head with each of these.
        let head = answer.head.ok_or_else(|| TrackError::Unknown(batch()))?;
        Ok(Tracked { outcome, head })
    }
}

/// Whether it may be over soon.
fn may_pass(error: &PublishError) -> bool {
    matches!(error, PublishError::Unanswered { .. }) || error.is_passing()
}

/// A time in milliseconds since the Unix epoch, for people.
pub(crate) fn updated_at(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}
