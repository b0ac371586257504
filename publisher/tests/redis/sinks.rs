//! Sinks: told at least once, never an older state after a newer one, by whichever worker and after whichever restart.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use batchcast_publisher::{
    BatchId, Event, Interest, Pace, PhotoId, Position, PublishError, Publisher, Sink, Undelivered,
};
use stack::{GUARD, RedisServer};

use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, changes, position, state},
};

mod given_up;
#[cfg(all(feature = "webhook", feature = "slack"))]
mod http;
mod remembered;

#[tokio::test]
async fn the_end_of_a_tracked_batch_is_told_once() {
    let server = RedisServer::start().await.unwrap();
    let recorder = Recorder::default();
    let publisher = Publisher::builder(server.url()).sink(recorder.clone()).connect().await.unwrap();
    let photo = PhotoId::new("a").unwrap();
    let tracker = publisher.tracker(&batch("t"), [&photo]).await.unwrap();
    let end = tracker.photo(&photo).completed(None).await.unwrap();
    recorder.is_told(end.head.position).await;
    let again = tracker.photo(&photo).completed(None).await.unwrap();
    assert_eq!(again.head.position, end.head.position);
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(recorder.positions(), [end.head.position]);
}

/// Pauses for tests: short.
pub(crate) fn quick() -> Pace {
    let mut pace = Pace::default();
    (pace.within, pace.first_pause) = (Duration::from_millis(300), Duration::from_millis(10));
    (pace.longest_pause, pace.rest) = (Duration::from_millis(50), Duration::ZERO);
    pace
}

/// A sink that keeps what it was told, takes its time for it, and fails as often as it is told to.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    told: Arc<Mutex<Vec<(String, Position)>>>,
    failures: Arc<Mutex<u32>>,
    takes: Duration,
    every: Option<Duration>,
}

impl Recorder {
    pub(crate) fn told(&self) -> Vec<(String, Position)> {
        self.told.lock().unwrap().clone()
    }

    fn positions(&self) -> Vec<Position> {
        self.told().into_iter().map(|(_, position)| position).collect()
    }

    fn fail(&self, times: u32) {
        *self.failures.lock().unwrap() = times;
    }

    pub(crate) async fn is_told(&self, expected: Position) {
        let told = async || self.positions().contains(&expected).then_some(());
        eventually("the sink is told", told).await;
    }
}

impl Sink for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn interest(&self) -> Interest {
        self.every.map_or(Interest::Ends, |every| Interest::Changes { every })
    }

    fn pace(&self) -> Pace {
        quick()
    }

    async fn deliver(&self, event: &Event) -> Result<(), Undelivered> {
        tokio::time::sleep(self.takes).await;
        let mut failures = self.failures.lock().unwrap();
        if let Some(left) = failures.checked_sub(1) {
            *failures = left;
            return Err(Undelivered::again("not today"));
        }
        self.told.lock().unwrap().push((event.id().to_owned(), event.position()));
        Ok(())
    }
}

async fn publisher(server: &RedisServer, source: &Memory, sink: &Recorder) -> Publisher {
    Publisher::builder(server.url()).source(source.clone()).sink(sink.clone()).connect().await.unwrap()
}

/// Commits a state and tells the publisher.
fn commit(source: &Memory, publisher: &Publisher, id: &BatchId, version: u64, total: u32) {
    source.commit(state(id, EPOCH, version, total));
    publisher.notify(id);
}

#[tokio::test]
async fn an_end_is_told_once_by_an_id_that_names_its_position() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    let publisher = publisher(&server, &source, &sink).await;
    commit(&source, &publisher, &id, 1, 2);
    eventually("it is published", async || publisher.cached(&id).await.unwrap()).await;
    commit(&source, &publisher, &id, 2, 2);
    sink.is_told(position(EPOCH, 2)).await;
    publisher.resync().await.unwrap();
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(sink.told(), [(format!("a:{EPOCH}-2"), position(EPOCH, 2))]);
    let metrics = &publisher.sink_metrics()[0];
    assert_eq!((metrics.sink.as_str(), metrics.delivered, metrics.backlog), ("recorder", 1, 0));
}

#[tokio::test]
async fn a_batch_that_is_opened_again_ends_again() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    let publisher = publisher(&server, &source, &sink).await;
    commit(&source, &publisher, &id, 2, 2);
    sink.is_told(position(EPOCH, 2)).await;
    source.commit(state(&id, EPOCH + 1, 3, 4));
    publisher.publish_latest(&id).await.unwrap();
    source.commit(state(&id, EPOCH + 1, 4, 4));
    publisher.notify_final(&id);
    sink.is_told(position(EPOCH + 1, 4)).await;
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(sink.positions(), [position(EPOCH, 2), position(EPOCH + 1, 4)]);
}

#[tokio::test]
async fn an_end_that_was_not_told_before_a_crash_is_told_after_it_and_one_that_was_is_not() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    // A sink of its own: what is under way when it is dropped may still reach it.
    let failing = Recorder::default();
    failing.fail(u32::MAX);
    let crashed = publisher(&server, &source, &failing).await;
    commit(&source, &crashed, &id, 2, 2);
    eventually("it was tried", async || (crashed.sink_metrics()[0].failed > 0).then_some(())).await;
    drop(crashed);

    let restarted = publisher(&server, &source, &sink).await;
    restarted.resync().await.unwrap();
    sink.is_told(position(EPOCH, 2)).await;
    assert_eq!((restarted.close(GUARD).await, failing.told()), (vec![], vec![]));

    let again = publisher(&server, &source, &sink).await;
    again.resync().await.unwrap();
    eventually("it was looked at", async || (again.sink_metrics()[0].known == 1).then_some(())).await;
    assert_eq!((sink.told().len(), again.sink_metrics()[0].delivered), (1, 0));
    let ttl = server.run::<i64>(&["TTL", "batch:sink:recorder:a"]).await.unwrap();
    assert!(ttl > 24 * 60 * 60, "it is remembered as long as resync looks back: {ttl}");
    assert_eq!(server.run::<i64>(&["EXISTS", "batch:lease:recorder:a"]).await.unwrap(), 0, "the lease is given back");
}

#[tokio::test]
async fn of_two_workers_one_tells() {
    let server = RedisServer::start().await.unwrap();
    let source = Memory::default();
    let sink = Recorder { takes: Duration::from_millis(50), ..Recorder::default() };
    let workers = [publisher(&server, &source, &sink).await, publisher(&server, &source, &sink).await];
    for name in ["a", "b", "c"] {
        source.commit(state(&batch(name), EPOCH, 2, 2));
        workers.iter().for_each(|worker| worker.notify_final(&batch(name)));
    }
    let counted = async || {
        let counts = workers.each_ref().map(|worker| worker.sink_metrics()[0].clone());
        (counts.iter().map(|c| c.delivered + c.known).sum::<u64>() == 6).then_some(counts)
    };
    let counts = eventually("both have looked at all", counted).await;
    assert_eq!((sink.told().len(), counts.iter().map(|c| c.delivered).sum::<u64>()), (3, 3));
}

#[tokio::test]
async fn an_older_state_never_comes_after_a_newer_one_whoever_tells() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let sink = Recorder { takes: Duration::from_millis(5), every: Some(Duration::ZERO), ..Recorder::default() };
    let workers = [publisher(&server, &source, &sink).await, publisher(&server, &source, &sink).await];
    for version in 1..=40 {
        if version % 7 == 0 {
            sink.fail(2);
        }
        source.commit(state(&id, EPOCH, version, 40));
        workers.iter().for_each(|worker| worker.notify(&id));
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    sink.is_told(position(EPOCH, 40)).await;
    for worker in &workers {
        worker.close(GUARD).await;
    }
    let told = sink.positions();
    assert!(told.len() > 1 && told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
}

#[tokio::test]
async fn while_another_has_the_lease_nobody_is_told() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    server.run::<()>(&["SET", "batch:lease:recorder:a", "somebody"]).await.unwrap();
    let publisher = publisher(&server, &source, &sink).await;
    commit(&source, &publisher, &id, 2, 2);
    assert_eq!(publisher.close(GUARD).await, [id], "it is named, for the other may fail");
    assert_eq!(sink.told(), []);
    assert_eq!(server.run::<String>(&["GET", "batch:lease:recorder:a"]).await.unwrap(), "somebody");
}

#[tokio::test]
async fn a_newer_position_that_was_told_by_somebody_is_respected() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    let told = format!("{EPOCH}-3");
    server.run::<()>(&["SET", "batch:sink:recorder:a", &told]).await.unwrap();
    let publisher = publisher(&server, &source, &sink).await;
    commit(&source, &publisher, &id, 2, 2);
    eventually("it was looked at", async || (publisher.sink_metrics()[0].known == 1).then_some(())).await;
    assert_eq!(sink.told(), []);
    assert_eq!(server.run::<String>(&["GET", "batch:sink:recorder:a"]).await.unwrap(), told);
}

#[tokio::test]
async fn without_a_source_what_redis_holds_is_told() {
    let server = RedisServer::start().await.unwrap();
    let (sink, id) = (Recorder::default(), batch("a"));
    let publisher = Publisher::builder(server.url()).sink(sink.clone()).connect().await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 1, 2), None)).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 2, 2), Some(1))).await.unwrap();
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(sink.positions(), [position(EPOCH, 2)]);
}

#[tokio::test]
async fn closing_waits_for_a_delivery_and_names_what_a_sink_in_trouble_was_not_told() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let sink = Recorder { takes: Duration::from_millis(100), ..Recorder::default() };
    let slow = publisher(&server, &source, &sink).await;
    commit(&source, &slow, &id, 2, 2);
    assert_eq!(slow.close(GUARD).await, []);
    assert_eq!(sink.positions(), [position(EPOCH, 2)]);

    sink.fail(u32::MAX);
    let troubled = publisher(&server, &source, &sink).await;
    commit(&source, &troubled, &batch("b"), 2, 2);
    assert_eq!(troubled.close(Duration::from_secs(1)).await, [batch("b")]);
}

#[tokio::test]
async fn while_redis_is_away_nothing_is_told_and_everything_when_it_is_back() {
    let mut server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    let publisher = publisher(&server, &source, &sink).await;
    server.kill();
    commit(&source, &publisher, &id, 2, 2);
    eventually("it was tried", async || (publisher.metrics().unreachable > 0).then_some(())).await;
    assert_eq!(sink.told(), []);
    server.restart().await.unwrap();
    sink.is_told(position(EPOCH, 2)).await;
}

#[tokio::test]
async fn a_sink_needs_a_name_of_its_own() {
    struct Named(&'static str);
    impl Sink for Named {
        fn name(&self) -> &str {
            self.0
        }
        async fn deliver(&self, _: &Event) -> Result<(), Undelivered> {
            Ok(())
        }
    }
    for (names, words) in [(["a", "a"], "a name of its own"), (["a", "B"], "a-z 0-9"), (["", "b"], "a-z 0-9")] {
        let builder = Publisher::builder("redis://localhost").sink(Named(names[0])).sink(Named(names[1]));
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, PublishError::Config { .. }) && error.to_string().contains(words), "{error}");
    }
}
