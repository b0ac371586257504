//! Sockets to Redis: TCP, TLS, Unix.
//!
//! The client library opens its own for subscriptions and clusters. The one for commands is opened here, because its
//! replies are cleaned before the library reads them.

use redis::ConnectionAddr;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis_address::Certificates;
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// A peer that vanished is found by the kernel's probes: after this silence, and then so many unanswered ones.
/// Asking by `PING` instead would make a quiet Redis answer for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Both directions of a connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects.
pub(crate) async fn open(address: &ConnectionAddr, certificates: &Certificates) -> io::Result<Box<dyn Socket>> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            let connector = TlsConnector::from(Arc::new(certificates.client_config()?));
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(connector.connect(name, tcp(host, *port).await?).await?))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(io::Error::other("certificates that are not checked are not supported; set REDIS_CA_FILE")),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// How the library's own sockets behave.
pub(crate) fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive())
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER).with_retries(KEEPALIVE_PROBES)
}
