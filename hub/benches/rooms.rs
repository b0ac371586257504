//! What a room does, without a clock and without a stream: a message to its viewers, a viewer coming, a sweep with all
//! behind. With allocations. `cargo bench -p batchcast-hub`.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has failed")]

#[path = "../tests/watched/mod.rs"]
mod watched;

use std::cell::RefCell;

use batchcast_hub::{Input, Millis, Output, Room, ViewerId};
use divan::{AllocProfiler, Bencher};

use watched::{came, news, stored, watched_by};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const VIEWERS: [u32; 4] = [1, 100, 1_000, 10_000];

/// Between two messages: longer than any pause between sweeps, shorter than the silence after which a viewer is written
/// a keep-alive.
const BETWEEN_MESSAGES: Millis = 5_000;

/// When who was behind is looked at again.
const LATER: Millis = 250;

/// Each sample is one call, since each needs a room that has been prepared for it.
const SAMPLES: u32 = 200;

fn main() {
    divan::main();
}

/// A room with its time, and the version that it has reached.
struct Watched {
    room: Room,
    now: Millis,
    version: u64,
}

impl Watched {
    /// A room in which what is done once has been done: all were told when to come back.
    fn by(viewers: u32) -> RefCell<Self> {
        let mut watched = Self { room: watched_by(viewers), now: 0, version: 1 };
        for _ in 0..5 {
            let news = watched.next();
            watched.handle(Input::Message(&news), BETWEEN_MESSAGES, true);
        }
        RefCell::new(watched)
    }

    /// Goes on to the next message, once the room knows that its last sweep took 1 ms: it would rest for longer.
    fn next(&mut self) -> Vec<u8> {
        self.handle(Input::Wake, 1, true);
        self.version += 1;
        news(self.version - 1)
    }

    /// Hands in an input, so much later than the one before.
    fn handle(&mut self, input: Input<'_>, later: Millis, can_take: bool) -> Vec<Output> {
        self.now += later;
        self.room.handle(input, self.now, &|_| can_take)
    }
}

/// How many viewers are written to.
fn written(out: &[Output]) -> usize {
    out.iter().map(|output| if let Output::Write { to, .. } = output { to.len() } else { 0 }).sum()
}

/// A message in, and out the event with the list of all viewers. They have room for it.
#[divan::bench(args = VIEWERS, sample_size = 1, sample_count = SAMPLES)]
fn message_to_all(bencher: Bencher<'_, '_>, viewers: u32) {
    let watched = Watched::by(viewers);
    let last = RefCell::new(vec![]);
    bencher.with_inputs(|| watched.borrow_mut().next()).bench_local_refs(|news| {
        last.replace(watched.borrow_mut().handle(Input::Message(news), BETWEEN_MESSAGES, true))
    });
    assert_eq!(written(&last.borrow()), viewers as usize, "it was shown to all");
}

/// A message in, and nothing out: nobody has room for it.
#[divan::bench(args = VIEWERS, sample_size = 1, sample_count = SAMPLES)]
fn message_to_nobody(bencher: Bencher<'_, '_>, viewers: u32) {
    let watched = Watched::by(viewers);
    bencher
        .with_inputs(|| watched.borrow_mut().next())
        .bench_local_refs(|news| watched.borrow_mut().handle(Input::Message(news), BETWEEN_MESSAGES, false));
}

/// All of them could not take the last event, and now can.
#[divan::bench(args = VIEWERS, sample_size = 1, sample_count = SAMPLES)]
fn sweep_with_all_behind(bencher: Bencher<'_, '_>, viewers: u32) {
    let watched = Watched::by(viewers);
    let last = RefCell::new(vec![]);
    let fall_behind = || {
        let mut watched = watched.borrow_mut();
        let news = watched.next();
        assert_eq!(written(&watched.handle(Input::Message(&news), BETWEEN_MESSAGES, false)), 0);
        watched.handle(Input::Wake, 1, false);
    };
    bencher
        .with_inputs(fall_behind)
        .bench_local_values(|()| last.replace(watched.borrow_mut().handle(Input::Wake, LATER, true)));
    assert_eq!(written(&last.borrow()), viewers as usize, "it was shown to all");
}

/// One more comes to so many, and is shown what others that came were: it is encoded once. It leaves again, which is not
/// measured.
#[divan::bench(args = VIEWERS, sample_size = 1, sample_count = SAMPLES)]
fn a_viewer_comes(bencher: Bencher<'_, '_>, viewers: u32) {
    let (watched, stored) = (Watched::by(viewers), stored());
    let last = RefCell::new(vec![]);
    let leave = || {
        watched.borrow_mut().handle(Input::Left(ViewerId(viewers)), 0, true);
        came(viewers, &stored)
    };
    bencher.with_inputs(leave).bench_local_values(|came| last.replace(watched.borrow_mut().handle(came, 0, true)));
    assert_eq!(written(&last.borrow()), 2, "it was told when to come back, and shown everything");
}
