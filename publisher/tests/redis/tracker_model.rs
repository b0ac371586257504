//! The script beside a plain model of it, one call after the other: the same replies and the same state after each.
//!
//! `TRACK_SEED=N` repeats one run.

use std::collections::BTreeMap;

use batchcast_publisher::{BatchId, BatchState, BatchStatus, Counts, Json, Photo, PhotoId, PhotoStatus, Publisher};
use redis::Script;
use stack::RedisServer;
use wire::{
    StateError,
    script::Call,
    track::{self, Answer, Context, Reply, TRACK_LUA},
};

use crate::states::batch;

/// Numbers from a seed (`SplitMix64`): the same in every version of every library.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, usize::try_from(self.below(last as u64 + 1)).unwrap());
        }
    }
}

/// The seeds of a test: the one of `TRACK_SEED`, or so many new ones. Printed, so that a run can be repeated.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    let given = std::env::var("TRACK_SEED").ok().map(|seed| vec![seed.parse().expect("TRACK_SEED is a number")]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut dice = Dice(u64::try_from(now.as_nanos() % u128::from(u64::MAX)).unwrap());
    let seeds = given.unwrap_or_else(|| (0..count).map(|_| dice.next()).collect());
    println!("TRACK_SEED, one a run: {seeds:?}");
    seeds
}

pub(crate) fn rank(status: PhotoStatus) -> u8 {
    match status {
        PhotoStatus::Queued => 0,
        PhotoStatus::Processing => 1,
        PhotoStatus::Failed => 2,
        PhotoStatus::Completed => 3,
    }
}

pub(crate) fn counts<'a>(statuses: impl IntoIterator<Item = &'a PhotoStatus>) -> Counts {
    let mut counts = Counts::default();
    for status in statuses {
        counts.total += 1;
        *match status {
            PhotoStatus::Queued => &mut counts.queued,
            PhotoStatus::Processing => &mut counts.processing,
            PhotoStatus::Failed => &mut counts.failed,
            PhotoStatus::Completed => &mut counts.completed,
        } += 1;
    }
    counts
}

pub(crate) fn status_of(counts: Counts) -> BatchStatus {
    match counts {
        Counts { total, queued, .. } if queued == total => BatchStatus::Queued,
        Counts { queued, processing, .. } if queued + processing > 0 => BatchStatus::Processing,
        Counts { failed: 0, .. } => BatchStatus::Completed,
        Counts { completed: 0, .. } => BatchStatus::Failed,
        _ => BatchStatus::Partial,
    }
}

#[derive(Debug)]
enum Step {
    Declare(Vec<PhotoId>),
    /// By work that began in this epoch.
    Report(Photo, Option<u64>),
    Cancel,
    Reopen,
}

/// The batch as the rules say, in Rust.
#[derive(Debug, Default)]
struct Model {
    epoch: u64,
    version: u64,
    born: u64,
    status: Option<BatchStatus>,
    photos: BTreeMap<PhotoId, Photo>,
}

impl Model {
    fn step(&mut self, step: &Step, now: u64) -> Reply {
        let ended = self.status.is_some_and(BatchStatus::is_terminal);
        let cancelled = self.status == Some(BatchStatus::Cancelled);
        let time = if self.status.is_some() { now.saturating_sub(self.born) * 1_000 } else { 0 };
        let next = time.max(self.version + 1);
        let is_late = match step {
            Step::Report(photo, Some(began)) if photo.status == PhotoStatus::Failed => {
                (self.born..self.epoch).contains(began)
            }
            _ => false,
        };
        match step {
            Step::Declare(ids) => {
                let new: Vec<_> = ids.iter().filter(|id| !self.photos.contains_key(id)).collect();
                if new.is_empty() {
                    return Reply::Already;
                }
                if cancelled {
                    return Reply::Ended;
                }
                self.photos.extend(new.into_iter().map(|id| (id.clone(), queued(id, next))));
            }
            _ if self.status.is_none() => return Reply::Unknown,
            Step::Report(photo, _) => match self.photos.get_mut(&photo.photo_id) {
                None => return Reply::UnknownPhoto,
                Some(held) if rank(held.status) >= rank(photo.status) => return Reply::Already,
                Some(_) if cancelled => return Reply::Ended,
                Some(_) if is_late => return Reply::Ended,
                Some(held) => {
                    *held = photo.clone();
                    held.version = next;
                }
            },
            Step::Cancel if cancelled => return Reply::Already,
            Step::Cancel if ended => return Reply::Ended,
            Step::Cancel => {}
            Step::Reopen if !ended => return Reply::Already,
            Step::Reopen if self.photos.values().all(|photo| photo.status == PhotoStatus::Completed) => {
                return Reply::Ended;
            }
            Step::Reopen => {
                let open = self.photos.values_mut().filter(|photo| photo.status != PhotoStatus::Completed);
                open.for_each(|photo| *photo = queued(&photo.photo_id.clone(), next));
            }
        }
        if self.status.is_none() {
            self.born = now;
        }
        self.epoch = match self.status {
            None => now,
            Some(_) if ended => now.max(self.epoch + 1),
            Some(_) => self.epoch,
        };
        self.version = next;
        let status = status_of(counts(self.photos.values().map(|photo| &photo.status)));
        self.status = Some(if matches!(step, Step::Cancel) { BatchStatus::Cancelled } else { status });
        Reply::Counted
    }

    /// What a reader is to find; the words for people are left out.
    fn state(&self, id: &BatchId) -> Option<(String, BatchStatus, Counts, Vec<Photo>)> {
        let counts = counts(self.photos.values().map(|photo| &photo.status));
        let position = format!("{id} {}-{}", self.epoch, self.version);
        Some((position, self.status?, counts, self.photos.values().cloned().collect()))
    }
}

fn queued(id: &PhotoId, version: u64) -> Photo {
    Photo::new(id.clone(), PhotoStatus::Queued, version)
}

fn found(state: Option<BatchState>) -> Option<(String, BatchStatus, Counts, Vec<Photo>)> {
    let state = state?;
    let head = state.head();
    let position = format!("{} {}", head.batch_id, head.position);
    Some((position, head.status, head.counts, state.photos().cloned().collect()))
}

/// Reports of six photos more often than all else, of which one or two are mostly not declared yet. Half of them say when
/// their work began: at `epoch`, or some time before.
fn random_step(dice: &mut Dice, epoch: u64) -> Step {
    let id = |n: u64| PhotoId::new(&format!("p{n}")).unwrap();
    match dice.below(20) {
        0 => Step::Cancel,
        1..=2 => Step::Reopen,
        3..=5 => Step::Declare((0..=dice.below(3)).map(|_| id(dice.below(6))).collect()),
        n => {
            let (id, what) = (id(dice.below(6)), dice.below(100));
            let began = (dice.below(2) > 0).then(|| epoch.saturating_sub(dice.below(3) * 20));
            let photo = match n {
                6..=10 => Photo::new(id, PhotoStatus::Processing, 0),
                11..=14 => Photo::new(id, PhotoStatus::Failed, 0).with_error(format!("\"version\":{what}}}")),
                _ => Photo::new(id, PhotoStatus::Completed, 0).with_result(result(what)),
            };
            Step::Report(photo, began)
        }
    }
}

/// One that a careless reader of the photo's JSON would stumble over.
fn result(n: u64) -> Option<Json> {
    Json::new(&serde_json::json!({ "},\"version\":9": n })).ok()
}

fn call(step: &Step, context: Context<'_>) -> Result<Call, StateError> {
    match step {
        Step::Declare(ids) => track::declare(context, 60, None, ids),
        Step::Report(photo, began) => track::photo(context, photo, *began),
        Step::Cancel => track::cancel(context),
        Step::Reopen => track::reopen(context),
    }
}

#[tokio::test]
async fn the_script_and_a_plain_model_of_it_agree_on_any_calls_one_after_the_other() {
    const STEPS: u64 = 60;
    let server = RedisServer::start().await.unwrap();
    let (mut connection, script) = (server.connect().await.unwrap(), Script::new(TRACK_LUA));
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    let (mut replies, mut runs) = (BTreeMap::<String, usize>::new(), 0);
    for seed in seeds(60) {
        let (mut dice, mut model, id) = (Dice(seed), Model::default(), batch(&format!("b{seed}")));
        for number in 0..STEPS {
            // Clocks that go on, and do not agree.
            let (step, now) = (random_step(&mut dice, model.epoch), 1_000 + number + dice.below(50));
            let call = call(&step, Context { prefix: "", batch: &id, cause: now.into(), updated_at: "then" }).unwrap();
            let (word, replaced, head): (String, i64, Vec<u8>) =
                script.key(&call.key).arg(&call.args).invoke_async(&mut connection).await.unwrap();
            let answer = Answer::read(&word, replaced, &head).unwrap();
            let expected = model.step(&step, now);
            let place = format!("seed {seed}, step {number}: {step:?} at {now}");
            assert_eq!(answer.reply, expected, "{place}");
            let state = publisher.cached(&id).await.unwrap();
            assert_eq!(answer.head.as_ref(), state.as_ref().map(BatchState::head), "{place}");
            assert_eq!(found(state), model.state(&id), "{place}");
            *replies.entry(word).or_default() += 1;
        }
        runs += 1;
    }
    println!("{runs} runs of {STEPS} calls, replies: {replies:?}");
}
