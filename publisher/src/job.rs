//! One send: read what changed, publish it, and say how it ended.

use std::time::Duration;

use wire::{BatchId, Changes, Head, Position, TraceParent, script::Reply};

use crate::{
    PublishError,
    metrics::{Counters, Ended},
    publisher::now_ms,
    schedule::{Job, Outcome},
    sink::Sinks,
    source::DynSource,
    store::{Done, Store},
};

/// How long the source may take for one read. The database's own time-outs should be shorter; this one only keeps a
/// hanging read from holding its place for ever.
pub(crate) const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Does the job, counts how it ended, logs what people should hear of, and lets sinks look at what Redis now holds.
pub(crate) async fn run(
    source: &dyn DynSource,
    store: &Store,
    counters: &Counters,
    sinks: &Sinks,
    job: &Job,
) -> Outcome {
    let result = attempt(source, store, job).await;
    let (ended, outcome) = conclude(&result);
    counters.ended(ended);
    match &result {
        Ok(Attempt::Sent { done, head }) => {
            if done.replaced {
                counters.replaced();
            }
            if done.reply != Reply::NeedsFull {
                sinks.mark(head);
            }
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(batch = %job.batch, %error, "an update was not published"),
    }
    match ended {
        Ended::Applied => {
            let lag = now_ms().saturating_sub(job.mark.cause.at);
            counters.lag(lag);
            if let Some(trace) = job.mark.cause.trace {
                log(job, trace, lag);
            }
        }
        Ended::Finished => {
            tracing::warn!(batch = %job.batch, "the batch has ended in this epoch; its update was dropped");
        }
        _ => {}
    }
    outcome
}

/// Worth a line for whoever records the trace.
fn log(job: &Job, trace: TraceParent, lag_ms: u64) {
    let (batch, trace_id, words) = (&job.batch, trace.trace_id(), "a traced update was published");
    if trace.is_sampled() {
        tracing::info!(%batch, trace_id, lag_ms, "{words}");
    } else {
        tracing::debug!(%batch, trace_id, lag_ms, "{words}");
    }
}

/// What a job came to.
enum Attempt {
    Sent { done: Done, head: Head },
    Unchanged,
    Unknown,
}

async fn attempt(source: &dyn DynSource, store: &Store, job: &Job) -> Result<Attempt, PublishError> {
    let Some(changes) = read(source, job).await? else { return Ok(Attempt::Unknown) };
    if job.since == Some(changes.head.position) && !job.mark.verify {
        return Ok(Attempt::Unchanged);
    }
    let done = store.update(&changes, job.mark.cause).await?;
    Ok(Attempt::Sent { done, head: changes.head })
}

async fn read(source: &dyn DynSource, job: &Job) -> Result<Option<Changes>, PublishError> {
    let changes = read_since(source, &job.batch, job.since).await?;
    // Photos counted from another epoch would be merged into the wrong state.
    let mixed = |c: &Changes| c.since.is_some_and(|since| since.epoch() != c.head.position.epoch());
    if changes.as_ref().is_some_and(mixed) {
        return read_since(source, &job.batch, None).await;
    }
    Ok(changes)
}

/// Asks the source, and not for ever.
pub(crate) async fn read_since(
    source: &dyn DynSource,
    batch: &BatchId,
    since: Option<Position>,
) -> Result<Option<Changes>, PublishError> {
    match tokio::time::timeout(SOURCE_TIMEOUT, source.changes(batch, since)).await {
        Ok(read) => read.map_err(PublishError::Source),
        Err(_) => Err(PublishError::SourceTimeout(SOURCE_TIMEOUT)),
    }
}

/// What each end of a job is counted as, and what the schedule makes of it.
fn conclude(result: &Result<Attempt, PublishError>) -> (Ended, Outcome) {
    match result {
        Ok(Attempt::Unchanged) => (Ended::Unchanged, Outcome::Unchanged),
        Ok(Attempt::Unknown) => (Ended::Unknown, Outcome::Forget),
        Ok(Attempt::Sent { done, head }) => {
            let delivered = Outcome::Delivered { position: head.position, ended: head.status.is_terminal() };
            match done.reply {
                Reply::Stale => (Ended::Stale, delivered),
                Reply::NeedsFull => (Ended::NeedsFull, Outcome::NeedsFull),
                Reply::Finished => (Ended::Finished, Outcome::Forget),
                Reply::Applied | Reply::Filled | Reply::Present | Reply::Invalidated => (Ended::Applied, delivered),
            }
        }
        Err(PublishError::Invalid(_)) => (Ended::Invalid, Outcome::Refused),
        // Who is not let in with one batch is not let in with another.
        Err(PublishError::Unanswered { .. } | PublishError::NotAdmitted { .. }) => {
            (Ended::Unreachable, Outcome::Unreachable)
        }
        Err(_) => (Ended::Failed, Outcome::Failed),
    }
}
