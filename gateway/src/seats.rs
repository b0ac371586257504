//! Places that are limited in number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many, and no more.
#[derive(Debug)]
pub(crate) struct Seats {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicUsize>);

impl Seats {
    pub(crate) fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// Takes a place; `None`: there is none.
    pub(crate) fn enter(&self) -> Option<Held> {
        let held = Held(Arc::clone(&self.taken));
        // Counted first, so that the place goes back by the same way when it was one too many.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        (before < self.limit).then_some(held)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_was_left() {
        let seats = Seats::new(2);
        let (first, second) = (seats.enter(), seats.enter());
        assert!(first.is_some() && second.is_some() && seats.enter().is_none());
        assert_eq!(seats.taken(), 2);
        drop(first);
        assert!(seats.enter().is_some());
    }
}
