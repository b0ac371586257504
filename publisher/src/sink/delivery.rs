//! One attempt: take the lease, read the latest state, tell it where it is news, remember that.
//!
//! Why an old state never comes after a newer one: whoever tells a batch holds its lease, reads what was told and the
//! state **after** taking it, and stops telling before it expires.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wire::{BatchId, BatchState};

use crate::{
    PublishError, job,
    sink::{
        DynSink, Event, Undelivered,
        counters::SinkEnded,
        ledger::Ledger,
        plan::{Job, Mark, Outcome, wants},
    },
    source::DynSource,
    store::Store,
};

/// How much longer what was told is remembered than the batch is kept and `resync` looks back: clocks differ.
const REMEMBERED_LONGER: u64 = 60 * 60;

/// What an attempt works with.
pub(super) struct Parts {
    pub sink: Arc<dyn DynSink>,
    pub ledger: Ledger,
    pub store: Arc<Store>,
    pub source: Option<Arc<dyn DynSource>>,
    /// How far back `resync` looks for what has ended.
    pub look_back: Duration,
}

/// Does the job, logs what people should hear of, and says as what it is counted.
pub(super) async fn run(parts: &Parts, job: &Job) -> (Outcome, Option<SinkEnded>) {
    let (sink, batch) = (parts.sink.name(), &job.batch);
    match attempt(parts, job).await {
        Ok(outcome) => {
            let counted = match outcome {
                Outcome::Delivered { .. } => Some(SinkEnded::Delivered),
                Outcome::Known(_) => Some(SinkEnded::Known),
                _ => None,
            };
            (outcome, counted)
        }
        // Only the application can mend it, and marks it anew when it does: the publisher sends it no more, either.
        Err(Trouble::Ours(error @ (PublishError::Invalid(_) | PublishError::Unreadable(_)))) => {
            tracing::error!(sink, %batch, %error, "no sink can be told this state: given up");
            (Outcome::Nothing, Some(SinkEnded::GaveUp))
        }
        Err(Trouble::Ours(error)) => {
            tracing::warn!(sink, %batch, %error, "a sink can't be told just now; it is tried again");
            (Outcome::Unready, None)
        }
        Err(Trouble::Gone) => {
            tracing::error!(sink, %batch, "redis holds the batch no more, and a sink was not told its end: given up");
            (Outcome::Nothing, Some(SinkEnded::GaveUp))
        }
        Err(Trouble::Sink(error)) if error.is_retried() => {
            tracing::warn!(sink, %batch, %error, "a sink was not told; it is tried again");
            (Outcome::Failed { after: error.retry_after() }, Some(SinkEnded::Failed))
        }
        Err(Trouble::Sink(error)) => {
            tracing::error!(sink, %batch, %error, "a sink will not take this state: given up");
            (Outcome::GaveUp, Some(SinkEnded::GaveUp))
        }
    }
}

/// Whose fault it was that the sink was not told.
enum Trouble {
    /// Redis', the source's, or time ran out before the sink was asked.
    Ours(PublishError),
    Sink(Undelivered),
    /// Nobody's: its end was deleted, or has expired, before the sink was told it.
    Gone,
}

impl From<PublishError> for Trouble {
    fn from(error: PublishError) -> Self {
        Self::Ours(error)
    }
}

async fn attempt(parts: &Parts, job: &Job) -> Result<Outcome, Trouble> {
    let link = parts.store.link();
    let life = lease_life(parts.sink.pace().within);
    let begun = Instant::now();
    let Some(lease) = parts.ledger.lease(link, &job.batch, life).await? else { return Ok(Outcome::Held) };
    let until = begun + life;
    let result = tell(parts, job, until).await;
    parts.ledger.release(link, &job.batch, lease).await;
    result
}

async fn tell(parts: &Parts, job: &Job, until: Instant) -> Result<Outcome, Trouble> {
    let link = parts.store.link();
    let remembered = parts.ledger.told(link, &job.batch).await?;
    let told = remembered.max(job.told);
    let Some((state, kept_secs)) = latest(parts, &job.batch).await? else {
        return match told.filter(|told| *told >= job.mark.position) {
            Some(told) => Ok(Outcome::Known(told)),
            // What an application has deleted from its database is nobody's concern any more.
            None if parts.source.is_some() || !job.mark.ended => Ok(Outcome::Nothing),
            None => Err(Trouble::Gone),
        };
    };
    let (position, ended) = (state.position(), state.is_terminal());
    let kept_secs = kept_secs.unwrap_or_else(|| parts.store.policy().ttl_secs(state.head()));
    let ttl_secs = kept_secs.max(parts.look_back.as_secs()).saturating_add(REMEMBERED_LONGER);
    if told >= Some(position) {
        if remembered < told {
            // It was told, and Redis did not take that in.
            parts.ledger.remember(link, &job.batch, position, ttl_secs).await?;
        }
        return Ok(Outcome::Known(position));
    }
    if !wants(parts.sink.interest(), Mark { position, ended }) {
        return Ok(Outcome::Nothing);
    }
    let within = parts.sink.pace().within;
    if until.saturating_duration_since(Instant::now()) < within {
        return Err(Trouble::Ours(PublishError::SourceTimeout(within)));
    }
    deliver(parts, &Event::new(state), within).await.map_err(Trouble::Sink)?;
    let remembering = parts.ledger.remember(link, &job.batch, position, ttl_secs).await;
    if let Err(error) = &remembering {
        let (sink, batch) = (parts.sink.name(), &job.batch);
        tracing::warn!(sink, %batch, %error, "a sink was told, and redis does not remember it yet");
    }
    Ok(Outcome::Delivered { position, remembered: remembering.is_ok() })
}

async fn deliver(parts: &Parts, event: &Event, within: Duration) -> Result<(), Undelivered> {
    match tokio::time::timeout(within, parts.sink.deliver(event)).await {
        Ok(result) => result,
        Err(_) => Err(Undelivered::again(format!("no answer within {within:?}"))),
    }
}

/// The truth: the source's, or where there is none what Redis holds; and for how long Redis keeps it, where it says so
/// itself. It is redacted, and names no owner.
async fn latest(parts: &Parts, batch: &BatchId) -> Result<Option<(BatchState, Option<u64>)>, PublishError> {
    let Some(source) = &parts.source else {
        let stored = parts.store.read_with_ttl(batch).await?;
        return Ok(stored.map(|(stored, ttl_secs)| (Arc::unwrap_or_clone(stored.state), ttl_secs)));
    };
    let Some(changes) = job::read_since(&**source, batch, None).await? else { return Ok(None) };
    let state = BatchState::new(changes.head, changes.photos)?;
    Ok(Some((parts.store.policy().redacted_state(state)?, None)))
}

/// Time to read, to tell, and a second for what is left.
fn lease_life(within: Duration) -> Duration {
    within * 2 + Duration::from_secs(1)
}
