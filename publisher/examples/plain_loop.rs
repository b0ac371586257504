//! A worker without a database, a server or a queue: one loop that tells Redis of each photo.
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 cargo run -p batchcast-publisher --example plain_loop -- BATCH_ID [PHOTOS]
//! ```
//!
//! It counts by itself, which is right for one process that lives as long as its batch. Several processes count with
//! `job_queue.rs`; a worker with a database gives it to the publisher, as `axum.rs` does.

use std::{env, error::Error};

use batchcast_publisher::{
    BatchId, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position, PublishError, Publisher,
};
use jiff::Timestamp;

/// What this worker knows of its batch.
struct Batch {
    id: BatchId,
    epoch: u64,
    version: u64,
    photos: Vec<Photo>,
}

impl Batch {
    /// All photos queued, at version 1. The epoch is the time at which the batch was made.
    fn new(id: BatchId, photos: u32) -> Result<Self, Box<dyn Error>> {
        let name = |n: u32| Ok(Photo::new(PhotoId::new(&format!("photo-{n:05}"))?, PhotoStatus::Queued, 1));
        let photos = (1..=photos).map(name).collect::<Result<_, Box<dyn Error>>>()?;
        Ok(Self { id, epoch: u64::try_from(Timestamp::now().as_millisecond())?, version: 1, photos })
    }

    /// Each change raises the version, and the photo that changed carries it.
    fn finish(&mut self, index: usize, mut finished: Photo) {
        self.version += 1;
        finished.version = self.version;
        self.photos[index] = finished;
    }

    fn head(&self) -> Result<Head, Box<dyn Error>> {
        let mut counts = Counts { total: u32::try_from(self.photos.len())?, ..Counts::default() };
        for photo in &self.photos {
            match photo.status {
                PhotoStatus::Queued => counts.queued += 1,
                PhotoStatus::Processing => counts.processing += 1,
                PhotoStatus::Completed => counts.completed += 1,
                PhotoStatus::Failed => counts.failed += 1,
            }
        }
        let status = match counts {
            Counts { queued: 0, processing: 0, failed: 0, .. } => BatchStatus::Completed,
            Counts { queued: 0, processing: 0, completed: 0, .. } => BatchStatus::Failed,
            Counts { queued: 0, processing: 0, .. } => BatchStatus::Partial,
            _ => BatchStatus::Processing,
        };
        let position = Position::new(self.epoch, self.version)?;
        Ok(Head::new(self.id.clone(), position, status, counts, Timestamp::now().to_string()))
    }

    /// What changed after `since`; everything where that is `None`.
    fn changes(&self, since: Option<Position>) -> Result<Changes, Box<dyn Error>> {
        let is_new = |photo: &&Photo| since.is_none_or(|since| photo.version > since.version());
        Ok(Changes::new(since, self.head()?, self.photos.iter().filter(is_new).cloned().collect()))
    }
}

/// Tells Redis what changed, and everything where it has lost what came before.
async fn tell(publisher: &Publisher, batch: &Batch, since: Option<Position>) -> Result<Position, Box<dyn Error>> {
    let changes = batch.changes(since)?;
    let position = changes.head.position;
    match publisher.publish(changes).await {
        Err(PublishError::NeedsFull) => drop(publisher.publish(batch.changes(None)?).await?),
        other => drop(other?),
    }
    Ok(position)
}

/// The work itself would stand here.
fn analyse(photo: &PhotoId) -> Result<Json, String> {
    let width = 4000 + photo.as_str().len();
    Json::new(&serde_json::json!({ "width": width })).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let id = BatchId::new(&args.next().ok_or("usage: plain_loop BATCH_ID [PHOTOS]")?)?;
    let photos = args.next().map_or(Ok(5), |photos| photos.parse())?;
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());

    let publisher = Publisher::builder(&url).connect().await?;
    let mut batch = Batch::new(id, photos)?;
    let mut told = tell(&publisher, &batch, None).await?;
    for index in 0..batch.photos.len() {
        let id = batch.photos[index].photo_id.clone();
        let finished = match analyse(&id) {
            Ok(result) => Photo::new(id, PhotoStatus::Completed, 0).with_result(result),
            Err(reason) => Photo::new(id, PhotoStatus::Failed, 0).with_error(reason),
        };
        batch.finish(index, finished);
        told = tell(&publisher, &batch, Some(told)).await?;
    }
    println!("{} of {photos} photos are done, at {told}", batch.head()?.counts.completed);
    Ok(())
}
