//! When a sink is told, as a plan and as a property.

use super::*;
use proptest::{collection::vec, prelude::*};

fn batch(name: &str) -> BatchId {
    name.parse().unwrap()
}

fn position(version: u64) -> Position {
    Position::new(7, version).unwrap()
}

fn mark(version: u64, ended: bool) -> Mark {
    Mark { position: position(version), ended }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn pace() -> Pace {
    Pace::default()
}

/// A sink of ends whose pauses are as long as they may be.
fn ends() -> Plan {
    Plan::new(Interest::Ends, pace(), || 1.0)
}

/// One batch is marked as ended, and its job begins.
fn begun(plan: &mut Plan, version: u64, now: Duration) {
    assert!(plan.mark(&batch("a"), mark(version, true), now));
    assert_eq!(plan.start_due(now).len(), 1);
}

fn job(told: Option<u64>, mark: Mark) -> Job {
    Job { batch: batch("a"), told: told.map(position), mark }
}

fn delivered(version: u64) -> Outcome {
    Outcome::Delivered { position: position(version), remembered: true }
}

#[test]
fn a_sink_of_ends_is_told_an_end_at_once_and_nothing_else() {
    let mut plan = ends();
    assert!(plan.mark(&batch("a"), mark(1, false), secs(0)));
    assert_eq!((plan.start_due(secs(0)), plan.next_wake()), (vec![], None));
    begun(&mut plan, 2, secs(0));
    assert!(!plan.finish(&batch("a"), delivered(2), secs(1)));
    assert_eq!((plan.backlog(), plan.next_wake()), (0, None));
    assert!(plan.entries.is_empty(), "what is told costs nothing more than its position");
}

#[test]
fn what_is_known_to_be_told_is_not_looked_at_again_and_what_is_newer_is() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    plan.finish(&batch("a"), delivered(2), secs(0));
    assert!(plan.mark(&batch("a"), mark(2, true), secs(1)));
    assert_eq!(plan.start_due(secs(1)), []);
    assert!(plan.mark(&batch("a"), mark(3, true), secs(1)));
    assert_eq!(plan.start_due(secs(1)), [job(Some(2), mark(3, true))]);
}

#[test]
fn a_mark_that_comes_while_a_delivery_is_under_way_is_followed_by_another() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    assert!(plan.mark(&batch("a"), mark(3, true), secs(0)));
    assert_eq!(plan.start_due(secs(0)), [], "one delivery in flight a batch");
    plan.finish(&batch("a"), delivered(2), secs(1));
    assert_eq!(plan.start_due(secs(1)).len(), 1);
}

#[test]
fn changes_are_merged_for_a_while_and_an_end_is_not_held_back() {
    let mut plan = Plan::new(Interest::Changes { every: secs(10) }, pace(), || 1.0);
    assert!(plan.mark(&batch("a"), mark(1, false), secs(0)));
    assert_eq!(plan.start_due(secs(0)).len(), 1);
    plan.finish(&batch("a"), delivered(1), secs(1));
    assert!(plan.mark(&batch("a"), mark(2, false), secs(2)));
    assert_eq!((plan.start_due(secs(9)), plan.next_wake()), (vec![], Some(secs(10))));
    assert!(plan.mark(&batch("a"), mark(3, true), secs(9)));
    assert_eq!(plan.start_due(secs(9)).len(), 1);
    plan.finish(&batch("a"), delivered(3), secs(9));
    assert_eq!((plan.start_due(secs(19)), plan.backlog()), (vec![], 0));
    assert!(plan.entries.is_empty() && plan.due.is_empty());
}

#[test]
fn an_end_that_has_to_be_repeated_waits_for_the_pause_after_failures_alone() {
    let repeated = [
        (Outcome::Failed { after: None }, pace().first_pause),
        (Outcome::Held, LOOK_AGAIN),
        (Outcome::Unready, backoff::pause(1, 1.0)),
        (Outcome::Delivered { position: position(2), remembered: false }, backoff::pause(1, 1.0)),
    ];
    for (outcome, pause) in repeated {
        let mut plan = Plan::new(Interest::Changes { every: secs(3_600) }, pace(), || 1.0);
        begun(&mut plan, 2, secs(0));
        plan.finish(&batch("a"), outcome, secs(0));
        assert_eq!(plan.next_wake(), Some(pause), "{outcome:?}");
        let told = matches!(outcome, Outcome::Delivered { .. }).then_some(2);
        assert_eq!(plan.start_due(pause), [job(told, mark(2, true))], "{outcome:?}");
    }
}

#[test]
fn pauses_double_up_to_the_longest_and_then_the_state_is_given_up() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    let (mut now, mut pauses) = (secs(0), Vec::new());
    while !plan.finish(&batch("a"), Outcome::Failed { after: None }, now) {
        let next = plan.next_wake().unwrap();
        pauses.push((next - now).as_secs());
        now = next;
        assert_eq!(plan.start_due(now).len(), 1);
    }
    assert_eq!(pauses[..9], [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    assert!(now >= pace().give_up_after && now < pace().give_up_after + pace().longest_pause);
    assert_eq!((plan.backlog(), plan.next_wake()), (0, None));
    assert_eq!(pause(&pace(), 1, 0.0), Duration::from_millis(2_500), "jitter takes at most half");
}

#[test]
fn a_pause_that_is_asked_for_holds_for_all_batches_and_for_an_hour_at_most() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    plan.finish(&batch("a"), Outcome::Failed { after: Some(secs(60)) }, secs(0));
    assert!(plan.mark(&batch("b"), mark(1, true), secs(1)));
    assert_eq!((plan.start_due(secs(59)), plan.next_wake()), (vec![], Some(secs(60))));
    let jobs = plan.start_due(secs(60));
    assert_eq!(jobs.len(), 1, "one finds out whether the sink is well again");
    plan.finish(&jobs[0].batch, Outcome::Failed { after: Some(Duration::MAX) }, secs(60));
    assert_eq!(plan.next_wake(), Some(secs(60) + LONGEST_ASKED));
}

#[test]
fn a_sink_that_rests_is_told_one_batch_after_the_other() {
    let mut plan = Plan::new(Interest::Ends, Pace { rest: secs(1), ..pace() }, || 1.0);
    for name in ["a", "b"] {
        assert!(plan.mark(&batch(name), mark(1, true), secs(0)));
    }
    assert_eq!(plan.start_due(secs(0)).len(), 1);
    assert_eq!((plan.start_due(secs(0)), plan.next_wake()), (vec![], Some(secs(1))));
    assert_eq!(plan.start_due(secs(1)).len(), 1);
}

#[test]
fn a_sink_rests_from_what_it_was_sent_and_not_from_looks_that_found_nothing_to_tell() {
    let mut plan = Plan::new(Interest::Ends, Pace { rest: secs(1), ..pace() }, || 1.0);
    for name in ["a", "b", "c", "d", "e"] {
        assert!(plan.mark(&batch(name), mark(1, true), secs(0)));
    }
    for outcome in [Outcome::Known(position(1)), Outcome::Nothing, Outcome::Held, Outcome::Unready] {
        let jobs = plan.start_due(secs(0));
        assert_eq!((jobs.len(), plan.start_due(secs(0))), (1, vec![]), "a look may become a delivery");
        plan.finish(&jobs[0].batch, outcome, secs(0));
    }
    assert_eq!(plan.start_due(secs(0)).len(), 1, "5,000 old ends hold nothing back");
    let later = plan.start_due(secs(1));
    assert_eq!(later.len(), 1);
    plan.finish(&batch("e"), Outcome::Nothing, secs(1));
    assert_eq!(plan.start_due(secs(1)), [], "the rest of a delivery that has begun since stands");
}

#[test]
fn what_redis_did_not_take_in_is_brought_there_and_trouble_of_ours_gives_nothing_up() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    plan.finish(&batch("a"), Outcome::Delivered { position: position(2), remembered: false }, secs(0));
    assert_eq!(plan.start_due(secs(9)), [job(Some(2), mark(2, true))]);
    let later = pace().give_up_after * 2;
    assert!(!plan.finish(&batch("a"), Outcome::Unready, later));
    assert_eq!(plan.start_due(later + secs(9)).len(), 1);
    plan.finish(&batch("a"), Outcome::Known(position(2)), later + secs(9));
    assert_eq!(plan.backlog(), 0);
}

#[test]
fn what_another_worker_tells_is_looked_at_again_soon() {
    let mut plan = ends();
    begun(&mut plan, 2, secs(0));
    plan.finish(&batch("a"), Outcome::Held, secs(0));
    assert_eq!(plan.next_wake(), Some(LOOK_AGAIN));
    assert_eq!(plan.undelivered(), [batch("a")]);
}

#[test]
fn too_many_batches_are_refused_and_those_that_wait_are_kept() {
    let mut plan = ends();
    let name = |number: usize| batch(&format!("b{number}"));
    for number in 0..MAX_WAITING {
        assert!(plan.mark(&name(number), mark(1, true), secs(0)));
    }
    assert!(!plan.mark(&batch("more"), mark(1, true), secs(0)));
    assert!(plan.mark(&name(1), mark(2, true), secs(0)));
    assert_eq!(plan.backlog(), MAX_WAITING);
}

#[test]
fn closing_waits_for_what_rests_and_not_for_a_sink_in_trouble() {
    let mut plan = Plan::new(Interest::Changes { every: secs(10) }, pace(), || 1.0);
    for (name, version) in [("a", 1), ("b", 1)] {
        assert!(plan.mark(&batch(name), mark(version, false), secs(0)));
    }
    assert_eq!(plan.start_due(secs(0)).len(), 2);
    plan.finish(&batch("a"), delivered(1), secs(0));
    plan.finish(&batch("b"), Outcome::Failed { after: None }, secs(0));
    assert!(plan.mark(&batch("a"), mark(2, false), secs(1)));
    plan.hurry(secs(1));
    assert!(!plan.is_at_rest(secs(1)));
    assert_eq!(plan.start_due(secs(1)), [job(Some(1), mark(2, false))]);
    assert!(!plan.is_at_rest(secs(1)));
    plan.finish(&batch("a"), delivered(2), secs(1));
    assert!(plan.is_at_rest(secs(1)));
    assert_eq!(plan.undelivered(), [batch("b")]);
}

/// What may happen to a plan.
#[derive(Debug, Clone)]
enum Step {
    Commit { batch: usize, ended: bool },
    Wait(u64),
    Finish { pick: usize, how: u8 },
    Hurry,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize, any::<bool>()).prop_map(|(batch, ended)| Step::Commit { batch, ended }),
        2 => (0..2_000_u64).prop_map(Step::Wait),
        4 => (0..8_usize, 0..7_u8).prop_map(|(pick, how)| Step::Finish { pick, how }),
        1 => Just(Step::Hurry),
    ]
}

/// The jobs under way, each with the version that was committed when it began.
type Jobs = Vec<(Job, u64)>;

/// Starts what is due; a batch has one job at a time.
fn start(plan: &mut Plan, jobs: &mut Jobs, committed: &[u64; 4], now: Duration) {
    for job in plan.start_due(now) {
        assert!(jobs.iter().all(|(running, _)| running.batch != job.batch), "two deliveries of {}", job.batch);
        let version = committed[usize::from(job.batch.as_str().as_bytes()[0] - b'a')];
        jobs.push((job, version));
    }
    assert!(jobs.len() <= MAX_IN_FLIGHT);
}

proptest! {
    /// Whatever comes: once the sink is well, the last state of each batch is told, unless it was given up, and the
    /// plan is empty.
    #[test]
    fn the_last_state_is_told_whatever_came_before(steps in vec(step(), 0..80), every in 0..3_u64) {
        let names: Vec<BatchId> = ["a", "b", "c", "d"].into_iter().map(batch).collect();
        let mut plan = Plan::new(Interest::Changes { every: secs(every) }, pace(), || 0.5);
        let (mut now, mut jobs, mut committed, mut told) = (secs(0), Jobs::new(), [0_u64; 4], [0_u64; 4]);
        let mut given_up = [0_u64; 4];
        let at = |job: &Job| usize::from(job.batch.as_str().as_bytes()[0] - b'a');
        for step in steps {
            match step {
                Step::Commit { batch, ended } => {
                    committed[batch] += 1;
                    prop_assert!(plan.mark(&names[batch], mark(committed[batch], ended), now));
                }
                Step::Wait(waited) => now += secs(waited),
                Step::Hurry => plan.hurry(now),
                Step::Finish { .. } if jobs.is_empty() => {}
                Step::Finish { pick, how } => {
                    let (job, version) = jobs.swap_remove(pick % jobs.len());
                    let batch = at(&job);
                    let position = position(version);
                    let outcome = match how {
                        0 => Outcome::Failed { after: None },
                        1 => Outcome::Failed { after: Some(secs(90)) },
                        2 => Outcome::Unready,
                        3 => Outcome::Held,
                        4 => Outcome::GaveUp,
                        how => Outcome::Delivered { position, remembered: how == 5 },
                    };
                    if how >= 5 {
                        prop_assert!(version >= told[batch], "an older state after a newer one");
                        told[batch] = version;
                    }
                    if plan.finish(&job.batch, outcome, now) || how == 4 {
                        given_up[batch] = version;
                    }
                }
            }
            start(&mut plan, &mut jobs, &committed, now);
        }
        // Now all is well.
        for _ in 0..1_000 {
            for (job, version) in std::mem::take(&mut jobs) {
                told[at(&job)] = version;
                plan.finish(&job.batch, Outcome::Delivered { position: position(version), remembered: true }, now);
            }
            start(&mut plan, &mut jobs, &committed, now);
            if jobs.is_empty() {
                let Some(next) = plan.next_wake() else { break };
                now = now.max(next);
                start(&mut plan, &mut jobs, &committed, now);
            }
        }
        for batch in 0..4 {
            prop_assert!(told[batch].max(given_up[batch]) == committed[batch], "{told:?} {given_up:?} {committed:?}");
        }
        prop_assert!(plan.entries.is_empty() && plan.due.is_empty() && plan.in_flight == 0);
    }
}
