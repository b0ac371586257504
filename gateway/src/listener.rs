//! An address with connections on it: accepting them, TLS, HTTP/1.1, and their end.

use crate::app::App;
use crate::service;
use crate::tls::Tls;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a client may take to send the head of a request, and an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may take over the beginning of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a connection that could not be accepted: mostly there are no descriptors left for the moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that has its address and does not serve yet.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Serves until the other end of `stopped` is dropped, then lets requests finish. Returns when all connections have
    /// ended.
    pub(crate) async fn serve(self, app: Arc<App>, tls: Option<Arc<Tls>>, mut stopped: watch::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stopped.changed() => break,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Small events must leave at once. Where the system refuses, they leave a little later.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, Arc::clone(&app), tls.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

async fn connection(stream: TcpStream, app: Arc<App>, tls: Option<Arc<Tls>>, stopped: watch::Receiver<()>) {
    let Some(tls) = tls else { return http(stream, app, stopped).await };
    match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => http(stream, app, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S, app: Arc<App>, mut stopped: watch::Receiver<()>) {
    let service = service_fn(|request| {
        let app = Arc::clone(&app);
        async { Ok::<_, Infallible>(service::answer(app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
