//! An application: one batch whose photos change in turn, in a database that is memory, so that only what lies behind a
//! commit is measured.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use publisher::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position,
    ProgressSource, Publisher, SourceError,
};

use crate::listeners::now_us;
use crate::marks::Sent;

/// What a photo's result has beside its mark: as many bytes as an analysed photo's.
const PADDING: usize = 120;

/// The application.
pub(crate) struct App {
    publisher: Publisher,
    database: Database,
    id: BatchId,
}

/// The database. Peers' workers are told what it holds.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<Rows>>);

struct Rows {
    head: Head,
    photos: Vec<Photo>,
    reads: Reads,
}

/// How often changes were read, and how many photos' rows these gave, and whole states.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reads {
    pub(crate) count: u64,
    pub(crate) rows: u64,
}

impl App {
    /// Publishes a batch of so many photos at the Redis of this address.
    pub(crate) async fn start(redis_url: &str, id: &str, photos: usize) -> Result<Self> {
        let id: BatchId = id.parse()?;
        let database = Database::new(&id, photos)?;
        let publisher = Publisher::builder(redis_url).source(database.clone()).connect().await?;
        let whole = database.changes_since(None);
        publisher.publish(whole).await?;
        Ok(Self { publisher, database, id })
    }

    /// Commits change `number`, a photo's, and tells the publisher.
    pub(crate) fn change(&self, number: usize, sent: &Sent) -> Result<()> {
        self.database.commit(number, sent)?;
        self.publisher.notify(&self.id);
        Ok(())
    }

    /// Commits change `number`, and returns when Redis has acknowledged it.
    pub(crate) async fn publish(&self, number: usize, sent: &Sent) -> Result<()> {
        let before = self.database.position();
        self.database.commit(number, sent)?;
        self.publisher.publish(self.database.changes_since(Some(before))).await?;
        Ok(())
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Publishes what is left.
    pub(crate) async fn close(self) {
        self.publisher.close(Duration::from_secs(5)).await;
    }
}

impl Database {
    pub(crate) fn new(id: &BatchId, photos: usize) -> Result<Self> {
        let total = u32::try_from(photos)?;
        let head = Head {
            batch_id: id.clone(),
            position: Position::new(now_us() / 1_000, 1)?,
            status: BatchStatus::Processing,
            counts: Counts { total, queued: 0, processing: total, completed: 0, failed: 0 },
            updated_at: "2026-11-22T23:10:30.082Z".to_owned(),
        };
        let photo = |number| {
            let photo_id = PhotoId::new(&format!("photo-{number:05}"))?;
            Ok(Photo { photo_id, status: PhotoStatus::Processing, version: 1, result: None, error: None })
        };
        let photos = (0..photos).map(photo).collect::<Result<_>>()?;
        Ok(Self(Arc::new(Mutex::new(Rows { head, photos, reads: Reads::default() }))))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last commit came to.
    pub(crate) fn position(&self) -> Position {
        self.rows().head.position
    }

    /// What a publisher has read so far.
    pub(crate) fn reads(&self) -> Reads {
        self.rows().reads
    }

    /// The whole state as JSON.
    pub(crate) fn state(&self) -> Result<String> {
        let mut rows = self.rows();
        rows.reads.rows += rows.photos.len() as u64;
        Ok(BatchState::new(rows.head.clone(), rows.photos.clone())?.to_json())
    }

    /// Commits change `number`; the photo that it is one of.
    pub(crate) fn commit(&self, number: usize, sent: &Sent) -> Result<PhotoId> {
        let mut rows = self.rows();
        let position = rows.head.position;
        rows.head.position = Position::new(position.epoch(), position.version() + 1)?;
        let (version, count) = (rows.head.position.version(), rows.photos.len());
        let photo = &mut rows.photos[number % count];
        photo.version = version;
        let mark: serde_json::Value = serde_json::from_str(&sent.mark(number))?;
        photo.result = Some(Json::new(&serde_json::json!({"mark": mark, "padding": "x".repeat(PADDING)}))?);
        Ok(photo.photo_id.clone())
    }

    pub(crate) fn changes_since(&self, since: Option<Position>) -> Changes {
        let mut rows = self.rows();
        let since = since.filter(|since| since.epoch() == rows.head.position.epoch());
        let after = since.map_or(0, Position::version);
        let photos: Vec<Photo> = rows.photos.iter().filter(|photo| photo.version > after).cloned().collect();
        rows.reads.count += 1;
        rows.reads.rows += photos.len() as u64;
        Changes { since, head: rows.head.clone(), photos, owner: None }
    }
}

impl ProgressSource for Database {
    async fn changes(&self, _: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        Ok(Some(self.changes_since(since)))
    }

    async fn unsettled(&self, _: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(vec![self.rows().head.batch_id.clone()])
    }
}
