//! What `notify` costs its caller, how often that publishes, and that nothing of it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use publisher::{BatchId, Publisher};
use redis::aio::PubSub;
use stack::RedisServer;

use crate::Scale;
use crate::fleet::Fleet;
use crate::marks::{Sent, timed_event};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::{Sample, busiest, percentile};

const BATCHES: usize = 10_000;

/// Calls that are timed one by one.
const CALLS: usize = 200_000;
/// Calls that are timed together, so that the clock's own cost does not count, and how often.
const IN_A_ROW: u32 = 1_000;
const ROWS: usize = 200;

/// Calls for one batch, of which is counted what they publish.
const CALLS_A_SECOND: u32 = 1_000;
/// Of those that a task of the runtime makes.
const CALLS_IN_TASK: usize = 2_000;
/// The longest time of these.
const MOST_SECS: u64 = 4;

/// Calls of which nothing may be lost, and over what time they are made: about as fast as publishing goes on beside.
const NOTIFIES: usize = 1_000_000;
const NOTIFIES_A_SECOND: u32 = 250_000;
/// How long the last are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// `PUBLISH`es that are timed, and their bytes.
const PUBLISHES: usize = 10_000;
const PUBLISH_BYTES: usize = 300;

/// What a call may cost.
const MOST_NS: f64 = 1_000.0;
/// How often one batch may be published.
const MOST_A_SECOND: f64 = 20.0;
/// What makes it one more.
const WHY_MORE: &str = "counted as they reach a subscriber, over any second of any run: of those that are 50 ms apart, 21 \
                        lie within a second when the first is late on its way by more than the last";
const SECOND_US: u64 = 1_000_000;

/// Each once a run.
#[derive(Default)]
struct Measured {
    one: Calls,
    many: Calls,
    paced: Calls,
    in_task: Calls,
    publish: Calls,
    clock: Sample,
    in_a_row: Sample,
    most_a_second: Sample,
    a_second: Sample,
    lost: Sample,
    applied: Sample,
}

/// Times of single calls, in nanoseconds.
#[derive(Default)]
struct Calls {
    median: Sample,
    p99: Sample,
}

impl Calls {
    fn add(&mut self, mut times: Vec<u64>) {
        self.median.0.push(percentile(&mut times, 0.50) as f64);
        self.p99.0.push(percentile(&mut times, 0.99) as f64);
    }
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let mut measured = Measured::default();
    for _ in 0..scale.runs {
        let redis = RedisServer::start().await?;
        let fleet = Arc::new(Fleet::connect(redis.url(), BATCHES, 1).await?);
        measured.clock.0.push(percentile(&mut timed(CALLS, |_| Ok(()), |_| ())?, 0.50) as f64);
        measured.time_calls(&fleet).await?;
        measured.count_publishes(&fleet, &redis, scale.secs.min(MOST_SECS)).await?;
        measured.time_in_task(&fleet).await?;
        measured.lose_nothing(&fleet, &redis).await?;
        measured.publish.add(time_publishes(&redis).await?);
        println!(
            "notify: {:.0} ns, of {BATCHES} batches {:.0} ns",
            measured.one.median.0.last().copied().unwrap_or_default(),
            measured.many.median.0.last().copied().unwrap_or_default()
        );
    }
    Ok(measured.into_scenario(name, scale))
}

impl Measured {
    async fn time_calls(&mut self, fleet: &Arc<Fleet>) -> Result<()> {
        let fleet = Arc::clone(fleet);
        // On a thread of its own, as a photo worker calls it: the publisher's task goes on beside.
        let calls = tokio::task::spawn_blocking(move || {
            let (publisher, ids) = (fleet.publisher(), fleet.ids());
            let commit = |id: &BatchId, number| fleet.database(id)?.commit(number, &Sent::new(0)).map(drop);
            let one = timed(CALLS, |number| commit(&ids[0], number), |_| publisher.notify(&ids[0]))?;
            let many = timed(
                CALLS,
                |number| commit(&ids[number % ids.len()], number),
                |number| publisher.notify(&ids[number % ids.len()]),
            )?;
            anyhow::Ok((one, many, in_a_row(publisher, &ids[0])))
        });
        let (one, many, mut in_a_row) = calls.await??;
        self.one.add(one);
        self.many.add(many);
        self.in_a_row.0.push(percentile(&mut in_a_row, 0.50) as f64);
        Ok(())
    }

    /// Calls for one batch at a steady pace, while a subscriber counts.
    async fn count_publishes(&mut self, fleet: &Arc<Fleet>, redis: &RedisServer, secs: u64) -> Result<()> {
        let id = fleet.ids().last().context("no batch")?.clone();
        let messages = redis.messages(&format!("batch:{id}")).await?;
        let time = Duration::from_secs(secs);
        let listening = tokio::spawn(arrivals(messages, time + Duration::from_millis(500)));
        let paced = Arc::clone(fleet);
        let calls = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let count = CALLS_A_SECOND as usize * usize::try_from(secs)?;
            let commit = |number| {
                let at = begun + Duration::from_secs(1) * u32::try_from(number)? / CALLS_A_SECOND;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                paced.database(&id)?.commit(number, &Sent::new(0)).map(drop)
            };
            timed(count, commit, |_| paced.publisher().notify(&id))
        });
        self.paced.add(calls.await??);
        let arrived = listening.await??;
        ensure!(arrived.len() > 1, "{} messages were published", arrived.len());
        let between = arrived[arrived.len() - 1] - arrived[0];
        self.a_second.0.push((arrived.len() - 1) as f64 / between.as_secs_f64());
        let arrived: Vec<u64> = arrived.iter().map(|at| (*at - arrived[0]).as_micros() as u64).collect();
        self.most_a_second.0.push(busiest(&arrived, SECOND_US) as f64);
        Ok(())
    }

    /// Calls for one batch at that pace from a task of the runtime.
    async fn time_in_task(&mut self, fleet: &Arc<Fleet>) -> Result<()> {
        let fleet = Arc::clone(fleet);
        let calls = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / CALLS_A_SECOND);
            let mut times = Vec::with_capacity(CALLS_IN_TASK);
            for number in 0..CALLS_IN_TASK {
                pace.tick().await;
                fleet.database(&fleet.ids()[0])?.commit(number, &Sent::new(0))?;
                times.extend(timed(1, |_| Ok(()), |_| fleet.publisher().notify(&fleet.ids()[0]))?);
            }
            anyhow::Ok(times)
        });
        self.in_task.add(calls.await??);
        Ok(())
    }

    /// Commits and calls for all batches in turn, closes the publisher, and looks for those whose last change is not in
    /// Redis.
    async fn lose_nothing(&mut self, fleet: &Arc<Fleet>, redis: &RedisServer) -> Result<()> {
        let before = fleet.publisher().metrics().applied;
        let caller = Arc::clone(fleet);
        let calls = tokio::task::spawn_blocking(move || {
            let (begun, sent) = (Instant::now(), Sent::new(0));
            for number in 0..NOTIFIES {
                // A thousand at a time: a sleep is longer than what lies between two.
                if number % 1_000 == 0 {
                    let at = begun + Duration::from_secs(1) * u32::try_from(number)? / NOTIFIES_A_SECOND;
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                }
                caller.change(&caller.ids()[number % BATCHES], number, &sent)?;
            }
            anyhow::Ok(())
        });
        calls.await??;
        let undelivered = fleet.close(PATIENCE).await;
        self.applied.0.push((fleet.publisher().metrics().applied - before) as f64);
        ensure!(undelivered.is_empty(), "{} batches could not be published in time", undelivered.len());
        let mut commands = redis::pipe();
        for id in fleet.ids() {
            commands.cmd("HGET").arg(format!("batch:progress:{id}")).arg("version");
        }
        let versions: Vec<Option<u64>> = commands.query_async(&mut redis.connect().await?).await?;
        let mut lost = 0;
        for (id, version) in fleet.ids().iter().zip(versions) {
            lost += u32::from(version != Some(fleet.database(id)?.position().version()));
        }
        self.lost.0.push(f64::from(lost));
        Ok(())
    }

    fn into_scenario(self, name: &str, scale: Scale) -> Scenario {
        let bars = vec![
            Bar::of("`notify` of one batch, median", self.one.median.median(), "ns", Limit::AtMost(MOST_NS)),
            Bar::of(
                &format!("`notify` of {BATCHES} batches, median"),
                self.many.median.median(),
                "ns",
                Limit::AtMost(MOST_NS),
            ),
            Bar::of(
                "most publishes of one batch in a second",
                self.most_a_second.max(),
                "",
                Limit::AtMost(MOST_A_SECOND),
            )
            .why(WHY_MORE),
            Bar::of("batches whose last change is not in Redis", self.lost.max(), "", Limit::AtMost(0.0)),
        ];
        let single = |name: &str, unit: &str, sample: Sample| Figure::new(name, unit, [sample, Sample::default()]);
        let secs = scale.secs.min(MOST_SECS);
        Scenario {
            name: name.to_owned(),
            about: format!(
                "One thread calls `notify`, each time after a commit in memory that is not timed; the publisher's task \
                 publishes beside it to a Redis. {CALLS} calls, each timed: all of one batch; of {BATCHES} batches in \
                 turn. A call in a row: {IN_A_ROW} without a commit, timed together, the median of {ROWS}. Paced: \
                 {CALLS_A_SECOND} a second of one batch for {secs} s, so that most find the task asleep, while a \
                 subscriber of Redis counts what comes, in the fullest of all seconds, whenever \
                 they begin; then {CALLS_IN_TASK} from a task of the publisher's runtime \
                 instead of another thread. Then {NOTIFIES} commits and calls for {BATCHES} batches, \
                 {NOTIFIES_A_SECOND} a second, and `close`: each batch's version in Redis is compared with its last. \
                 Beside it what many would write: `PUBLISH` of {PUBLISH_BYTES} bytes by the redis crate, awaited, \
                 {PUBLISHES} one after the other."
            ),
            sides: vec!["Batchcast".to_owned(), "PUBLISH, awaited".to_owned()],
            figures: vec![
                Figure::new("one batch, a call, median", "ns", [self.one.median, self.publish.median]),
                Figure::new("one batch, a call, p99", "ns", [self.one.p99, self.publish.p99]),
                single("one batch, a call in a row", "ns", self.in_a_row),
                single(&format!("{BATCHES} batches, a call, median"), "ns", self.many.median),
                single(&format!("{BATCHES} batches, a call, p99"), "ns", self.many.p99),
                single("one batch, paced, a call, median", "ns", self.paced.median),
                single("one batch, paced, a call, p99", "ns", self.paced.p99),
                single("one batch, paced, a call from a task, median", "ns", self.in_task.median),
                single("one batch, paced, a call from a task, p99", "ns", self.in_task.p99),
                Figure::new("the clock itself, in each of these", "ns", [self.clock.clone(), self.clock]),
                single("publishes of one batch", "a second", self.a_second),
                single("most publishes of one batch in a second", "", self.most_a_second),
                single(&format!("updates published for {NOTIFIES} calls"), "", self.applied),
                single("batches whose last change is not in Redis", "", self.lost),
            ],
            bars,
            missing: Vec::new(),
        }
    }
}

/// How long each call takes, in nanoseconds. What stands before it is not timed.
fn timed(count: usize, before: impl Fn(usize) -> Result<()>, call: impl Fn(usize)) -> Result<Vec<u64>> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        before(number)?;
        let begun = Instant::now();
        call(number);
        times.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(times)
}

/// The mean of [`IN_A_ROW`] calls, in nanoseconds, [`ROWS`] times.
fn in_a_row(publisher: &Publisher, id: &BatchId) -> Vec<u64> {
    let row = |_| {
        let begun = Instant::now();
        (0..IN_A_ROW).for_each(|_| publisher.notify(id));
        (begun.elapsed() / IN_A_ROW).as_nanos() as u64
    };
    (0..ROWS).map(row).collect()
}

/// When messages came, over this time.
async fn arrivals(messages: PubSub, time: Duration) -> Result<Vec<Instant>> {
    let (mut messages, mut arrived) = (messages.into_on_message(), Vec::new());
    let listening = async {
        while messages.next().await.is_some() {
            arrived.push(Instant::now());
        }
    };
    let ended = tokio::time::timeout(time, listening).await.is_ok();
    ensure!(!ended, "the subscription has ended");
    Ok(arrived)
}

async fn time_publishes(redis: &RedisServer) -> Result<Vec<u64>> {
    let mut connection = redis.connect().await?;
    let mut times = Vec::with_capacity(PUBLISHES);
    for _ in 0..PUBLISHES {
        let message = timed_event(PUBLISH_BYTES);
        let begun = Instant::now();
        redis::cmd("PUBLISH").arg("bench").arg(message).exec_async(&mut connection).await?;
        times.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(times)
}
