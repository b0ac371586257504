//! What can go wrong with a database, split by what the caller should do next.

/// Why a [`crate::SqlSource`] did not do it. No message holds a password.
///
/// ```
#[doc = include_str!("../examples/sqlite.txt")]
/// match source.create(&batch, None, &photos).await {
///     Ok(position) => println!("{batch} begins at {position}"),
///     Err(SqlError::Refused(why)) => println!("choose another id: {why}"),
///     Err(error @ (SqlError::Unreachable { .. } | SqlError::TimedOut { .. })) => println!("later: {error}"),
///     Err(error) => return Err(error.into()), // A setting, a query, or a table.
/// }
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// A setting is wrong. Mend it; nothing was asked.
    #[error("{setting}: {problem}")]
    Config {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it, and what to set instead.
        problem: String,
    },
    /// The database can't be reached, lets nobody in, or has no connection left. Ask it again later.
    #[error("the database can't be reached: {source}")]
    Unreachable {
        /// What became of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database took longer than the statement time-out. Ask it again later, or give the query an index.
    #[error("the query {query:?} took longer than its time-out")]
    TimedOut {
        /// Which query.
        query: &'static str,
    },
    /// The database refused a query. Mend the query, or make the tables that it names.
    #[error("the database refused the query {query:?}: {source}")]
    Query {
        /// Which query.
        query: &'static str,
        /// The database's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A column of a query is missing, or holds what it can't. Mend the query, or the row.
    #[error("the query {query:?}, column {column:?}: {problem}")]
    Column {
        /// Which query.
        query: &'static str,
        /// Which of its columns.
        column: &'static str,
        /// What is wrong, and how it has to be.
        problem: String,
    },
    /// The change breaks a rule: a batch that is there already, say, or more photos than a batch may have.
    #[error("{0}")]
    Refused(String),
}

impl SqlError {
    /// Sorts what the client library reports of a query.
    pub(super) fn of(query: &'static str, error: sqlx::Error) -> Self {
        if timed_out(&error) {
            return Self::TimedOut { query };
        }
        match error {
            sqlx::Error::Database(_) if kept_out(&error) => Self::Unreachable { source: Box::new(error) },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable { source: Box::new(error) },
            _ => Self::Query { query, source: Box::new(error) },
        }
    }
}

/// Whether the database let nobody in: wrong credentials, no such database, too many connections, starting or stopping
/// (classes 08, 28 and 53, 3D000, 57P01 to 57P03 of Postgres), or `SQLITE_CANTOPEN`.
fn kept_out(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else { return false };
    let class = code.get(..2).unwrap_or_default();
    code.len() == 5 && (matches!(class, "08" | "28" | "53" | "3D") || code.starts_with("57P0")) || code == "14"
}

/// Whether the database gave up because a time-out had passed: `query_canceled` and `lock_not_available` of Postgres,
/// `SQLITE_INTERRUPT` and `SQLITE_BUSY`.
fn timed_out(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    matches!(error.code().as_deref(), Some("57014" | "55P03" | "9" | "5"))
}
