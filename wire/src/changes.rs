//! A step from one position to the next: what an application's database gives and a channel message carries.
//!
//! ```
//! use batchcast_wire::{BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position};
//!
//! // As a worker reads it from its database: the batch, and the photos whose version is past the one sent last.
//! let (sent, now): (Position, Position) = ("7-41".parse()?, "7-42".parse()?);
//! let counts = Counts { total: 1, completed: 1, ..Counts::default() };
//! let head = Head::new(BatchId::new("holiday")?, now, BatchStatus::Completed, counts, "2026-11-22T23:10:30Z");
//! let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Completed, now.version());
//! Changes::new(Some(sent), head, vec![photo]).check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{BatchId, BatchState, Head, Photo, Position, StateError, limits::MAX_OWNER_BYTES};

/// The head of a batch and the photos that changed after `since`.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
///
/// // Nothing is told of photos that stand as they stood at 7-41: whoever is there already goes on from it.
/// let step = Changes::new(Some("7-41".parse()?), head, vec![]);
/// assert!(step.since < Some(step.head.position));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// What the photos are relative to; `None`: they are all of them.
    pub since: Option<Position>,
    /// The batch as it is now.
    pub head: Head,
    /// The photos changed after `since`.
    pub photos: Vec<Photo>,
    /// The application's user id. Stored beside the head, never sent to a viewer.
    pub owner: Option<String>,
}

impl Changes {
    /// The head, and the photos that changed after `since`; all of them where that is `None`.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    ///
    /// let whole = Changes::new(None, head, vec![]); // Whatever a reader knew before, this is all.
    /// assert!(whole.since.is_none() && whole.photos.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(since: Option<Position>, head: Head, photos: Vec<Photo>) -> Self {
        Self { since, head, photos, owner: None }
    }

    /// The same with the application's user id of whom the batch is; without one, the one stays that Redis holds.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    ///
    /// // From now on anna's token opens the batch.
    /// let changes = Changes::new(None, head, vec![]).owned_by("anna".to_owned());
    /// assert_eq!(changes.owner.as_deref(), Some("anna"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn owned_by(self, owner: impl Into<Option<String>>) -> Self {
        Self { owner: owner.into(), ..self }
    }

    /// Everything there is to say of a batch.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    ///
    /// // What is sent to a Redis that has lost the batch.
    /// let state = BatchState::new(head, [])?;
    /// assert_eq!(Changes::full(&state, None).since, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn full(state: &BatchState, owner: Option<String>) -> Self {
        Self { since: None, head: state.head().clone(), photos: state.photos().cloned().collect(), owner }
    }

    /// Which batch.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    ///
    /// let changes = Changes::new(None, head, vec![]);
    /// assert_eq!(changes.batch_id().as_str(), "holiday");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch_id(&self) -> &BatchId {
        &self.head.batch_id
    }

    /// Checks what is about to be published against the rules for what enters.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    ///
    /// let mut changes = Changes::new(None, head, vec![]);
    /// changes.head.status = BatchStatus::Failed;
    /// changes.head.counts = Counts { total: 1, completed: 1, ..Counts::default() };
    /// assert!(changes.check().is_err()); // Before Redis, and every page, were told that all has failed.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first rule that is broken; for a full change also those of a whole state.
    pub fn check(&self) -> Result<(), StateError> {
        if let Some(owner) = self.owner.as_ref().filter(|o| o.len() > MAX_OWNER_BYTES) {
            return Err(StateError::Owner(owner.len()));
        }
        BatchState::new(self.head.clone(), self.photos.iter().cloned()).map(drop)
    }
}
