//! The measuring of one side, and what it came to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cases::{Case, Class};
use crate::gateway::{self, SLOW_CLOSED};
use crate::listeners::Listeners;
use crate::marks::{Numbers, Sent};
use crate::sample::{Sample, percentile};
use crate::world::{Side, Usage, World};

/// How long what was sent is waited for, after the last change.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// How long the opening of all streams may take.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// For so long nothing has come when all that new viewers get has come. More than any round trip here.
const QUIET: Duration = Duration::from_millis(300);

/// How long all changes may take: a peer's worker may need longer than they were to take.
const CHANGES_PATIENCE: Duration = Duration::from_secs(60);

/// The name of the figure of what a server would need to keep up.
pub(crate) const PROCESSORS: &str = "the server's CPU for this pace";

/// What is reported, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    P50,
    P90,
    P95,
    P99,
    Slowest,
    RoundTrip,
    P50WithoutNetwork,
    Unseen,
    ChangesASecond,
    SlowClosed,
    OpenFor,
    ServerCpu,
    Processors,
    GatewayCpu,
    RedisCpu,
    RedisCommands,
    Memory,
    Bytes,
    LoadCpu,
}

impl What {
    pub(super) const ALL: [Self; 19] = [
        Self::P50,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::Slowest,
        Self::RoundTrip,
        Self::P50WithoutNetwork,
        Self::Unseen,
        Self::ChangesASecond,
        Self::SlowClosed,
        Self::OpenFor,
        Self::ServerCpu,
        Self::Processors,
        Self::GatewayCpu,
        Self::RedisCpu,
        Self::RedisCommands,
        Self::Memory,
        Self::Bytes,
        Self::LoadCpu,
    ];

    /// What it is called, and its unit.
    pub(super) fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::P50 => ("commit to viewer, p50", "ms"),
            Self::P90 => ("commit to viewer, p90", "ms"),
            Self::P95 => ("commit to viewer, p95", "ms"),
            Self::P99 => ("commit to viewer, p99", "ms"),
            Self::Slowest => ("commit to viewer, slowest", "ms"),
            Self::RoundTrip => ("a round trip to Redis, as measured", "ms"),
            Self::P50WithoutNetwork => ("commit to viewer, p50 without the round trips on the way", "ms"),
            Self::Unseen => ("changes that a viewer never saw", "of a hundred"),
            Self::ChangesASecond => ("changes made", "a second"),
            Self::SlowClosed => ("subscriptions that the gateway ended as read too slowly", ""),
            Self::OpenFor => ("the longest that a stream was open", "s"),
            Self::ServerCpu => ("the server's CPU", "µs a viewer and change"),
            Self::Processors => (PROCESSORS, "processors"),
            Self::GatewayCpu => ("the gateway's CPU", "µs a change"),
            Self::RedisCpu => ("Redis' CPU", "µs a change"),
            Self::RedisCommands => ("Redis' commands, those of scripts counted", "a change"),
            Self::Memory => ("the server's resident memory", "KiB an idle viewer"),
            Self::Bytes => ("bytes read", "a viewer and change"),
            Self::LoadCpu => ("the load's own CPU", "of one processor"),
        }
    }
}

/// What one side came to, once a run.
#[derive(Debug, Default)]
pub(super) struct Measured([Sample; What::ALL.len()]);

impl Measured {
    pub(super) fn sample(&self, what: What) -> &Sample {
        &self.0[what as usize]
    }

    pub(super) fn push(&mut self, what: What, value: f64) {
        self.0[what as usize].0.push(value);
    }

    /// Measures once. The outer error is one of measuring; the inner one says why so many viewers could not be had.
    pub(super) async fn add(&mut self, mut world: World, side: Side, case: &Case, secs: u64) -> Result<Result<()>> {
        let (viewers, warm_up) = (case.viewers, case.warm_up());
        let changes = case.changes_a_second as usize * usize::try_from(secs * case.times_as_long)?;
        let sent = Sent::new(warm_up + changes);
        let open = |count| world.open_within(OPEN_PATIENCE, count, || Numbers::new(sent.clone(), warm_up));
        let begun = Instant::now();
        // The first viewer makes the room, the channel, the subscription.
        let first = open(1)?;
        settled(&first).await;
        let empty = world.server().resident_bytes()?;
        let listeners = match open(viewers) {
            Ok(listeners) => listeners,
            Err(error) => return Ok(Err(error)),
        };
        settled(&listeners).await;
        let idle = world.server().resident_bytes()?;
        drop(first.close());

        let round_trip = world.afar.round_trip().await?;
        change_all(&mut world, 0..warm_up, case, &sent).await?;
        listeners.all_heard(warm_up, DRAIN).await;
        let before = Counted::of(&world, &listeners).await?;
        let made = change_all(&mut world, warm_up..warm_up + changes, case, &sent).await?;
        listeners.all_heard(warm_up + changes, DRAIN).await;
        let after = Counted::of(&world, &listeners).await?;

        let open_for = begun.elapsed();
        let mut times: Vec<u64> = listeners.close()?.into_iter().flat_map(Numbers::into_times).collect();
        let deliveries = (changes * viewers) as f64;
        self.add_times(&mut times, deliveries);
        if let Some(round_trip) = round_trip.map(|time| time.as_secs_f64() * 1e3) {
            let p50 = self.sample(What::P50).0.last().copied().unwrap_or(f64::NAN);
            self.push(What::RoundTrip, round_trip);
            self.push(What::P50WithoutNetwork, p50 - Case::round_trips(side) * round_trip);
        }
        self.push(What::ChangesASecond, changes as f64 / made.as_secs_f64());
        if case.class == Class::Edge {
            self.push(What::SlowClosed, gateway::figure(&world.gateway, SLOW_CLOSED).await? as f64);
            self.push(What::OpenFor, open_for.as_secs_f64());
        }
        self.add_usage(&before.usage, &after.usage, case, changes as f64);
        self.push(What::Memory, idle.saturating_sub(empty) as f64 / 1024.0 / viewers as f64);
        self.push(What::Bytes, (after.bytes - before.bytes) as f64 / deliveries);
        world.close().await;
        Ok(Ok(()))
    }

    fn add_times(&mut self, times: &mut [u64], deliveries: f64) {
        let shares = [(What::P50, 0.50), (What::P90, 0.90), (What::P95, 0.95), (What::P99, 0.99), (What::Slowest, 1.0)];
        for (what, share) in shares {
            self.push(what, percentile(times, share) as f64 / 1e3);
        }
        self.push(What::Unseen, 100.0 * (1.0 - times.len() as f64 / deliveries));
    }

    fn add_usage(&mut self, before: &Usage, after: &Usage, case: &Case, changes: f64) {
        let us = |after: Duration, before| after.saturating_sub(before).as_secs_f64() * 1e6;
        let server_us = us(after.server, before.server) / changes;
        self.push(What::ServerCpu, server_us / case.viewers as f64);
        // Of what was asked for, and not over the time that it took, in which one that lags caught up.
        self.push(What::Processors, server_us * f64::from(case.changes_a_second) / 1e6);
        self.push(What::GatewayCpu, us(after.gateway, before.gateway) / changes);
        self.push(What::RedisCpu, us(after.redis, before.redis) / changes);
        self.push(What::RedisCommands, (after.redis_calls - before.redis_calls) as f64 / changes);
        let (busy, time) = (after.own.saturating_sub(before.own), after.at - before.at);
        self.push(What::LoadCpu, busy.as_secs_f64() / time.as_secs_f64());
    }
}

/// Makes these changes; how long it took.
async fn change_all(world: &mut World, numbers: std::ops::Range<usize>, case: &Case, sent: &Sent) -> Result<Duration> {
    let begun = Instant::now();
    let changes = world.changer.change_all(numbers, case.changes_a_second, sent);
    tokio::time::timeout(CHANGES_PATIENCE, changes).await.context("the changes take too long")??;
    Ok(begun.elapsed())
}

/// Waits until new viewers have got what they get at once: nothing has come for a while.
async fn settled(listeners: &Listeners<Numbers>) {
    let until = Instant::now() + DRAIN;
    let (mut bytes, mut since) = (listeners.bytes(), Instant::now());
    while since.elapsed() < QUIET && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if listeners.bytes() != bytes {
            (bytes, since) = (listeners.bytes(), Instant::now());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_place() {
        What::ALL.into_iter().enumerate().for_each(|(index, what)| assert_eq!(what as usize, index));
    }
}
