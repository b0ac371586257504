//! The whole path, from a commit to its viewers, beside what people would take instead.
//!
//! Two classes, which are not to be compared: at the *edge* a process that could run in many places serves the viewers
//! (ours in workerd, Upstash Realtime's handler in Node), at the *origin* one beside Redis does.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Scale;
use crate::listeners::Listeners;
use crate::marks::{Numbers, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::{Sample, percentile};
use crate::world::{Setup, Side, UPSTASH_REALTIME, Usage, World};

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
    fn sides(self) -> Vec<Side> {
        match self {
            Self::Edge => vec![Side::Edge, UPSTASH_REALTIME],
            Self::Origin => vec![Side::Gateway, Side::Node("after"), Side::Node("bullmq"), Side::Node("before")],
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

pub(crate) async fn run(name: &str, class: Class, viewers: usize, scale: Scale) -> Result<Scenario> {
    let sides = class.sides();
    let missing: Vec<String> = sides.iter().filter_map(|side| side.lack()).collect();
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::default()).collect();
    for _ in 0..scale.runs.min(MOST_RUNS) {
        for (&side, measured) in sides.iter().zip(&mut measured).filter(|(side, _)| side.lack().is_none()) {
            let world = World::start(&Setup::new(side, PHOTOS)).await?;
            measured.add(world, viewers, scale.secs).await.with_context(|| format!("measuring {side}"))?;
            let p99 = measured.p99.0.last().copied().unwrap_or_default();
            println!("{side}: p99 {p99:.1} ms");
        }
    }
    let bars = bars(class, &measured);
    let mut figures: Vec<Figure> = FIGURES.into_iter().map(|(name, unit)| Figure::new(name, unit, [])).collect();
    for side in measured {
        figures.iter_mut().zip(side.samples()).for_each(|(figure, sample)| figure.sides.push(sample));
    }
    Ok(Scenario {
        name: name.to_owned(),
        about: about(class, viewers, scale.secs),
        sides: sides.iter().map(ToString::to_string).collect(),
        figures,
        bars,
        missing,
    })
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
    let cpu = ours.server_cpu_us.median() / theirs.server_cpu_us.median();
    match class {
        Class::Edge => vec![
            Bar::ratio("p99, Batchcast : Upstash Realtime", p99, Limit::AtMost(0.3)),
            Bar::ratio("CPU a viewer and change, Batchcast : Upstash Realtime", cpu, Limit::AtMost(0.7)),
            Bar::of("p99 from commit to viewer", ours.p99.median(), "ms", Limit::AtMost(CLAIMED_MS)),
        ],
        Class::Origin => vec![
            Bar::ratio("p99, gateway : after", p99, Limit::AtMost(1.0)),
            Bar::ratio("CPU a viewer and change, gateway : after", cpu, Limit::AtMost(1.0)),
        ],
    }
}

impl Measured {
    async fn add(&mut self, mut world: World, viewers: usize, secs: u64) -> Result<()> {
        let changes = CHANGES_A_SECOND as usize * usize::try_from(secs)?;
        let sent = Sent::new(WARM_UP + changes);
        let open = |count| world.open(count, || Numbers::new(sent.clone(), WARM_UP));
        // The first viewer makes the room, the channel, the subscription.
        let first = open(1)?;
        let empty = world.server().resident_bytes()?;
        let listeners = open(viewers)?;
        let idle = world.server().resident_bytes()?;
        drop(first.close());

        world.changer.change_all(0..WARM_UP, CHANGES_A_SECOND, &sent).await?;
        listeners.all_heard(WARM_UP, DRAIN).await;
        let before = Counted::of(&world, &listeners).await?;
        world.changer.change_all(WARM_UP..WARM_UP + changes, CHANGES_A_SECOND, &sent).await?;
        listeners.all_heard(WARM_UP + changes, DRAIN).await;
        let after = Counted::of(&world, &listeners).await?;

        let mut times: Vec<u64> = listeners.close()?.into_iter().flat_map(Numbers::into_times).collect();
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
        self.server_cpu_us.0.push(us(after.usage.server.saturating_sub(before.usage.server)) / deliveries);
        self.gateway_cpu_us.0.push(us(after.usage.gateway.saturating_sub(before.usage.gateway)) / changes as f64);
        self.redis_cpu_us.0.push(us(after.usage.redis.saturating_sub(before.usage.redis)) / changes as f64);
        self.redis_calls.0.push((after.usage.redis_calls - before.usage.redis_calls) as f64 / changes as f64);
        self.bytes.0.push((after.bytes - before.bytes) as f64 / deliveries);
        self.memory_kib.0.push(idle.saturating_sub(empty) as f64 / 1024.0 / viewers as f64);
        let (busy, time) = (after.usage.own - before.usage.own, after.usage.at - before.usage.at);
        self.load_cpu.0.push(busy.as_secs_f64() / time.as_secs_f64());
        world.close().await;
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
    usage: Usage,
    bytes: u64,
}

impl Counted {
    async fn of(world: &World, listeners: &Listeners<Numbers>) -> Result<Self> {
        Ok(Self { usage: world.usage().await?, bytes: listeners.bytes() })
    }
}
