//! `batchcast publish`, `invalidate`, `reopen` and `cancel`: what a script does to batches.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use batchcast_publisher::{
    BatchId, BatchState, Changes, EditError as BatchError, PublishError, Published, Publisher, PublisherBuilder,
};
use clap::Args;
use wire::{StateError, limits::MAX_STATE_BYTES};

use crate::Failure;

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

/// What `reopen` and `cancel` are told.
#[derive(Args)]
pub(crate) struct Edit {
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
    #[error("{batch} was left as it is: {problem}")]
    Batch { batch: BatchId, problem: BatchError },
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

pub(crate) async fn reopen(builder: PublisherBuilder, order: &Edit) -> Result<u8, Failure> {
    let edited = connect(builder, &order.life).await?.reopen(&order.batch).await;
    said(&order.batch, edited, "reopened")
}

pub(crate) async fn cancel(builder: PublisherBuilder, order: &Edit) -> Result<u8, Failure> {
    let edited = connect(builder, &order.life).await?.cancel(&order.batch).await;
    said(&order.batch, edited, "cancelled")
}

fn said(batch: &BatchId, edited: Result<BatchState, BatchError>, word: &str) -> Result<u8, Failure> {
    match edited {
        Ok(state) => println!("{batch} {} {word}", state.position()),
        Err(BatchError::Publish(error)) => return Err(error.into()),
        Err(problem) => return Err(EditError::Batch { batch: batch.clone(), problem }.into()),
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
