//! Names of the metrics that the edge keeps, after Prometheus' conventions.
//!
//! ```
//! use batchcast_wire::metrics;
//!
//! // For a dashboard or an alarm that is generated: a name that changes breaks the build, not the alarm.
//! let alarm = format!("increase({}[5m]) > 0", metrics::GAPS);
//! assert_eq!(alarm, "increase(batchcast_gaps_total[5m]) > 0");
//! ```

/// Counter: events written to viewers' streams.
pub const SSE_EVENTS: &str = "batchcast_sse_events_total";
/// Histogram: seconds from the commit (`at`) to the write.
pub const SSE_LATENCY: &str = "batchcast_sse_latency_seconds";
/// Counter: cached reads by `result` (`hit`, `miss`, `stale`) and `source` (`memory`, `redis`, `origin`).
pub const CACHE_REQUESTS: &str = "batchcast_cache_requests_total";
/// Counter: channel messages by `outcome` (`applied`, `dropped`, `held`, `gap`, `reread`, `ping`, `unknown`).
pub const PUBSUB_MESSAGES: &str = "batchcast_pubsub_messages_total";
/// Counter: commands the edge sent to Redis.
pub const REDIS_COMMANDS: &str = "batchcast_redis_commands_total";
/// Counter: reads the edge made at the origin.
pub const ORIGIN_READS: &str = "batchcast_origin_reads_total";
/// Counter: upstream subscriptions opened again.
pub const UPSTREAM_RECONNECTS: &str = "batchcast_upstream_reconnects_total";
/// Counter: times at which an update was found missing; several messages behind the same gap count once.
pub const GAPS: &str = "batchcast_gaps_total";
/// Counter: events that covered more than one update because their viewer's stream was full.
pub const CONFLATED: &str = "batchcast_conflated_total";
/// Counter: events whose time from commit to write was no latency and was clamped: the clocks of worker and edge differ,
/// or an outage held the update up for more than a minute.
pub const SSE_LATENCY_CLAMPED: &str = "batchcast_sse_latency_clamped_total";
/// Counter: streams answered with `busy` by an object, by `reason`: `full` (as many viewers as there may be), `user` (as
/// many of this user), `outage` (nobody answers and nothing is held), `behind` (the viewer has seen more than Redis holds, and the origin does
/// not answer).
pub const BUSY: &str = "batchcast_busy_total";
/// Counter: streams closed because nothing had changed for long.
pub const FORGOTTEN: &str = "batchcast_forgotten_total";
/// Counter: streams closed because the token behind them had expired.
pub const EXPIRED: &str = "batchcast_auth_expired_total";
/// Counter: what stood in Redis and was not understood, by `what`: `hash` (all of it), `field` (a photo, or the form of
/// the head).
pub const UNREADABLE: &str = "batchcast_unreadable_total";
/// Gauge: open streams.
pub const VIEWERS: &str = "batchcast_viewers";
/// Gauge: rooms.
pub const ROOMS: &str = "batchcast_rooms";
/// Gauge: rooms whose viewers were told that what they see may be behind.
pub const STALE_ROOMS: &str = "batchcast_stale_rooms";

/// Upper bounds of the latency buckets, in milliseconds.
pub const LATENCY_BUCKETS_MS: [u64; 7] = [1, 5, 10, 50, 100, 500, 1_000];
