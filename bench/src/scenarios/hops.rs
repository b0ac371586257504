//! The hops of the whole path, from a commit to its viewers: where the time goes.
//!
//! Who listens in (a *tap*) does so in this process and by its own thread, so all times are of one clock.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Scale;
use crate::gateway::AUTHORIZATION;
use crate::listeners::Listeners;
use crate::marks::{Moments, Sent};
use crate::report::{Figure, Scenario};
use crate::sample::{Sample, percentile};
use crate::world::{BATCH, Setup, Side, World};

const PHOTOS: usize = 100;
const VIEWERS: usize = 100;
const CHANGES_A_SECOND: u32 = 10;

/// Changes before those that are measured: they warm up whatever is slow at first.
const WARM_UP: usize = 10;

/// How long what was sent is waited for, after the last change.
const DRAIN: Duration = Duration::from_secs(10);

/// How long Redis may take to confirm a subscription.
const PATIENCE: Duration = Duration::from_secs(5);

/// When one change was where, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Passed {
    committed: u64,
    at_redis: u64,
    at_gateway: u64,
    at_first_viewer: u64,
    at_last_viewer: u64,
}

/// The hops, by what they are called, each from one moment to another.
type Hop = (&'static str, fn(&Passed) -> (u64, u64));
const HOPS: [Hop; 5] = [
    ("commit to Redis' subscriber", |passed| (passed.committed, passed.at_redis)),
    ("Redis' subscriber to the gateway's", |passed| (passed.at_redis, passed.at_gateway)),
    ("the gateway's subscriber to the first viewer", |passed| (passed.at_gateway, passed.at_first_viewer)),
    ("the first viewer to the last", |passed| (passed.at_first_viewer, passed.at_last_viewer)),
    ("all of it: commit to the last viewer", |passed| (passed.committed, passed.at_last_viewer)),
];

const SHARES: [(&str, f64); 2] = [("p50", 0.50), ("p99", 0.99)];

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    // Half as long again as others: there is one side, and what counts is one time a change.
    let secs = scale.secs * 3 / 2;
    let mut figures: Vec<Figure> = HOPS
        .into_iter()
        .flat_map(|(hop, _)| {
            SHARES.map(|(share, _)| Figure::new(&format!("{hop}, {share}"), "ms", [Sample::default()]))
        })
        .collect();
    let mut seen = Sample::default();
    for _ in 0..scale.runs {
        let world = World::start(&Setup::new(Side::Edge, PHOTOS)).await?;
        let (changes, passed) = measure(world, secs).await?;
        seen.0.push(100.0 * passed.len() as f64 / changes as f64);
        let values = HOPS.into_iter().flat_map(|(_, ends)| {
            let mut times: Vec<i64> = passed.iter().map(ends).map(|(from, to)| to as i64 - from as i64).collect();
            SHARES.map(|(_, share)| percentile(&mut times, share) as f64 / 1e3)
        });
        figures.iter_mut().zip(values).for_each(|(figure, value)| figure.sides[0].0.push(value));
    }
    figures.push(Figure::new("changes that came by all taps and to all viewers", "of a hundred", [seen]));
    let (about, sides) = (about(secs), vec![Side::Edge.to_string()]);
    Ok(Scenario { name: name.to_owned(), about, sides, figures, ..Scenario::default() })
}

fn about(secs: u64) -> String {
    format!(
        "Where the time of `edge-100-viewers` goes: the same path, {VIEWERS} viewers, {CHANGES_A_SECOND} changes a second \
         for {secs} s, with two taps in this process, each read by a thread of its own: a subscriber at Redis itself, and \
         one at the gateway's `/subscribe`. The hops of a change follow each other; the percentiles are over the changes \
         of a run, so those of the hops do not add up to that of the whole. *Commit to Redis' subscriber* is `notify`, \
         the reading of what has changed, the script, and Redis' delivery. *The gateway's subscriber to the first viewer* \
         is the gateway's way to the Worker, and the room: it decodes, applies, encodes and begins to write. Clocks in \
         workerd stand still while it computes, so the room's own share cannot be told from what is around it. *The first \
         viewer to the last* is the writes, and the reading of them by one thread here. A tap can be later than what it \
         stands before: such times below nothing are kept as they are."
    )
}

/// How many changes were measured, and those that came by everywhere.
async fn measure(mut world: World, secs: u64) -> Result<(usize, Vec<Passed>)> {
    let changes = CHANGES_A_SECOND as usize * usize::try_from(secs)?;
    let (all, sent) = (WARM_UP + changes, Sent::new(WARM_UP + changes));
    let reader = || Moments::new(all);
    let viewers = world.open(VIEWERS, reader)?;
    let at_redis = Listeners::of(vec![subscribed_at_redis(&world)?], reader)?;
    let gateway = world.gateway.url().strip_prefix("http://").context("no http address")?.parse()?;
    let request = format!("GET /subscribe/batch:{BATCH} HTTP/1.1\r\nhost: bench\r\n{AUTHORIZATION}\r\n");
    let at_gateway = Listeners::open(gateway, &request, 1, reader)?;

    for (numbers, heard) in [(0..WARM_UP, WARM_UP), (WARM_UP..all, all)] {
        world.changer.change_all(numbers, CHANGES_A_SECOND, &sent).await?;
        viewers.all_heard(heard, DRAIN).await;
    }
    let (viewers, at_redis, at_gateway) = (viewers.close()?, one(at_redis.close()?)?, one(at_gateway.close()?)?);
    world.close().await;
    let passed = |number: usize| {
        let seen: Option<Vec<u64>> = viewers.iter().map(|viewer| viewer.at(number)).collect();
        let seen = seen?;
        Some(Passed {
            committed: sent.at(number as u64)?,
            at_redis: at_redis.at(number)?,
            at_gateway: at_gateway.at(number)?,
            at_first_viewer: seen.iter().copied().min()?,
            at_last_viewer: seen.iter().copied().max()?,
        })
    };
    Ok((changes, (WARM_UP..all).filter_map(passed).collect()))
}

fn one(readers: Vec<Moments>) -> Result<Moments> {
    readers.into_iter().next().context("a tap without a reader")
}

/// A connection to Redis itself that has subscribed to the batch's channel.
fn subscribed_at_redis(world: &World) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.redis.port()?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("SUBSCRIBE batch:{BATCH}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b":1\r\n") {
        let mut bytes = [0; 256];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "Redis closed the connection of a subscriber");
        answer.extend_from_slice(&bytes[..read]);
    }
    ensure!(answer.starts_with(b"*3\r\n$9\r\nsubscribe\r\n"), "Redis did not confirm a subscription");
    Ok(stream)
}
