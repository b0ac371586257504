//! A background task a sink: hands its plan what happened and the time, and does what it says.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::Instant,
};
use wire::{BatchId, Head};

use crate::{
    sink::{
        DynSink, Interest, SinkMetrics,
        counters::{SinkCounters, SinkEnded},
        delivery::{self, Parts},
        ledger::Ledger,
        plan::{Job, Mark, Outcome, Plan, wants},
    },
    source::DynSource,
    store::Store,
};

/// All sinks of a publisher.
#[derive(Default)]
pub(crate) struct Sinks(Vec<Running>);

struct Running {
    interest: Interest,
    inbox: Arc<Inbox>,
    counters: Arc<SinkCounters>,
    task: Mutex<Option<JoinHandle<Vec<BatchId>>>>,
}

/// What is marked, and what the task takes: one mark a batch.
#[derive(Default)]
struct Inbox {
    news: Mutex<News>,
    woken: Notify,
}

#[derive(Default)]
struct News {
    marks: HashMap<BatchId, Mark>,
    close_by: Option<Instant>,
}

/// What is wrong with a sink's name, in words; `None`: it can be used. It stands in keys and in labels of metrics.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (!plain || name.is_empty() || name.len() > 32).then_some("a sink's name is 1 to 32 characters of a-z 0-9 -")
}

impl Sinks {
    pub(crate) fn start(
        sinks: Vec<Arc<dyn DynSink>>,
        store: &Arc<Store>,
        source: Option<&Arc<dyn DynSource>>,
        look_back: Duration,
        runtime: &Handle,
    ) -> Self {
        let parts = |sink: Arc<dyn DynSink>| Parts {
            ledger: Ledger::new(store.prefix(), sink.name()),
            sink,
            store: Arc::clone(store),
            source: source.map(Arc::clone),
            look_back,
        };
        Self(sinks.into_iter().map(|sink| Running::start(parts(sink), runtime)).collect())
    }

    /// Redis holds this head, or a newer one.
    pub(crate) fn mark(&self, head: &Head) {
        let mark = Mark { position: head.position, ended: head.status.is_terminal() };
        for sink in self.0.iter().filter(|sink| wants(sink.interest, mark)) {
            sink.inbox.mark(&head.batch_id, mark);
        }
    }

    /// Delivers what is due at once, until `deadline`. Returns what was not delivered.
    pub(crate) async fn close(&self, deadline: Instant) -> Vec<BatchId> {
        self.0.iter().for_each(|sink| sink.inbox.close(deadline));
        let mut undelivered = Vec::new();
        for sink in &self.0 {
            let task = sink.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                match task.await {
                    Ok(batches) => undelivered.extend(batches),
                    Err(error) => {
                        tracing::error!(%error, "a sink's task has failed; what it was not told is not known");
                    }
                }
            }
        }
        undelivered
    }

    /// Stops at once: what is under way is cut off, and its lease expires.
    pub(crate) fn abort(&self) {
        for sink in &self.0 {
            if let Some(task) = sink.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
                task.abort();
            }
        }
    }

    pub(crate) fn metrics(&self) -> Vec<SinkMetrics> {
        self.0.iter().map(|sink| sink.counters.snapshot()).collect()
    }
}

impl Running {
    fn start(parts: Parts, runtime: &Handle) -> Self {
        let (interest, pace) = (parts.sink.interest(), parts.sink.pace());
        let (inbox, counters) = (Arc::<Inbox>::default(), Arc::new(SinkCounters::new(parts.sink.name())));
        let plan = Plan::new(interest, pace, rand::random);
        let task = Task {
            parts: Arc::new(parts),
            inbox: Arc::clone(&inbox),
            counters: Arc::clone(&counters),
            plan,
            begun: Instant::now(),
            jobs: JoinSet::new(),
            running: HashMap::new(),
            deadline: None,
        };
        Self { interest, inbox, counters, task: Mutex::new(Some(runtime.spawn(task.run()))) }
    }
}

impl Inbox {
    fn mark(&self, batch: &BatchId, mark: Mark) {
        let mut news = self.news();
        if news.close_by.is_some() {
            return;
        }
        news.marks.entry(batch.clone()).and_modify(|earlier| *earlier = earlier.merge(mark)).or_insert(mark);
        drop(news);
        self.woken.notify_one();
    }

    fn close(&self, deadline: Instant) {
        self.news().close_by = Some(deadline);
        self.woken.notify_one();
    }

    fn take(&self) -> (HashMap<BatchId, Mark>, Option<Instant>) {
        let mut news = self.news();
        (mem::take(&mut news.marks), news.close_by)
    }

    /// A poisoned lock only says that a thread died between two insertions: each leaves the map whole.
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    parts: Arc<Parts>,
    inbox: Arc<Inbox>,
    counters: Arc<SinkCounters>,
    plan: Plan,
    begun: Instant,
    jobs: JoinSet<(Outcome, Option<SinkEnded>)>,
    /// Which batch a job is for, also when it panics.
    running: HashMap<Id, BatchId>,
    deadline: Option<Instant>,
}

impl Task {
    /// Runs until it is told to close; returns the batches with something that was not told.
    async fn run(mut self) -> Vec<BatchId> {
        loop {
            self.step();
            if self.has_closed() {
                return self.plan.undelivered();
            }
            self.wait().await;
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn has_closed(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline || self.plan.is_at_rest(self.now()))
    }

    fn step(&mut self) {
        let now = self.now();
        let (marks, close_by) = self.inbox.take();
        for (batch, mark) in marks {
            if !self.plan.mark(&batch, mark, now) {
                self.counters.ended(SinkEnded::Dropped);
                let sink = self.parts.sink.name();
                tracing::error!(sink, %batch, "too many batches wait for this sink: the next resync finds this one");
            }
        }
        self.deadline = close_by;
        if self.deadline.is_some() {
            self.plan.hurry(now);
        }
        for job in self.plan.start_due(now) {
            self.spawn(job);
        }
        self.counters.backlog(self.plan.backlog());
    }

    fn spawn(&mut self, job: Job) {
        let (parts, batch) = (Arc::clone(&self.parts), job.batch.clone());
        let handle = self.jobs.spawn(async move { delivery::run(&parts, &job).await });
        self.running.insert(handle.id(), batch);
    }

    async fn wait(&mut self) {
        let wake = self.plan.next_wake().map(|at| self.begun + at);
        let wake = wake.into_iter().chain(self.deadline).min();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inbox.woken.notified() => {}
            Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
            () = sleep => {}
        }
    }

    fn ended(&mut self, ended: Result<(Id, (Outcome, Option<SinkEnded>)), JoinError>) {
        let (id, (outcome, counted)) = match ended {
            Ok(ended) => ended,
            // The sink, or the application's source, panicked: its batch is tried again, the others go on.
            Err(panic) => (panic.id(), (Outcome::Failed { after: None }, Some(SinkEnded::Failed))),
        };
        counted.into_iter().for_each(|how| self.counters.ended(how));
        let Some(batch) = self.running.remove(&id) else { return };
        let now = self.now();
        if self.plan.finish(&batch, outcome, now) {
            self.counters.ended(SinkEnded::GaveUp);
            let sink = self.parts.sink.name();
            tracing::error!(sink, %batch, "a sink could not be told in all this time: given up");
        }
    }
}
