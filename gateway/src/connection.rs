//! Making, watching and making anew the connection that all requests share; and what a connection to Redis
//! needs wherever it is made: waits, error texts.

use crate::catalogue::Catalogue;
use crate::metrics::Metrics;
use crate::target::{Link, Target};
use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use redis_rest::Reply;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::timeout;

/// How long Redis may take to answer whether it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How a cluster refuses commands that would need several nodes, and what Redis says with it.
const CROSS_SLOT: &str = "CROSSSLOT";
const CROSS_SLOT_WORDS: &str = "Keys in request don't hash to the same slot";

/// The most commands that are sent at once: their replies are all in memory before any of them counts.
pub(crate) const SLICE: usize = 64;

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
    /// Whether the server was a master when the connection was made.
    master: bool,
    /// Whether the user may make transactions, once that was asked.
    transactions: Arc<OnceCell<Result<(), String>>>,
    pub(crate) catalogue: Catalogue,
}

impl Connection {
    /// Sends one command. An error of Redis is a reply.
    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Reply> {
        match &self.link {
            Link::Server(link, _) => link.clone().send_packed_command(command).await.map(reply),
            Link::Cluster(link) => {
                let ask = || {
                    let mut link = link.clone();
                    async move { link.req_packed_command(command).await.map(|reply| vec![reply]) }
                };
                match redirected(link, &[command], ask).await {
                    Ok(mut replies) => Ok(replies.pop().map_or(Reply::Nil, reply)),
                    Err(error) => words(error, is_script(command)),
                }
            }
        }
    }

    /// Sends several commands, in order; at most [`SLICE`] of them. In a cluster each waits for the one before, as they
    /// may go to different nodes, and one that gets no answer fails alone, as others have run.
    pub(crate) async fn send_slice(&self, commands: &Pipeline) -> RedisResult<Vec<Reply>> {
        match &self.link {
            Link::Server(link, _) => {
                let replies = link.clone().send_packed_commands(commands, 0, commands.len()).await?;
                Ok(replies.into_iter().map(reply).collect())
            }
            Link::Cluster(_) => {
                let mut replies = Vec::with_capacity(commands.len());
                for command in commands.cmd_iter() {
                    let reply = self.send(command).await;
                    replies.push(reply.unwrap_or_else(|error| Reply::Error(Unavailable::of(&error).to_string())));
                }
                Ok(replies)
            }
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.link, Link::Cluster(_))
    }

    /// Whether Redis takes `MULTI` and `EXEC` of this user: where it refuses one of them, what stands between would run
    /// by itself. Asked once, with nothing between.
    async fn may_transact(&self) -> RedisResult<&Result<(), String>> {
        let ask = async || {
            let mut nothing = Pipeline::with_capacity(2);
            nothing.add_command(redis::cmd("MULTI")).add_command(redis::cmd("EXEC"));
            let replies = self.send_whole(&nothing).await?;
            let refused = replies.into_iter().find_map(|reply| reply.into_result().err());
            RedisResult::Ok(refused.map_or(Ok(()), Err))
        };
        self.transactions.get_or_try_init(ask).await
    }

    /// Sends commands that belong together, in one piece of bytes on a connection that writes piece by piece: that is
    /// what keeps them together.
    async fn send_whole(&self, commands: &Pipeline) -> RedisResult<Vec<Reply>> {
        let replies = match &self.link {
            Link::Server(link, _) => link.clone().send_packed_commands(commands, 0, commands.len()).await,
            Link::Cluster(link) => {
                let ask = || {
                    let mut link = link.clone();
                    async move { link.req_packed_commands(commands, 0, commands.len()).await }
                };
                redirected(link, &commands.cmd_iter().collect::<Vec<_>>(), ask).await
            }
        };
        Ok(replies?.into_iter().map(reply).collect())
    }

    /// Sends several commands as one transaction. The last reply is that to `EXEC`, or the error that refused it.
    pub(crate) async fn send_atomic(&self, commands: &Pipeline) -> RedisResult<Vec<Reply>> {
        let mut all = Pipeline::with_capacity(commands.len() + 2);
        all.add_command(redis::cmd("MULTI"));
        for command in commands.cmd_iter() {
            all.add_command(command.clone());
        }
        all.add_command(redis::cmd("EXEC"));
        if let Err(words) = self.may_transact().await? {
            return Ok(vec![Reply::Error(words.clone())]);
        }
        match self.send_whole(&all).await {
            // Its right was taken away since: what stood between has run by itself.
            Ok(replies) if replies.first() != Some(&Reply::Status("OK".to_owned())) => {
                Err((ErrorKind::Client, "a transaction did not begin").into())
            }
            Err(error) => words(error, false).map(|reply| vec![reply]),
            replies => replies,
        }
    }
}

/// Asks again, with growing pauses, as long as nothing was run: the slot is moving, or its node is changing. What may
/// have run is not asked again.
async fn redirected<F: Future<Output = RedisResult<Vec<Value>>>>(
    link: &ClusterConnection,
    commands: &[&Cmd],
    ask: impl Fn() -> F,
) -> RedisResult<Vec<Value>> {
    let script = commands.iter().any(|command| is_script(command));
    let mut pause = Duration::from_millis(20);
    for _ in 0..MAX_REDIRECTIONS {
        let answer = match ask().await {
            // The slot is moving, and what it held of these keys has moved already.
            Err(error) if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Ask)) => {
                match error.redirect_node().and_then(|(address, _)| address.rsplit_once(':')) {
                    Some((host, port)) => ask_there(link, host, port, commands).await,
                    None => Err(error),
                }
            }
            answer => answer,
        };
        match answer {
            Err(error) if may_ask_again(&error, script) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    ask().await
}

async fn ask_there(link: &ClusterConnection, host: &str, port: &str, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
    let mut all = Pipeline::new();
    // Holds for the next command, and for all of a transaction that begins with it.
    all.add_command(redis::cmd("ASKING"));
    for command in commands {
        all.add_command((*command).clone());
    }
    let port = port.parse().map_err(|_| RedisError::from((ErrorKind::Client, "a node's port is not a number")))?;
    let node = SingleNodeRoutingInfo::ByAddress { host: host.into(), port };
    let count = all.len() - 1;
    link.clone().route_pipeline(all, 1, count, node).await
}

/// Nothing was run. A script makes errors of its own, and could say of itself what Redis says of a command that it has
/// not run; only that its keys are elsewhere is Redis' to say.
fn may_ask_again(error: &RedisError, script: bool) -> bool {
    says_not_run(error) && (!script || error.redirect_node().is_some())
}

fn is_script(command: &Cmd) -> bool {
    let name = match command.args_iter().next() {
        Some(Arg::Simple(name)) => name.to_ascii_uppercase(),
        _ => return false,
    };
    name.starts_with(b"EVAL") || name.starts_with(b"FCALL")
}

/// Redis says that it has run nothing, and asking later may help.
fn says_not_run(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(Moved | Ask | TryAgain | ClusterDown | MasterDown | ReadOnly | BusyLoading)
    )
}

/// What an error says to whoever asked: Redis' words are a reply, unless they are about its cluster and not a script's.
fn words(error: RedisError, script: bool) -> RedisResult<Reply> {
    match server_error_text(&error) {
        _ if may_ask_again(&error, script) => Err(error),
        // The library's own, which it does not explain.
        Some(words) if words == CROSS_SLOT => Ok(Reply::Error(format!("{words} {CROSS_SLOT_WORDS}"))),
        Some(words) => Ok(Reply::Error(words)),
        None => Err(error),
    }
}

/// There is no answer of Redis to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unavailable {
    /// There is no connection, or no node that would: nothing was run.
    #[error("ERR Redis is not reachable; nothing was sent, try again shortly")]
    NotConnected,
    /// The connection went, or Redis was too slow: the commands may have run.
    #[error("ERR Redis did not answer; the commands may have been executed")]
    Unanswered,
}

impl Unavailable {
    /// What an error means for whoever asked.
    pub(crate) fn of(error: &RedisError) -> Self {
        if says_not_run(error) { Self::NotConnected } else { Self::Unanswered }
    }
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
    let mut connection =
        Connection { link, master: false, transactions: Arc::default(), catalogue: Catalogue::default() };
    // A server that still loads its data accepts connections and answers everything with an error. Of a cluster some
    // nodes may be away while others serve.
    if matches!(connection.link, Link::Server(..)) {
        ping(&connection).await?;
        connection.master = role(&connection).await.as_deref() == Some("master");
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
        // A master that Sentinel has made a replica keeps its connections, and refuses to write.
        if connection.master && role(&connection).await.as_deref() == Some("slave") {
            return "the server is a replica now".to_owned();
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

/// What the server is; `None` for a user without the right to ask.
async fn role(connection: &Connection) -> Option<String> {
    let answer = timeout(PING_TIMEOUT, connection.send(&redis::cmd("ROLE"))).await.ok()?.ok()?;
    Some(answer.as_array()?.first()?.as_str()?.to_owned())
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
