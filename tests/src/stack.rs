//! All parts together, wired to each other as `cargo xtask stack` runs them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use crate::{Api, EdgeSettings, GatewaySettings, Part, PhotoWorkerSettings, Viewer};
use crate::{edge, gateway, photo_worker, ports, redis_server, workspace};

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
    gateway_admin: String,
    gateway_token: String,
    metrics_token: String,
    _dir: TempDir,
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
    /// A viewer's token; none while the stack runs with `TRUST_USER_HEADER`.
    pub token: Option<String>,
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

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            edge: self.edge.url().to_owned(),
            gateway: self.gateway.url().to_owned(),
            gateway_token: self.gateway_token.clone(),
            redis: self.redis.url().to_owned(),
            photo_worker: self.photo_worker.url().to_owned(),
            token: None,
            metrics_token: self.metrics_token.clone(),
        }
    }

    fn parts(&self) -> [&Part; 4] {
        [&self.edge, &self.photo_worker, &self.gateway, &self.redis]
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for part in self.parts() {
                eprintln!("the log of {} ends:\n{}", part.name, part.log_tail());
            }
        }
    }
}

/// Settings of a stack; see [`Stack::builder`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    preferred_ports: bool,
    edge_vars: BTreeMap<String, String>,
    gateway_env: BTreeMap<String, String>,
    photo_worker_env: BTreeMap<String, String>,
}

impl Builder {
    /// Takes the documented ports, or the next free ones above them, instead of any.
    #[must_use]
    pub fn preferred_ports(mut self) -> Self {
        self.preferred_ports = true;
        self
    }

    /// Sets a variable of the Worker, such as `LINGER_SECS`.
    #[must_use]
    pub fn edge_var(mut self, name: &str, value: &str) -> Self {
        self.edge_vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable of the gateway.
    #[must_use]
    pub fn gateway_env(mut self, name: &str, value: &str) -> Self {
        self.gateway_env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable of the photo worker.
    #[must_use]
    pub fn photo_worker_env(mut self, name: &str, value: &str) -> Self {
        self.photo_worker_env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts the parts and waits until all are ready.
    ///
    /// # Errors
    /// When a part is missing or does not start: then with the end of its log.
    pub async fn start(self) -> Result<Stack> {
        let dir = tempfile::Builder::new().prefix("batchcast-").tempdir()?;
        let at = dir.path();
        let gateway_token = random_token();
        let metrics_token = random_token();
        let origin_token = random_token();

        let redis = redis_server(at, self.port(6390)?)?;
        let admin_port = ports::free()?;
        let gateway = gateway(
            at,
            GatewaySettings {
                port: self.port(8079)?,
                admin_port,
                redis_url: redis.url().to_owned(),
                token: gateway_token.clone(),
                env: self.gateway_env.clone(),
            },
        )?;
        let photo_worker = photo_worker(
            at,
            PhotoWorkerSettings {
                port: self.port(8090)?,
                redis_url: redis.url().to_owned(),
                origin_token: origin_token.clone(),
                env: self.photo_worker_env.clone(),
            },
        )?;
        let mut vars = BTreeMap::from(
            [
                ("UPSTASH_REDIS_REST_URL", gateway.url()),
                ("UPSTASH_REDIS_REST_TOKEN", gateway_token.as_str()),
                ("ORIGIN_URL", photo_worker.url()),
                ("ORIGIN_TOKEN", origin_token.as_str()),
                ("METRICS_TOKEN", metrics_token.as_str()),
                ("TRUST_USER_HEADER", "true"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        vars.extend(self.edge_vars.clone());
        let edge = edge(at, workspace::root(), &EdgeSettings { port: self.port(8787)?, vars })?;

        let gateway_admin = format!("http://127.0.0.1:{admin_port}");
        let mut stack =
            Stack { edge, photo_worker, gateway, redis, gateway_admin, gateway_token, metrics_token, _dir: dir };
        stack.redis.start().await?;
        let Stack { edge, photo_worker, gateway, .. } = &mut stack;
        tokio::try_join!(gateway.start(), photo_worker.start(), edge.start())?;
        Ok(stack)
    }

    fn port(&self, documented: u16) -> Result<u16> {
        if self.preferred_ports { ports::preferred(documented) } else { ports::free() }
    }
}

fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
