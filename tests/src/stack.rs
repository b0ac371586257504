//! All parts together, wired to each other as `cargo xtask stack` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use publisher::token::{Batches, Claims, Grant, Secrets, mint};
use serde::Serialize;
use tempfile::TempDir;

use crate::{Api, Builder, Part, Viewer};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A running system. Everything it started ends with it; on a panic it first shows what each part printed last.
///
/// The fields are in the order in which they are dropped: those who call before those who are called.
#[derive(Debug)]
pub struct Stack {
    /// The Worker in `wrangler dev`.
    pub edge: Part,
    /// The photo worker, which is also the edge's origin.
    pub photo_worker: Part,
    /// Redis over HTTP.
    pub gateway: Part,
    /// The Redis behind gateway and photo worker.
    pub redis: Part,
    pub(crate) gateway_admin: String,
    pub(crate) tokens: Tokens,
    pub(crate) keep_logs: Option<PathBuf>,
    pub(crate) _dir: TempDir,
}

/// The secrets that the parts show each other.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) gateway: String,
    pub(crate) metrics: String,
    pub(crate) origin: String,
    /// What users' tokens are signed with.
    pub(crate) auth: String,
}

/// Where a stack can be reached, as `cargo xtask stack --json` writes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// The Worker.
    pub edge: String,
    /// Redis over HTTP.
    pub gateway: String,
    /// The gateway's token.
    pub gateway_token: String,
    /// Redis itself.
    pub redis: String,
    /// The photo worker.
    pub photo_worker: String,
    /// A user's token that sees all batches, for a day.
    pub token: String,
    /// The token of the edge's `/api/metrics`.
    pub metrics_token: String,
}

impl Stack {
    /// A stack on free ports with the development settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client of the edge's routes.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.edge.url())
    }

    /// Opens the stream of a batch at the edge, as a newcomer.
    ///
    /// # Errors
    /// When the edge does not answer with a stream.
    pub async fn view(&self, batch_id: &str) -> Result<Viewer> {
        Viewer::open(&self.stream_url(batch_id)).await
    }

    /// The address of the stream of a batch.
    #[must_use]
    pub fn stream_url(&self, batch_id: &str) -> String {
        format!("{}/api/batches/{batch_id}/stream", self.edge.url())
    }

    /// A connection to Redis itself.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn redis_connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.redis.url())?;
        client.get_multiplexed_async_connection().await.context("cannot connect to Redis")
    }

    /// The address of the gateway's operator's server.
    #[must_use]
    pub fn gateway_admin_url(&self) -> &str {
        &self.gateway_admin
    }

    /// The token that the photo worker asks of those who read batches from it.
    #[must_use]
    pub fn origin_token(&self) -> &str {
        &self.tokens.origin
    }

    /// What users' tokens are signed with.
    #[must_use]
    pub fn auth_secret(&self) -> &str {
        &self.tokens.auth
    }

    /// A token of a user, for an hour: it opens what they own.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        self.mint(&lasting(HOUR, Grant::user(user)))
    }

    /// A token with these claims.
    #[must_use]
    pub fn mint(&self, claims: &Claims) -> String {
        let secrets = Secrets::parse(&self.tokens.auth).unwrap_or_else(|error| panic!("our own secret: {error}"));
        mint(&secrets, claims)
    }

    /// The token of the edge's `/api/metrics`.
    #[must_use]
    pub fn metrics_token(&self) -> &str {
        &self.tokens.metrics
    }

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            edge: self.edge.url().to_owned(),
            gateway: self.gateway.url().to_owned(),
            gateway_token: self.tokens.gateway.clone(),
            redis: self.redis.url().to_owned(),
            photo_worker: self.photo_worker.url().to_owned(),
            token: self.mint(&everything()),
            metrics_token: self.tokens.metrics.clone(),
        }
    }

    fn copy_logs(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for log in self.parts().map(Part::log_path).into_iter().filter(|log| log.exists()) {
            fs::copy(log, dir.join(log.file_name().context("a log without a name")?))?;
        }
        Ok(())
    }

    fn parts(&self) -> [&Part; 4] {
        [&self.edge, &self.photo_worker, &self.gateway, &self.redis]
    }
}

/// Claims that last so long from now on.
#[must_use]
pub fn lasting(time: Duration, grant: Grant) -> Claims {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + time;
    Claims::new(grant, u64::try_from(expires.as_millis()).unwrap_or(u64::MAX))
}

fn everything() -> Claims {
    lasting(24 * HOUR, Grant::new("developer".to_owned(), Batches::All))
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for part in self.parts() {
                eprintln!("the log of {} ends:\n{}", part.name, part.log_tail());
            }
        }
        if let Some(dir) = &self.keep_logs
            && let Err(error) = self.copy_logs(dir)
        {
            eprintln!("the logs were not kept: {error:#}");
        }
    }
}
