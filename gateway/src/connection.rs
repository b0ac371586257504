//! Making, watching and making anew the connection that all requests share; and what a connection to Redis
//! needs wherever it is made: times, waits, error texts.

use crate::catalogue::Catalogue;
use crate::metrics::Metrics;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, RedisError, Value};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long a connection to Redis may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long Redis may take to answer a request.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long Redis may take to answer whether it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that vanished is found by the kernel's probes: after this silence, and then so many unanswered ones.
/// Asking by `PING` instead would make a quiet Redis answer for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Requests on their way to the connection's task. The crate's 50 would make bursts wait in line.
const SEND_QUEUE: usize = 1024;

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
    pub(crate) redis: MultiplexedConnection,
    pub(crate) catalogue: Catalogue,
}

/// How a connection to Redis behaves below Redis' protocol.
pub(crate) fn tcp_settings() -> TcpSettings {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER).with_retries(KEEPALIVE_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// Keeps a connection for ever, and tells `state`. It is asked whether it is alive when it is `suspect`: when a request
/// on it failed, or the subscription connection was lost.
pub(crate) async fn keep_connected(
    client: &redis::Client,
    state: &watch::Sender<State>,
    suspect: &Notify,
    metrics: &Metrics,
) {
    let mut backoff = Backoff::default();
    loop {
        state.send_replace(State::Connecting);
        match connect(client).await {
            Ok(redis) => {
                tracing::info!("connected to Redis");
                backoff = Backoff::default();
                metrics.redis_connections.add(1);
                state.send_replace(State::Up(Connection { redis: redis.clone(), catalogue: Catalogue::default() }));
                let reason = lost(redis, suspect).await;
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

async fn connect(client: &redis::Client) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(SEND_QUEUE);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let redis = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| format!("no connection within {CONNECT_TIMEOUT:?}"))?
        .map_err(|error| error.to_string())?;
    // A server that still loads its data accepts connections and answers everything with an error.
    ping(&redis).await.map(|()| redis)
}

/// Returns with the reason when the connection is no longer good for requests.
async fn lost(redis: MultiplexedConnection, suspect: &Notify) -> String {
    loop {
        suspect.notified().await;
        if let Err(reason) = ping(&redis).await {
            return reason;
        }
    }
}

async fn ping(redis: &MultiplexedConnection) -> Result<(), String> {
    let mut redis = redis.clone();
    let command = redis::cmd("PING");
    match timeout(PING_TIMEOUT, redis.send_packed_command(&command)).await {
        // A user without the right to PING may still have others.
        Ok(Ok(Value::ServerError(error))) if error.code() != "NOPERM" => Err(error_text(error.code(), error.details())),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer to a ping within {PING_TIMEOUT:?}")),
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
