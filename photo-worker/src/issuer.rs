//! The issuer whose keys check ES256: asks for its key set, and keeps it. When is [`Keyring`]'s to say.
//!
//! hyper's client and rustls with `ring`, not `reqwest`: without a provider of its own `reqwest` panics in every program
//! of the workspace that installs none, and with one it brings a second provider, between which rustls can't choose.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::Instant;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use wire::{
    limits::MAX_KEY_SET_BYTES,
    token::{Key, KeySet, Keyring, Lookup},
};

/// How long the issuer may take to answer.
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// Where the keys are, and those that are known.
pub(crate) struct Issuer {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    ring: Mutex<Keyring>,
    /// Held by the fetch that is under way: others who need what it brings wait here, and look again.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What the keyring counts its time from.
    started: Instant,
}

/// The keys can't be had just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// Why the issuer can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// An https address, and nothing to check the issuer's certificate by.
    #[error("it is https, and this machine knows no authorities: install ca-certificates, or set SSL_CERT_FILE")]
    NoAuthorities,
    /// TLS can't be set up.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl Issuer {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`IssuerError`]: an https address that can't be asked from here.
    pub(crate) fn new(url: Uri) -> Result<Self, IssuerError> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(&url)?).https_or_http().enable_http1().build();
        Ok(Self {
            url,
            // The next question comes in minutes: no connection waits for it.
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector),
            ring: Mutex::default(),
            turn: Arc::default(),
            started: Instant::now(),
        })
    }

    /// The keys that may have signed a token with this `kid`; none: there is no such key.
    ///
    /// # Errors
    /// [`Unavailable`]: there is no key set, or none with this key, and the issuer gives none.
    pub(crate) async fn keys(self: &Arc<Self>, id: Option<&str>) -> Result<Vec<Key>, Unavailable> {
        if let Lookup::Keys(keys) = self.look_up(id)
            && !keys.is_empty()
        {
            return Ok(keys);
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if self.look_up(id) == Lookup::Fetch {
            let issuer = Arc::clone(self);
            // A task of its own, which has the turn: what was begun is finished, also when who asked has hung up.
            let fetch = tokio::spawn(async move {
                let _turn = turn;
                issuer.ring().begin(issuer.now());
                let set = issuer.fetch().await;
                issuer.ring().finish(set, issuer.now());
            });
            // It fails where the service is being stopped: then there is no answer either.
            fetch.await.map_err(|_| Unavailable)?;
        }
        match self.look_up(id) {
            Lookup::Keys(keys) => Ok(keys),
            Lookup::Fetch | Lookup::Unavailable => Err(Unavailable),
        }
    }

    fn look_up(&self, id: Option<&str>) -> Lookup {
        self.ring().look_up(id, self.now())
    }

    fn ring(&self) -> MutexGuard<'_, Keyring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn fetch(&self) -> Option<KeySet> {
        let answer = tokio::time::timeout(FETCH_WITHIN, self.ask()).await;
        let set = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {FETCH_WITHIN:?}")));
        // The address may hold a secret; the words of the error do not.
        set.inspect_err(|error| tracing::warn!(error = format!("{error:#}"), "AUTH_JWKS_URL gave no key set")).ok()
    }

    /// A redirection is not followed: keys come from where they were said to be.
    async fn ask(&self) -> anyhow::Result<KeySet> {
        let response = self.client.get(self.url.clone()).await.context("the issuer can't be asked")?;
        anyhow::ensure!(response.status() == StatusCode::OK, "the issuer answered {}", response.status());
        let body = Limited::new(response.into_body(), MAX_KEY_SET_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the issuer's answer can't be read: {error}"))?;
        Ok(KeySet::parse(&body.to_bytes())?)
    }
}

fn tls(url: &Uri) -> Result<ClientConfig, IssuerError> {
    let mut roots = RootCertStore::empty();
    if url.scheme_str() == Some("https") {
        // Some of a system's certificates are often of no use; the rest is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(IssuerError::NoAuthorities);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    /// The key of RFC 7515, appendix A.3.1.
    const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k-1",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    #[tokio::test]
    async fn a_fetch_ends_also_when_who_asked_has_hung_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let issuer = Arc::new(Issuer::new(url.parse().unwrap()).unwrap());
        let mut asked = tokio::select! {
            connection = listener.accept() => connection.unwrap().0,
            keys = issuer.keys(Some("k-1")) => panic!("{keys:?}"),
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len());
        let (keys, written) = tokio::join!(issuer.keys(Some("k-1")), asked.write_all(answer.as_bytes()));
        written.unwrap();
        assert_eq!(keys.unwrap().len(), 1, "who comes next waits for the same fetch");
    }
}
