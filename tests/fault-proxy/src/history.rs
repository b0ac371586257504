//! What a client has sent. Holds its latest bytes only; refuses to understand them.

use std::sync::{Mutex, PoisonError};

/// At least so many of the latest bytes are kept.
pub(crate) const KEPT_BYTES: usize = 1 << 20;

/// The latest bytes of one client.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<u8>>);

impl History {
    /// The client has sent these.
    pub(crate) fn record(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        // Twice the bound, so that old bytes are removed rarely and many at a time.
        if kept.len() > 2 * KEPT_BYTES {
            let old = kept.len() - KEPT_BYTES;
            kept.drain(..old);
        }
    }

    /// Whether `needle` occurs. An empty one does in everything.
    pub(crate) fn contains(&self, needle: &[u8]) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        needle.is_empty() || kept.windows(needle.len()).any(|window| window == needle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_across_chunks() {
        let history = History::default();
        history.record(b"GET /subsc");
        history.record(b"ribe/7 HTTP/1.1");
        assert!(history.contains(b"/subscribe/"));
        assert!(!history.contains(b"/publish/"));
    }

    #[test]
    fn the_latest_bytes_are_kept() {
        let history = History::default();
        history.record(b"first");
        for _ in 0..3 {
            history.record(&vec![b'.'; KEPT_BYTES]);
        }
        history.record(b"last");
        assert!(history.contains(b".last"));
        assert!(!history.contains(b"first"));
    }
}
