//! The processor time of a minute of watching: the old design, the obvious rewrite, ours.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Scale;
use crate::listeners::Listeners;
use crate::marks::{Furthest, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::Sample;
use crate::world::{Changer, Setup, Side, World, own_cpu};

const PHOTOS: usize = 100;
/// A batch of photos at work: each takes a while.
const CHANGES_A_SECOND: u32 = 1;

const MANY: usize = 100;
const FEW: usize = 10;

/// Changes before those that are measured.
const WARM_UP: usize = 3;

/// How long the last change before the measurement is waited for: *before* tells it only when it next reads.
const SETTLE: Duration = Duration::from_secs(3);

/// The processes of a side.
const PROCESSES: [&str; 4] = ["the server", "the gateway", "Redis", "the publisher, or the worker"];
const GATEWAY: usize = 1;
const REDIS: usize = 2;

/// Whether a side has that one of [`PROCESSES`]: what stands there unused is not counted.
fn has(side: Side, process: usize) -> bool {
    match process {
        GATEWAY => side == Side::Edge,
        REDIS => side != Side::Node("before"),
        _ => true,
    }
}

/// What one side came to, once a run, in milliseconds of processor time a viewer-minute.
#[derive(Default)]
struct Measured {
    processes: [Sample; PROCESSES.len()],
    all: Sample,
}

impl Measured {
    /// Adds what each of [`PROCESSES`] has used.
    fn push(&mut self, used: impl Iterator<Item = Duration>, side: Side, viewer_minutes: f64) {
        let mut all = 0.0;
        for (process, (used, sample)) in used.zip(&mut self.processes).enumerate() {
            if has(side, process) {
                let ms = used.as_secs_f64() * 1e3 / viewer_minutes;
                sample.0.push(ms);
                all += ms;
            }
        }
        self.all.0.push(all);
    }
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let sides = [Side::Edge, Side::Node("after"), Side::Node("before")];
    let (mut many, mut few): ([Measured; 3], [Measured; 3]) = Default::default();
    let time = Duration::from_secs(scale.secs) * 5 / 2;
    for run in 0..scale.runs {
        for (nth, side) in sides.into_iter().enumerate() {
            // In one run only: what it lasts is better spent on the others.
            if run == 0 {
                measure(side, FEW, time / 2, &mut few[nth]).await.with_context(|| format!("measuring {side}"))?;
            }
            measure(side, MANY, time, &mut many[nth]).await.with_context(|| format!("measuring {side}"))?;
            println!("{side}: {:.2} ms", many[nth].all.median());
        }
    }
    let ratio = |side: usize| many[0].all.median() / many[side].all.median();
    let bars = vec![
        Bar::ratio("CPU of all processes, 100 viewers, Batchcast : before", ratio(2), Limit::AtMost(1.0)),
        Bar::ratio("CPU of all processes, 100 viewers, Batchcast : after", ratio(1), Limit::AtMost(1.0)),
    ];
    let mut figures = self::figures(MANY, &many);
    figures.extend(self::figures(FEW, &few));
    Ok(Scenario {
        name: name.to_owned(),
        about: about(time),
        sides: sides.iter().map(ToString::to_string).collect(),
        figures,
        bars,
        missing: Vec::new(),
    })
}

fn about(time: Duration) -> String {
    format!(
        "{MANY} viewers of one batch of {PHOTOS} photos, of which one changes every second, for {} s, and before that, \
         in the first run only and with servers of their own, {FEW} viewers for half as long; each after {WARM_UP} changes \
         that are not counted. Counted is the processor time of all processes that a \
         side has, from the scheduler's own counters in nanoseconds: of ours the Worker in workerd, the gateway, Redis \
         and the publisher (this process without the thread that reads the streams); of `after` its server, Redis and \
         its worker; of `before` its server, which reads its database for each viewer every 2 s, and its worker. What \
         the workers spend on parsing the harness' lines is taken off. The workers of `before` and `after` commit to \
         SQLite, ours commits to memory: about 0.2 ms a change in their disfavour. What the processes use while \
         nothing happens is contained: with few viewers it is the larger part.",
        time.as_secs_f64()
    )
}

fn figures(viewers: usize, sides: &[Measured; 3]) -> Vec<Figure> {
    let unit = "ms of CPU a viewer-minute";
    let mut figures = vec![Figure::new(
        &format!("{viewers} viewers: all processes"),
        unit,
        sides.each_ref().map(|side| side.all.clone()),
    )];
    for (nth, name) in PROCESSES.into_iter().enumerate() {
        let samples = sides.each_ref().map(|side| side.processes[nth].clone());
        figures.push(Figure::new(&format!("{viewers} viewers: {name}"), unit, samples));
    }
    figures
}

/// Watches for `time` with so many viewers, with servers started anew.
async fn measure(side: Side, viewers: usize, time: Duration, measured: &mut Measured) -> Result<()> {
    let mut world = World::start(&Setup::new(side, PHOTOS)).await?;
    let changes = (time.as_secs_f64() * f64::from(CHANGES_A_SECOND)).round() as usize;
    let sent = Sent::new(WARM_UP + changes);
    let listeners = world.open(viewers, Furthest::default)?;
    world.changer.change_all(0..WARM_UP, CHANGES_A_SECOND, &sent).await?;
    listeners.all_heard(WARM_UP, SETTLE).await;

    // Looking at the others takes this process time: the publisher, which is in it, is looked at last, and then first.
    let before = used_by_servers(&world, side)?;
    let (changer_before, begun) = (used_by_changer(&world, &listeners)?, Instant::now());
    world.changer.change_all(WARM_UP..WARM_UP + changes, CHANGES_A_SECOND, &sent).await?;
    // The last one, too, has its second.
    tokio::time::sleep(Duration::from_secs(1) / CHANGES_A_SECOND).await;
    let (changer_after, lasted) = (used_by_changer(&world, &listeners)?, begun.elapsed());
    let after = used_by_servers(&world, side)?;

    drop(listeners.close()?);
    world.close().await;
    let servers = after.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
    let changer = changer_after.saturating_sub(changer_before);
    measured.push(servers.chain([changer]), side, viewers as f64 * lasted.as_secs_f64() / 60.0);
    Ok(())
}

/// What the server, the gateway and Redis have used so far.
fn used_by_servers(world: &World, side: Side) -> Result<[Duration; 3]> {
    let gateway = if has(side, GATEWAY) { world.gateway.cpu_time()? } else { Duration::ZERO };
    let redis = if has(side, REDIS) { world.redis.cpu_time()? } else { Duration::ZERO };
    Ok([world.server().cpu_time()?, gateway, redis])
}

/// What our publisher, or a peer's worker, has used so far.
fn used_by_changer(world: &World, listeners: &Listeners<Furthest>) -> Result<Duration> {
    match &world.changer {
        Changer::Publisher(_) => Ok(own_cpu()?.saturating_sub(listeners.cpu_time()?)),
        Changer::Worker { worker, .. } => worker.cpu_time(),
    }
}
