//! How costs grow with viewers, photos and batches: none more than in proportion.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Scale;
use crate::fleet::Fleet;
use crate::listeners::Listeners;
use crate::marks::{Numbers, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::{Sample, exponent};
use crate::world::{Setup, Side, Usage, World};

/// What grows, by ten in all.
const VIEWERS: [usize; 3] = [100, 300, 1_000];
const PHOTOS: [usize; 3] = [100, 300, 1_000];
const BATCHES: [usize; 3] = [10, 32, 100];

/// Photos of the batch whose viewers grow in number.
const FEW_PHOTOS: usize = 100;
/// Slow enough that a room of a thousand writes each change by itself.
const CHANGES_A_SECOND: u32 = 8;
/// The longest measurement: nine are made a run.
const MOST_SECS: u64 = 6;

/// Changes of photos, all in all, for any number of photos: as many rounds over all photos as that takes, so that the
/// hundredths of a second in which processors' time is told do not matter.
const PHOTO_CHANGES: usize = 1_000;
const PHOTO_CHANGES_A_SECOND: u32 = 200;

/// Photos of each of many batches.
const PHOTOS_OF_MANY: usize = 10;

/// How long what was sent is waited for, after the last change.
const DRAIN: Duration = Duration::from_secs(10);

/// In proportion, and what measuring may add.
const MOST_EXPONENT: f64 = 1.1;

/// One cost at each size, once a run.
struct Growth {
    about: &'static str,
    unit: &'static str,
    of: &'static str,
    sizes: [usize; 3],
    costs: [Sample; 3],
}

impl Growth {
    fn new(about: &'static str, unit: &'static str, of: &'static str, sizes: [usize; 3]) -> Self {
        Self { about, unit, of, sizes, costs: Default::default() }
    }

    fn add(&mut self, nth: usize, cost: f64) {
        self.costs[nth].0.push(cost);
        println!("{}, {} {}: {cost:.0} {}", self.about, self.sizes[nth], self.of, self.unit);
    }

    /// Of each run.
    fn exponents(&self) -> Sample {
        let runs = self.costs.iter().map(|sample| sample.0.len()).min().unwrap_or_default();
        let points = |run: usize| [0, 1, 2].map(|nth: usize| (self.sizes[nth] as f64, self.costs[nth].0[run]));
        Sample((0..runs).map(|run| exponent(&points(run))).collect())
    }

    fn bar(&self) -> Bar {
        let about = format!("exponent of {} with {}", self.about, self.of);
        Bar::ratio(&about, self.exponents().median(), Limit::AtMost(MOST_EXPONENT))
    }

    fn figures(self) -> Vec<Figure> {
        let exponents = self.exponents();
        let Self { about, unit, of, sizes, costs } = self;
        let cost = |(size, sample)| Figure::new(&format!("{about}, {size} {of}"), unit, [sample]);
        let mut figures: Vec<Figure> = sizes.into_iter().zip(costs).map(cost).collect();
        figures.push(Figure::new(&format!("{about}: exponent"), "", [exponents]));
        figures
    }
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let secs = scale.secs.min(MOST_SECS);
    let mut viewers = Growth::new("the edge's CPU for a change", "µs", "viewers", VIEWERS);
    let mut photos = Growth::new("all CPU for a change of each photo", "ms", "photos", PHOTOS);
    let mut bytes = Growth::new("bytes to a viewer for a change of each photo", "bytes", "photos", PHOTOS);
    let mut batches = Growth::new("all CPU for a change of each batch", "ms", "batches", BATCHES);
    for _ in 0..scale.runs {
        for (nth, &size) in VIEWERS.iter().enumerate() {
            viewers.add(nth, with_viewers(size, secs).await.with_context(|| format!("with {size} viewers"))?);
        }
        for (nth, &size) in PHOTOS.iter().enumerate() {
            let (cpu, read) = with_photos(size).await.with_context(|| format!("with {size} photos"))?;
            photos.add(nth, cpu);
            bytes.add(nth, read);
        }
        for (nth, &size) in BATCHES.iter().enumerate() {
            batches.add(nth, with_batches(size, secs).await.with_context(|| format!("with {size} batches"))?);
        }
    }
    let all = [viewers, photos, bytes, batches];
    Ok(Scenario {
        name: name.to_owned(),
        about: about(secs),
        sides: vec!["Batchcast".to_owned()],
        bars: all.iter().map(Growth::bar).collect(),
        figures: all.into_iter().flat_map(Growth::figures).collect(),
        missing: Vec::new(),
    })
}

fn about(secs: u64) -> String {
    format!(
        "Each cost at three sizes, and the exponent of the power law through them, by least squares: 1 is in proportion, \
         0 is not at all. Viewers: of one batch of {FEW_PHOTOS} photos with {CHANGES_A_SECOND} changes a second for {secs} \
         s, each of one photo; the CPU of workerd. Photos: one viewer of one batch; {PHOTO_CHANGES_A_SECOND} changes a \
         second until each photo has changed once, or several times where they are few, so that about {PHOTO_CHANGES} \
         changes are measured each time; given is the cost of one round. Batches: of {PHOTOS_OF_MANY} photos, each with \
         one viewer, each changing once a second for {secs} s, one after the other; given is the cost of one round. \
         All CPU: workerd, the gateway, Redis, and this process, in which are the publisher, the database and the load."
    )
}

/// The edge's processor time for a change, in microseconds.
async fn with_viewers(viewers: usize, secs: u64) -> Result<f64> {
    let mut world = World::start(&Setup::new(Side::Edge, FEW_PHOTOS)).await?;
    let (warm_up, changes) = (CHANGES_A_SECOND as usize, CHANGES_A_SECOND as usize * usize::try_from(secs)?);
    let sent = Sent::new(warm_up + changes);
    let listeners = world.open(viewers, || Numbers::new(sent.clone(), warm_up))?;
    world.changer.change_all(0..warm_up, CHANGES_A_SECOND, &sent).await?;
    listeners.all_heard(warm_up, DRAIN).await;
    let before = world.usage().await?;
    world.changer.change_all(warm_up..warm_up + changes, CHANGES_A_SECOND, &sent).await?;
    ensure!(listeners.all_heard(warm_up + changes, DRAIN).await, "not all changes were heard");
    let after = world.usage().await?;
    listeners.close()?;
    world.close().await;
    Ok(after.server.saturating_sub(before.server).as_secs_f64() * 1e6 / changes as f64)
}

/// All processor time for a change of each photo in milliseconds, and the bytes that the viewer reads for them.
async fn with_photos(photos: usize) -> Result<(f64, f64)> {
    let mut world = World::start(&Setup::new(Side::Edge, photos)).await?;
    let rounds = PHOTO_CHANGES / photos;
    // The warm-up is a change of each photo, too.
    let (warm_up, changes) = (photos, rounds * photos);
    let sent = Sent::new(warm_up + changes);
    let listeners = world.open(1, || Numbers::new(sent.clone(), warm_up))?;
    world.changer.change_all(0..warm_up, 10 * PHOTO_CHANGES_A_SECOND, &sent).await?;
    ensure!(listeners.all_heard(warm_up, DRAIN).await, "not all first changes were heard");
    let (before, read) = (world.usage().await?, listeners.bytes());
    world.changer.change_all(warm_up..warm_up + changes, PHOTO_CHANGES_A_SECOND, &sent).await?;
    ensure!(listeners.all_heard(warm_up + changes, DRAIN).await, "not all changes were heard");
    let (after, read) = (world.usage().await?, listeners.bytes() - read);
    listeners.close()?;
    world.close().await;
    let rounds = rounds as f64;
    Ok((all_cpu(&before, &after).as_secs_f64() * 1e3 / rounds, read as f64 / rounds))
}

/// All processor time for a change of each batch, in milliseconds.
async fn with_batches(batches: usize, secs: u64) -> Result<f64> {
    // Its own batch rests.
    let world = World::start(&Setup::new(Side::Edge, 1)).await?;
    let fleet = Fleet::connect(world.redis.url(), batches, PHOTOS_OF_MANY).await?;
    fleet.publish_all().await?;
    let rounds = usize::try_from(secs)?;
    let sent = Sent::new(batches * (1 + rounds));
    let requests: Vec<String> =
        fleet.ids().iter().map(|id| format!("GET /api/batches/{id}/stream HTTP/1.1\r\nhost: bench\r\n\r\n")).collect();
    let listeners = Listeners::open_each(world.address()?, requests, || Numbers::new(sent.clone(), batches))?;
    change_each(&fleet, 0..batches, &sent).await?;
    ensure!(listeners.all_heard(1, DRAIN).await, "not all first changes were heard");
    let before = world.usage().await?;
    change_each(&fleet, batches..batches * (1 + rounds), &sent).await?;
    ensure!(listeners.all_heard(1 + rounds, DRAIN).await, "not all changes were heard");
    let after = world.usage().await?;
    listeners.close()?;
    fleet.close(DRAIN).await;
    world.close().await;
    Ok(all_cpu(&before, &after).as_secs_f64() * 1e3 / rounds as f64)
}

/// Makes these changes of all batches in turn, a round a second.
async fn change_each(fleet: &Fleet, numbers: Range<usize>, sent: &Sent) -> Result<()> {
    let (begun, batches) = (Instant::now(), fleet.ids().len());
    for (nth, number) in numbers.enumerate() {
        let at = begun + Duration::from_secs(1).mul_f64((nth + 1) as f64 / batches as f64);
        tokio::time::sleep_until(at.into()).await;
        fleet.change(&fleet.ids()[number % batches], number, sent)?;
    }
    Ok(())
}

fn all_cpu(before: &Usage, after: &Usage) -> Duration {
    let of = |usage: &Usage| usage.server + usage.gateway + usage.redis + usage.own;
    of(after).saturating_sub(of(before))
}
