//! Memory while one side is measured: how much its server's grows, and whether the machine has enough left.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::sample::slope;
use crate::world::World;

/// How often memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(250);
/// A measurement is cut short when less than this share of the machine's memory is left: no peer is bounded in what it
/// keeps for viewers that lag, and neither is Redis.
pub(super) const LEAST_MEMORY_LEFT: f64 = 0.25;

/// The server's memory over time.
#[derive(Default)]
pub(super) struct Memory {
    begun: Option<Instant>,
    looked: Option<Instant>,
    /// Seconds and KiB.
    points: Vec<(f64, f64)>,
    /// Whether too little is left in the machine to go on.
    pub(super) scarce: bool,
}

impl Memory {
    /// By how many KiB a second the server's has grown: the slope of a straight line through what was seen in the
    /// second half; 0 of less than two looks. In the first one, heaps that are collected still grow to the size at which
    /// they are.
    pub(super) fn growth_kib(&self) -> f64 {
        let growth = slope(&self.points[self.points.len() / 2..]);
        if growth.is_finite() { growth } else { 0.0 }
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, world: &World) -> Result<()> {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + MEMORY_INTERVAL) {
            return Ok(());
        }
        self.looked = Some(now);
        let secs = now.duration_since(*self.begun.get_or_insert(now)).as_secs_f64();
        self.points.push((secs, world.server().resident_bytes()? as f64 / 1024.0));
        self.scarce = memory_left().is_some_and(|share| share < LEAST_MEMORY_LEFT);
        Ok(())
    }
}

/// The share of the machine's memory that can still be had; `None` where the system does not tell.
fn memory_left() -> Option<f64> {
    share_left(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn share_left(meminfo: &str) -> Option<f64> {
    let kib = |name| -> Option<f64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(kib("MemAvailable")? / kib("MemTotal")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_second_half() {
        let of = |points: &[(f64, f64)]| Memory { points: points.to_vec(), ..Memory::default() }.growth_kib();
        assert_eq!(of(&[(0.0, 9.0), (1.0, 1.0), (2.0, 1.0), (3.0, 3.0)]), 2.0);
        assert_eq!((of(&[(1.0, 5.0)]), of(&[])), (0.0, 0.0));
    }

    #[test]
    fn what_is_left_is_what_is_available() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\n";
        assert_eq!(share_left(meminfo), Some(0.25));
        assert_eq!(share_left("MemTotal: 1000 kB\n"), None);
    }
}
