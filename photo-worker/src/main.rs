//! The photo worker as a program: settings from the environment, one line on stdout, logs on stderr, an orderly end.

use std::{env, process::ExitCode};

use anyhow::Context as _;
use batchcast_photo_worker::{Config, Service};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The settings are wrong: starting again changes nothing.
const BAD_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let config = match start_logging().and_then(|()| Ok(Config::from_lookup(|name| env::var(name).ok())?)) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIG),
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("photo-worker: {error:#}");
    ExitCode::from(code)
}

/// `LOG_LEVEL`: a level, or directives as `tracing-subscriber` reads them (`info,sqlx=warn`).
fn start_logging() -> anyhow::Result<()> {
    let level = env::var("LOG_LEVEL").ok().filter(|level| !level.is_empty()).unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&level)
        .with_context(|| format!("LOG_LEVEL is {level:?}: set error, warn, info, debug or trace"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let service = Service::start(config).await?;
    println!("listening on http://{}", service.address());
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    tracing::info!("stopping");
    let undelivered = service.stop().await;
    if !undelivered.is_empty() {
        tracing::warn!(
            batches = undelivered.len(),
            "not all updates were delivered; another process publishes them, or the next start"
        );
    }
    Ok(())
}
