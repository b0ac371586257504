//! One channel to many subscribers: the gateway beside `nchan` with Redis.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stack::{GUARD, Part, RedisServer, eventually};

use crate::gateway::{self, AUTHORIZATION};
use crate::listeners::Listeners;
use crate::marks::{Times, timed_event};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::requests::Connection;
use crate::sample::{Sample, percentile};
use crate::world::own_cpu;
use crate::{Scale, peers};

const SUBSCRIBERS: usize = 1_000;
const EVENTS_A_SECOND: u32 = 10;
const EVENT_BYTES: usize = 300;

/// Events before those that are measured: they warm up whatever is slow at first.
const WARM_UP: usize = 10;

/// What one server came to, once a run.
#[derive(Default)]
struct Measured {
    p50: Sample,
    p99: Sample,
    max: Sample,
    cpu_us: Sample,
    redis_cpu_us: Sample,
    redis_cpu: Sample,
    load_cpu: Sample,
    memory_kib: Sample,
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let (mut ours, mut theirs) = (Measured::default(), Measured::default());
    let mut missing = None;
    for _ in 0..scale.runs {
        let (dir, redis) = (tempfile::tempdir()?, RedisServer::start().await?);
        let gateway = gateway::start(dir.path(), redis.url()).await?;
        let subscribe = format!("GET /subscribe/bench HTTP/1.1\r\nhost: bench\r\n{AUTHORIZATION}\r\n");
        let publish = format!("POST /publish/bench HTTP/1.1\r\nhost: bench\r\n{AUTHORIZATION}");
        ours.add(&gateway, &redis, &subscribe, &publish, scale.secs).await?;
        drop(gateway);

        let (dir, redis) = (tempfile::tempdir()?, RedisServer::start().await?);
        let Some(nchan) = peers::nchan(dir.path(), redis.port()?, SUBSCRIBERS).await? else {
            missing = Some(peers::NO_NCHAN.to_owned());
            continue;
        };
        let subscribe = "GET /sub HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n";
        theirs.add(&nchan, &redis, subscribe, "POST /pub HTTP/1.1\r\nhost: bench\r\n", scale.secs).await?;
    }
    let ratio = |figure: fn(&Measured) -> &Sample| figure(&ours).median() / figure(&theirs).median();
    let bars = vec![
        Bar::ratio("CPU a delivery, gateway : nchan", ratio(|m| &m.cpu_us), Limit::AtMost(1.0)),
        Bar::ratio("p99, gateway : nchan", ratio(|m| &m.p99), Limit::AtMost(1.0)),
        Bar::ratio("memory an idle subscriber, gateway : nchan", ratio(|m| &m.memory_kib), Limit::AtMost(2.0)),
    ];
    let figure = |name, unit, ours, theirs| Figure::new(name, unit, [ours, theirs]);
    Ok(Scenario {
        name: name.to_owned(),
        about: format!(
            "{SUBSCRIBERS} subscribers of one channel, read by one thread; {EVENTS_A_SECOND} events of {EVENT_BYTES} \
             bytes a second for {} s, each published by a POST to the server. Times are from before that POST until a \
             subscriber has read the event; every subscriber got every event once. Neither keeps messages: nchan, which by \
             default does, is told not to (`nchan_redis_storage_mode nostore`, `nchan_redis_nostore_fastpublish on`, \
             `nchan_store_messages off`). Memory is what the server's resident \
             memory grew by as the subscribers came, before anything was published.",
            scale.secs
        ),
        sides: vec!["gateway".to_owned(), "nchan".to_owned()],
        figures: vec![
            figure("p50", "ms", ours.p50, theirs.p50),
            figure("p99", "ms", ours.p99, theirs.p99),
            figure("slowest", "ms", ours.max, theirs.max),
            figure("its own CPU", "µs a delivery", ours.cpu_us, theirs.cpu_us),
            figure("Redis' CPU", "µs a delivery", ours.redis_cpu_us, theirs.redis_cpu_us),
            figure("Redis' CPU altogether", "of one processor", ours.redis_cpu, theirs.redis_cpu),
            figure("the load's own CPU", "of one processor", ours.load_cpu, theirs.load_cpu),
            figure("resident memory", "KiB a subscriber", ours.memory_kib, theirs.memory_kib),
        ],
        bars,
        missing: missing.into_iter().collect(),
    })
}

impl Measured {
    async fn add(
        &mut self,
        server: &Part,
        redis: &RedisServer,
        subscribe: &str,
        publish: &str,
        secs: u64,
    ) -> Result<()> {
        let address = server.url().strip_prefix("http://").context("no http address")?.parse()?;
        let mut publisher = Publisher { connection: Connection::open(address).await?, head: publish.to_owned() };
        let empty = server.resident_bytes()?;
        let listeners = Listeners::open(address, subscribe, SUBSCRIBERS, || Times::new(WARM_UP))?;
        let idle = server.resident_bytes()?;

        publisher.publish(WARM_UP as u32).await?;
        let warm = (WARM_UP * SUBSCRIBERS) as u64;
        listeners_heard(&listeners, warm).await?;
        let (cpu, redis_cpu, own, begun) = (server.cpu_time()?, redis.cpu_time()?, own_cpu()?, Instant::now());
        let events = EVENTS_A_SECOND * u32::try_from(secs)?;
        publisher.publish(events).await?;
        let deliveries = u64::from(events) * SUBSCRIBERS as u64;
        listeners_heard(&listeners, warm + deliveries).await?;
        let cpu = server.cpu_time()?.saturating_sub(cpu);
        let redis_cpu = redis.cpu_time()?.saturating_sub(redis_cpu);
        let (own, lasted) = (own_cpu()?.saturating_sub(own), begun.elapsed());
        let mut times: Vec<u64> = listeners.close()?.into_iter().flat_map(Times::into_times).collect();
        ensure!(times.len() as u64 == deliveries, "{} of {deliveries} events were timed", times.len());

        let ms = |us: u64| us as f64 / 1e3;
        let us_each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries as f64;
        self.p50.0.push(ms(percentile(&mut times, 0.50)));
        self.p99.0.push(ms(percentile(&mut times, 0.99)));
        self.max.0.push(ms(percentile(&mut times, 1.0)));
        self.cpu_us.0.push(us_each(cpu));
        self.redis_cpu_us.0.push(us_each(redis_cpu));
        self.redis_cpu.0.push(redis_cpu.as_secs_f64() / lasted.as_secs_f64());
        self.load_cpu.0.push(own.as_secs_f64() / lasted.as_secs_f64());
        self.memory_kib.0.push(idle.saturating_sub(empty) as f64 / 1024.0 / SUBSCRIBERS as f64);
        println!(
            "{}: p99 {:.1} ms, {:.1} µs of CPU a delivery",
            server.url(),
            ms(percentile(&mut times, 0.99)),
            us_each(cpu)
        );
        Ok(())
    }
}

async fn listeners_heard(listeners: &Listeners<Times>, count: u64) -> Result<()> {
    let all = async || {
        let heard = listeners.heard();
        ensure!(heard >= count, "{heard} of {count} events were heard");
        Ok(())
    };
    eventually(GUARD, all).await
}

/// Publishes by HTTP, at the pace of the scenario.
struct Publisher {
    connection: Connection,
    head: String,
}

impl Publisher {
    async fn publish(&mut self, events: u32) -> Result<()> {
        let begun = Instant::now();
        for number in 0..events {
            tokio::time::sleep_until((begun + Duration::from_secs(1) * number / EVENTS_A_SECOND).into()).await;
            let body = timed_event(EVENT_BYTES);
            let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
            self.connection.ask(request.as_bytes()).await?;
        }
        Ok(())
    }
}
