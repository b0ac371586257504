//! The declaration of a batch that Redis counts.

use std::{future::IntoFuture, pin::Pin, time::Duration};

use wire::{PhotoId, track};

use super::{Outcome, TrackError, Tracker};

/// Made by [`Publisher::tracker`](crate::Publisher::tracker); await it.
///
/// ```no_run
#[doc = include_str!("../examples/publisher.txt")]
/// let tracker = publisher
///     .tracker(&batch, [&photo])
///     .owner("anna".to_owned())
///     .ttl(Duration::from_secs(7 * 24 * 60 * 60)) // The longest that it lies untouched.
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a declaration does nothing until it is awaited"]
#[derive(Debug, Clone)]
pub struct TrackerBuilder {
    tracker: Tracker,
    photos: Vec<PhotoId>,
    owner: Option<String>,
    ttl: Option<Duration>,
}

impl TrackerBuilder {
    pub(crate) fn new(tracker: Tracker, photos: Vec<PhotoId>) -> Self {
        Self { tracker, photos, owner: None, ttl: None }
    }

    /// The application's user id of whom the batch is; without one, the one stays that Redis holds.
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// // Only Anna, and whoever may see all, is let in by the edge.
    /// publisher.tracker(&batch, [&photo]).owner("anna".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn owner(mut self, owner: impl Into<Option<String>>) -> Self {
        self.owner = owner.into();
        self
    }

    /// How long Redis remembers the batch after its last change, whoever makes it; default the publisher's
    /// [`state_ttl`](crate::PublisherBuilder::state_ttl). At least 1 s; the last declaration's holds.
    /// [`state_ttl_by`](crate::PublisherBuilder::state_ttl_by) is not asked: only Redis knows the head.
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// // Work may begin days after the upload, and nothing else knows the count.
    /// publisher.tracker(&batch, [&photo]).ttl(Duration::from_secs(7 * 24 * 60 * 60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long the declaration, and the tracker's reports, go on trying to reach Redis: [`Tracker::patience`].
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// // An upload is answered within seconds, with Redis or without.
    /// publisher.tracker(&batch, [&photo]).patience(Duration::from_secs(2)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.tracker = self.tracker.patience(patience);
        self
    }

    async fn declare(self) -> Result<Tracker, TrackError> {
        let Self { tracker, photos, owner, ttl } = self;
        if photos.is_empty() {
            return Err(TrackError::NoPhotos);
        }
        let ttl = ttl.unwrap_or(tracker.publisher.store().policy().ttl).as_secs();
        let declare = |context: track::Context<'_>| track::declare(context, ttl, owner.as_deref(), &photos);
        let declared = tracker.concluded(tracker.send(None, declare).await?)?;
        if declared.outcome == Outcome::Ended {
            return Err(TrackError::Cancelled(tracker.batch));
        }
        Ok(tracker)
    }
}

impl IntoFuture for TrackerBuilder {
    type Output = Result<Tracker, TrackError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.declare())
    }
}
