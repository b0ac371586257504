//! Viewers that stop reading cost neither memory nor the others' time.
//!
//! What waits for such a viewer waits in three places: in the kernel's two socket buffers, some MiB; in the HTTP server of
//! workerd, hyper, which queues up to 16 chunks a connection; in our stream, up to its high-water mark and one event
//! more, in chunks that all viewers share. Only the last two are memory of the process, and only the last is ours.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use stack::{GUARD, Stack, Tab, Tabs, eventually};

use super::heap::Heap;
use super::sockets;
use super::traffic::{Step, Traffic};
use crate::context::Ctx;
use crate::figures::told_by_edge;

const SLOW: usize = 20;
const READERS: usize = 3;
const MIB: u64 = 1024 * 1024;
/// Memory is looked at after so much traffic.
const LOOK_EVERY: u64 = 4 * MIB;
/// More than loopback's segments of 64 KiB: with less, the kernel may wait for minutes to fill one.
const RECEIVE_BUFFER: u32 = 256 * 1024;
/// What resident memory may grow by, and what may wait outside the kernel.
const GROWTH: u64 = 8 * MIB;
/// What JavaScript's buffers may grow by: not by a copy for each slow viewer.
const BUFFERS: u64 = MIB;
/// No event may take so long to the others. Slow viewers are looked at every 250 ms, and none of that is theirs.
const HELD_UP: Duration = Duration::from_secs(5);

pub(crate) async fn viewers_stop_reading(ctx: Ctx) -> Result<()> {
    let (stack, mut heap) = Heap::start(ctx.stack().edge_var("FLUSH_MS", "1")).await?;
    let mut traffic = Traffic::start(&stack, "b-slow").await?;
    let tab = Tab::builder(&stack.stream_url("b-slow"));
    let scene = Scene {
        stack: &stack,
        readers: Tabs::open(READERS, &tab),
        slow: Tabs::open(SLOW, &tab.clone().receive_buffer(RECEIVE_BUFFER)),
    };

    let everyone = scene.readers.iter().chain(scene.slow.iter());
    try_join_all(everyone.map(async |tab| tab.until_position(traffic.position()?).await)).await?;
    let warm_up = [Step { bytes: 8 * MIB, photos: 10 }, Step { bytes: 4 * MIB, photos: 1 }];
    let before = scene.flow(&mut traffic, &mut heap, &warm_up, true).await?;
    scene.pause();
    let steps = [Step { bytes: 8 * MIB, photos: 1 }, Step { bytes: 192 * MIB, photos: 10 }];
    let during = scene.flow(&mut traffic, &mut heap, &steps, false).await?;
    compare(&ctx, &before, &during)?;
    let waiting = scene.catch_up(&traffic, during.changes).await?;
    ctx.time("caught up after", waiting.caught_up);
    ctx.bytes("had waited for each slow viewer in the kernel", waiting.in_kernel / SLOW as u64);
    ctx.bytes("and in workerd, where the events that filled its stream have 3.6 KiB", waiting.in_process / SLOW as u64);
    ensure!(waiting.in_process <= GROWTH, "{waiting:?}");

    // hyper counts chunks: where events are large, ten photos' changes each, more waits there.
    scene.pause();
    let large = scene.flow(&mut traffic, &mut heap, &[Step { bytes: 15 * MIB, photos: 10 }], false).await?;
    let waiting = scene.catch_up(&traffic, large.changes).await?;
    ctx.bytes("where they have 36 KiB", waiting.in_process / SLOW as u64);
    ensure!(waiting.in_process <= SLOW as u64 * MIB, "{waiting:?}");

    traffic.end().await?;
    scene.slow.until_finished().await?;
    scene.readers.until_finished().await?;
    let conflated = eventually(GUARD, async || {
        told_by_edge(&stack, "batchcast_conflated_total").await?.context("the edge has not told what it conflated")
    })
    .await?;
    ensure!(conflated >= 2.0 * SLOW as f64, "{conflated} events were conflated");
    scene.others_noticed_nothing(traffic.changes())?;
    scene.slow.check()?;
    scene.readers.check()
}

/// The traffic that 20 did not read has cost no more than the one before, which all read.
fn compare(ctx: &Ctx, before: &Seen, during: &Seen) -> Result<()> {
    let grown = during.resident.saturating_sub(before.resident_last);
    ctx.bytes("events to each of 3 that read on", during.bytes);
    ctx.bytes("workerd's resident memory before", before.resident_last);
    ctx.bytes("it grew by at most", grown);
    ctx.time("slowest event to the others before", before.slowest);
    ctx.time("while 20 do not read", during.slowest);
    let told = format!("before {before:?}, then {during:?}");
    ensure!(grown <= GROWTH, "resident memory has grown by {grown} bytes: {told}");
    let grown = during.with_garbage.saturating_sub(before.with_garbage);
    ensure!(grown <= GROWTH, "with its garbage, it has grown by {grown} bytes: {told}");
    let grown = during.buffers.saturating_sub(before.buffers);
    ensure!(grown <= BUFFERS, "JavaScript's buffers have grown by {grown} bytes: {told}");
    ensure!(during.slowest < HELD_UP, "an event took {:?}", during.slowest);
    Ok(())
}

struct Scene<'a> {
    stack: &'a Stack,
    readers: Tabs,
    slow: Tabs,
}

/// What was seen while traffic went by.
#[derive(Debug, Default)]
struct Seen {
    changes: u64,
    /// To the reader with the least.
    bytes: u64,
    /// The longest from a change to its being shown by all readers.
    slowest: Duration,
    /// Memory, the garbage just collected: the most, and the last.
    resident: u64,
    resident_last: u64,
    /// The most just before that.
    with_garbage: u64,
    buffers: u64,
}

/// What had waited for all slow viewers together, in bytes, when they read on.
#[derive(Debug)]
struct Waiting {
    in_kernel: u64,
    in_process: u64,
    caught_up: Duration,
}

impl Scene<'_> {
    fn pause(&self) {
        self.slow.iter().for_each(Tab::pause);
    }

    fn read(&self) -> u64 {
        self.readers.iter().map(|tab| tab.history().bytes).min().unwrap_or(0)
    }

    /// Lets changes go by, one after the other: each is shown by the readers, and if `all` by everyone, before the next.
    async fn flow(&self, traffic: &mut Traffic, heap: &mut Heap, steps: &[Step], all: bool) -> Result<Seen> {
        let (mut seen, begin) = (Seen::default(), self.read());
        for step in steps {
            let (from, mut next_look) = (self.read(), 0);
            while self.read() < from + step.bytes {
                let begun = Instant::now();
                let position = traffic.change(step.photos).await?;
                seen.changes += 1;
                seen.slowest = seen.slowest.max(self.readers.until_position(position).await? - begun);
                if all {
                    self.slow.until_position(position).await?;
                }
                if self.read() - from >= next_look {
                    seen.look(self.stack, heap).await?;
                    next_look += LOOK_EVERY;
                }
            }
        }
        seen.look(self.stack, heap).await?;
        seen.bytes = self.read() - begin;
        Ok(seen)
    }

    /// Lets the slow ones read on: each is given what had waited for it, and one event for all the rest.
    async fn catch_up(&self, traffic: &Traffic, changes: u64) -> Result<Waiting> {
        let in_kernel = sockets::bytes_in_kernel(self.stack)?;
        let before: Vec<(u64, u64)> = self.slow.iter().map(events_and_bytes).collect();
        let begun = Instant::now();
        self.slow.iter().for_each(Tab::resume);
        let caught_up = self.slow.until_position(traffic.position()?).await? - begun;
        let mut waited = 0;
        for (tab, (events, bytes)) in self.slow.iter().zip(before) {
            let now = events_and_bytes(tab);
            ensure!(now.0 - events < changes / 2, "{} events for {changes} changes", now.0 - events);
            // The last event, which was made now, covered all photos.
            waited += (now.1 - bytes).saturating_sub(traffic.state_bytes());
        }
        Ok(Waiting { in_kernel, in_process: waited.saturating_sub(in_kernel), caught_up })
    }

    /// Every change was shown, on one connection.
    fn others_noticed_nothing(&self, changes: u64) -> Result<()> {
        for tab in self.readers.iter() {
            let history = tab.history();
            let (shown, connects) = (history.positions.len() as u64, history.connects.len());
            // A second one after the end, for the 204.
            ensure!((shown, connects) == (changes, 2), "{shown} of {changes} positions shown, {connects} connections");
        }
        Ok(())
    }
}

impl Seen {
    async fn look(&mut self, stack: &Stack, heap: &mut Heap) -> Result<()> {
        self.with_garbage = self.with_garbage.max(stack.edge.resident_bytes()?);
        let usage = heap.collect(stack).await?;
        self.resident = self.resident.max(usage.resident);
        self.resident_last = usage.resident;
        self.buffers = self.buffers.max(usage.buffers);
        Ok(())
    }
}

fn events_and_bytes(tab: &Tab) -> (u64, u64) {
    let history = tab.history();
    (history.events, history.bytes)
}
