//! What a connection is told to do. Holds the settings; refuses to carry them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::messages::MessageFaults;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the upstream server to the client.
    ToClient,
    /// From the client to the upstream server.
    ToServer,
}

impl Direction {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::ToClient => Self::ToServer,
            Self::ToServer => Self::ToClient,
        }
    }
}

/// All faults of one connection. The default is clean forwarding.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// End at once; never taken back.
    pub(crate) cut: bool,
    /// Never taken back.
    pub(crate) swallow: PerDirection,
    pub(crate) stall: PerDirection,
    pub(crate) delay: Duration,
    /// Bytes per second to the client.
    pub(crate) trickle: Option<u32>,
    pub(crate) cut_before: Option<Arc<CutBefore>>,
    pub(crate) messages: Option<Arc<MessageFaults>>,
}

impl Orders {
    /// Ends everything that can be taken back.
    pub(crate) fn heal(&mut self) {
        *self = Self { cut: self.cut, swallow: self.swallow, ..Self::default() };
    }
}

/// A switch for each direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerDirection {
    to_client: bool,
    to_server: bool,
}

impl PerDirection {
    pub(crate) fn is(self, direction: Direction) -> bool {
        match direction {
            Direction::ToClient => self.to_client,
            Direction::ToServer => self.to_server,
        }
    }

    pub(crate) fn set(&mut self, direction: Direction, on: bool) {
        match direction {
            Direction::ToClient => self.to_client = on,
            Direction::ToServer => self.to_server = on,
        }
    }
}

/// Connections are cut before this, so many times more. Shared by all of them.
#[derive(Debug)]
pub(crate) struct CutBefore {
    pub(crate) needle: Vec<u8>,
    left: AtomicU64,
}

impl CutBefore {
    pub(crate) fn new(needle: Vec<u8>, times: u64) -> Self {
        Self { needle, left: AtomicU64::new(times) }
    }

    /// Takes one of the times; false when none is left.
    pub(crate) fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}
