//! The `batchcast-gateway` command: settings in, addresses on stdout, logs on stderr, until it is told to stop.

use anyhow::anyhow;
use batchcast_gateway::{Config, Gateway};
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // One line in words: whoever starts the gateway is to mend a setting, not to read a backtrace.
        Err(error) => {
            eprintln!("batchcast-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let config = Config::from_command_line()?;
    let filter =
        EnvFilter::try_new(&config.log_level).map_err(|error| anyhow!("LOG_LEVEL is not a log filter: {error}"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let terminate = signal(SignalKind::terminate())?;

    let gateway = Gateway::bind(&config).await?;
    // Scripts and tests wait for these lines, so they stand alone on stdout.
    println!("listening on http://{}", gateway.address());
    if let Some(admin) = gateway.admin_address() {
        println!("admin on http://{admin}");
    }
    gateway.serve(stop_signal(terminate)).await;
    Ok(())
}

async fn stop_signal(mut terminate: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        // Where Ctrl-C cannot be listened for, only SIGTERM stops the gateway.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}
