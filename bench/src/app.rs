//! An application: one batch whose photos change in turn, in a database that is memory, so that only what lies behind a
//! commit is measured.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use publisher::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position,
    ProgressSource, PublishError, Published, Publisher, SourceError,
};
use tokio::task::JoinSet;

use crate::listeners::now_us;
use crate::marks::Sent;

/// What a photo's result has beside its mark: as many bytes as an analysed photo's.
const PADDING: usize = 120;

/// In place of a mark, in the result of a photo that has not changed yet: as long as one, and read as none.
const UNCHANGED: &str = r#"{"was":"00000000"}"#;

/// Explicit publications whose acknowledgements may be outstanding.
pub(crate) const MOST_UNDER_WAY: usize = 64;

/// The application.
pub(crate) struct App {
    publisher: Publisher,
    database: Database,
    id: BatchId,
    /// Explicit publications that are not acknowledged yet.
    under_way: JoinSet<Result<Published, PublishError>>,
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
        Ok(Self { publisher, database, id, under_way: JoinSet::new() })
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

    /// Commits change `number`, a photo's, and publishes just that by the explicit call. Returns when it is on its way:
    /// the acknowledgement is waited for meanwhile, but no more than [`MOST_UNDER_WAY`] are outstanding.
    pub(crate) async fn publish_ahead(&mut self, number: usize, sent: &Sent) -> Result<()> {
        self.acknowledged(MOST_UNDER_WAY - 1).await?;
        let since = self.database.position();
        self.database.commit(number, sent)?;
        let (publisher, changes) = (self.publisher.clone(), self.database.changes_since(Some(since)));
        let mut publishing = Box::pin(async move { publisher.publish(changes).await });
        // Begun here and not by a task, of which a later one may come first: what is sent in order arrives in order.
        match std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut publishing).poll(context))).await {
            Poll::Ready(published) => applied(published)?,
            Poll::Pending => drop(self.under_way.spawn(publishing)),
        }
        Ok(())
    }

    /// Waits until at most `rest` explicit publications are not acknowledged.
    pub(crate) async fn acknowledged(&mut self, rest: usize) -> Result<()> {
        while let Some(done) = self.under_way.try_join_next() {
            applied(done?)?;
        }
        while self.under_way.len() > rest
            && let Some(done) = self.under_way.join_next().await
        {
            applied(done?)?;
        }
        Ok(())
    }

    /// Publishes what is left.
    pub(crate) async fn close(self) {
        self.publisher.close(Duration::from_secs(5)).await;
    }
}

/// A change that Redis had already came after a later one: the order did not hold.
fn applied(published: Result<Published, PublishError>) -> Result<()> {
    ensure!(published? == Published::Applied, "a change was overtaken by a later one");
    Ok(())
}

impl Database {
    pub(crate) fn new(id: &BatchId, photos: usize) -> Result<Self> {
        let total = u32::try_from(photos)?;
        let head = Head::new(
            id.clone(),
            Position::new(now_us() / 1_000, 1)?,
            BatchStatus::Processing,
            Counts { total, queued: 0, processing: total, completed: 0, failed: 0 },
            "2026-11-22T23:10:30.082Z",
        );
        let photo = |number| {
            let photo_id = PhotoId::new(&format!("photo-{number:05}"))?;
            // With a result from the beginning, so that the whole state has the same size before and after any change.
            let result = Some(result(UNCHANGED)?);
            Ok(Photo::new(photo_id, PhotoStatus::Processing, 1).with_result(result))
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
        photo.result = Some(result(&sent.mark(number))?);
        Ok(photo.photo_id.clone())
    }

    pub(crate) fn changes_since(&self, since: Option<Position>) -> Changes {
        let mut rows = self.rows();
        let since = since.filter(|since| since.epoch() == rows.head.position.epoch());
        let after = since.map_or(0, Position::version);
        let photos: Vec<Photo> = rows.photos.iter().filter(|photo| photo.version > after).cloned().collect();
        rows.reads.count += 1;
        rows.reads.rows += photos.len() as u64;
        Changes::new(since, rows.head.clone(), photos)
    }
}

/// A photo's result with this mark, a JSON object.
fn result(mark: &str) -> Result<Json> {
    let mark: serde_json::Value = serde_json::from_str(mark)?;
    Ok(Json::new(&serde_json::json!({"mark": mark, "padding": "x".repeat(PADDING)}))?)
}

impl ProgressSource for Database {
    async fn changes(&self, _: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        Ok(Some(self.changes_since(since)))
    }

    async fn unsettled(&self, _: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(vec![self.rows().head.batch_id.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::greatest_number;

    #[test]
    fn a_state_has_its_size_from_the_beginning() {
        let (database, sent) = (Database::new(&"b-1".parse().unwrap(), 3).unwrap(), Sent::new(3));
        let before = database.state().unwrap();
        assert_eq!(greatest_number(before.as_bytes()).unwrap(), None, "nothing has changed yet");
        (0..3).for_each(|number| drop(database.commit(number, &sent).unwrap()));
        let after = database.state().unwrap();
        assert_eq!(greatest_number(after.as_bytes()).unwrap(), Some(2));
        assert_eq!(before.len(), after.len());
    }
}
