//! Any interleaving and repetition of calls by eight workers ends in the same state.
//!
//! `TRACK_SEED=N` repeats the calls of one run; how they interleave is the machine's, and another each time.

use std::{collections::BTreeMap, sync::Arc};

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Json, Outcome, PhotoId, PhotoStatus, Position, Publisher, TrackError,
};
use futures::StreamExt;
use redis::aio::PubSub;
use stack::RedisServer;
use tokio::{sync::Barrier, task::JoinSet};
use wire::Message;

use crate::{
    states::batch,
    tracker_model::{Dice, counts, rank, seeds, status_of},
    within,
};

const WORKERS: u64 = 8;

/// One call. Of one photo the results and reasons are the same, whoever reports them, as those of one job are.
#[derive(Debug, Clone)]
enum Step {
    Declare(Vec<PhotoId>),
    Report(PhotoId, PhotoStatus),
}

/// All that is to be told of a batch, and what has to come of it.
struct Plan {
    steps: Vec<Step>,
    ends: BTreeMap<PhotoId, PhotoStatus>,
}

/// Each photo gets a choice of reports: all, or none, so that some batches stay open. All parts of the batch are declared
/// among the reports, too.
fn plan(dice: &mut Dice) -> Plan {
    let total = 1 + dice.below(24);
    let ids: Vec<PhotoId> = (0..total).map(|n| PhotoId::new(&format!("p{n:02}")).unwrap()).collect();
    let all_end = dice.below(4) > 0;
    let (mut steps, mut ends) = (Vec::new(), BTreeMap::new());
    for id in &ids {
        use PhotoStatus::{Completed, Failed, Processing};
        let mut reports = match dice.below(if all_end { 4 } else { 6 }) {
            0 => vec![Failed],
            1 => vec![Failed, Completed],
            2..=3 => vec![Completed],
            _ => vec![],
        };
        if dice.below(3) > 0 {
            reports.push(Processing);
        }
        let end = reports.iter().copied().max_by_key(|status| rank(*status)).unwrap_or(PhotoStatus::Queued);
        ends.insert(id.clone(), end);
        steps.extend(reports.into_iter().map(|status| Step::Report(id.clone(), status)));
    }
    steps.extend(ids.chunks(7).map(|part| Step::Declare(part.to_vec())));
    Plan { steps, ends }
}

/// Every step is some worker's at least once, and others' as well, in any order. A worker repeats itself, too.
fn shares(plan: &Plan, dice: &mut Dice) -> Vec<Vec<Step>> {
    let mut shares: Vec<Vec<Step>> = vec![Vec::new(); usize::try_from(WORKERS).unwrap()];
    for step in &plan.steps {
        for _ in 0..=dice.below(3) {
            shares[usize::try_from(dice.below(WORKERS)).unwrap()].push(step.clone());
        }
    }
    shares.iter_mut().for_each(|share| dice.shuffle(share));
    shares
}

/// A worker on a connection of its own. What was not declared yet it reports again at its end, as a queue that delivers a
/// job again. Returns how many calls it made and how many counted.
async fn work(publisher: Publisher, id: BatchId, share: Vec<Step>, begin: Arc<Barrier>) -> (usize, usize) {
    let tracker = publisher.tracked(&id);
    begin.wait().await;
    let (mut due, mut calls, mut counted) = (share, 0, 0);
    while !due.is_empty() {
        for step in std::mem::take(&mut due) {
            calls += 1;
            let report = match &step {
                Step::Declare(ids) => {
                    publisher.tracker(&id, ids).await.unwrap();
                    continue;
                }
                Step::Report(photo, status) => {
                    let photo = tracker.photo(photo);
                    match status {
                        PhotoStatus::Completed => photo.completed(Json::new(&"done").ok()).await,
                        PhotoStatus::Failed => photo.failed("not a JPEG").await,
                        _ => photo.started().await,
                    }
                }
            };
            match report {
                Ok(tracked) => counted += usize::from(tracked.outcome == Outcome::Counted),
                Err(TrackError::Unknown(_) | TrackError::UnknownPhoto { .. }) => due.push(step),
                Err(error) => panic!("{step:?}: {error}"),
            }
        }
        tokio::task::yield_now().await;
    }
    (calls, counted)
}

/// What a subscriber saw, up to `end`: greater and greater versions, each message building on the one before, and no count
/// past its total. Returns the number of messages.
async fn followed(messages: PubSub, end: Position) -> usize {
    let (mut stream, mut at, mut seen) = (messages.into_on_message(), None::<Position>, 0);
    while at != Some(end) {
        let payload: Vec<u8> = within("a message", stream.next()).await.unwrap().get_payload().unwrap();
        let Message::Changes(news) = Message::parse(&payload) else {
            panic!("not changes: {}", String::from_utf8_lossy(&payload))
        };
        let (to, before) = (news.head.position, at.map_or(0, Position::version));
        assert!(Some(to) > at && to.version() > before, "{to} after {at:?}");
        let same_epoch = at.is_some_and(|at| at.epoch() == to.epoch());
        assert_eq!(news.from, if same_epoch { before } else { 0 }, "{to} after {at:?}");
        news.head.check().unwrap();
        assert!(news.head.progress() <= 100);
        at = Some(to);
        seen += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_interleaving_and_repetition_by_eight_workers_ends_in_the_same_state() {
    let server = RedisServer::start().await.unwrap();
    let mut publishers = Vec::new();
    for _ in 0..WORKERS {
        publishers.push(Publisher::builder(server.url()).connect().await.unwrap());
    }
    let (mut calls, mut changes, mut ends) = (0, 0, BTreeMap::<String, usize>::new());
    for seed in seeds(40) {
        let mut dice = Dice(seed);
        let (plan, id) = (plan(&mut dice), batch(&format!("b{seed}")));
        let messages = server.messages(&format!("batch:{id}")).await.unwrap();
        let (mut workers, begin) = (JoinSet::new(), Arc::new(Barrier::new(publishers.len())));
        for (publisher, share) in publishers.iter().zip(shares(&plan, &mut dice)) {
            workers.spawn(work(publisher.clone(), id.clone(), share, Arc::clone(&begin)));
        }
        let done = within("all workers", workers.join_all()).await;
        let state = publishers[0].cached(&id).await.unwrap().unwrap();
        assert_same(&state, &plan.ends, seed);
        let counted: usize = done.iter().map(|(_, counted)| counted).sum();
        let seen = followed(messages, state.position()).await;
        let parts = plan.steps.iter().filter(|step| matches!(step, Step::Declare(_))).count();
        assert!(counted <= plan.steps.len() - parts, "seed {seed}: a report counts once, whoever repeats it");
        let declarations = seen - counted;
        assert_eq!(declarations, parts, "seed {seed}: every part counts once, whoever declares it, and however often");
        calls += done.iter().map(|(calls, _)| calls).sum::<usize>();
        changes += seen;
        assert_counts_by_what_it_says(&server, &id, &state).await;
        *ends.entry(format!("{:?}", state.head().status)).or_default() += 1;
    }
    println!("{calls} calls by {WORKERS} workers made {changes} changes; ends: {ends:?}");
}

/// Statuses, counts, status, and what is known of each photo: as the model says, whatever came first.
fn assert_same(state: &BatchState, ends: &BTreeMap<PhotoId, PhotoStatus>, seed: u64) {
    let photos = state.photos().map(|photo| {
        let known = (photo.result.as_ref().map(|result| result.as_str().to_owned()), photo.error.clone());
        (photo.photo_id.clone(), (photo.status, known))
    });
    let expected = ends.iter().map(|(id, status)| {
        let known = match status {
            PhotoStatus::Completed => (Some("\"done\"".to_owned()), None),
            PhotoStatus::Failed => (None, Some("not a JPEG".to_owned())),
            _ => (None, None),
        };
        (id.clone(), (*status, known))
    });
    assert_eq!(photos.collect::<BTreeMap<_, _>>(), expected.collect(), "seed {seed}");
    let (head, expected) = (state.head(), counts(ends.values()));
    assert_eq!((head.counts, head.status), (expected, status_of(expected)), "seed {seed}");
    assert_ne!(head.status, BatchStatus::Cancelled);
}

/// The hash agrees with itself: what the script counts by is what the head says.
async fn assert_counts_by_what_it_says(server: &RedisServer, id: &BatchId, state: &BatchState) {
    let key = format!("batch:progress:{id}");
    let names = ["HMGET", &key, "tracked", "queued", "processing", "completed", "failed"];
    let fields: Vec<String> = server.run(&names).await.unwrap();
    let counts = state.head().counts;
    let mut expected = vec![state.position().to_string()];
    expected.extend([counts.queued, counts.processing, counts.completed, counts.failed].map(|count| count.to_string()));
    assert_eq!(fields, expected);
}
