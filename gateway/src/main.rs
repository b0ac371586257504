//! The `batchcast-gateway` command: settings in, addresses on stdout, logs on stderr, until it is told to stop.

use anyhow::anyhow;
use batchcast_gateway::config::LogFormat;
use batchcast_gateway::{Config, Gateway, TlsError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // One line in words: whoever starts the gateway is to mend a setting, not to read a backtrace.
        Err(error) => {
            eprintln!("batchcast-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let config = Config::from_command_line()?;
    start_logs(&config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(config.request_threads()).enable_all().build()?.block_on(run(&config))
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let terminate = signal(SignalKind::terminate())?;
    let hang_up = signal(SignalKind::hangup())?;
    raise_descriptor_limit();

    let gateway = Gateway::bind(config).await?;
    // Scripts and tests wait for these lines, so they stand alone on stdout.
    println!("listening on {}", gateway.url());
    if let Some(admin) = gateway.admin_url() {
        println!("admin on {admin}");
    }
    if let Some(reload) = gateway.reloader() {
        tokio::spawn(reload_at(hang_up, reload));
    }
    gateway.serve(stop_signal(terminate)).await;
    Ok(())
}

fn start_logs(config: &Config) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&config.log_level).map_err(|error| anyhow!("LOG_LEVEL is not a log filter: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Each open stream is a descriptor, and systems give a process few of them unless it asks for those it may have.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn reload_at(mut hang_up: Signal, reload: impl Fn() -> Result<(), TlsError>) {
    while hang_up.recv().await.is_some() {
        match reload() {
            Ok(()) => tracing::info!("read the certificate anew"),
            Err(error) => tracing::error!(%error, "kept the certificate from before"),
        }
    }
}

async fn stop_signal(mut terminate: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        // Where Ctrl-C cannot be listened for, only SIGTERM stops the gateway.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}
