//! What a photo worker calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::Stream;
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};
use wire::{BatchId, BatchState, Cause, Changes, Head, PhotoId, StateError, Stored, TraceParent, script::Reply};

use crate::{
    EditError, Metrics, Outcome, PublishError, PublisherBuilder, RedisSettings, SinkMetrics, Traced, Tracked, Tracker,
    TrackerBuilder,
    builder::LONGEST,
    edit, job,
    metrics::{self, Counters, Ended},
    schedule::Mark,
    sink::{DynSink, Sinks},
    source::DynSource,
    store::{Done, Store},
    task::{self, Inbox},
    watch,
};

/// Publishes the progress of batches. Cheap to clone; all clones are the same publisher. When the last one is dropped,
/// the background task stops: call [`Publisher::close`] first.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// let worker = publisher.clone(); // For another task, or thread.
/// tokio::spawn(async move { worker.notify(&batch) }).await?;
/// publisher.close(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    source: Option<Arc<dyn DynSource>>,
    counters: Arc<Counters>,
    inbox: Arc<Inbox>,
    sinks: Arc<Sinks>,
    look_back: Duration,
    task: Mutex<Option<JoinHandle<Vec<BatchId>>>>,
}

/// What [`Publisher::start`] needs beside store and source.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub state_ttl: Duration,
    pub coalesce: Duration,
}

/// How an acknowledged [`Publisher::publish`] ended.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// match publisher.publish(Changes::full(&state, None)).await? {
///     Published::Applied => println!("readers see it"),
///     _ => println!("Redis held it already"), // Another worker was faster.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Published {
    /// Written and announced.
    Applied,
    /// Redis already holds this position or a greater one. Nothing to do.
    Stale,
}

/// How [`Publisher::cache`] ended.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// let state = match publisher.cache(&state, Duration::from_secs(60)).await? {
///     Cached::Present => publisher.cached(&batch).await?, // It may be newer than what was read here.
///     _ => Some(state),
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cached {
    /// Nothing was stored, now the state is.
    Filled,
    /// Something is stored already and was left alone.
    Present,
}

impl Publisher {
    /// Settings of a publisher for this Redis: a URL in one of [these forms](crate#addresses), or [`RedisSettings`].
    ///
    /// ```
    /// # async fn example() -> Result<(), batchcast_publisher::PublishError> {
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// let builder = Publisher::builder("redis://localhost:6379").key_prefix("eu:").coalesce(Duration::from_millis(20));
    /// let publisher = builder.connect().await?; // Does not wait for Redis.
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(redis: impl Into<RedisSettings>) -> PublisherBuilder {
        PublisherBuilder::new(redis.into())
    }

    pub(crate) fn start(
        store: Store,
        source: Option<Arc<dyn DynSource>>,
        sinks: Vec<Arc<dyn DynSink>>,
        settings: Settings,
        runtime: &Handle,
    ) -> Self {
        metrics::describe();
        let (store, counters, inbox) = (Arc::new(store), Arc::default(), Arc::default());
        // What has ended since then Redis would still hold, or a sink would still be tried with.
        let look_back = sinks.iter().map(|sink| sink.pace().give_up_after).fold(settings.state_ttl, Duration::max);
        let sinks = Arc::new(Sinks::start(sinks, &store, source.as_ref(), look_back, runtime));
        let task = source.as_ref().map(|source| {
            let parts = task::Parts {
                source: Arc::clone(source),
                store: Arc::clone(&store),
                counters: Arc::clone(&counters),
                inbox: Arc::clone(&inbox),
                sinks: Arc::clone(&sinks),
                look_back,
            };
            runtime.spawn(task::run(parts, settings.coalesce))
        });
        let task = Mutex::new(task);
        Self { inner: Arc::new(Inner { store, source, counters, inbox, sinks, look_back, task }) }
    }

    /// The batch changed: call it after each commit. It takes well below a microsecond, never blocks and never fails;
    /// the background task reads what changed from the source and publishes it, at most once a coalescing pause.
    /// Without a source, or after [`Publisher::close`], it does nothing.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// # async fn commit() {}
    /// commit().await; // The photo, the counts and the version, in one transaction.
    /// publisher.notify(&batch);
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify(&self, batch: &BatchId) {
        self.told(batch, now_ms().into(), false);
    }

    /// [`Publisher::notify`] for the commit that ends a batch: it leaves at once, without the coalescing pause. Only
    /// the caller can know that before the source is read; whoever calls `notify` instead waits at most that pause.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// # async fn commit() -> bool { true }
    /// let was_the_last = commit().await;
    /// if was_the_last { publisher.notify_final(&batch) } else { publisher.notify(&batch) }
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify_final(&self, batch: &BatchId) {
        self.told(batch, now_ms().into(), true);
    }

    /// What is told through it belongs to a trace (W3C Trace Context): its id stands in this library's log and in the
    /// edge's. `None` is no trace. An update that covers several commits names the trace of the earliest that has one.
    ///
    /// ```no_run
    /// # async fn example(publisher: batchcast_publisher::Publisher) -> Result<(), Box<dyn std::error::Error>> {
    /// use batchcast_publisher::{BatchId, TraceParent};
    ///
    /// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
    /// publisher.traced(trace).notify(&BatchId::new("batch-123")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traced(&self, trace: impl Into<Option<TraceParent>>) -> Traced<'_> {
        Traced::new(self, trace.into())
    }

    pub(crate) fn told(&self, batch: &BatchId, cause: Cause, urgent: bool) {
        self.mark(batch, Mark { cause, urgent, verify: false });
    }

    fn mark(&self, batch: &BatchId, mark: Mark) {
        if self.inner.source.is_some() {
            self.inner.inbox.mark(batch, mark);
        }
    }

    /// Publishes `changes` and waits for the acknowledgement. Where Redis needs the whole state, it is read from the
    /// source and published instead.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// // What the worker keeps count of by itself, without a source.
    /// match publisher.publish(Changes::full(&state, Some("anna".to_owned()))).await {
    ///     Err(PublishError::Finished) => println!("it has ended: open it again in a new epoch"),
    ///     published => println!("{:?}", published?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::NeedsFull`] only without a source; the others say themselves what to do.
    pub async fn publish(&self, changes: Changes) -> Result<Published, PublishError> {
        self.publish_for(&changes, now_ms().into()).await
    }

    pub(crate) async fn publish_for(&self, changes: &Changes, cause: Cause) -> Result<Published, PublishError> {
        let done = self.update(changes, cause).await?;
        if done.reply != Reply::NeedsFull {
            return published(done.reply);
        }
        if self.inner.source.is_none() {
            return Err(PublishError::NeedsFull);
        }
        self.publish_whole(changes.batch_id(), cause).await
    }

    /// Publishes what the source has of the batch and waits until Redis holds it: before an answer after which a page
    /// opens its stream, where the end that Redis held before would stop it. So after a batch was opened again. Where it
    /// fails the batch stays due, and the background task goes on trying.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// # async fn reopen_in_the_database() {}
    /// reopen_in_the_database().await;
    /// publisher.publish_latest(&batch).await?;
    /// // Now answer: the stream that the page opens upon it begins with the open batch.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::NoSource`], [`PublishError::Unknown`], or why it was not published yet.
    pub async fn publish_latest(&self, batch: &BatchId) -> Result<Published, PublishError> {
        self.publish_latest_for(batch, now_ms().into()).await
    }

    pub(crate) async fn publish_latest_for(&self, batch: &BatchId, cause: Cause) -> Result<Published, PublishError> {
        let published = self.publish_whole(batch, cause).await;
        if published.is_err() {
            self.mark(batch, Mark { cause, urgent: true, verify: true });
        }
        published
    }

    async fn publish_whole(&self, batch: &BatchId, cause: Cause) -> Result<Published, PublishError> {
        let source = self.inner.source.as_ref().ok_or(PublishError::NoSource)?;
        let whole = job::read_since(&**source, batch, None).await?;
        let whole = whole.ok_or_else(|| PublishError::Unknown(batch.clone()))?;
        published(self.update(&whole, cause).await?.reply)
    }

    /// Opens an ended batch again that lives in Redis alone: what has failed, or had not ended, is queued in a new
    /// epoch, what is done stays; a batch that a [`Tracker`] counts too, as [`Tracker::reopen`] does. Returns the state that Redis now holds.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// let state = publisher.reopen(&batch).await?;
    /// for photo in state.photos().filter(|photo| photo.status == PhotoStatus::Queued) {
    ///     println!("to be worked on again: {}", photo.photo_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EditError::Source`] where there is a source: the batch is opened again in its database.
    pub async fn reopen(&self, batch: &BatchId) -> Result<BatchState, EditError> {
        match edit::counted(self.tracked(batch).reopen().await)? {
            None => self.edit(batch, edit::reopened).await,
            Some(Tracked { outcome: Outcome::Counted, .. }) => self.held(batch).await,
            Some(Tracked { outcome: Outcome::Already, head }) => Err(EditError::Open(head.status)),
            Some(Tracked { outcome: Outcome::Ended, .. }) => Err(EditError::NothingFailed),
        }
    }

    /// Ends an open batch that lives in Redis alone, as cancelled. Its photos stay as they are. Returns the state that
    /// Redis now holds. With a source it is cancelled there, and told by [`Publisher::notify_final`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// let state = publisher.cancel(&batch).await?; // Someone pressed "Cancel".
    /// println!("{} photos were completed before", state.head().counts.completed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EditError::Source`] where there is a source.
    pub async fn cancel(&self, batch: &BatchId) -> Result<BatchState, EditError> {
        match edit::counted(self.tracked(batch).cancel().await)? {
            None => self.edit(batch, edit::cancelled).await,
            Some(Tracked { outcome: Outcome::Counted, .. }) => self.held(batch).await,
            Some(Tracked { head, .. }) => Err(EditError::Ended(head.status)),
        }
    }

    async fn held(&self, batch: &BatchId) -> Result<BatchState, EditError> {
        self.cached(batch).await?.ok_or(EditError::Unknown)
    }

    async fn edit(
        &self,
        batch: &BatchId,
        edit: fn(&BatchState, u64) -> Result<BatchState, EditError>,
    ) -> Result<BatchState, EditError> {
        let stored = self.inner.store.read(batch).await?.ok_or(EditError::Unknown)?;
        let edited = edit(whole(&stored)?, now_ms())?;
        match self.publish(Changes::full(&edited, None)).await {
            Ok(Published::Stale) | Err(PublishError::Finished) => Err(EditError::Overtaken),
            Ok(_) => Ok(edited),
            Err(error) => Err(error.into()),
        }
    }

    /// Declares a batch that Redis counts, without a database: its photos, as queued. Await it for the [`Tracker`].
    /// Declaring may be repeated, by anyone: photos that are known stay as they are, further ones are added as queued.
    /// Where all that were known have ended, further ones open the batch again, in a new epoch; after
    /// [`Tracker::cancel`] they are refused.
    ///
    /// ```no_run
    /// # async fn example(publisher: batchcast_publisher::Publisher) -> Result<(), Box<dyn std::error::Error>> {
    /// use batchcast_publisher::{BatchId, Json, PhotoId};
    ///
    /// let photos = [PhotoId::new("photo-1")?, PhotoId::new("photo-2")?];
    /// let tracker = publisher.tracker(&BatchId::new("batch-123")?, &photos).owner("anna".to_owned()).await?;
    /// let photo = tracker.photo(&photos[0]);
    /// photo.started().await?;
    /// if photo.completed(Json::new(&4032)?).await?.ended_it() {
    ///     println!("that was the last one");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn tracker<'a>(&self, batch: &BatchId, photos: impl IntoIterator<Item = &'a PhotoId>) -> TrackerBuilder {
        TrackerBuilder::new(self.tracked(batch), photos.into_iter().cloned().collect())
    }

    /// The tracker of a batch that was declared before, by this process or another.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// // A worker takes a photo from a queue; whoever filled the queue has declared the batch.
    /// let tracker = publisher.tracked(&batch);
    /// tracker.photo(&photo).failed("not a JPEG").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tracked(&self, batch: &BatchId) -> Tracker {
        Tracker::new(self.clone(), batch.clone())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// The batch stands so in Redis: who is to be told of that is told.
    pub(crate) fn mark_sinks(&self, head: &Head) {
        self.inner.sinks.mark(head);
    }

    pub(crate) fn has_source(&self) -> bool {
        self.inner.source.is_some()
    }

    /// The state as it may leave the process, after [`PublisherBuilder::redact`]: what an application answers as the
    /// edge's origin, or to anyone else.
    ///
    /// ```
    #[doc = include_str!("examples/running.txt")]
    #[doc = include_str!("examples/state.txt")]
    /// let builder = Publisher::builder("redis://localhost:6379").redact(|photo| photo.error = None);
    /// let publisher = builder.connect().await?;
    /// let answer = publisher.redacted(state)?; // As the edge shows it, so that no answer says more than another.
    /// assert!(answer.photos().all(|photo| photo.error.is_none()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When what `redact` made of it breaks a rule.
    pub fn redacted(&self, state: BatchState) -> Result<BatchState, StateError> {
        self.inner.store.policy().redacted_state(state)
    }

    async fn update(&self, changes: &Changes, cause: Cause) -> Result<Done, PublishError> {
        let done = self.inner.store.update(changes, cause).await?;
        let ended = match done.reply {
            Reply::Stale => Ended::Stale,
            Reply::NeedsFull => Ended::NeedsFull,
            Reply::Finished => Ended::Finished,
            _ => Ended::Applied,
        };
        self.inner.counters.ended(ended);
        if done.replaced {
            self.inner.counters.replaced();
        }
        if done.reply != Reply::NeedsFull {
            self.mark_sinks(&changes.head);
        }
        Ok(done)
    }

    /// Deletes what Redis holds of the batch and tells readers to ask the origin again: for a batch that was deleted,
    /// or that lost a photo. What a source then has of it is published anew, also where nothing has changed since the
    /// last update.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// # async fn delete_in_the_database() {}
    /// delete_in_the_database().await;
    /// publisher.invalidate(&batch).await?; // Nobody is shown it any more.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When Redis did not answer, or answered no.
    pub async fn invalidate(&self, batch: &BatchId) -> Result<(), PublishError> {
        let done = self.inner.store.invalidate(batch).await;
        // Without an answer it may be deleted as well. What was acknowledged before does not count any more.
        self.mark(batch, Mark { cause: now_ms().into(), urgent: false, verify: true });
        done.map(drop)
    }

    /// What Redis holds of the batch; `None`: nothing.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// match publisher.cached(&batch).await? {
    ///     Some(state) => println!("{} %, and the database was not asked", state.head().progress()),
    ///     None => println!("ask the database"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When Redis did not answer, or what it holds can't be read.
    pub async fn cached(&self, batch: &BatchId) -> Result<Option<BatchState>, PublishError> {
        Ok(self.inner.store.read(batch).await?.map(|stored| Arc::unwrap_or_clone(stored.state)))
    }

    /// Stores a state for `ttl` (at least 1 s) without announcing it, and only where nothing is stored: so a slow
    /// reader of the database can't overwrite what a worker has published since.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// // The edge asked for a batch that Redis had forgotten, and `state` was read from the database.
    /// publisher.cache(&state, Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the state breaks a rule, or Redis did not answer, or answered no.
    pub async fn cache(&self, state: &BatchState, ttl: Duration) -> Result<Cached, PublishError> {
        let done = self.inner.store.fill(state, ttl.as_secs().max(1)).await?;
        if done.replaced {
            self.inner.counters.replaced();
        }
        Ok(if done.reply == Reply::Present { Cached::Present } else { Cached::Filled })
    }

    /// The batch's states as they come, over a native subscription: positions only grow, no update is missed, states
    /// that follow each other closely may be merged. It waits for a batch that Redis does not know yet, outlives the
    /// loss of its connection, reads Redis again after 20 s without a message, and ends after a terminal state.
    ///
    /// ```no_run
    /// # async fn example(publisher: batchcast_publisher::Publisher) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt;
    /// use batchcast_publisher::BatchId;
    ///
    /// let mut states = publisher.watch(&BatchId::new("batch-123")?);
    /// while let Some(state) = states.next().await {
    ///     println!("{} %", state.head().progress());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, batch: &BatchId) -> impl Stream<Item = BatchState> + Send + Unpin + use<> {
        watch::watch(Arc::clone(&self.inner.store), batch.clone())
    }

    /// This publisher's counters.
    ///
    /// ```
    #[doc = include_str!("examples/running.txt")]
    /// let publisher = Publisher::builder("redis://localhost:6379").connect().await?;
    /// let metrics = publisher.metrics();
    /// assert_eq!((metrics.notifies, metrics.backlog), (0, 0)); // Nothing was told, nothing waits.
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot(self.inner.store.link().connections())
    }

    /// What each sink was told.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// for sink in publisher.sink_metrics() {
    ///     println!("{}: told of {} states, {} batches wait", sink.sink, sink.delivered, sink.backlog);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn sink_metrics(&self) -> Vec<SinkMetrics> {
        self.inner.sinks.metrics()
    }

    /// Marks all batches that the source calls unsettled as changed: the open ones, and those that ended within the
    /// last `state_ttl`, or, where that is longer, within the time for which a sink is tried
    /// ([`Pace::give_up_after`](crate::Pace)). Call it once at start: a crash between a commit and its publication leaves
    /// no other trace. Returns how many there are.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// let batches = publisher.resync().await?; // Once, after `connect`.
    /// println!("{batches} batches are published where Redis does not have them");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::NoSource`], or the source's own.
    pub async fn resync(&self) -> Result<usize, PublishError> {
        let source = self.inner.source.as_ref().ok_or(PublishError::NoSource)?;
        let batches = source.unsettled(task::since(self.inner.look_back)).await.map_err(PublishError::Source)?;
        batches.iter().for_each(|batch| self.notify(batch));
        Ok(batches.len())
    }

    /// Publishes what is due at once, tells it to sinks, and stops the background tasks, after `timeout` at the latest.
    /// Returns the batches with something that Redis or a sink was not told; at the next start [`Publisher::resync`]
    /// sees to them. For a sink that is in trouble nobody waits: its pause between two attempts may be minutes.
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// // At the end of `main`, when the jobs have ended.
    /// let undelivered = publisher.close(Duration::from_secs(5)).await;
    /// if !undelivered.is_empty() {
    ///     eprintln!("left to the next start's resync: {undelivered:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self, timeout: Duration) -> Vec<BatchId> {
        let timeout = timeout.min(LONGEST);
        let deadline = Instant::now() + timeout;
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut undelivered = match task {
            Some(task) => {
                self.inner.inbox.close(timeout);
                task.await.unwrap_or_default()
            }
            None => Vec::new(),
        };
        undelivered.extend(self.inner.sinks.close(deadline).await);
        undelivered.sort_unstable();
        undelivered.dedup();
        undelivered
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        self.sinks.abort();
    }
}

/// What could not be read would be lost with the next whole state.
fn whole(stored: &Stored) -> Result<&BatchState, EditError> {
    if stored.unreadable > 0 { Err(EditError::Unreadable(stored.unreadable)) } else { Ok(&stored.state) }
}

fn published(reply: Reply) -> Result<Published, PublishError> {
    match reply {
        Reply::Stale => Ok(Published::Stale),
        Reply::NeedsFull => Err(PublishError::NeedsFull),
        Reply::Finished => Err(PublishError::Finished),
        Reply::Applied | Reply::Filled | Reply::Present | Reply::Invalidated => Ok(Published::Applied),
    }
}

/// Milliseconds since the Unix epoch; 0 on a clock that stands before it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
