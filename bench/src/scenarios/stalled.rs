//! Viewers that have stopped reading: what they cost the server's memory, and whether the others notice.

mod silent;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Scale;
use crate::in_turn::InTurn;
use crate::latest::Latest;
use crate::listeners::now_us;
use crate::marks::{Numbers, Sent};
use crate::report::{Bar, Limit, Scenario};
use crate::sample::percentile;
use crate::world::{BATCH, Changer, Setup, Side, UPSTASH_REALTIME, World};
use silent::{RECEIVE_BUFFER_BYTES, SEGMENT_BYTES, Silent};

const PHOTOS: usize = 500;
const STALLED: usize = 20;
const HEALTHY: usize = 10;

/// So many photos change at once, so often: more than the publisher would put through one by one.
const UPDATES_A_SECOND: u32 = 20;
const PHOTOS_AN_UPDATE: usize = 50;

/// Updates before memory is looked at, with the healthy viewers alone: they warm up whatever is slow at first.
const WARM_UP: usize = 2 * UPDATES_A_SECOND as usize;

/// Each side is measured twice a run.
const MOST_SECS: u64 = 6;

/// Memory is looked at after every so many updates. The greatest that was seen counts.
const LOOK_EVERY: usize = 4;

/// How long nothing happens after viewers came, before memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the healthy viewers are waited for, after the last update.
const DRAIN: Duration = Duration::from_secs(3);

/// For how long stalled viewers read on in the end.
const READ_ON: Duration = Duration::from_secs(4);

/// What all that stalled viewers are owed may take.
const BOUND_MIB: f64 = 8.0;

const FIGURES: [(&str, &str); 11] = [
    ("resident memory grew by, beside 20 stalled viewers", "MiB"),
    ("resident memory grew by, without them", "MiB"),
    ("the difference", "MiB"),
    ("healthy viewers' p99, beside 20 stalled", "ms"),
    ("healthy viewers' p99, without them", "ms"),
    ("changes that a healthy viewer never saw, beside 20 stalled", "of a hundred"),
    ("healthy viewers that were cut, beside 20 stalled", "of 10"),
    ("stalled viewers that were cut", "of 20"),
    ("stalled viewers that showed the last change when they read on", "of 20"),
    ("bytes for each viewer that reads", "MiB"),
    ("updates that the side took", "a second"),
];
/// Where in the figures those stand that are looked at here.
const DIFFERENCE: usize = 2;
const CUT: usize = 7;

/// Ours in `workerd`, beside what could serve viewers in the same place.
pub(crate) async fn edge(name: &str, scale: Scale) -> Result<Scenario> {
    run(name, [Side::Edge, Side::BareObject, UPSTASH_REALTIME], scale).await
}

/// The gateway, beside what else could serve viewers beside Redis.
pub(crate) async fn origin(name: &str, scale: Scale) -> Result<Scenario> {
    run(name, [Side::Gateway, Side::Node("after"), Side::Node("bullmq")], scale).await
}

async fn run(name: &str, sides: [Side; 3], scale: Scale) -> Result<Scenario> {
    let secs = scale.secs.min(MOST_SECS);
    let measure = async |side, run| {
        let values = measure(side, run, secs).await?;
        let (more, cut) = (values[DIFFERENCE], values[CUT]);
        println!("{side}: {more:.1} MiB more beside stalled viewers, of whom {cut} were cut");
        Ok(values)
    };
    let measured = InTurn::measure(sides, scale.runs, measure).await?;
    let about_bar = format!("{}: memory for 20 stalled viewers in all", sides[0]);
    let bar = Bar::of(&about_bar, measured.samples[0][DIFFERENCE].median(), "MiB", Limit::AtMost(BOUND_MIB));
    Ok(Scenario {
        name: name.to_owned(),
        about: about(secs),
        sides: measured.sides(),
        figures: measured.figures(FIGURES),
        bars: vec![bar],
        missing: measured.missing,
    })
}

fn about(secs: u64) -> String {
    format!(
        "One batch of {PHOTOS} photos; {UPDATES_A_SECOND} times a second {PHOTOS_AN_UPDATE} of them change at once, for \
         {secs} s; a side that takes less is given less. {HEALTHY} viewers read, and {STALLED} others read nothing after \
         the head of their answer. Their sockets receive {RECEIVE_BUFFER_BYTES} bytes ahead (the system doubles that) and \
         take segments of {SEGMENT_BYTES} bytes, those of Ethernet: else loopback itself would hold megabytes for each \
         before the server saw anything. Memory is the server's resident memory, the greatest of all looks at it, less \
         that before the first update; the servers were warmed up by {} updates to the {HEALTHY} alone. The same is done, \
         just before or just after, by servers started anew, with the {HEALTHY} alone: what differs is what the \
         updates cost that the stalled ones do not take; the state that they are owed since their opening is in neither. \
         In the end they read on for {} s, which shows who was cut and who gets to the last change.",
        WARM_UP,
        READ_ON.as_secs()
    )
}

/// In the order of [`FIGURES`].
async fn measure(side: Side, run: usize, secs: u64) -> Result<[f64; FIGURES.len()]> {
    let stalled = |world: &World| (0..STALLED).map(|_| Silent::open(world.address()?, &world.request())).collect();
    // In turn first, so that neither is always the one that comes after the other.
    let (alone, stalled) = if run.is_multiple_of(2) {
        let alone = Run::of(side, |_| Ok(Vec::new()), secs).await.context("without others")?;
        (alone, Run::of(side, stalled, secs).await.context("beside stalled viewers")?)
    } else {
        let stalled = Run::of(side, stalled, secs).await.context("beside stalled viewers")?;
        (Run::of(side, |_| Ok(Vec::new()), secs).await.context("without others")?, stalled)
    };
    Ok([
        stalled.grown_mib,
        alone.grown_mib,
        stalled.grown_mib - alone.grown_mib,
        stalled.p99_ms,
        alone.p99_ms,
        stalled.unseen,
        stalled.healthy_cut as f64,
        stalled.cut as f64,
        stalled.caught_up as f64,
        stalled.mib_each,
        stalled.updates as f64 / secs as f64,
    ])
}

/// Lets stalled viewers read on: how many were cut, and how many then show so many changes.
async fn read_on(stalled: Vec<Silent>, changes: usize) -> Result<(usize, usize)> {
    let (latest, count, until) = (Latest::default(), stalled.len(), Instant::now() + READ_ON);
    let reading: Vec<_> = stalled.into_iter().map(|one| tokio::spawn(one.read_on(latest.reader(), until))).collect();
    let mut cut = 0;
    for one in reading {
        cut += usize::from(one.await??);
    }
    Ok((cut, count - latest.behind(changes)))
}

/// What one run came to.
struct Run {
    grown_mib: f64,
    p99_ms: f64,
    unseen: f64,
    healthy_cut: u64,
    cut: usize,
    caught_up: usize,
    mib_each: f64,
    updates: usize,
}

impl Run {
    /// `others` come beside the healthy viewers.
    async fn of(side: Side, others: impl FnOnce(&World) -> Result<Vec<Silent>>, secs: u64) -> Result<Self> {
        let mut world = World::start(&Setup::new(side, PHOTOS)).await?;
        let most = WARM_UP + UPDATES_A_SECOND as usize * usize::try_from(secs)?;
        let sent = Sent::new(most * PHOTOS_AN_UPDATE);
        let warm_up = WARM_UP * PHOTOS_AN_UPDATE;
        let healthy = world.open(HEALTHY, || Numbers::new(sent.clone(), warm_up))?;
        let warming = update_all(&mut world, 0..WARM_UP, DRAIN + seconds_of(WARM_UP), &sent);
        let warmed = warming.await?.updates;
        healthy.all_heard(warmed * PHOTOS_AN_UPDATE, DRAIN).await;

        let others = others(&world)?;
        tokio::time::sleep(SETTLE).await;
        let (begin, bytes) = (world.server().resident_bytes()?, healthy.bytes());
        let updated = update_all(&mut world, WARM_UP..most, Duration::from_secs(secs), &sent).await?;
        let changes = (WARM_UP + updated.updates) * PHOTOS_AN_UPDATE;
        healthy.all_heard(changes - (WARM_UP - warmed) * PHOTOS_AN_UPDATE, DRAIN).await;
        let greatest = updated.greatest.max(world.server().resident_bytes()?);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (mib_each, healthy_cut) = (mib(healthy.bytes() - bytes) / HEALTHY as f64, healthy.ended());

        let (cut, caught_up) = read_on(others, changes).await?;
        let mut times: Vec<u64> = healthy.close()?.into_iter().flat_map(Numbers::into_times).collect();
        let expected = (changes - warm_up) * HEALTHY;
        world.close().await;
        Ok(Self {
            grown_mib: mib(greatest.saturating_sub(begin)),
            p99_ms: percentile(&mut times, 0.99) as f64 / 1e3,
            unseen: 100.0 * (1.0 - times.len() as f64 / expected as f64),
            healthy_cut,
            cut,
            caught_up,
            mib_each,
            updates: updated.updates,
        })
    }
}

/// Updates that were made.
struct Updated {
    updates: usize,
    /// The greatest resident memory of the server meanwhile, in bytes.
    greatest: u64,
}

/// Makes updates of these numbers, as many of them as the other side takes within `time`.
async fn update_all(
    world: &mut World,
    numbers: std::ops::Range<usize>,
    time: Duration,
    sent: &Sent,
) -> Result<Updated> {
    let begun = Instant::now();
    let mut updated = Updated { updates: 0, greatest: 0 };
    for number in numbers {
        tokio::time::sleep_until((begun + seconds_of(updated.updates)).into()).await;
        if begun.elapsed() >= time {
            break;
        }
        update(&mut world.changer, number, sent).await?;
        updated.updates += 1;
        if updated.updates.is_multiple_of(LOOK_EVERY) {
            updated.greatest = updated.greatest.max(world.server().resident_bytes()?);
        }
    }
    Ok(updated)
}

fn seconds_of(updates: usize) -> Duration {
    Duration::from_secs(1).mul_f64(updates as f64 / f64::from(UPDATES_A_SECOND))
}

/// Changes the photos of update `number`, and lets them be published together.
async fn update(changer: &mut Changer, number: usize, sent: &Sent) -> Result<()> {
    let changes = number * PHOTOS_AN_UPDATE..(number + 1) * PHOTOS_AN_UPDATE;
    match changer {
        Changer::Publisher(app) => changes.into_iter().try_for_each(|change| app.change(change, sent)),
        Changer::Worker { worker, database } => {
            let at = now_us() / 1_000;
            let photos = changes.map(|change| database.commit(change, sent)).collect::<Result<Vec<_>>>()?;
            let photos: Vec<&str> = photos.iter().map(publisher::PhotoId::as_str).collect();
            worker.publish_many(BATCH, at, &database.state()?, &photos).await
        }
    }
}
