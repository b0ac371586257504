//! When the hash is read again: at once when asked, but never in a storm.

use crate::Millis;

/// The least pause between two reads of the hash by one room.
const FIRST_PAUSE: Millis = 50;
/// The pause that repeated reads in vain grow to.
const LONGEST_PAUSE: Millis = 5_000;

/// Paces the reads of one room.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// No read begins before.
    not_before: Millis,
    pause: Millis,
    /// A read was asked for and waits for its time.
    due: bool,
}

impl Pace {
    /// A read is wanted. True: begin it now.
    pub(crate) fn ask(&mut self, now: Millis) -> bool {
        self.due = true;
        self.wake(now)
    }

    /// True: the read that waited may begin now.
    pub(crate) fn wake(&mut self, now: Millis) -> bool {
        let begin = self.due && now >= self.not_before;
        if begin {
            self.due = false;
            self.pause = self.pause.max(FIRST_PAUSE);
            self.not_before = now + self.pause;
        }
        begin
    }

    /// The read was in vain: the next pause is twice as long.
    pub(crate) fn back_off(&mut self, now: Millis) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.not_before = now + self.pause;
    }

    /// The read gave what was wanted.
    pub(crate) fn settle(&mut self) {
        self.pause = 0;
    }

    /// Whether a read was asked for and waits for its time.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    pub(crate) fn wake_at(&self) -> Option<Millis> {
        self.due.then_some(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_read_is_at_once_and_the_next_after_a_pause() {
        let mut pace = Pace::default();
        assert!(pace.ask(1_000));
        assert!(!pace.ask(1_010));
        assert_eq!(pace.wake_at(), Some(1_050));
        assert!(pace.wake(1_050));
        assert_eq!(pace.wake_at(), None);
    }

    #[test]
    fn reads_in_vain_become_rare_and_a_good_one_resets_them() {
        let mut pace = Pace::default();
        pace.ask(0);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pace.back_off(now);
            assert!(!pace.ask(now));
            let next = pace.wake_at().unwrap();
            pauses.push(next - now);
            now = next;
            assert!(pace.wake(now));
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        pace.settle();
        assert!(pace.ask(now + LONGEST_PAUSE));
        assert!(!pace.ask(now + LONGEST_PAUSE + 49) && pace.wake(now + LONGEST_PAUSE + 50));
    }
}
