//! Two workers that publish the same batch at the same time, each with what it has read, which may be old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use publisher::{
    BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, ProgressSource, Published,
    Publisher, SourceError,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::{GUARD, Stack, Tab, Tabs};
use wire::Message;

use super::until;
use crate::context::Ctx;

const ID: &str = "b-rivals";
const PHOTOS: u64 = 1_500;
/// Each photo begins in a version of its own and is done in the next one; the first version has none begun.
const LAST: u64 = 1 + 2 * PHOTOS;
/// One update in three is made from what was read so many versions ago, or less.
const LAG: u64 = 30;
const OLD: f64 = 1.0 / 3.0;
/// So many updates carry the whole batch, as those of a worker that does not know what Redis holds.
const WHOLE: f64 = 0.02;
/// An update covers at most so many versions.
const COVERED: u64 = 8;

pub(super) async fn publishers_race(ctx: Ctx) -> Result<()> {
    let seed: u64 = rand::random();
    println!("row 10  the seed is {seed}");
    let stack = ctx.stack().start().await?;
    let epoch = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut rivals = [Rival::new(&stack, epoch, seed).await?, Rival::new(&stack, epoch, seed ^ 1).await?];
    rivals[0].publish(1, None).await?;
    let tabs = Tabs::open(20, &Tab::builder(&stack.stream_url(ID)));
    tabs.until_position(Position::new(epoch, 1)?).await?;

    let announced = tokio::spawn(announcements(stack.redis.url().to_owned(), Position::new(epoch, LAST)?));
    // The edge's and this one.
    until("not both listen", async || Ok(stack.redis_subscribers(ID).await? == 2)).await?;
    let begun = Instant::now();
    let [first, second] = &mut rivals;
    let (read, ..) = tokio::try_join!(reader(&stack), first.race(), second.race())?;
    ctx.time("both have published everything after", begun.elapsed());
    tabs.until_finished().await?;

    let announced = announced.await??;
    let metrics = rivals.each_ref().map(|rival| rival.publisher.metrics());
    let [applied, stale] = [metrics.map(|metrics| metrics.applied), metrics.map(|metrics| metrics.stale)];
    ctx.figure("seed", seed);
    ctx.figure("updates sent", LAST * 2);
    ctx.figure("applied, of each", format!("{}, {}", applied[0], applied[1]));
    ctx.figure("stale, of each", format!("{}, {}", stale[0], stale[1]));
    ctx.figure("sent whole, because Redis held less", metrics.iter().map(|metrics| metrics.needs_full).sum::<u64>());
    ensure!(stale.iter().all(|stale| *stale > LAST / 20), "hardly a race: {stale:?} were stale");
    // The first update was announced before anybody listened.
    let applied = applied[0] + applied[1];
    ensure!(announced == applied - 1, "{applied} updates were applied, {announced} announced after the first");

    for (version, epoch) in [(LAST - 1, epoch), (LAST, epoch - 1)] {
        let late = rivals[0].publisher.publish(changes(epoch, version, None)?).await?;
        ensure!(late == Published::Stale, "{epoch}-{version} after the end: {late:?}");
    }
    let stored = rivals[1].publisher.cached(&ID.parse()?).await?.context("Redis holds nothing")?;
    let expected = changes(epoch, LAST, None)?;
    ensure!(*stored.head() == expected.head, "Redis holds {:?}", stored.head());
    ensure!(stored.photos().eq(&expected.photos), "Redis holds other photos than the application");
    let wrong = tabs.iter().filter(|tab| tab.history().counts != Some(expected.head.counts)).count();
    ensure!(wrong == 0, "{wrong} tabs show other counts than the application's");
    let shown = tabs.iter().map(|tab| tab.history().positions.len()).max().unwrap_or_default();
    ctx.figure("states shown to a viewer, to a reader", format!("{shown}, {read}"));
    ensure!(shown > 2, "viewers were shown {shown} states only: there was nothing that could fall");
    tabs.check()
}

/// A worker whose reads of the database may be old by the time it publishes them.
struct Rival {
    publisher: Publisher,
    snapshot: Snapshot,
    random: StdRng,
}

/// The database as one worker has read it last.
#[derive(Clone)]
struct Snapshot {
    epoch: u64,
    version: Arc<AtomicU64>,
}

impl Rival {
    async fn new(stack: &Stack, epoch: u64, seed: u64) -> Result<Self> {
        let snapshot = Snapshot { epoch, version: Arc::new(AtomicU64::new(1)) };
        let publisher = Publisher::builder(stack.redis.url()).source(snapshot.clone()).connect().await?;
        Ok(Self { publisher, snapshot, random: StdRng::seed_from_u64(seed) })
    }

    /// Publishes all versions as fast as it can, some of them from an old read, then the last one.
    async fn race(&mut self) -> Result<()> {
        for newest in 2..=LAST {
            let old = newest < LAST && self.random.random_bool(OLD);
            let version =
                if old { self.random.random_range(newest.saturating_sub(LAG).max(2)..=newest) } else { newest };
            let since = self.random.random_range(version.saturating_sub(COVERED).max(1)..version);
            let whole = self.random.random_bool(WHOLE);
            self.publish(version, Some(since).filter(|_| !whole)).await?;
        }
        Ok(())
    }

    /// Where Redis holds less than `since`, the publisher asks the snapshot for everything.
    async fn publish(&self, version: u64, since: Option<u64>) -> Result<()> {
        self.snapshot.version.store(version, Ordering::Relaxed);
        self.publisher.publish(changes(self.snapshot.epoch, version, since)?).await?;
        Ok(())
    }
}

impl ProgressSource for Snapshot {
    async fn changes(&self, _: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        let since = since.filter(|since| since.epoch() == self.epoch).map(Position::version);
        Ok(Some(changes(self.epoch, self.version.load(Ordering::Relaxed), since)?))
    }

    async fn unsettled(&self, _: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(vec![ID.parse()?])
    }
}

/// The batch as the database has it at `version`, with the photos changed after `since`.
fn changes(epoch: u64, version: u64, since: Option<u64>) -> Result<Changes> {
    let (mut counts, mut photos) = (Counts { total: u32::try_from(PHOTOS)?, ..Counts::default() }, Vec::new());
    for number in 0..PHOTOS {
        let (begins, ends) = (2 + 2 * number, 3 + 2 * number);
        let (status, changed) = match number {
            _ if version < begins => (PhotoStatus::Queued, 1),
            _ if version < ends => (PhotoStatus::Processing, begins),
            _ if number % 10 == 9 => (PhotoStatus::Failed, ends),
            _ => (PhotoStatus::Completed, ends),
        };
        match status {
            PhotoStatus::Queued => counts.queued += 1,
            PhotoStatus::Processing => counts.processing += 1,
            PhotoStatus::Completed => counts.completed += 1,
            PhotoStatus::Failed => counts.failed += 1,
        }
        if since.is_none_or(|since| changed > since) {
            let photo_id = PhotoId::new(&format!("photo-{number:05}"))?;
            photos.push(Photo::new(photo_id, status, changed));
        }
    }
    let status = if version == LAST { BatchStatus::Partial } else { BatchStatus::Processing };
    let position = Position::new(epoch, version)?;
    let head = Head::new(ID.parse()?, position, status, counts, String::new());
    let since = since.map(|since| Position::new(epoch, since)).transpose()?;
    Ok(Changes::new(since, head, photos))
}

/// Reads the batch until it has ended, from memory and past it in turns; how many states it was told. None may go back.
async fn reader(stack: &Stack) -> Result<usize> {
    let (api, mut at, mut states) = (stack.api(), None, 0);
    loop {
        for read in [api.read(ID).await?, api.read_past_memory(ID).await?] {
            ensure!(read.status == 200, "a reader was answered {read:?}");
            let position: Position = read.body["position"].as_str().context("no position")?.parse()?;
            ensure!(at <= Some(position), "a reader was told {position} after {at:?}");
            states += usize::from(at < Some(position));
            at = Some(position);
            if position.version() == LAST {
                return Ok(states);
            }
        }
    }
}

/// Listens on the channel up to the position `last`; how many updates were announced. None may go back, nor leave one
/// out that was announced before.
async fn announcements(redis: String, last: Position) -> Result<u64> {
    let mut channel = redis::Client::open(redis)?.get_async_pubsub().await?;
    channel.subscribe(format!("batch:{ID}")).await?;
    let mut messages = channel.into_on_message();
    let (mut count, mut at) = (0, None);
    while at != Some(last) {
        let message = tokio::time::timeout(GUARD, messages.next()).await?.context("the channel ended")?;
        let Message::Changes(news) = Message::parse(message.get_payload_bytes()) else { continue };
        let to = news.head.position;
        ensure!(at < Some(to), "{to} was announced after {at:?}");
        ensure!(at.is_none_or(|at| news.from <= at.version()), "{to} from {} was announced at {at:?}", news.from);
        (count, at) = (count + 1, Some(to));
    }
    Ok(count)
}
