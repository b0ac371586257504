//! Freshness under overload: more changes and viewers than can be served one by one, and how old what is shown becomes.
//!
//! Each change is published by the explicit, acknowledged call, so that the publisher's own coalescing is left out.

mod measure;
mod memory;
mod pace;

use std::time::Duration;

use anyhow::{Result, ensure};

use super::whole_path::{Class, RAW};
use crate::Scale;
use crate::ages::{LATE_MS, SAMPLE_MS};
use crate::app::MOST_UNDER_WAY;
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::Sample;
use crate::world::{Setup, Side, UPSTASH_CHANGES, UPSTASH_REALTIME, World};
use measure::{DRAIN, Measurement, SERVED, WARM_UP};

const PHOTOS: usize = 100;

/// Of the p99 of the best of the others, at most this.
const LARGEST_RATIO: f64 = 0.2;

/// About a twenty-sixth of the bytes of all changes that are due to the viewers: a server that kept for each viewer
/// what it could not write yet would grow by a large part of them. Less can't be told from a heap that breathes.
const FLAT_KIB_A_SECOND: f64 = 1024.0;

/// One run of one side, all in all.
const LONGEST_RUN: Duration = Duration::from_secs(150);

/// How many viewers, and how much they are to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) class: Class,
    pub(crate) viewers: usize,
    pub(crate) changes_a_second: u32,
    /// Beside whom; ours first.
    pub(crate) sides: &'static [Side],
    /// Each starts every side anew.
    pub(crate) most_runs: usize,
}

pub(crate) const EDGE_1000: Load = Load {
    class: Class::Edge,
    viewers: 1_000,
    changes_a_second: 100,
    sides: &[Side::Edge, UPSTASH_REALTIME, UPSTASH_CHANGES],
    most_runs: 3,
};
pub(crate) const EDGE_5000: Load =
    Load { viewers: 5_000, changes_a_second: 20, sides: &[Side::Edge, UPSTASH_REALTIME], most_runs: 2, ..EDGE_1000 };
pub(crate) const ORIGIN_1000: Load =
    Load { class: Class::Origin, sides: &[Side::Gateway, Side::Node("after"), Side::Node("bullmq")], ..EDGE_1000 };

/// What one side came to, once a run.
#[derive(Default)]
struct Measured {
    p50: Sample,
    p99: Sample,
    max: Sample,
    served_p99: Sample,
    served_max: Sample,
    served: Sample,
    never: Sample,
    ended: Sample,
    changes: Sample,
    refreshed: Sample,
    megabytes: Sample,
    server_cpu: Sample,
    gateway_cpu: Sample,
    redis_cpu: Sample,
    memory: Sample,
    growth: Sample,
    slow_closed: Sample,
    load_cpu: Sample,
    late: Sample,
}

/// The name of the figure of subscribers that our gateway has cut.
pub(crate) const CUT: &str = "subscribers that the gateway closed as too slow";

/// What is reported, and its unit.
const FIGURES: [(&str, &str); 19] = [
    ("age, p50", "ms"),
    ("age, p99", "ms"),
    ("age, greatest", "ms"),
    ("age at viewers that were served to the end, p99", "ms"),
    ("age at viewers that were served to the end, greatest", "ms"),
    ("viewers that were served to the end", "of a hundred"),
    ("viewers that never showed the last change", "of a hundred"),
    ("streams that ended", ""),
    ("changes that were made", "a second"),
    ("something newer was read", "times a viewer and second"),
    ("bytes read, all viewers", "MB a second"),
    ("the server's CPU", "of one processor"),
    ("the gateway's CPU", "of one processor"),
    ("Redis' CPU", "of one processor"),
    ("the server's resident memory at the end", "MiB"),
    ("growth of the server's resident memory", "KiB a second"),
    (CUT, ""),
    ("the load's own CPU", "of one processor"),
    ("samples that were late", "of a hundred"),
];

pub(crate) async fn run(name: &str, load: Load, scale: Scale) -> Result<Scenario> {
    let (sides, time) = (load.sides, Duration::from_secs(scale.secs));
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::default()).collect();
    let mut missing = Vec::new();
    for nth in 1..=scale.runs.min(load.most_runs) {
        for (&side, measured) in sides.iter().zip(&mut measured) {
            match measure_side(side, load, time).await {
                Ok(measurement) => {
                    println!("{side}: {measurement}");
                    if let Some(short) = measurement.cut_short() {
                        missing.push(format!("{side}, run {nth}, was stopped early: {short}"));
                    }
                    missing.extend(measurement.gone().map(|gone| format!("{side}, run {nth}: {gone}")));
                    measured.add(&measurement);
                }
                Err(error) => {
                    println!("{side}: {error:#}");
                    missing.push(format!("{side}, run {nth}: {error:#}"));
                }
            }
        }
    }
    let bars = bars(load, &measured);
    let mut figures: Vec<Figure> = FIGURES.into_iter().map(|(name, unit)| Figure::new(name, unit, [])).collect();
    for side in measured {
        figures.iter_mut().zip(side.samples()).for_each(|(figure, sample)| figure.sides.push(sample));
    }
    let (about, sides) = (about(load, scale.secs), sides.iter().map(ToString::to_string).collect());
    Ok(Scenario { name: name.to_owned(), about, sides, figures, bars, missing })
}

async fn measure_side(side: Side, load: Load, time: Duration) -> Result<Measurement> {
    let measuring = async {
        let mut world = World::start(&Setup::new(side, PHOTOS)).await?;
        let measurement = measure::measure(&mut world, load.viewers, load.changes_a_second, time).await?;
        world.close().await;
        anyhow::Ok(measurement)
    };
    // Boxed: it holds all of a world.
    let measured = tokio::time::timeout(LONGEST_RUN, Box::pin(measuring)).await;
    ensure!(measured.is_ok(), "it was not over after {} s", LONGEST_RUN.as_secs());
    measured?
}

fn about(load: Load, secs: u64) -> String {
    let Load { class, viewers, changes_a_second, .. } = load;
    let path = match class {
        Class::Edge => {
            "Ours: Redis, the gateway, the Worker in workerd, which sends the photos that changed.".to_owned()
        }
        Class::Origin => format!("Ours: Redis and the gateway's `/subscribe`. {RAW}"),
    };
    let changes = if load.sides.contains(&UPSTASH_CHANGES) {
        " but for `upstash-realtime-changes`, whose events hold what has changed,"
    } else {
        ""
    };
    format!(
        "{viewers} viewers of one batch of {PHOTOS} photos, read by one thread; {changes_a_second} changes a second, \
         each of one photo: for {} s to warm up, then for {secs} s, which are measured. {path} The others send the \
         whole state each time,{changes} and are described in [peers/README.md](peers/README.md). We publish each change by \
         the explicit call and let up to {MOST_UNDER_WAY} wait for their acknowledgement; the others' worker does \
         one after the other, as its users would, and catches up as fast as it can when it is late. Before, single \
         changes are made until each viewer has shown one. Age: every {SAMPLE_MS} ms, for each viewer, the time \
         since the commit of the newest change that it has read by then; so up to the whole pause between two \
         changes is in it whatever the server does, and for a server that falls ever further behind it depends on \
         the length of the measurement. A sample is late when it is taken more than {LATE_MS} ms after it was due. A \
         viewer was served to the end when it has read anything in the last {} s of the measurement; others have \
         lost their subscription, or their server is that far behind. Our gateway closes a subscription that leaves 1 MiB \
         unread, a bound that is no setting, and Upstash Realtime does not subscribe again: where its subscriptions were \
         cut, its age is about the time since then, and says that it could not keep up, and not by how much. \
         The bar is taken against the kinder of the two figures. Who has not shown the last change {} s \
         after it counts as never. Growth is the slope of a straight line through the resident memory, read four \
         times a second in the second half of the measurement: in the first the heaps of workerd and Node still grow \
         to the size at which they are collected.",
        WARM_UP.as_secs(),
        SERVED.as_secs(),
        DRAIN.as_secs(),
    )
}

fn bars(load: Load, measured: &[Measured]) -> Vec<Bar> {
    let Some((ours, others)) = measured.split_first() else { return Vec::new() };
    let name = if load.class == Class::Edge { "Batchcast" } else { "gateway" };
    let best = others.iter().map(Measured::kinder_p99).fold(f64::NAN, f64::min);
    let cut = others.iter().find(|other| other.kinder_p99() == best).map_or(0.0, |other| other.slow_closed.median());
    let cut = if cut > 0.0 { format!(", of whose subscriptions the gateway cut {cut:.0}") } else { String::new() };
    let limit = |about: &str, is, unit, most| Bar::of(&format!("{name}: {about}"), is, unit, Limit::AtMost(most));
    vec![
        Bar::ratio(
            &format!("p99 of the age, {name} : the best of the others{cut}"),
            ours.p99.median() / best,
            Limit::AtMost(LARGEST_RATIO),
        ),
        limit("streams that ended, in any run", most(&ours.ended), "", 0.0),
        limit("growth of the resident memory", ours.growth.median(), "KiB a second", FLAT_KIB_A_SECOND),
    ]
}

/// The greatest of all runs; of none it is no number, which meets no bar.
fn most(sample: &Sample) -> f64 {
    if sample.0.is_empty() { f64::NAN } else { sample.max() }
}

impl Measured {
    fn add(&mut self, run: &Measurement) {
        if let Some(ages) = run.ages {
            self.p50.0.push(ages.p50);
            self.p99.0.push(ages.p99);
            self.max.0.push(ages.max);
        }
        if let Some(ages) = run.served_ages {
            self.served_p99.0.push(ages.p99);
            self.served_max.0.push(ages.max);
        }
        self.served.0.push(run.served);
        self.never.0.push(run.never);
        self.ended.0.push(run.ended);
        self.changes.0.push(run.changes);
        self.refreshed.0.push(run.refreshed);
        self.megabytes.0.push(run.megabytes);
        self.server_cpu.0.push(run.server_cpu);
        self.gateway_cpu.0.push(run.gateway_cpu);
        self.redis_cpu.0.push(run.redis_cpu);
        self.memory.0.push(run.memory_mib);
        self.growth.0.push(run.growth_kib);
        self.slow_closed.0.push(run.slow_closed);
        self.load_cpu.0.push(run.load_cpu);
        self.late.0.push(run.late);
    }

    /// The p99 of all viewers, or of those that were served to the end.
    fn kinder_p99(&self) -> f64 {
        self.p99.median().min(self.served_p99.median())
    }

    /// In the order of [`FIGURES`].
    fn samples(self) -> [Sample; FIGURES.len()] {
        [
            self.p50,
            self.p99,
            self.max,
            self.served_p99,
            self.served_max,
            self.served,
            self.never,
            self.ended,
            self.changes,
            self.refreshed,
            self.megabytes,
            self.server_cpu,
            self.gateway_cpu,
            self.redis_cpu,
            self.memory,
            self.growth,
            self.slow_closed,
            self.load_cpu,
            self.late,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(p99: &[f64], served_p99: &[f64]) -> Measured {
        Measured {
            p99: Sample(p99.to_vec()),
            served_p99: Sample(served_p99.to_vec()),
            ended: Sample(vec![0.0]),
            growth: Sample(vec![1.0]),
            ..Measured::default()
        }
    }

    #[test]
    fn the_bar_is_against_the_kinder_figure_of_the_best() {
        let sides = [measured(&[10.0], &[9.0]), measured(&[400.0], &[100.0]), measured(&[80.0], &[])];
        let bars = bars(ORIGIN_1000, &sides);
        assert_eq!(bars[0].is, 10.0 / 80.0);
        assert!(bars[0].about.ends_with("others"), "{}", bars[0].about);
        assert!(bars.iter().all(Bar::is_met));
    }

    #[test]
    fn a_bar_says_what_was_cut_of_whom_it_is_against() {
        let cut = Measured { slow_closed: Sample(vec![1_000.0]), ..measured(&[100.0], &[]) };
        let about = |sides: &[Measured]| bars(EDGE_1000, sides)[0].about.clone();
        assert!(about(&[measured(&[1.0], &[]), cut]).ends_with(", of whose subscriptions the gateway cut 1000"));
        let worse = Measured { slow_closed: Sample(vec![1_000.0]), ..measured(&[100.0], &[]) };
        assert!(about(&[measured(&[1.0], &[]), worse, measured(&[50.0], &[])]).ends_with("others"));
    }

    #[test]
    fn a_side_without_figures_meets_nothing() {
        let bars = bars(EDGE_1000, &[Measured::default(), measured(&[1.0], &[])]);
        assert!(!bars.iter().any(Bar::is_met));
        let bars = super::bars(EDGE_1000, &[measured(&[1.0], &[1.0]), Measured::default()]);
        assert!(!bars[0].is_met());
    }
}
