//! Workers that take photos from a queue, and a tracker that counts in Redis: no database, no count in any process.
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 cargo run -p batchcast-publisher --example job_queue -- BATCH_ID [PHOTOS]
//! batchcast watch BATCH_ID
//! ```
//!
//! The queue is the reliable one of Redis' documentation (`LMOVE` into a list of the worker's own, `LREM` when done). It
//! delivers at least once, as job queues do: one of the four workers dies after its first report and before it says so to
//! the queue, and its photo is worked on and reported a second time. It counts once.

use std::{env, error::Error};

use batchcast_publisher::{BatchId, Json, PhotoId, Publisher, TrackError, Tracker};
use redis::{AsyncCommands, Direction, RedisResult, aio::MultiplexedConnection};

/// The jobs of one batch, as ids of photos.
#[derive(Clone)]
struct Queue {
    redis: MultiplexedConnection,
    waiting: String,
}

impl Queue {
    async fn push(&mut self, photos: &[PhotoId]) -> RedisResult<()> {
        let photos: Vec<&str> = photos.iter().map(PhotoId::as_str).collect();
        self.redis.lpush(&self.waiting, photos).await
    }

    /// The list of what a worker has taken and not yet done.
    fn taken_by(&self, worker: u32) -> String {
        format!("{}:{worker}", self.waiting)
    }

    async fn take(&mut self, worker: u32) -> RedisResult<Option<String>> {
        self.redis.lmove(&self.waiting, self.taken_by(worker), Direction::Right, Direction::Left).await
    }

    async fn done(&mut self, worker: u32, photo: &str) -> RedisResult<()> {
        self.redis.lrem(self.taken_by(worker), 1, photo).await
    }

    /// Gives back what a worker had taken that is no more.
    async fn give_back(&mut self, worker: u32) -> RedisResult<()> {
        let taken = self.taken_by(worker);
        loop {
            let given: Option<String> =
                self.redis.lmove(&taken, &self.waiting, Direction::Left, Direction::Right).await?;
            if given.is_none() {
                return Ok(());
            }
        }
    }
}

type Failed = Box<dyn Error + Send + Sync>;

/// Takes photos until there are none; worker 0 dies after its first report.
async fn work(worker: u32, mut queue: Queue, tracker: Tracker) -> Result<(), Failed> {
    while let Some(photo) = queue.take(worker).await? {
        report(&tracker, &PhotoId::new(&photo)?).await?;
        if worker == 0 {
            return Err("worker 0 has died".into());
        }
        queue.done(worker, &photo).await?;
    }
    Ok(())
}

/// The work itself would stand between the two reports.
async fn report(tracker: &Tracker, id: &PhotoId) -> Result<(), TrackError> {
    let photo = tracker.photo(id);
    photo.started().await?;
    let reported = if id.as_str() == "photo-3" {
        photo.failed("not a JPEG").await?
    } else {
        photo.completed(Json::new(&serde_json::json!({ "width": 4000 })).ok()).await?
    };
    println!("{id}: {:?}, {} %", reported.outcome, reported.head.progress());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut args = env::args().skip(1);
    let batch = BatchId::new(&args.next().ok_or("usage: job_queue BATCH_ID [PHOTOS]")?)?;
    let total: u32 = args.next().map_or(Ok(20), |photos| photos.parse())?;
    let photos = (1..=total).map(|n| PhotoId::new(&format!("photo-{n}"))).collect::<Result<Vec<_>, _>>()?;
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());

    // Whoever hands out the work declares it first. To do so again, after a crash say, harms nothing.
    let publisher = Publisher::builder(&url).connect().await?;
    publisher.tracker(&batch, &photos).await?;
    let redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut queue = Queue { redis, waiting: format!("jobs:{batch}") };
    queue.push(&photos).await?;

    // A worker needs the batch's id alone: it may run in another process, on another machine.
    let worker = |worker| tokio::spawn(work(worker, queue.clone(), publisher.tracked(&batch)));
    let workers: Vec<_> = (0..4).map(worker).collect();
    for (number, worker) in (0..).zip(workers) {
        if let Err(error) = worker.await? {
            println!("{error}; what it had taken is given to another");
            queue.give_back(number).await?;
        }
    }
    work(4, queue, publisher.tracked(&batch)).await?;

    let state = publisher.cached(&batch).await?.ok_or("redis has lost the batch")?;
    println!("{}", state.head().to_json());
    Ok(())
}
