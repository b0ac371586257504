//! The `batchcast` command: a batch's progress in the terminal, and what operators do to a batch by hand.

mod token;

use std::process::ExitCode;

use batchcast_publisher::{BatchId, BatchState, BatchStatus, PublishError, Publisher};
use clap::{Parser, Subcommand};
use futures::StreamExt;

/// The command could not do what it was asked to.
const FAILURE: u8 = 1;

#[derive(Parser)]
#[command(name = "batchcast", version, about = "Watch batches of photos, what Redis holds of them, and make tokens")]
struct Arguments {
    /// The Redis that photo workers publish to
    #[arg(long, env = "REDIS_URL", default_value = "redis://localhost:6379", hide_env_values = true, global = true)]
    redis_url: String,
    /// What stands before each key and channel
    #[arg(long, env = "KEY_PREFIX", default_value = "", global = true)]
    key_prefix: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show a batch's progress until it ends
    ///
    /// Exits with 0 when all photos are done, with 1 when the batch ended otherwise (PARTIAL, FAILED, CANCELLED). Waits
    /// for a batch that Redis does not know yet, and for Redis.
    Watch {
        /// The batch
        batch: BatchId,
    },
    /// Delete what Redis holds of a batch, so that readers ask the origin again
    Invalidate {
        /// The batch
        batch: BatchId,
    },
    /// Print an access token
    ///
    /// Says who is asking and which batches they may see, signed by the first secret of the environment variable
    /// AUTH_SECRET (or of --secret-file). The secret is no argument, because all users of a machine can read the
    /// arguments of its processes. Needs no Redis.
    ///
    /// curl -H "Authorization: Bearer $(batchcast token --user anna)" https://…/api/batches/ID
    Token(token::Order),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Failure {
    Publish(#[from] PublishError),
    Token(#[from] token::OrderError),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("batchcast: {error}");
            ExitCode::from(FAILURE)
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let publisher =
        async || Publisher::builder(&arguments.redis_url).key_prefix(arguments.key_prefix.clone()).connect().await;
    match &arguments.verb {
        Verb::Watch { batch } => Ok(watch(&publisher().await?, batch).await),
        Verb::Invalidate { batch } => {
            publisher().await?.invalidate(batch).await?;
            println!("{batch} invalidated");
            Ok(ExitCode::SUCCESS)
        }
        Verb::Token(order) => {
            println!("{}", token::token(order)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn watch(publisher: &Publisher, batch: &BatchId) -> ExitCode {
    eprintln!("watching {batch}");
    let mut states = publisher.watch(batch);
    let mut status = None;
    while let Some(state) = states.next().await {
        println!("{}", line(&state));
        status = Some(state.head().status);
    }
    if status == Some(BatchStatus::Completed) { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) }
}

/// `batch-123  50 %  PROCESSING  5 of 12 completed, 1 failed`
fn line(state: &BatchState) -> String {
    let (head, counts) = (state.head(), state.head().counts);
    let status = format!("{:?}", head.status).to_uppercase();
    let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
    format!(
        "{}  {:>3} %  {status}  {} of {} completed{failed}",
        head.batch_id,
        head.progress(),
        counts.completed,
        counts.total
    )
}
