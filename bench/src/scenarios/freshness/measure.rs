//! One measurement of one side.

use std::fmt;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::memory::{LEAST_MEMORY_LEFT, Memory};
use super::pace::{FIRST_CHANGES, Pace, eventually, show_one};
use crate::ages::{Newest, Sampler, Shown, Spread};
use crate::gateway::{self, SLOW_CLOSED};
use crate::listeners::{Listeners, now_us};
use crate::marks::Sent;
use crate::world::{Changer, World, own_cpu};

/// How long the load is on before it is measured.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);
/// How long all viewers together have to open their streams.
const OPENING: Duration = Duration::from_secs(60);
/// A viewer was served to the end when it has read anything so long before it.
pub(super) const SERVED: Duration = Duration::from_secs(1);
/// How long a server may take to take a connection.
const LISTENS: Duration = Duration::from_secs(2);
/// How long the last change is waited for.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// What one run came to.
pub(super) struct Measurement {
    /// Of all viewers.
    pub(super) ages: Option<Spread>,
    /// Of those that were served to the end.
    pub(super) served_ages: Option<Spread>,
    pub(super) served: f64,
    pub(super) never: f64,
    pub(super) ended: f64,
    pub(super) changes: f64,
    pub(super) refreshed: f64,
    pub(super) megabytes: f64,
    pub(super) server_cpu: f64,
    pub(super) gateway_cpu: f64,
    pub(super) redis_cpu: f64,
    pub(super) memory_mib: f64,
    pub(super) growth_kib: f64,
    pub(super) slow_closed: f64,
    pub(super) load_cpu: f64,
    pub(super) late: f64,
    time: Duration,
    scarce: bool,
    /// What a server that has ended said last of why; empty where it said nothing.
    gone: Option<String>,
}

impl Measurement {
    /// Why less than the whole time was measured, where that is so.
    pub(super) fn cut_short(&self) -> Option<String> {
        let left = LEAST_MEMORY_LEFT * 100.0;
        self.scarce.then(|| {
            format!("after {:.1} s less than {left:.0} % of the machine's memory was left", self.time.as_secs_f64())
        })
    }
}

impl Measurement {
    /// That its server did not live to the end, where that is so.
    pub(super) fn gone(&self) -> Option<String> {
        let why = |said: &String| if said.is_empty() { String::new() } else { format!(": {said}") };
        self.gone.as_ref().map(|said| format!("its process had ended by itself before the end{}", why(said)))
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p99 = |ages: Option<Spread>| ages.map_or(f64::NAN, |ages| ages.p99);
        write!(
            f,
            "p99 of the age {:.0} ms, of those served to the end ({:.0} %) {:.0} ms, {:.1} changes a second",
            p99(self.ages),
            self.served,
            p99(self.served_ages),
            self.changes
        )
    }
}

/// Loads one side and looks at its viewers.
pub(super) async fn measure(
    world: &mut World,
    viewers: usize,
    changes_a_second: u32,
    time: Duration,
) -> Result<Measurement> {
    let shown = Shown::new(viewers);
    let listeners = open(world, viewers, &shown).await?;
    let measured = under_load(world, &listeners, &shown, changes_a_second, time).await;
    // Where the reading has failed, that is why nothing was shown any more.
    drop(listeners.close()?);
    measured
}

async fn under_load(
    world: &mut World,
    listeners: &Listeners<Newest>,
    shown: &Shown,
    changes_a_second: u32,
    time: Duration,
) -> Result<Measurement> {
    let most_changes = (WARM_UP + time).as_secs_f64() * f64::from(changes_a_second);
    let sent = Sent::new(FIRST_CHANGES + most_changes.ceil() as usize);
    let first = show_one(world, shown, &sent).await?;
    let mut pace = Pace::new(changes_a_second, first);
    pace.until(WARM_UP, world, &sent, &mut Memory::default()).await?;

    let (mut memory, warm) = (Memory::default(), pace.made);
    let before = Used::of(world, listeners)?;
    let sampler = Sampler::start(shown.clone(), sent.clone(), time);
    pace.until(WARM_UP + time, world, &sent, &mut memory).await?;
    let served = shown.heard_since(now_us().saturating_sub(SERVED.as_micros() as u64));
    let after = Used::of(world, listeners)?;
    let ages = sampler.finish()?;

    if let Changer::Publisher(app) = &mut world.changer {
        app.acknowledged(0).await?;
    }
    let (viewers, last) = (shown.viewers(), pace.made.saturating_sub(1));
    eventually(DRAIN, || shown.that_show(last) == viewers).await;
    let never = viewers - shown.that_show(last);
    let slow_closed = gateway::figure(&world.gateway, SLOW_CLOSED).await?;

    let measured = after.at - before.at;
    let (secs, all) = (measured.as_secs_f64(), viewers as f64);
    let share = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() / secs;
    Ok(Measurement {
        ages: ages.spread(&vec![true; viewers]),
        served_ages: ages.spread(&served),
        served: 100.0 * served.iter().filter(|served| **served).count() as f64 / all,
        never: 100.0 * never as f64 / all,
        ended: listeners.ended() as f64,
        changes: (pace.made - warm) as f64 / secs,
        refreshed: (after.events - before.events) as f64 / secs / all,
        megabytes: (after.bytes - before.bytes) as f64 / secs / 1e6,
        server_cpu: share(after.server, before.server),
        gateway_cpu: share(after.gateway, before.gateway),
        redis_cpu: share(after.redis, before.redis),
        memory_mib: after.memory as f64 / 1024.0 / 1024.0,
        growth_kib: memory.growth_kib(),
        slow_closed: slow_closed as f64,
        load_cpu: share(after.own, before.own),
        late: ages.late(),
        time: measured,
        scarce: memory.scarce,
        gone: gone(world)?,
    })
}

/// Whether the server's process has ended by itself: nothing listens where it did. What it said last of why.
fn gone(world: &World) -> Result<Option<String>> {
    match TcpStream::connect_timeout(&world.address()?, LISTENS) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Some(last_words(&world.server().log()))),
        _ => Ok(None), // It lives, or is too busy to say so.
    }
}

/// The line of a log that says why its process has ended.
fn last_words(log: &str) -> String {
    log.lines().rev().find(|line| line.contains("FATAL")).unwrap_or_default().trim().to_owned()
}

/// Opens all streams, on a thread that may wait; where that takes too long, it ends when the world does.
async fn open(world: &World, viewers: usize, shown: &Shown) -> Result<Listeners<Newest>> {
    let (address, request, shown) = (world.address()?, world.request(), shown.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let next = AtomicUsize::new(0);
        Listeners::open(address, &request, viewers, || shown.reader(next.fetch_add(1, Ordering::Relaxed)))
    });
    match tokio::time::timeout(OPENING, opening).await {
        Ok(opened) => opened?.with_context(|| format!("{viewers} streams could not be opened")),
        Err(_) => bail!("{viewers} streams were not open after {} s", OPENING.as_secs()),
    }
}

/// What had been used, and read, at a moment. Redis is not asked for it: it may be overloaded.
struct Used {
    at: Instant,
    server: Duration,
    gateway: Duration,
    redis: Duration,
    own: Duration,
    memory: u64,
    events: u64,
    bytes: u64,
}

impl Used {
    fn of(world: &World, listeners: &Listeners<Newest>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: world.server().cpu_time()?,
            gateway: world.gateway.cpu_time()?,
            redis: world.redis.cpu_time()?,
            own: own_cpu()?,
            memory: world.server().resident_bytes()?,
            events: listeners.heard(),
            bytes: listeners.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_that_say_why() {
        let log =
            "listening\n[7] 9 ms: Mark-Compact\n\nFATAL ERROR: Reached heap limit \n----- Native stack trace -----\n";
        assert_eq!(last_words(log), "FATAL ERROR: Reached heap limit");
        assert_eq!(last_words("listening\n"), "");
    }
}
