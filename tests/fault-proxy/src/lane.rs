//! One direction of one connection: which bytes leave when. Holds bytes and decisions; refuses sockets and clocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::messages::{Disturbed, Disturber};
use crate::needle::Matcher;
use crate::orders::{CutBefore, Direction, Orders};
use crate::pace::Pace;

/// Bytes that wait here before no more are read.
const MAX_QUEUED_BYTES: usize = 64 << 10;
/// The same while bytes are delayed: a delay is no limit to throughput.
const MAX_DELAYED_BYTES: usize = 16 << 20;

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Lane {
    direction: Direction,
    disturber: Disturber,
    cut: Option<(Arc<CutBefore>, Matcher)>,
    queue: VecDeque<Chunk>,
    queued_bytes: usize,
    pace: Pace,
    end: Option<End>,
}

#[derive(Debug)]
struct Chunk {
    since: Instant,
    bytes: Vec<u8>,
    sent: usize,
}

/// What follows the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The sender ended this direction.
    Finish,
    /// The sender's connection broke.
    Reset,
    /// The needle was found.
    CutBefore,
}

/// What may leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<'a> {
    /// These bytes, now.
    Bytes(&'a [u8]),
    /// Something, then.
    At(Instant),
    /// Nothing is there.
    Nothing,
}

impl Lane {
    /// `connection` tells the connections apart for their random decisions.
    pub(crate) fn new(direction: Direction, connection: u64) -> Self {
        Self {
            direction,
            disturber: Disturber::new(connection),
            cut: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            pace: Pace::default(),
            end: None,
        }
    }

    /// From now on does as `orders` say, and passes on what has been held back long enough.
    pub(crate) fn adopt(&mut self, orders: &Orders, now: Instant) {
        if self.direction == Direction::ToServer || self.end.is_some() {
            return;
        }
        let mut out = Vec::new();
        self.disturber.adopt(orders.messages.as_ref(), &mut out);
        self.disturber.tick(now, &mut out);
        self.seek(&out, now);

        let same = match (&self.cut, &orders.cut_before) {
            (None, None) => true,
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !same {
            self.release_match(now);
            self.cut = orders.cut_before.as_ref().map(|rule| (Arc::clone(rule), Matcher::new(&rule.needle)));
        }
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self, orders: &Orders) -> bool {
        let limit = if orders.delay.is_zero() { MAX_QUEUED_BYTES } else { MAX_DELAYED_BYTES };
        self.end.is_none() && self.queued_bytes < limit
    }

    /// Takes bytes from the sender.
    pub(crate) fn input(&mut self, bytes: &[u8], now: Instant) {
        match self.direction {
            Direction::ToServer => self.push(bytes.to_vec(), now),
            Direction::ToClient => {
                let mut out = Vec::with_capacity(bytes.len());
                self.disturber.input(bytes, now, &mut out);
                self.seek(&out, now);
            }
        }
    }

    /// Nothing more comes from the sender.
    pub(crate) fn end(&mut self, end: End, now: Instant) {
        let mut out = Vec::new();
        self.disturber.release(&mut out);
        self.seek(&out, now);
        if self.end.is_none() {
            self.release_match(now);
            self.end = Some(end);
        }
    }

    /// Whether nothing more is to be read.
    pub(crate) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What follows the last byte, once all have left.
    pub(crate) fn finished(&self) -> Option<End> {
        self.end.filter(|_| self.queue.is_empty())
    }

    /// What may leave now.
    pub(crate) fn due(&self, orders: &Orders, now: Instant) -> Due<'_> {
        let Some(chunk) = self.queue.front() else {
            return Due::Nothing;
        };
        let due = chunk.since + orders.delay;
        if due > now {
            return Due::At(due);
        }
        let bytes = &chunk.bytes[chunk.sent..];
        match self.rate(orders).map(|rate| self.pace.allowance(rate, now)) {
            None => Due::Bytes(bytes),
            Some(Ok(allowed)) => Due::Bytes(&bytes[..allowed.min(bytes.len())]),
            Some(Err(free_at)) => Due::At(free_at),
        }
    }

    /// The first so many bytes of [`Lane::due`] have left.
    pub(crate) fn sent(&mut self, bytes: usize, orders: &Orders, now: Instant) {
        if let Some(rate) = self.rate(orders) {
            self.pace.sent(bytes, rate, now);
        }
        self.queued_bytes -= bytes;
        if let Some(chunk) = self.queue.front_mut() {
            chunk.sent += bytes;
            if chunk.sent == chunk.bytes.len() {
                self.queue.pop_front();
            }
        }
    }

    /// When something that is held back must be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.disturber.deadline()
    }

    /// Throws away everything that has not left, and gives its bytes.
    pub(crate) fn discard(&mut self, now: Instant) -> u64 {
        let mut out = Vec::new();
        self.disturber.release(&mut out);
        self.push(out, now);
        self.release_match(now);
        self.queue.clear();
        std::mem::take(&mut self.queued_bytes) as u64
    }

    /// What was done to messages since this was last asked.
    pub(crate) fn take_disturbed(&mut self) -> Disturbed {
        self.disturber.take_disturbed()
    }

    /// Passes on bytes up to the needle.
    fn seek(&mut self, mut bytes: &[u8], now: Instant) {
        if self.end.is_some() {
            return;
        }
        let mut out = Vec::with_capacity(bytes.len());
        if let Some((rule, matcher)) = &mut self.cut {
            while let Some(taken) = matcher.input(bytes, &mut out) {
                if rule.take() {
                    self.end = Some(End::CutBefore);
                    break;
                }
                out.extend_from_slice(matcher.needle());
                bytes = &bytes[taken..];
            }
        } else {
            out.extend_from_slice(bytes);
        }
        self.push(out, now);
    }

    fn release_match(&mut self, now: Instant) {
        let mut out = Vec::new();
        if let Some((_, matcher)) = &mut self.cut {
            matcher.release(&mut out);
        }
        self.push(out, now);
    }

    fn push(&mut self, bytes: Vec<u8>, now: Instant) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(Chunk { since: now, bytes, sent: 0 });
        }
    }

    fn rate(&self, orders: &Orders) -> Option<u32> {
        orders.trickle.filter(|_| self.direction == Direction::ToClient)
    }
}

/// The earlier of two times that may be absent.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::MessageFaults;

    fn lane() -> Lane {
        Lane::new(Direction::ToClient, 1)
    }

    fn cut_before(needle: &[u8], times: u64) -> Orders {
        Orders { cut_before: Some(Arc::new(CutBefore::new(needle.to_vec(), times))), ..Orders::default() }
    }

    fn drain(lane: &mut Lane, orders: &Orders, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while let Due::Bytes(bytes) = lane.due(orders, now) {
            let count = bytes.len();
            out.extend_from_slice(bytes);
            lane.sent(count, orders, now);
        }
        out
    }

    #[test]
    fn without_orders_every_byte_leaves_at_once() {
        let (mut lane, orders, now) = (lane(), Orders::default(), Instant::now());
        lane.adopt(&orders, now);
        lane.input(b"*3\r\n$7\r\nmess", now);
        assert_eq!(drain(&mut lane, &orders, now), b"*3\r\n$7\r\nmess");
        lane.end(End::Finish, now);
        assert_eq!(lane.finished(), Some(End::Finish));
    }

    #[test]
    fn a_delay_keeps_chunks_apart_and_can_be_lifted_at_once() {
        let (mut lane, start) = (lane(), Instant::now());
        let orders = Orders { delay: Duration::from_secs(5), ..Orders::default() };
        let second = Duration::from_secs(1);
        lane.input(b"a", start);
        lane.input(b"b", start + second);
        assert_eq!(lane.due(&orders, start + second), Due::At(start + 5 * second));
        assert_eq!(drain(&mut lane, &orders, start + 5 * second), b"a");
        assert_eq!(lane.due(&orders, start + 5 * second), Due::At(start + 6 * second));
        assert_eq!(drain(&mut lane, &Orders::default(), start + 5 * second), b"b");
    }

    #[test]
    fn the_end_follows_the_last_byte() {
        let (mut lane, now) = (lane(), Instant::now());
        lane.input(b"a", now);
        lane.end(End::Reset, now);
        assert_eq!(lane.finished(), None);
        assert_eq!(drain(&mut lane, &Orders::default(), now), b"a");
        assert_eq!(lane.finished(), Some(End::Reset));
    }

    #[test]
    fn the_lane_ends_before_the_needle() {
        let (mut lane, orders, now) = (lane(), cut_before(b"needle", 1), Instant::now());
        lane.adopt(&orders, now);
        lane.input(b"in the hay a nee", now);
        assert_eq!(drain(&mut lane, &orders, now), b"in the hay a ");
        lane.input(b"dle and more", now);
        assert_eq!(drain(&mut lane, &orders, now), b"");
        assert_eq!(lane.finished(), Some(End::CutBefore));
    }

    #[test]
    fn a_needle_whose_times_are_used_up_passes() {
        let (mut lane, orders, now) = (lane(), cut_before(b"x", 0), Instant::now());
        lane.adopt(&orders, now);
        lane.input(b"axbxc", now);
        assert_eq!(drain(&mut lane, &orders, now), b"axbxc");
        assert_eq!(lane.finished(), None);
    }

    #[test]
    fn what_was_held_back_leaves_when_healed() {
        let now = Instant::now();
        let faults = MessageFaults { reorder: 1.0, ..MessageFaults::default() };
        let orders = Orders { messages: Some(Arc::new(faults)), ..cut_before(b"+needle", 1) };
        let stream = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\na\r\n*3\r\n$7\r\nmess";
        let mut lane = lane();
        lane.adopt(&orders, now);
        lane.input(stream, now);
        assert_eq!(drain(&mut lane, &orders, now), b"");
        lane.adopt(&Orders::default(), now);
        assert_eq!(drain(&mut lane, &Orders::default(), now), stream);

        let orders = cut_before(b"+needle", 1);
        lane.adopt(&orders, now);
        lane.input(b"+need", now);
        assert_eq!(drain(&mut lane, &orders, now), b"");
        lane.adopt(&Orders::default(), now);
        assert_eq!(drain(&mut lane, &Orders::default(), now), b"+need");
    }

    #[test]
    fn trickled_bytes_leave_in_small_pieces() {
        let (mut lane, now) = (lane(), Instant::now());
        let orders = Orders { trickle: Some(1_000), ..Orders::default() };
        lane.input(&[b'x'; 1_000], now);
        assert_eq!(drain(&mut lane, &orders, now).len(), 10);
        assert_eq!(lane.due(&orders, now), Due::At(now + Duration::from_millis(10)));
    }

    #[test]
    fn reading_stops_when_much_waits_but_a_delay_is_no_limit_to_throughput() {
        let (mut lane, now) = (lane(), Instant::now());
        lane.input(&vec![b'x'; MAX_QUEUED_BYTES], now);
        assert!(!lane.has_room(&Orders::default()));
        assert!(lane.has_room(&Orders { delay: Duration::from_secs(1), ..Orders::default() }));
    }

    #[test]
    fn what_is_discarded_is_counted_to_the_last_byte() {
        let (mut lane, now) = (lane(), Instant::now());
        lane.adopt(&cut_before(b"needle", 1), now);
        lane.input(b"a nee", now);
        assert_eq!(lane.discard(now), 5);
        assert_eq!(lane.due(&Orders::default(), now), Due::Nothing);
    }
}
