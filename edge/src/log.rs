//! One JSON line for what an operator wants to know: rooms, upstreams, the origin, refusals, updates
//! whose trace is recorded. Reads, and the other traced updates, only at debug.

use std::cell::Cell;

use hub::{Answer, Millis};
use serde_json::{Value, json};
use wire::{BatchId, Position, TraceParent};

use crate::{clock::now, limit::Action, redis::RedisError, settings::Level};

const LIMITED_EVERY: Millis = 1_000;

thread_local! {
    /// The settings' level; the same for all objects of an isolate, as the settings are.
    static LEVEL: Cell<Level> = const { Cell::new(Level::Info) };
    /// When it was last told that someone asks too often, and how often it has happened since.
    static LIMITED: Cell<(Millis, u64)> = const { Cell::new((0, 0)) };
}

/// Leaves out what is below `level` from now on.
pub(crate) fn set_level(level: Level) {
    LEVEL.set(level);
}

fn write(level: Level, mut line: Value) {
    if level < LEVEL.get() {
        return;
    }
    line["level"] = format!("{level:?}").to_lowercase().into();
    match level {
        Level::Debug | Level::Info => worker::console_log!("{line}"),
        Level::Warn => worker::console_warn!("{line}"),
        Level::Error => worker::console_error!("{line}"),
    }
}

pub(crate) fn error(words: &str) {
    write(Level::Error, json!({"event": words}));
}

pub(crate) fn warn(words: &str) {
    write(Level::Warn, json!({"event": words}));
}

/// Someone was turned away because they ask too often: told once a second, for it would be as often.
pub(crate) fn limited(action: Action) {
    let (told_at, times) = LIMITED.get();
    if now() < told_at + LIMITED_EVERY {
        return LIMITED.set((told_at, times + 1));
    }
    LIMITED.set((now(), 0));
    write(Level::Warn, json!({"event": "rate limited", "limit": action.binding(), "times": times + 1}));
}

fn failed(batch: &BatchId, event: &str, words: &str) {
    write(Level::Warn, json!({"event": event, "batch": batch, "error": words}));
}

pub(crate) fn room(batch: &BatchId, event: &str) {
    write(Level::Info, json!({"event": event, "batch": batch}));
}

pub(crate) fn upstream_lost(batch: &BatchId, words: &str) {
    failed(batch, "upstream lost", words);
}

pub(crate) fn origin_failed(batch: &BatchId, words: &str) {
    failed(batch, "origin failed", words);
}

pub(crate) fn redis_failed(batch: &BatchId, error: &RedisError) {
    failed(batch, "redis failed", &error.to_string());
}

pub(crate) fn unreadable(batch: &BatchId, words: &str) {
    failed(batch, "hash unreadable", words);
}

pub(crate) fn refused(batch: &BatchId, words: &str) {
    failed(batch, "stream refused", words);
}

pub(crate) fn origin_asked(batch: &BatchId, known: bool) {
    write(Level::Info, json!({"event": "origin asked", "batch": batch, "known": known}));
}

/// A traced update was shown: worth a line for whoever records its trace.
pub(crate) fn traced(
    batch: &BatchId,
    trace: &TraceParent,
    position: Position,
    viewers: usize,
    latency: Option<Millis>,
) {
    let level = if trace.is_sampled() { Level::Info } else { Level::Debug };
    let (event, trace) = ("update shown", trace.trace_id());
    write(
        level,
        json!({"event": event, "batch": batch, "trace_id": trace, "position": position, "viewers": viewers, "latency_ms": latency}),
    );
}

pub(crate) fn read(batch: &BatchId, answer: &Answer) {
    let (result, source) = (format!("{:?}", answer.result), format!("{:?}", answer.source));
    write(Level::Debug, json!({"event": "read", "batch": batch, "result": result, "source": source}));
}
