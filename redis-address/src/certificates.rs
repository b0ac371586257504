//! Certificates, as PEM.

use std::{fmt, fs, io, path::Path};

/// What TLS checks the server by, and what it shows where the server asks. Without any: the system's authorities, and
/// nothing to show.
///
/// ```no_run
/// use std::path::Path;
/// use batchcast_redis_address::Certificates;
///
/// // An authority of one's own, and nothing to show.
/// let certificates = Certificates::read(Some(Path::new("/etc/redis/ca.pem")), None, None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    authority: Option<Vec<u8>>,
    /// Chain and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

/// A file of certificates that can't be used.
///
/// ```
/// use std::path::Path;
/// use batchcast_redis_address::Certificates;
///
/// let error = Certificates::read(Some(Path::new("/nowhere.pem")), None, None).unwrap_err();
/// assert!(error.to_string().starts_with("REDIS_CA_FILE is not usable")); // Names the variable to mend.
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{setting} is not usable: {problem}")]
pub struct CertificateError {
    /// The variable that names it: `REDIS_CA_FILE`, `REDIS_CERT_FILE` or `REDIS_KEY_FILE`.
    pub setting: &'static str,
    /// Why.
    #[source]
    pub problem: io::Error,
}

impl Certificates {
    /// Reads PEM files, each under the setting it usually has: `authority` (`REDIS_CA_FILE`), `certificate`
    /// (`REDIS_CERT_FILE`) and `key` (`REDIS_KEY_FILE`).
    ///
    /// ```
    /// use std::path::PathBuf;
    /// use batchcast_redis_address::Certificates;
    ///
    /// let file = |name| std::env::var_os(name).map(PathBuf::from);
    /// let [authority, certificate, key] = ["REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"].map(file);
    /// let certificates = Certificates::read(authority.as_deref(), certificate.as_deref(), key.as_deref())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The setting whose file cannot be read, and why; or that a certificate came without its key.
    pub fn read(
        authority: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, CertificateError> {
        let read = |setting, file: &Path| fs::read(file).map_err(|problem| CertificateError { setting, problem });
        let authority = authority.map(|file| read("REDIS_CA_FILE", file)).transpose()?;
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Some((read("REDIS_CERT_FILE", certificate)?, read("REDIS_KEY_FILE", key)?))
            }
            (None, None) => None,
            _ => {
                let words = "REDIS_CERT_FILE and REDIS_KEY_FILE go together: set both or neither";
                return Err(CertificateError { setting: "REDIS_CERT_FILE", problem: io::Error::other(words) });
            }
        };
        Ok(Self { authority, own })
    }

    /// Only servers with a certificate of this authority (PEM) are believed, instead of the system's.
    ///
    /// ```no_run
    /// use batchcast_redis_address::Certificates;
    ///
    /// let certificates = Certificates::default().with_authority(std::fs::read("ca.pem")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// What is shown to a server that asks: the certificate with its chain, and its key (PEM).
    ///
    /// ```no_run
    /// use batchcast_redis_address::Certificates;
    ///
    /// let (chain, key) = (std::fs::read("worker.pem")?, std::fs::read("worker.key")?);
    /// let certificates = Certificates::default().with_own(chain, key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_own(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.own = Some((chain.into(), key.into()));
        self
    }

    /// Whether there is none: the system's authorities serve.
    ///
    /// ```
    /// use batchcast_redis_address::Certificates;
    ///
    /// let certificates = Certificates::default();
    /// assert!(certificates.is_empty() && !certificates.with_authority("a PEM").is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authority.is_none() && self.own.is_none()
    }

    /// As the `redis` library takes them; `None` without any.
    ///
    /// ```
    /// use batchcast_redis_address::Certificates;
    ///
    /// let by_the_system = Certificates::default();
    /// assert!(by_the_system.for_redis().is_none()); // Then `Client::open` does, without certificates.
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn for_redis(&self) -> Option<redis::TlsCertificates> {
        let own = self.own.clone();
        (!self.is_empty()).then(|| redis::TlsCertificates {
            client_tls: own.map(|(client_cert, client_key)| redis::ClientTlsConfig { client_cert, client_key }),
            root_cert: self.authority.clone(),
        })
    }

    /// As rustls takes them, with `ring`, whatever else the process uses.
    ///
    /// ```
    /// use batchcast_redis_address::Certificates;
    ///
    /// // For HTTPS to the same place, say: Redis over HTTP.
    /// let config = Certificates::default().client_config()?;
    /// assert!(!config.client_auth_cert_resolver.has_certs());
    ///
    /// let no_pem = "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----";
    /// assert!(Certificates::default().with_authority(no_pem).client_config().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What can't be used.
    #[cfg(feature = "tls")]
    pub fn client_config(&self) -> io::Result<tokio_rustls::rustls::ClientConfig> {
        use std::sync::Arc;
        use tokio_rustls::rustls::{
            ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        };

        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
            // Some of a system's certificates are often of no use; the rest is.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = config.with_root_certificates(roots);
        let Some((chain, key)) = &self.own else { return Ok(config.with_no_client_auth()) };
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
        config.with_client_auth_cert(chain, key).map_err(io::Error::other)
    }
}

impl fmt::Debug for Certificates {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, own) = (self.authority.is_some(), self.own.is_some());
        f.debug_struct("Certificates").field("authority", &authority).field("own", &own).finish()
    }
}

/// Chooses `ring` for the process where nothing was chosen: the `redis` library asks rustls for the process' provider,
/// which panics where an application has brought in two and chosen none.
///
/// ```
/// use batchcast_redis_address::install_provider;
///
/// install_provider(); // Before clients that `redis` makes by itself; whatever was chosen earlier stays.
/// let client = redis::Client::open("rediss://localhost")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "tls")]
pub fn install_provider() {
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // An error says that somebody else was faster, which is as well.
        drop(ring::default_provider().install_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named_by_its_setting() {
        let missing = Path::new("/nowhere.pem");
        let error = Certificates::read(Some(missing), None, None).unwrap_err();
        assert_eq!((error.setting, error.problem.kind()), ("REDIS_CA_FILE", io::ErrorKind::NotFound));
        let key = Certificates::read(None, None, Some(missing)).unwrap_err();
        assert!(key.to_string().contains("set both or neither"), "{key}");
        assert!(Certificates::read(None, None, None).unwrap().is_empty());
    }

    #[test]
    fn a_key_is_never_shown() {
        let certificates = Certificates::default().with_own("chain", "hunter2");
        assert!(!format!("{certificates:?}").contains("hunter2") && !certificates.is_empty());
    }
}
