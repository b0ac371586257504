//! What an event costs a room, held without a clock: in allocations, which are counted.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod watched;

use batchcast_hub::{Input, Output};

use watched::{news, watched_by};

/// The allocations of one message that is shown at once to all.
fn allocations_of_an_event(viewers: u32) -> u64 {
    let mut room = watched_by(viewers);
    // What grows once has grown.
    room.handle(Input::Message(&news(1)), 10_000, &|_| true);
    room.handle(Input::Wake, 11_000, &|_| true);
    let news = news(2);
    let mut written = 0;
    let counted = allocation_counter::measure(|| {
        let out = room.handle(Input::Message(&news), 20_000, &|_| true);
        written = out.iter().map(|output| if let Output::Write { to, .. } = output { to.len() } else { 0 }).sum();
    });
    assert_eq!(written, viewers as usize, "it was shown to all");
    counted.count_total
}

#[test]
fn an_event_costs_a_room_as_much_for_a_thousand_viewers_as_for_ten() {
    let (ten, thousand) = (allocations_of_an_event(10), allocations_of_an_event(1_000));
    // A list of a thousand grows in seven steps more than one of ten; nothing is made for a viewer.
    assert!(thousand <= ten + 8, "{ten} and {thousand} allocations");
    assert!(ten <= 120, "{ten} allocations");
}

#[test]
fn a_viewer_that_is_shown_nothing_costs_nothing() {
    let mut room = watched_by(1_000);
    let counted = allocation_counter::measure(|| drop(room.handle(Input::Wake, 100, &|_| true)));
    assert!(counted.count_total <= 8, "{} allocations", counted.count_total);
}
