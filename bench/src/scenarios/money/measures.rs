//! What money is reckoned from: figures that other scenarios have measured.

use crate::report::Scenario;
use crate::scenarios::{bytes, commands};

/// Ours, and the other side's, in those scenarios.
const OURS: usize = 0;
const THEIRS: usize = 1;
/// Upstash Realtime with changes alone, in [`HANDLER`].
const CHANGES: usize = 2;

const HANDLER: &str = "edge-100-viewers";

/// The scenarios that are reckoned with.
pub(super) const INPUTS: [&str; 3] = ["commands-a-batch", "bytes-a-batch", HANDLER];

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
    /// Upstash Realtime: processor time of its handler.
    pub(super) handler: Handler,
}

/// Processor time for one viewer and event, by the event's bytes; none where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Handler {
    event_ms: f64,
    byte_ms: f64,
}

impl Handler {
    /// The straight line through what events of two sizes took, each as bytes and milliseconds; of one, the same for all
    /// sizes.
    fn through(large: (f64, f64), small: Option<(f64, f64)>) -> Self {
        match small {
            Some(small) => {
                let byte_ms = ((large.1 - small.1) / (large.0 - small.0)).max(0.0);
                Self { event_ms: large.1 - byte_ms * large.0, byte_ms }
            }
            None => Self { event_ms: large.1, byte_ms: 0.0 },
        }
    }

    /// For an event of so many bytes, in milliseconds.
    pub(super) fn ms(self, bytes: f64) -> f64 {
        (self.event_ms + self.byte_ms * bytes).max(0.0)
    }
}

impl Measures {
    /// Finds them. What is not there is named; without the first two scenarios nothing can be reckoned.
    pub(super) fn find(scenarios: &[Scenario]) -> (Option<Self>, Vec<String>) {
        let point = |side| {
            let of = |name| figure(scenarios, HANDLER, name, side);
            Some((of("bytes read")?, of("the server's CPU")? / 1e3))
        };
        let handler = point(THEIRS).map(|large| Handler::through(large, point(CHANGES)));
        let mut missing = Vec::new();
        if handler.is_none() {
            missing.push(format!("the CPU of Upstash Realtime's handler: {HANDLER} has not run"));
        }
        let found = Self::of(scenarios, handler.unwrap_or_default());
        if found.is_none() {
            missing.push("money: commands-a-batch and bytes-a-batch have not both run".to_owned());
        }
        (found, missing)
    }

    fn of(scenarios: &[Scenario], handler: Handler) -> Option<Self> {
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
            handler,
        })
    }

    /// The bytes of one whole state.
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
            handler: Handler { event_ms: 0.1, byte_ms: 5e-6 },
        }
    }

    fn scenario<const SIDES: usize>(name: &str, figures: &[(&str, [f64; SIDES])]) -> Scenario {
        let figures = figures.iter().map(|(name, sides)| Figure::new(name, "", sides.map(|value| Sample(vec![value]))));
        Scenario { name: name.to_owned(), figures: figures.collect(), ..Scenario::default() }
    }

    #[test]
    fn they_are_taken_apart_from_what_was_counted() {
        let scenarios = [
            scenario(
                HANDLER,
                &[("bytes read", [500.0, 20_000.0, 4_000.0]), ("the server's CPU", [40.0, 200.0, 120.0])],
            ),
            scenario(
                "commands-a-batch",
                &[
                    ("updates", [1_000.0, 1_000.0]),
                    ("1 viewer: commands that clients sent", [1_002.0, 2_001.0]),
                    ("1000 viewers: commands that clients sent", [1_002.0, 3_000.0]),
                    (commands::TOLD, [10.0, f64::NAN]),
                ],
            ),
            scenario(
                "bytes-a-batch",
                &[("125 photos: bytes read", [1.0, 1.0]), ("500 photos: bytes read", [1e6, 1e8])],
            ),
        ];
        let (found, missing) = Measures::find(&scenarios);
        let found = found.unwrap();
        assert!((found.handler.ms(1e5) - 0.6).abs() < 1e-9, "{found:?}");
        assert_eq!((Measures { handler: measures().handler, ..found }, missing), (measures(), Vec::new()));
        assert_eq!(measures().state_bytes(), 1e5);
    }

    #[test]
    fn a_handler_is_as_dear_for_all_sizes_where_one_was_measured() {
        let handler = Handler::through((20_000.0, 0.2), None);
        assert_eq!((handler.ms(1.0), handler.ms(1e6)), (0.2, 0.2));
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let (found, missing) = Measures::find(&[]);
        assert!(found.is_none());
        assert_eq!(missing.len(), 2);
    }
}
