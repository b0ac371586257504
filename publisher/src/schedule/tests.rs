//! When which batch is sent: rules one by one, and properties over random histories.

use super::*;
use proptest::{collection::vec, prelude::*};

const COALESCE: Duration = Duration::from_millis(50);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn batch(name: &str) -> BatchId {
    BatchId::new(name).unwrap()
}

fn schedule() -> Schedule {
    Schedule::new(COALESCE, || 1.0)
}

fn mark(at: u64) -> Mark {
    Mark { cause: at.into(), urgent: false, verify: false }
}

fn delivered(version: u64) -> Outcome {
    Outcome::Delivered { position: Position::new(1, version).unwrap(), ended: false }
}

fn ended(version: u64) -> Outcome {
    Outcome::Delivered { position: Position::new(1, version).unwrap(), ended: true }
}

/// Marks, starts and ends one send of `batch` at `now`.
fn send(schedule: &mut Schedule, id: &BatchId, outcome: Outcome, now: Duration) -> Job {
    schedule.mark(id, mark(7), now);
    let jobs = schedule.start_due(now);
    schedule.finish(id, outcome, now);
    jobs.into_iter().next().expect("a send")
}

#[test]
fn the_first_update_leaves_at_once_and_later_ones_wait_for_the_pause() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, delivered(1), ms(0));
    schedule.mark(&a, mark(8), ms(10));
    schedule.mark(&a, mark(9), ms(20));
    assert_eq!(schedule.start_due(ms(49)), []);
    assert_eq!(schedule.next_wake(), Some(ms(50)));
    let jobs = schedule.start_due(ms(50));
    assert_eq!(jobs, [Job { batch: a, since: Position::new(1, 1).ok(), mark: mark(8) }]);
}

#[test]
fn an_urgent_mark_does_not_wait_for_the_pause() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, delivered(1), ms(0));
    schedule.mark(&a, mark(8), ms(10));
    schedule.mark(&a, Mark { urgent: true, ..mark(12) }, ms(12));
    let jobs = schedule.start_due(ms(12));
    assert_eq!(jobs[0].mark.cause.at, 8);
}

#[test]
fn a_batch_has_one_send_in_flight_and_what_comes_meanwhile_follows_it() {
    let (mut schedule, a) = (schedule(), batch("a"));
    schedule.mark(&a, mark(1), ms(0));
    assert_eq!(schedule.start_due(ms(0)).len(), 1);
    schedule.mark(&a, Mark { urgent: true, ..mark(2) }, ms(1));
    assert_eq!(schedule.start_due(ms(90)), []);
    schedule.finish(&a, delivered(1), ms(100));
    assert_eq!(schedule.start_due(ms(100)).len(), 1);
}

#[test]
fn different_batches_are_sent_together_up_to_a_bound() {
    let mut schedule = schedule();
    for n in 0..20 {
        schedule.mark(&batch(&format!("b{n:02}")), mark(1), ms(0));
    }
    assert_eq!(schedule.start_due(ms(0)).len(), MAX_IN_FLIGHT);
    assert_eq!(schedule.next_wake(), None);
    schedule.finish(&batch("b00"), delivered(1), ms(5));
    assert_eq!(schedule.start_due(ms(5)).len(), 1);
    assert_eq!(schedule.backlog(), 19);
}

#[test]
fn needs_full_is_answered_at_once_with_everything() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, delivered(1), ms(0));
    let job = send(&mut schedule, &a, Outcome::NeedsFull, ms(60));
    assert_eq!(job.since, Position::new(1, 1).ok());
    let jobs = schedule.start_due(ms(60));
    assert_eq!((jobs[0].since, jobs[0].mark.cause.at), (None, 7));
}

#[test]
fn needs_full_after_everything_was_sent_is_a_failure_not_a_loop() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, Outcome::NeedsFull, ms(0));
    assert_eq!(schedule.start_due(ms(0)), []);
    assert_eq!(schedule.next_wake(), Some(ms(100)));
}

#[test]
fn while_redis_is_away_one_send_at_a_time_looks_for_it_with_growing_pauses() {
    let mut schedule = schedule();
    let ids: Vec<BatchId> = (0..5).map(|n| batch(&format!("b{n}"))).collect();
    ids.iter().for_each(|id| schedule.mark(id, mark(1), ms(0)));
    assert_eq!(schedule.start_due(ms(0)).len(), 5);
    ids.iter().for_each(|id| schedule.finish(id, Outcome::Unreachable, ms(1)));
    assert_eq!(schedule.next_wake(), Some(ms(101)), "five failures at once are one");
    let jobs = schedule.start_due(ms(101));
    assert_eq!(jobs.len(), 1);
    schedule.finish(&jobs[0].batch, Outcome::Unreachable, ms(102));
    assert_eq!(schedule.next_wake(), Some(ms(302)));
    let jobs = schedule.start_due(ms(302));
    schedule.finish(&jobs[0].batch, delivered(1), ms(303));
    assert_eq!(schedule.start_due(ms(303)).len(), 4);
    assert_eq!(schedule.undelivered().len(), 4);
}

#[test]
fn a_failing_batch_waits_alone_even_when_it_is_urgent() {
    let (mut schedule, a, b) = (schedule(), batch("a"), batch("b"));
    send(&mut schedule, &a, Outcome::Failed, ms(0));
    schedule.mark(&a, Mark { urgent: true, ..mark(1) }, ms(1));
    schedule.mark(&b, mark(1), ms(1));
    assert_eq!(schedule.start_due(ms(1)).iter().map(|j| j.batch.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(schedule.start_due(ms(100)).len(), 1);
}

#[test]
fn a_state_that_breaks_a_rule_waits_for_the_next_notify() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, Outcome::Refused, ms(0));
    assert_eq!((schedule.start_due(ms(55)), schedule.undelivered()), (vec![], vec![]));
    schedule.mark(&a, mark(2), ms(60));
    assert_eq!(schedule.start_due(ms(60)).len(), 1);
}

#[test]
fn after_a_lost_connection_what_was_sent_in_the_last_minute_is_asked_for_again() {
    let (mut schedule, old, new) = (schedule(), batch("old"), batch("new"));
    send(&mut schedule, &old, delivered(1), ms(0));
    send(&mut schedule, &new, ended(5), ms(30_000));
    schedule.connection_lost(99, ms(61_000));
    let jobs = schedule.start_due(ms(61_000));
    assert_eq!(
        jobs,
        [Job {
            batch: new,
            since: Position::new(1, 5).ok(),
            mark: Mark { cause: 99.into(), urgent: false, verify: true }
        }]
    );
}

#[test]
fn after_a_lost_connection_what_was_sent_last_is_asked_for_however_long_ago() {
    let (mut schedule, older, last) = (schedule(), batch("older"), batch("last"));
    send(&mut schedule, &older, delivered(1), ms(0));
    // It is long forgotten when the connection is lost.
    send(&mut schedule, &last, ended(1), ms(1_000));
    assert_eq!(schedule.start_due(ms(3_000_000)), []);
    schedule.connection_lost(99, ms(3_600_000));
    let asked: Vec<BatchId> = schedule.start_due(ms(3_600_000)).into_iter().map(|job| job.batch).collect();
    assert_eq!(asked, [last]);
}

#[test]
fn a_redis_that_has_lost_writes_is_found_out_once_a_loss_and_only_after_one() {
    let (mut schedule, a, b) = (schedule(), batch("a"), batch("b"));
    send(&mut schedule, &a, delivered(1), ms(0));
    send(&mut schedule, &b, delivered(1), ms(0));
    // An invalidation, say.
    send(&mut schedule, &a, Outcome::NeedsFull, ms(100));
    assert!(!schedule.take_writes_lost());
    send(&mut schedule, &a, delivered(1), ms(200));
    schedule.connection_lost(99, ms(300));
    let away = schedule.start_due(ms(300));
    away.iter().for_each(|job| schedule.finish(&job.batch, Outcome::Unreachable, ms(310)));
    // Redis is back only after two minutes.
    for now in [120_000, 120_001] {
        let jobs = schedule.start_due(ms(now));
        assert!(!jobs.is_empty());
        jobs.iter().for_each(|job| schedule.finish(&job.batch, Outcome::NeedsFull, ms(now)));
    }
    assert!(schedule.take_writes_lost());
    assert!(!schedule.take_writes_lost());
    send(&mut schedule, &a, delivered(2), ms(130_000));
    send(&mut schedule, &a, Outcome::NeedsFull, ms(140_000));
    assert!(!schedule.take_writes_lost());
}

#[test]
fn a_send_that_was_under_way_when_the_connection_was_lost_verifies_nothing() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, delivered(1), ms(0));
    schedule.mark(&a, mark(7), ms(100));
    assert_eq!(schedule.start_due(ms(100)).len(), 1);
    schedule.connection_lost(99, ms(110));
    schedule.finish(&a, delivered(2), ms(120));
    assert_eq!(schedule.start_due(ms(200)).len(), 1);
    schedule.finish(&a, Outcome::NeedsFull, ms(210));
    assert!(schedule.take_writes_lost());
}

/// A cluster's masters may change for an hour, one a second.
#[test]
fn what_is_verified_again_and_again_and_not_lost_is_forgotten_as_ever() {
    let (mut schedule, open, over, last) = (schedule(), batch("open"), batch("over"), batch("last"));
    send(&mut schedule, &open, delivered(1), ms(500));
    send(&mut schedule, &over, ended(1), ms(500));
    send(&mut schedule, &last, ended(1), ms(1_500));
    for second in 2..=120 {
        let now = ms(second * 1_000);
        assert_eq!(schedule.start_due(now), []);
        schedule.connection_lost(99, now);
        let jobs = schedule.start_due(now);
        let asked = |id: &BatchId| jobs.iter().any(|job| job.batch == *id);
        assert_eq!((asked(&open), asked(&over)), (second <= 60, second <= 60), "after {second} s");
        assert!(asked(&last), "it tells whether Redis was set back");
        schedule.finish(&last, ended(1), now);
        schedule.finish(&open, delivered(1), now);
        schedule.finish(&over, ended(1), now);
    }
    schedule.start_due(ms(180_000));
    assert_eq!(schedule.entries.keys().collect::<Vec<_>>(), [&open], "an open batch is not forgotten");
}

#[test]
fn an_ended_batch_is_forgotten_after_a_minute_and_an_unknown_one_after_the_pause() {
    let (mut schedule, a, b) = (schedule(), batch("a"), batch("b"));
    send(&mut schedule, &a, ended(5), ms(0));
    assert_eq!(schedule.next_wake(), Some(ms(60_000)));
    send(&mut schedule, &b, Outcome::Forget, ms(0));
    schedule.start_due(ms(50));
    assert_eq!(schedule.entries.len(), 1);
    schedule.start_due(ms(60_000));
    assert!(schedule.entries.is_empty() && schedule.fading.is_empty());
}

#[test]
fn a_re_opened_batch_is_not_forgotten() {
    let (mut schedule, a) = (schedule(), batch("a"));
    send(&mut schedule, &a, ended(5), ms(0));
    send(&mut schedule, &a, delivered(6), ms(1_000));
    schedule.start_due(ms(70_000));
    assert_eq!(schedule.entries.len(), 1);
}

#[test]
fn closing_ends_the_coalescing_pause_but_not_the_one_after_a_failure() {
    let (mut schedule, a, b) = (schedule(), batch("a"), batch("b"));
    send(&mut schedule, &a, delivered(1), ms(0));
    send(&mut schedule, &b, Outcome::Failed, ms(0));
    schedule.mark(&a, mark(1), ms(1));
    schedule.hurry(ms(2));
    assert_eq!(schedule.start_due(ms(2)).iter().map(|j| j.batch.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(schedule.start_due(ms(100)).len(), 1);
}

#[test]
fn what_is_being_sent_while_the_connection_is_lost_is_asked_for_again_too() {
    let (mut schedule, a) = (schedule(), batch("a"));
    schedule.mark(&a, mark(1), ms(0));
    schedule.start_due(ms(0));
    schedule.connection_lost(9, ms(1));
    schedule.finish(&a, delivered(1), ms(2));
    let jobs = schedule.start_due(ms(50));
    assert!(jobs[0].mark.verify);
}

/// One thing that happens, `after` milliseconds after the last.
#[derive(Debug, Clone)]
struct Event {
    after: u64,
    batch: usize,
    urgent: bool,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Notify,
    Finish(u8),
    Lost,
}

fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![4 => Just(What::Notify), 4 => (0..7_u8).prop_map(What::Finish), 1 => Just(What::Lost)];
    (0..40_u64, 0..3_usize, prop::bool::weighted(0.1), what).prop_map(|(after, batch, urgent, what)| Event {
        after,
        batch,
        urgent,
        what,
    })
}

fn outcome(kind: u8, version: u64) -> Outcome {
    match kind {
        0 => delivered(version),
        1 => ended(version),
        2 => Outcome::Unchanged,
        3 => Outcome::NeedsFull,
        4 => Outcome::Failed,
        5 => Outcome::Unreachable,
        _ => Outcome::Forget,
    }
}

/// What an observer sees of one batch.
#[derive(Default)]
struct Seen {
    notified: bool,
    running: bool,
    last_start: Option<Duration>,
    /// The next send may begin within the pause: an urgent mark or `needs-full` came after the last began.
    exempt: bool,
}

proptest! {
    /// However sends end and whatever is lost: a notify is never forgotten, a batch never has two sends in flight, and
    /// without an urgent mark its sends begin at least the pause apart.
    #[test]
    fn each_notify_is_followed_by_a_send_and_sends_keep_their_distance(events in vec(event(), 1..200)) {
        let mut schedule = schedule();
        let ids: Vec<BatchId> = (0..3).map(|n| batch(&format!("b{n}"))).collect();
        let mut seen: Vec<Seen> = ids.iter().map(|_| Seen::default()).collect();
        let mut now = Duration::ZERO;
        for (version, event) in (1_u64..).zip(events) {
            now += ms(event.after);
            let watched = &mut seen[event.batch];
            match event.what {
                What::Notify => {
                    schedule.mark(&ids[event.batch], Mark { urgent: event.urgent, ..mark(version) }, now);
                    watched.notified = true;
                    watched.exempt |= event.urgent;
                }
                What::Finish(kind) if watched.running => {
                    let outcome = outcome(kind, version);
                    schedule.finish(&ids[event.batch], outcome, now);
                    watched.running = false;
                    watched.exempt |= outcome == Outcome::NeedsFull;
                    watched.notified |= matches!(outcome, Outcome::Failed | Outcome::Unreachable | Outcome::NeedsFull);
                }
                What::Finish(_) => {}
                What::Lost => schedule.connection_lost(version, now),
            }
            for job in schedule.start_due(now) {
                let watched = &mut seen[ids.iter().position(|id| *id == job.batch).unwrap()];
                prop_assert!(!watched.running);
                let rested = watched.last_start.is_none_or(|last| now >= last + COALESCE);
                prop_assert!(rested || watched.exempt);
                *watched = Seen { running: true, last_start: Some(now), exempt: job.mark.urgent, notified: false };
            }
        }
        // From here on all goes well: whatever was notified is sent.
        for version in 1_000..1_020 {
            for (id, watched) in ids.iter().zip(&mut seen) {
                if std::mem::take(&mut watched.running) {
                    schedule.finish(id, delivered(version), now);
                }
            }
            now += Duration::from_secs(6);
            for job in schedule.start_due(now) {
                let watched = &mut seen[ids.iter().position(|id| *id == job.batch).unwrap()];
                (watched.running, watched.notified) = (true, false);
            }
        }
        prop_assert!(seen.iter().all(|s| !s.notified));
        prop_assert_eq!(schedule.undelivered(), vec![]);
    }
}
