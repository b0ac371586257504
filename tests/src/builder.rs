//! What a stack consists of, and how its parts find each other.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;

use crate::stack::Tokens;
use crate::{EdgeSettings, GatewaySettings, PhotoWorkerSettings, Stack};
use crate::{bare_edge, edge, gateway, photo_worker, ports, redis_server, workspace};

/// Settings of a stack; see [`Stack::builder`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    preferred_ports: bool,
    bare: bool,
    closed: bool,
    worker_build: Option<PathBuf>,
    keep_logs: Option<PathBuf>,
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

    /// Runs the Worker in `workerd` alone instead of `wrangler dev`: it starts at once, its memory can be measured, and
    /// it serves no live page.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Lets nobody in without a token, as in production: without it the development switch of edge and photo worker is
    /// on.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// Runs the Worker that was built into this folder instead of `edge/build`.
    #[must_use]
    pub fn worker_build(mut self, dir: impl Into<PathBuf>) -> Self {
        self.worker_build = Some(dir.into());
        self
    }

    /// Copies the logs of all parts to this folder when the stack is dropped.
    #[must_use]
    pub fn keep_logs(mut self, dir: impl Into<PathBuf>) -> Self {
        self.keep_logs = Some(dir.into());
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

    /// Chooses the addresses, so that something can be put between two parts before they start.
    ///
    /// # Errors
    /// When no port is free.
    pub fn plan(self) -> Result<Plan> {
        let port = |documented| if self.preferred_ports { ports::preferred(documented) } else { ports::free() };
        let redis = loopback(port(6390)?);
        let gateway = loopback(port(8079)?);
        let photo_worker = loopback(port(8090)?);
        let edge = loopback(port(8787)?);
        let gateway_admin = loopback(ports::free()?);
        Ok(Plan {
            gateway_redis: format!("redis://{redis}"),
            photo_worker_redis: format!("redis://{redis}"),
            edge_gateway: format!("http://{gateway}"),
            edge_origin: format!("http://{photo_worker}"),
            redis,
            gateway,
            gateway_admin,
            photo_worker,
            edge,
            builder: self,
        })
    }

    /// Starts the parts and waits until all are ready.
    ///
    /// # Errors
    /// When a part is missing or does not start: then with the end of its log.
    pub async fn start(self) -> Result<Stack> {
        self.plan()?.start().await
    }
}

/// A stack whose addresses are chosen and whose parts do not run yet; see [`Builder::plan`].
///
/// Each part calls the next one directly unless it is given another address, such as that of a proxy:
/// ```no_run
/// # async fn example(proxy: std::net::SocketAddr) -> anyhow::Result<()> {
/// let plan = stack::Stack::builder().bare().plan()?;
/// let upstream = plan.gateway(); // Where the proxy is to pass things on to.
/// let stack = plan.edge_gateway(proxy).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    builder: Builder,
    redis: SocketAddr,
    gateway: SocketAddr,
    gateway_admin: SocketAddr,
    photo_worker: SocketAddr,
    edge: SocketAddr,
    gateway_redis: String,
    photo_worker_redis: String,
    edge_gateway: String,
    edge_origin: String,
}

impl Plan {
    /// Where Redis will listen.
    #[must_use]
    pub fn redis(&self) -> SocketAddr {
        self.redis
    }

    /// Where the gateway will listen.
    #[must_use]
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Where the photo worker will listen.
    #[must_use]
    pub fn photo_worker(&self) -> SocketAddr {
        self.photo_worker
    }

    /// Where the edge will listen.
    #[must_use]
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// Lets the gateway reach Redis at `address`, a host and a port.
    #[must_use]
    pub fn gateway_redis(mut self, address: impl Display) -> Self {
        self.gateway_redis = format!("redis://{address}");
        self
    }

    /// Lets the photo worker reach Redis at `address`.
    #[must_use]
    pub fn photo_worker_redis(mut self, address: impl Display) -> Self {
        self.photo_worker_redis = format!("redis://{address}");
        self
    }

    /// Lets the edge reach the gateway at `address`.
    #[must_use]
    pub fn edge_gateway(mut self, address: impl Display) -> Self {
        self.edge_gateway = format!("http://{address}");
        self
    }

    /// Lets the edge reach the photo worker, its origin, at `address`.
    #[must_use]
    pub fn edge_origin(mut self, address: impl Display) -> Self {
        self.edge_origin = format!("http://{address}");
        self
    }

    /// Starts the parts and waits until all are ready.
    ///
    /// # Errors
    /// When a part is missing or does not start: then with the end of its log.
    pub async fn start(self) -> Result<Stack> {
        let mut stack = self.stopped()?;
        stack.redis.start().await?;
        let Stack { edge, photo_worker, gateway, .. } = &mut stack;
        tokio::try_join!(gateway.start(), photo_worker.start(), edge.start())?;
        Ok(stack)
    }

    /// The parts, of which none runs yet: the caller starts them, in an order of its own or not at all.
    ///
    /// # Errors
    /// When a part is missing.
    pub fn stopped(self) -> Result<Stack> {
        let dir = tempfile::Builder::new().prefix("batchcast-").tempdir()?;
        let at = dir.path();
        let tokens =
            Tokens { gateway: random_token(), metrics: random_token(), origin: random_token(), auth: random_token() };
        let edge_settings = self.edge_settings(&tokens);
        let edge_of = if self.builder.bare { bare_edge } else { edge };
        let edge = edge_of(at, workspace::root(), &edge_settings)?;
        let redis = redis_server(at, self.redis.port())?;
        let gateway = gateway(
            at,
            GatewaySettings {
                port: self.gateway.port(),
                admin_port: self.gateway_admin.port(),
                redis_url: self.gateway_redis,
                token: tokens.gateway.clone(),
                env: self.builder.gateway_env,
            },
        )?;
        let photo_worker = photo_worker(
            at,
            PhotoWorkerSettings {
                port: self.photo_worker.port(),
                redis_url: self.photo_worker_redis,
                origin_token: tokens.origin.clone(),
                auth_secret: tokens.auth.clone(),
                trust_user_header: !self.builder.closed,
                env: self.builder.photo_worker_env,
            },
        )?;
        let gateway_admin = format!("http://{}", self.gateway_admin);
        let keep_logs = self.builder.keep_logs;
        Ok(Stack { edge, photo_worker, gateway, redis, gateway_admin, tokens, keep_logs, _dir: dir })
    }

    fn edge_settings(&self, tokens: &Tokens) -> EdgeSettings {
        let wiring = [
            ("UPSTASH_REDIS_REST_URL", &*self.edge_gateway),
            ("UPSTASH_REDIS_REST_TOKEN", &tokens.gateway),
            ("ORIGIN_URL", &self.edge_origin),
            ("ORIGIN_TOKEN", &tokens.origin),
            ("METRICS_TOKEN", &tokens.metrics),
            ("AUTH_SECRET", &tokens.auth),
            ("TRUST_USER_HEADER", if self.builder.closed { "false" } else { "true" }),
        ];
        let mut vars: BTreeMap<String, String> =
            wiring.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        vars.extend(self.builder.edge_vars.clone());
        EdgeSettings { port: self.edge.port(), vars, build: self.builder.worker_build.clone() }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
