//! The whole path, from a commit to its viewers, beside what people would take instead.
//!
//! Two classes, which are not to be compared: at the *edge* a process that could run in many places serves the viewers
//! (ours in workerd, Upstash Realtime's handler in Node), at the *origin* one beside Redis does.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use stack::{Part, RedisServer};
use tempfile::TempDir;

use super::{TOKEN, start_gateway};
use crate::Scale;
use crate::app::{App, Database};
use crate::listeners::{Listeners, now_us};
use crate::marks::{Numbers, Sent};
use crate::node_peer::{self, Surroundings, Worker};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::{Sample, percentile};

const BATCH: &str = "b-bench";
const PHOTOS: usize = 100;
const CHANGES_A_SECOND: u32 = 10;

/// Each starts up to four servers anew.
const MOST_RUNS: usize = 3;

/// Changes before those that are measured: they warm up whatever is slow at first.
const WARM_UP: usize = 10;

/// How long what was sent is waited for, after the last change.
const DRAIN: Duration = Duration::from_secs(10);

/// From a commit to its viewers: what the old design claimed.
const CLAIMED_MS: f64 = 10.0;

/// Which servers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Edge,
    Origin,
}

impl Class {
    fn sides(self) -> Vec<&'static str> {
        match self {
            Self::Edge => vec!["Batchcast", "upstash-realtime"],
            Self::Origin => vec!["gateway", "after", "bullmq", "before"],
        }
    }
}

/// What one side came to, once a run.
#[derive(Default)]
struct Measured {
    p50: Sample,
    p90: Sample,
    p95: Sample,
    p99: Sample,
    max: Sample,
    unseen: Sample,
    server_cpu_us: Sample,
    gateway_cpu_us: Sample,
    redis_cpu_us: Sample,
    redis_calls: Sample,
    memory_kib: Sample,
    bytes: Sample,
    load_cpu: Sample,
}

/// What is reported, and its unit.
const FIGURES: [(&str, &str); 13] = [
    ("commit to viewer, p50", "ms"),
    ("commit to viewer, p90", "ms"),
    ("commit to viewer, p95", "ms"),
    ("commit to viewer, p99", "ms"),
    ("commit to viewer, slowest", "ms"),
    ("changes that a viewer never saw", "of a hundred"),
    ("the server's CPU", "µs a viewer and change"),
    ("the gateway's CPU", "µs a change"),
    ("Redis' CPU", "µs a change"),
    ("Redis' commands, those of scripts counted", "a change"),
    ("the server's resident memory", "KiB an idle viewer"),
    ("bytes read", "a viewer and change"),
    ("the load's own CPU", "of one processor"),
];

pub(crate) async fn run(name: &'static str, class: Class, viewers: usize, scale: Scale) -> Result<Scenario> {
    let sides = class.sides();
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::default()).collect();
    for _ in 0..scale.runs.min(MOST_RUNS) {
        for (side, measured) in sides.iter().zip(&mut measured) {
            let world = World::start(side).await?;
            measured.add(world, viewers, scale.secs).await.with_context(|| format!("measuring {side}"))?;
            let p99 = measured.p99.0.last().copied().unwrap_or_default();
            println!("{side}: p99 {p99:.1} ms");
        }
    }
    let bars = bars(class, &measured);
    let mut figures: Vec<Figure> =
        FIGURES.into_iter().map(|(name, unit)| Figure { name, unit, sides: Vec::new() }).collect();
    for side in measured {
        figures.iter_mut().zip(side.samples()).for_each(|(figure, sample)| figure.sides.push(sample));
    }
    Ok(Scenario { name, about: about(class, viewers, scale.secs), sides, figures, bars })
}

fn about(class: Class, viewers: usize, secs: u64) -> String {
    let path = match class {
        Class::Edge => {
            "Ours: a commit in memory, `notify`, Redis, the gateway, the Worker in workerd. Upstash Realtime: its worker \
             emits through our gateway, its handler in Node serves the viewers."
        }
        Class::Origin => {
            "Ours: the same, with the viewers at the gateway's `/subscribe`. The others are described in \
             [peers/README.md](peers/README.md); `before` reads its database every 2 s."
        }
    };
    format!(
        "{viewers} viewers of one batch of {PHOTOS} photos, read by one thread; {CHANGES_A_SECOND} changes a second for \
         {secs} s, each of one photo. {path} Times are from before the commit until a viewer has read the change, each \
         change once. Changes are far enough apart that none waits for the publisher to coalesce it with the one before. \
         Changes that were not seen {} s after the last count as never seen.",
        DRAIN.as_secs()
    )
}

fn bars(class: Class, measured: &[Measured]) -> Vec<Bar> {
    let (ours, theirs) = (&measured[0], &measured[1]);
    let p99 = ours.p99.median() / theirs.p99.median();
    match class {
        Class::Edge => vec![
            Bar { about: "p99, Batchcast : Upstash Realtime", ratio: p99, limit: Limit::AtMost(0.3) },
            Bar {
                about: "CPU a viewer and change, Batchcast : Upstash Realtime",
                ratio: ours.server_cpu_us.median() / theirs.server_cpu_us.median(),
                limit: Limit::AtMost(0.7),
            },
            Bar {
                about: "p99 from commit to viewer : the 10 ms that the old design claimed",
                ratio: ours.p99.median() / CLAIMED_MS,
                limit: Limit::AtMost(1.0),
            },
        ],
        Class::Origin => vec![
            Bar { about: "p99, gateway : after", ratio: p99, limit: Limit::AtMost(1.0) },
            Bar {
                about: "CPU a viewer and change, gateway : after",
                ratio: ours.server_cpu_us.median() / theirs.server_cpu_us.median(),
                limit: Limit::AtMost(1.0),
            },
        ],
    }
}

/// One side with all that it needs, and how a change is made.
struct World {
    /// Who serves the viewers, if that is not the gateway.
    server: Option<Part>,
    gateway: Part,
    redis: RedisServer,
    path: String,
    authorization: String,
    changer: Changer,
    /// Goes last.
    _dir: TempDir,
}

/// How a change reaches the viewers.
enum Changer {
    Publisher(App),
    Worker { worker: Box<Worker>, database: Database },
}

impl World {
    async fn start(side: &'static str) -> Result<Self> {
        let (dir, redis) = (tempfile::tempdir()?, RedisServer::start().await?);
        let gateway = start_gateway(dir.path(), redis.url()).await?;
        if matches!(side, "Batchcast" | "gateway") {
            return Self::ours(side == "Batchcast", dir, redis, gateway).await;
        }
        let around =
            Surroundings { dir: dir.path(), redis_url: redis.url(), gateway_url: gateway.url(), gateway_token: TOKEN };
        let server = node_peer::server(side, &around).await?;
        let database = Database::new(&BATCH.parse()?, PHOTOS)?;
        let mut worker = Box::new(Worker::start(side, &around)?);
        worker.publish(BATCH, now_us() / 1_000, &database.state()?, "photo-00000").await?;
        Ok(Self {
            server: Some(server),
            gateway,
            redis,
            path: format!("/batches/{BATCH}/stream"),
            authorization: String::new(),
            changer: Changer::Worker { worker, database },
            _dir: dir,
        })
    }

    async fn ours(edge: bool, dir: TempDir, redis: RedisServer, gateway: Part) -> Result<Self> {
        let authorization = format!("authorization: Bearer {TOKEN}\r\n");
        if !edge {
            let changer = Changer::Publisher(App::start(redis.url(), BATCH, PHOTOS).await?);
            let path = format!("/subscribe/batch:{BATCH}");
            return Ok(Self { server: None, gateway, redis, path, authorization, changer, _dir: dir });
        }
        let settings = stack::EdgeSettings {
            port: stack::ports::free()?,
            vars: [
                ("UPSTASH_REDIS_REST_URL", gateway.url()),
                ("UPSTASH_REDIS_REST_TOKEN", TOKEN),
                ("ORIGIN_URL", ""),
                ("TRUST_USER_HEADER", "true"),
                ("LOG_LEVEL", "warn"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            build: None,
        };
        let mut server = stack::bare_edge(dir.path(), stack::workspace::root(), &settings)?;
        server.start().await?;
        let changer = Changer::Publisher(App::start(redis.url(), BATCH, PHOTOS).await?);
        let path = format!("/api/batches/{BATCH}/stream");
        let authorization = String::new();
        Ok(Self { server: Some(server), gateway, redis, path, authorization, changer, _dir: dir })
    }

    fn server(&self) -> &Part {
        self.server.as_ref().unwrap_or(&self.gateway)
    }
}

impl Changer {
    /// Makes change `number`, and lets it be published.
    async fn change(&mut self, number: usize, sent: &Sent) -> Result<()> {
        match self {
            Self::Publisher(app) => app.change(number, sent),
            Self::Worker { worker, database } => {
                let at = now_us() / 1_000;
                let photo = database.commit(number, sent)?;
                worker.publish(BATCH, at, &database.state()?, photo.as_str()).await
            }
        }
    }

    /// Makes these changes at the pace of the scenario, or as fast as the other side takes them.
    async fn change_all(&mut self, numbers: Range<usize>, sent: &Sent) -> Result<()> {
        let begun = Instant::now();
        for (nth, number) in numbers.enumerate() {
            // The first one, too, an interval after what was before: else it would be coalesced with that.
            let at = begun + Duration::from_secs(1) * u32::try_from(nth + 1)? / CHANGES_A_SECOND;
            tokio::time::sleep_until(at.into()).await;
            self.change(number, sent).await?;
        }
        Ok(())
    }
}

impl Measured {
    async fn add(&mut self, mut world: World, viewers: usize, secs: u64) -> Result<()> {
        let changes = CHANGES_A_SECOND as usize * usize::try_from(secs)?;
        let sent = Sent::new(WARM_UP + changes);
        let request = format!("GET {} HTTP/1.1\r\nhost: bench\r\n{}\r\n", world.path, world.authorization);
        let open =
            |count| Listeners::open(address(world.server())?, &request, count, || Numbers::new(sent.clone(), WARM_UP));
        // The first viewer makes the room, the channel, the subscription.
        let first = open(1)?;
        let empty = world.server().resident_bytes()?;
        let listeners = open(viewers)?;
        let idle = world.server().resident_bytes()?;
        drop(first.close());

        world.changer.change_all(0..WARM_UP, &sent).await?;
        heard(&listeners, (WARM_UP * viewers) as u64).await;
        let before = Counted::of(&world, &listeners).await?;
        world.changer.change_all(WARM_UP..WARM_UP + changes, &sent).await?;
        heard(&listeners, ((WARM_UP + changes) * viewers) as u64).await;
        let after = Counted::of(&world, &listeners).await?;

        let mut times = listeners.close()?;
        let deliveries = (changes * viewers) as f64;
        let ms = |us: u64| us as f64 / 1e3;
        for (share, sample) in [
            (0.50, &mut self.p50),
            (0.90, &mut self.p90),
            (0.95, &mut self.p95),
            (0.99, &mut self.p99),
            (1.0, &mut self.max),
        ] {
            sample.0.push(ms(percentile(&mut times, share)));
        }
        self.unseen.0.push(100.0 * (1.0 - times.len() as f64 / deliveries));
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        self.server_cpu_us.0.push(us(after.server_cpu.saturating_sub(before.server_cpu)) / deliveries);
        self.gateway_cpu_us.0.push(us(after.gateway_cpu.saturating_sub(before.gateway_cpu)) / changes as f64);
        self.redis_cpu_us.0.push(us(after.redis_cpu.saturating_sub(before.redis_cpu)) / changes as f64);
        self.redis_calls.0.push((after.redis_calls - before.redis_calls) as f64 / changes as f64);
        self.bytes.0.push((after.bytes - before.bytes) as f64 / deliveries);
        self.memory_kib.0.push(idle.saturating_sub(empty) as f64 / 1024.0 / viewers as f64);
        self.load_cpu.0.push((after.own_cpu - before.own_cpu).as_secs_f64() / (after.at - before.at).as_secs_f64());
        if let Changer::Publisher(app) = world.changer {
            app.close().await;
        }
        Ok(())
    }

    /// In the order of [`FIGURES`].
    fn samples(self) -> [Sample; FIGURES.len()] {
        [
            self.p50,
            self.p90,
            self.p95,
            self.p99,
            self.max,
            self.unseen,
            self.server_cpu_us,
            self.gateway_cpu_us,
            self.redis_cpu_us,
            self.redis_calls,
            self.memory_kib,
            self.bytes,
            self.load_cpu,
        ]
    }
}

/// What is counted before and after.
struct Counted {
    at: Instant,
    server_cpu: Duration,
    gateway_cpu: Duration,
    redis_cpu: Duration,
    redis_calls: u64,
    bytes: u64,
    own_cpu: Duration,
}

impl Counted {
    async fn of(world: &World, listeners: &Listeners) -> Result<Self> {
        let stats = world.redis.run::<String>(&["INFO", "commandstats"]).await?;
        let calls =
            stats.lines().filter_map(|line| line.split_once(":calls=")?.1.split_once(',')?.0.parse::<u64>().ok());
        Ok(Self {
            at: Instant::now(),
            server_cpu: world.server().cpu_time()?,
            gateway_cpu: world.gateway.cpu_time()?,
            redis_cpu: world.redis.cpu_time()?,
            redis_calls: calls.sum(),
            bytes: listeners.bytes(),
            own_cpu: own_cpu()?,
        })
    }
}

fn address(part: &Part) -> Result<SocketAddr> {
    Ok(part.url().strip_prefix("http://").context("no http address")?.parse()?)
}

/// Waits until so many changes were seen, or nothing more is to be expected.
async fn heard(listeners: &Listeners, count: u64) {
    let until = Instant::now() + DRAIN;
    while listeners.heard() < count && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The time for which this process has kept processors busy: the readers, and in our own case the publisher.
fn own_cpu() -> Result<Duration> {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeVal,
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: TimeVal| {
        Duration::from_secs(value.tv_sec().unsigned_abs()) + Duration::from_micros(value.tv_usec().unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}
