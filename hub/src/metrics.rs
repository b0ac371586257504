//! From what objects count to what an operator reads.
//!
//! Every object adds its deltas to one Redis hash whose fields are Prometheus series, so figures survive restarts and
//! cover all objects. Gauges can't be kept by deltas (they would drift at every restart): each object writes its own
//! with a time, and old ones are left out.

use wire::metrics::{
    BUSY, CACHE_REQUESTS, CONFLATED, EXPIRED, FORGOTTEN, GAPS, LATENCY_BUCKETS_MS, ORIGIN_READS, PUBSUB_MESSAGES,
    REDIS_COMMANDS, ROOMS, SSE_EVENTS, SSE_LATENCY, SSE_LATENCY_CLAMPED, UNREADABLE, UPSTREAM_RECONNECTS, VIEWERS,
};

use crate::{CacheResult, Counters, Millis, Source};

/// What fields of gauges begin with; the object's id follows.
const GAUGE_PREFIX: &str = "gauge:";
/// A gauge older than this is of an object that is gone.
const GAUGE_TTL: Millis = 120_000;

const RESULTS: [(CacheResult, &str); 3] =
    [(CacheResult::Hit, "hit"), (CacheResult::Miss, "miss"), (CacheResult::Stale, "stale")];
const SOURCES: [(Source, &str); 3] = [(Source::Memory, "memory"), (Source::Redis, "redis"), (Source::Origin, "origin")];

/// What one object counted since it last told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectCounters {
    /// Its rooms' counters.
    pub rooms: Counters,
    /// Commands sent to Redis.
    pub redis_commands: u64,
    /// Reads made at the origin.
    pub origin_reads: u64,
    /// Hashes that could not be read as the batch.
    pub unreadable_hashes: u64,
    /// Fields of hashes that were not understood.
    pub unreadable_fields: u64,
    /// Streams answered with `busy` because the batch has as many viewers as it may have.
    pub busy_full: u64,
    /// Streams answered with `busy` because the batch has as many viewers of this user as it may have.
    pub busy_user: u64,
    /// Streams answered with `busy` because neither Redis nor the origin answered.
    pub busy_outage: u64,
    /// Streams answered with `busy` because their viewer had seen more than Redis holds and the origin did not answer.
    pub busy_behind: u64,
    /// Viewers that looked in again at a batch that had not changed for long, and were sent away again.
    pub forgotten: u64,
    reads: [[u64; SOURCES.len()]; RESULTS.len()],
}

impl ObjectCounters {
    /// A cached read was answered.
    pub fn read(&mut self, result: CacheResult, source: Source) {
        let row = RESULTS.iter().position(|(r, _)| *r == result).unwrap_or_default();
        let column = SOURCES.iter().position(|(s, _)| *s == source).unwrap_or_default();
        self.reads[row][column] += 1;
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.rooms.add(&other.rooms);
        self.redis_commands += other.redis_commands;
        self.origin_reads += other.origin_reads;
        self.unreadable_hashes += other.unreadable_hashes;
        self.unreadable_fields += other.unreadable_fields;
        self.busy_full += other.busy_full;
        self.busy_user += other.busy_user;
        self.busy_outage += other.busy_outage;
        self.busy_behind += other.busy_behind;
        self.forgotten += other.forgotten;
        for (mine, theirs) in self.reads.iter_mut().flatten().zip(other.reads.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// The deltas as fields of the hash and what to add to each, zeros left out. Times are in seconds.
    pub fn series(&self) -> Vec<(String, f64)> {
        let rooms = &self.rooms;
        let mut series = vec![
            (SSE_EVENTS.to_owned(), rooms.events),
            (CONFLATED.to_owned(), rooms.conflated),
            (GAPS.to_owned(), rooms.gaps),
            (SSE_LATENCY_CLAMPED.to_owned(), rooms.latency_clamped),
            (FORGOTTEN.to_owned(), rooms.forgotten + self.forgotten),
            (EXPIRED.to_owned(), rooms.expired),
            (format!("{UNREADABLE}{{what=\"hash\"}}"), self.unreadable_hashes),
            (format!("{UNREADABLE}{{what=\"field\"}}"), self.unreadable_fields),
            (format!("{BUSY}{{reason=\"full\"}}"), self.busy_full),
            (format!("{BUSY}{{reason=\"user\"}}"), self.busy_user),
            (format!("{BUSY}{{reason=\"outage\"}}"), self.busy_outage),
            (format!("{BUSY}{{reason=\"behind\"}}"), self.busy_behind),
            (UPSTREAM_RECONNECTS.to_owned(), rooms.reconnects),
            (REDIS_COMMANDS.to_owned(), self.redis_commands),
            (ORIGIN_READS.to_owned(), self.origin_reads),
        ];
        for (row, (_, result)) in self.reads.iter().zip(RESULTS) {
            for (count, (_, source)) in row.iter().zip(SOURCES) {
                series.push((cache_series(result, source), *count));
            }
        }
        let m = &rooms.messages;
        for (outcome, count) in [
            ("applied", m.applied),
            ("dropped", m.dropped),
            ("held", m.held),
            ("gap", m.gap),
            ("reread", m.reread),
            ("ping", m.ping),
            ("unknown", m.unknown),
        ] {
            series.push((format!("{PUBSUB_MESSAGES}{{outcome=\"{outcome}\"}}"), count));
        }
        let mut within = 0;
        for (count, bound) in rooms.latency.iter().zip(LATENCY_BUCKETS_MS) {
            within += count;
            series.push((bucket_series(&(bound as f64 / 1_000.0).to_string()), within));
        }
        let all = rooms.latency.iter().sum();
        series.extend([(bucket_series("+Inf"), all), (format!("{SSE_LATENCY}_count"), all)]);
        let mut series: Vec<(String, f64)> = series.into_iter().map(|(name, count)| (name, count as f64)).collect();
        series.push((format!("{SSE_LATENCY}_sum"), rooms.latency_sum_ms as f64 / 1_000.0));
        series.retain(|(_, delta)| *delta > 0.0);
        series
    }
}

/// Whether a field could be a series of ours: nothing in it could begin a line or a label of its own.
fn is_series(field: &str) -> bool {
    field.starts_with("batchcast_") && field.bytes().all(|b| b.is_ascii_alphanumeric() || br#"_{}="+.,"#.contains(&b))
}

fn cache_series(result: &str, source: &str) -> String {
    format!("{CACHE_REQUESTS}{{result=\"{result}\",source=\"{source}\"}}")
}

fn bucket_series(bound: &str) -> String {
    format!("{SSE_LATENCY}_bucket{{le=\"{bound}\"}}")
}

/// The field of one object's gauges.
pub fn gauge_field(object: &str) -> String {
    format!("{GAUGE_PREFIX}{object}")
}

/// The value of one object's gauges at `now`; `None` without rooms: the field is to be deleted.
pub fn gauge(viewers: usize, rooms: usize, now: Millis) -> Option<String> {
    (rooms > 0).then(|| format!("{viewers} {rooms} {now}"))
}

/// All series, read from the hash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    series: Vec<(String, f64)>,
    viewers: u64,
    rooms: u64,
    gone: Vec<String>,
}

impl Figures {
    /// Reads the fields of the metrics hash as of `now`. What can't be read is left out, and what is no series of ours:
    /// someone else may have written it.
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, now: Millis) -> Self {
        let mut figures = Self::default();
        for (field, value) in fields {
            if field.starts_with(GAUGE_PREFIX) {
                let numbers: Vec<u64> = value.split(' ').filter_map(|number| number.parse().ok()).collect();
                match numbers[..] {
                    [viewers, rooms, at] if now < at.saturating_add(GAUGE_TTL) => {
                        figures.viewers += viewers;
                        figures.rooms += rooms;
                    }
                    _ => figures.gone.push(field.to_owned()),
                }
            } else if let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite())
                && is_series(field)
            {
                figures.series.push((field.to_owned(), value));
            }
        }
        figures.series.sort_by(|a, b| a.0.cmp(&b.0));
        figures
    }

    /// The fields of objects that vanished without a word: they can be deleted.
    pub fn gone(&self) -> &[String] {
        &self.gone
    }

    fn sum(&self, which: impl Fn(&str) -> bool) -> f64 {
        // Not `sum`: over nothing it is -0, and is printed so.
        self.series.iter().filter(|(name, _)| which(name)).fold(0.0, |sum, (_, value)| sum + value)
    }

    /// The figures in Prometheus' text exposition format 0.0.4.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, kind, help) in FAMILIES {
            let of_family = |series: &str| {
                let rest = series.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', '_']))
            };
            out += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            match *name {
                VIEWERS => out += &format!("{name} {}\n", self.viewers),
                ROOMS => out += &format!("{name} {}\n", self.rooms),
                SSE_LATENCY => self.push_histogram(&mut out),
                _ => {
                    let mut found = self.series.iter().filter(|(series, _)| of_family(series)).peekable();
                    if found.peek().is_none() && !LABELLED.contains(name) {
                        out += &format!("{name} 0\n");
                    }
                    found.for_each(|(series, value)| out += &format!("{series} {value}\n"));
                }
            }
        }
        out
    }

    fn push_histogram(&self, out: &mut String) {
        let bounds = LATENCY_BUCKETS_MS.iter().map(|ms| (*ms as f64 / 1_000.0).to_string());
        let buckets = bounds.chain(["+Inf".to_owned()]).map(|bound| bucket_series(&bound));
        for series in buckets.chain(["_sum", "_count"].map(|end| format!("{SSE_LATENCY}{end}"))) {
            *out += &format!("{series} {}\n", self.sum(|name| name == series));
        }
    }

    /// The figures in the short JSON form of `GET /api/metrics`.
    pub fn to_json(&self) -> String {
        let result =
            |result: &str| self.sum(|name| name.starts_with(&format!("{CACHE_REQUESTS}{{result=\"{result}\"")));
        let (hits, misses) = (result("hit"), result("miss"));
        let total = hits + misses + result("stale");
        let ratio = if total > 0.0 { 100.0 * hits / total } else { 0.0 };
        let messages = self.sum(|name| name.starts_with(PUBSUB_MESSAGES));
        let events = self.sum(|name| name == SSE_EVENTS);
        let timed = self.sum(|name| name == format!("{SSE_LATENCY}_count"));
        let seconds = self.sum(|name| name == format!("{SSE_LATENCY}_sum"));
        let average = if timed > 0.0 { 1_000.0 * seconds / timed } else { 0.0 };
        format!(
            "{{\"redis\":{{\"cacheHits\":{hits},\"cacheMisses\":{misses},\"cacheTotal\":{total},\
             \"cacheHitRatio\":\"{ratio:.2}%\",\"pubSubEvents\":{messages}}},\
             \"sse\":{{\"sseEventCount\":{events},\"sseAvgLatencyMs\":{average:.2}}}}}"
        )
    }
}

/// Families that have no series without a label.
const LABELLED: &[&str] = &[BUSY, CACHE_REQUESTS, PUBSUB_MESSAGES, UNREADABLE];

const FAMILIES: &[(&str, &str, &str)] = &[
    (SSE_EVENTS, "counter", "Events written to viewers' streams."),
    (SSE_LATENCY, "histogram", "Time from the commit to the write of a live event."),
    (SSE_LATENCY_CLAMPED, "counter", "Live events whose time was no latency: clocks that differ, or a long outage."),
    (CACHE_REQUESTS, "counter", "Cached reads by what was spared and where the answer came from."),
    (PUBSUB_MESSAGES, "counter", "Channel messages by what they did."),
    (REDIS_COMMANDS, "counter", "Commands sent to Redis."),
    (ORIGIN_READS, "counter", "Reads made at the origin."),
    (UPSTREAM_RECONNECTS, "counter", "Upstream subscriptions opened again."),
    (GAPS, "counter", "Times at which an update was found missing."),
    (CONFLATED, "counter", "Events that covered more than one update because their viewer's stream was full."),
    (UNREADABLE, "counter", "What stood in Redis and was not understood."),
    (BUSY, "counter", "Streams answered with busy."),
    (FORGOTTEN, "counter", "Streams closed because nothing had changed for long."),
    (EXPIRED, "counter", "Streams closed because the token behind them had expired."),
    (VIEWERS, "gauge", "Open streams."),
    (ROOMS, "gauge", "Rooms."),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> ObjectCounters {
        let mut counters = ObjectCounters { redis_commands: 3, ..Default::default() };
        (0..9).for_each(|_| counters.read(CacheResult::Hit, Source::Memory));
        counters.read(CacheResult::Miss, Source::Origin);
        counters.rooms.events = 4;
        counters.rooms.latency = [1, 2, 0, 0, 0, 0, 0, 1];
        counters.rooms.latency_sum_ms = 2_010;
        counters.rooms.messages.applied = 5;
        counters
    }

    fn figures(counters: &ObjectCounters) -> Figures {
        let series: Vec<_> = counters.series().into_iter().map(|(name, value)| (name, value.to_string())).collect();
        let gauge = |object, viewers, at| (gauge_field(object), gauge(viewers, 1, at).unwrap());
        let gauges = [gauge("a", 7, 1_000_000), gauge("b", 9, 1)];
        let fields = series.iter().chain(&gauges).map(|(name, value)| (name.as_str(), value.as_str()));
        Figures::read(fields, 1_000_001)
    }

    #[test]
    fn buckets_are_cumulative_and_times_are_in_seconds() {
        let text = figures(&counted()).to_prometheus();
        for line in [
            "batchcast_sse_latency_seconds_bucket{le=\"0.001\"} 1",
            "batchcast_sse_latency_seconds_bucket{le=\"0.005\"} 3",
            "batchcast_sse_latency_seconds_bucket{le=\"1\"} 3",
            "batchcast_sse_latency_seconds_bucket{le=\"+Inf\"} 4",
            "batchcast_sse_latency_seconds_count 4",
            "batchcast_sse_latency_seconds_sum 2.01",
            "batchcast_cache_requests_total{result=\"hit\",source=\"memory\"} 9",
            "batchcast_gaps_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_gauges_of_an_object_that_is_gone_are_left_out() {
        let figures = figures(&counted());
        assert!(figures.to_prometheus().contains("batchcast_viewers 7\n"));
        assert_eq!(figures.gone(), ["gauge:b"]);
        assert_eq!(gauge(0, 0, 1), None);
    }

    #[test]
    fn what_someone_else_wrote_is_left_out() {
        for (field, value) in [
            ("batchcast_gaps_total\nevil", "1"),
            ("batchcast_gaps_total{a=\"\\\"}", "1"),
            ("evil", "1"),
            ("batchcast_gaps_total", "NaN"),
        ] {
            assert_eq!(Figures::read([(field, value)], 1), Figures::default(), "{field:?}");
        }
    }

    #[test]
    fn nothing_counted_adds_nothing() {
        assert_eq!(ObjectCounters::default().series(), []);
    }

    /// Pinned: dashboards of the design before this one read it.
    #[test]
    fn the_short_json_form_is_unchanged() {
        assert_eq!(
            figures(&counted()).to_json(),
            concat!(
                r#"{"redis":{"cacheHits":9,"cacheMisses":1,"cacheTotal":10,"cacheHitRatio":"90.00%","pubSubEvents":5},"#,
                r#""sse":{"sseEventCount":4,"sseAvgLatencyMs":502.50}}"#
            )
        );
        assert!(Figures::default().to_json().contains("\"cacheHitRatio\":\"0.00%\""));
    }

    #[test]
    fn what_was_never_counted_is_nought() {
        let nothing = Figures::default();
        for text in [nothing.to_json(), nothing.to_prometheus()] {
            assert!(!text.contains("-0"), "{text}");
        }
    }
}
