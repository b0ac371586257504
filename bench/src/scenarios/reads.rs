//! Cached reads of a batch that is being watched: ours beside the obvious rewrite's cache of ten seconds.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::marks::{Numbers, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::requests::{Answered, Load};
use crate::sample::{Sample, percentile};
use crate::world::{BATCH, Setup, Side, World, own_cpu};
use crate::{Scale, plain_worker};

const PHOTOS: usize = 100;
const CHANGES_A_SECOND: u32 = 10;

/// Requests of the open load.
const REQUESTS_A_SECOND: u32 = 500;
const CONNECTIONS: usize = 64;

/// The longest closed load.
const MOST_CLOSED_SECS: u64 = 5;

/// The closed load before all that is measured of a server: what compiles as it runs has then begun to.
const WARM_UP: Duration = Duration::from_secs(2);

/// What the p99 of reads is to stay under.
const MOST_MS: f64 = 5.0;
/// What part of the rewrite's requests a second is enough.
const LEAST_SHARE: f64 = 0.8;
const SIDES: [&str; 4] = ["Batchcast", "Batchcast, If-None-Match", "after", "an empty Worker and object"];

/// What one kind of request came to, once a run.
#[derive(Default)]
struct Measured {
    p50: Sample,
    p99: Sample,
    max: Sample,
    open_not_modified: Sample,
    requests_a_second: Sample,
    server_cpu_us: Sample,
    redis_cpu_us: Sample,
    redis_cpu: Sample,
    load_cpu: Sample,
    bytes: Sample,
    closed_not_modified: Sample,
}

/// What is reported, and its unit.
const FIGURES: [(&str, &str); 11] = [
    ("open load, p50", "ms"),
    ("open load, p99", "ms"),
    ("open load, slowest", "ms"),
    ("open load, answers that were a 304", "of a hundred"),
    ("closed load", "requests a second"),
    ("closed load, the server's CPU", "µs a request"),
    ("closed load, Redis' CPU", "µs a request"),
    ("closed load, Redis' CPU altogether", "of one processor"),
    ("closed load, the load's own CPU", "of one processor"),
    ("closed load, an answer with its head", "bytes"),
    ("closed load, answers that were a 304", "of a hundred"),
];

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let mut measured = SIDES.map(|_| Measured::default());
    for _ in 0..scale.runs {
        let [plain, revalidating, after, empty] = &mut measured;
        let mut ours = Watched::start(Side::Edge).await?;
        let path = format!("GET /api/batches/{BATCH}");
        // An answer that the batch's object could not vouch for would be no such read.
        let load = Load::new(ours.world.server().url(), &path, "", "", "x-cache: HIT")?;
        load.closed(CONNECTIONS, WARM_UP).await?;
        ours.measure(&load, plain, scale.secs).await.context("reading from Batchcast")?;
        let load = load.revalidating();
        ours.measure(&load, revalidating, scale.secs).await.context("reading from Batchcast by If-None-Match")?;
        ours.world.close().await;

        let mut theirs = Watched::start(Side::Node("after")).await?;
        let path = format!("GET /batches/{BATCH}");
        let load = Load::new(theirs.world.server().url(), &path, "", "", "\"batchId\":\"b-bench\"")?;
        load.closed(CONNECTIONS, WARM_UP).await?;
        theirs.measure(&load, after, scale.secs).await.context("reading from after")?;
        theirs.world.close().await;

        let bytes = plain.bytes.0.last().copied().unwrap_or_default();
        empty.measure_empty(bytes, scale.secs).await.context("reading from an empty Worker and object")?;
    }
    let [plain, _, after, empty] = &measured;
    let rate = |measured: &Measured| measured.requests_a_second.median();
    let bars = vec![
        Bar::of("p99 of reads, Batchcast, open load", plain.p99.median(), "ms", Limit::AtMost(MOST_MS))
            .why(&format!("the slowest took {:.0} ms; the cause of the tail was not found", plain.max.median())),
        Bar::ratio(
            "requests a second, Batchcast : after, closed load",
            rate(plain) / rate(after),
            Limit::AtLeast(LEAST_SHARE),
        )
        .why(&why_fewer(plain.server_cpu_us.median(), empty.server_cpu_us.median())),
    ];
    let mut figures: Vec<Figure> = FIGURES.into_iter().map(|(name, unit)| Figure::new(name, unit, [])).collect();
    for side in measured {
        figures.iter_mut().zip(side.samples()).for_each(|(figure, sample)| figure.sides.push(sample));
    }
    Ok(Scenario {
        name: name.to_owned(),
        about: about(scale.secs),
        sides: SIDES.map(str::to_owned).to_vec(),
        figures,
        bars,
        missing: Vec::new(),
    })
}

/// Why fewer requests are answered, by the processor time of one.
fn why_fewer(ours_us: f64, hops_us: f64) -> String {
    format!(
        "of {ours_us:.0} µs of CPU a request {hops_us:.0} are the runtime's, for the way through the entry Worker to the \
         object (the last column), and {:.0} are ours",
        ours_us - hops_us
    )
}

fn about(secs: u64) -> String {
    format!(
        "Reads of one batch of {PHOTOS} photos, which one viewer watches and which changes {CHANGES_A_SECOND} times a \
         second, over {CONNECTIONS} connections from one thread. Open load: {REQUESTS_A_SECOND} requests a second for \
         {secs} s, each timed from when it was due, so that waiting for a free connection counts, until its answer is \
         whole. Closed load: each connection asks again as soon as it is answered, {} s; {} s of that go before all \
         else at each server and are not counted. The load's own CPU is that of this process, in which our publisher is, \
         too. Ours: `GET /api/batches/ID` at the Worker in workerd, from the memory of the room that holds the batch. \
         With `If-None-Match`, each request names the `ETag` that any connection saw last, as a cache does that asks \
         for many; the rewrite has no `ETag`. `after`: `GET /batches/ID`, a `GET` in Redis of what is kept for 10 s \
         and deleted at each change, else a read of its database. The last column: a Worker in JavaScript (`bench/peers/hop`) \
         that hands each request to an object, which answers as many bytes; nothing changes there.",
        secs.min(MOST_CLOSED_SECS),
        WARM_UP.as_secs()
    )
}

/// A side whose batch one viewer watches.
struct Watched {
    world: World,
    /// The next change.
    next: usize,
}

impl Watched {
    async fn start(side: Side) -> Result<Self> {
        Ok(Self { world: World::start(&Setup::new(side, PHOTOS)).await?, next: 0 })
    }

    async fn measure(&mut self, load: &Load, measured: &mut Measured, secs: u64) -> Result<()> {
        let (open_secs, closed_secs) = (secs, secs.min(MOST_CLOSED_SECS));
        let sent = Sent::new(self.next + changes_in(open_secs + closed_secs)?);
        let viewer = self.world.open(1, || Numbers::new(sent.clone(), 0))?;

        let numbers = self.take(open_secs)?;
        let changing = self.world.changer.change_all(numbers, CHANGES_A_SECOND, &sent);
        let asking = load.open(REQUESTS_A_SECOND, CONNECTIONS, Duration::from_secs(open_secs));
        let ((), open) = tokio::try_join!(changing, asking)?;

        let numbers = self.take(closed_secs)?;
        let before = self.world.usage().await?;
        let changing = self.world.changer.change_all(numbers, CHANGES_A_SECOND, &sent);
        let asking = load.closed(CONNECTIONS, Duration::from_secs(closed_secs));
        let ((), closed) = tokio::try_join!(changing, asking)?;
        let after = self.world.usage().await?;
        ensure!(viewer.ended() == 0, "the viewer's stream has ended");
        ensure!(viewer.heard() > 0, "the viewer has heard nothing");
        viewer.close()?;

        measured.add_open(open);
        measured.add_closed(&closed, closed_secs, after.server.saturating_sub(before.server));
        let redis = after.redis.saturating_sub(before.redis).as_secs_f64();
        measured.redis_cpu_us.0.push(redis * 1e6 / closed.count as f64);
        let lasted = (after.at - before.at).as_secs_f64();
        measured.redis_cpu.0.push(redis / lasted);
        measured.load_cpu.0.push(after.own.saturating_sub(before.own).as_secs_f64() / lasted);
        Ok(())
    }

    /// The numbers of the changes in so many seconds.
    fn take(&mut self, secs: u64) -> Result<Range<usize>> {
        let from = self.next;
        self.next += changes_in(secs)?;
        Ok(from..self.next)
    }
}

fn changes_in(secs: u64) -> Result<usize> {
    Ok(CHANGES_A_SECOND as usize * usize::try_from(secs)?)
}

impl Measured {
    fn add_open(&mut self, mut open: Answered) {
        for (share, sample) in [(0.50, &mut self.p50), (0.99, &mut self.p99), (1.0, &mut self.max)] {
            sample.0.push(percentile(&mut open.times, share) as f64 / 1e3);
        }
        self.open_not_modified.0.push(100.0 * open.not_modified as f64 / open.count as f64);
        println!("p99 {:.1} ms", percentile(&mut open.times, 0.99) as f64 / 1e3);
    }

    fn add_closed(&mut self, closed: &Answered, secs: u64, server: Duration) {
        let (count, rate) = (closed.count as f64, closed.count as f64 / secs as f64);
        self.requests_a_second.0.push(rate);
        self.server_cpu_us.0.push(server.as_secs_f64() * 1e6 / count);
        self.bytes.0.push(closed.bytes as f64 / count);
        self.closed_not_modified.0.push(100.0 * closed.not_modified as f64 / count);
        println!("{rate:.0} requests a second");
    }

    /// A closed load of answers with a body of so many bytes, of a Worker and an object that do nothing.
    async fn measure_empty(&mut self, bytes: f64, secs: u64) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut server = plain_worker::stopped("hop", dir.path())?;
        server.start().await?;
        let load = Load::new(server.url(), &format!("GET /{bytes:.0}"), "", "", "x-cache: HIT")?;
        load.closed(CONNECTIONS, WARM_UP).await?;
        let (secs, before, own) = (secs.min(MOST_CLOSED_SECS), server.cpu_time()?, own_cpu()?);
        let closed = load.closed(CONNECTIONS, Duration::from_secs(secs)).await?;
        self.add_closed(&closed, secs, server.cpu_time()?.saturating_sub(before));
        self.load_cpu.0.push(own_cpu()?.saturating_sub(own).as_secs_f64() / secs as f64);
        Ok(())
    }

    /// In the order of [`FIGURES`].
    fn samples(self) -> [Sample; FIGURES.len()] {
        [
            self.p50,
            self.p99,
            self.max,
            self.open_not_modified,
            self.requests_a_second,
            self.server_cpu_us,
            self.redis_cpu_us,
            self.redis_cpu,
            self.load_cpu,
            self.bytes,
            self.closed_not_modified,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_tells_the_runtime_s_part_from_ours() {
        let why = why_fewer(207.1, 72.7);
        assert!(why.starts_with("of 207 µs of CPU a request 73 are") && why.ends_with("and 134 are ours"), "{why}");
    }
}
