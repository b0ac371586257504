//! Marks in events, by which the load knows when an event was sent.
//!
//! Either the time itself, for events that are all different; or a number, for states in which the same change stands
//! again and again, with a table of when each number was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use memchr::memmem;

use crate::listeners::{Reader, Taken, now_us};

/// Stands before a time.
const TIME: &[u8] = b"\"sent\":";
/// How many digits a time has: microseconds since the Unix epoch, until the year 2286.
const TIME_DIGITS: usize = 16;

/// Stands before a number.
const NUMBER: &[u8] = b"\"nth\":\"";
/// How many digits a number has, with zeros in front: as text, for a number in JSON has none.
const NUMBER_DIGITS: usize = 8;

/// An event with the present time, so many bytes long.
pub(crate) fn timed_event(bytes: usize) -> String {
    let mut text = format!("{{\"sent\":{},\"padding\":\"", now_us());
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len() + 2)));
    text + "\"}"
}

/// Reads times. The first `warm_up` events are heard and not timed.
pub(crate) struct Times {
    times: Vec<u64>,
    warm_up: usize,
}

impl Times {
    pub(crate) fn new(warm_up: usize) -> Self {
        Self { times: Vec::new(), warm_up }
    }

    /// How long each took, in microseconds.
    pub(crate) fn into_times(self) -> Vec<u64> {
        self.times.into_iter().skip(self.warm_up).collect()
    }
}

impl Reader for Times {
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken> {
        find(bytes, TIME, TIME_DIGITS, |sent| {
            self.times.push(now.saturating_sub(sent));
            true
        })
    }
}

/// When each numbered change was sent. Shared by who sends and who reads.
#[derive(Clone)]
pub(crate) struct Sent(Arc<[AtomicU64]>);

impl Sent {
    /// For so many changes.
    pub(crate) fn new(changes: usize) -> Self {
        Self((0..changes).map(|_| AtomicU64::new(0)).collect())
    }

    /// Change `number` is sent now; its mark, as a JSON object.
    pub(crate) fn mark(&self, number: usize) -> String {
        if let Some(sent) = self.0.get(number) {
            sent.store(now_us(), Ordering::Relaxed);
        }
        format!("{{\"nth\":\"{number:0NUMBER_DIGITS$}\"}}")
    }

    /// When change `number` was sent, in microseconds since the Unix epoch.
    pub(crate) fn at(&self, number: u64) -> Option<u64> {
        let sent = self.0.get(usize::try_from(number).ok()?)?.load(Ordering::Relaxed);
        (sent > 0).then_some(sent)
    }
}

/// Reads numbers. Each change is timed when it is first seen, and only from `warm_up` on.
pub(crate) struct Numbers {
    sent: Sent,
    seen: Vec<bool>,
    times: Vec<u64>,
    warm_up: u64,
}

impl Numbers {
    pub(crate) fn new(sent: Sent, warm_up: usize) -> Self {
        Self { seen: vec![false; sent.0.len()], sent, times: Vec::new(), warm_up: warm_up as u64 }
    }

    /// How long each took, in microseconds.
    pub(crate) fn into_times(self) -> Vec<u64> {
        self.times
    }
}

impl Reader for Numbers {
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken> {
        find_numbers(bytes, |number| {
            let (Some(sent), Ok(index)) = (self.sent.at(number), usize::try_from(number)) else { return false };
            if std::mem::replace(&mut self.seen[index], true) {
                return false;
            }
            if number >= self.warm_up {
                self.times.push(now.saturating_sub(sent));
            }
            true
        })
    }
}

/// Reads numbers, and knows how far they have come: all changes up to the greatest count as heard, also those that were
/// merged with it.
#[derive(Default)]
pub(crate) struct Furthest {
    /// One more than the greatest number.
    heard: u64,
}

impl Reader for Furthest {
    fn take(&mut self, bytes: &[u8], _: u64) -> Result<Taken> {
        let before = self.heard;
        let taken = find_numbers(bytes, |number| {
            self.heard = self.heard.max(number + 1);
            false
        })?;
        Ok(Taken { events: self.heard - before, ..taken })
    }
}

/// The greatest number that stands in a text that is whole.
pub(crate) fn greatest_number(text: &[u8]) -> Result<Option<u64>> {
    let mut greatest = None;
    find_numbers(text, |number| {
        greatest = greatest.max(Some(number));
        true
    })?;
    Ok(greatest)
}

/// Reads numbers, and keeps when each was first seen.
pub(crate) struct Moments(Vec<Option<u64>>);

impl Moments {
    /// For so many changes.
    pub(crate) fn new(changes: usize) -> Self {
        Self(vec![None; changes])
    }

    /// When change `number` was first seen, in microseconds since the Unix epoch.
    pub(crate) fn at(&self, number: usize) -> Option<u64> {
        self.0.get(number).copied().flatten()
    }
}

impl Reader for Moments {
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken> {
        find_numbers(bytes, |number| {
            let moment = usize::try_from(number).ok().and_then(|number| self.0.get_mut(number));
            moment.is_some_and(|moment| moment.replace(moment.unwrap_or(now)).is_none())
        })
    }
}

/// Finds the numbers of changes. What may be the beginning of one is left. `found` tells whether it counts.
pub(crate) fn find_numbers(bytes: &[u8], found: impl FnMut(u64) -> bool) -> Result<Taken> {
    find(bytes, NUMBER, NUMBER_DIGITS, found)
}

/// Finds what stands behind each `mark`. What may be the beginning of one is left. `found` tells whether it counts.
fn find(bytes: &[u8], mark: &[u8], digits: usize, mut found: impl FnMut(u64) -> bool) -> Result<Taken> {
    let (finder, mut events, mut from) = (memmem::Finder::new(mark), 0, 0);
    while let Some(at) = finder.find(&bytes[from..]) {
        let begin = from + at + mark.len();
        let Some(value) = bytes.get(begin..begin + digits) else {
            return Ok(Taken { events, bytes: from + at });
        };
        let counts = found(std::str::from_utf8(value)?.parse().context("the mark is not a number")?);
        (events, from) = (events + u64::from(counts), begin + digits);
    }
    Ok(Taken { events, bytes: from.max(bytes.len().saturating_sub(mark.len() - 1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is taken of a text that comes in two parts.
    fn taken(reader: &mut impl Reader, text: &str, cut: usize) -> u64 {
        let (mut events, mut rest) = (0, Vec::new());
        for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
            rest.extend_from_slice(part);
            let taken = reader.take(&rest, u64::MAX).unwrap();
            events += taken.events;
            rest.drain(..taken.bytes);
        }
        events
    }

    #[test]
    fn times_are_found_in_any_cut() {
        let text = format!("data: {}\n\ndata: {}\n\n", timed_event(200), timed_event(60));
        (0..text.len()).for_each(|cut| assert_eq!(taken(&mut Times::new(0), &text, cut), 2, "cut at {cut}"));
    }

    #[test]
    fn a_change_counts_when_it_is_first_seen() {
        let sent = Sent::new(3);
        let (one, two) = (sent.mark(1), sent.mark(2));
        let text = format!("data: [{one}]\n\ndata: [{one},{two},{{\"nth\":\"00000000\"}}]\n\n");
        for cut in 0..text.len() {
            let mut reader = Numbers::new(sent.clone(), 2);
            assert_eq!(taken(&mut reader, &text, cut), 2, "cut at {cut}");
            assert_eq!(reader.into_times().len(), 1, "the first is for warming up");
        }
    }

    #[test]
    fn changes_that_were_merged_count_by_the_last_of_them() {
        let sent = Sent::new(6);
        let text =
            format!("data: [{},{}]\n\ndata: [{},{}]\n\n", sent.mark(0), sent.mark(2), sent.mark(5), sent.mark(1));
        (0..text.len()).for_each(|cut| assert_eq!(taken(&mut Furthest::default(), &text, cut), 6, "cut at {cut}"));
    }

    #[test]
    fn a_moment_is_when_a_change_is_first_seen() {
        let (mut reader, one) = (Moments::new(2), Sent::new(2).mark(1));
        assert_eq!(reader.take(one.as_bytes(), 7).unwrap().events, 1);
        assert_eq!(reader.take(one.as_bytes(), 8).unwrap().events, 0);
        assert_eq!((reader.at(0), reader.at(1), reader.at(2)), (None, Some(7), None));
    }

    #[test]
    fn an_event_has_the_length_that_was_asked_for() {
        assert_eq!(timed_event(300).len(), 300);
    }
}
