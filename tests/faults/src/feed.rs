//! A batch whose application is the row itself: it publishes each change when it says so, through the real publisher.

mod book;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use publisher::{
    BatchId, Changes, PhotoStatus, Position, ProgressSource, Published, Publisher, PublisherBuilder, SourceError,
};
use stack::Stack;

use book::Book;

const OPEN: [PhotoStatus; 2] = [PhotoStatus::Queued, PhotoStatus::Processing];

/// An application with one batch. What it does to the batch always succeeds; on an error only the telling has failed,
/// and [`Feed::publish_all`] or [`Feed::notify`] make up for it.
pub(crate) struct Feed {
    publisher: Publisher,
    id: BatchId,
    book: Shared,
}

/// The book is also where the publisher looks when Redis needs the whole state.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Book>>);

impl Feed {
    /// Publishes a new batch of `total` queued photos to the stack's Redis.
    pub(crate) async fn start(stack: &Stack, id: &str, total: usize) -> Result<Self> {
        let feed = Self::unpublished(Publisher::builder(stack.redis.url()), id, total).await?;
        feed.publish_all().await?;
        Ok(feed)
    }

    /// A new batch that nobody has been told of, with a publisher of other settings.
    pub(crate) async fn unpublished(publisher: PublisherBuilder, id: &str, total: usize) -> Result<Self> {
        let epoch = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let id: BatchId = id.parse()?;
        let book = Shared(Arc::new(Mutex::new(Book::new(id.clone(), epoch, total))));
        let publisher = publisher.source(book.clone()).connect().await?;
        Ok(Self { publisher, id, book })
    }

    /// The batch's id.
    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Where the application stands, whoever has been told of it.
    pub(crate) fn position(&self) -> Result<Position> {
        self.book.lock().position()
    }

    /// How many photos are neither done nor given up.
    pub(crate) fn left(&self) -> usize {
        self.book.lock().left()
    }

    /// The publisher itself.
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Begins with the next queued photo.
    pub(crate) async fn begin_one(&self) -> Result<Position> {
        let changes = self.book.lock().turn(&[PhotoStatus::Queued], PhotoStatus::Processing)?;
        self.publish(changes).await
    }

    /// Completes the next photo; with the last one the batch ends.
    pub(crate) async fn complete_one(&self) -> Result<Position> {
        let changes = self.completion()?;
        self.publish(changes).await
    }

    /// Completes `count` photos, each in a change of its own.
    pub(crate) async fn complete(&self, count: usize) -> Result<Position> {
        for _ in 0..count {
            self.complete_one().await?;
        }
        self.position()
    }

    /// Completes all that are left, each in a change of its own: the batch ends.
    pub(crate) async fn complete_all(&self) -> Result<Position> {
        self.complete(self.left()).await
    }

    /// Opens the ended batch again in a new epoch, with all photos queued.
    pub(crate) async fn reopen(&self) -> Result<Position> {
        self.book.lock().reopen();
        self.publish_all().await
    }

    /// Lets the publisher tell what is new in its own time, as applications do after each commit.
    pub(crate) fn notify(&self) {
        self.publisher.notify(&self.id);
    }

    /// Publishes everything as it stands, as an application does that does not know what Redis holds.
    pub(crate) async fn publish_all(&self) -> Result<Position> {
        let changes = self.book.lock().changes(None)?;
        self.publisher.publish(changes).await?;
        self.position()
    }

    fn completion(&self) -> Result<Changes> {
        self.book.lock().turn(&OPEN, PhotoStatus::Completed)
    }

    async fn publish(&self, changes: Changes) -> Result<Position> {
        let position = changes.head.position;
        let published = self.publisher.publish(changes).await?;
        ensure!(published == Published::Applied, "publishing {position}: {published:?}");
        Ok(position)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressSource for Shared {
    async fn changes(&self, id: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        let book = self.lock();
        Ok(if *id == book.id { Some(book.changes(since)?) } else { None })
    }

    async fn unsettled(&self, _: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(vec![self.lock().id.clone()])
    }
}
