//! Tells the background task that a connection was lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// What may have been lost with a connection, and how many connections there were.
#[derive(Default)]
pub(super) struct Loss {
    told: Notify,
    connections: AtomicU64,
}

impl Loss {
    /// Tells it once for each connection.
    pub(super) fn tell_once(&self, broken: &AtomicBool) {
        if !broken.swap(true, Ordering::AcqRel) {
            self.tell();
        }
    }

    /// Tells it.
    pub(super) fn tell(&self) {
        self.told.notify_one();
    }

    /// Waits until it is told.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Counts a connection that was made.
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
