//! `batchcast publish`, `invalidate` and `reopen`: what a script does to batches.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Changes, PhotoStatus, Position, PublishError, Published, Publisher,
    PublisherBuilder,
};
use clap::Args;
use jiff::Timestamp;
use wire::{StateError, limits::MAX_STATE_BYTES};

use crate::{Failure, redis_client::Redis, time::now_ms};

/// Bytes of a file at most: the largest state, however its writer escaped it.
const MAX_FILE_BYTES: u64 = 6 * MAX_STATE_BYTES as u64;

#[derive(Args)]
struct Life {
    /// Seconds for which Redis keeps the batch
    #[arg(long, value_name = "SECONDS", env = "STATE_TTL_SECS", default_value_t = 86_400,
        value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    state_ttl_secs: u64,
}

#[derive(Args)]
pub(crate) struct Publish {
    /// A file with the state; `-`: the standard input
    file: PathBuf,
    /// The application's user id of who may see the batch. Without it the one stays that Redis holds
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    #[command(flatten)]
    life: Life,
}

#[derive(Args)]
pub(crate) struct Invalidate {
    /// The batches
    #[arg(required = true, value_name = "ID")]
    batches: Vec<BatchId>,
}

#[derive(Args)]
pub(crate) struct Reopen {
    /// The batch
    #[arg(value_name = "ID")]
    batch: BatchId,
    #[command(flatten)]
    life: Life,
}

/// Why a batch was left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("{}: {problem}", file.display())]
    File { file: PathBuf, problem: io::Error },
    #[error("{}: more than {MAX_FILE_BYTES} bytes, which no state has", file.display())]
    TooLarge { file: PathBuf },
    #[error("{}: {problem}. PROTOCOL.md, \"Batch state\", shows one", file.display())]
    NoState { file: PathBuf, problem: StateError },
    #[error("redis does not hold {0}: publish its state, in a new epoch")]
    Unknown(BatchId),
    #[error("{batch} has not ended: it is {status:?}, and goes on by its next update")]
    Open { batch: BatchId, status: BatchStatus },
    #[error("{fields} fields of what redis holds of {batch} can't be read, and would be lost: publish its whole state")]
    Unreadable { batch: BatchId, fields: usize },
    #[error("{batch} can't be opened again: {problem}")]
    NoPosition { batch: BatchId, problem: String },
    #[error("{0} was published by somebody else meanwhile, and was left as it is: look at it by `batchcast status`")]
    Overtaken(BatchId),
}

pub(crate) async fn publish(builder: PublisherBuilder, order: &Publish) -> Result<u8, Failure> {
    let state = read_state(&order.file)?;
    let publisher = connect(builder, &order.life).await?;
    let published = publisher.publish(Changes::full(&state, order.owner.clone())).await?;
    let word = match published {
        Published::Stale => "stale",
        _ => "applied",
    };
    println!("{} {} {word}", state.head().batch_id, state.position());
    Ok(0)
}

/// One after the other: what was done is said, also where a later one fails.
pub(crate) async fn invalidate(publisher: &Publisher, order: &Invalidate) -> Result<u8, Failure> {
    for batch in &order.batches {
        publisher.invalidate(batch).await?;
        println!("{batch} invalidated");
    }
    Ok(0)
}

pub(crate) async fn reopen(
    builder: PublisherBuilder,
    redis_url: &str,
    prefix: &str,
    order: &Reopen,
) -> Result<u8, Failure> {
    let (publisher, batch) = (connect(builder, &order.life).await?, &order.batch);
    let stored = Redis::connect(redis_url, prefix).await?.stored(batch).await?;
    let stored = stored.ok_or_else(|| EditError::Unknown(batch.clone()))?;
    if stored.unreadable > 0 {
        return Err(EditError::Unreadable { batch: batch.clone(), fields: stored.unreadable }.into());
    }
    let open = reopened(&stored.state, now_ms())?;
    match publisher.publish(Changes::full(&open, None)).await {
        Ok(Published::Stale) => return Err(EditError::Overtaken(batch.clone()).into()),
        Ok(_) => println!("{batch} {} reopened", open.position()),
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

async fn connect(builder: PublisherBuilder, life: &Life) -> Result<Publisher, PublishError> {
    builder.state_ttl(Duration::from_secs(life.state_ttl_secs)).connect().await
}

fn read_state(file: &Path) -> Result<BatchState, EditError> {
    let mut json = Vec::new();
    let most = MAX_FILE_BYTES + 1;
    let read = if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut json)
    } else {
        File::open(file).and_then(|open| open.take(most).read_to_end(&mut json))
    };
    read.map_err(|problem| EditError::File { file: file.to_owned(), problem })?;
    if json.len() as u64 > MAX_FILE_BYTES {
        return Err(EditError::TooLarge { file: file.to_owned() });
    }
    BatchState::from_json(&json).map_err(|problem| EditError::NoState { file: file.to_owned(), problem })
}

/// The batch, open again: what had failed or not ended is queued. `now` is in milliseconds since the Unix epoch.
fn reopened(state: &BatchState, now: u64) -> Result<BatchState, EditError> {
    let mut head = state.head().clone();
    let batch = head.batch_id.clone();
    if !head.status.is_terminal() {
        return Err(EditError::Open { batch, status: head.status });
    }
    let no_position = |problem: String| EditError::NoPosition { batch: batch.clone(), problem };
    let (epoch, version) = (now.max(head.position.epoch() + 1), head.position.version() + 1);
    head.position = Position::new(epoch, version).map_err(|error| no_position(error.to_string()))?;
    let counts = &mut head.counts;
    (counts.queued, counts.processing, counts.failed) = (counts.total - counts.completed, 0, 0);
    head.status = if counts.completed == 0 { BatchStatus::Queued } else { BatchStatus::Processing };
    let now = i64::try_from(now).ok().and_then(|now| Timestamp::from_millisecond(now).ok());
    head.updated_at = now.map(|now| format!("{now:.3}")).unwrap_or_default();
    let photos = state.photos().cloned().map(|mut photo| {
        if photo.status != PhotoStatus::Completed {
            (photo.status, photo.version, photo.error) = (PhotoStatus::Queued, version, None);
        }
        photo
    });
    BatchState::new(head, photos).map_err(|error| no_position(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, position: &str, counts: &str) -> BatchState {
        let json = format!(
            r#"{{"v":1,"batchId":"b-1","position":"{position}","status":"{status}","counts":{counts},"photos":[
            {{"photoId":"a","status":"COMPLETED","version":2,"result":{{"width":9}}}},
            {{"photoId":"b","status":"FAILED","version":3,"error":"not a JPEG","result":{{"name":"b.jpg"}}}}]}}"#
        );
        BatchState::from_json(json.as_bytes()).unwrap()
    }

    const PARTIAL: &str = r#"{"total":3,"queued":0,"processing":0,"completed":1,"failed":2}"#;

    #[test]
    fn what_failed_is_queued_again_and_what_is_done_stays() {
        let now = 1_795_389_030_082;
        let open = reopened(&state("PARTIAL", "7-3", PARTIAL), now).unwrap();
        assert_eq!(
            open.to_json(),
            concat!(
                r#"{"v":1,"batchId":"b-1","position":"1795389030082-4","status":"PROCESSING","progress":33,"#,
                r#""counts":{"total":3,"queued":2,"processing":0,"completed":1,"failed":0},"#,
                r#""updatedAt":"2026-11-22T23:10:30.082Z","photos":["#,
                r#"{"photoId":"a","status":"COMPLETED","version":2,"result":{"width":9}},"#,
                r#"{"photoId":"b","status":"QUEUED","version":4,"result":{"name":"b.jpg"}}]}"#,
            )
        );
    }

    #[test]
    fn the_epoch_rises_whatever_the_clock_says() {
        let position = reopened(&state("PARTIAL", "9000000000000-3", PARTIAL), 5).unwrap().position();
        assert_eq!(position.to_string(), "9000000000001-4");
        let last = state("PARTIAL", "9007199254740991-3", PARTIAL);
        assert!(matches!(reopened(&last, 5), Err(EditError::NoPosition { .. })));
    }

    #[test]
    fn a_cancelled_batch_of_which_nothing_was_done_is_queued_and_an_open_one_is_left_alone() {
        let counts = r#"{"total":2,"queued":1,"processing":1,"completed":0,"failed":0}"#;
        let json = format!(r#"{{"batchId":"b","position":"7-3","status":"CANCELLED","counts":{counts}}}"#);
        let cancelled = BatchState::from_json(json.as_bytes()).unwrap();
        let open = reopened(&cancelled, 9).unwrap();
        assert_eq!((open.head().status, open.head().counts.queued), (BatchStatus::Queued, 2));
        assert!(matches!(reopened(&open, 10), Err(EditError::Open { .. })));
    }
}
