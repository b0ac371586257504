//! Making, watching and making anew the connection that all requests share; and what a connection to Redis
//! needs wherever it is made: waits, error texts.

use crate::catalogue::Catalogue;
use crate::metrics::Metrics;
use crate::target::{Link, Target};
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use redis_rest::Reply;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long Redis may take to answer whether it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a command is tried again in a cluster that is being rearranged.
const MAX_REDIRECTIONS: u32 = 6;

/// How it stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Being made, so that the outcome is known soon.
    Connecting,
    Up(Connection),
    /// Not there, for this reason, and not tried again right now.
    Down(String),
}

/// A connection, and which commands the server behind it knows.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    link: Link,
    pub(crate) catalogue: Catalogue,
}

impl Connection {
    /// Sends one command. An error of Redis is a reply.
    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Reply> {
        match &self.link {
            Link::Server(link) => link.clone().send_packed_command(command).await.map(reply),
            Link::Cluster(link) => {
                let ask = || {
                    let mut link = link.clone();
                    async move { link.req_packed_command(command).await }
                };
                redirected(ask).await.map(reply).or_else(refusal)
            }
        }
    }

    /// Sends several commands, in order. In a cluster each waits for the one before: they may go to different nodes.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Reply>> {
        match &self.link {
            Link::Server(link) => {
                let replies = link.clone().send_packed_commands(commands, 0, commands.len()).await?;
                Ok(replies.into_iter().map(reply).collect())
            }
            Link::Cluster(_) => {
                let mut replies = Vec::with_capacity(commands.len());
                for command in commands.cmd_iter() {
                    replies.push(self.send(command).await?);
                }
                Ok(replies)
            }
        }
    }

    /// Sends several commands as one transaction; the reply to `EXEC`, or the error that refused it.
    pub(crate) async fn send_atomic(&self, commands: &Pipeline) -> RedisResult<Reply> {
        let mut all = Pipeline::with_capacity(commands.len() + 2);
        all.add_command(redis::cmd("MULTI"));
        for command in commands.cmd_iter() {
            all.add_command(command.clone());
        }
        all.add_command(redis::cmd("EXEC"));
        // One piece of bytes on a connection that writes piece by piece: that is what keeps it together.
        let replies = match &self.link {
            Link::Server(link) => link.clone().send_packed_commands(&all, 0, all.len()).await,
            Link::Cluster(link) => {
                let ask = || {
                    let (mut link, all) = (link.clone(), &all);
                    async move { link.req_packed_commands(all, 0, all.len()).await }
                };
                redirected(ask).await
            }
        };
        replies.map(|mut replies| replies.pop().map_or(Reply::Nil, reply)).or_else(refusal)
    }
}

/// Asks again, with growing pauses, as long as nothing was run: the slot is moving, or its node is changing. What may
/// have run is not asked again.
async fn redirected<T, F: Future<Output = RedisResult<T>>>(ask: impl Fn() -> F) -> RedisResult<T> {
    let mut pause = Duration::from_millis(20);
    for _ in 0..MAX_REDIRECTIONS {
        match ask().await {
            Err(error) if was_not_run(&error) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    ask().await
}

fn was_not_run(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(Moved | Ask | TryAgain | ClusterDown | MasterDown | ReadOnly | BusyLoading)
    )
}

/// What an error says to whoever asked: Redis' words are a reply.
fn refusal(error: RedisError) -> RedisResult<Reply> {
    server_error_text(&error).map(Reply::Error).ok_or(error)
}

/// A value as the connection gives it, in RESP2's kinds.
fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes),
        Value::Array(values) => Reply::Array(values.into_iter().map(reply).collect()),
        Value::SimpleString(text) => Reply::Status(text),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::ServerError(error) => Reply::Error(error_text(error.code(), error.details())),
        // The connection speaks RESP2, which has no other kinds.
        _ => Reply::Error("ERR the gateway does not know this kind of reply".to_owned()),
    }
}

/// Keeps a connection for ever, and tells `state`. It is asked whether it is alive when it is `suspect`: when a request
/// on it failed, or the subscription connection was lost.
pub(crate) async fn keep_connected(
    target: &Target,
    response_timeout: Duration,
    state: &watch::Sender<State>,
    suspect: &Notify,
    metrics: &Metrics,
) {
    let mut backoff = Backoff::default();
    loop {
        state.send_replace(State::Connecting);
        match connect(target, response_timeout).await {
            Ok(connection) => {
                tracing::info!("connected to Redis");
                backoff = Backoff::default();
                metrics.redis_connections.add(1);
                state.send_replace(State::Up(connection.clone()));
                let reason = lost(connection, suspect).await;
                tracing::warn!(reason, "lost the connection to Redis");
                // Before the wait: what is sent on a connection that is lost has an unknown end.
                state.send_replace(State::Connecting);
            }
            Err(reason) => {
                tracing::warn!(reason, "no connection to Redis");
                state.send_replace(State::Down(reason));
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn connect(target: &Target, response_timeout: Duration) -> Result<Connection, String> {
    let link = timeout(target.connect_timeout(), target.connect(response_timeout))
        .await
        .map_err(|_| format!("no connection within {:?}", target.connect_timeout()))?
        .map_err(|error| error.to_string())?;
    let connection = Connection { link, catalogue: Catalogue::default() };
    // A server that still loads its data accepts connections and answers everything with an error. Of a cluster some
    // nodes may be away while others serve.
    if matches!(connection.link, Link::Server(_)) {
        ping(&connection).await?;
    }
    Ok(connection)
}

/// Returns with the reason when the connection is no longer good for requests.
async fn lost(connection: Connection, suspect: &Notify) -> String {
    loop {
        suspect.notified().await;
        // The library itself finds nodes that come and go; a connection made anew would cut off those that are well.
        if matches!(connection.link, Link::Cluster(_)) {
            continue;
        }
        if let Err(reason) = ping(&connection).await {
            return reason;
        }
        if let Err(reason) = still_writable(&connection).await {
            return reason;
        }
    }
}

async fn ping(connection: &Connection) -> Result<(), String> {
    match timeout(PING_TIMEOUT, connection.send(&redis::cmd("PING"))).await {
        // A user without the right to PING may still have others.
        Ok(Ok(Reply::Error(words))) if !words.starts_with("NOPERM ") => Err(words),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer to a ping within {PING_TIMEOUT:?}")),
    }
}

/// A master that Sentinel has made a replica keeps its connections, and refuses to write.
async fn still_writable(connection: &Connection) -> Result<(), String> {
    match timeout(PING_TIMEOUT, connection.send(&redis::cmd("ROLE"))).await {
        Ok(Ok(Reply::Array(parts))) if parts.first().and_then(Reply::as_str) == Some("slave") => {
            Err("the server is a replica now".to_owned())
        }
        // A user without the right to ask is not told.
        _ => Ok(()),
    }
}

/// Redis' own words, where the error is Redis'.
pub(crate) fn server_error_text(error: &RedisError) -> Option<String> {
    error.code().map(|code| error_text(code, error.detail()))
}

/// The line that Redis sent, put together again.
pub(crate) fn error_text(code: &str, details: Option<&str>) -> String {
    details.map_or_else(|| code.to_owned(), |details| format!("{code} {details}"))
}

/// The waits between attempts: 50 ms, doubled each time, at most 1 s.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn errors_keep_redis_words() {
        assert_eq!(error_text("WRONGTYPE", Some("Operation against a key")), "WRONGTYPE Operation against a key");
        assert_eq!(error_text("ERR", None), "ERR");
    }
}
