//! When a key set is fetched: at first, when it is old, and when a token names a key that is not in it. Times are in
//! milliseconds, of whichever clock the caller has.

use super::{Key, KeySet};

/// How long a set is used without being asked for again: so long at most a key that was taken out still counts.
const FRESH: u64 = 10 * 60 * 1000;
/// The pause between two fetches of a set that is there: whoever invents names of keys causes no more.
const PAUSE: u64 = 30 * 1000;
/// The pause after a fetch that failed while there is no set.
const FAILURE_PAUSE: u64 = 5 * 1000;
/// How long a set is used when its issuer does not answer.
const USABLE: u64 = 24 * 60 * 60 * 1000;

/// A key set, how old it is, and when it was last asked for.
///
/// ```
/// use batchcast_wire::token::{Keyring, KeySet, Lookup};
///
/// let (mut ring, now) = (Keyring::default(), 1_795_389_030_000);
/// if ring.look_up(Some("2026"), now) == Lookup::Fetch {
///     ring.begin(now);
///     let fetched = KeySet::parse(br#"{"keys":[]}"#).ok(); // Here the caller's client asks the issuer.
///     ring.finish(fetched, now);
/// }
/// assert_eq!(ring.look_up(Some("2026"), now), Lookup::Keys(vec![]));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    set: Option<(KeySet, u64)>,
    asked_at: Option<u64>,
    failed_at: Option<u64>,
    /// It is being asked for.
    asking: bool,
}

/// What to do with a token. All may be matched: each asks for something else.
///
/// ```
/// use batchcast_wire::token::{Keyring, Lookup};
///
/// let answer = match Keyring::default().look_up(None, 0) {
///     Lookup::Keys(keys) if keys.is_empty() => "401: no such key",
///     Lookup::Keys(_) => "check the signature",
///     Lookup::Fetch => "ask the issuer first",
///     Lookup::Unavailable => "503: it is the issuer that fails, not the token",
/// };
/// assert_eq!(answer, "ask the issuer first");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Try these keys; none: the token is refused.
    Keys(Vec<Key>),
    /// Fetch the set: [`Keyring::begin`], [`Keyring::finish`], then look again.
    Fetch,
    /// There is no set, or none with this key, and its issuer has not answered yet, or did not just now.
    Unavailable,
}

impl Keyring {
    /// The keys for a token with this `kid`.
    ///
    /// ```
    /// use batchcast_wire::token::{Keyring, KeySet, Lookup};
    ///
    /// let mut ring = Keyring::default();
    /// ring.begin(0);
    /// ring.finish(Some(KeySet::default()), 0);
    /// assert_eq!(ring.look_up(Some("invented"), 1_000), Lookup::Keys(vec![])); // Known a second ago: not asked again.
    /// assert_eq!(ring.look_up(Some("invented"), 30_000), Lookup::Fetch);
    /// ```
    pub fn look_up(&self, id: Option<&str>, now: u64) -> Lookup {
        let Some((set, fetched_at)) = &self.set else {
            let failed = self.failed_at.is_some_and(|at| now < at + FAILURE_PAUSE);
            return if failed { Lookup::Unavailable } else { Lookup::Fetch };
        };
        let keys = set.candidates(id);
        let due = keys.is_empty() || now >= fetched_at + FRESH;
        if due && self.asked_at.is_none_or(|at| now >= at + PAUSE) {
            return Lookup::Fetch;
        }
        // Whether a key that is not here is nobody's is not known until its issuer has answered.
        let unsure = keys.is_empty() && (self.asking || self.failed_at.is_some());
        if unsure || now >= fetched_at + USABLE { Lookup::Unavailable } else { Lookup::Keys(keys) }
    }

    /// The set is being fetched; others go on with the one that is there.
    ///
    /// ```
    /// use batchcast_wire::token::{Keyring, KeySet, Lookup};
    ///
    /// let mut ring = Keyring::default();
    /// ring.finish(Some(KeySet::default()), 0);
    /// assert_eq!(ring.look_up(Some("new"), 60_000), Lookup::Fetch);
    /// ring.begin(60_000);
    /// assert_eq!(ring.look_up(Some("new"), 60_001), Lookup::Unavailable); // Someone else is asking already.
    /// ```
    pub fn begin(&mut self, now: u64) {
        (self.asked_at, self.asking) = (Some(now), true);
    }

    /// The fetch has ended; `None`: without a set.
    ///
    /// ```
    /// use batchcast_wire::token::{Keyring, Lookup};
    ///
    /// let mut ring = Keyring::default();
    /// ring.begin(0);
    /// ring.finish(None, 2_000); // No answer.
    /// assert_eq!(ring.look_up(None, 3_000), Lookup::Unavailable); // It is left alone for 5 seconds.
    /// ```
    pub fn finish(&mut self, fetched: Option<KeySet>, now: u64) {
        self.asking = false;
        match fetched {
            Some(set) => (self.set, self.failed_at) = (Some((set, now)), None),
            None => self.failed_at = Some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::key_set::tests::set;

    fn fetched(ids: &[&str], at: u64) -> Keyring {
        let mut ring = Keyring::default();
        ring.begin(at);
        ring.finish(Some(set(ids)), at);
        ring
    }

    fn found(ring: &Keyring, id: &str, now: u64) -> usize {
        match ring.look_up(Some(id), now) {
            Lookup::Keys(keys) => keys.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_set_is_fetched_once_and_used_until_it_is_old() {
        assert_eq!(Keyring::default().look_up(Some("1"), 0), Lookup::Fetch);
        let ring = fetched(&["1"], 0);
        assert_eq!(found(&ring, "1", FRESH - 1), 1);
        assert_eq!(ring.look_up(Some("1"), FRESH), Lookup::Fetch);
    }

    #[test]
    fn a_new_key_is_fetched_but_invented_names_cause_one_fetch_in_a_pause() {
        let mut ring = fetched(&["1"], 0);
        assert_eq!(found(&ring, "2", PAUSE - 1), 0);
        assert_eq!(ring.look_up(Some("2"), PAUSE), Lookup::Fetch);
        ring.begin(PAUSE);
        assert_eq!(ring.look_up(Some("2"), PAUSE), Lookup::Unavailable, "while it is being fetched");
        assert_eq!(found(&ring, "1", PAUSE), 1);
        ring.finish(Some(set(&["1", "2"])), PAUSE + 5);
        assert_eq!((found(&ring, "2", PAUSE + 5), found(&ring, "3", PAUSE + 5)), (1, 0));
    }

    #[test]
    fn an_issuer_that_does_not_answer_is_left_alone_and_its_keys_are_used_for_a_day() {
        let mut ring = fetched(&["1"], 0);
        ring.begin(FRESH);
        ring.finish(None, FRESH + 9);
        assert_eq!(found(&ring, "1", FRESH + 9), 1);
        assert_eq!(ring.look_up(Some("2"), FRESH + 9), Lookup::Unavailable, "it may be the newest");
        assert_eq!(ring.look_up(Some("1"), FRESH + PAUSE), Lookup::Fetch);
        ring.begin(USABLE);
        ring.finish(None, USABLE);
        assert_eq!(ring.look_up(Some("1"), USABLE), Lookup::Unavailable);
    }

    #[test]
    fn without_any_set_it_is_asked_for_again_soon() {
        let mut ring = Keyring::default();
        ring.begin(0);
        assert_eq!(ring.look_up(None, 1), Lookup::Fetch, "nobody can wait for another's fetch");
        ring.finish(None, 10);
        assert_eq!(ring.look_up(None, 11), Lookup::Unavailable);
        assert_eq!(ring.look_up(None, 10 + FAILURE_PAUSE), Lookup::Fetch);
    }
}
