//! The one subscription behind a room, and the proofs that it still carries.
//!
//! Redis Pub/Sub forgets and an HTTP stream can die without a sound, so a subscription is believed only for a while
//! after it last proved itself: by a message, or by a ping that came back through the channel. The ping's request also
//! reads the stored position: a replica behind it has missed something.

use wire::Position;

use crate::Millis;

/// How long a subscription may take to be confirmed.
const OPEN_WITHIN: Millis = 10_000;
/// How long a ping may take to come back.
pub(crate) const PING_ANSWER: Millis = 5_000;
/// The first and the longest pause before a new try, each cut short by a random part.
const FIRST_PAUSE: Millis = 250;
const LONGEST_PAUSE: Millis = 10_000;

#[derive(Debug)]
pub(crate) struct Link {
    state: State,
    /// Tries since something last came through.
    tries: u32,
    /// When the subscription last proved that it carries; at first, when the room was made from a read.
    proof_at: Millis,
    /// A ping did not come back: until the next proof nothing is believed.
    silent: bool,
    ping: Option<Ping>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Opening { since: Millis },
    Up,
    Down { retry_at: Millis },
}

#[derive(Debug)]
struct Ping {
    nonce: String,
    sent_at: Millis,
    returned: bool,
    /// The position that the ping's request read; outer `None`: no answer yet.
    stored: Option<Option<Position>>,
}

/// What the shell is to do about the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open it.
    Subscribe,
    /// Drop what is open: it is dead.
    Unsubscribe,
}

impl Link {
    pub(crate) fn new(now: Millis) -> Self {
        Self { state: State::Closed, tries: 0, proof_at: now, silent: false, ping: None }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether it proved itself within `trust`, and no ping was lost since.
    pub(crate) fn is_trusted(&self, trust: Millis, now: Millis) -> bool {
        !self.silent && now < self.proof_at + trust
    }

    pub(crate) fn proof_at(&self) -> Millis {
        self.proof_at
    }

    /// It is being opened, for the first time or once more after a pause.
    pub(crate) fn open(&mut self, now: Millis) {
        self.state = State::Opening { since: now };
        self.ping = None;
    }

    /// It is confirmed. A ping under way may have been lost with the one before.
    pub(crate) fn confirmed(&mut self, now: Millis) {
        self.state = State::Up;
        self.ping = None;
        (self.proof_at, self.silent) = (now, false);
    }

    /// Something came through the channel: only now is it a subscription that works.
    pub(crate) fn carried(&mut self, now: Millis) {
        self.tries = 0;
        (self.proof_at, self.silent) = (self.proof_at.max(now), false);
    }

    /// It ended or could not be opened. The next try comes after a pause with full jitter.
    pub(crate) fn failed(&mut self, now: Millis, rng: &mut fastrand::Rng) {
        if self.state == State::Closed {
            return;
        }
        let longest = (FIRST_PAUSE << self.tries.min(10)).min(LONGEST_PAUSE);
        self.tries += 1;
        self.state = State::Down { retry_at: now + rng.u64(FIRST_PAUSE / 5..=longest) };
        self.ping = None;
    }

    /// Nobody needs it any more. True: there is something to unsubscribe from.
    pub(crate) fn close(&mut self) -> bool {
        let open = matches!(self.state, State::Opening { .. } | State::Up);
        self.state = State::Closed;
        self.ping = None;
        open
    }

    /// Begins a ping, unless one is under way or there is nothing to prove.
    pub(crate) fn ping(&mut self, nonce: String, now: Millis) -> Option<String> {
        if self.state != State::Up || self.ping.is_some() {
            return None;
        }
        self.ping = Some(Ping { nonce: nonce.clone(), sent_at: now, returned: false, stored: None });
        Some(nonce)
    }

    /// A ping came through the channel. Some: it was ours and its request was answered, with the stored position.
    pub(crate) fn ping_returned(&mut self, nonce: &str) -> Option<Option<Position>> {
        self.ping.as_mut().filter(|ping| ping.nonce == nonce)?.returned = true;
        self.conclude()
    }

    /// The ping's request was answered. Some: the ping had come back before.
    pub(crate) fn ping_answered(&mut self, stored: Option<Position>) -> Option<Option<Position>> {
        self.ping.as_mut()?.stored = Some(stored);
        self.conclude()
    }

    fn conclude(&mut self) -> Option<Option<Position>> {
        let stored = self.ping.as_ref().filter(|ping| ping.returned)?.stored?;
        self.ping = None;
        Some(stored)
    }

    /// What is due now.
    pub(crate) fn wake(&mut self, now: Millis, rng: &mut fastrand::Rng) -> Option<Step> {
        if self.wake_at().is_none_or(|at| now < at) {
            return None;
        }
        match self.state {
            State::Closed => None,
            State::Down { .. } => {
                self.open(now);
                Some(Step::Subscribe)
            }
            State::Opening { .. } | State::Up => {
                self.silent |= self.state == State::Up;
                self.failed(now, rng);
                Some(Step::Unsubscribe)
            }
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Millis> {
        match self.state {
            State::Closed => None,
            State::Opening { since } => Some(since + OPEN_WITHIN),
            State::Down { retry_at } => Some(retry_at),
            State::Up => self.ping.as_ref().map(|ping| ping.sent_at + PING_ANSWER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> Link {
        let mut link = Link::new(0);
        link.open(0);
        link.confirmed(100);
        link
    }

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(7)
    }

    #[test]
    fn a_subscription_that_is_not_confirmed_in_time_is_dropped_and_tried_again() {
        let mut link = Link::new(0);
        link.open(0);
        assert_eq!(link.wake(9_999, &mut rng()), None);
        assert_eq!(link.wake(10_000, &mut rng()), Some(Step::Unsubscribe));
        let again = link.wake_at().unwrap();
        assert_eq!(link.wake(again, &mut rng()), Some(Step::Subscribe));
    }

    #[test]
    fn a_ping_that_comes_back_tells_the_stored_position_in_either_order() {
        let position: Option<Position> = "1-2".parse().ok();
        let mut link = up();
        assert_eq!(link.ping("a".into(), 200), Some("a".into()));
        assert_eq!(link.ping_answered(position), None);
        assert_eq!(link.ping_returned("of another object"), None);
        assert_eq!(link.ping_returned("a"), Some(position));
        link.ping("b".into(), 300);
        assert_eq!(link.ping_returned("b"), None);
        assert_eq!(link.ping_answered(position), Some(position));
        assert_eq!(link.wake_at(), None);
    }

    #[test]
    fn a_ping_that_does_not_come_back_ends_the_subscription() {
        let mut link = up();
        link.ping("a".into(), 200);
        link.ping_answered(None);
        assert_eq!(link.wake(5_199, &mut rng()), None);
        assert!(link.is_trusted(25_000, 5_199));
        assert_eq!(link.wake(5_200, &mut rng()), Some(Step::Unsubscribe));
        assert!(!link.is_up());
        // What it proved before may be of no worth: messages may have been lost since.
        assert!(!link.is_trusted(25_000, 5_200));
        link.open(5_300);
        link.confirmed(5_400);
        assert!(link.is_trusted(25_000, 5_400));
    }

    #[test]
    fn pauses_between_tries_grow_and_stay_within_bounds() {
        let (mut link, mut rng, mut now) = (Link::new(0), rng(), 0);
        link.open(now);
        for tries in 0..20 {
            link.failed(now, &mut rng);
            let pause = link.wake_at().unwrap() - now;
            assert!((50..=(250 << tries.min(6)).min(10_000)).contains(&pause), "try {tries}: {pause}");
            now += pause;
            assert_eq!(link.wake(now, &mut rng), Some(Step::Subscribe));
        }
    }

    #[test]
    fn a_closed_link_stays_closed() {
        let mut link = up();
        assert!(link.close());
        link.failed(200, &mut rng());
        assert!(link.is_closed() && link.wake_at().is_none());
    }
}
