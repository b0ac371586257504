//! Rows in SQLite or Postgres. Each change of a batch is one transaction that moves photos, adds up the counts and raises the
//! version, so that whoever reads a position reads everything that belongs to it.
//!
//! In scope: the rows and what may happen to them. Out of scope: files, telling anyone.

mod open;
mod peers;
mod photos;
mod rows;
mod source;
mod step;
#[cfg(test)]
mod tests;
mod work;

use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, Transaction, any::AnyPoolOptions};
use wire::{IdError, PositionError, StateError};

pub(crate) use open::{Cancellation, NewPhoto, NoPlace, Place, Retried};
pub(crate) use photos::Received;
pub(crate) use rows::Summary;
pub(crate) use step::Stepped;
pub(crate) use work::{Begun, Claim, Taken, Waiting, Worker};

/// Connections to SQLite that read at the same time. Writes have one connection of their own.
const READERS: u32 = 4;

/// Connections to Postgres.
const CONNECTIONS: u32 = 8;

/// Set once a connection. WAL is safe against a killed process, and against a power cut at worst for the last commits.
/// A statement waits for another process' lock (a backup, say) for 5 s, which is `sqlx`'s default.
const SETTINGS_OF_SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";

/// A lock is held for a transaction of a few statements: who waits for longer waits for someone who hangs.
const SETTINGS_OF_POSTGRES: &str =
    "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'";

/// The database.
#[derive(Debug, Clone)]
pub struct Db {
    kind: Kind,
    reads: AnyPool,
    /// In SQLite one connection: it has one writer at a time anyway, and waiting here never ends in `SQLITE_BUSY`. In
    /// Postgres the same as `reads`.
    writes: AnyPool,
}

/// Which database it is. The statements are the same but for a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    Sqlite,
}

impl Kind {
    fn of_url(url: &str) -> Self {
        if url.starts_with("sqlite:") { Self::Sqlite } else { Self::Postgres }
    }

    fn of(connection: &AnyConnection) -> Self {
        if connection.backend_name() == "SQLite" { Self::Sqlite } else { Self::Postgres }
    }
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// It said no, or could not be reached.
    #[error("the database failed")]
    Failed(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds what it can't.
    #[error("a row can't be read: {0}")]
    Corrupt(String),
}

impl Db {
    /// Opens the database at `url`, and brings its schema up to date: `postgres://…`, or `sqlite://FILE`, which is made
    /// where there is none.
    ///
    /// # Errors
    /// When it can't be opened or migrated.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let kind = Kind::of_url(url);
        match kind {
            Kind::Sqlite => {
                let url = if url.contains("mode=") {
                    url.to_owned()
                } else {
                    format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' })
                };
                let writes = pool(1, SETTINGS_OF_SQLITE).connect(&url).await?;
                sqlx::migrate!("migrations/sqlite").run(&writes).await?;
                let reads = pool(READERS, SETTINGS_OF_SQLITE).connect(&url).await?;
                Ok(Self { kind, reads, writes })
            }
            Kind::Postgres => {
                let writes = pool(CONNECTIONS, SETTINGS_OF_POSTGRES).connect(url).await?;
                sqlx::migrate!("migrations/postgres").run(&writes).await?;
                Ok(Self { kind, reads: writes.clone(), writes })
            }
        }
    }

    /// Whether several processes may work on it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        self.kind == Kind::Postgres
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

    /// A transaction that writes. In SQLite it holds the write lock from its beginning: what it reads stays true until it
    /// commits. In Postgres that is so of a batch from [`rows::BatchRow::lock`] on, and of its photos.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Any>, DbError> {
        let begin = match self.kind {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            // Whatever the server's default: what is asked again behind a lock must see what was committed before it.
            Kind::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        begin_with(&self.writes, begin).await
    }

    /// A transaction whose statements all see the same commit: in SQLite's WAL mode any does.
    async fn snapshot(&self) -> Result<Transaction<'static, Any>, DbError> {
        let begin = match self.kind {
            Kind::Sqlite => "BEGIN",
            Kind::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        begin_with(&self.reads, begin).await
    }
}

/// In a task of its own: where whoever waits for it goes away, `sqlx` counts no transaction though the server has begun
/// one, and lends the connection to the next.
async fn begin_with(pool: &AnyPool, begin: &'static str) -> Result<Transaction<'static, Any>, DbError> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(begin).await }).await;
    Ok(begun.map_err(|stopped| sqlx::Error::Io(std::io::Error::other(stopped)))??)
}

fn pool(connections: u32, settings: &'static str) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(settings)).await.map(drop) })
        })
        // A full disk makes SQLite roll back by itself; `sqlx` then still counts a transaction, and can't begin another.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
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
