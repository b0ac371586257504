//! Counting without a database: each rule, on a real Redis.

use std::time::Duration;

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, EditError, Json, Outcome, PhotoId, PhotoStatus, PublishError, Published,
    Publisher, TrackError, Tracked, Tracker,
};
use futures::StreamExt;
use stack::RedisServer;
use wire::Message;

use crate::{
    source::Memory,
    states::{EPOCH, batch, changes, state},
    within,
};

pub(crate) fn ids(names: &[&str]) -> Vec<PhotoId> {
    names.iter().map(|name| PhotoId::new(name).unwrap()).collect()
}

pub(crate) fn id(name: &str) -> PhotoId {
    PhotoId::new(name).unwrap()
}

pub(crate) async fn connect(server: &RedisServer) -> Publisher {
    Publisher::builder(server.url()).connect().await.unwrap()
}

/// A server, and a batch `a` with photos `1`, `2`, `3`.
pub(crate) async fn three() -> (RedisServer, Publisher, Tracker) {
    let server = RedisServer::start().await.unwrap();
    let publisher = connect(&server).await;
    let tracker = publisher.tracker(&batch("a"), &ids(&["1", "2", "3"])).await.unwrap();
    (server, publisher, tracker)
}

/// What it did, status, and the counts in their order.
fn shown(tracked: &Tracked) -> (Outcome, BatchStatus, [u32; 4]) {
    let counts = tracked.head.counts;
    let counts = [counts.queued, counts.processing, counts.completed, counts.failed];
    (tracked.outcome, tracked.head.status, counts)
}

fn version(tracked: &Tracked) -> u64 {
    tracked.head.position.version()
}

pub(crate) async fn held(publisher: &Publisher, id: &BatchId) -> BatchState {
    publisher.cached(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_photo_only_rises_and_a_repeated_report_changes_nothing() {
    use BatchStatus::{Completed, Partial, Processing};
    use Outcome::{Already, Counted};
    let (server, publisher, tracker) = three().await;
    assert_eq!(held(&publisher, &batch("a")).await.head().status, BatchStatus::Queued);
    let (one, two, three) = (id("1"), id("2"), id("3"));
    let [one, two, three] = [&one, &two, &three].map(|id| tracker.photo(id));
    let reports = [
        one.started().await.unwrap(),
        one.started().await.unwrap(),
        one.failed("first").await.unwrap(),
        one.failed("second").await.unwrap(),
        one.started().await.unwrap(),
        two.completed(Json::new(&"two").ok()).await.unwrap(),
        two.failed("late").await.unwrap(),
    ];
    let expected = [
        (Counted, Processing, [2, 1, 0, 0]),
        (Already, Processing, [2, 1, 0, 0]),
        (Counted, Processing, [2, 0, 0, 1]),
        (Already, Processing, [2, 0, 0, 1]),
        (Already, Processing, [2, 0, 0, 1]),
        (Counted, Processing, [1, 0, 1, 1]),
        (Already, Processing, [1, 0, 1, 1]),
    ];
    assert_eq!(reports.each_ref().map(shown), expected);
    let mut stood = 1;
    for report in &reports {
        assert_eq!(version(report) > stood, report.outcome == Counted, "{report:?} after {stood}");
        stood = version(report);
    }
    let before = held(&publisher, &batch("a")).await;
    assert_eq!((before.head().progress(), before.position().version()), (66, stood));
    let last = three.completed(None).await.unwrap();
    assert_eq!((shown(&last), last.ended_it()), ((Counted, Partial, [0, 0, 2, 1]), true));
    assert!(!three.completed(None).await.unwrap().ended_it());

    // The retry of a photo that had failed succeeds after the end: a new end, in a new epoch.
    let retried = one.completed(Json::new(&1).ok()).await.unwrap();
    assert_eq!(shown(&retried), (Counted, Completed, [0, 0, 3, 0]));
    assert!(retried.head.position.epoch() > before.position().epoch());
    let state = held(&publisher, &batch("a")).await;
    assert_eq!(*state.head(), retried.head);
    let photos: Vec<_> = state.photos().map(|p| (p.status, p.version, p.result.clone(), p.error.clone())).collect();
    let done = PhotoStatus::Completed;
    let expected = [
        (done, version(&retried), Json::new(&1).ok(), None),
        (done, stood, Json::new(&"two").ok(), None),
        (done, version(&last), None, None),
    ];
    assert_eq!(photos, expected);
    let fields: Vec<String> = server.run(&["HMGET", "batch:progress:a", "completed", "failed", "ended"]).await.unwrap();
    assert_eq!(fields, ["3", "0", "1"]);
}

#[tokio::test]
async fn what_the_script_writes_is_byte_for_byte_what_the_library_would() {
    let (server, publisher, tracker) = three().await;
    let mut messages = server.messages("batch:a").await.unwrap().into_on_message();
    let reason = "a \"quote\", a \\, a\nline, é";
    let first = tracker.photo(&id("1"));
    let first = first.completed(Json::new(&serde_json::json!({"a": [1, "}"]})).ok()).await.unwrap();
    let failed = tracker.photo(&id("2")).failed(reason).await.unwrap();
    let state = held(&publisher, &batch("a")).await;
    let fields: Vec<String> =
        server.run(&["HMGET", "batch:progress:a", "head", "photo:1", "photo:2", "photo:3"]).await.unwrap();
    let mut expected = vec![state.head().to_json()];
    expected.extend(state.photos().map(|photo| photo.to_json().unwrap()));
    assert_eq!(fields, expected);
    assert_eq!(state.photos().nth(1).and_then(|photo| photo.error.as_deref()), Some(reason));

    within("the first", messages.next()).await.unwrap();
    let second: String = within("the second", messages.next()).await.unwrap().get_payload().unwrap();
    let Message::Changes(news) = Message::parse(second.as_bytes()) else { panic!("not changes: {second}") };
    assert_eq!((news.from, &news.head), (version(&first), &failed.head));
    let cause = news.cause;
    assert_eq!(second, wire::message::changes(&news.into_changes().unwrap(), cause));
}

#[tokio::test]
async fn a_declaration_may_be_repeated_and_adds_what_is_new() {
    let (_server, publisher, tracker) = three().await;
    let declare = async |names: &[&str]| publisher.tracker(&batch("a"), &ids(names)).await;
    let total = async || held(&publisher, &batch("a")).await.head().counts.total;
    declare(&["3", "1", "2", "1"]).await.unwrap();
    assert_eq!(held(&publisher, &batch("a")).await.position().version(), 1);
    declare(&["4", "4", "1"]).await.unwrap();
    assert_eq!(total().await, 4);
    assert!(held(&publisher, &batch("a")).await.position().version() > 1);
    for name in ["1", "2", "3", "4"] {
        tracker.photo(&id(name)).completed(None).await.unwrap();
    }
    let ended = held(&publisher, &batch("a")).await;
    declare(&["1", "4"]).await.unwrap();
    assert_eq!(held(&publisher, &batch("a")).await, ended, "nothing new opens nothing");
    declare(&["5"]).await.unwrap();
    let open = held(&publisher, &batch("a")).await;
    assert_eq!((open.head().status, open.head().progress(), total().await), (BatchStatus::Processing, 80, 5));
    assert!(open.position().epoch() > ended.position().epoch());

    assert!(matches!(declare(&[]).await, Err(TrackError::NoPhotos)));
    tracker.cancel().await.unwrap();
    declare(&["1"]).await.unwrap();
    assert!(matches!(declare(&["6"]).await, Err(TrackError::Cancelled(_))));
}

#[tokio::test]
async fn a_cancelled_batch_stays_as_it_is_until_it_is_opened_again() {
    let (_server, publisher, tracker) = three().await;
    assert_eq!(tracker.reopen().await.unwrap().outcome, Outcome::Already);
    tracker.photo(&id("1")).completed(None).await.unwrap();
    tracker.photo(&id("2")).started().await.unwrap();
    let cancelled = tracker.cancel().await.unwrap();
    assert_eq!((cancelled.head.status, cancelled.ended_it()), (BatchStatus::Cancelled, true));
    assert_eq!(tracker.cancel().await.unwrap().outcome, Outcome::Already);
    assert_eq!(tracker.photo(&id("2")).completed(None).await.unwrap().outcome, Outcome::Ended);
    assert_eq!(tracker.photo(&id("1")).completed(None).await.unwrap().outcome, Outcome::Already);
    assert_eq!(*held(&publisher, &batch("a")).await.head(), cancelled.head);

    let open = tracker.reopen().await.unwrap();
    assert_eq!(shown(&open), (Outcome::Counted, BatchStatus::Processing, [2, 0, 1, 0]));
    assert!(open.head.position.epoch() > cancelled.head.position.epoch());
    for name in ["2", "3"] {
        tracker.photo(&id(name)).completed(None).await.unwrap();
    }
    assert_eq!(held(&publisher, &batch("a")).await.head().status, BatchStatus::Completed);
    assert_eq!(tracker.reopen().await.unwrap().outcome, Outcome::Ended);
    assert_eq!(tracker.cancel().await.unwrap().outcome, Outcome::Ended);
}

#[tokio::test]
async fn work_from_before_a_reopen_completes_a_photo_and_does_not_fail_it() {
    let (_server, publisher, tracker) = three().await;
    let (one, two) = (id("1"), id("2"));
    let (one, two) = (tracker.photo(&one), tracker.photo(&two));
    for photo in [&one, &two] {
        photo.started().await.unwrap();
    }
    tracker.cancel().await.unwrap();
    let open = tracker.reopen().await.unwrap().head;
    let late = one.clone().failed("late").await.unwrap();
    assert_eq!((late.outcome, &late.head), (Outcome::Ended, &open));
    assert_eq!(*held(&publisher, &batch("a")).await.head(), open);
    let counted = (Outcome::Counted, BatchStatus::Processing, [2, 0, 1, 0]);
    assert_eq!(shown(&two.completed(None).await.unwrap()), counted);

    // Work of the new epoch fails it, and work of which nothing is known.
    one.started().await.unwrap();
    assert_eq!(one.failed("not a JPEG").await.unwrap().outcome, Outcome::Counted);
    assert_eq!(one.failed("not a JPEG").await.unwrap().outcome, Outcome::Already);
    assert_eq!(tracker.photo(&id("3")).failed("not a JPEG").await.unwrap().outcome, Outcome::Counted);
}

#[tokio::test]
async fn the_librarys_cancel_and_reopen_keep_a_tracked_batch_tracked() {
    let (_server, publisher, tracker) = three().await;
    assert!(matches!(publisher.reopen(&batch("a")).await, Err(EditError::Open(BatchStatus::Queued))));
    assert_eq!(publisher.cancel(&batch("a")).await.unwrap().head().status, BatchStatus::Cancelled);
    assert!(matches!(publisher.cancel(&batch("a")).await, Err(EditError::Ended(BatchStatus::Cancelled))));
    assert_eq!(publisher.reopen(&batch("a")).await.unwrap().head().status, BatchStatus::Queued);
    for name in ["1", "2", "3"] {
        assert_eq!(tracker.photo(&id(name)).completed(None).await.unwrap().outcome, Outcome::Counted);
    }
    assert!(matches!(publisher.reopen(&batch("a")).await, Err(EditError::NothingFailed)));
}

#[tokio::test]
async fn what_is_not_tracked_is_refused_in_words() {
    let (server, publisher, tracker) = three().await;
    let photo =
        async |id: &BatchId, name: &str| publisher.tracked(id).photo(&PhotoId::new(name).unwrap()).started().await;
    let unknown = photo(&batch("b"), "1").await.unwrap_err();
    assert!(matches!(&unknown, TrackError::Unknown(id) if *id == batch("b")), "{unknown}");
    let undeclared = photo(&batch("a"), "9").await.unwrap_err();
    assert!(undeclared.to_string().starts_with("no photo 9 was declared in the batch a:"), "{undeclared}");

    // Published by another, before or since.
    publisher.publish(changes(&state(&batch("b"), EPOCH, 1, 2), None)).await.unwrap();
    assert!(matches!(photo(&batch("b"), "1").await, Err(TrackError::Untracked(_))));
    assert!(matches!(publisher.tracker(&batch("b"), &ids(&["1"])).await, Err(TrackError::Untracked(_))));
    let head = held(&publisher, &batch("a")).await.head().clone();
    let next = state(&batch("a"), head.position.epoch(), 2, 3);
    assert_eq!(publisher.publish(changes(&next, Some(1))).await.unwrap(), Published::Applied);
    assert!(matches!(tracker.cancel().await, Err(TrackError::Untracked(_))));

    // What is no batch is replaced, and counted.
    server.run::<()>(&["SET", "batch:progress:c", "x"]).await.unwrap();
    assert!(matches!(photo(&batch("c"), "1").await, Err(TrackError::Untracked(_))));
    publisher.tracker(&batch("c"), &ids(&["1"])).await.unwrap();
    assert_eq!(publisher.metrics().replaced, 1);

    let with_source = Publisher::builder(server.url()).source(Memory::default()).connect().await.unwrap();
    assert!(matches!(with_source.tracker(&batch("d"), &ids(&["1"])).await, Err(TrackError::Source)));
    assert!(matches!(with_source.tracked(&batch("a")).cancel().await, Err(TrackError::Source)));
}

#[tokio::test]
async fn nothing_in_a_hash_that_is_no_batch_is_believed() {
    let server = RedisServer::start().await.unwrap();
    let publisher = connect(&server).await;
    let foreign = ["HSET", "batch:progress:a", "status", "running", "completed", "5", "failed", "many", "head", "x"];
    server.run::<i64>(&foreign).await.unwrap();
    let tracker = publisher.tracker(&batch("a"), &ids(&["1"])).await.unwrap();
    assert_eq!(publisher.metrics().replaced, 1);
    let end = tracker.photo(&id("1")).completed(None).await.unwrap();
    assert_eq!((end.head.status, end.head.counts.total), (BatchStatus::Completed, 1));
}

#[tokio::test]
async fn a_time_to_live_for_ever_is_a_long_one() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).state_ttl(Duration::MAX).connect().await.unwrap();
    publisher.tracker(&batch("a"), &ids(&["1"])).ttl(Duration::MAX).await.unwrap();
    publisher.publish(changes(&state(&batch("b"), EPOCH, 1, 2), None)).await.unwrap();
    for key in ["batch:progress:a", "batch:progress:b"] {
        assert!(server.run::<i64>(&["TTL", key]).await.unwrap() > 3_000_000_000, "{key}");
    }
}

#[tokio::test]
async fn a_result_is_redacted_and_one_too_large_is_refused_and_can_be_left_out() {
    let server = RedisServer::start().await.unwrap();
    let hide = |photo: &mut batchcast_publisher::Photo| photo.error = photo.error.take().map(|_| "hidden".into());
    let publisher = Publisher::builder(server.url()).redact(hide).connect().await.unwrap();
    let names: Vec<PhotoId> = (0..1_100).map(|n| id(&format!("p{n:04}"))).collect();
    let tracker = publisher.tracker(&batch("a"), &names).await.unwrap();
    tracker.photo(&names[0]).failed("/home/ada/b.jpg").await.unwrap();
    assert_eq!(held(&publisher, &batch("a")).await.photos().next().unwrap().error.as_deref(), Some("hidden"));

    let large = tracker.photo(&names[1]).completed(Json::new(&"x".repeat(5_000)).ok()).await;
    assert!(matches!(large, Err(TrackError::Publish(PublishError::Invalid(_)))), "{large:?}");
    let mut refused = 0;
    for name in &names {
        let photo = tracker.photo(name);
        match photo.completed(Json::new(&"x".repeat(3_950)).ok()).await {
            Err(TrackError::TooLarge) => {
                refused += 1;
                photo.completed(None).await.unwrap();
            }
            counted => assert_eq!(counted.unwrap().outcome, Outcome::Counted),
        }
    }
    let state = held(&publisher, &batch("a")).await;
    assert_eq!((state.head().status, refused > 0), (BatchStatus::Completed, true), "{refused}");
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_declared_in_one_call_and_opened_again() {
    let server = RedisServer::start().await.unwrap();
    let publisher = connect(&server).await;
    let mut messages = server.messages("batch:a").await.unwrap().into_on_message();
    let names: Vec<PhotoId> = (0..10_000).map(|n| id(&format!("{n:064}"))).collect();
    let tracker = publisher.tracker(&batch("a"), &names).await.unwrap();
    let message: Vec<u8> = within("the message", messages.next()).await.unwrap().get_payload().unwrap();
    let Message::Changes(nudge) = Message::parse(&message) else { panic!("not changes") };
    assert_eq!((nudge.photos, nudge.head.counts.total), (None, 10_000));
    publisher.tracker(&batch("a"), &names).await.unwrap();
    let further = publisher.tracker(&batch("a"), &ids(&["one-more"])).await;
    assert!(matches!(further, Err(TrackError::TooMany)), "{further:?}");
    tracker.photo(&names[9_999]).completed(None).await.unwrap();
    tracker.cancel().await.unwrap();
    tracker.reopen().await.unwrap();
    let state = held(&publisher, &batch("a")).await;
    assert_eq!((state.photos().len(), state.head().counts.queued), (10_000, 9_999));
}

#[tokio::test]
async fn other_readers_see_it_owner_and_time_to_live_are_kept_and_a_watch_ends() {
    let server = RedisServer::start().await.unwrap();
    let (here, there) = (connect(&server).await, connect(&server).await);
    let mut states = there.watch(&batch("a"));
    let declare = here.tracker(&batch("a"), &ids(&["1", "2"])).owner("anna".to_owned()).ttl(Duration::from_secs(500));
    declare.await.unwrap();
    assert_eq!(within("a state", states.next()).await.unwrap().head().counts.queued, 2);
    let remote = there.tracked(&batch("a"));
    server.run::<()>(&["PERSIST", "batch:progress:a"]).await.unwrap();
    remote.photo(&id("1")).started().await.unwrap();
    let ttl: u64 = server.run(&["TTL", "batch:progress:a"]).await.unwrap();
    assert!((400..=500).contains(&ttl), "{ttl}");
    for name in ["1", "2"] {
        remote.photo(&id(name)).completed(None).await.unwrap();
    }
    let all: Vec<BatchState> = within("the end", states.collect()).await;
    assert_eq!(all.last(), Some(&held(&here, &batch("a")).await));
    assert_eq!(server.run::<Vec<String>>(&["HMGET", "batch:progress:a", "owner"]).await.unwrap(), ["anna"]);
}
