//! The publisher's settings, each with its default.

use std::{sync::Arc, time::Duration};

use crate::{
    ProgressSource, PublishError, Publisher,
    link::{Link, Timeouts},
    publisher::Settings,
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

/// Made by [`Publisher::builder`].
#[must_use = "a builder does nothing until `connect`"]
pub struct PublisherBuilder {
    redis_url: String,
    source: Option<Arc<dyn DynSource>>,
    key_prefix: String,
    state_ttl: Duration,
    coalesce: Duration,
    timeouts: Timeouts,
}

impl PublisherBuilder {
    pub(crate) fn new(redis_url: &str) -> Self {
        Self {
            redis_url: redis_url.to_owned(),
            source: None,
            key_prefix: String::new(),
            state_ttl: DEFAULT_STATE_TTL,
            coalesce: DEFAULT_COALESCE,
            timeouts: Timeouts { connection: DEFAULT_CONNECTION_TIMEOUT, response: DEFAULT_RESPONSE_TIMEOUT },
        }
    }

    /// The application's database. Without one, `notify` and `resync` have nothing to publish.
    pub fn source(mut self, source: impl ProgressSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What stands before each key and channel (`KEY_PREFIX`): at most 64 characters of `A-Z a-z 0-9 _ - : .`,
    /// default empty.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// How long Redis remembers a batch after its last update; at least 1 s, default [`DEFAULT_STATE_TTL`].
    pub fn state_ttl(mut self, ttl: Duration) -> Self {
        self.state_ttl = ttl;
        self
    }

    /// The pause between two updates of one batch; zero: none. Default [`DEFAULT_COALESCE`].
    pub fn coalesce(mut self, pause: Duration) -> Self {
        self.coalesce = pause;
        self
    }

    /// How long making a connection may take; default [`DEFAULT_CONNECTION_TIMEOUT`].
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connection = timeout;
        self
    }

    /// How long an answer may take; default [`DEFAULT_RESPONSE_TIMEOUT`].
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.response = timeout;
        self
    }

    /// Checks the settings and starts the background task on the current tokio runtime. It does **not** wait for Redis:
    /// a worker must start also while Redis is away. Trouble with the connection shows in the errors of what is
    /// awaited, in [`Publisher::metrics`] and in the log.
    ///
    /// # Errors
    /// [`PublishError::Config`] names the setting that is wrong.
    pub async fn connect(self) -> Result<Publisher, PublishError> {
        let wrong = |setting, problem: &str| Err(PublishError::Config { setting, problem: problem.to_owned() });
        if let Some(problem) = wire::keys::prefix_problem(&self.key_prefix) {
            return wrong("KEY_PREFIX", problem);
        }
        if self.state_ttl < Duration::from_secs(1) {
            return wrong("STATE_TTL_SECS", "at least 1");
        }
        let link = Link::new(&self.redis_url, self.timeouts)?;
        let store = Store::new(link, self.key_prefix, self.state_ttl.as_secs());
        Ok(Publisher::start(store, self.source, Settings { state_ttl: self.state_ttl, coalesce: self.coalesce }))
    }
}

impl std::fmt::Debug for PublisherBuilder {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublisherBuilder")
            .field("key_prefix", &self.key_prefix)
            .field("state_ttl", &self.state_ttl)
            .field("coalesce", &self.coalesce)
            .finish_non_exhaustive()
    }
}
