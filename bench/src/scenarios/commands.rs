//! What a batch costs Redis: commands and messages, for one viewer and for many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stack::{GUARD, RedisServer, eventually};

use crate::listeners::Listeners;
use crate::marks::{Furthest, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::Sample;
use crate::world::{Setup, Side, UPSTASH_REALTIME, World};
use crate::{Scale, gateway};

const VIEWERS: [usize; 3] = [FEWEST, 100, MOST];
pub(crate) const FEWEST: usize = 1;
pub(crate) const MOST: usize = 1_000;
/// Few, so that a million deliveries of whole states end in a bounded time.
const PHOTOS: usize = 10;
const UPDATES: usize = 1_000;
/// In a run that only shows that all works.
const FEW_UPDATES: usize = 100;

/// No viewer is left further behind than so many updates: the gateway closes a stream that leaves 1 MiB unread.
const MOST_AHEAD: usize = 50;

/// One measurement lasts no longer: then it is counted what has come by then.
const MOST_TIME: Duration = Duration::from_secs(140);

/// What connections say of themselves, and what is asked here.
const NOT_COUNTED: [&str; 6] = ["auth", "client", "config", "hello", "info", "ping"];

/// By which the gateway learns of each command, once. Redis counts it, and the gateway among its commands.
const LEARNING: &str = "command";

/// What a room tells when its last viewer has left: its counters, and that its gauge is gone.
pub(crate) const TOLD: &str = "commands by which a room tells its metrics";

/// The name of the figure of all commands that clients sent.
pub(crate) fn sent_figure(viewers: usize) -> String {
    format!("{}: commands that clients sent", with(viewers))
}

/// So many viewers, in words.
pub(crate) fn with(viewers: usize) -> String {
    format!("{viewers} viewer{}", if viewers == 1 { "" } else { "s" })
}

/// How many updates [`sent_figure`] is for.
pub(crate) const UPDATES_FIGURE: &str = "updates";

/// What one side came to with so many viewers.
struct Measured {
    viewers: usize,
    sent: u64,
    subscriptions: u64,
    messages: u64,
    ran: u64,
    told: Option<u64>,
    unheard: u64,
}

impl Measured {
    fn commands(&self) -> u64 {
        self.sent + self.subscriptions
    }

    fn all(&self) -> u64 {
        self.commands() + self.messages
    }
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let updates = if scale.runs == 1 { FEW_UPDATES } else { UPDATES };
    let sides = [Side::Edge, UPSTASH_REALTIME];
    let mut measured: [Vec<Measured>; 2] = Default::default();
    let mut missing = Vec::new();
    for viewers in VIEWERS {
        for (side, measured) in sides.into_iter().zip(&mut measured) {
            let begun = Instant::now();
            let one = measure(side, viewers, updates).await.with_context(|| format!("measuring {side}"))?;
            let took = begun.elapsed().as_secs_f64();
            println!("{side}, {}: {} commands, {} messages, {took:.1} s", with(viewers), one.commands(), one.messages);
            if one.unheard > 0 {
                let (unheard, secs) = (one.unheard, MOST_TIME.as_secs());
                missing.push(format!("{side}, {viewers} viewers: {unheard} updates had not come after {secs} s"));
            }
            measured.push(one);
        }
    }
    Ok(Scenario {
        name: name.to_owned(),
        about: about(updates),
        sides: sides.iter().map(ToString::to_string).collect(),
        bars: bars(&measured),
        figures: figures(&measured, updates),
        missing,
    })
}

fn about(updates: usize) -> String {
    format!(
        "A batch of {PHOTOS} photos and {updates} updates, each of one photo and each acknowledged before the next, so \
         that none is merged with another on its way to Redis; no viewer is left more than {MOST_AHEAD} updates \
         behind. All is counted from before the viewers open until the last update was read. What clients sent is \
         counted by the gateway, and for our publisher, which speaks to Redis itself, by Redis: an `EVALSHA` is taken \
         for one command, whatever it runs. Subscriptions are the open HTTP streams, messages what was handed to them. \
         Upstash's price list counts commands, each of a pipeline, and that of its Realtime a SUBSCRIBE for each \
         viewer; whether a message that is delivered counts too, neither says, so that both sums are shown. What Redis \
         ran counts the commands in scripts too, and the gateway's own SUBSCRIBE, one for all. Each viewer of Upstash \
         Realtime has a ping published once a minute that goes to all viewers: what lasted longer contains them. \
         Counts are exact, so that they are taken once. `LINGER_SECS=0` and `KEEPALIVE_SECS=1` let the room end soon \
         after the viewers, to count what it then tells.",
    )
}

fn bars(measured: &[Vec<Measured>; 2]) -> Vec<Bar> {
    let all = |side: usize, nth: Option<&Measured>| nth.or(measured[side].last()).map_or(f64::NAN, |m| m.all() as f64);
    let (ours, theirs) = (all(0, None), all(1, None));
    vec![
        Bar::ratio(
            "commands and messages, Batchcast with 1000 viewers : with 1",
            ours / all(0, measured[0].first()),
            Limit::AtMost(1.05),
        ),
        Bar::ratio(
            "commands and messages, 1000 viewers, Batchcast : Upstash Realtime",
            ours / theirs,
            Limit::AtMost(0.01),
        ),
    ]
}

fn figures(measured: &[Vec<Measured>; 2], updates: usize) -> Vec<Figure> {
    let sample = |count: u64| Sample(vec![count as f64]);
    let mut figures = vec![Figure::new(UPDATES_FIGURE, "a batch", [sample(updates as u64), sample(updates as u64)])];
    for (ours, theirs) in measured[0].iter().zip(&measured[1]) {
        let mut add = |name: String, count: fn(&Measured) -> u64| {
            figures.push(Figure::new(&name, "a batch", [sample(count(ours)), sample(count(theirs))]));
        };
        let viewers = with(ours.viewers);
        add(sent_figure(ours.viewers), |m| m.sent);
        add(format!("{viewers}: subscriptions"), |m| m.subscriptions);
        add(format!("{viewers}: messages delivered"), |m| m.messages);
        add(format!("{viewers}: commands and subscriptions"), Measured::commands);
        add(format!("{viewers}: commands, subscriptions and messages"), Measured::all);
        add(format!("{viewers}: commands that Redis ran"), |m| m.ran);
    }
    let told = measured[0].iter().filter_map(|m| m.told).map(|told| told as f64).collect();
    figures.push(Figure::new(TOLD, "a time", [Sample(told), Sample::default()]));
    figures
}

async fn measure(side: Side, viewers: usize, updates: usize) -> Result<Measured> {
    let soon = [("LINGER_SECS", "0"), ("KEEPALIVE_SECS", "1")].map(|(name, value)| (name, value.to_owned()));
    let mut world = World::start(&Setup { edge_vars: soon.to_vec(), ..Setup::new(side, PHOTOS) }).await?;
    let before = Counted::of(&world).await?;
    let listeners = world.open(viewers, Furthest::default)?;
    let subscriptions = if side == Side::Edge { 1 } else { viewers as u64 };
    subscribed(&world, subscriptions).await?;

    let (sent, until) = (Sent::new(updates), Instant::now() + MOST_TIME);
    for number in 0..updates {
        world.changer.publish(number, &sent).await?;
        wait(&listeners, viewers * (number + 1).saturating_sub(MOST_AHEAD), until).await;
    }
    wait(&listeners, viewers * updates, until).await;
    let after = Counted::of(&world).await?;
    let unheard = ((viewers * updates) as u64).saturating_sub(listeners.heard());
    ensure!(listeners.ended() == 0, "{} streams have ended", listeners.ended());
    drop(listeners.close()?);
    let told = if side == Side::Edge { Some(told(&world.redis).await?) } else { None };
    let measured = Measured {
        viewers,
        sent: after.sent - before.sent,
        subscriptions,
        messages: after.messages - before.messages,
        ran: after.ran - before.ran,
        told,
        unheard,
    };
    world.close().await;
    Ok(measured)
}

/// Waits until all viewers together have heard so many updates, or it is `until`.
async fn wait(listeners: &Listeners<Furthest>, heard: usize, until: Instant) {
    while listeners.heard() < heard as u64 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the gateway has exactly so many open subscriptions.
async fn subscribed(world: &World, count: u64) -> Result<()> {
    eventually(GUARD, async || {
        let open = gateway::figure(&world.gateway, "subscriptions").await?;
        ensure!(open == count, "{open} subscriptions in place of {count}");
        Ok(())
    })
    .await
}

/// How many commands it takes a room that has ended to tell what it counted.
async fn told(redis: &RedisServer) -> Result<u64> {
    let calls = eventually(GUARD, async || {
        let calls = calls(redis).await?;
        ensure!(calls.contains_key("hdel"), "the room has told nothing");
        Ok(calls)
    })
    .await?;
    let of = |name| calls.get(name).copied().unwrap_or_default();
    Ok(of("hincrbyfloat") + of("hdel"))
}

/// What was counted up to a moment.
struct Counted {
    /// Commands that clients sent.
    sent: u64,
    /// Commands that Redis ran.
    ran: u64,
    /// Messages that were handed to HTTP subscriptions.
    messages: u64,
}

impl Counted {
    async fn of(world: &World) -> Result<Self> {
        let mut calls = calls(&world.redis).await?;
        let learning = calls.remove(LEARNING).unwrap_or_default();
        let scripts: u64 = ["evalsha", "eval"].into_iter().filter_map(|name| calls.get(name)).sum();
        let commands = gateway::figure(&world.gateway, "commands_total").await?;
        let messages = gateway::figure(&world.gateway, "deliveries_total").await?;
        Ok(Self { sent: commands - learning + scripts, ran: calls.values().sum(), messages })
    }
}

/// How often Redis has run each command.
async fn calls(redis: &RedisServer) -> Result<BTreeMap<String, u64>> {
    Ok(parse_calls(&redis.run::<String>(&["INFO", "commandstats"]).await?))
}

/// The calls of each command in the text of `INFO commandstats`; a subcommand counts as its command.
fn parse_calls(stats: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in stats.lines() {
        let parsed = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls="));
        let Some((name, rest)) = parsed else { continue };
        let name = name.split('|').next().unwrap_or(name);
        let count = rest.split(',').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        if !NOT_COUNTED.contains(&name) {
            *calls.entry(name.to_owned()).or_default() += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_but_for_what_connections_say_of_themselves() {
        let stats = "# Commandstats\r\ncmdstat_hset:calls=4,usec=18,usec_per_call=9.00\r\n\
                     cmdstat_script|load:calls=1,usec=1\r\ncmdstat_client|setinfo:calls=9,usec=1\r\n\
                     cmdstat_info:calls=3,usec=1\r\n";
        let expected = [("hset".to_owned(), 4), ("script".to_owned(), 1)];
        assert_eq!(parse_calls(stats), BTreeMap::from(expected));
    }
}
