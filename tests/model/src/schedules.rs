//! The test: random schedules, and those that have failed.

use std::fmt;

use proptest::prelude::*;

use crate::{
    acts::{Act, acts},
    faults::Who,
    trials::{Trial, trials},
    world::World,
};

/// A schedule, what is tried when all is well again, and the seed of all that is random in the world. Printed as the
/// code that runs it again.
struct Plan {
    acts: Vec<Act>,
    trial: Trial,
    seed: u64,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run(&[")?;
        self.acts.iter().try_for_each(|act| writeln!(f, "    {act:?},"))?;
        write!(f, "], Trial::{:?}, {})", self.trial, self.seed)
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    (acts(), trials(), 0..1_000_000_u64).prop_map(|(acts, trial, seed)| Plan { acts, trial, seed })
}

/// Runs a schedule from beginning to end.
fn run(acts: &[Act], trial: Trial, seed: u64) {
    let mut world = World::new(seed);
    acts.iter().for_each(|act| world.act(*act));
    world.recover();
    world.attempt(trial);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_every_viewer_reaches_the_truth(plan in plans()) {
        run(&plan.acts, plan.trial, plan.seed);
    }
}

/// 10,000, unless `PROPTEST_CASES` says otherwise.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

/// Found by the test. A batch is opened again while the publisher's connection to Redis is dead, and a viewer is shown
/// that by the origin. When it returns, all that Redis has is the end of the epoch that is over. To be told that end
/// would be the last thing it hears: by `complete`, or by 204 when it comes back from that.
#[test]
fn the_end_of_an_epoch_that_is_over_ends_no_stream() {
    let mut world = World::new(1);
    let batch = world.app.ids()[0].clone();
    world.app.end(&batch, false, false);
    world.notify(&batch, true);
    world.pass(1_000);
    world.cut_off_redis(Who::Both, 1_000, false);
    world.app.reopen(&batch, false);
    world.notify(&batch, false);
    world.come(batch.clone());
    world.pass(500);
    assert_eq!(world.viewers[0].page.position, Some(world.app.state(&batch).position()), "told by the origin");
    world.pass(500);
    world.crash_object(true);
    world.recover();
}

/// Found by the test. The change for which a batch is invalidated was published before the invalidation, with another
/// one: then there is nothing new to send, but nothing in Redis either.
#[test]
fn what_was_published_before_an_invalidation_is_published_again() {
    let mut world = World::new(1);
    let batch = world.app.ids()[0].clone();
    world.app.shrink(&batch);
    world.notify(&batch, false);
    world.pass(1_000);
    world.publisher_invalidates(&batch);
    world.pass(1_000);
    assert_eq!(world.redis.position(&batch), Some(world.app.state(&batch).position()));
}

/// For a look at one schedule: what `proptest` printed goes in, the story comes out.
#[test]
#[ignore = "prints the story of one schedule"]
fn one_schedule() {
    #[allow(clippy::enum_glob_use)]
    #[allow(unused_imports)]
    use {crate::faults::Who::*, Act::*};
    run(&[], Trial::Commit, 0);
}
