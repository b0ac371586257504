//! Viewers' streams: bytes that wait, full streams, ends, cuts, as `edge/src/object/streams.rs` has them.
//!
//! A stream is full while anything waits in it: its high-water mark is one byte, so that a slow reader is behind at
//! once. What waits is bounded by that and by what one turn of a room writes, which is checked at each write.

use hub::{FORGOTTEN_RETRY, Input, Millis, ViewerId};
use wire::{BatchId, BatchState, Position, event};

use crate::{viewer::Standing, world::World};

/// More than the largest event of these schedules with what may stand before and after it in one turn (`retry`,
/// `complete`, `upstream`, `stalled`), and far less than two of them.
const ONE_TURN_BYTES: usize = 1_400;
/// `ENDED_RETRY`.
const ENDED_RETRY: Millis = 2_000;
/// How long it takes at most until the object is told that a viewer is gone.
const GONE_WITHIN: Millis = 20_000;

pub(crate) struct Stream {
    viewer: usize,
    batch: BatchId,
    /// Written, and not yet on its way.
    waiting: String,
    /// The object may write to it.
    open: bool,
    /// The viewer is gone.
    broken: bool,
    /// The viewer reads nothing for now.
    pub(crate) stalled: bool,
    draining: bool,
}

impl Stream {
    fn new(viewer: usize, batch: &BatchId, broken: bool) -> Self {
        let (waiting, batch) = (String::new(), batch.clone());
        Self { viewer, batch, waiting, open: true, broken, stalled: false, draining: false }
    }

    /// `Streams::can_take`.
    pub(crate) fn can_take(&self) -> bool {
        self.open && (self.broken || self.waiting.is_empty())
    }

    /// Whether the object counts it as a viewer of this batch.
    pub(crate) fn is_open_for(&self, batch: &BatchId) -> bool {
        self.open && self.batch == *batch
    }
}

impl World {
    pub(crate) fn open_stream(&mut self, connection: u32, viewer: usize, batch: &BatchId) {
        let broken = !self.is_on(viewer, connection);
        self.streams.insert(connection, Stream::new(viewer, batch, broken));
        if broken {
            self.tell_object_that_it_is_gone(connection);
        }
    }

    /// `Streams::write`, for one viewer. False: its stream turned out to be gone.
    pub(crate) fn write(&mut self, connection: u32, bytes: &str) -> bool {
        let Some(stream) = self.streams.get_mut(&connection).filter(|stream| stream.open) else { return true };
        if stream.broken {
            self.streams.remove(&connection);
            return false;
        }
        stream.waiting.push_str(bytes);
        let waiting = stream.waiting.len();
        assert!(waiting <= ONE_TURN_BYTES, "{waiting} bytes wait for one viewer: {}", stream.waiting);
        self.drain_later(connection);
        true
    }

    /// `Streams::close`: ends it once what was written has left.
    pub(crate) fn close_stream(&mut self, connection: u32) {
        if let Some(stream) = self.streams.get_mut(&connection) {
            stream.open = false;
            self.drain_later(connection);
        }
    }

    /// The stream ends now, by whomever. What waits in it is lost, or only its beginning arrives. `told`: the viewer
    /// sees that it ended.
    pub(crate) fn break_stream(&mut self, connection: u32, told: bool) {
        let Some(stream) = self.streams.remove(&connection) else { return };
        let arrives = if stream.stalled { 0 } else { self.rng.usize(..=stream.waiting.len()) };
        self.viewer_receives(stream.viewer, connection, &stream.waiting[..arrives]);
        if told {
            self.viewer_loses(stream.viewer, connection);
        }
    }

    /// The network between cuts a stream. The object learns of it later, or when it next writes.
    pub(crate) fn cut_stream(&mut self, connection: u32, told: bool) {
        let Some(stream) = self.streams.get_mut(&connection) else { return };
        let viewer = stream.viewer;
        stream.broken = true;
        stream.waiting.clear();
        if told {
            self.viewer_loses(viewer, connection);
        }
        self.tell_object_that_it_is_gone(connection);
    }

    /// The viewer closes its side.
    pub(crate) fn viewer_turns_away(&mut self, connection: u32) {
        if let Some(stream) = self.streams.get_mut(&connection) {
            stream.broken = true;
            self.tell_object_that_it_is_gone(connection);
        }
    }

    pub(crate) fn stall(&mut self, connection: u32, stalled: bool) {
        if let Some(stream) = self.streams.get_mut(&connection) {
            stream.stalled = stalled;
            self.drain_later(connection);
        }
    }

    fn tell_object_that_it_is_gone(&mut self, connection: u32) {
        let after = self.rng.u64(1..GONE_WITHIN);
        self.later(after, move |world| {
            if let Some(stream) = world.streams.remove(&connection).filter(|stream| stream.open) {
                world.feed(&stream.batch, Input::Left(ViewerId(connection)));
            }
        });
    }

    fn drain_later(&mut self, connection: u32) {
        let after = self.delay();
        let Some(stream) = self.streams.get_mut(&connection) else { return };
        if !stream.stalled && !std::mem::replace(&mut stream.draining, true) {
            self.later(after, move |world| world.drain(connection));
        }
    }

    fn drain(&mut self, connection: u32) {
        let Some(stream) = self.streams.get_mut(&connection) else { return };
        stream.draining = false;
        if stream.stalled || stream.broken {
            return;
        }
        let (bytes, viewer, open) = (std::mem::take(&mut stream.waiting), stream.viewer, stream.open);
        if !open {
            self.streams.remove(&connection);
        }
        self.viewer_receives(viewer, connection, &bytes);
        if !open {
            self.viewer_loses(viewer, connection);
        }
    }

    /// `entry::busy`.
    pub(crate) fn busy(&mut self, connection: u32, viewer: usize, batch: &BatchId) {
        let retry = self.rng.u64(3_000..=7_000);
        self.short_stream(connection, viewer, batch, &(event::retry(retry) + event::BUSY));
    }

    /// `streams::ended`, for a viewer that has not seen the end.
    pub(crate) fn show_end(&mut self, connection: u32, viewer: usize, state: &BatchState, seen: Option<Position>) {
        let text = event::retry(ENDED_RETRY) + &event::ending(state, seen, None);
        self.short_stream(connection, viewer, &state.head().batch_id, &text);
    }

    /// `streams::idle`.
    pub(crate) fn send_away(&mut self, connection: u32, viewer: usize, batch: &BatchId, position: Position) {
        self.tally.looks += 1;
        self.short_stream(connection, viewer, batch, &(event::retry(FORGOTTEN_RETRY) + &event::idle(position)));
    }

    fn short_stream(&mut self, connection: u32, viewer: usize, batch: &BatchId, text: &str) {
        let waiting = text.to_owned();
        self.streams.insert(connection, Stream { waiting, open: false, ..Stream::new(viewer, batch, false) });
        self.drain_later(connection);
    }

    /// 204.
    pub(crate) fn nothing_more(&mut self, connection: u32, viewer: usize) {
        let back = self.delay();
        self.later(back, move |world| world.viewer_is_done(viewer, connection));
    }

    /// The connections on which someone is.
    pub(crate) fn connections(&self) -> Vec<u32> {
        let on = |viewer: &crate::viewer::Viewer| match viewer.state {
            Standing::On(connection) => Some(connection),
            _ => None,
        };
        self.viewers.iter().filter_map(on).collect()
    }
}
