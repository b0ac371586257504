//! The application's database, as the publisher sees it.

use std::{future::Future, pin::Pin, time::SystemTime};

use wire::{BatchId, Changes, Position};

/// Whatever the application's database reports: any error converts into it with `?`.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The application's database. Implementations write plain `async fn`s; the futures must be `Send`.
pub trait ProgressSource: Send + Sync + 'static {
    /// The head of a batch and the photos that changed after `since`, and `since` itself; all photos and `since: None`
    /// where `since` is `None` or of another epoch. Nothing new is the head with no photos; `None` is for a batch that
    /// the application does not know.
    ///
    /// Read in **one consistent snapshot** (one statement, or one REPEATABLE READ transaction): otherwise a version can
    /// arrive without its photo.
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
