//! The service put together: started, run, stopped in order.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use publisher::{PublishError, Publisher};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::TaskTracker;
use wire::BatchId;

use crate::{
    Config, Db, DbError,
    access::Access,
    db::{Stepped, Worker},
    deadlines,
    files::Files,
    issuer::IssuerError,
    jobs::{self, Queue},
    metrics::Counters,
    redact::redact,
    routes, trace,
    upload::Slots,
};

/// How long requests and photos under way may take to end once the service was told to stop.
const DRAIN: Duration = Duration::from_secs(3);
/// How long a re-opening waits for Redis.
const REOPENED_WITHIN: Duration = Duration::from_secs(2);
/// How long the last updates may take to be published.
const PUBLISH_LAST: Duration = Duration::from_secs(5);

/// What the parts of the service share.
pub(crate) struct App {
    pub db: Db,
    pub files: Files,
    pub queue: Queue,
    pub publisher: Publisher,
    pub counters: Counters,
    pub uploads: Slots,
    /// Requests that change something, also of those who have hung up.
    pub requests: TaskTracker,
    pub access: Access,
    pub origin_token: Option<String>,
    pub receive_timeout: Duration,
    /// This process, as its leases name it.
    pub worker: Worker,
}

impl App {
    /// Tells readers of a commit.
    pub(crate) fn announce(&self, stepped: &Stepped) {
        let publisher = self.publisher.traced(trace::current());
        if stepped.ended {
            publisher.notify_final(&stepped.batch);
        } else {
            publisher.notify(&stepped.batch);
        }
    }

    /// Tells readers that a batch was re-opened, and waits until Redis holds it: the end that it held before would stop
    /// whoever opens a stream now. While Redis is away nobody waits for long; it is published when Redis is back.
    pub(crate) async fn announce_reopened(&self, batch: &BatchId) {
        // Also for the time-out, which drops what tries it now.
        let publisher = self.publisher.traced(trace::current());
        publisher.notify(batch);
        let told = tokio::time::timeout(REOPENED_WITHIN, publisher.publish_latest(batch));
        if !matches!(told.await, Ok(Ok(_))) {
            tracing::warn!(%batch, "it was re-opened, and redis does not hold it yet");
        }
    }

    /// Until when a photo declared at `now` must have come.
    pub(crate) fn expires_at(&self, now: i64) -> i64 {
        now.saturating_add(i64::try_from(self.receive_timeout.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// `DATABASE_URL`: check the path and its rights.
    #[error("DATABASE_URL: {0}")]
    Database(#[from] DbError),
    /// `PHOTO_DIR`: check the path and its rights.
    #[error("PHOTO_DIR: {0}")]
    Files(#[source] std::io::Error),
    /// `AUTH_JWKS_URL`: can't be asked from here.
    #[error("AUTH_JWKS_URL: {0}")]
    Issuer(#[from] IssuerError),
    /// `PHOTO_WORKER_LISTEN`: free the address or choose another.
    #[error("PHOTO_WORKER_LISTEN: {0}: free the address or choose another")]
    Listen(#[source] std::io::Error),
    /// A setting of the publisher, which its message names.
    #[error(transparent)]
    Publisher(#[from] PublishError),
}

/// A running service.
pub struct Service {
    address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    pool: JoinSet<()>,
}

impl Service {
    /// Opens database and folder, takes up what a crash left, and listens. Redis may be away: what could not be
    /// published is published when it comes.
    ///
    /// # Errors
    /// Names the setting to mend.
    pub async fn start(config: &Config) -> Result<Self, ServiceError> {
        let access = Access::new(config)?;
        let db = Db::open(&config.database_url).await?;
        let files = Files::open(&config.photo_dir, db.is_shared()).map_err(ServiceError::Files)?;
        db.recover(now_ms()).await?;
        let mut builder = Publisher::builder(config.redis.clone())
            .source(db.clone())
            .key_prefix(&config.key_prefix)
            .state_ttl(config.state_ttl)
            .coalesce(config.coalesce);
        if !config.redact.is_empty() {
            let fields = config.redact.clone();
            builder = builder.redact(move |photo| redact(&fields, photo));
        }
        if let Some(webhook) = &config.webhook {
            builder = builder.sink(webhook.clone());
        }
        if let Some(slack) = &config.slack {
            builder = builder.sink(slack.clone());
        }
        let publisher = builder.connect().await?;
        publisher.resync().await?;
        let listener = TcpListener::bind(config.listen).await.map_err(ServiceError::Listen)?;
        let address = listener.local_addr().map_err(ServiceError::Listen)?;
        let app = Arc::new(App {
            db,
            files,
            queue: Queue::new(),
            publisher,
            counters: Counters::default(),
            uploads: Slots::default(),
            requests: TaskTracker::new(),
            access,
            origin_token: config.origin_token.clone(),
            receive_timeout: config.receive_timeout,
            worker: Worker::new(i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX)),
        });
        app.db.alive(&app.worker, now_ms()).await?;
        tracing::info!(worker = app.worker.id, "works on photos");

        let (stop, stopped) = watch::channel(false);
        let mut pool = jobs::start(&app, config.worker_threads.get(), &stopped);
        pool.spawn(jobs::look(Arc::clone(&app), stopped.clone()));
        pool.spawn(deadlines::run(Arc::clone(&app), stopped.clone()));
        let server = tokio::spawn(serve(listener, Arc::clone(&app), stopped));
        Ok(Self { address, app, stop, server, pool })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in order: no new requests, photos under way end, the last updates leave. Returns the batches with an
    /// update that was not delivered; another process publishes them, or the next start.
    pub async fn stop(mut self) -> Vec<BatchId> {
        // Nobody listening any more is as good as told.
        let _ = self.stop.send(true);
        let drained = async {
            let _ = (&mut self.server).await;
            while self.pool.join_next().await.is_some() {}
            self.app.requests.close();
            self.app.requests.wait().await;
        };
        let cut_off = tokio::time::timeout(DRAIN, drained).await.is_err();
        if cut_off {
            // Photos that are still being worked on are taken up by another process, or at the next start.
            self.server.abort();
            self.pool.shutdown().await;
        }
        if let Err(error) = self.app.db.release(&self.app.worker).await {
            tracing::warn!(%error, "photos in work were not released; they are taken up when their leases expire");
        }
        let undelivered = self.app.publisher.close(PUBLISH_LAST).await;
        let db = &self.app.db;
        // What was cut off may have committed.
        let left = if undelivered.is_empty() && !cut_off {
            db.leave(&self.app.worker).await
        } else {
            db.leave_untold(&self.app.worker).await
        };
        if let Err(error) = left {
            tracing::warn!(%error, "other processes see that this one is gone when its lease is over");
        }
        db.close().await;
        undelivered
    }
}

async fn serve(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let stopped = async move {
        // An error says that the sender is gone, which also means: stop.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, routes::router(app)).with_graceful_shutdown(stopped).await
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
