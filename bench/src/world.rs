//! One side of a comparison with all that it needs, running: a Redis, a gateway, who serves the viewers, and who makes
//! changes.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use stack::{EdgeSettings, Part, RedisServer, ports, workspace};
use tempfile::TempDir;

use crate::app::{App, Database};
use crate::distance::Afar;
use crate::gateway::{self, TOKEN};
use crate::listeners::{Listeners, Reader, now_us};
use crate::marks::Sent;
use crate::node_peer::{self, Surroundings, Worker};

/// The batch that all of a world's viewers look at.
pub(crate) const BATCH: &str = "b-bench";

/// Who serves the viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Ours: the Worker in `workerd`.
    Edge,
    /// Ours, at the origin: the gateway's `/subscribe`.
    Gateway,
    /// A peer of `bench/peers`.
    Node(&'static str),
    /// The least that a Durable Object can do for the same streams, in the same `workerd` (`bench/peers/bare-object`).
    BareObject,
}

/// The edge's peer. Its events are whole states.
pub(crate) const UPSTASH_REALTIME: Side = Side::Node("upstash-realtime");
/// The same, whose events hold the head and what has changed.
pub(crate) const UPSTASH_CHANGES: Side = Side::Node("upstash-realtime-changes");

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "Batchcast",
            Self::Gateway => "gateway",
            Self::Node(name) => name,
            Self::BareObject => "bare object",
        })
    }
}

impl Side {
    /// Why it can't be measured here; `None`: it can.
    pub(crate) fn lack(self) -> Option<String> {
        if let Self::Node(peer) = self { node_peer::lack(peer) } else { None }
    }
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) side: Side,
    /// Photos of the batch.
    pub(crate) photos: usize,
    /// Variables of the Worker.
    pub(crate) edge_vars: Vec<(&'static str, String)>,
    /// A round trip's time between the parts: the gateway stands beside Redis, and all others are so far away from both.
    pub(crate) distance: Duration,
}

impl Setup {
    /// One batch of so many photos, with default settings.
    pub(crate) fn new(side: Side, photos: usize) -> Self {
        Self { side, photos, edge_vars: Vec::new(), distance: Duration::ZERO }
    }
}

/// One side, running; stopped on drop.
pub(crate) struct World {
    /// Who serves the viewers, if that is not the gateway.
    server: Option<Part>,
    pub(crate) gateway: Part,
    pub(crate) redis: RedisServer,
    path: String,
    headers: String,
    pub(crate) changer: Changer,
    /// Redis and the gateway, as all others see them.
    pub(crate) afar: Afar,
    /// Goes last.
    _dir: TempDir,
}

/// How a change reaches the viewers.
pub(crate) enum Changer {
    Publisher(App),
    Worker { worker: Box<Worker>, database: Database },
}

impl World {
    pub(crate) async fn start(setup: &Setup) -> Result<Self> {
        let (dir, redis) = (tempfile::tempdir()?, RedisServer::start().await?);
        let gateway = gateway::start(dir.path(), redis.url()).await?;
        let afar = Afar::new(setup.distance, &redis, &gateway).await?;
        let authorization = format!("authorization: Bearer {TOKEN}\r\n");
        let (server, path, headers) = match setup.side {
            Side::Edge => {
                let edge = start_edge(dir.path(), &afar.gateway_url, &setup.edge_vars).await?;
                (Some(edge), format!("/api/batches/{BATCH}/stream"), String::new())
            }
            Side::BareObject => {
                let object = start_bare_object(dir.path(), &afar.gateway_url).await?;
                (Some(object), format!("/api/batches/{BATCH}/stream"), String::new())
            }
            Side::Gateway => (None, format!("/subscribe/batch:{BATCH}"), authorization),
            Side::Node(peer) => {
                let server = node_peer::server(peer, &surroundings(&dir, &afar)).await?;
                (Some(server), format!("/batches/{BATCH}/stream"), String::new())
            }
        };
        let changer = match setup.side {
            Side::Edge | Side::Gateway | Side::BareObject => {
                Changer::Publisher(App::start(&afar.redis_url, BATCH, setup.photos).await?)
            }
            Side::Node(peer) => {
                let database = Database::new(&BATCH.parse()?, setup.photos)?;
                let mut worker = Box::new(Worker::start(peer, &surroundings(&dir, &afar))?);
                worker.publish(BATCH, now_us() / 1_000, &database.state()?, "photo-00000").await?;
                Changer::Worker { worker, database }
            }
        };
        Ok(Self { server, gateway, redis, path, headers, changer, afar, _dir: dir })
    }

    /// Who serves the viewers.
    pub(crate) fn server(&self) -> &Part {
        self.server.as_ref().unwrap_or(&self.gateway)
    }

    /// The same, to be killed and started again, and who makes changes meanwhile.
    pub(crate) fn server_and_changer(&mut self) -> (&mut Part, &mut Changer) {
        (self.server.as_mut().unwrap_or(&mut self.gateway), &mut self.changer)
    }

    /// Where the viewers connect to.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.server().url().strip_prefix("http://").context("no http address")?.parse()?)
    }

    /// What a viewer asks, as the bytes of its request.
    pub(crate) fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nhost: bench\r\n{}\r\n", self.path, self.headers)
    }

    /// Opens the streams of so many viewers.
    pub(crate) fn open<R: Reader>(&self, viewers: usize, reader: impl Fn() -> R) -> Result<Listeners<R>> {
        Listeners::open(self.address()?, &self.request(), viewers, reader)
    }

    /// As [`World::open`], but gives up when not all are open by the end of `patience`.
    pub(crate) fn open_within<R: Reader>(
        &self,
        patience: Duration,
        viewers: usize,
        reader: impl Fn() -> R,
    ) -> Result<Listeners<R>> {
        Listeners::open_within(patience, self.address()?, &self.request(), viewers, reader)
    }

    /// What its processes, and this one, have used so far.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        let stats = self.redis.run::<String>(&["INFO", "commandstats"]).await?;
        let calls =
            stats.lines().filter_map(|line| line.split_once(":calls=")?.1.split_once(',')?.0.parse::<u64>().ok());
        Ok(Usage {
            at: Instant::now(),
            server: self.server().cpu_time()?,
            gateway: self.gateway.cpu_time()?,
            redis: self.redis.cpu_time()?,
            redis_calls: calls.sum(),
            own: own_cpu()?,
        })
    }

    /// Publishes what is left, and stops all.
    pub(crate) async fn close(self) {
        if let Changer::Publisher(app) = self.changer {
            app.close().await;
        }
    }
}

impl Changer {
    /// Makes change `number`, and lets it be published.
    pub(crate) async fn change(&mut self, number: usize, sent: &Sent) -> Result<()> {
        match self {
            Self::Publisher(app) => app.change(number, sent),
            Self::Worker { worker, database } => {
                let at = now_us() / 1_000;
                let photo = database.commit(number, sent)?;
                worker.publish(BATCH, at, &database.state()?, photo.as_str()).await
            }
        }
    }

    /// Makes change `number`, and returns when it is acknowledged: it is never merged with another on its way.
    pub(crate) async fn publish(&mut self, number: usize, sent: &Sent) -> Result<()> {
        match self {
            Self::Publisher(app) => app.publish(number, sent).await,
            Self::Worker { .. } => self.change(number, sent).await,
        }
    }

    /// Makes these changes, so many a second, or as fast as the other side takes them.
    pub(crate) async fn change_all(
        &mut self,
        numbers: std::ops::Range<usize>,
        a_second: u32,
        sent: &Sent,
    ) -> Result<()> {
        let begun = Instant::now();
        for (nth, number) in numbers.enumerate() {
            // The first one, too, an interval after what was before: else it would be coalesced with that.
            let at = begun + Duration::from_secs(1) * u32::try_from(nth + 1)? / a_second;
            tokio::time::sleep_until(at.into()).await;
            self.change(number, sent).await?;
        }
        Ok(())
    }
}

/// What has been used up to a moment.
pub(crate) struct Usage {
    pub(crate) at: Instant,
    /// Processor time of who serves the viewers.
    pub(crate) server: Duration,
    pub(crate) gateway: Duration,
    pub(crate) redis: Duration,
    /// Commands that Redis ran, those of scripts counted.
    pub(crate) redis_calls: u64,
    /// This process: the load, and in our own case the publisher.
    pub(crate) own: Duration,
}

/// The Worker in `workerd`, reading from this gateway, everyone let in.
pub(crate) async fn start_edge(
    dir: &std::path::Path,
    gateway_url: &str,
    vars: &[(&'static str, String)],
) -> Result<Part> {
    let mut edge = stopped_edge(dir, gateway_url, vars)?;
    edge.start().await?;
    Ok(edge)
}

/// The same, not started yet.
pub(crate) fn stopped_edge(dir: &std::path::Path, gateway_url: &str, vars: &[(&'static str, String)]) -> Result<Part> {
    let wiring = [
        ("UPSTASH_REDIS_REST_URL", gateway_url),
        ("UPSTASH_REDIS_REST_TOKEN", TOKEN),
        ("ORIGIN_URL", ""),
        ("TRUST_USER_HEADER", "true"),
        ("LOG_LEVEL", "warn"),
    ];
    let wiring = wiring.map(|(name, value)| (name, value.to_owned()));
    let vars = wiring.into_iter().chain(vars.iter().cloned()).map(|(name, value)| (name.to_owned(), value)).collect();
    stack::bare_edge(dir, workspace::root(), &EdgeSettings { port: ports::free()?, vars, build: None })
}

/// The bare object in `workerd`, reading from this gateway.
async fn start_bare_object(dir: &std::path::Path, gateway_url: &str) -> Result<Part> {
    let vars = [("GATEWAY_URL", gateway_url), ("GATEWAY_TOKEN", TOKEN)];
    let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let settings = EdgeSettings { port: ports::free()?, vars, build: None };
    let mut object = stack::bare_edge(dir, &workspace::root().join("bench/peers/bare-object"), &settings)?;
    object.start().await?;
    Ok(object)
}

fn surroundings<'a>(dir: &'a TempDir, afar: &'a Afar) -> Surroundings<'a> {
    Surroundings { dir: dir.path(), redis_url: &afar.redis_url, gateway_url: &afar.gateway_url, gateway_token: TOKEN }
}

/// The time for which this process has kept processors busy.
pub(crate) fn own_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: TimeVal| {
        Duration::from_secs(value.tv_sec().unsigned_abs()) + Duration::from_micros(value.tv_usec().unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}
