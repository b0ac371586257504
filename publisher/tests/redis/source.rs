//! An application's database in memory, which counts how often it is read.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use batchcast_publisher::{BatchId, BatchState, Changes, Position, ProgressSource, SourceError};

#[derive(Clone, Default)]
pub(crate) struct Memory {
    batches: Arc<Mutex<HashMap<BatchId, BatchState>>>,
    reads: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    asked_since: Arc<Mutex<Option<SystemTime>>>,
}

impl Memory {
    pub(crate) fn commit(&self, state: BatchState) {
        self.batches.lock().unwrap().insert(state.head().batch_id.clone(), state);
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Since when it was asked last for what is unsettled.
    pub(crate) fn asked_since(&self) -> Option<SystemTime> {
        *self.asked_since.lock().unwrap()
    }

    /// The next `times` reads fail.
    pub(crate) fn fail(&self, times: u64) {
        self.failures.store(times, Ordering::Relaxed);
    }
}

impl ProgressSource for Memory {
    async fn changes(&self, id: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if fails.is_ok() {
            return Err("the database is away".into());
        }
        let batches = self.batches.lock().unwrap();
        Ok(batches.get(id).map(|state| {
            let delta = state.changes_since(since);
            let since = since.filter(|_| !delta.full);
            let photos = delta.photos.into_iter().cloned().collect();
            Changes::new(since, state.head().clone(), photos).owned_by("user-1".to_owned())
        }))
    }

    async fn unsettled(&self, since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        *self.asked_since.lock().unwrap() = Some(since);
        Ok(self.batches.lock().unwrap().keys().cloned().collect())
    }
}
