//! The publisher's settings, each with its default.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;
use wire::{Head, Photo};

use crate::{
    ProgressSource, PublishError, Publisher, RedisSettings, Sink,
    link::{Link, Timeouts},
    policy::Policy,
    publisher::Settings,
    sink::{DynSink, name_problem},
    source::DynSource,
    store::Store,
};

/// How long Redis remembers a batch after its last update (`STATE_TTL_SECS`).
pub const DEFAULT_STATE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause between two updates of one batch (`COALESCE_MS`).
pub const DEFAULT_COALESCE: Duration = Duration::from_millis(50);
/// How long making a connection may take.
pub const DEFAULT_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take.
pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// What anyone means who asks for longer: for ever. It can be added to a time without an overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Made by [`Publisher::builder`].
///
/// ```
#[doc = include_str!("examples/running.txt")]
/// let publisher = Publisher::builder("redis://localhost:6379")
///     .key_prefix("eu:") // This Redis has other users, too.
///     .state_ttl(Duration::from_secs(60 * 60)) // Pages come back within the hour.
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `connect`"]
pub struct PublisherBuilder {
    redis: RedisSettings,
    source: Option<Arc<dyn DynSource>>,
    key_prefix: String,
    policy: Policy,
    coalesce: Duration,
    timeouts: Timeouts,
    runtime: Option<Handle>,
    sinks: Vec<Arc<dyn DynSink>>,
}

impl PublisherBuilder {
    pub(crate) fn new(redis: RedisSettings) -> Self {
        Self {
            redis,
            source: None,
            key_prefix: String::new(),
            policy: Policy::new(DEFAULT_STATE_TTL),
            coalesce: DEFAULT_COALESCE,
            timeouts: Timeouts { connection: DEFAULT_CONNECTION_TIMEOUT, response: DEFAULT_RESPONSE_TIMEOUT },
            runtime: None,
            sinks: Vec::new(),
        }
    }

    /// The application's database. Without one, `notify` and `resync` have nothing to publish.
    ///
    /// ```
    /// use batchcast_publisher::{ProgressSource, Publisher, PublisherBuilder};
    ///
    /// fn settings(database: impl ProgressSource) -> PublisherBuilder {
    ///     Publisher::builder("redis://localhost:6379").source(database)
    /// }
    /// ```
    pub fn source(mut self, source: impl ProgressSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What stands before each key and channel (`KEY_PREFIX`): at most 64 characters of `A-Z a-z 0-9 _ - : .`,
    /// default empty.
    ///
    /// ```
    /// use batchcast_publisher::Publisher;
    ///
    /// // Two regions share a Redis: `eu:batch:…` and `us:batch:…`. The edge of each has the same KEY_PREFIX.
    /// let [eu, us] = ["eu:", "us:"].map(|region| Publisher::builder("redis://localhost:6379").key_prefix(region));
    /// ```
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// How long Redis remembers a batch after its last update; at least 1 s, default [`DEFAULT_STATE_TTL`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// let week = Duration::from_secs(7 * 24 * 60 * 60); // Whoever looks later asks the database.
    /// let builder = Publisher::builder("redis://localhost:6379").state_ttl(week);
    /// ```
    pub fn state_ttl(mut self, ttl: Duration) -> Self {
        self.policy.ttl = ttl;
        self
    }

    /// How long Redis remembers this batch after this update, where it is not [`PublisherBuilder::state_ttl`]: asked at
    /// each write, answered in whole seconds of at least 1; `None` is the time of all others. After a loss of Redis, and
    /// by [`Publisher::resync`], ended batches are looked for as far back as `state_ttl`, or as sinks are tried.
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// // An ended batch is kept for an hour, an open one for a week.
    /// let builder = Publisher::builder("redis://localhost:6379")
    ///     .state_ttl(Duration::from_secs(7 * 24 * 60 * 60))
    ///     .state_ttl_by(|head| head.status.is_terminal().then_some(Duration::from_secs(60 * 60)));
    /// ```
    pub fn state_ttl_by(mut self, ttl: impl Fn(&Head) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.policy.ttl_by = Some(Arc::new(ttl));
        self
    }

    /// What must not leave this process: called with each photo before it is published, filled or announced. Its
    /// `result` and `error` may be changed or taken away; what else it does to the photo is undone. An application that
    /// answers the edge as its origin passes its states through [`Publisher::redacted`].
    ///
    /// ```
    /// use batchcast_publisher::{Json, Publisher};
    ///
    /// let builder = Publisher::builder("redis://localhost:6379").redact(|photo| {
    ///     let Some(result) = &photo.result else { return };
    ///     let mut fields: serde_json::Value = serde_json::from_str(result.as_str()).unwrap_or_default();
    ///     if let Some(fields) = fields.as_object_mut() {
    ///         fields.remove("serialNumber");
    ///     }
    ///     photo.result = Json::new(&fields).ok();
    /// });
    /// ```
    pub fn redact(mut self, redact: impl Fn(&mut Photo) + Send + Sync + 'static) -> Self {
        self.policy.redact = Some(Arc::new(redact));
        self
    }

    /// Who else is told of batches, once Redis has acknowledged an update: any number of [`Sink`]s, each with a name of
    /// its own. With a source [`Publisher::resync`] finds the ends that nobody was told before a restart.
    ///
    /// ```
    /// use batchcast_publisher::{Publisher, PublisherBuilder, Sink};
    ///
    /// fn settings(mail: impl Sink, search_index: impl Sink) -> PublisherBuilder {
    ///     Publisher::builder("redis://localhost:6379").sink(mail).sink(search_index)
    /// }
    /// ```
    pub fn sink(mut self, sink: impl Sink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Where the background task runs; default the runtime in which [`PublisherBuilder::connect`] is awaited.
    ///
    /// ```
    /// use batchcast_publisher::Publisher;
    /// use tokio::runtime::Builder;
    ///
    /// // Threads of its own: work that keeps the others busy does not delay progress.
    /// let background = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    /// let builder = Publisher::builder("redis://localhost:6379").runtime(background.handle().clone());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The pause between two updates of one batch; zero: none. Default [`DEFAULT_COALESCE`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// // At most two updates a second and batch: enough for a bar, and little to do for Redis.
    /// let builder = Publisher::builder("redis://localhost:6379").coalesce(Duration::from_millis(500));
    /// ```
    pub fn coalesce(mut self, pause: Duration) -> Self {
        self.coalesce = pause.min(LONGEST);
        self
    }

    /// How long making a connection may take; default [`DEFAULT_CONNECTION_TIMEOUT`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// // Far away, by TLS, behind sentinels that may be down.
    /// let builder = Publisher::builder("redis://localhost:6379").connection_timeout(Duration::from_secs(15));
    /// ```
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connection = timeout.min(LONGEST);
        self
    }

    /// How long an answer may take; default [`DEFAULT_RESPONSE_TIMEOUT`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Publisher;
    ///
    /// // In the same rack: who is silent for a second is gone.
    /// let builder = Publisher::builder("redis://localhost:6379").response_timeout(Duration::from_secs(1));
    /// ```
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.response = timeout.min(LONGEST);
        self
    }

    /// Checks the settings and starts the background task on a tokio runtime of any flavour. It does **not** wait for Redis:
    /// a worker must start also while Redis is away. Trouble with the connection shows in the errors of what is
    /// awaited, in [`Publisher::metrics`] and in the log.
    ///
    /// ```
    #[doc = include_str!("examples/running.txt")]
    /// let publisher = Publisher::builder("redis://nobody.invalid").connect().await?; // Redis may come later.
    ///
    /// let refused = Publisher::builder("redis://localhost:6379").key_prefix("e u").connect().await;
    /// assert!(matches!(refused, Err(PublishError::Config { setting: "KEY_PREFIX", .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Config`] names the setting that is wrong.
    pub async fn connect(self) -> Result<Publisher, PublishError> {
        let wrong = |setting, problem: &str| Err(PublishError::Config { setting, problem: problem.to_owned() });
        if let Some(problem) = wire::keys::prefix_problem(&self.key_prefix) {
            return wrong("KEY_PREFIX", problem);
        }
        if self.policy.ttl < Duration::from_secs(1) {
            return wrong("STATE_TTL_SECS", "at least 1");
        }
        for (at, sink) in self.sinks.iter().enumerate() {
            if let Some(problem) = name_problem(sink.name()) {
                return wrong("sink", problem);
            }
            if self.sinks[..at].iter().any(|other| other.name() == sink.name()) {
                return wrong("sink", &format!("two are named {:?}: give each a name of its own", sink.name()));
            }
        }
        let Some(runtime) = self.runtime.or_else(|| Handle::try_current().ok()) else {
            return wrong("runtime", "await `connect` in a tokio runtime, or give one: `.runtime(handle)`");
        };
        let settings = Settings { state_ttl: self.policy.ttl, coalesce: self.coalesce };
        let link = Link::new(&self.redis, self.timeouts)?;
        let store = Store::new(link, self.key_prefix, self.policy);
        Ok(Publisher::start(store, self.source, self.sinks, settings, &runtime))
    }
}

impl std::fmt::Debug for PublisherBuilder {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublisherBuilder")
            .field("key_prefix", &self.key_prefix)
            .field("state_ttl", &self.policy.ttl)
            .field("coalesce", &self.coalesce)
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}
