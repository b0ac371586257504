//! Rows in SQLite. Each change of a batch is one transaction that moves photos, adds up the counts and raises the
//! version, so that whoever reads a position reads everything that belongs to it.
//!
//! In scope: the rows and what may happen to them. Out of scope: files, telling anyone.

mod open;
mod photos;
mod rows;
mod source;
mod step;
#[cfg(test)]
mod tests;

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    Sqlite, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use wire::{IdError, PositionError, StateError};

pub(crate) use open::{Cancellation, NewPhoto, NoPlace, Place, Retried};
pub(crate) use photos::{Begun, Received};
pub(crate) use rows::Summary;
pub(crate) use step::Stepped;

/// Connections that read at the same time. Writes have one connection of their own.
const READERS: u32 = 4;

/// How long a statement waits for another process' lock (a backup, say).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Debug, Clone)]
pub struct Db {
    reads: SqlitePool,
    /// One connection: SQLite has one writer at a time anyway, and waiting here never ends in `SQLITE_BUSY`.
    writes: SqlitePool,
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// SQLite said no, or could not be reached.
    #[error("the database failed")]
    Sqlite(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds what it can't.
    #[error("a row can't be read: {0}")]
    Corrupt(String),
}

impl Db {
    /// Opens the database at `url` (`sqlite://FILE`), makes it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// When it can't be opened or migrated.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Safe against a killed process, and with WAL against a power cut at worst for the last commits.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writes = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!().run(&writes).await?;
        let reads = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        Ok(Self { reads, writes })
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), DbError> {
        sqlx::query("SELECT 1").execute(&self.reads).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.writes.close().await;
        self.reads.close().await;
    }

    /// A transaction that holds the write lock from its beginning: what it reads stays true until it commits.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, DbError> {
        Ok(self.writes.begin_with("BEGIN IMMEDIATE").await?)
    }
}

impl From<IdError> for DbError {
    fn from(error: IdError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<PositionError> for DbError {
    fn from(error: PositionError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<StateError> for DbError {
    fn from(error: StateError) -> Self {
        Self::Corrupt(error.to_string())
    }
}
