//! What money is reckoned from: figures that other scenarios have measured.

use crate::report::Scenario;
use crate::scenarios::{bytes, commands};

/// Ours, and the other side's, in those scenarios.
const OURS: usize = 0;
const THEIRS: usize = 1;

/// Per batch, viewer, update.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measures {
    /// Commands beyond one an update: what a room costs that opens, its subscription counted.
    pub(super) room_commands: f64,
    /// Commands by which an object tells what it has counted.
    pub(super) told_commands: f64,
    /// Upstash Realtime: commands of a viewer that connects, its subscription counted.
    pub(super) connect_commands: f64,
    /// Upstash Realtime: commands of an event.
    pub(super) emit_commands: f64,
    /// Photos of the batch whose bytes are those below, and its updates.
    pub(super) photos: f64,
    pub(super) updates: f64,
    /// Bytes of all changes of the batch, each sent alone.
    pub(super) change_bytes: f64,
    /// Bytes of all changes of the batch, each sent as the whole state.
    pub(super) whole_bytes: f64,
    /// Upstash Realtime: processor time of its handler, in milliseconds a viewer and event; 0 where it was not
    /// measured.
    pub(super) handler_ms: f64,
}

impl Measures {
    /// Finds them. What is not there is named; without the first two scenarios nothing can be reckoned.
    pub(super) fn find(scenarios: &[Scenario]) -> (Option<Self>, Vec<String>) {
        let handler_us = figure(scenarios, "edge-100-viewers", "the server's CPU", THEIRS);
        let mut missing = Vec::new();
        if handler_us.is_none() {
            missing.push("the CPU of Upstash Realtime's handler: edge-100-viewers has not run".to_owned());
        }
        let found = Self::of(scenarios, handler_us.unwrap_or_default() / 1e3);
        if found.is_none() {
            missing.push("money: commands-a-batch and bytes-a-batch have not both run".to_owned());
        }
        (found, missing)
    }

    fn of(scenarios: &[Scenario], handler_ms: f64) -> Option<Self> {
        let command = |name: &str, side| figure(scenarios, "commands-a-batch", name, side);
        let updates = command(commands::UPDATES_FIGURE, OURS)?;
        let [few, many] = [commands::FEWEST, commands::MOST];
        let theirs = [few, many].map(|viewers| command(&commands::sent_figure(viewers), THEIRS));
        let a_viewer = (theirs[1]? - theirs[0]?) / (many - few) as f64;
        let (photos, change_bytes, whole_bytes) = largest(scenarios)?;
        Some(Self {
            room_commands: command(&commands::sent_figure(few), OURS)? - updates + 1.0,
            told_commands: command(commands::TOLD, OURS)?,
            connect_commands: a_viewer + 1.0,
            emit_commands: (theirs[0]? - a_viewer * few as f64) / updates,
            photos: photos as f64,
            updates: (bytes::CHANGES * photos) as f64,
            change_bytes,
            whole_bytes,
            handler_ms,
        })
    }

    /// The bytes of one whole state, a batch's changes being half done.
    pub(super) fn state_bytes(&self) -> f64 {
        self.whole_bytes / self.updates
    }
}

/// The largest batch whose bytes were measured: its photos, the bytes of ours, those of whole states.
fn largest(scenarios: &[Scenario]) -> Option<(usize, f64, f64)> {
    let sizes = bytes::PHOTOS.into_iter().chain(bytes::FEW_PHOTOS);
    let bytes = |photos: usize, side| figure(scenarios, "bytes-a-batch", &bytes::bytes_figure(photos), side);
    let found = sizes.filter_map(|photos| Some((photos, bytes(photos, OURS)?, bytes(photos, THEIRS)?)));
    found.max_by_key(|(photos, ..)| *photos)
}

fn figure(scenarios: &[Scenario], scenario: &str, figure: &str, side: usize) -> Option<f64> {
    let scenario = scenarios.iter().find(|s| s.name == scenario)?;
    let sample = scenario.figures.iter().find(|f| f.name == figure)?.sides.get(side)?;
    Some(sample.median()).filter(|median| median.is_finite())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::Figure;
    use crate::sample::Sample;

    /// Round ones.
    pub(in super::super) fn measures() -> Measures {
        Measures {
            room_commands: 3.0,
            told_commands: 10.0,
            connect_commands: 2.0,
            emit_commands: 2.0,
            photos: 500.0,
            updates: 1_000.0,
            change_bytes: 1e6,
            whole_bytes: 1e8,
            handler_ms: 0.2,
        }
    }

    fn scenario(name: &str, figures: &[(&str, f64, f64)]) -> Scenario {
        let figures = figures
            .iter()
            .map(|(name, ours, theirs)| Figure::new(name, "", [Sample(vec![*ours]), Sample(vec![*theirs])]));
        Scenario { name: name.to_owned(), figures: figures.collect(), ..Scenario::default() }
    }

    #[test]
    fn they_are_taken_apart_from_what_was_counted() {
        let scenarios = [
            scenario("edge-100-viewers", &[("the server's CPU", 40.0, 200.0)]),
            scenario(
                "commands-a-batch",
                &[
                    ("updates", 1_000.0, 1_000.0),
                    ("1 viewer: commands that clients sent", 1_002.0, 2_001.0),
                    ("1000 viewers: commands that clients sent", 1_002.0, 3_000.0),
                    (commands::TOLD, 10.0, f64::NAN),
                ],
            ),
            scenario("bytes-a-batch", &[("125 photos: bytes read", 1.0, 1.0), ("500 photos: bytes read", 1e6, 1e8)]),
        ];
        assert_eq!(Measures::find(&scenarios), (Some(measures()), Vec::new()));
        assert_eq!(measures().state_bytes(), 1e5);
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let (found, missing) = Measures::find(&[]);
        assert!(found.is_none());
        assert_eq!(missing.len(), 2);
    }
}
