//! The bounded pool that analyses photos, and what keeps it in work.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use publisher::PublishError;
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};
use wire::{BatchId, PhotoId};

use crate::{
    analysis::{AnalysisError, Findings, analyse},
    db::{Begun, Claim, Db, DbError, Stepped, Taken, Waiting, Worker},
    deadlines::AFTER_FAILURE,
    metrics::count,
    service::{App, now_ms},
    trace,
};

/// How long what came of a photo is offered to a database that can't take it.
const OFFERED_FOR: Duration = Duration::from_secs(60);
const OFFERED_EVERY: Duration = Duration::from_secs(1);

/// How many photos a look takes into the queue.
const HANDFUL: u32 = 64;

/// Photos that wait for a worker of this process. The rows are the truth, and the queue that processes share; this only
/// names some of them: its own uploads at once, and the oldest of all each time it looks. One that another process
/// takes first is found taken, and dropped.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Waiting>,
    receiver: Arc<Mutex<mpsc::UnboundedReceiver<Waiting>>>,
    waiting: Arc<watch::Sender<Waits>>,
}

#[derive(Default)]
struct Waits {
    queued: HashSet<PhotoId>,
    /// Suspects that were put aside, until the one that is worked on is done.
    aside: VecDeque<PhotoId>,
    /// A suspect is being worked on.
    suspect: bool,
}

/// Held by who works on a suspect: no two of them are worked on at the same time.
struct Alone(Arc<watch::Sender<Waits>>);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.send_modify(|waits| waits.suspect = false);
    }
}

impl Queue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), waiting: Arc::default() }
    }

    /// A photo that waits already does so once.
    pub(crate) fn push(&self, photo: impl Into<Waiting>) {
        let photo = photo.into();
        let is_new =
            |waits: &mut Waits| !waits.aside.contains(&photo.photo) && waits.queued.insert(photo.photo.clone());
        if self.waiting.send_if_modified(is_new) {
            // The queue holds its own receiver, so there always is one.
            let _ = self.sender.send(photo);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        let waits = self.waiting.borrow();
        waits.queued.len() + waits.aside.len()
    }

    async fn pop(&self) -> Option<Waiting> {
        let photo = self.receiver.lock().await.recv().await?;
        self.waiting.send_if_modified(|waits| waits.queued.remove(&photo.photo));
        Some(photo)
    }

    /// A photo to work on, and for a suspect what is to be held meanwhile.
    async fn take(&self) -> Option<(PhotoId, Option<Alone>)> {
        loop {
            // Whoever puts one aside looks behind that, and who is done with one comes here next: none stays aside.
            if let Some((photo, alone)) = self.next_suspect() {
                return Some((photo, Some(alone)));
            }
            let Waiting { photo, suspect } = self.pop().await?;
            if !suspect {
                return Some((photo, None));
            }
            self.waiting.send_modify(|waits| waits.aside.push_back(photo));
        }
    }

    /// One that was put aside, unless another is being worked on.
    fn next_suspect(&self) -> Option<(PhotoId, Alone)> {
        let mut next = None;
        self.waiting.send_if_modified(|waits| {
            next = if waits.suspect { None } else { waits.aside.pop_front() };
            waits.suspect |= next.is_some();
            next.is_some()
        });
        Some((next?, Alone(Arc::clone(&self.waiting))))
    }

    async fn emptied(&self) {
        // The queue holds the sender, so there always is one.
        let _ = self.waiting.subscribe().wait_for(|waits| waits.queued.is_empty()).await;
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
        let taken = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            taken = app.queue.take() => taken,
        };
        let Some((photo, _alone)) = taken else { return };
        if let Err(error) = process(&app, &photo).await {
            // The row still says QUEUED or PROCESSING: someone takes it up again, when its lease is over at the latest.
            tracing::error!(%photo, %error, "a photo could not be worked on");
            // What fails is rarely the photo's: the next one would fare no better.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(AFTER_FAILURE) => {}
            }
        }
    }
}

/// Looks for what others have left in the rows: photos that wait, uploaded to another process or in work at one that is
/// gone, and commits of such a one that nobody was told of.
pub(crate) async fn look(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = settle(&app).await {
            tracing::error!(%error, "what other processes left may not be told yet");
        }
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

/// Tells what processes that are gone may have left untold.
async fn settle(app: &App) -> Result<(), SettleError> {
    app.db.alive(&app.worker, now_ms()).await?;
    let gone = app.db.gone(&app.worker, now_ms()).await?;
    if !gone.is_empty() {
        let batches = app.publisher.resync().await?;
        tracing::warn!(workers = ?gone, batches, "processes are gone; what they may not have told is told");
        app.db.settled(&gone).await?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Publisher(#[from] PublishError),
}

/// How many photos were found.
async fn fill(app: &App) -> Result<usize, DbError> {
    let found = app.db.claimable(HANDFUL, now_ms()).await?;
    let count = found.len();
    found.into_iter().for_each(|photo| app.queue.push(photo));
    Ok(count)
}

/// Why nothing came of a photo: it is tried again.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("its files: {0}")]
    Files(#[from] io::Error),
}

async fn process(app: &Arc<App>, photo: &PhotoId) -> Result<(), JobError> {
    let begun = app.db.begin(photo, &app.worker, now_ms()).await;
    if begun.is_err()
        && let Ok(Some(owned)) = app.db.owner_of_photo(photo).await
    {
        // A commit whose answer was lost would be told to nobody.
        app.publisher.notify(&owned.batch);
    }
    match begun? {
        Some(Taken::Begun(begun)) => match begun.trace {
            Some(trace) => trace::within(trace, finish(app, begun)).await,
            None => finish(app, begun).await,
        },
        Some(Taken::GivenUp(stepped)) => {
            tracing::warn!(%photo, batch = %stepped.batch, "given up: too many processes were lost at work on it");
            count(&app.counters.failed);
            app.announce(&stepped);
            Ok(())
        }
        None => Ok(()),
    }
}

async fn finish(app: &Arc<App>, begun: Begun) -> Result<(), JobError> {
    let Begun { stepped: begun, claim, name, .. } = begun;
    app.announce(&begun);
    let work = async {
        let outcome = look_at(app, &claim.photo, name).await?;
        let outcome = outcome.and_then(|findings| serde_json::to_string(&findings).map_err(|e| e.to_string()));
        let stepped = offer(app, &begun.batch, &claim, outcome.as_deref().map_err(String::as_str)).await?;
        Ok::<_, JobError>((outcome, stepped))
    };
    let (outcome, Some(stepped)) = kept(&app.db, &app.worker, &claim, work).await? else { return Ok(()) };
    count(if outcome.is_ok() { &app.counters.completed } else { &app.counters.failed });
    app.announce(&stepped);
    tracing::debug!(photo = %claim.photo, batch = %stepped.batch, completed = outcome.is_ok(), "a photo was worked on");
    Ok(())
}

/// Writes down what came of a photo, and again where the database fails: what was found out is not thrown away for that.
async fn offer(
    app: &App,
    batch: &BatchId,
    claim: &Claim,
    outcome: Result<&str, &str>,
) -> Result<Option<Stepped>, DbError> {
    let (begun, mut failed) = (Instant::now(), false);
    loop {
        let finished = app.db.finish(claim, outcome, now_ms()).await;
        failed |= finished.is_err();
        match finished {
            Err(error @ DbError::Failed(_)) if begun.elapsed() < OFFERED_FOR => {
                tracing::warn!(photo = %claim.photo, %error, "what came of it could not be written: trying again");
                tokio::time::sleep(OFFERED_EVERY).await;
            }
            done => {
                // A commit whose answer was lost would be told to nobody: the next attempt finds nothing to do.
                if failed {
                    app.publisher.notify(batch);
                }
                return done;
            }
        }
    }
}

/// Does `work`, and keeps the photo meanwhile. Where that fails the work goes on: what comes late changes nothing.
async fn kept<T>(db: &Db, worker: &Worker, claim: &Claim, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut pause = worker.third().saturating_sub(claim.since.elapsed());
    loop {
        if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
            return done;
        }
        pause = worker.third();
        // The work goes on meanwhile: it may hold what the renewal waits for.
        let renewed = tokio::select! {
            biased;
            done = &mut work => return done,
            renewed = db.renew(claim, worker, now_ms()) => renewed,
        };
        match renewed {
            Ok(true) => {}
            Ok(false) => tracing::info!(photo = %claim.photo, "it is no longer this worker's"),
            Err(error) => tracing::warn!(photo = %claim.photo, %error, "its lease could not be renewed"),
        }
    }
}

/// The findings, or the reason in words why there are none. The thumbnail is on disk before anyone hears of it. A disk
/// that fails is no fault of the photo.
async fn look_at(app: &Arc<App>, photo: &PhotoId, name: String) -> io::Result<Result<Findings, String>> {
    let (files, id) = (app.files.clone(), photo.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let bytes = match std::fs::read(files.original(&id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err("its file is missing".to_owned())),
            read => read?,
        };
        match analyse(&id, &name, &bytes) {
            Ok((findings, thumbnail)) => files.store_thumbnail(&id, &thumbnail).map(|()| Ok(findings)),
            Err(error) => Ok(Err(error.to_string())),
        }
    });
    // A decoder that panics takes only its own photo with it.
    looking.await.unwrap_or_else(|_| Ok(Err(AnalysisError::Damaged.to_string())))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use stack::{GUARD, eventually};
    use tempfile::TempDir;

    use super::*;
    use crate::{db::NewPhoto, names::PhotoIds};

    async fn with_one_photo() -> (TempDir, Db, PhotoId) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}", dir.path().join("a.db").display())).await.unwrap();
        let photo = NewPhoto { id: PhotoIds::new().give().unwrap(), name: "a.jpg".to_owned(), received: true };
        db.create("p", None, std::slice::from_ref(&photo), 1_000, 2_000).await.unwrap();
        (dir, db, photo.id)
    }

    fn begun(taken: Option<Taken>) -> Begun {
        let Some(Taken::Begun(begun)) = taken else { panic!("{taken:?}") };
        begun
    }

    #[tokio::test]
    async fn a_photo_is_kept_for_as_long_as_the_work_on_it_lasts() {
        let (_dir, db, photo) = with_one_photo().await;
        let (worker, now) = (Worker::new(300), now_ms());
        let claim = begun(db.begin(&photo, &worker, now).await.unwrap()).claim;
        // As long as it takes until the lease goes beyond a second one.
        let work = eventually(GUARD, async || {
            anyhow::ensure!(db.claimable(1, now + 600).await?.is_empty());
            Ok(())
        });
        kept(&db, &worker, &claim, work).await.unwrap();
    }

    #[tokio::test]
    async fn work_goes_on_while_the_renewal_waits_for_what_it_holds() {
        let (_dir, db, photo) = with_one_photo().await;
        let worker = Worker::new(30);
        let claim = begun(db.begin(&photo, &worker, now_ms()).await.unwrap()).claim;
        let work = async {
            // SQLite has one writer.
            let held = db.write().await.unwrap();
            tokio::time::sleep(3 * worker.third()).await;
            held.rollback().await.unwrap();
        };
        // Else they wait for each other until the pool gives up, which is as long as the guard.
        tokio::time::timeout(GUARD / 2, kept(&db, &worker, &claim, work)).await.unwrap();
    }

    #[tokio::test]
    async fn suspects_are_worked_on_one_at_a_time_and_others_beside_them() {
        let (queue, mut ids) = (Queue::new(), PhotoIds::new());
        let [a, b, c] = [(); 3].map(|()| ids.give().unwrap());
        for photo in [&a, &b] {
            queue.push(Waiting { photo: photo.clone(), suspect: true });
        }
        queue.push(c.clone());
        let (photo, alone) = queue.take().await.unwrap();
        assert_eq!(photo, a);
        // Nobody waits for it, however many there are.
        assert_eq!((queue.take().await.unwrap().0, queue.waiting()), (c, 1));
        queue.push(Waiting { photo: b.clone(), suspect: true });
        assert!(poll!(pin!(queue.take())).is_pending());
        drop(alone);
        let (photo, alone) = queue.take().await.unwrap();
        assert_eq!((photo, alone.is_some(), queue.waiting()), (b, true, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_suspect_stays_aside_whoever_takes_at_the_same_time() {
        for _ in 0..200 {
            let (queue, mut ids, mut takers) = (Queue::new(), PhotoIds::new(), JoinSet::new());
            let (sender, mut taken) = mpsc::unbounded_channel();
            for _ in 0..4 {
                let (queue, sender) = (queue.clone(), sender.clone());
                takers.spawn(async move {
                    while let Some((photo, _alone)) = queue.take().await {
                        let _ = sender.send(photo);
                    }
                });
            }
            for _ in 0..4 {
                queue.push(Waiting { photo: ids.give().unwrap(), suspect: true });
            }
            for _ in 0..4 {
                tokio::time::timeout(GUARD, taken.recv()).await.expect("it is taken");
            }
        }
    }

    #[tokio::test]
    async fn a_photo_that_is_found_again_waits_once() {
        let (queue, mut ids) = (Queue::new(), PhotoIds::new());
        let (a, b) = (ids.give().unwrap(), ids.give().unwrap());
        [&a, &b, &a].into_iter().for_each(|photo| queue.push(photo.clone()));
        assert_eq!((queue.waiting(), queue.pop().await), (2, Some(a.clone().into())));
        queue.push(a.clone());
        assert_eq!((queue.pop().await, queue.pop().await), (Some(b.into()), Some(a.into())));
        queue.emptied().await;
        assert_eq!(queue.waiting(), 0);
    }
}
