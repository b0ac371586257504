//! Puts the parts together, serves them, and ends them in order.

use crate::admin;
use crate::app::App;
use crate::config::{Config, ConfigError};
use crate::fanout::Crowd;
use crate::listener::Listener;
use crate::tls::{Tls, TlsError};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How much longer than Redis' own time requests get to finish when the gateway stops: so that each gets an answer.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// A gateway that has its addresses and does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: Arc<App>,
    rest: Listener,
    tls: Option<Arc<Tls>>,
    admin: Option<Listener>,
    drain: Duration,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The threads for subscribers cannot be started.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] std::io::Error),
    /// An address cannot be served on.
    #[error("{variable}: cannot listen on {address}: {source}. Choose a free address, or port 0")]
    Listen {
        /// The setting.
        variable: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Gateway {
    /// Takes the addresses and begins to connect to Redis, which need not be there yet.
    ///
    /// # Errors
    /// [`StartError`] names the setting and the remedy.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let tls = match (&config.tls_cert_file, &config.tls_key_file) {
            (Some(certificate), Some(key)) => Some(Arc::new(Tls::read(certificate.clone(), key.clone())?)),
            _ => None,
        };
        let rest = bind("GATEWAY_LISTEN", config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(bind("GATEWAY_ADMIN_LISTEN", address).await?),
            None => None,
        };
        let crowd = Crowd::spawn(crowd_threads()).map_err(StartError::Threads)?;
        let app = Arc::new(App::new(config, crowd)?);
        Ok(Self { app, rest, tls, admin, drain: config.response_timeout() + SHUTDOWN_MARGIN })
    }

    /// Where the REST API is served.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.rest.address)
    }

    /// Where operators are answered.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| format!("http://{}", admin.address))
    }

    /// What reads the certificate anew, each time it is called; `None`: there is none.
    pub fn reloader(&self) -> Option<impl Fn() -> Result<(), TlsError> + use<>> {
        self.tls.clone().map(|tls| move || tls.reload())
    }

    /// Serves until `stop`, then ends all streams and lets requests finish: as long as Redis may take to answer one.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(());
        let mut servers = JoinSet::new();
        servers.spawn(self.rest.serve(Arc::clone(&self.app), self.tls, stopped.clone()));
        if let Some(admin) = self.admin {
            servers.spawn(serve_admin(admin, Arc::clone(&self.app), stopped));
        }
        stop.await;
        tracing::info!("stopping");
        drop(stopping);
        // Open streams would keep their connections, and with them the servers, for ever.
        self.app.close();
        if timeout(self.drain, servers.join_all()).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

/// A thread a processor: an event for many is on its way to all of them as soon as can be.
fn crowd_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

async fn bind(variable: &'static str, address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address).await.map_err(|source| StartError::Listen { variable, address, source })
}

async fn serve_admin(listener: Listener, app: Arc<App>, mut stopped: watch::Receiver<()>) {
    let stop = async move {
        let _ = stopped.changed().await;
    };
    if let Err(error) = axum::serve(listener.socket, admin::routes(app)).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the operators' server ended");
    }
}
