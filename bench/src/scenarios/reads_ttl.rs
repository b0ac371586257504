//! Reads of a batch that goes on changing: caches that keep a state for so many seconds, as the old design did, beside
//! the room's replica.

mod paths;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use publisher::Position;
use redis::aio::MultiplexedConnection;

use crate::Scale;
use crate::app::{App, Reads};
use crate::listeners::{Listeners, Reader, Taken};
use crate::marks::{Numbers, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::Sample;
use crate::world::{Changer, Setup, Side, World};
use paths::{Cache, Reading, Replica, key};

const PHOTOS: usize = 100;
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Pages that are open at the replica, and as many at the old design's server.
const PAGES: usize = 10;

/// Time between two reads. Not a divisor of [`UPDATE_INTERVAL`], so that reads fall at different times after updates.
const READ_INTERVAL: Duration = Duration::from_millis(600);
/// When the first read is: so that none falls near the edge of [`GRACE`].
const FIRST_READ: Duration = Duration::from_millis(350);
/// How long after one side the next reads: so that none waits for another.
const STAGGER: Duration = Duration::from_millis(5);

/// An answer may lack what was acknowledged less than this before it was asked for.
const GRACE: Duration = Duration::from_millis(100);

/// The caches: how many seconds they keep a state, and whether an update deletes it.
const CACHES: [(u64, bool); 6] = [(5, false), (10, false), (30, false), (5, true), (10, true), (30, true)];

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    // All sides run at the same time, each a few requests a second; so one run, whose length does not depend on theirs.
    let reads = if scale.runs > 1 { 100 } else { 20 };
    let mut ours = World::start(&Setup::new(Side::Edge, PHOTOS)).await?;
    let mut before = World::start(&Setup::new(Side::Node("before"), PHOTOS)).await?;
    let measured = measure(&mut ours, &mut before, reads).await?;
    ours.close().await;
    before.close().await;

    let minutes = (READ_INTERVAL * reads).as_secs_f64() / 60.0;
    let figure = |name: &str, unit: &str, value: &dyn Fn(&Column) -> Option<f64>| {
        let samples: Vec<Sample> = measured.iter().map(|column| Sample(value(column).into_iter().collect())).collect();
        Figure::new(name, unit, samples)
    };
    let of_reads = |column: &Column, count: u64| (column.reads > 0).then_some(count as f64);
    let stale = measured[0].stale as f64;
    Ok(Scenario {
        name: name.to_owned(),
        about: about(reads),
        sides: measured.iter().map(|column| column.name.clone()).collect(),
        figures: vec![
            figure("answers without a read of the source", "of a hundred", &|column| {
                of_reads(column, column.hits).map(|hits| 100.0 * hits / column.reads as f64)
            }),
            figure("reads of the source", "a minute", &|column| Some(column.source.count as f64 / minutes)),
            figure("photos that they gave", "a minute", &|column| Some(column.source.rows as f64 / minutes)),
            figure("mean time of a read", "ms", &|column| {
                of_reads(column, column.reads).map(|reads| column.took.as_secs_f64() * 1e3 / reads)
            }),
            figure("stale answers", &format!("of {reads}"), &|column| of_reads(column, column.stale)),
        ],
        bars: vec![Bar::of("stale answers of the replica", stale, &format!("of {reads}"), Limit::AtMost(0.0))],
        missing: Vec::new(),
    })
}

fn about(reads: u32) -> String {
    format!(
        "One batch of {PHOTOS} photos, of which one changes each second; {reads} reads a side, one each {} ms, over \
         {:.0} s. All sides at the same time, and one run. The replica: `GET /api/batches/ID` at the Worker in workerd; \
         updates by `publish`, acknowledged by Redis; {PAGES} viewers hold the room. TTL: the read path of the old \
         design, here in Rust: `GET` in Redis, and on a miss a read of the source and `SET` with `EX`; *invalidated*: \
         each update also ends with a `DEL`. The times of these are those of a `GET` at Redis and of a source in \
         memory, not of an HTTP request: do not compare them with the replica's. An answer is stale that lacks an \
         update acknowledged more than {} ms before it was asked for: acknowledged by the source, where there is a \
         `DEL` by Redis. Reads of the source are, at the replica, all those of the publisher: how many viewers and \
         readers there are does not matter. `before`: the old design's server, of which {PAGES} open pages were counted: \
         each makes it read its database every 2 s, and no read is made beside these.",
        READ_INTERVAL.as_millis(),
        (READ_INTERVAL * reads).as_secs_f64(),
        GRACE.as_millis()
    )
}

/// What one side came to.
#[derive(Default)]
struct Column {
    name: String,
    reads: u64,
    hits: u64,
    stale: u64,
    took: Duration,
    source: Reads,
}

/// All sides, the replica first.
async fn measure(ours: &mut World, before: &mut World, reads: u32) -> Result<Vec<Column>> {
    let Changer::Publisher(app) = &ours.changer else { anyhow::bail!("this side has no publisher") };
    let time = READ_INTERVAL * reads;
    let updates = usize::try_from(time.as_secs() / UPDATE_INTERVAL.as_secs())?;
    let sent = Sent::new(updates);
    let viewers = ours.open(PAGES, || Numbers::new(sent.clone(), 0))?;
    let pages = before.open(PAGES, States::default)?;
    let connection = ours.redis.connect().await?;
    let mut replica = Replica::open(ours.address()?).await?;
    let mut caches: Vec<Cache> =
        CACHES.iter().map(|&(secs, deleted)| Cache::new(secs, deleted, connection.clone(), app.database())).collect();

    let (read_before, shown_before) = (app.database().reads(), pages.heard());
    let begun = Instant::now();
    let done = Updates::default();
    let first = begun + FIRST_READ;
    let (ours_read, theirs_read, ..) = tokio::try_join!(
        read_all(&mut replica, first, reads, &done.published),
        futures::future::try_join_all((1_u32..).zip(&mut caches).map(|(nth, cache)| {
            let done = if cache.deleted { &done.deleted } else { &done.published };
            read_all(cache, first + STAGGER * nth, reads, done)
        })),
        update(app, connection.clone(), begun, updates, &sent, &done),
        update_before(&mut before.changer, begun, updates, &sent),
    )?;
    tokio::time::sleep_until((begun + time).into()).await;
    let (read, shown) = (app.database().reads(), pages.heard() - shown_before);

    close(viewers)?;
    close(pages)?;
    let source = Reads { count: read.count - read_before.count, rows: read.rows - read_before.rows };
    let mut columns = vec![Column { name: "replica".to_owned(), source, ..ours_read }];
    let named = caches.iter().zip(theirs_read).map(|(cache, column)| Column { name: cache.name(), ..column });
    columns.extend(named);
    let source = Reads { count: shown, rows: shown * PHOTOS as u64 };
    columns.push(Column { name: format!("before, {PAGES} pages"), source, ..Column::default() });
    Ok(columns)
}

/// Closes pages, none of which may have been closed before.
fn close<R: Reader>(pages: Listeners<R>) -> Result<()> {
    ensure!(pages.ended() == 0, "{} pages were closed", pages.ended());
    pages.close().map(drop)
}

/// What was acknowledged when.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(Instant, Position)>>);

#[derive(Default)]
struct Updates {
    /// By the source and by Redis.
    published: Acknowledged,
    /// And, where states are deleted from caches, that as well.
    deleted: Acknowledged,
}

impl Acknowledged {
    fn add(&self, position: Position) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), position));
    }

    /// The least that an answer has to show that was asked for at this time.
    fn least(&self, asked: Instant) -> Option<Position> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|&&(at, _)| at + GRACE < asked).map(|&(_, position)| position).max()
    }
}

async fn update(
    app: &App,
    mut redis: MultiplexedConnection,
    begun: Instant,
    updates: usize,
    sent: &Sent,
    done: &Updates,
) -> Result<()> {
    for number in 0..updates {
        tokio::time::sleep_until((begun + UPDATE_INTERVAL * u32::try_from(number)?).into()).await;
        app.publish(number, sent).await?;
        let position = app.database().position();
        done.published.add(position);
        let mut command = redis::cmd("DEL");
        CACHES.iter().filter(|(_, deleted)| *deleted).for_each(|&(secs, deleted)| {
            command.arg(key(secs, deleted));
        });
        command.exec_async(&mut redis).await?;
        done.deleted.add(position);
    }
    Ok(())
}

async fn update_before(changer: &mut Changer, begun: Instant, updates: usize, sent: &Sent) -> Result<()> {
    for number in 0..updates {
        tokio::time::sleep_until((begun + UPDATE_INTERVAL * u32::try_from(number)?).into()).await;
        changer.change(number, sent).await?;
    }
    Ok(())
}

/// Makes so many reads, the first at this time.
async fn read_all(from: &mut impl Reading, first: Instant, reads: u32, done: &Acknowledged) -> Result<Column> {
    let mut column = Column::default();
    for number in 0..reads {
        tokio::time::sleep_until((first + READ_INTERVAL * number).into()).await;
        let asked = Instant::now();
        let shown = from.read(&mut column).await?;
        column.took += asked.elapsed();
        column.reads += 1;
        column.stale += u64::from(done.least(asked).is_some_and(|least| shown < least));
    }
    Ok(column)
}

/// Counts the states that a page is sent, one for each read of the database.
#[derive(Default)]
struct States;

/// What each has once.
const EACH: &[u8] = b"\"batchId\":";

impl Reader for States {
    fn take(&mut self, bytes: &[u8], _: u64) -> Result<Taken> {
        let found: Vec<usize> =
            bytes.windows(EACH.len()).enumerate().filter(|(_, part)| *part == EACH).map(|(at, _)| at).collect();
        // No two can overlap, and what may be the beginning of one comes again.
        let end = found.last().map_or(0, |at| at + EACH.len());
        Ok(Taken { events: found.len() as u64, bytes: end.max(bytes.len().saturating_sub(EACH.len() - 1)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_long_enough_ago_must_be_shown() {
        let acknowledged = Acknowledged::default();
        let at = |version| Position::new(7, version).unwrap();
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        acknowledged.0.lock().unwrap().extend([(begun, at(1)), (begun + second, at(2))]);
        assert_eq!(acknowledged.least(begun + GRACE), None);
        assert_eq!(acknowledged.least(begun + second), Some(at(1)));
        assert_eq!(acknowledged.least(begun + second + 2 * GRACE), Some(at(2)));
    }

    #[test]
    fn a_state_is_counted_once_in_any_cut() {
        let text = b"data: {\"v\":1,\"batchId\":\"b-1\"}\n\ndata: {\"v\":1,\"batchId\":\"b-1\"}\n\n";
        for cut in 0..text.len() {
            let (first, mut states) = (States.take(&text[..cut], 0).unwrap(), States);
            let second = states.take(&text[first.bytes..], 0).unwrap();
            assert_eq!(first.events + second.events, 2, "cut at {cut}");
        }
    }
}
