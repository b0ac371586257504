//! What all requests share: tokens, limits, and the connections of each user.

use crate::access::{Access, Grant, Rights};
use crate::config::{Config, ConfigError};
use crate::cors::Cors;
use crate::fanout::{Crowd, Fanout, Topic};
use crate::metrics::{Gauges, Metrics};
use crate::monitor::MAX_MONITORS;
use crate::seats::Seats;
use crate::target::Target;
use crate::upstream::Upstream;
use redis_address::Credentials;
use redis_rest::refusal::no_permission;
use redis_rest::{Args, Reply};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// What the routes share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) access: Access,
    pub(crate) cors: Cors,
    pub(crate) limits: Limits,
    pub(crate) requests: Seats,
    pub(crate) subscriptions: Seats,
    pub(crate) monitors: Seats,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: bool,
    /// Becomes true when all streams are to end.
    closing: watch::Sender<bool>,
    backends: Vec<LazyBackend>,
    crowd: Crowd,
}

/// Sizes of requests and answers.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) request_bytes: usize,
    pub(crate) response_bytes: usize,
    pub(crate) commands: usize,
}

/// One user's ways to Redis.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) target: Target,
    pub(crate) upstream: Upstream,
    pub(crate) fanout: Fanout,
    user: Option<String>,
}

#[derive(Debug)]
struct LazyBackend {
    target: Target,
    user: Option<String>,
    response_timeout: Duration,
    started: OnceLock<Backend>,
}

impl LazyBackend {
    fn get(&self, metrics: &Arc<Metrics>, crowd: &Crowd) -> &Backend {
        self.started.get_or_init(|| {
            let upstream = Upstream::spawn(self.target.clone(), self.response_timeout, Arc::clone(metrics));
            let (metrics, crowd) = (Arc::clone(metrics), crowd.clone());
            let fanout = Fanout::spawn(self.target.clone(), metrics, crowd, upstream.suspect());
            Backend { target: self.target.clone(), upstream, fanout, user: self.user.clone() }
        })
    }
}

impl App {
    /// Begins to connect the user of `REDIS_URL`; the others when they are asked for.
    pub(crate) fn new(config: &Config, crowd: Crowd) -> Result<Self, ConfigError> {
        let (address, extras) = config.redis()?;
        let users = config.user_tokens()?;
        let response_timeout = config.response_timeout();
        let backend = |credentials: Option<&Credentials>| {
            let target = Target::new(&address, credentials, &extras, response_timeout);
            let target = target.map_err(|error| ConfigError::Redis(error.into()))?;
            let user = credentials.and_then(|credentials| credentials.user.clone());
            Ok(LazyBackend { target, user, response_timeout, started: OnceLock::new() })
        };
        let credentials = users.iter().map(|user| Some(&user.credentials));
        let app = Self {
            access: Access::new(&config.token, config.read_only_token.as_ref(), &users),
            cors: Cors { allowed: config.allowed_origins.clone() },
            limits: Limits {
                request_bytes: config.max_request_bytes,
                response_bytes: config.max_response_bytes,
                commands: config.max_commands,
            },
            requests: Seats::new(config.max_requests),
            subscriptions: Seats::new(config.max_subscriptions),
            monitors: Seats::new(MAX_MONITORS),
            metrics: Arc::default(),
            access_log: config.access_log,
            closing: watch::Sender::new(false),
            backends: [None].into_iter().chain(credentials).map(backend).collect::<Result<_, ConfigError>>()?,
            crowd,
        };
        app.main();
        Ok(app)
    }

    /// The ways of the token's user.
    pub(crate) fn backend(&self, grant: Grant) -> &Backend {
        self.backends[grant.backend].get(&self.metrics, &self.crowd) // A grant's place is one of the list it was made with.
    }

    /// The ways of the user in `REDIS_URL`.
    fn main(&self) -> &Backend {
        self.backends[0].get(&self.metrics, &self.crowd) // The first is always there.
    }

    fn started(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter_map(|backend| backend.started.get())
    }

    /// Whether Redis answers, on both connections.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let main = self.main();
        main.upstream.status()?;
        if main.fanout.is_connected() { Ok(()) } else { Err("no connection to Redis to subscribe on".to_owned()) }
    }

    /// Open responses a topic, of all users.
    pub(crate) async fn topics(&self) -> BTreeMap<Topic, usize> {
        let mut topics = BTreeMap::new();
        for backend in self.started() {
            for (topic, count) in backend.fanout.counts().await {
                *topics.entry(topic).or_default() += count;
            }
        }
        topics
    }

    /// What is read at the moment of asking.
    pub(crate) async fn gauges(&self) -> Gauges {
        let topics = self.topics().await;
        Gauges {
            subscriptions: topics.values().sum(),
            topics: topics.len(),
            monitors: self.monitors.taken(),
            requests: self.requests.taken(),
            redis_up: self.readiness().is_ok(),
        }
    }

    /// Ends all streams, for good.
    pub(crate) fn close(&self) {
        self.started().for_each(|backend| backend.fanout.close());
        self.closing.send_replace(true);
    }

    /// Tells when all streams are to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

impl Backend {
    /// Whether the user may hear every command. Redis would accept the connection all the same, and stay silent.
    ///
    /// # Errors
    /// The refusal, in Redis' words.
    pub(crate) async fn may_monitor(&self, rights: Rights) -> Result<(), String> {
        let refused = || Err(no_permission("monitor"));
        if rights == Rights::Read {
            return refused();
        }
        let Some(user) = &self.user else { return Ok(()) };
        let question: Args = ["ACL", "DRYRUN", user, "MONITOR"].iter().map(|word| word.as_bytes().to_vec()).collect();
        match self.upstream.run(question, Rights::All).await {
            Ok(Reply::Status(ok)) if ok == "OK" => Ok(()),
            // Who may not even ask has no such right, either.
            _ => refused(),
        }
    }
}
