//! The rows of the application behind a feed.

use anyhow::{Context, Result};
use publisher::{BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position};

/// A batch as its application has it.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) id: BatchId,
    epoch: u64,
    version: u64,
    /// Each photo's status, and the version at which it changed last.
    photos: Vec<(PhotoStatus, u64)>,
}

impl Book {
    /// A batch of `total` queued photos.
    pub(super) fn new(id: BatchId, epoch: u64, total: usize) -> Self {
        Self { id, epoch, version: 1, photos: vec![(PhotoStatus::Queued, 1); total] }
    }

    pub(super) fn position(&self) -> Result<Position> {
        Ok(Position::new(self.epoch, self.version)?)
    }

    /// How many photos are neither done nor given up.
    pub(super) fn left(&self) -> usize {
        self.photos.iter().filter(|(status, _)| is_open(*status)).count()
    }

    /// Gives the next photo of a status in `from` the status `to`, in a version of its own; what changed.
    pub(super) fn turn(&mut self, from: &[PhotoStatus], to: PhotoStatus) -> Result<Changes> {
        let next = self.photos.iter().position(|(status, _)| from.contains(status)).context("no such photo is left")?;
        let since = self.position()?;
        self.version += 1;
        self.photos[next] = (to, self.version);
        self.changes(Some(since))
    }

    /// Opens it again in a new epoch, with all photos queued.
    pub(super) fn reopen(&mut self) {
        self.epoch += 1;
        self.version += 1;
        self.photos.fill((PhotoStatus::Queued, self.version));
    }

    /// Everything after `since`; everything at all when that is of another epoch.
    pub(super) fn changes(&self, since: Option<Position>) -> Result<Changes> {
        let since = since.filter(|since| since.epoch() == self.epoch);
        let after = since.map_or(0, Position::version);
        let changed = self.photos.iter().enumerate().filter(|(_, (_, version))| *version > after);
        let photo = |(n, (status, version)): (usize, &(PhotoStatus, u64))| {
            let photo_id = PhotoId::new(&format!("photo-{n:05}"))?;
            let error = (*status == PhotoStatus::Failed).then(|| "no photo".to_owned());
            Ok(Photo::new(photo_id, *status, *version).with_error(error))
        };
        let photos = changed.map(photo).collect::<Result<_>>()?;
        let counts = self.counts()?;
        let updated_at = "2026-11-22T23:10:30.082Z".to_owned();
        let (batch_id, position, status) = (self.id.clone(), self.position()?, Self::status(counts));
        let head = Head::new(batch_id, position, status, counts, updated_at);
        Ok(Changes::new(since, head, photos))
    }

    fn counts(&self) -> Result<Counts> {
        let count = |wanted| u32::try_from(self.photos.iter().filter(|(status, _)| *status == wanted).count());
        Ok(Counts {
            total: u32::try_from(self.photos.len())?,
            queued: count(PhotoStatus::Queued)?,
            processing: count(PhotoStatus::Processing)?,
            completed: count(PhotoStatus::Completed)?,
            failed: count(PhotoStatus::Failed)?,
        })
    }

    fn status(counts: Counts) -> BatchStatus {
        match (counts.queued + counts.processing, counts.completed, counts.failed) {
            (0, _, 0) => BatchStatus::Completed,
            (0, 0, _) => BatchStatus::Failed,
            (0, ..) => BatchStatus::Partial,
            _ if counts.queued == counts.total => BatchStatus::Queued,
            _ => BatchStatus::Processing,
        }
    }
}

fn is_open(status: PhotoStatus) -> bool {
    matches!(status, PhotoStatus::Queued | PhotoStatus::Processing)
}
