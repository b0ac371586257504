//! An address with connections on it: accepting them, TLS, HTTP/1.1, and their end.

use crate::app::App;
use crate::body::Body;
use crate::handover::{self, Watched};
use crate::service;
use crate::tls::Tls;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long a client may take to send the head of a request, and an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may take over the beginning of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what was sent before it counts as gone: it has vanished, or reads no more.
#[cfg(target_os = "linux")]
const VANISHED_AFTER: Duration = Duration::from_secs(300);

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
                    prepare(&stream);
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

/// Where the system refuses, events leave a little later, and those who vanished are noticed after minutes.
fn prepare(stream: &TcpStream) {
    // Small events must leave at once.
    let _ = stream.set_nodelay(true);
    // Whoever has vanished without a word does not acknowledge even a keep-alive comment.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(VANISHED_AFTER));
}

async fn connection(stream: TcpStream, app: Arc<App>, tls: Option<Arc<Tls>>, stopped: watch::Receiver<()>) {
    let Some(tls) = tls else { return plain(stream, app, stopped).await };
    // Boxed, so that a connection without TLS, or in its place a stream of events, does not take the room of one with.
    let secured = async move {
        match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => secure(stream, app, stopped).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    };
    Box::pin(secured).await;
}

/// Serves a connection on which an answer that is a stream of events is written by the connection itself: what is
/// encrypted can't be the same bytes for all.
async fn secure(stream: TlsStream<TcpStream>, app: Arc<App>, mut stopped: watch::Receiver<()>) {
    let service = service_fn(|request| {
        let app = Arc::clone(&app);
        async { Ok::<_, Infallible>(service::answer(app, request).await) }
    });
    let mut connection = builder().serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
    };
    note(ended);
}

/// Serves a connection until it ends, or until it carries a stream of events: then the socket leaves HTTP and joins the
/// crowd, and this task ends.
async fn plain(stream: TcpStream, app: Arc<App>, mut stopped: watch::Receiver<()>) {
    let (handing, mut handed) = mpsc::channel(1);
    let unsent = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let (app, handing, unsent) = (Arc::clone(&app), handing.clone(), Arc::clone(&unsent));
        async move {
            let chunked = request.version() == Version::HTTP_11;
            let response = service::answer(app, request).await;
            match response.into_parts() {
                // An answer from before that has not left yet is in the way: HTTP must go on writing.
                (head, Body::Events(events)) if chunked && !unsent.load(Ordering::Relaxed) => {
                    let _ = handing.send((handover::head(&head), events)).await;
                    // The other end of the channel now takes the connection apart.
                    std::future::pending().await
                }
                (head, body) => Ok::<_, Infallible>(Response::from_parts(head, body)),
            }
        }
    });
    let stream = Watched::new(stream, Arc::clone(&unsent));
    let mut connection = builder().serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        Some((head, events)) = handed.recv() => {
            // What a client has sent behind its request is not looked at: it only listens from now on.
            let stream = connection.into_parts().io.into_inner().into_inner();
            match stream.into_std() {
                Ok(socket) => events.hand_over(socket, head),
                Err(error) => tracing::warn!(%error, "lost a socket"),
            }
            return;
        }
        _ = stopped.changed() => {
            Pin::new(&mut connection).graceful_shutdown();
            // A subscription that is just opening finds everything closed.
            tokio::select! {
                ended = &mut connection => ended,
                Some(_) = handed.recv() => return,
            }
        }
    };
    note(ended);
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
