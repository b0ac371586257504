//! The bounded pool that analyses photos.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};
use wire::PhotoId;

use crate::{
    analysis::{AnalysisError, Findings, analyse},
    db::{Begun, DbError, Stepped},
    metrics::count,
    service::{App, now_ms},
    trace,
};

/// How long a database that failed is left alone.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);

/// Photos that wait for a worker. The rows are the truth; this only names them, and is filled from them at start.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<PhotoId>,
    receiver: Arc<Mutex<mpsc::UnboundedReceiver<PhotoId>>>,
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), waiting: Arc::default() }
    }

    pub(crate) fn push(&self, photo: PhotoId) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The queue holds its own receiver, so there always is one.
        let _ = self.sender.send(photo);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    async fn pop(&self) -> Option<PhotoId> {
        let photo = self.receiver.lock().await.recv().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(photo)
    }
}

/// Starts as many workers as photos may be analysed at the same time. Told to stop, each ends after its photo.
pub(crate) fn start(app: &Arc<App>, workers: usize, stop: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut pool = JoinSet::new();
    for _ in 0..workers {
        pool.spawn(work(Arc::clone(app), stop.clone()));
    }
    pool
}

async fn work(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let photo = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            photo = app.queue.pop() => photo,
        };
        let Some(photo) = photo else { return };
        if let Err(error) = process(&app, &photo).await {
            tracing::error!(%photo, %error, "a photo could not be worked on");
            // What has become of the row nobody knows. Told to stop, the next start takes it up again.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = take_up_again(&app, photo, &error) => {}
            }
        }
    }
}

/// Puts the photo back into the queue once the database answers.
async fn take_up_again(app: &App, photo: PhotoId, error: &DbError) {
    if !matches!(error, DbError::Failed(_)) {
        return;
    }
    loop {
        tokio::time::sleep(DATABASE_PAUSE).await;
        match app.db.requeue(&photo, now_ms()).await {
            Ok(batch) => {
                // A commit whose answer was lost may have told nobody.
                app.publisher.notify(&batch);
                app.queue.push(photo);
                return;
            }
            Err(error) => tracing::warn!(%photo, %error, "the database still fails"),
        }
    }
}

async fn process(app: &Arc<App>, photo: &PhotoId) -> Result<(), DbError> {
    let Some(begun) = app.db.begin(photo, now_ms()).await? else { return Ok(()) };
    match begun.trace {
        Some(trace) => trace::within(trace, finish(app, photo, begun)).await,
        None => finish(app, photo, begun).await,
    }
}

async fn finish(app: &Arc<App>, photo: &PhotoId, begun: Begun) -> Result<(), DbError> {
    app.announce(&begun.stepped);
    let outcome = look_at(app, photo, begun.name).await;
    let outcome = outcome.and_then(|findings| serde_json::to_string(&findings).map_err(|e| e.to_string()));
    let stepped: Option<Stepped> = app.db.finish(photo, outcome.as_deref().map_err(String::as_str), now_ms()).await?;
    let Some(stepped) = stepped else { return Ok(()) };
    count(if outcome.is_ok() { &app.counters.completed } else { &app.counters.failed });
    app.announce(&stepped);
    tracing::debug!(%photo, batch = %stepped.batch, completed = outcome.is_ok(), "a photo was worked on");
    Ok(())
}

/// The findings, or the reason in words why there are none. The thumbnail is on disk before anyone hears of it.
async fn look_at(app: &Arc<App>, photo: &PhotoId, name: String) -> Result<Findings, String> {
    let (original, place) = (app.files.original(photo), app.files.thumbnail(photo));
    let id = photo.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(original).map_err(|_| "its file is missing".to_owned())?;
        let (findings, thumbnail) = analyse(&id, &name, &bytes).map_err(|e: AnalysisError| e.to_string())?;
        std::fs::write(place, thumbnail).map_err(|_| "its thumbnail could not be stored".to_owned())?;
        Ok(findings)
    });
    // A decoder that panics takes only its own photo with it.
    looking.await.unwrap_or_else(|_| Err(AnalysisError::Damaged.to_string()))
}
