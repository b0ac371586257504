//! Which pub/sub messages are lost, doubled or out of order. Holds the decisions and the bytes held back for them;
//! refuses sockets and clocks.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::resp::{self, Split, Splitter};

/// A held-back message waits at most so long for the message that is to overtake it.
const MAX_HOLD: Duration = Duration::from_millis(100);

/// Says of a payload whether its message is lost.
pub type PayloadTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What happens to Redis pub/sub messages. The default disturbs nothing.
///
/// Probabilities are from 0 (never) to 1 (always). A lost message is not also doubled or held back.
#[derive(Clone, Default)]
pub struct MessageFaults {
    /// Begins the random decisions. Each connection has a sequence of its own, from the seed and from its place in the
    /// order in which connections were accepted.
    pub seed: u64,
    /// How likely a message is lost.
    pub drop: f64,
    /// Loses every message with such a payload, whatever `drop` says.
    pub drop_if: Option<PayloadTest>,
    /// How likely a message comes twice, one right behind the other.
    pub duplicate: f64,
    /// How likely a message is held back and sent behind the next one on its connection, of whatever channel. It is
    /// sent in its place after all when 100 ms pass, or another reply comes, before that next message.
    pub reorder: f64,
}

impl fmt::Debug for MessageFaults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MessageFaults")
            .field("seed", &self.seed)
            .field("drop", &self.drop)
            .field("drop_if", &self.drop_if.as_ref().map(|_| ".."))
            .field("duplicate", &self.duplicate)
            .field("reorder", &self.reorder)
            .finish()
    }
}

/// What was done to messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disturbed {
    pub(crate) dropped: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

/// The replies of one connection. Follows the frames even while nothing is to be disturbed, so that faults may begin
/// at any time.
#[derive(Debug, Default)]
pub(crate) struct Disturber {
    /// Tells this connection from the others, for its random decisions.
    connection: u64,
    faults: Option<(Arc<MessageFaults>, fastrand::Rng)>,
    splitter: Splitter,
    /// The current frame, as long as it may be a message that is to be disturbed.
    frame: Vec<u8>,
    /// The beginning of the current frame has left already, so the rest must follow.
    passing: bool,
    held: Option<Held>,
    disturbed: Disturbed,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    bytes: Vec<u8>,
}

impl Disturber {
    pub(crate) fn new(connection: u64) -> Self {
        Self { connection, ..Self::default() }
    }

    /// From now on does as `faults` say. Nothing happens when they are the same as before.
    pub(crate) fn adopt(&mut self, faults: Option<&Arc<MessageFaults>>, out: &mut Vec<u8>) {
        let same = match (&self.faults, faults) {
            (None, None) => true,
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if same {
            return;
        }
        self.release(out);
        self.faults = faults.map(|faults| {
            let seed = faults.seed ^ self.connection.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (Arc::clone(faults), fastrand::Rng::with_seed(seed))
        });
    }

    /// Takes bytes from the server and appends to `out` what leaves now.
    pub(crate) fn input(&mut self, mut bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let split = self.splitter.input(bytes);
            let taken = match split {
                Split::FrameEnd(taken) => taken,
                Split::Within => bytes.len(),
                Split::Lost => {
                    self.release(out);
                    out.extend_from_slice(bytes);
                    return;
                }
            };
            self.within_frame(&bytes[..taken], out);
            if matches!(split, Split::FrameEnd(_)) {
                self.frame_ended(now, out);
            }
            bytes = &bytes[taken..];
        }
    }

    fn within_frame(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.passing {
            self.frame.extend_from_slice(bytes);
            if self.faults.is_none() || !resp::could_be_message(&self.frame) {
                self.release(out);
            }
        } else {
            out.extend_from_slice(bytes);
        }
    }

    fn frame_ended(&mut self, now: Instant, out: &mut Vec<u8>) {
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.passing) {
            return;
        }
        let (Some((faults, rng)), Some(payload)) = (&mut self.faults, resp::payload(&frame)) else {
            self.let_go(out);
            out.extend_from_slice(&frame);
            return;
        };
        // Always three draws, so that one probability does not shift the decisions of the others.
        let [drop, duplicate, reorder] = [faults.drop, faults.duplicate, faults.reorder].map(|p| rng.f64() < p);
        if drop || faults.drop_if.as_ref().is_some_and(|test| test(payload)) {
            self.disturbed.dropped += 1;
            return;
        }
        let mut bytes = frame;
        if duplicate {
            self.disturbed.duplicated += 1;
            bytes.extend_from_within(..);
        }
        if let Some(held) = self.held.take() {
            self.disturbed.reordered += 1;
            out.extend_from_slice(&bytes);
            out.extend_from_slice(&held.bytes);
        } else if reorder {
            self.held = Some(Held { since: now, bytes });
        } else {
            out.extend_from_slice(&bytes);
        }
    }

    /// Appends to `out` what was held back long enough.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.let_go(out);
        }
    }

    /// When [`Disturber::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.since + MAX_HOLD)
    }

    /// Appends to `out` everything that was held back.
    pub(crate) fn release(&mut self, out: &mut Vec<u8>) {
        self.let_go(out);
        self.passing |= !self.frame.is_empty();
        out.append(&mut self.frame);
    }

    fn let_go(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            out.extend_from_slice(&held.bytes);
        }
    }

    /// What was done since this was last asked.
    pub(crate) fn take_disturbed(&mut self) -> Disturbed {
        std::mem::take(&mut self.disturbed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"+OK\r\n";

    fn message(payload: &str) -> Vec<u8> {
        format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len()).into_bytes()
    }

    fn messages(payloads: &[&str]) -> Vec<u8> {
        payloads.iter().flat_map(|payload| message(payload)).collect()
    }

    fn disturber(faults: MessageFaults) -> Disturber {
        let mut disturber = Disturber::new(1);
        disturber.adopt(Some(&Arc::new(faults)), &mut Vec::new());
        disturber
    }

    fn run(disturber: &mut Disturber, chunks: &[&[u8]]) -> Vec<u8> {
        let (now, mut out) = (Instant::now(), Vec::new());
        for chunk in chunks {
            disturber.input(chunk, now, &mut out);
        }
        out
    }

    #[test]
    fn any_cut_gives_the_same_bytes_and_counts() {
        let push = b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$4\r\npush\r\n".to_vec();
        let five = messages(&["a", "b", "c", "d", "e"]);
        let stream =
            [OK, &five, &push, &push, b"$3\r\nabc\r\n", &five, b"*3\r\n$1\r\na\r\n:1\r\n:2\r\n", &five].concat();
        let mut counts = Disturbed::default();
        for seed in 0..10 {
            let faults = || MessageFaults { seed, drop: 0.3, duplicate: 0.3, reorder: 0.3, drop_if: None };
            let mut whole = disturber(faults());
            let expected = run(&mut whole, &[&stream]);
            let disturbed = whole.take_disturbed();
            counts.dropped += disturbed.dropped;
            counts.duplicated += disturbed.duplicated;
            counts.reordered += disturbed.reordered;
            for cut in 0..stream.len() {
                let mut two = disturber(faults());
                assert_eq!(run(&mut two, &[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
                assert_eq!(two.take_disturbed(), disturbed);
            }
            let mut bytewise = disturber(faults());
            assert_eq!(run(&mut bytewise, &stream.chunks(1).collect::<Vec<_>>()), expected);
        }
        assert!(counts.dropped > 20 && counts.duplicated > 20 && counts.reordered > 10, "{counts:?}");
    }

    #[test]
    fn replies_that_are_no_messages_pass_byte_for_byte() {
        let faults = MessageFaults { drop: 1.0, duplicate: 1.0, reorder: 1.0, ..MessageFaults::default() };
        let stream =
            b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessagX\r\n+a\r\n+b\r\n$7\r\nmessage\r\n";
        assert_eq!(run(&mut disturber(faults), &stream.chunks(1).collect::<Vec<_>>()), stream);
    }

    #[test]
    fn what_is_no_redis_passes_byte_for_byte() {
        let faults = MessageFaults { drop: 1.0, ..MessageFaults::default() };
        let stream = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &message("a")].concat();
        assert_eq!(run(&mut disturber(faults), &[&stream]), stream);
    }

    #[test]
    fn a_payload_can_decide_that_its_message_is_lost() {
        let drop_if: PayloadTest = Arc::new(|payload| payload == b"b");
        let mut disturber = disturber(MessageFaults { drop_if: Some(drop_if), ..MessageFaults::default() });
        assert_eq!(run(&mut disturber, &[&messages(&["a", "b", "c"])]), messages(&["a", "c"]));
        assert_eq!(disturber.take_disturbed(), Disturbed { dropped: 1, ..Disturbed::default() });
    }

    #[test]
    fn a_certain_duplicate_comes_twice() {
        let mut disturber = disturber(MessageFaults { duplicate: 1.0, ..MessageFaults::default() });
        assert_eq!(run(&mut disturber, &[&messages(&["a", "b"])]), messages(&["a", "a", "b", "b"]));
    }

    #[test]
    fn a_held_message_is_sent_behind_the_next_one() {
        let mut disturber = disturber(MessageFaults { reorder: 1.0, ..MessageFaults::default() });
        assert_eq!(run(&mut disturber, &[&messages(&["a", "b", "c", "d"])]), messages(&["b", "a", "d", "c"]));
        assert_eq!(disturber.take_disturbed(), Disturbed { reordered: 2, ..Disturbed::default() });
    }

    #[test]
    fn a_held_message_leaves_in_its_place_when_no_other_comes_in_time() {
        let mut disturber = disturber(MessageFaults { reorder: 1.0, ..MessageFaults::default() });
        let (now, mut out) = (Instant::now(), Vec::new());
        disturber.input(&message("a"), now, &mut out);
        disturber.tick(now + MAX_HOLD - Duration::from_millis(1), &mut out);
        assert_eq!(out, b"");
        assert_eq!(disturber.deadline(), Some(now + MAX_HOLD));
        disturber.tick(now + MAX_HOLD, &mut out);
        assert_eq!(out, message("a"));
        assert_eq!(disturber.take_disturbed(), Disturbed::default());
    }

    #[test]
    fn a_held_message_does_not_fall_behind_another_reply() {
        let mut disturber = disturber(MessageFaults { reorder: 1.0, ..MessageFaults::default() });
        assert_eq!(run(&mut disturber, &[&message("a"), OK]), [&message("a"), OK].concat());
    }

    #[test]
    fn faults_that_begin_or_end_inside_a_frame_leave_that_frame_alone() {
        let (stream, now) = (messages(&["a", "b"]), Instant::now());
        let faults = Arc::new(MessageFaults { drop: 1.0, ..MessageFaults::default() });
        let length = stream.len() / 2;
        for cut in 1..length {
            let (mut begins, mut out) = (Disturber::new(1), Vec::new());
            begins.input(&stream[..cut], now, &mut out);
            begins.adopt(Some(&faults), &mut out);
            begins.input(&stream[cut..], now, &mut out);
            assert_eq!(out, message("a"), "begins at {cut}");

            let (mut ends, mut out) = (Disturber::new(1), Vec::new());
            ends.adopt(Some(&faults), &mut out);
            ends.input(&stream[..length + cut], now, &mut out);
            ends.adopt(None, &mut out);
            ends.input(&stream[length + cut..], now, &mut out);
            assert_eq!(out, message("b"), "ends at {cut}");
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_per_connection() {
        let stream: Vec<u8> = (0..64).flat_map(|number| message(&number.to_string())).collect();
        let sequence = |connection| {
            let mut disturber = Disturber::new(connection);
            let faults = MessageFaults { seed: 7, drop: 0.5, ..MessageFaults::default() };
            disturber.adopt(Some(&Arc::new(faults)), &mut Vec::new());
            run(&mut disturber, &[&stream])
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }
}
