//! Sockets to Redis: TCP, TLS, Unix.
//!
//! The client library opens its own for subscriptions and clusters. The one for commands is opened here, because its
//! replies are cleaned before the library reads them.

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, TlsCertificates};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A peer that vanished is found by the kernel's probes: after this silence, and then so many unanswered ones.
/// Asking by `PING` instead would make a quiet Redis answer for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Both directions of a connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects.
pub(crate) async fn open(
    address: &ConnectionAddr,
    certificates: Option<&TlsCertificates>,
) -> io::Result<Box<dyn Socket>> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            let connector = TlsConnector::from(Arc::new(client_config(certificates)?));
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

fn client_config(certificates: Option<&TlsCertificates>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = certificates.and_then(|certificates| certificates.root_cert.as_deref());
    match authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        }
        // Some of a system's certificates are often of no use; the rest is.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Some(own) = certificates.and_then(|certificates| certificates.client_tls.as_ref()) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&own.client_cert).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&own.client_key).map_err(io::Error::other)?;
    builder.with_client_auth_cert(chain, key).map_err(io::Error::other)
}
