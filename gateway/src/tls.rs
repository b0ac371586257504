//! The certificate that the REST API is served with.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate, and the files it came from.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// Why a certificate cannot be served with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file holds no such thing, or cannot be read.
    #[error("{variable} is not usable: {problem}")]
    File {
        /// The setting.
        variable: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The two do not belong together.
    #[error("GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE do not go together: {0}")]
    Pair(#[from] tokio_rustls::rustls::Error),
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`] names the setting.
    pub(crate) fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(config(&certificate, &key)?));
        Ok(Self { certificate, key, current })
    }

    /// Reads the files anew, for connections from now on.
    ///
    /// # Errors
    /// As [`Tls::read`]; the certificate from before stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(config(&self.certificate, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn config(certificate: &PathBuf, key: &PathBuf) -> Result<ServerConfig, TlsError> {
    let refuse = |variable, problem: String| TlsError::File { variable, problem };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refuse("GATEWAY_TLS_CERT_FILE", error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse("GATEWAY_TLS_CERT_FILE", "there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse("GATEWAY_TLS_KEY_FILE", error.to_string()))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
