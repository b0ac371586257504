//! The two databases behind one face: a pool, and transactions that give rows. All that differs between them is here.

use std::{str::FromStr as _, time::Duration};

use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _, Statement as _};

use super::{
    error::SqlError,
    queries::{Parameter, Query},
    row::Row,
};
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
#[cfg(feature = "sqlite")]
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

/// What is given to a query.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bind<'a> {
    Text(&'a str),
    Null,
    Integer(i64),
}

/// A pool of connections.
#[derive(Debug, Clone)]
pub(super) enum Database {
    #[cfg(feature = "postgres")]
    Postgres { pool: PgPool, timeout: Duration },
    #[cfg(feature = "sqlite")]
    Sqlite { pool: SqlitePool, timeout: Duration },
}

/// A transaction: undone unless it is committed.
pub(super) enum Session {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Transaction<'static, Postgres>, Duration),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Database {
    /// Connections are made when they are needed.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres(url: &str, connections: u32, timeout: Duration) -> Result<Self, SqlError> {
        let is_ours = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| is_ours);
        let options = options.ok_or_else(|| bad_url("postgres://USER:PASSWORD@HOST:5432/DATABASE"))?;
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(timeout);
        // A connection whose server has vanished is not waited for when it is given back.
        let pool = pool.after_release(move |connection, _| {
            Box::pin(async move { answers_within(timeout, sqlx::Connection::ping(connection)).await.map(|()| true) })
        });
        Ok(Self::Postgres { pool: pool.connect_lazy_with(options), timeout })
    }

    /// Connections are made when they are needed.
    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite(url: &str, connections: u32, timeout: Duration) -> Result<Self, SqlError> {
        let options = SqliteConnectOptions::from_str(url).ok().filter(|_| url.starts_with("sqlite:"));
        let options = options.ok_or_else(|| bad_url("sqlite://FILE"))?.busy_timeout(timeout);
        let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(timeout);
        // What interrupts a write makes SQLite roll back by itself; `sqlx` then still counts a transaction.
        let pool = pool.before_acquire(|connection, _| {
            Box::pin(async move { Ok(!sqlx::Connection::is_in_transaction(connection)) })
        });
        Ok(Self::Sqlite { pool: pool.connect_lazy_with(options), timeout })
    }

    /// A transaction that reads one snapshot, whatever others commit meanwhile.
    pub(super) async fn snapshot(&self) -> Result<Session, SqlError> {
        match self {
            // The time-out by `SET LOCAL`, in the same round trip: a pooler in between may refuse it at connecting.
            #[cfg(feature = "postgres")]
            Self::Postgres { pool, timeout } => {
                begin_postgres(pool, "ISOLATION LEVEL REPEATABLE READ READ ONLY", *timeout).await
            }
            // The first read fixes the snapshot.
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, timeout } => begin_sqlite(pool, "BEGIN", *timeout).await,
        }
    }

    /// A transaction that writes.
    pub(super) async fn write(&self) -> Result<Session, SqlError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres { pool, timeout } => begin_postgres(pool, "ISOLATION LEVEL READ COMMITTED", *timeout).await,
            // The write lock at once: what is read stays true until the commit.
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, timeout } => begin_sqlite(pool, "BEGIN IMMEDIATE", *timeout).await,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres { pool, .. } => pool.close().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { pool, .. } => pool.close().await,
        }
    }
}

/// How much longer than the server's own time-out its answer is waited for: one that has vanished says nothing.
#[cfg(feature = "postgres")]
const BEYOND: Duration = Duration::from_secs(1);

#[cfg(feature = "postgres")]
async fn answers_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(limit, answer).await.map_err(silent)?
}

#[cfg(feature = "postgres")]
async fn begin_postgres(pool: &PgPool, kind: &str, timeout: Duration) -> Result<Session, SqlError> {
    let ms = timeout.as_millis();
    let begin = format!(
        "BEGIN {kind}; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms};
         SET LOCAL idle_in_transaction_session_timeout = {ms}"
    );
    let limit = timeout + BEYOND;
    // In a task of its own: where whoever waits for it goes away, `sqlx` counts no transaction though the server has
    // begun one, and lends the connection to the next.
    let pool = pool.clone();
    let beginning = tokio::spawn(async move { answers_within(limit, pool.begin_with(AssertSqlSafe(begin))).await });
    let tx = beginning.await.unwrap_or_else(|stopped| Err(sqlx::Error::Io(std::io::Error::other(stopped))));
    tx.map(|tx| Session::Postgres(tx, limit)).map_err(|error| SqlError::of("begin", error))
}

#[cfg(feature = "sqlite")]
async fn begin_sqlite(pool: &SqlitePool, begin: &'static str, timeout: Duration) -> Result<Session, SqlError> {
    /// Steps of SQLite's machine between two looks at the clock: some tenths of a millisecond.
    const STEPS: i32 = 10_000;
    let begun = async {
        let mut tx = pool.begin_with(begin).await?;
        let deadline = std::time::Instant::now() + timeout;
        tx.lock_handle().await?.set_progress_handler(STEPS, move || std::time::Instant::now() < deadline);
        Ok(tx)
    };
    begun.await.map(Session::Sqlite).map_err(|error| SqlError::of("begin", error))
}

impl Session {
    /// The rows that a query gives.
    pub(super) async fn rows(&mut self, query: &Query, binds: &[Bind<'_>]) -> Result<Vec<Row>, SqlError> {
        let sql = AssertSqlSafe(std::sync::Arc::clone(&query.sql));
        let rows = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx, limit) => {
                let asked = binds.iter().fold(sqlx::query(sql), |query, bind| match bind {
                    Bind::Text(text) => query.bind(*text),
                    Bind::Null => query.bind(None::<&str>),
                    Bind::Integer(number) => query.bind(*number),
                });
                let rows = answers_within(*limit, asked.fetch_all(&mut **tx)).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => {
                let asked = binds.iter().fold(sqlx::query(sql), |query, bind| match bind {
                    Bind::Text(text) => query.bind(*text),
                    Bind::Null => query.bind(None::<&str>),
                    Bind::Integer(number) => query.bind(*number),
                });
                asked.fetch_all(&mut **tx).await.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
        };
        rows.map_err(|error| SqlError::of(query.name, error))
    }

    /// The names of the columns that a query gives, without running it.
    pub(super) async fn columns(&mut self, query: &Query) -> Result<Vec<String>, SqlError> {
        use sqlx::Column as _;
        let sql = AssertSqlSafe(std::sync::Arc::clone(&query.sql)).into_sql_str();
        let names = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx, limit) => {
                let parameters: Vec<_> = query.parameters.iter().map(|parameter| parameter.in_postgres()).collect();
                let prepared = answers_within(*limit, (&mut **tx).prepare_with(sql, &parameters)).await;
                prepared.map(|ready| ready.columns().iter().map(|column| column.name().to_owned()).collect())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => {
                let prepared = (&mut **tx).prepare(sql).await;
                prepared.map(|ready| ready.columns().iter().map(|column| column.name().to_owned()).collect())
            }
        };
        names.map_err(|error| SqlError::of(query.name, error))
    }

    /// Runs statements without parameters, one after the other.
    pub(super) async fn run(&mut self, name: &'static str, sql: &'static str) -> Result<(), SqlError> {
        let done = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx, limit) => answers_within(*limit, sqlx::raw_sql(sql).execute(&mut **tx)).await.map(drop),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop),
        };
        done.map_err(|error| SqlError::of(name, error))
    }

    pub(super) async fn commit(self) -> Result<(), SqlError> {
        let done = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx, limit) => answers_within(limit, tx.commit()).await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => tx.commit().await,
        };
        done.map_err(|error| SqlError::of("commit", error))
    }

    pub(super) fn is_postgres(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => true,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => false,
        }
    }
}

impl Parameter {
    #[cfg(feature = "postgres")]
    fn in_postgres(self) -> sqlx::postgres::PgTypeInfo {
        match self {
            Self::Text => <str as sqlx::Type<Postgres>>::type_info(),
            Self::Integer => <i64 as sqlx::Type<Postgres>>::type_info(),
        }
    }
}

/// The value is not shown: it may hold a password.
fn bad_url(form: &str) -> SqlError {
    SqlError::Config { setting: "url", problem: format!("it is no address of this database: {form} is one, say") }
}
