//! How servers are checked over TLS: rustls with `ring`, by the machine's authorities. Shared by sinks and the command.

use std::sync::Arc;

use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsError {
    /// There is nothing to check a certificate by.
    #[error("it is https, and this machine knows no authorities: install ca-certificates, or set SSL_CERT_FILE")]
    NoAuthorities,
    /// The library does not take it.
    #[error("TLS can't be set up: {0}")]
    Other(String),
}

/// A client's configuration; without `is_used` it knows no authorities, and none are looked for.
pub(crate) fn client_config(is_used: bool) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if is_used {
        // Some of a system's certificates are often of no use; the rest is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Other(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
