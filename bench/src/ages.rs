//! How old what each viewer is shown is, sampled at fixed moments (the age of information): the time since the commit
//! of the newest change that the viewer has read by then.
//!
//! All servers are looked at alike: the newest change is the greatest number among all that a viewer has read, whether
//! its server sends what changed or the whole state anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::listeners::{Reader, Taken, now_us};
use crate::marks::{Sent, find_numbers};
use crate::sample::percentile;

/// From one sample to the next.
pub(crate) const SAMPLE_MS: u64 = 10;

/// A sample that is taken so much later than it was due says that the machine was overloaded.
pub(crate) const LATE_MS: u64 = 10;

/// What each viewer is shown. Shared by who reads and who samples.
#[derive(Clone)]
pub(crate) struct Shown(Arc<[Slot]>);

#[derive(Default)]
struct Slot {
    /// One more than the greatest number that was read; 0: none was.
    newest: AtomicU64,
    /// When anything was read last, in microseconds since the Unix epoch.
    heard: AtomicU64,
}

impl Shown {
    /// For so many viewers.
    pub(crate) fn new(viewers: usize) -> Self {
        Self((0..viewers).map(|_| Slot::default()).collect())
    }

    /// The reader of this viewer's stream.
    pub(crate) fn reader(&self, viewer: usize) -> Newest {
        Newest { shown: self.clone(), viewer, newest: 0 }
    }

    /// How many viewers there are.
    pub(crate) fn viewers(&self) -> usize {
        self.0.len()
    }

    /// How many show change `number` or a later one.
    pub(crate) fn that_show(&self, number: usize) -> usize {
        self.0.iter().filter(|slot| slot.newest.load(Ordering::Relaxed) > number as u64).count()
    }

    /// Of each viewer, whether it has read anything since this time, in microseconds since the Unix epoch.
    pub(crate) fn heard_since(&self, time: u64) -> Vec<bool> {
        self.0.iter().map(|slot| slot.heard.load(Ordering::Relaxed) >= time).collect()
    }

    /// The age of what each shows at `now`, in microseconds. Who has read nothing yet is as old as the first change.
    fn ages<'a>(&'a self, now: u64, sent: &'a Sent) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(move |slot| {
            let newest = slot.newest.load(Ordering::Relaxed).saturating_sub(1);
            let age = now.saturating_sub(sent.at(newest).unwrap_or(now));
            u32::try_from(age).unwrap_or(u32::MAX)
        })
    }
}

/// Reads numbers, and keeps the greatest. An event is a piece in which one was greater than all before.
pub(crate) struct Newest {
    shown: Shown,
    viewer: usize,
    newest: u64,
}

impl Reader for Newest {
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken> {
        let before = self.newest;
        let taken = find_numbers(bytes, |number| {
            self.newest = self.newest.max(number + 1);
            false
        })?;
        if let Some(slot) = self.shown.0.get(self.viewer) {
            slot.newest.store(self.newest, Ordering::Relaxed);
            slot.heard.store(now, Ordering::Relaxed);
        }
        Ok(Taken { events: u64::from(self.newest > before), ..taken })
    }
}

/// Samples the ages of all viewers, on a thread of its own.
pub(crate) struct Sampler {
    over: Arc<AtomicBool>,
    /// `None`: finished.
    thread: Option<JoinHandle<Ages>>,
}

impl Sampler {
    /// Begins now, and ends by itself after `longest`.
    pub(crate) fn start(shown: Shown, sent: Sent, longest: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || sample(&shown, &sent, longest, &ended));
        Self { over, thread: Some(thread) }
    }

    /// Ends it; what it has found.
    pub(crate) fn finish(mut self) -> Result<Ages> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the sampler has finished already")?;
        thread.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // Who has failed elsewhere does not wait for what was found, and nothing samples beside what comes next.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Each sample is due at a time that does not depend on those before. One that comes late is taken all the same: left
/// out would be the very moments at which what is shown is old.
fn sample(shown: &Shown, sent: &Sent, longest: Duration, over: &AtomicBool) -> Ages {
    let (interval, late) = (Duration::from_millis(SAMPLE_MS), Duration::from_millis(LATE_MS));
    let mut ages = Ages { viewers: shown.viewers(), ..Ages::default() };
    let begun = Instant::now();
    let mut due = begun;
    while !over.load(Ordering::Relaxed) && due < begun + longest {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        ages.late += usize::from(due.elapsed() > late);
        ages.us.extend(shown.ages(now_us(), sent));
        ages.samples += 1;
        due += interval;
    }
    ages
}

/// The ages that were found: all of them, so that those of some viewers can be told from the rest afterwards.
#[derive(Default)]
pub(crate) struct Ages {
    viewers: usize,
    samples: usize,
    late: usize,
    /// Of one sample after the other, those of all viewers.
    us: Vec<u32>,
}

/// A half of the ages, and 99 of a hundred, are at most this; none is greater than the last. In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Ages {
    /// Those of the viewers that `counts` has; `None`: it has none, or no sample was taken.
    pub(crate) fn spread(&self, counts: &[bool]) -> Option<Spread> {
        let of_viewers = self.us.chunks(self.viewers.max(1)).flat_map(|sample| sample.iter().zip(counts));
        let mut ages: Vec<u64> = of_viewers.filter(|(_, counts)| **counts).map(|(us, _)| u64::from(*us)).collect();
        let mut ms = |share| percentile(&mut ages, share) as f64 / 1e3;
        let spread = Spread { p50: ms(0.50), p99: ms(0.99), max: ms(1.0) };
        (!ages.is_empty()).then_some(spread)
    }

    /// How many of a hundred samples were taken more than [`LATE_MS`] late.
    pub(crate) fn late(&self) -> f64 {
        100.0 * self.late as f64 / self.samples.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_change_is_the_greatest_number_in_any_order() {
        let (sent, shown) = (Sent::new(4), Shown::new(2));
        let marks: Vec<String> = (0..4).map(|number| sent.mark(number)).collect();
        let text = format!("data: [{},{},{}]\n\n", marks[2], marks[0], marks[1]);
        let mut reader = shown.reader(1);
        assert_eq!(reader.take(text.as_bytes(), 5).unwrap().events, 1);
        assert_eq!(reader.take(text.as_bytes(), 6).unwrap().events, 0, "nothing is newer");
        assert_eq!((shown.that_show(2), shown.that_show(3)), (1, 0));
        assert_eq!(shown.heard_since(6), [false, true]);
        assert_eq!(reader.take(marks[3].as_bytes(), 7).unwrap().events, 1);
        assert_eq!(shown.that_show(3), 1);
    }

    #[test]
    fn an_age_is_the_time_since_the_commit_of_the_newest_change() {
        let (sent, shown) = (Sent::new(2), Shown::new(2));
        let first = sent.mark(0);
        shown.reader(0).take(first.as_bytes(), now_us()).unwrap();
        let committed = sent.at(0).unwrap();
        assert_eq!(shown.ages(committed + 5, &sent).collect::<Vec<_>>(), [5, 5], "who has read nothing is as old");
        while now_us() <= committed + 2_000 {
            std::hint::spin_loop();
        }
        shown.reader(1).take(sent.mark(1).as_bytes(), now_us()).unwrap();
        let ages: Vec<u32> = shown.ages(sent.at(1).unwrap() + 7, &sent).collect();
        assert!(ages[0] > 2_000 && ages[1] == 7, "{ages:?}");
    }

    #[test]
    fn a_spread_is_of_the_viewers_that_count() {
        let ages = Ages { viewers: 2, samples: 2, late: 1, us: vec![1_000, 9_000, 2_000, 8_000] };
        assert_eq!(ages.spread(&[true, false]), Some(Spread { p50: 1.0, p99: 2.0, max: 2.0 }));
        assert_eq!(ages.spread(&[true, true]).map(|spread| spread.max), Some(9.0));
        assert_eq!(ages.spread(&[false, false]), None);
        assert_eq!(ages.late(), 50.0);
    }

    #[test]
    fn a_sample_is_taken_of_each_viewer_at_each_moment() {
        let (sent, shown) = (Sent::new(1), Shown::new(3));
        sent.mark(0);
        let ages = sample(&shown, &sent, Duration::from_millis(50), &AtomicBool::new(false));
        assert_eq!((ages.samples, ages.us.len()), (5, 15));
    }
}
