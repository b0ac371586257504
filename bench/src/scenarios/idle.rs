//! What a viewer costs the edge: memory while nothing happens, and processor time for each event it is written. Beside
//! the least that the same runtime can do, and beside the peer.

use std::time::Duration;

use anyhow::Result;

use crate::Scale;
use crate::in_turn::InTurn;
use crate::latest::Latest;
use crate::listeners::Listeners;
use crate::marks::Sent;
use crate::report::{Bar, Limit, Scenario};
use crate::sample::Sample;
use crate::world::{Setup, Side, UPSTASH_REALTIME, World};

const PHOTOS: usize = 100;

/// Few viewers, and many: memory is measured with both.
const FEW: usize = 100;
const MANY: usize = 1_000;

/// Far enough apart for each change to be written by itself: our room writes to so many viewers once in 100 ms at most,
/// and once more after as long as its last write took.
const CHANGES_A_SECOND: u32 = 5;

/// Changes before those that are measured: they warm up whatever is slow at first.
const WARM_UP: usize = 10;

/// How long nothing happens before memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// How long what was sent is waited for, after the last change.
const DRAIN: Duration = Duration::from_secs(10);

const SIDES: [Side; 3] = [Side::Edge, Side::BareObject, UPSTASH_REALTIME];

/// What one side came to, once a run: in the order of the figures' names and units.
type Samples = [Sample; FIGURES.len()];

const FIGURES: [(&str, &str); 9] = [
    ("resident memory, 100 viewers", "KiB an idle viewer"),
    ("resident memory, 1,000 viewers", "KiB an idle viewer"),
    ("resident memory, from 100 viewers to 1,000", "KiB a further viewer"),
    ("the server's CPU", "µs a delivery"),
    ("events read", "a viewer and change"),
    ("bytes read", "an event"),
    ("viewers that did not see the last change", ""),
    ("the gateway's CPU", "µs a change"),
    ("the load's own CPU", "of one processor"),
];
/// Where in the figures those stand that bars are about.
const MEMORY: usize = 1;
const FURTHER_MEMORY: usize = 2;
const CPU: usize = 3;

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let measure = async |side, _| {
        let values = measure(side, scale.secs).await?;
        println!("{side}: {:.1} KiB an idle viewer, {:.1} µs a delivery", values[MEMORY], values[CPU]);
        Ok(values)
    };
    let measured = InTurn::measure(SIDES, scale.runs, measure).await?;
    Ok(Scenario {
        name: name.to_owned(),
        about: about(scale.secs),
        sides: measured.sides(),
        figures: measured.figures(FIGURES),
        bars: bars(&measured.samples),
        missing: measured.missing,
    })
}

fn about(secs: u64) -> String {
    format!(
        "{FEW} viewers of one batch of {PHOTOS} photos, then {} more; memory is what the server's resident memory has grown \
         by since the first viewer came, {} s after the last one did and with nothing published in between; what happens \
         once, such as the runtime's compiling what has become hot, is in it. Then \
         {CHANGES_A_SECOND} changes a second for {secs} s, each of one photo: so few that each is written by itself, which \
         *events read* shows. A delivery is an event that one viewer has read. The bare object is a Durable Object in plain \
         JavaScript ([peers/bare-object](peers/bare-object/worker.mjs)) in the same `workerd`, with the same streams and \
         one subscription at the same gateway, that passes on the messages of the channel as they are: a viewer is sent \
         nothing before the first, no state is held, nobody is asked who they are. A viewer of ours is sent the whole \
         batch when it comes. Events differ: the channel's message for the bare object, the same changes for pages for \
         Batchcast, the whole state for Upstash Realtime.",
        MANY - FEW,
        SETTLE.as_secs()
    )
}

fn bars(measured: &[Samples; SIDES.len()]) -> Vec<Bar> {
    let [ours, bare, theirs] = measured;
    let bar = |about: &str, other: &Samples, figure: usize, limit: f64| {
        let is = ours[figure].median() / other[figure].median();
        (!other[figure].0.is_empty()).then(|| Bar::ratio(about, is, Limit::AtMost(limit)))
    };
    let further = ours[FURTHER_MEMORY].median() / bare[FURTHER_MEMORY].median();
    let why =
        format!("a viewer more, from 100 to 1,000, costs {further:.2} times as much; the rest came with the first 100");
    let memory = bar("memory an idle viewer, 1,000 viewers, Batchcast : bare object", bare, MEMORY, 1.2);
    let bars = [
        memory.map(|bar| bar.why(&why)),
        bar("CPU a delivery, Batchcast : bare object", bare, CPU, 1.2),
        bar("CPU a delivery, Batchcast : Upstash Realtime", theirs, CPU, 0.7),
    ];
    bars.into_iter().flatten().collect()
}

/// In the order of [`FIGURES`].
async fn measure(side: Side, secs: u64) -> Result<[f64; FIGURES.len()]> {
    let mut world = World::start(&Setup::new(side, PHOTOS)).await?;
    let changes = CHANGES_A_SECOND as usize * usize::try_from(secs)?;
    let (sent, latest) = (Sent::new(WARM_UP + changes), Latest::default());
    let bytes = |groups: &[Listeners<_>]| groups.iter().map(Listeners::bytes).sum::<u64>();

    // The first viewer makes the room, the channel, the subscription.
    let first = world.open(1, || Latest::default().reader())?;
    tokio::time::sleep(SETTLE).await;
    let empty = world.server().resident_bytes()?;
    let (mut groups, mut grown) = (Vec::new(), Vec::new());
    for more in [FEW, MANY - FEW] {
        groups.push(world.open(more, || latest.reader())?);
        tokio::time::sleep(SETTLE).await;
        grown.push(world.server().resident_bytes()?.saturating_sub(empty) as f64 / 1024.0);
    }
    drop(first.close());

    world.changer.change_all(0..WARM_UP, CHANGES_A_SECOND, &sent).await?;
    latest.all_have(WARM_UP, DRAIN).await;
    let (before, bytes_before, events_before) = (world.usage().await?, bytes(&groups), latest.events());
    world.changer.change_all(WARM_UP..WARM_UP + changes, CHANGES_A_SECOND, &sent).await?;
    latest.all_have(WARM_UP + changes, DRAIN).await;
    let (after, bytes_after, events_after) = (world.usage().await?, bytes(&groups), latest.events());

    let unseen = latest.behind(WARM_UP + changes);
    for group in groups {
        group.close()?;
    }
    world.close().await;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let (events, busy) = ((events_after - events_before) as f64, after.own.saturating_sub(before.own));
    Ok([
        grown[0] / FEW as f64,
        grown[1] / MANY as f64,
        (grown[1] - grown[0]) / (MANY - FEW) as f64,
        us(after.server.saturating_sub(before.server)) / events,
        events / (changes * MANY) as f64,
        (bytes_after - bytes_before) as f64 / events,
        unseen as f64,
        us(after.gateway.saturating_sub(before.gateway)) / changes as f64,
        busy.as_secs_f64() / (after.at - before.at).as_secs_f64(),
    ])
}

#[cfg(test)]
mod tests {
    use stack::workspace;

    /// The first value between quotation marks that follows this name.
    fn value(path: &str, name: &str) -> String {
        let text = std::fs::read_to_string(workspace::root().join(path)).unwrap();
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    }

    #[test]
    fn what_stands_beside_ours_in_workerd_runs_under_the_same_rules() {
        let ours = value("wrangler.toml", "compatibility_date");
        assert_eq!(value("bench/peers/bare-object/wrangler.toml", "compatibility_date"), ours);
        for plain in ["empty", "hop"] {
            assert_eq!(value(&format!("bench/peers/{plain}/config.capnp"), "compatibilityDate"), ours, "{plain}");
        }
    }
}
