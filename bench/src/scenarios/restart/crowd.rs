//! Many viewers that come back, in a thread of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::event_source::{EventSource, Story, Target};
use crate::latest::Latest;

/// They come one after the other, so far apart.
const ARRIVAL: Duration = Duration::from_millis(2);

/// How often it is looked whether all are there.
const LOOK: Duration = Duration::from_millis(5);

pub(super) struct Crowd {
    count: usize,
    pub(super) target: Arc<Target>,
    pub(super) latest: Latest,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Vec<Story>>>,
}

impl Crowd {
    /// So many, coming.
    pub(super) fn open(target: Target, count: usize) -> Self {
        let (target, latest) = (Arc::new(target), Latest::default());
        let sources: Vec<_> = (0..count).map(|_| EventSource::new(Arc::clone(&target), latest.viewer())).collect();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(live_all(sources, stopped))
        });
        Self { count, target, latest, stop, thread }
    }

    /// Waits until all have a stream.
    pub(super) async fn all_open(&self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let open = self.target.open.load(Ordering::Relaxed);
            if open == self.count as u64 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{open} of {} viewers have a stream", self.count);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes all; what each has lived through.
    pub(super) fn close(self) -> Result<Vec<Story>> {
        // A thread that has failed does not hear it; joining it tells why.
        let _ = self.stop.send(true);
        self.thread.join().map_err(|_| anyhow::anyhow!("the viewers panicked"))?
    }
}

async fn live_all(sources: Vec<EventSource>, stopped: watch::Receiver<bool>) -> Result<Vec<Story>> {
    let mut living = JoinSet::new();
    for (number, mut source) in (0..).zip(sources) {
        let mut stopped = stopped.clone();
        living.spawn(async move {
            let life = async {
                tokio::time::sleep(ARRIVAL * number).await;
                source.live().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = life => {}
                // Also when the other side is gone: then nobody waits for them any more.
                _ = stopped.wait_for(|stop| *stop) => {}
            }
            source.story
        });
    }
    let mut stories = Vec::new();
    while let Some(story) = living.join_next().await {
        stories.push(story?);
    }
    Ok(stories)
}
