//! The background task: hands the schedule what happened and the time, and does what it says.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use wire::BatchId;

use crate::{
    backoff,
    job::{self, SOURCE_TIMEOUT},
    metrics::Counters,
    publisher::now_ms,
    schedule::{Job, Mark, Outcome, Schedule},
    sink::Sinks,
    source::DynSource,
    store::Store,
};

/// What `notify` writes and the task takes: at most one mark a batch, however often it is notified.
#[derive(Default)]
pub(crate) struct Inbox {
    news: Mutex<News>,
    woken: Notify,
}

#[derive(Default)]
struct News {
    marks: HashMap<BatchId, Mark>,
    calls: u64,
    close_within: Option<Duration>,
    /// Nobody will take what comes now.
    closed: bool,
}

impl Inbox {
    /// A lock, an insertion and a wake: well below a microsecond, and nothing that could fail.
    pub(crate) fn mark(&self, batch: &BatchId, mark: Mark) {
        let mut news = self.news();
        if news.closed {
            return;
        }
        // What the publisher marks by itself is no call of `notify`.
        news.calls += u64::from(!mark.verify);
        match news.marks.get_mut(batch) {
            // The task was woken by the first mark and has not taken it yet.
            Some(earlier) => *earlier = earlier.merge(mark),
            None => {
                news.marks.insert(batch.clone(), mark);
                self.woken.notify_one();
            }
        }
    }

    pub(crate) fn close(&self, within: Duration) {
        let mut news = self.news();
        (news.close_within, news.closed) = (Some(within), true);
        drop(news);
        self.woken.notify_one();
    }

    fn take(&self) -> News {
        let mut news = self.news();
        let closed = news.closed;
        mem::replace(&mut *news, News { closed, ..News::default() })
    }

    /// A poisoned lock only says that a thread died between two insertions: each leaves the map whole.
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task works with.
pub(crate) struct Parts {
    pub source: Arc<dyn DynSource>,
    pub store: Arc<Store>,
    pub counters: Arc<Counters>,
    pub inbox: Arc<Inbox>,
    pub sinks: Arc<Sinks>,
    pub look_back: Duration,
}

/// Runs until it is told to close; returns the batches with something that was not delivered.
pub(crate) async fn run(parts: Parts, coalesce: Duration) -> Vec<BatchId> {
    let mut task = Task {
        schedule: Schedule::new(coalesce, rand::random),
        parts,
        begun: Instant::now(),
        jobs: JoinSet::new(),
        running: HashMap::new(),
        deadline: None,
        resync: JoinSet::new(),
    };
    while !task.has_closed() {
        task.step();
        if !task.has_closed() {
            task.wait().await;
        }
    }
    task.schedule.undelivered()
}

struct Task {
    parts: Parts,
    schedule: Schedule,
    begun: Instant,
    jobs: JoinSet<Outcome>,
    /// Which batch a job is for, also when it panics.
    running: HashMap<Id, BatchId>,
    deadline: Option<Instant>,
    /// Asks the source for everything unsettled; ends with the task.
    resync: JoinSet<()>,
}

impl Task {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn has_closed(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.schedule.backlog() == 0 || Instant::now() >= deadline)
    }

    /// Takes what came in and starts what is due.
    fn step(&mut self) {
        let now = self.now();
        let news = self.parts.inbox.take();
        if news.calls > 0 {
            self.parts.counters.notified(news.calls);
        }
        for (batch, mark) in &news.marks {
            self.schedule.mark(batch, *mark, now);
        }
        if let Some(within) = news.close_within {
            self.deadline = Some(Instant::now() + within);
        }
        if self.deadline.is_some() {
            self.schedule.hurry(now);
        }
        for job in self.schedule.start_due(now) {
            self.spawn(job);
        }
        self.parts.counters.backlog(self.schedule.backlog());
    }

    fn spawn(&mut self, job: Job) {
        let batch = job.batch.clone();
        let (source, store) = (Arc::clone(&self.parts.source), Arc::clone(&self.parts.store));
        let (counters, sinks) = (Arc::clone(&self.parts.counters), Arc::clone(&self.parts.sinks));
        let handle = self.jobs.spawn(async move { job::run(&*source, &store, &counters, &sinks, &job).await });
        self.running.insert(handle.id(), batch);
    }

    async fn wait(&mut self) {
        let wake = self.schedule.next_wake().map(|at| self.begun + at);
        let wake = wake.into_iter().chain(self.deadline).min();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.parts.inbox.woken.notified() => {}
            () = self.parts.store.link().lost() => self.lost(),
            Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
            () = sleep => {}
        }
    }

    fn lost(&mut self) {
        tracing::warn!("the connection to redis was lost");
        self.parts.counters.lost();
        let now = self.now();
        self.schedule.connection_lost(now_ms(), now);
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            // The application's source panicked: its batch is tried again, the others go on.
            Err(panic) => (panic.id(), Outcome::Failed),
        };
        if let Some(batch) = self.running.remove(&id) {
            let now = self.now();
            self.schedule.finish(&batch, outcome, now);
        }
        if self.schedule.take_writes_lost() {
            self.resync();
        }
    }

    /// Asks for everything again that is open or has not ended too long ago.
    fn resync(&mut self) {
        tracing::warn!("redis has lost what it acknowledged: everything unsettled is verified");
        let (source, inbox, look_back) =
            (Arc::clone(&self.parts.source), Arc::clone(&self.parts.inbox), self.parts.look_back);
        self.resync.abort_all();
        self.resync.spawn(async move {
            for failures in 1.. {
                match tokio::time::timeout(SOURCE_TIMEOUT, source.unsettled(since(look_back))).await {
                    Ok(Ok(batches)) => {
                        let mark = Mark { cause: now_ms().into(), urgent: false, verify: true };
                        return batches.iter().for_each(|batch| inbox.mark(batch, mark));
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "the source did not say what is unsettled"),
                    Err(_) => tracing::warn!("the source did not say in time what is unsettled"),
                }
                tokio::time::sleep(backoff::random_pause(failures)).await;
            }
        });
    }
}

/// The moment before which what has ended is no longer in Redis, and sinks are told nothing of it.
pub(crate) fn since(look_back: Duration) -> SystemTime {
    SystemTime::now().checked_sub(look_back).unwrap_or(UNIX_EPOCH)
}
