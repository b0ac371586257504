//! What can go wrong, split by what the caller should do next.

use std::time::Duration;

use wire::{BatchId, StateError};

use crate::SourceError;

/// Why something was not published, read or watched.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// match publisher.publish_latest(&batch).await {
///     Ok(_) => println!("published"),
///     Err(PublishError::Unknown(batch)) => println!("the database has no {batch}"),
///     Err(error @ PublishError::Unanswered { .. }) => println!("it stays due: {error}"),
///     Err(error) => return Err(error.into()), // Its words say what to mend.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A setting is wrong. Mend it; nothing was sent.
    #[error("{setting}: {problem}")]
    Config {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it; never holds a secret.
        problem: String,
    },
    /// The state breaks a rule. Mend the state; nothing was sent.
    #[error("the state breaks a rule: {0}")]
    Invalid(#[from] StateError),
    /// What Redis holds does not reach up to these changes. Publish the whole state (`since: None`).
    #[error("redis holds nothing that these changes continue: publish the whole state")]
    NeedsFull,
    /// The stored batch has ended in this epoch. To re-open it, raise the epoch.
    #[error("the batch has ended in this epoch: raise the epoch to re-open it")]
    Finished,
    /// What Redis holds under the batch's key can't be read. Publish the whole state, or invalidate.
    #[error("what redis holds can't be read: {0}")]
    Unreadable(#[source] StateError),
    /// Redis answered no. The same command gets the same answer until someone changes Redis; but for `NOREPLICAS`,
    /// `TRYAGAIN` and `BUSY`, which pass, and which a [`Tracker`](crate::Tracker) waits for.
    #[error("redis rejected {command}: {message}")]
    Rejected {
        /// The command.
        command: &'static str,
        /// Redis' words.
        message: String,
    },
    /// Redis let nobody in with these credentials. Mend user and password in the Redis URL.
    #[error("redis refuses the connection: {message}")]
    NotAdmitted {
        /// Redis' words.
        message: String,
    },
    /// No answer. The write may have happened; repeating it is safe, because positions order everything.
    #[error("no answer from redis: {source}")]
    Unanswered {
        /// What became of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The application's database failed. Ask it again later.
    #[error("the source failed: {0}")]
    Source(#[source] SourceError),
    /// The application's database took too long. Ask it again later.
    #[error("the source did not answer within {0:?}")]
    SourceTimeout(Duration),
    /// The source does not know the batch.
    #[error("the source does not know the batch {0}")]
    Unknown(BatchId),
    /// This needs a [`crate::ProgressSource`], and the publisher has none.
    #[error("no source was given: Publisher::builder(url).source(database)")]
    NoSource,
}

impl PublishError {
    /// Sorts what the client library reports: no answer, or an answer that says no.
    pub(crate) fn from_redis(command: &'static str, error: redis::RedisError) -> Self {
        if is_transport(&error) {
            return Self::Unanswered { source: Box::new(error) };
        }
        Self::Rejected { command, message: words(&error) }
    }

    /// The same for the making of a connection.
    pub(crate) fn from_connecting(error: redis::RedisError) -> Self {
        if is_transport(&error) {
            return Self::Unanswered { source: Box::new(error) };
        }
        Self::NotAdmitted { message: error.to_string() }
    }

    /// Whether Redis said no for a moment: it has too few replicas, moves the slot, or runs a script for long. The
    /// connection is sound. Redis before 7 wraps what a command in a script said into words of its own, so the code may
    /// stand anywhere.
    pub(crate) fn is_passing(&self) -> bool {
        let Self::Rejected { message, .. } = self else { return false };
        let mut words = message.split(|c: char| !c.is_ascii_alphanumeric());
        // `TryAgain`: as the library calls it.
        words.any(|word| matches!(word, "NOREPLICAS" | "TRYAGAIN" | "TryAgain" | "BUSY"))
    }
}

/// Redis' own words where it said no: the library puts its codes into quotation marks.
fn words(error: &redis::RedisError) -> String {
    match (error.kind(), error.code(), error.detail()) {
        (redis::ErrorKind::Extension, Some(code), Some(detail)) => format!("{code}: {detail}"),
        _ => error.to_string(),
    }
}

/// Whether the connection is to blame. A server that loads its data, or has become a replica, counts as away: another
/// connection, later, may well find it in order.
pub(crate) fn is_transport(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind as Server};
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Parse
            // In the middle of a failover.
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::Server(Server::BusyLoading | Server::ReadOnly | Server::MasterDown | Server::ClusterDown)
    )
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    #[test]
    fn a_refusal_that_passes_is_told_from_one_that_stays_in_a_script_too() {
        let passes = |line: &str| {
            let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error);
            PublishError::from_redis("EVALSHA", answer.unwrap_err()).is_passing()
        };
        assert!(passes("NOREPLICAS Not enough good replicas to write. script: 63513ef7, on @user_script:171."));
        assert!(passes(
            "ERR Error running script (call to f_63): @user_script:1: @user_script: 1: -NOREPLICAS Not enough replicas."
        ));
        assert!(passes("TRYAGAIN Multiple keys request during rehashing of slot"));
        assert!(passes("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."));
        assert!(!passes("OOM command not allowed when used memory > 'maxmemory'."));
        assert!(!passes("NOPERM this user has no permissions to run the 'evalsha' command"));
        assert!(!passes("LOADING Redis is loading the dataset in memory"));
    }
}
