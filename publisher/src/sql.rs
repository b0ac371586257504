//! A source whose batches stand in Postgres or SQLite.
//!
//! In scope: reading head and photos in one snapshot by three queries, a default schema, and steps of batches in it.
//! Out of scope: what an application's rows mean beyond the columns that the queries name.

mod database;
mod error;
mod parse;
mod queries;
mod row;
mod steps;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::{BatchId, Changes, Position};

pub use error::SqlError;
pub use queries::Queries;

use database::{Bind, Database};
use parse::{Columns, missing};

use crate::{ProgressSource, SourceError};

/// How long a statement, a lock or a connection is waited for.
pub const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many connections a source has at most.
pub const DEFAULT_CONNECTIONS: u32 = 4;

/// The tables of the default schema.
const SCHEMA: &str = include_str!("sql/schema.sql");

/// Two processes that make the tables at the same moment would get in each other's way in Postgres.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7020660512417)";

/// A [`ProgressSource`] whose batches stand in Postgres (feature `postgres`) or SQLite (feature `sqlite`): in the default
/// schema, or in the application's own tables by its own [`Queries`].
///
/// It has connections of its own, few of them, made when they are needed. Not the application's pool: that would tie the
/// application to the version of `sqlx` that is used here, and let updates wait for the application's queries, or those
/// for updates.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use batchcast_publisher::{BatchId, Photo, PhotoId, PhotoStatus, Publisher, SqlSource};
///
/// let source = SqlSource::postgres("postgres://app:PASSWORD@localhost/app").connect().await?;
/// source.migrate().await?; // The default schema. With queries of one's own: `source.check()`.
/// let publisher = Publisher::builder("redis://localhost:6379").source(source.clone()).connect().await?;
/// publisher.resync().await?;
///
/// let (batch, photo) = (BatchId::new("batch-123")?, PhotoId::new("photo-1")?);
/// source.create(&batch, Some("anna"), &[photo.clone()]).await?;
/// publisher.notify(&batch);
/// source.step(&batch, &Photo::new(photo, PhotoStatus::Completed, 0)).await?;
/// publisher.notify(&batch);
/// # Ok(())
/// # }
/// ```
///
/// # The default schema
/// [`SqlSource::migrate`] makes it; it may as well be one of the application's own migrations:
/// ```sql
#[doc = include_str!("sql/schema.sql")]
/// ```
///
/// # Postgres by TLS
/// By the URL, as `libpq` reads it: `?sslmode=verify-full` checks the server by the system's certificates, or by
/// `&sslrootcert=FILE`. Without `sslmode` TLS is used where the server has it, and nothing is checked.
///
/// # Behind a pooler
/// Time-outs are set in each transaction, so that a pooler by transaction (PgBouncer) does not undo them. One that does
/// not know prepared statements needs `?statement-cache-capacity=0` in the URL.
#[derive(Debug, Clone)]
pub struct SqlSource {
    database: Database,
    queries: Queries,
}

/// Made by `SqlSource::postgres` (feature `postgres`) and `SqlSource::sqlite` (feature `sqlite`).
///
/// ```
#[doc = include_str!("examples/sqlite.txt")]
/// let source = SqlSource::sqlite(&url)
///     .connections(2)
///     .statement_timeout(Duration::from_secs(2)) // Below the patience of whoever waits for an update.
///     .connect()
///     .await?;
/// # }
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `connect`"]
#[derive(Clone)]
pub struct SqlSourceBuilder {
    open: fn(&str, u32, Duration) -> Result<Database, SqlError>,
    url: String,
    queries: Queries,
    connections: u32,
    timeout: Duration,
}

impl SqlSource {
    /// Batches in the Postgres at `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use batchcast_publisher::SqlSource;
    ///
    /// let url = "postgres://app:PASSWORD@db.internal/app?sslmode=verify-full";
    /// let source = SqlSource::postgres(url).connect().await?;
    /// source.check().await?;
    /// # Ok(())
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres(url: &str) -> SqlSourceBuilder {
        SqlSourceBuilder::new(url, Database::postgres)
    }

    /// Batches in the file at `sqlite://FILE`; with `?mode=rwc` it is made where there is none. Readers and writers do
    /// not wait for each other in WAL mode, which is the file's own and set once: `PRAGMA journal_mode = WAL`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use batchcast_publisher::SqlSource;
    ///
    /// let source = SqlSource::sqlite("sqlite://batches.db?mode=rwc").connect().await?;
    /// source.migrate().await?;
    /// # Ok(())
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite(url: &str) -> SqlSourceBuilder {
        SqlSourceBuilder::new(url, Database::sqlite)
    }

    /// Makes the tables of the default schema where there are none, then [`SqlSource::check`]s. Nothing else in the
    /// database is touched, and no record is kept of it.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// let source = SqlSource::sqlite(&url).connect().await?;
    /// source.migrate().await?; // At each start: what is there already stays.
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The database's, or those of [`SqlSource::check`]: there are tables `batches` and `photos` of another kind.
    pub async fn migrate(&self) -> Result<(), SqlError> {
        let mut session = self.database.write().await?;
        if session.is_postgres() {
            session.run("migrate", ONE_AT_A_TIME).await?;
        }
        session.run("migrate", SCHEMA).await?;
        session.commit().await?;
        self.check().await
    }

    /// Whether the database is there, can run the queries, and finds all their columns: for the application's start, so
    /// that a mistake is not found by the first update. What the columns hold shows only when they are read.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// // The application's own query names its column wrongly, which its start finds.
    /// let queries = Queries::default()
    ///     .unsettled("SELECT id FROM batches WHERE status IN ('QUEUED', 'PROCESSING') OR updated_at > $1");
    /// let source = SqlSource::sqlite(&url).queries(queries).connect().await?;
    /// let error = source.check().await.unwrap_err();
    /// assert!(matches!(error, SqlError::Column { query: "unsettled", column: "batch_id", .. }));
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::Query`] and [`SqlError::Column`] name the query, and the column that it does not have.
    pub async fn check(&self) -> Result<(), SqlError> {
        let Queries { head, photos, unsettled } = &self.queries;
        let mut session = self.database.snapshot().await?;
        for query in [head, photos, unsettled] {
            let there = session.columns(query).await?;
            if let Some(column) = query.columns.iter().find(|column| !there.iter().any(|name| name == *column)) {
                return Err(missing(query.name, column));
            }
        }
        session.commit().await
    }

    /// Closes its connections. Not needed: they end with the last clone.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// source.close().await; // Before the file is moved away.
    /// assert!(source.check().await.is_err());
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn read(&self, batch: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SqlError> {
        let Queries { head: query, photos, .. } = &self.queries;
        let mut session = self.database.snapshot().await?;
        let rows = session.rows(query, &[Bind::Text(batch.as_str())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (head, owner) = Columns { query, row }.head(batch)?;
        let since = since.filter(|since| since.epoch() == head.position.epoch());
        let after = since.map_or(-1, |since| since.version().cast_signed());
        let rows = session.rows(photos, &[Bind::Text(batch.as_str()), Bind::Integer(after)]).await?;
        session.commit().await?;
        let changed = rows.iter().map(|row| Columns { query: photos, row }.photo());
        let changed = changed.filter(|photo| photo.as_ref().map_or(true, |photo| photo.version.cast_signed() > after));
        Ok(Some(Changes::new(since, head, changed.collect::<Result<_, _>>()?).owned_by(owner)))
    }

    async fn read_unsettled(&self, since: SystemTime) -> Result<Vec<BatchId>, SqlError> {
        let query = &self.queries.unsettled;
        let ms = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut session = self.database.snapshot().await?;
        let rows = session.rows(query, &[Bind::Integer(i64::try_from(ms).unwrap_or(i64::MAX))]).await?;
        session.commit().await?;
        rows.iter().map(|row| Columns { query, row }.batch_id()).collect()
    }
}

impl ProgressSource for SqlSource {
    async fn changes(&self, batch: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        Ok(self.read(batch, since).await?)
    }

    async fn unsettled(&self, since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(self.read_unsettled(since).await?)
    }
}

impl SqlSourceBuilder {
    fn new(url: &str, open: fn(&str, u32, Duration) -> Result<Database, SqlError>) -> Self {
        Self {
            open,
            url: url.to_owned(),
            queries: Queries::default(),
            connections: DEFAULT_CONNECTIONS,
            timeout: DEFAULT_STATEMENT_TIMEOUT,
        }
    }

    /// The application's own queries; default those of the default schema.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// // This worker sees to the batches of its region only.
    /// let queries = Queries::default().unsettled(
    ///     "SELECT id AS batch_id FROM batches
    ///      WHERE id LIKE 'eu-%' AND (status IN ('QUEUED', 'PROCESSING') OR updated_at > $1)",
    /// );
    /// let source = SqlSource::sqlite(&url).queries(queries).connect().await?;
    /// source.check().await?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn queries(mut self, queries: Queries) -> Self {
        self.queries = queries;
        self
    }

    /// How many connections there may be, at least 1; default [`DEFAULT_CONNECTIONS`]. An update takes one for two
    /// queries.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// // Many workers, and a database that takes a hundred connections in all.
    /// let source = SqlSource::sqlite(&url).connections(1).connect().await?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// How long a statement, a lock or a connection is waited for, at least 1 ms; default
    /// [`DEFAULT_STATEMENT_TIMEOUT`]. In SQLite it is the time of a whole transaction.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// let source = SqlSource::sqlite(&url).statement_timeout(Duration::from_secs(1)).connect().await?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks the settings. It does **not** wait for the database: [`SqlSource::check`] and [`SqlSource::migrate`] do.
    /// To be awaited in a tokio runtime.
    ///
    /// ```
    #[doc = include_str!("examples/sqlite.txt")]
    /// let refused = SqlSource::sqlite(&url).connections(0).connect().await;
    /// assert!(matches!(refused, Err(SqlError::Config { setting: "connections", .. })));
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::Config`] names the setting that is wrong.
    pub async fn connect(self) -> Result<SqlSource, SqlError> {
        let wrong = |setting, problem: &str| Err(SqlError::Config { setting, problem: problem.to_owned() });
        if self.connections == 0 {
            return wrong("connections", "at least 1");
        }
        if self.timeout < Duration::from_millis(1) || self.timeout > Duration::from_secs(24 * 60 * 60) {
            return wrong("statement_timeout", "from 1 ms to a day");
        }
        let database = (self.open)(&self.url, self.connections, self.timeout)?;
        Ok(SqlSource { database, queries: self.queries })
    }
}

impl std::fmt::Debug for SqlSourceBuilder {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlSourceBuilder")
            .field("queries", &self.queries)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
