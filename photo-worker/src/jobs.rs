//! The bounded pool that analyses photos, and what keeps it in work.

use std::{collections::HashSet, sync::Arc};

use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};
use wire::PhotoId;

use crate::{
    analysis::{AnalysisError, Findings, analyse},
    db::{Begun, Claim, Db, DbError, Stepped, Worker},
    metrics::count,
    service::{App, now_ms},
    trace,
};

/// How many photos a look takes into the queue.
const HANDFUL: u32 = 64;

/// Photos that wait for a worker of this process. The rows are the truth, and the queue that processes share; this only
/// names some of them: its own uploads at once, and the oldest of all each time it looks. One that another process
/// takes first is found taken, and dropped.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<PhotoId>,
    receiver: Arc<Mutex<mpsc::UnboundedReceiver<PhotoId>>>,
    waiting: Arc<watch::Sender<HashSet<PhotoId>>>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), waiting: Arc::default() }
    }

    /// A photo that waits already does so once.
    pub(crate) fn push(&self, photo: PhotoId) {
        if self.waiting.send_if_modified(|waiting| waiting.insert(photo.clone())) {
            // The queue holds its own receiver, so there always is one.
            let _ = self.sender.send(photo);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    async fn pop(&self) -> Option<PhotoId> {
        let photo = self.receiver.lock().await.recv().await?;
        self.waiting.send_if_modified(|waiting| waiting.remove(&photo));
        Some(photo)
    }

    async fn emptied(&self) {
        // The queue holds the sender, so there always is one.
        let _ = self.waiting.subscribe().wait_for(HashSet::is_empty).await;
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
            // The row still says QUEUED or PROCESSING: someone takes it up again, when its lease is over at the latest.
            tracing::error!(%photo, %error, "a photo could not be worked on");
        }
    }
}

/// Looks for photos that wait in the rows: uploaded to another process, or left behind by one that is gone.
pub(crate) async fn look(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let found = fill(&app).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the database could not be asked for photos");
            0
        });
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            // There may be more than this handful: no need to wait.
            () = app.queue.emptied(), if found == HANDFUL as usize => {}
            () = tokio::time::sleep(app.worker.third()) => {}
        }
    }
}

/// How many photos were found.
async fn fill(app: &App) -> Result<usize, DbError> {
    let found = app.db.claimable(HANDFUL, now_ms()).await?;
    found.iter().for_each(|photo| app.queue.push(photo.clone()));
    Ok(found.len())
}

async fn process(app: &Arc<App>, photo: &PhotoId) -> Result<(), DbError> {
    let Some(begun) = app.db.begin(photo, &app.worker, now_ms()).await? else { return Ok(()) };
    match begun.trace {
        Some(trace) => trace::within(trace, finish(app, begun)).await,
        None => finish(app, begun).await,
    }
}

async fn finish(app: &Arc<App>, begun: Begun) -> Result<(), DbError> {
    let Begun { stepped: begun, claim, name, .. } = begun;
    app.announce(&begun);
    let outcome = kept(&app.db, &app.worker, &claim, look_at(app, &claim.photo, name)).await;
    let outcome = outcome.and_then(|findings| serde_json::to_string(&findings).map_err(|e| e.to_string()));
    let finished = app.db.finish(&claim, outcome.as_deref().map_err(String::as_str), now_ms()).await;
    // A commit whose answer was lost would be told to nobody.
    let stepped: Option<Stepped> = finished.inspect_err(|_| app.publisher.notify(&begun.batch))?;
    let Some(stepped) = stepped else { return Ok(()) };
    count(if outcome.is_ok() { &app.counters.completed } else { &app.counters.failed });
    app.announce(&stepped);
    tracing::debug!(photo = %claim.photo, batch = %stepped.batch, completed = outcome.is_ok(), "a photo was worked on");
    Ok(())
}

/// Does `work`, and keeps the photo meanwhile. Where that fails the work goes on: what comes late changes nothing.
async fn kept<T>(db: &Db, worker: &Worker, claim: &Claim, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(worker.third(), &mut work).await {
            return done;
        }
        match db.renew(claim, worker, now_ms()).await {
            Ok(true) => {}
            Ok(false) => tracing::info!(photo = %claim.photo, "it is no longer this worker's"),
            Err(error) => tracing::warn!(photo = %claim.photo, %error, "its lease could not be renewed"),
        }
    }
}

/// The findings, or the reason in words why there are none. The thumbnail is on disk before anyone hears of it.
async fn look_at(app: &Arc<App>, photo: &PhotoId, name: String) -> Result<Findings, String> {
    let (files, id) = (app.files.clone(), photo.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(files.original(&id)).map_err(|_| "its file is missing".to_owned())?;
        let (findings, thumbnail) = analyse(&id, &name, &bytes).map_err(|e: AnalysisError| e.to_string())?;
        files.store_thumbnail(&id, &thumbnail).map_err(|_| "its thumbnail could not be stored".to_owned())?;
        Ok(findings)
    });
    // A decoder that panics takes only its own photo with it.
    looking.await.unwrap_or_else(|_| Err(AnalysisError::Damaged.to_string()))
}

#[cfg(test)]
mod tests {
    use stack::{GUARD, eventually};

    use super::*;
    use crate::{db::NewPhoto, names::PhotoIds};

    #[tokio::test]
    async fn a_photo_is_kept_for_as_long_as_the_work_on_it_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}", dir.path().join("a.db").display())).await.unwrap();
        let photo = NewPhoto { id: PhotoIds::new().give().unwrap(), name: "a.jpg".to_owned(), received: true };
        db.create("p", None, std::slice::from_ref(&photo), 1_000, 2_000).await.unwrap();
        let (worker, now) = (Worker::new(300), now_ms());
        let claim = db.begin(&photo.id, &worker, now).await.unwrap().unwrap().claim;
        // As long as it takes until the lease goes beyond a second one.
        let work = eventually(GUARD, async || {
            anyhow::ensure!(db.claimable(1, now + 600).await?.is_empty());
            Ok(())
        });
        kept(&db, &worker, &claim, work).await.unwrap();
    }

    #[tokio::test]
    async fn a_photo_that_is_found_again_waits_once() {
        let (queue, mut ids) = (Queue::new(), PhotoIds::new());
        let (a, b) = (ids.give().unwrap(), ids.give().unwrap());
        [&a, &b, &a].into_iter().for_each(|photo| queue.push(photo.clone()));
        assert_eq!((queue.waiting(), queue.pop().await), (2, Some(a.clone())));
        queue.push(a.clone());
        assert_eq!((queue.pop().await, queue.pop().await), (Some(b), Some(a)));
        queue.emptied().await;
        assert_eq!(queue.waiting(), 0);
    }
}
