//! What is reported of one photo that Redis counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wire::{
    Json, Photo, PhotoId, PhotoStatus, TraceParent,
    track::{self, Reply},
};

use super::{TrackError, Tracked, Tracker};

/// One photo of a tracked batch, and one piece of work on it; made by [`Tracker::photo`].
///
/// ```no_run
#[doc = include_str!("../examples/publisher.txt")]
/// # fn analyse() -> Result<u32, String> { Ok(4032) }
/// let photo = tracker.photo(&photo);
/// photo.started().await?;
/// match analyse() {
///     Ok(width) => photo.completed(Json::new(&width)?).await?,
///     Err(why) => photo.failed(why).await?,
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it reports nothing by itself"]
pub struct TrackedPhoto<'a> {
    pub(super) tracker: &'a Tracker,
    pub(super) photo: PhotoId,
    pub(super) trace: Option<TraceParent>,
    /// The epoch in which the work began; 0: not known. Clones are of the same work.
    pub(super) began: Arc<AtomicU64>,
}

impl TrackedPhoto<'_> {
    /// What is reported belongs to a trace: as [`Publisher::traced`](crate::Publisher::traced).
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// // The job carries the trace of the upload that queued it.
    /// tracker.photo(&photo).traced(trace).started().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn traced(self, trace: impl Into<Option<TraceParent>>) -> Self {
        Self { trace: trace.into(), ..self }
    }

    /// It is being worked on. Of a photo that has ended this changes nothing: one that is tried again after it failed is
    /// shown as failed until it is completed. The answer says in which epoch the work began: `failed` of this value, or a
    /// clone, passes it on.
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// tracker.photo(&photo).started().await?; // Now pages show that it moves.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it was not heard, or not taken.
    pub async fn started(&self) -> Result<Tracked, TrackError> {
        let started = self.report(self.now(PhotoStatus::Processing), None).await?;
        self.began.store(started.head.position.epoch(), Ordering::Relaxed);
        Ok(started)
    }

    /// It is done, with what was found out, which first goes through [`PublisherBuilder::redact`]. The first result that
    /// is heard stays. After a failure it counts as completed all the same; if the batch had ended meanwhile, its new end
    /// opens a new epoch.
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// let photo = tracker.photo(&photo);
    /// match photo.completed(Json::new(&["beach", "sunset"])?).await {
    ///     Err(TrackError::TooLarge) => photo.completed(None::<Json>).await?,
    ///     completed => completed?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`PublisherBuilder::redact`]: crate::PublisherBuilder::redact
    ///
    /// # Errors
    /// Why it was not heard, or not taken. [`TrackError::TooLarge`]: report it with less, or without a result.
    pub async fn completed(&self, result: impl Into<Option<Json>>) -> Result<Tracked, TrackError> {
        self.report(self.now(PhotoStatus::Completed).with_result(result), None).await
    }

    /// It is given up, with why, in words, which first go through [`PublisherBuilder::redact`]. The first reason that is
    /// heard stays. Where the batch was opened again since [`started`](Self::started) was answered, the photo was queued
    /// for other work, and this changes nothing: [`Outcome::Ended`](crate::Outcome::Ended). Without `started` that is not
    /// known, and it counts.
    ///
    /// ```no_run
    #[doc = include_str!("../examples/publisher.txt")]
    /// tracker.photo(&photo).failed("not a JPEG").await?; // Tried for the last time.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`PublisherBuilder::redact`]: crate::PublisherBuilder::redact
    ///
    /// # Errors
    /// Why it was not heard, or not taken.
    pub async fn failed(&self, reason: impl Into<String>) -> Result<Tracked, TrackError> {
        let began = Some(self.began.load(Ordering::Relaxed)).filter(|epoch| *epoch > 0);
        self.report(self.now(PhotoStatus::Failed).with_error(reason.into()), began).await
    }

    /// The script gives it a version.
    fn now(&self, status: PhotoStatus) -> Photo {
        Photo::new(self.photo.clone(), status, 0)
    }

    async fn report(&self, mut photo: Photo, began: Option<u64>) -> Result<Tracked, TrackError> {
        self.tracker.publisher.store().policy().redact(std::slice::from_mut(&mut photo));
        let answer = self.tracker.send(self.trace, |context| track::photo(context, &photo, began)).await?;
        if answer.reply == Reply::UnknownPhoto {
            return Err(TrackError::UnknownPhoto { batch: self.tracker.batch.clone(), photo: photo.photo_id });
        }
        self.tracker.concluded(answer)
    }
}
