//! The cases that are measured, and what is asked of each.

use std::time::Duration;

use super::measured::{DRAIN, Measured, What};
use crate::report::{Bar, Limit};
use crate::sample::Sample;
use crate::world::{Side, UPSTASH_CHANGES, UPSTASH_REALTIME};

/// Photos of the batch.
pub(super) const PHOTOS: usize = 100;

/// From a commit to its viewers: what the old design claimed.
const CLAIMED_MS: f64 = 10.0;

/// A server whose work takes so much of a processor can't keep up, or only just.
pub(crate) const SATURATED: f64 = 0.9;

/// What viewers of the gateway itself do without.
pub(crate) const RAW: &str = "These are raw messages, each as it was published: no first state, no resuming, no access by \
                              batch, nothing merged for who is slow, all of which the edge has.";

/// The pause between two updates of a batch, by the publisher's default.
const COALESCE_MS: u128 = publisher::DEFAULT_COALESCE.as_millis();

const EDGE: &[Side] = &[Side::Edge, UPSTASH_REALTIME];
const EDGE_AND_CHANGES: &[Side] = &[Side::Edge, UPSTASH_REALTIME, UPSTASH_CHANGES];
const ORIGIN: &[Side] = &[Side::Gateway, Side::Node("after"), Side::Node("bullmq"), Side::Node("before")];
const ORIGIN_FEW: &[Side] = &[Side::Gateway, Side::Node("after"), Side::Node("before")];

/// The row that others are set beside: so many viewers and changes, without network.
const PLAIN: &str = "edge-100-viewers";

/// Which servers are compared. The two are not to be compared with each other: at the *edge* a process that could run in
/// many places serves the viewers (ours in workerd, Upstash Realtime's handler in Node), at the *origin* one beside Redis
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Edge,
    Origin,
}

/// One comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// The first is ours.
    pub(super) sides: &'static [Side],
    pub(super) viewers: usize,
    pub(super) changes_a_second: u32,
    /// So many times as long as others: where there are few deliveries, a p99 is soon that of a single change.
    pub(super) times_as_long: u64,
    /// A round trip's time between the parts.
    pub(super) distance: Duration,
    asked: &'static [Asked],
    /// What else is to be known of it.
    note: &'static str,
}

/// What must hold of our side.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// Its figure is at most so many times that of this side.
    Ratio { what: What, about: &'static str, of: Side, at_most: f64 },
    /// Its p99 is at most what was claimed.
    Claimed,
}

const P99: Asked = Asked::Ratio { what: What::P99, about: "p99", of: UPSTASH_REALTIME, at_most: 0.3 };
const CPU: Asked =
    Asked::Ratio { what: What::ServerCpu, about: "CPU a viewer and change", of: UPSTASH_REALTIME, at_most: 0.7 };
const NOT_SLOWER: Asked = Asked::Ratio { what: What::P99, about: "p99", of: UPSTASH_REALTIME, at_most: 1.0 };
const NOT_SLOWER_THAN_AFTER: Asked =
    Asked::Ratio { what: What::P99, about: "p99", of: Side::Node("after"), at_most: 1.0 };
const CPU_OF_AFTER: Asked =
    Asked::Ratio { what: What::ServerCpu, about: "CPU a viewer and change", of: Side::Node("after"), at_most: 1.0 };
/// The old design reads its database every 2 s, so half of its viewers wait for more than a second: 10 ms of it.
const P50_OF_BEFORE: Asked = Asked::Ratio { what: What::P50, about: "p50", of: Side::Node("before"), at_most: 0.01 };

const AT_THE_EDGE: Case = Case {
    name: PLAIN,
    class: Class::Edge,
    sides: EDGE,
    viewers: 100,
    changes_a_second: 10,
    times_as_long: 1,
    distance: Duration::ZERO,
    asked: &[NOT_SLOWER],
    note: "",
};

const AT_THE_ORIGIN: Case = Case { class: Class::Origin, ..AT_THE_EDGE };

const CASES: &[Case] = &[
    Case {
        sides: EDGE_AND_CHANGES,
        times_as_long: 3,
        asked: &[P99, CPU, Asked::Claimed],
        note: "`before`, the old design, serves from beside its database and is of the other class: its p50 stands in \
               `origin-100-viewers`.",
        ..AT_THE_EDGE
    },
    Case {
        name: "edge-1000-viewers",
        sides: EDGE_AND_CHANGES,
        viewers: 1_000,
        asked: &[P99, CPU, Asked::Claimed],
        ..AT_THE_EDGE
    },
    Case {
        name: "edge-5000-viewers",
        viewers: 5_000,
        changes_a_second: 1,
        note: "Upstash Realtime has each viewer publish a ping once it has been open for a minute, and then every \
               minute, to all other viewers; a run in which no stream is open for so long does not see that.",
        ..AT_THE_EDGE
    },
    Case { name: "edge-50-a-second", changes_a_second: 50, ..AT_THE_EDGE },
    Case { name: "edge-20-ms", distance: Duration::from_millis(20), ..AT_THE_EDGE },
    Case { name: "edge-80-ms", distance: Duration::from_millis(80), ..AT_THE_EDGE },
    Case {
        name: "origin-100-viewers",
        sides: ORIGIN_FEW,
        asked: &[P50_OF_BEFORE, NOT_SLOWER_THAN_AFTER],
        ..AT_THE_ORIGIN
    },
    Case {
        name: "origin-1000-viewers",
        sides: ORIGIN,
        viewers: 1_000,
        asked: &[NOT_SLOWER_THAN_AFTER, CPU_OF_AFTER],
        ..AT_THE_ORIGIN
    },
];

/// The case of this name.
pub(super) fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

impl Case {
    /// Changes before those that are measured, which warm up whatever is slow at first: a second's, but a few at least.
    pub(super) fn warm_up(&self) -> usize {
        self.changes_a_second.max(3) as usize
    }

    /// The case that this one differs from in one thing only, where the difference is of interest.
    pub(super) fn plain(&self) -> Option<&'static str> {
        (self.changes_a_second > AT_THE_EDGE.changes_a_second || !self.distance.is_zero()).then_some(PLAIN)
    }

    /// The round trips on the way from a commit to a viewer: see [`Case::about`].
    pub(super) fn round_trips(side: Side) -> f64 {
        match side {
            Side::Edge | Side::BareObject => 1.0,
            Side::Gateway => 0.5,
            Side::Node(_) => 2.0,
        }
    }

    /// Of each side whose server needs about a processor for this pace, or more, that it does. The gateway has threads for
    /// more than one.
    pub(super) fn saturated(&self, measured: &[Measured]) -> Vec<String> {
        let needs = self.sides.iter().zip(measured).map(|(side, one)| (side, one.sample(What::Processors).median()));
        let sentence = |(side, needs): (&Side, f64)| {
            format!(
                "{side} needs {needs:.2} processors for this pace, and one thread of it serves the viewers: it cannot keep \
                 up, or only just, and its times grow with the length of the run."
            )
        };
        needs.filter(|(side, needs)| **side != Side::Gateway && *needs >= SATURATED).map(sentence).collect()
    }

    pub(super) fn about(&self, secs: u64, measured: &[Measured]) -> String {
        let Self { viewers, changes_a_second, times_as_long, note, .. } = self;
        let secs = secs * times_as_long;
        let changes = if *changes_a_second == 1 { "change" } else { "changes" };
        let sentences = [
            format!(
                "{viewers} viewers of one batch of {PHOTOS} photos, read by one thread; {changes_a_second} {changes} a \
                 second for {secs} s, each of one photo."
            ),
            self.path().trim_end().to_owned(),
            self.network(),
            "Times are from before the commit until a viewer has read the change, each change once; the percentiles are \
             of all viewers' changes of a run together."
                .to_owned(),
            self.coalescing(),
            "A peer's worker does one change after the other, and the next commit waits for it: where that takes longer \
             than the pause between two, fewer changes are made, which is in its favour."
                .to_owned(),
            format!("Changes that were not seen {} s after the last count as never seen.", DRAIN.as_secs()),
            (*note).to_owned(),
        ];
        let sentences = sentences.into_iter().chain(self.saturated(measured));
        let sentences: Vec<String> = sentences.filter(|text| !text.is_empty()).collect();
        sentences.join(" ")
    }

    fn path(&self) -> String {
        match self.class {
            Class::Edge => {
                let changes = "`upstash-realtime-changes` is the same library whose events hold the head and the photo that \
                               has changed, as ours do; where a viewer begins is then left to the application.";
                format!(
                    "Ours: a commit in memory, `notify`, Redis, the gateway, the Worker in workerd. Upstash Realtime: its \
                     worker emits whole states through our gateway, its handler in Node serves the viewers. {}",
                    if self.sides.contains(&UPSTASH_CHANGES) { changes } else { "" }
                )
            }
            Class::Origin => format!(
                "Ours: a commit in memory, `notify`, Redis, the gateway, with the viewers at its `/subscribe`. {RAW} The \
                 others send whole states and are described in [peers/README.md](peers/README.md); `before` reads its \
                 database every 2 s."
            ),
        }
    }

    fn network(&self) -> String {
        if self.distance.is_zero() {
            return String::new();
        }
        format!(
            "The gateway stands beside Redis, the viewers beside who serves them; all else is a round trip of {} ms away: \
             a proxy in this process lets each byte wait for half of it, each way (on open connections; making one costs \
             nothing). Our changes go one way to Redis, and one way from the gateway to the Worker: one round trip \
             together. Upstash Realtime's worker waits for its `XADD`, a round trip, and then publishes; that, and from \
             the gateway to the handler, is one way each: two round trips. What is left of the p50 without them is \
             reckoned with the round trip as it was measured.",
            self.distance.as_millis()
        )
    }

    fn pause_ms(&self) -> u128 {
        1_000 / u128::from(self.changes_a_second)
    }

    /// Changes come closer together than our publisher sends them.
    fn is_coalesced(&self) -> bool {
        self.pause_ms() <= COALESCE_MS
    }

    fn coalescing(&self) -> String {
        if !self.is_coalesced() {
            return "Changes are far enough apart that none waits for the publisher to coalesce it with the one before."
                .to_owned();
        }
        let pause = self.pause_ms();
        format!(
            "Our publisher sends at most one update of a batch every {COALESCE_MS} ms, and the changes come every {pause} \
             ms, each of another photo: most wait, and leave together with others. Upstash Realtime sends each. Our \
             gateway ends a subscription that leaves 1 MiB unread, and the library does not subscribe again: its viewers \
             then hear no more."
        )
    }

    /// Without those beside a peer that could not be measured.
    pub(super) fn bars(&self, measured: &[Measured]) -> Vec<Bar> {
        self.asked.iter().filter_map(|asked| self.bar(*asked, measured)).collect()
    }

    fn bar(&self, asked: Asked, measured: &[Measured]) -> Option<Bar> {
        let ours = measured.first()?;
        match asked {
            Asked::Ratio { what, about, of, at_most } => {
                let (ours, theirs) =
                    (ours.sample(what), measured.get(self.sides.iter().position(|side| *side == of)?)?.sample(what));
                let name = if of == UPSTASH_REALTIME { "Upstash Realtime".to_owned() } else { of.to_string() };
                let about = format!("{about}, {} : {name}", self.sides.first()?);
                let ratio = ours.median() / theirs.median();
                // What ours could not show it has not met.
                let shown = ours.0.is_empty() || !theirs.0.is_empty();
                shown.then(|| Bar::ratio(&about, ratio, Limit::AtMost(at_most)).why(&self.why_late()))
            }
            Asked::Claimed => {
                let bar = Bar::of(
                    "p99 from commit to viewer",
                    ours.sample(What::P99).median(),
                    "ms",
                    Limit::AtMost(CLAIMED_MS),
                );
                Some(bar.why(&self.why_slow(ours.sample(What::ServerCpu))))
            }
        }
    }

    /// Why others may be sooner.
    fn why_late(&self) -> String {
        if !self.is_coalesced() {
            return String::new();
        }
        format!(
            "our publisher lets an update wait for up to {COALESCE_MS} ms, so that others leave with it (`COALESCE_MS`)"
        )
    }

    /// What was seen of how long the server is busy with one change.
    fn why_slow(&self, cpu_us: &Sample) -> String {
        let busy_ms = cpu_us.median() * self.viewers as f64 / 1e3;
        format!(
            "the server is busy for {busy_ms:.0} ms with each change: it writes to {} viewers, one after the other",
            self.viewers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_that_is_listed() {
        for case in CASES {
            assert_eq!(CASES.iter().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
            assert!(crate::scenarios::NAMES.contains(&case.name), "{}", case.name);
        }
    }

    #[test]
    fn who_cannot_keep_up_is_named() {
        let case = case("edge-1000-viewers").unwrap();
        let mut sides = [Measured::default(), Measured::default(), Measured::default()];
        sides.iter_mut().zip([0.24, 1.46, 0.89]).for_each(|(side, needs)| side.push(What::Processors, needs));
        let named = case.saturated(&sides);
        assert_eq!(named.len(), 1);
        assert!(named[0].starts_with("upstash-realtime needs 1.46 processors"), "{named:?}");
        assert!(case.about(8, &sides).ends_with(&named[0]));
        assert!(case.saturated(&[]).is_empty());
    }

    #[test]
    fn a_bar_beside_a_side_that_is_missing_is_left_out() {
        let case = case(PLAIN).unwrap();
        let mut ours = Measured::default();
        ours.push(What::P99, 5.0);
        ours.push(What::ServerCpu, 40.0);
        assert_eq!(case.bars(&[ours, Measured::default()]).len(), 1);
    }

    #[test]
    fn a_bar_of_ours_is_missed_when_ours_is_missing() {
        let mut theirs = Measured::default();
        theirs.push(What::P99, 5.0);
        theirs.push(What::ServerCpu, 40.0);
        for theirs in [theirs, Measured::default()] {
            let bars = case(PLAIN).unwrap().bars(&[Measured::default(), theirs]);
            assert_eq!(bars.len(), 3);
            assert!(bars.iter().all(|bar| !bar.is_met()));
        }
    }
}
