//! The `batchcast` command: what workers publish, shown in the terminal and changed by hand; tokens; a check of all
//! settings; a test of a running system.
//!
//! In scope: arguments, printing, exit codes, a client of HTTP. Decisions are plain functions on plain data, next to
//! what asks for them.
//! Out of scope: what a batch is, which is `wire`'s, and how one is published, which is the library's.

mod doctor;
mod edit;
mod http_client;
mod redis_client;
mod smoke;
mod status;
mod target;
mod time;
#[path = "../../tls.rs"]
mod tls;
mod token;
mod watch;

use std::{io::Write, process::ExitCode};

use batchcast_publisher::{PublishError, Publisher, RedisSettings};
use clap::{Parser, Subcommand};
use indicatif::MultiProgress;

/// The command could not do what it was asked to, or has found something wrong.
const FAILURE: u8 = 1;

#[derive(Parser)]
#[command(name = "batchcast", version, about = "Watch and check a running Batchcast, and change batches by hand")]
#[command(
    after_help = "Exit codes: 0 done; 1 something is wrong, and said; 2 the arguments are. `watch` and `status` \
                        have more: see their --help. Colours end with NO_COLOR, or where the output is no terminal."
)]
struct Arguments {
    /// The Redis that photo workers publish to, redis://USER:PASSWORD@HOST:PORT/DATABASE say; rediss:// for TLS,
    /// unix:///PATH for a socket, redis-sentinel://HOST:PORT,…#NAME, redis-cluster://HOST:PORT,…, https://HOST for
    /// Redis over HTTP
    ///
    /// Certificates and the user at the sentinels come from REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE,
    /// REDIS_SENTINEL_USER and REDIS_SENTINEL_PASSWORD, the token of Redis over HTTP from UPSTASH_REDIS_REST_TOKEN.
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
    /// Show the progress of batches until all have ended
    ///
    /// Listens to Redis itself. In a terminal a bar a batch; elsewhere, and into a file, a line an update. Waits for a
    /// batch that Redis does not hold yet, and for Redis.
    #[command(after_help = watch::EXIT_CODES)]
    Watch(watch::Order),
    /// List the batches that Redis holds, the one without news for the longest time first
    ///
    /// Redis is read once, by SCAN, or only where ids are given. Its user needs the rights to TTL and SCAN beside those
    /// of a publisher (PROTOCOL.md, "Rights").
    #[command(after_help = status::EXIT_CODES)]
    Status(status::Order),
    /// Publish a whole state, from a file or the standard input
    ///
    /// The state is JSON, as a cached read gives it (PROTOCOL.md, "Batch state"). It is held to the same rules and goes
    /// through the same script as what a worker publishes. Prints `applied`, or `stale` where Redis holds this position
    /// or a greater one, which is no error.
    Publish(edit::Publish),
    /// Delete what Redis holds of batches, so that readers ask the origin again
    Invalidate(edit::Invalidate),
    /// Open an ended batch again, from what Redis holds of it
    ///
    /// Only for applications whose truth is what they publish: where a database has the batch, re-open it there, or the
    /// next update of its worker is `stale` and nobody sees it.
    ///
    /// Photos that have failed or not ended are queued again, without their error; those that are done stay as they
    /// are. The epoch becomes the present time in milliseconds (or the former one and one, if that is later), the
    /// version rises by one, the owner stays. The next update has to build on that position, which is printed. Nobody
    /// else may publish the batch meanwhile.
    Reopen(edit::Edit),
    /// End an open batch as cancelled, from what Redis holds of it
    ///
    /// Only for applications whose truth is what they publish: where a database has the batch, cancel it there. Photos
    /// stay as they are. The version rises by one; the new position is printed.
    Cancel(edit::Edit),
    /// Check each setting, and that the parts reach each other
    ///
    /// Reads the settings of all parts from the environment, under the names that the parts themselves use (`set -a; .
    /// ./.env; . ./.dev.vars; set +a`), and asks the parts. What is not set is skipped, and said to be. Writes one batch
    /// to Redis (`doctor-…`), which it deletes and which is gone after a minute anyway; nothing else is changed. Prints
    /// no secret. Exits with 1 when something is wrong.
    Doctor(doctor::Order),
    /// Test a running system: upload a few photos and watch them being done
    ///
    /// Declares a batch of small photos that it makes, uploads them, follows the stream to its end and reads the batch
    /// ten times. Safe in production: a project of its own (`batchcast-smoke`), at most 20 photos of less than 2 KiB, a limit
    /// on the time, one viewer. The user is that of the token: BATCHCAST_TOKEN, or one for the user `batchcast-smoke`
    /// that is signed with AUTH_SECRET. The API deletes no batch, so the batch stays with the origin. Exits with 1 when
    /// something is wrong.
    Smoke(smoke::Order),
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
    Redis(#[from] redis_client::RedisFailure),
    Edit(#[from] edit::EditError),
    Token(#[from] token::OrderError),
    Http(#[from] http_client::HttpError),
    /// Whoever read the output has gone.
    Output(#[from] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let bars = MultiProgress::new();
    let log = bars.clone();
    tracing_subscriber::fmt()
        .with_writer(move || AboveBars(log.clone()))
        .with_ansi(anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never)
        .with_max_level(tracing::Level::WARN)
        .init();
    match Box::pin(run(Arguments::parse(), bars)).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("batchcast: {error}");
            ExitCode::from(FAILURE)
        }
    }
}

async fn run(arguments: Arguments, bars: MultiProgress) -> Result<u8, Failure> {
    let Arguments { redis_url, key_prefix, verb } = arguments;
    let redis = settings(&redis_url)?;
    let builder = || Publisher::builder(redis.clone()).key_prefix(key_prefix.clone());
    match verb {
        Verb::Watch(order) => watch::run(&builder().connect().await?, &order, bars).await,
        Verb::Status(order) => {
            // Says what is wrong with an address or a prefix.
            builder().connect().await?;
            Box::pin(status::run(&redis_url, &key_prefix, &order)).await
        }
        Verb::Publish(order) => edit::publish(builder(), &order).await,
        Verb::Invalidate(order) => edit::invalidate(&builder().connect().await?, &order).await,
        Verb::Reopen(order) => edit::reopen(builder(), &order).await,
        Verb::Cancel(order) => edit::cancel(builder(), &order).await,
        Verb::Doctor(order) => Box::pin(doctor::run(redis_url, key_prefix, order)).await,
        Verb::Smoke(order) => Box::pin(smoke::run(&order)).await,
        Verb::Token(order) => {
            println!("{}", token::token(&order)?);
            Ok(0)
        }
    }
}

/// The Redis at `url`; what else is needed to reach it stands in the environment.
fn settings(url: &str) -> Result<RedisSettings, PublishError> {
    RedisSettings::from_lookup(|name| if name == "REDIS_URL" { Some(url.to_owned()) } else { std::env::var(name).ok() })
}

/// Writes log lines above the bars, which are drawn anew below them.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
