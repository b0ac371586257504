//! Why a call of a tracker was not taken.

use wire::{BatchId, PhotoId};

use crate::PublishError;

/// Why a tracker's call changed nothing, split by what the caller should do next.
///
/// ```no_run
#[doc = include_str!("../examples/publisher.txt")]
/// match tracker.photo(&photo).started().await {
///     Err(TrackError::Unknown(_)) => drop(publisher.tracker(&batch, [&photo]).await?), // It has expired: anew.
///     Err(TrackError::Publish(error)) => println!("try the job again later: {error}"),
///     started => println!("{:?}", started?.outcome),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The source's database is the truth: what is counted in Redis alone would stop its updates.
    #[error(
        "the source's database counts the photos: change it there, and `notify`; or track by a publisher without one"
    )]
    Source,
    /// A batch without photos would never end.
    #[error("no photo was named: declare the batch with those it has, and the further ones later")]
    NoPhotos,
    /// Redis does not hold the batch: it was not declared, its time to live has passed, or Redis has lost it.
    #[error(
        "redis does not hold the batch {0}: it was never declared, has expired, or was lost with its redis, and its count \
         with it. Declare it by `publisher.tracker(batch, photos)`, and report again what is done"
    )]
    Unknown(BatchId),
    /// Somebody publishes the batch by whole states or changes.
    #[error(
        "the batch {0} is published by somebody else, who counts it: use another id, or `invalidate` it and declare it anew"
    )]
    Untracked(BatchId),
    /// The photo is none of those declared.
    #[error(
        "no photo {photo} was declared in the batch {batch}: name it in `publisher.tracker(batch, photos)`, also later"
    )]
    UnknownPhoto {
        /// The batch.
        batch: BatchId,
        /// The photo that was reported of.
        photo: PhotoId,
    },
    /// Further photos of a batch that a person has ended.
    #[error("the batch {0} was cancelled and takes no further photos: `reopen` it first")]
    Cancelled(BatchId),
    /// The batch would have too many photos.
    #[error("a batch has at most {max} photos: declare the others in another", max = wire::limits::MAX_PHOTOS)]
    TooMany,
    /// The batch's results would take too much room.
    #[error(
        "with this the batch would take more than {max} bytes: report the photo with less, or without a result",
        max = wire::limits::MAX_STATE_BYTES
    )]
    TooLarge,
    /// There is no position after the one it has.
    #[error("there is no position after the one that redis holds: `invalidate` the batch and declare it anew")]
    Last,
    /// Redis was not reached for as long as patience lasted, or said no, or what was reported breaks a rule.
    #[error(transparent)]
    Publish(#[from] PublishError),
}
