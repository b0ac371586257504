//! A batch whose application is the test itself: it publishes a photo at a time, without a photo worker.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use publisher::{
    BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, Published, Publisher,
};
use redis::AsyncCommands;
use stack::Stack;

pub(crate) struct Feed {
    publisher: Publisher,
    pub(crate) id: BatchId,
    epoch: u64,
    version: u64,
    total: u32,
    completed: u32,
    owner: Option<String>,
}

impl Feed {
    /// Publishes a new batch of `total` queued photos, which nobody owns.
    pub(crate) async fn start(stack: &Stack, id: &str, total: u32) -> Result<Self> {
        Self::start_as(stack, id, total, None).await
    }

    /// The same, of this user.
    pub(crate) async fn start_of(stack: &Stack, owner: &str, id: &str, total: u32) -> Result<Self> {
        Self::start_as(stack, id, total, Some(owner.to_owned())).await
    }

    async fn start_as(stack: &Stack, id: &str, total: u32, owner: Option<String>) -> Result<Self> {
        let publisher = Publisher::builder(stack.redis.url()).connect().await?;
        let epoch = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let mut feed = Self { publisher, id: id.parse()?, epoch, version: 0, total, completed: 0, owner };
        let photos = (0..total).map(|n| feed.photo(n, PhotoStatus::Queued)).collect::<Result<_>>()?;
        let changes = feed.step(None, photos)?;
        feed.publish(changes).await?;
        Ok(feed)
    }

    pub(crate) fn position(&self) -> Result<Position> {
        Ok(Position::new(self.epoch, self.version)?)
    }

    /// Completes the next photo; with the last one the batch ends.
    pub(crate) async fn complete_one(&mut self) -> Result<Position> {
        let changes = self.completion()?;
        self.publish(changes).await
    }

    /// Completes the next photo on the channel alone: Redis stores nothing of it. Whoever shows this position has
    /// received everything that was sent on the channel before.
    pub(crate) async fn announce_one(&mut self, redis: &mut impl AsyncCommands) -> Result<Position> {
        let changes = self.completion()?;
        let () = redis.publish(format!("batch:{}", self.id), wire::message::changes(&changes, 0)).await?;
        self.position()
    }

    pub(crate) async fn complete_all(&mut self) -> Result<()> {
        while self.completed < self.total {
            self.complete_one().await?;
        }
        Ok(())
    }

    fn photo(&self, n: u32, status: PhotoStatus) -> Result<Photo> {
        let photo_id = PhotoId::new(&format!("photo-{n:04}"))?;
        Ok(Photo::new(photo_id, status, self.version + 1))
    }

    fn completion(&mut self) -> Result<Changes> {
        let since = self.position()?;
        let photo = self.photo(self.completed, PhotoStatus::Completed)?;
        self.completed += 1;
        self.step(Some(since), vec![photo])
    }

    fn step(&mut self, since: Option<Position>, photos: Vec<Photo>) -> Result<Changes> {
        self.version += 1;
        let position = self.position()?;
        let (total, completed) = (self.total, self.completed);
        let status = match completed {
            0 => BatchStatus::Queued,
            all if all == total => BatchStatus::Completed,
            _ => BatchStatus::Processing,
        };
        let counts = Counts { total, queued: total - completed, processing: 0, completed, failed: 0 };
        let updated_at = "2026-11-22T23:10:30.082Z".to_owned();
        let head = Head::new(self.id.clone(), position, status, counts, updated_at);
        Ok(Changes::new(since, head, photos).owned_by(self.owner.clone()))
    }

    async fn publish(&self, changes: Changes) -> Result<Position> {
        let position = changes.head.position;
        let published = self.publisher.publish(changes).await?;
        ensure!(published == Published::Applied, "{published:?}");
        Ok(position)
    }
}
