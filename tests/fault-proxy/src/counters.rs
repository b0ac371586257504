//! What has happened so far, over all connections. Holds sums; refuses to be reset.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::messages::Disturbed;
use crate::orders::Direction;

/// One sum.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::SeqCst);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// All sums of one proxy; [`crate::Proxy`] says what each means.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) bytes_to_client: Counter,
    pub(crate) bytes_to_server: Counter,
    pub(crate) swallowed: Counter,
    pub(crate) dropped: Counter,
    pub(crate) duplicated: Counter,
    pub(crate) reordered: Counter,
    pub(crate) cuts: Counter,
    pub(crate) cuts_before: Counter,
}

impl Counters {
    pub(crate) fn sent(&self, direction: Direction, bytes: usize) {
        match direction {
            Direction::ToClient => self.bytes_to_client.add(bytes as u64),
            Direction::ToServer => self.bytes_to_server.add(bytes as u64),
        }
    }

    pub(crate) fn disturbed(&self, disturbed: Disturbed) {
        self.dropped.add(disturbed.dropped);
        self.duplicated.add(disturbed.duplicated);
        self.reordered.add(disturbed.reordered);
    }
}
