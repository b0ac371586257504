//! Money: what months of watching cost by public price lists, reckoned from what the other scenarios have counted.

mod bill;
mod forgotten;
mod measures;
mod prices;
mod usage;

use anyhow::Result;

use crate::report::{Figure, Scenario};
use crate::results::Record;
use crate::sample::Sample;
use crate::scenarios::commands::with;
use bill::{Bill, Even};
use forgotten::Forgotten;
use measures::{INPUTS, Measures};
use prices::Prices;
use usage::{ACTIVE_TTL_SECS, DAYS, LOOK_IN_ACTIVE_SECS, REQUEST_CPU_MS, Usage, Watched, Way, When};

const SHARDS: f64 = 16.0;

const SIDES: [(Way, &str); 7] = [
    (Way::Objects { shards: 0.0 }, "Batchcast"),
    (Way::Objects { shards: SHARDS }, "Batchcast, 16 objects"),
    (Way::Realtime { whole: true }, "Upstash Realtime"),
    (Way::Realtime { whole: false }, "Upstash Realtime, changes alone"),
    (Way::Polling { secs: 2.0 }, "polling every 2 s"),
    (Way::Polling { secs: 5.0 }, "polling every 5 s"),
    (Way::Reads { secs: 5.0 }, "our cached read every 5 s"),
];

/// The pauses between polls for which break-even is told.
const PAUSES: [f64; 2] = [2.0, 5.0];

pub(crate) fn run(name: &str, before: &[Record]) -> Result<Scenario> {
    let prices = Prices::load()?;
    let known: Vec<Scenario> = before.iter().map(|record| record.scenario.clone()).collect();
    let (measures, missing) = Measures::find(&known);
    let figures = measures.as_ref().map(|measures| figures(measures, &prices)).unwrap_or_default();
    Ok(Scenario {
        name: name.to_owned(),
        about: about(&prices, measures.as_ref(), before),
        sides: SIDES.map(|(_, name)| name.to_owned()).to_vec(),
        figures,
        bars: Vec::new(),
        missing,
    })
}

/// The scenarios that it reckons with, each with the time and commit of its run.
fn inputs(before: &[Record]) -> String {
    let of = |name: &&str| before.iter().find(|record| record.scenario.name == *name);
    let inputs = INPUTS.iter().filter_map(of).map(|record| format!("{} ({})", record.scenario.name, record.measured));
    inputs.collect::<Vec<_>>().join(", ")
}

fn batches(measures: &Measures) -> Watched {
    let updates = measures.updates;
    Watched { batches_a_day: 1_000.0, when: When::AtRandom, viewers: 10.0, secs: 180.0, updates, ends: true }
}

fn dashboard(measures: &Measures) -> Watched {
    let (secs, updates) = (8.0 * 3_600.0, measures.updates);
    Watched { batches_a_day: 50.0, when: When::Together, viewers: 1.0, secs, updates, ends: false }
}

fn figures(measures: &Measures, prices: &Prices) -> Vec<Figure> {
    let watched = |watched: Watched| move |way| watched.usage(way, measures, &prices.realtime);
    let forgotten = |way| Forgotten { tabs: 100.0 }.usage(way, measures, &prices.realtime);
    let mut figures = Vec::new();
    add(&mut figures, "batches", prices, &watched(batches(measures)));
    add(&mut figures, "dashboard", prices, &watched(dashboard(measures)));
    add(&mut figures, "forgotten tabs", prices, &forgotten);
    for (name, watched) in [("batches", batches(measures)), ("dashboard", dashboard(measures))] {
        add_break_even(&mut figures, name, watched, measures, prices);
    }
    figures
}

/// The figures of one workload.
fn add(figures: &mut Vec<Figure>, name: &str, prices: &Prices, usage: &dyn Fn(Way) -> Usage) {
    let used = SIDES.map(|(way, _)| usage(way));
    let bills = used.each_ref().map(|usage| Bill::of(usage, prices));
    let mut add = |what: &str, unit: &str, sides: [Option<f64>; SIDES.len()]| {
        figures.push(Figure::new(
            &format!("{name}: {what}"),
            unit,
            sides.map(|side| Sample(side.into_iter().collect())),
        ));
    };
    let million = |count: fn(&Usage) -> f64| used.each_ref().map(|usage| Some(count(usage) / 1e6));
    add("requests to the Worker", "million", million(|usage| usage.requests));
    add("requests to objects", "million", million(|usage| usage.object_requests));
    add(
        "objects' duration",
        "thousand GB-s",
        used.map(|usage| Some(usage.object_secs * prices.objects.memory_gb / 1e3)),
    );
    add("Redis' commands", "million", million(|usage| usage.commands));
    add("messages that Redis delivers", "million", million(|usage| usage.messages));
    add("what leaves Redis", "GB", used.map(|usage| Some(usage.redis_gb)));
    add("Workers and objects", "$", bills.map(|bill| Some(bill.workers)));
    add("Redis by the command", "$", bills.map(|bill| Some(bill.redis)));
    add("altogether", "$", bills.map(|bill| Some(bill.workers + bill.redis)));
    add(
        "altogether, did messages count as commands",
        "$",
        bills.map(|bill| Some(bill.workers + bill.redis_with_messages)),
    );
    add("altogether, Redis at a fixed price", "$", bills.map(|bill| Some(bill.workers + bill.redis_fixed?)));
}

/// Where polling costs as much as ours, for a batch that is like those of `watched`.
fn add_break_even(figures: &mut Vec<Figure>, name: &str, watched: Watched, measures: &Measures, prices: &Prices) {
    let even = |shards| Even {
        prices,
        measures,
        objects: watched.object_secs_a_day(shards) / watched.object_secs_a_day(0.0),
        updates_an_hour: watched.updates / watched.secs * 3_600.0,
    };
    let ours = [even(0.0), even(SHARDS)];
    let mut add = |what: &str, unit: &str, values: [f64; 2]| {
        let mut sides = vec![Sample::default(); SIDES.len()];
        values.into_iter().zip(&mut sides).for_each(|(value, side)| side.0.push(value));
        figures.push(Figure::new(&format!("{name}, one batch: {what}"), unit, sides));
    };
    add("an hour, beyond what is included", "$", ours.map(|even| even.ours()));
    for secs in PAUSES {
        let viewers = ours.map(|even| even.viewers(secs));
        add(&format!("costs as much as polling every {secs} s with"), "viewers", viewers);
    }
    for viewers in [1.0, 10.0] {
        let pauses = ours.map(|even| even.pause(viewers));
        add(&format!("costs as much with {} as polling every", with(viewers as usize)), "s", pauses);
    }
}

fn about(prices: &Prices, measures: Option<&Measures>, before: &[Record]) -> String {
    let Prices { read, workers, objects, redis, realtime, .. } = prices;
    let Some(Measures { photos, updates, .. }) = measures else { return "Nothing could be reckoned.".to_owned() };
    let inputs = inputs(before);
    format!(
        "What a month of {DAYS} days costs by public price lists, which stand in [prices.toml](prices.toml) and were \
         read on {read}: [Workers]({}) with [Durable Objects]({}), and [Redis by Upstash]({}) in one region. Nothing \
         here was billed: it is arithmetic with what other scenarios have counted: {inputs}. A batch has {photos} \
         photos and {updates} updates while it is watched. *Batches*: 1,000 a day, \
         begun at random over the whole day, each watched by 10 viewers for the 3 minutes until it ends. *Dashboard*: \
         50 batches at the same time, 8 hours a day, with one viewer each. *Forgotten tabs*: 100, day and night, each \
         on a batch of its own that stands still. Ours with `HUB_SHARDS` 0 and 16, and default settings: pings, \
         alarms, metrics and what a restart costs are contained. An object is billed for {} GB while it has a stream \
         or a subscription. A forgotten tab was sent away and looks in once a minute, with what it has: that is a \
         request to the Worker, one to an object, and one small command of Redis. Upstash Realtime is taken to run in \
         a Worker too, with its handler's CPU reckoned by the bytes of an event: by a straight line through its two \
         sides of edge-100-viewers (where only one was measured: the same for events of any size); and with the pings \
         and reconnections of [its list]({}). Its events are \
         whole states, as in the other scenarios; in the second column they hold changes alone, and where a viewer \
         begins is left to the application. *Polling* is not ours: a request each time to a plain Worker, which asks Redis \
         for the position and, when that has changed, for the state, once for all viewers of a batch by its data \
         centre's cache: all are taken to be in one. *Our cached read* is `GET /api/batches/ID` with its `ETag`: a \
         request to the Worker and one to the batch's object each time, of which one in {ACTIVE_TTL_SECS} s \
         (`ACTIVE_TTL_SECS`) reads the whole state from Redis. Assumed and not measured: \
         {REQUEST_CPU_MS} ms of CPU a request, two restarts of an object a day, an object active for \
         {LOOK_IN_ACTIVE_SECS} s for a look or a read. Neither list says whether Upstash counts \
         a message that it delivers, or what a script runs, as commands: for messages both sums are shown, and a \
         script is taken for one. With a fixed price it is the cheapest plan that lets so much out. Break-even is \
         beyond what is included, for a batch that goes on as those do: with fewer viewers, or a longer pause, polling \
         by a plain Worker costs less; 0 viewers: it never does.",
        workers.source, objects.source, redis.source, objects.memory_gb, realtime.source,
    )
}
