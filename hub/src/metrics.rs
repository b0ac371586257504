//! From what objects count to what an operator reads.
//!
//! Every object adds its deltas to one Redis hash whose fields are Prometheus series, so figures survive restarts and
//! cover all objects. Gauges can't be kept by deltas (they would drift at every restart): each object writes its own
//! with a time, and old ones are left out.

use wire::metrics::{
    BUSY, CACHE_REQUESTS, CONFLATED, EXPIRED, FORGOTTEN, GAPS, LATENCY_BUCKETS_MS, ORIGIN_READS, PUBSUB_MESSAGES,
    REDIS_COMMANDS, ROOMS, SSE_EVENTS, SSE_LATENCY, SSE_LATENCY_CLAMPED, STALE_ROOMS, UNREADABLE, UPSTREAM_RECONNECTS,
    VIEWERS,
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
            (labelled(UNREADABLE, "what", "hash"), self.unreadable_hashes),
            (labelled(UNREADABLE, "what", "field"), self.unreadable_fields),
            (labelled(BUSY, "reason", "full"), self.busy_full),
            (labelled(BUSY, "reason", "user"), self.busy_user),
            (labelled(BUSY, "reason", "outage"), self.busy_outage),
            (labelled(BUSY, "reason", "behind"), self.busy_behind),
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
            series.push((labelled(PUBSUB_MESSAGES, "outcome", outcome), count));
        }
        let mut within = 0;
        for (count, bound) in rooms.latency.iter().zip(LATENCY_BUCKETS_MS) {
            within += count;
            series.push((bucket_series(&seconds(bound)), within));
        }
        let all = rooms.latency.iter().sum();
        series.extend([(bucket_series("+Inf"), all), (format!("{SSE_LATENCY}_count"), all)]);
        let mut series: Vec<(String, f64)> = series.into_iter().map(|(name, count)| (name, count as f64)).collect();
        series.push((format!("{SSE_LATENCY}_sum"), rooms.latency_sum_ms as f64 / 1_000.0));
        series.retain(|(_, delta)| *delta > 0.0);
        series
    }
}

fn labelled(name: &str, label: &str, value: &str) -> String {
    format!("{name}{{{label}=\"{value}\"}}")
}

fn cache_series(result: &str, source: &str) -> String {
    format!("{CACHE_REQUESTS}{{result=\"{result}\",source=\"{source}\"}}")
}

fn bucket_series(bound: &str) -> String {
    labelled(&format!("{SSE_LATENCY}_bucket"), "le", bound)
}

fn seconds(ms: u64) -> String {
    (ms as f64 / 1_000.0).to_string()
}

/// The field of one object's gauges.
pub fn gauge_field(object: &str) -> String {
    format!("{GAUGE_PREFIX}{object}")
}

/// What one object holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open streams.
    pub viewers: usize,
    /// Rooms.
    pub rooms: usize,
    /// Those of the rooms whose viewers were told that what they see may be behind.
    pub stale_rooms: usize,
}

impl Gauges {
    /// The value of their field at `now`; `None` without rooms: the field is to be deleted.
    pub fn to_field(self, now: Millis) -> Option<String> {
        let Self { viewers, rooms, stale_rooms } = self;
        (rooms > 0).then(|| format!("{viewers} {rooms} {stale_rooms} {now}"))
    }
}

/// All series, read from the hash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// What was counted, by series.
    counted: Vec<(String, f64)>,
    viewers: u64,
    rooms: u64,
    stale_rooms: u64,
    gone: Vec<String>,
}

impl Figures {
    /// Reads the fields of the metrics hash as of `now`. What can't be read is left out, and what is no series of ours:
    /// someone else may have written it, and one line that Prometheus can't read costs it all of them.
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, now: Millis) -> Self {
        let mut ours = Vec::new();
        FAMILIES.iter().for_each(|(name, ..)| series_of(name, &mut ours));
        let mut figures = Self::default();
        for (field, value) in fields {
            if field.starts_with(GAUGE_PREFIX) {
                let numbers: Vec<u64> = value.split(' ').filter_map(|number| number.parse().ok()).collect();
                match numbers[..] {
                    [viewers, rooms, stale_rooms, at] if now < at.saturating_add(GAUGE_TTL) => {
                        figures.viewers = figures.viewers.saturating_add(viewers);
                        figures.rooms = figures.rooms.saturating_add(rooms);
                        figures.stale_rooms = figures.stale_rooms.saturating_add(stale_rooms);
                    }
                    _ => figures.gone.push(field.to_owned()),
                }
            } else if let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
                && ours.iter().any(|series| series == field)
            {
                figures.counted.push((field.to_owned(), value));
            }
        }
        figures
    }

    /// The fields of objects that vanished without a word: they can be deleted.
    pub fn gone(&self) -> &[String] {
        &self.gone
    }

    /// The value of a series; what was never counted is nought.
    fn get(&self, series: &str) -> f64 {
        match series {
            VIEWERS => self.viewers as f64,
            ROOMS => self.rooms as f64,
            STALE_ROOMS => self.stale_rooms as f64,
            _ => self.counted.iter().find(|(name, _)| name == series).map_or(0.0, |(_, value)| *value),
        }
    }

    /// The figures in Prometheus' text exposition format 0.0.4: every series that there can be, also those never counted.
    /// One that began with its first count would hide that count from `rate` and `increase`.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, kind, help) in FAMILIES {
            out += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            let mut all = Vec::new();
            series_of(name, &mut all);
            for series in all {
                out += &format!("{series} {}\n", self.get(&series));
            }
        }
        out
    }

    /// The figures in the short JSON form of `GET /api/metrics`.
    pub fn to_json(&self) -> String {
        let sum = |name: &str, which: &str| {
            let mut all = Vec::new();
            series_of(name, &mut all);
            // Not `sum`: over nothing it is -0, and is printed so.
            all.iter().filter(|series| series.contains(which)).fold(0.0, |sum, series| sum + self.get(series))
        };
        let result = |result| sum(CACHE_REQUESTS, result);
        let (hits, misses) = (result("\"hit\""), result("\"miss\""));
        let total = result("");
        let ratio = if total > 0.0 { 100.0 * hits / total } else { 0.0 };
        let messages = sum(PUBSUB_MESSAGES, "");
        let events = self.get(SSE_EVENTS);
        let timed = self.get(&format!("{SSE_LATENCY}_count"));
        let seconds = self.get(&format!("{SSE_LATENCY}_sum"));
        let average = if timed > 0.0 { 1_000.0 * seconds / timed } else { 0.0 };
        format!(
            "{{\"redis\":{{\"cacheHits\":{hits},\"cacheMisses\":{misses},\"cacheTotal\":{total},\
             \"cacheHitRatio\":\"{ratio:.2}%\",\"pubSubEvents\":{messages}}},\
             \"sse\":{{\"sseEventCount\":{events},\"sseAvgLatencyMs\":{average:.2}}}}}"
        )
    }
}

/// Adds all series that a family can have, in the order in which they are printed.
fn series_of(name: &str, all: &mut Vec<String>) {
    let (label, values): (_, &[&str]) = match name {
        BUSY => ("reason", &["full", "user", "outage", "behind"]),
        PUBSUB_MESSAGES => ("outcome", &["applied", "dropped", "held", "gap", "reread", "ping", "unknown"]),
        UNREADABLE => ("what", &["hash", "field"]),
        CACHE_REQUESTS => {
            for (_, result) in RESULTS {
                SOURCES.iter().for_each(|(_, source)| all.push(cache_series(result, source)));
            }
            return;
        }
        SSE_LATENCY => {
            LATENCY_BUCKETS_MS.iter().for_each(|ms| all.push(bucket_series(&seconds(*ms))));
            all.extend([bucket_series("+Inf"), format!("{name}_sum"), format!("{name}_count")]);
            return;
        }
        _ => return all.push(name.to_owned()),
    };
    values.iter().for_each(|value| all.push(labelled(name, label, value)));
}

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
    (STALE_ROOMS, "gauge", "Rooms whose viewers were told that what they see may be behind."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Messages;

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
        let gauge = |object, viewers, at| {
            (gauge_field(object), Gauges { viewers, rooms: 2, stale_rooms: 1 }.to_field(at).unwrap())
        };
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
        let text = figures.to_prometheus();
        assert!(text.contains("\nbatchcast_viewers 7\n"), "{text}");
        assert!(text.contains("\nbatchcast_rooms 2\n") && text.contains("\nbatchcast_stale_rooms 1\n"), "{text}");
        assert_eq!(figures.gone(), ["gauge:b"]);
        assert_eq!(Gauges::default().to_field(1), None);
    }

    #[test]
    fn what_someone_else_wrote_is_left_out() {
        for (field, value) in [
            ("batchcast_gaps_total\nevil", "1"),
            ("batchcast_gaps_total{a=\"\\\"}", "1"),
            ("batchcast_gaps_total{{{", "1"),
            ("batchcast_gaps_total{a=\"1\"}", "1"),
            ("batchcast_gaps_total_of_others", "1"),
            ("batchcast_viewers", "1"),
            ("evil", "1"),
            ("batchcast_gaps_total", "NaN"),
            ("batchcast_gaps_total", "-1"),
        ] {
            let figures = Figures::read([(field, value)], 1);
            assert_eq!(figures.to_prometheus(), Figures::default().to_prometheus(), "{field:?}");
        }
    }

    #[test]
    fn whatever_an_object_counts_is_shown() {
        let mut counters = counted();
        counters.add(&ObjectCounters {
            unreadable_hashes: 1,
            unreadable_fields: 1,
            busy_full: 1,
            busy_user: 1,
            busy_outage: 1,
            busy_behind: 1,
            forgotten: 1,
            origin_reads: 1,
            ..Default::default()
        });
        RESULTS.iter().for_each(|(result, _)| SOURCES.iter().for_each(|(source, _)| counters.read(*result, *source)));
        let rooms = &mut counters.rooms;
        (rooms.conflated, rooms.gaps, rooms.latency_clamped, rooms.expired, rooms.reconnects) = (1, 1, 1, 1, 1);
        rooms.messages = Messages { applied: 1, dropped: 1, held: 1, gap: 1, reread: 1, ping: 1, unknown: 1 };
        let (series, text) = (counters.series(), figures(&counters).to_prometheus());
        for (name, value) in &series {
            assert!(text.lines().any(|line| line == format!("{name} {value}")), "{name} {value} is not in\n{text}");
        }
        let shown = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series.len() + 3, shown, "beside the three gauges nothing is shown that is never counted");
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
