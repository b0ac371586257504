//! A batch whose viewers were sent away because nothing had changed for long: its worker may never come back.
//!
//! Each open tab looks in once a minute. As long as the batch stands still, it is answered by a read and costs no room
//! and no subscription. This is remembered by the object that sent them away; one that has forgotten it opens a room
//! once more, for as long as any other.

use wire::Position;

use crate::{FORGOTTEN_RETRY, Millis};

/// Nobody has looked in for so long: the tabs are closed.
const ABANDONED_AFTER: Millis = 3 * FORGOTTEN_RETRY;

/// What is remembered of such a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    position: Position,
    asked_at: Millis,
}

impl Forgotten {
    /// Viewers were sent away at `position`.
    pub fn new(position: Position, now: Millis) -> Self {
        Self { position, asked_at: now }
    }

    /// Whether there is nothing to show to a viewer that returns at `now`, having seen `seen`, when the batch was just
    /// read at `stored`: it is sent away again.
    pub fn covers(&mut self, stored: Position, seen: Option<Position>, now: Millis) -> bool {
        self.asked_at = now;
        stored == self.position && seen == Some(stored)
    }

    /// Whether some tab may still come back.
    pub fn is_awaited(&self, now: Millis) -> bool {
        now < self.asked_at + ABANDONED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_is_sent_away_again_only_while_it_has_seen_all_and_nothing_has_changed() {
        let at = |text: &str| text.parse::<Position>().unwrap();
        let mut forgotten = Forgotten::new(at("1-5"), 0);
        assert!(forgotten.covers(at("1-5"), Some(at("1-5")), 1_000));
        assert!(!forgotten.covers(at("1-6"), Some(at("1-5")), 1_000), "there is news");
        assert!(!forgotten.covers(at("1-6"), Some(at("1-6")), 1_000), "the batch has moved");
        assert!(!forgotten.covers(at("1-5"), Some(at("1-4")), 1_000), "it has seen less");
        assert!(!forgotten.covers(at("1-5"), None, 1_000), "it is new");
        assert!(forgotten.is_awaited(180_999) && !forgotten.is_awaited(181_000));
    }
}
