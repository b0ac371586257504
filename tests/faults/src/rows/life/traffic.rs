//! A batch whose photos' results are large and change all the time.

use anyhow::{Result, ensure};
use publisher::{
    BatchId, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position, Published, Publisher,
};
use serde_json::json;
use stack::Stack;

const PHOTOS: usize = 120;
/// Near the bound of a photo, 4 KiB with all its JSON.
const RESULT_BYTES: usize = 3_500;

/// Traffic of one kind.
pub(super) struct Step {
    /// So many, to each who reads.
    pub(super) bytes: u64,
    /// The photos of a change.
    pub(super) photos: usize,
}

pub(super) struct Traffic {
    publisher: Publisher,
    batch: BatchId,
    version: u64,
    /// The version at which each photo changed last.
    photos: Vec<u64>,
    next: usize,
}

impl Traffic {
    /// Publishes the whole batch, all photos in work.
    pub(super) async fn start(stack: &Stack, id: &str) -> Result<Self> {
        let publisher = Publisher::builder(stack.redis.url()).connect().await?;
        let traffic = Self { publisher, batch: id.parse()?, version: 1, photos: vec![1; PHOTOS], next: 0 };
        traffic.publish(None, BatchStatus::Processing).await?;
        Ok(traffic)
    }

    pub(super) fn position(&self) -> Result<Position> {
        Ok(Position::new(1, self.version)?)
    }

    /// How many positions there were so far.
    pub(super) fn changes(&self) -> u64 {
        self.version
    }

    /// About what an event with all photos takes.
    pub(super) fn state_bytes(&self) -> u64 {
        (PHOTOS * (RESULT_BYTES + 80)) as u64
    }

    /// Writes the results of the next photos anew.
    pub(super) async fn change(&mut self, photos: usize) -> Result<Position> {
        let since = self.position()?;
        self.version += 1;
        for _ in 0..photos {
            self.photos[self.next] = self.version;
            self.next = (self.next + 1) % PHOTOS;
        }
        self.publish(Some(since), BatchStatus::Processing).await?;
        self.position()
    }

    /// Completes all photos.
    pub(super) async fn end(&mut self) -> Result<()> {
        let since = self.position()?;
        self.version += 1;
        self.photos.fill(self.version);
        self.publish(Some(since), BatchStatus::Completed).await
    }

    async fn publish(&self, since: Option<Position>, status: BatchStatus) -> Result<()> {
        let after = since.map_or(0, Position::version);
        let changed = self.photos.iter().enumerate().filter(|(_, version)| **version > after);
        let photos = changed.map(|(n, version)| photo(n, *version, status)).collect::<Result<_>>()?;
        let total = u32::try_from(PHOTOS)?;
        let (processing, completed) = if status.is_terminal() { (0, total) } else { (total, 0) };
        let counts = Counts { total, queued: 0, processing, completed, failed: 0 };
        let updated_at = "2026-11-22T23:10:30.082Z".to_owned();
        let head = Head::new(self.batch.clone(), self.position()?, status, counts, updated_at);
        let published = self.publisher.publish(Changes::new(since, head, photos)).await?;
        ensure!(published == Published::Applied, "publishing {}: {published:?}", self.position()?);
        Ok(())
    }
}

fn photo(n: usize, version: u64, batch: BatchStatus) -> Result<Photo> {
    let mut words = format!("photo {n} at {version} ").repeat(RESULT_BYTES / 8);
    words.truncate(RESULT_BYTES);
    let status = if batch.is_terminal() { PhotoStatus::Completed } else { PhotoStatus::Processing };
    let (photo_id, result) = (PhotoId::new(&format!("photo-{n:05}"))?, Json::new(&json!({ "words": words }))?);
    Ok(Photo::new(photo_id, status, version).with_result(result))
}
