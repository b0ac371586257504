//! Puts the parts together, serves them, and ends them in order.

use crate::config::{Config, Secret};
use crate::fanout::Fanout;
use crate::metrics::Metrics;
use crate::upstream::Upstream;
use crate::{admin, connection, guard, rest, subscribe};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use axum::serve::ListenerExt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long requests may still take when the gateway stops.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the routes share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) token: Secret,
    pub(crate) upstream: Upstream,
    pub(crate) fanout: Fanout,
    pub(crate) metrics: Arc<Metrics>,
}

/// A gateway that has its addresses and does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: Arc<App>,
    rest: Listener,
    admin: Option<Listener>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address of Redis is not one.
    #[error("REDIS_URL is not usable: {0}. It looks like redis://[user:password@]host:port[/database]")]
    RedisUrl(#[source] redis::RedisError),
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
        let client = redis_client(&config.redis_url).map_err(StartError::RedisUrl)?;
        let rest = Listener::bind("GATEWAY_LISTEN", config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(Listener::bind("GATEWAY_ADMIN_LISTEN", address).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::default());
        let upstream = Upstream::spawn(client.clone(), Arc::clone(&metrics));
        let app = Arc::new(App {
            token: config.token.clone(),
            fanout: Fanout::spawn(client, Arc::clone(&metrics), upstream.suspect()),
            upstream,
            metrics,
        });
        Ok(Self { app, rest, admin })
    }

    /// Where the REST API is served.
    pub fn address(&self) -> SocketAddr {
        self.rest.address
    }

    /// Where operators are answered.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Serves until `stop`, then ends all streams and lets requests finish for [`SHUTDOWN_TIMEOUT`].
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(());
        let mut servers = JoinSet::new();
        servers.spawn(self.rest.serve(routes(Arc::clone(&self.app)), stopped.clone()));
        if let Some(admin) = self.admin {
            servers.spawn(admin.serve(admin::routes(Arc::clone(&self.app)), stopped));
        }
        stop.await;
        tracing::info!("stopping");
        drop(stopping);
        // Open streams would keep their connections, and with them the servers, for ever.
        self.app.fanout.close();
        if timeout(SHUTDOWN_TIMEOUT, servers.join_all()).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

impl Listener {
    async fn bind(variable: &'static str, address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { variable, address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// Serves until the other end of `stopped` is dropped.
    async fn serve(self, routes: Router, mut stopped: watch::Receiver<()>) {
        let socket = self.socket.tap_io(|connection| {
            // Small events must leave at once. Where the system refuses, they leave a little later.
            let _ = connection.set_nodelay(true);
        });
        let stop = async move {
            let _ = stopped.changed().await;
        };
        if let Err(error) = axum::serve(socket, routes).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "the server ended");
        }
    }
}

fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/", any(rest::command))
        .route("/pipeline", post(rest::pipeline))
        .route("/multi-exec", post(rest::multi_exec))
        .route("/subscribe/{*channel}", get(subscribe::subscribe).post(subscribe::subscribe))
        .fallback(rest::path_command)
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

/// Replies have RESP2's shapes in this protocol, so RESP2 is spoken whatever the URL says.
fn redis_client(url: &Secret) -> redis::RedisResult<redis::Client> {
    let client = redis::Client::open(url.expose())?;
    let info = client.get_connection_info();
    let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP2);
    redis::Client::open(info.clone().set_redis_settings(settings).set_tcp_settings(connection::tcp_settings()))
}
