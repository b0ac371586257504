//! The application's database, as the publisher sees it.

use std::{future::Future, pin::Pin, time::SystemTime};

use wire::{BatchId, Changes, Position};

/// Whatever the application's database reports: any error converts into it with `?`.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The application's database. Implementations write plain `async fn`s; the futures must be `Send`.
///
/// ```
/// use std::{collections::HashMap, time::SystemTime};
/// use batchcast_publisher::{BatchId, BatchState, Changes, Position, ProgressSource, SourceError};
///
/// struct Memory(HashMap<BatchId, BatchState>); // Where the database would be.
///
/// impl ProgressSource for Memory {
///     async fn changes(&self, id: &BatchId, _since: Option<Position>) -> Result<Option<Changes>, SourceError> {
///         Ok(self.0.get(id).map(|state| Changes::full(state, None))) // The whole is right, too, and costs more.
///     }
///     async fn unsettled(&self, _since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
///         Ok(self.0.keys().cloned().collect())
///     }
/// }
/// ```
pub trait ProgressSource: Send + Sync + 'static {
    /// The head of a batch and the photos that changed after `since`, and `since` itself; all photos and `since: None`
    /// where `since` is `None` or of another epoch. Nothing new is the head with no photos; `None` is for a batch that
    /// the application does not know.
    ///
    /// Read in **one consistent snapshot** (one statement, or one REPEATABLE READ transaction): otherwise a version can
    /// arrive without its photo.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// /// As two queries do, in one transaction: the head, and the photos with `version > after`.
    /// fn changes(state: &BatchState, since: Option<Position>) -> Changes {
    ///     let since = since.filter(|since| since.epoch() == state.position().epoch());
    ///     let after = since.map_or(0, Position::version);
    ///     let photos = state.photos().filter(|photo| photo.version > after).cloned().collect();
    ///     Changes::new(since, state.head().clone(), photos)
    /// }
    /// assert_eq!(changes(&state, Some(Position::new(7, 3)?)).photos.len(), 1);
    /// assert_eq!(changes(&state, Some(Position::new(6, 3)?)).photos.len(), 2); // It was opened again since.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The database's. The batch stays due and is tried again with a growing pause.
    fn changes(
        &self,
        batch: &BatchId,
        since: Option<Position>,
    ) -> impl Future<Output = Result<Option<Changes>, SourceError>> + Send;

    /// The batches that readers may not know the end of: all open ones, and those that ended after `since`.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use batchcast_publisher::BatchId;
    ///
    /// /// As a query does: `WHERE ended_at IS NULL OR ended_at > $1`.
    /// fn unsettled(rows: &[(BatchId, Option<SystemTime>)], since: SystemTime) -> Vec<BatchId> {
    ///     rows.iter().filter(|(_, ended)| ended.is_none_or(|at| at > since)).map(|(id, _)| id.clone()).collect()
    /// }
    /// let now = SystemTime::now();
    /// let rows = [(BatchId::new("open")?, None), (BatchId::new("old")?, Some(now - Duration::from_secs(60)))];
    /// assert_eq!(unsettled(&rows, now), [BatchId::new("open")?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The database's.
    fn unsettled(&self, since: SystemTime) -> impl Future<Output = Result<Vec<BatchId>, SourceError>> + Send;
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// [`ProgressSource`] behind a pointer, so that [`crate::Publisher`] is one type for all databases.
pub(crate) trait DynSource: Send + Sync {
    fn changes<'a>(&'a self, batch: &'a BatchId, since: Option<Position>) -> Boxed<'a, Option<Changes>>;
    fn unsettled(&self, since: SystemTime) -> Boxed<'_, Vec<BatchId>>;
}

impl<S: ProgressSource> DynSource for S {
    fn changes<'a>(&'a self, batch: &'a BatchId, since: Option<Position>) -> Boxed<'a, Option<Changes>> {
        Box::pin(ProgressSource::changes(self, batch, since))
    }

    fn unsettled(&self, since: SystemTime) -> Boxed<'_, Vec<BatchId>> {
        Box::pin(ProgressSource::unsettled(self, since))
    }
}
