//! What a trial has shown, and what of it is wrong: plain functions on plain data.

use batchcast_publisher::{BatchStatus, Position};
use serde::Serialize;

use crate::watch::status_word;

/// Cached reads of a trial.
pub(super) const READS: usize = 10;

/// All that was seen.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) batch_id: Option<String>,
    pub(super) events: Vec<Event>,
    /// How often the stream was opened again before the batch had ended.
    pub(super) reconnections: u32,
    pub(super) reads: Vec<Reading>,
    /// The status of a read with the present `ETag`; 304 is expected.
    pub(super) unchanged: Option<u16>,
    /// Bytes uploaded.
    pub(super) uploaded_bytes: usize,
    /// The batch was cancelled, because it had not ended.
    pub(super) cancelled: bool,
    /// In words; empty: all is well.
    pub(super) wrong: Vec<String>,
}

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) event: String,
    pub(super) position: Option<Position>,
    pub(super) status: Option<BatchStatus>,
    pub(super) progress: Option<u8>,
    /// Milliseconds since the trial began.
    pub(super) after_ms: u64,
    /// Milliseconds from the earliest commit that it covers, by the worker's clock, to its arrival, by ours; absent on
    /// events that are not live.
    pub(super) latency_ms: Option<i64>,
    /// The state of an `upstream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
}

/// A cached read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reading {
    /// 0: there was no answer.
    pub(super) status: u16,
    pub(super) ms: f64,
    pub(super) x_cache: String,
    pub(super) source: String,
    /// The `ETag`, without its quotes.
    pub(super) position: String,
    /// Why there was no answer, or what a problem document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

impl Report {
    /// The end, as `complete` told it.
    pub(super) fn end(&self) -> Option<&Event> {
        self.events.iter().find(|event| event.event == "complete")
    }

    fn latencies(&self) -> Vec<i64> {
        let mut latencies: Vec<i64> = self.events.iter().filter_map(|event| event.latency_ms).collect();
        latencies.sort_unstable();
        latencies
    }

    fn hits(&self) -> usize {
        self.reads.iter().filter(|read| read.x_cache == "HIT").count()
    }

    pub(super) fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            ok: bool,
            #[serde(flatten)]
            report: &'a Report,
            /// Least, median, most.
            latency_ms: Option<[i64; 3]>,
            hit_rate: Option<f64>,
        }
        let hit_rate = (!self.reads.is_empty()).then(|| self.hits() as f64 / self.reads.len() as f64);
        let latency_ms = spread(&self.latencies());
        serde_json::to_string(&Whole { ok: self.wrong.is_empty(), report: self, latency_ms, hit_rate })
            .unwrap_or_default()
    }
}

/// Least, median and most of what is sorted.
fn spread(sorted: &[i64]) -> Option<[i64; 3]> {
    Some([*sorted.first()?, sorted[sorted.len() / 2], *sorted.last()?])
}

/// What is wrong with what was seen, each with where to look.
pub(super) fn wrong(report: &Report, photos: u8) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(end) = report.end() else {
        // Why it did not come to its end stands there already.
        if report.wrong.is_empty() {
            wrong.push("the batch did not end".to_owned());
        }
        wrong.extend(without_updates(report));
        return wrong;
    };
    if end.status != Some(BatchStatus::Completed) {
        let status = end.status.map_or("in no status", status_word);
        wrong.push(format!("the batch ended {status} in place of COMPLETED: look at the photo worker's log"));
    }
    let positions: Vec<Position> = report.events.iter().filter_map(|event| event.position).collect();
    if let Some([earlier, later]) = positions.array_windows().find(|[earlier, later]| later < earlier) {
        wrong.push(format!("what the stream showed went backwards, from {earlier} to {later}"));
    }
    wrong.extend(without_updates(report));
    if report.events.iter().any(|event| event.event == "upstream" && event.state.as_deref() == Some("stale")) {
        wrong.push("the edge lost sight of Redis for a while (`upstream` `stale`): look at the gateway".to_owned());
    }
    if report.reconnections > 0 {
        let times = report.reconnections;
        wrong.push(format!("the stream ended {times} times before the batch did: look at the edge's log"));
    }
    wrong.extend(wrong_reads(report, end));
    if report.uploaded_bytes == 0 {
        wrong.push(format!("none of {photos} photos was taken"));
    }
    wrong
}

/// A viewer was there, photos were taken, and nothing live came of it.
fn without_updates(report: &Report) -> Option<String> {
    let nothing = !report.events.is_empty() && report.uploaded_bytes > 0 && report.latencies().is_empty();
    nothing.then(|| {
        "no live update came, though the batch went on: the photo worker publishes to another Redis or KEY_PREFIX than the \
         edge reads, or the edge has no subscription"
            .to_owned()
    })
}

fn wrong_reads(report: &Report, end: &Event) -> Vec<String> {
    let mut wrong = Vec::new();
    let failed = report.reads.iter().filter(|read| read.status != 200).count();
    if let Some(read) = report.reads.iter().find(|read| read.status != 200) {
        let why = read.detail.clone().unwrap_or_else(|| format!("status {}", read.status));
        wrong.push(format!("{failed} of {} reads failed: {why}", report.reads.len()));
    }
    let good = || report.reads.iter().filter(|read| read.status == 200);
    let expected = end.position.map(|position| position.to_string()).unwrap_or_default();
    if let Some(read) = good().find(|read| read.position != expected) {
        wrong.push(format!("a read shows {} where the stream ended at {expected}", read.position));
    }
    let missed = good().filter(|read| read.x_cache != "HIT").count();
    if missed > 0 {
        wrong.push(format!(
            "{missed} of {} reads were no HIT: Redis does not hold what the photo worker published",
            report.reads.len()
        ));
    }
    if report.reads.len() < READS {
        wrong.push(format!("{} of {READS} reads were made in time", report.reads.len()));
    } else if report.unchanged != Some(304) {
        let status = report.unchanged.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        wrong.push(format!("a read with the present ETag is answered by {status} in place of 304"));
    }
    wrong
}

/// `   0.312 s  progress   33 %  PROCESSING  1795389030082-4  3 ms after its commit`
pub(super) fn event_line(event: &Event) -> String {
    let mut line = format!("{:>5}.{:03} s  {:<12}", event.after_ms / 1_000, event.after_ms % 1_000, event.event);
    if let (Some(progress), Some(status)) = (event.progress, event.status) {
        line += &format!("  {progress:>3} %  {:<10}", status_word(status));
    }
    if let Some(position) = event.position {
        line += &format!("  {position}");
    }
    if let Some(state) = &event.state {
        line += &format!("  {state}");
    }
    if let Some(latency) = event.latency_ms {
        line += &format!("  {latency} ms after its commit");
    }
    line.trim_end().to_owned()
}

/// `read  1     3.1 ms  HIT    redis`
pub(super) fn reading_line(index: usize, read: &Reading) -> String {
    let what = match &read.detail {
        Some(detail) => format!("{}  {detail}", read.status),
        None => format!("{:<5}  {}", read.x_cache, read.source),
    };
    format!("read {index:>2}  {:>7.1} ms  {what}", read.ms)
}

/// What is said at the end, before what is wrong.
pub(super) fn summary(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let latencies = report.latencies();
    if let Some([least, median, most]) = spread(&latencies) {
        let count = latencies.len();
        lines.push(format!(
            "latency  {least} / {median} / {most} ms from commit to arrival (least, median, most of {count} live events)"
        ));
        if least < 0 {
            lines.push("         less than none: the worker's clock is ahead of this one".to_owned());
        }
    }
    if !report.reads.is_empty() {
        let (hits, all) = (report.hits(), report.reads.len());
        lines.push(format!("hit rate {} % ({hits} of {all})", hits * 100 / all));
    }
    if let Some(batch) = &report.batch_id {
        let cancelled = if report.cancelled { ", cancelled" } else { "" };
        let kib = report.uploaded_bytes.div_ceil(1024);
        lines.push(format!(
            "left     the batch {batch}{cancelled} at the origin, in the project {}, with {kib} KiB of photos; in Redis \
             until its time to live has passed",
            super::NAME
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, position: Option<&str>, status: BatchStatus, latency_ms: Option<i64>) -> Event {
        Event {
            event: name.into(),
            position: position.map(|text| text.parse().unwrap()),
            status: Some(status),
            progress: Some(if status.is_terminal() { 100 } else { 33 }),
            after_ms: 1_312,
            latency_ms,
            state: None,
        }
    }

    fn read() -> Reading {
        let word = |text: &str| text.to_owned();
        Reading {
            status: 200,
            ms: 3.08,
            x_cache: word("HIT"),
            source: word("redis"),
            position: word("7-3"),
            detail: None,
        }
    }

    fn healthy() -> Report {
        let events = vec![
            event("progress", Some("7-1"), BatchStatus::Queued, None),
            event("progress", Some("7-2"), BatchStatus::Processing, Some(5)),
            event("progress", None, BatchStatus::Completed, Some(9)),
            event("complete", Some("7-3"), BatchStatus::Completed, None),
        ];
        Report {
            batch_id: Some("b_1".into()),
            events,
            reads: vec![read(); READS],
            unchanged: Some(304),
            uploaded_bytes: 6_000,
            ..Report::default()
        }
    }

    fn only_wrong(change: impl FnOnce(&mut Report)) -> String {
        let mut report = healthy();
        change(&mut report);
        let wrong = wrong(&report, 3);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        wrong.into_iter().next().unwrap()
    }

    #[test]
    fn a_healthy_system_is_found_healthy() {
        assert_eq!(wrong(&healthy(), 3), [""; 0]);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said_and_nothing_else() {
        assert!(only_wrong(|report| report.events[3].status = Some(BatchStatus::Partial)).contains("PARTIAL"));
        assert!(only_wrong(|report| report.events[1].position = "7-0".parse().ok()).contains("from 7-1 to 7-0"));
        let silent = only_wrong(|report| report.events.iter_mut().for_each(|event| event.latency_ms = None));
        assert!(silent.contains("KEY_PREFIX"), "{silent}");
        let stale = only_wrong(|report| {
            let mut stale = event("upstream", None, BatchStatus::Queued, None);
            stale.state = Some("stale".into());
            report.events.insert(1, stale);
        });
        assert!(stale.contains("gateway"), "{stale}");
        assert!(only_wrong(|report| report.reconnections = 2).contains("2 times"));
        assert!(only_wrong(|report| report.reads[4].x_cache = "MISS".into()).contains("1 of 10"));
        assert!(only_wrong(|report| report.reads[4].position = "7-2".into()).contains("7-2"));
        let failed = only_wrong(|report| {
            report.reads[4] = Reading { status: 503, detail: Some("Nobody answers.".into()), ..read() };
        });
        assert!(failed.contains("1 of 10") && failed.contains("Nobody answers."), "{failed}");
        assert!(only_wrong(|report| report.unchanged = Some(200)).contains("304"));
        assert!(only_wrong(|report| report.reads.truncate(4)).contains("4 of 10"));
    }

    #[test]
    fn a_batch_without_an_end_is_wrong_once() {
        let mut report = healthy();
        report.events.pop();
        assert_eq!(wrong(&report, 3), ["the batch did not end"]);
        report.wrong.push("the edge is away".to_owned());
        assert_eq!(wrong(&report, 3), [""; 0], "the reason stands there already");
        report.events.iter_mut().for_each(|event| event.latency_ms = None);
        assert!(wrong(&report, 3)[0].contains("KEY_PREFIX"));
    }

    #[test]
    fn what_was_seen_is_told_in_lines() {
        let report = healthy();
        assert_eq!(
            event_line(&report.events[1]),
            "    1.312 s  progress       33 %  PROCESSING  7-2  5 ms after its commit"
        );
        assert_eq!(reading_line(1, &read()), "read  1      3.1 ms  HIT    redis");
        let summary = summary(&report);
        assert!(summary[0].starts_with("latency  5 / 9 / 9 ms"), "{summary:?}");
        assert_eq!(summary[1], "hit rate 100 % (10 of 10)");
        assert!(summary[2].contains("b_1") && summary[2].contains("6 KiB"), "{summary:?}");
    }

    #[test]
    fn a_report_is_json_with_its_sums() {
        let json: serde_json::Value = serde_json::from_str(&healthy().to_json()).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["latencyMs"], serde_json::json!([5, 9, 9]));
        assert_eq!((json["hitRate"].as_f64(), json["reads"][0]["xCache"].as_str()), (Some(1.0), Some("HIT")));
        assert_eq!(
            (json["events"][0]["position"].as_str(), json["events"][0]["status"].as_str()),
            (Some("7-1"), Some("QUEUED"))
        );
    }
}
