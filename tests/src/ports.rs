//! Ports of 127.0.0.1 that nothing listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Below the range from which Linux takes the ports of outgoing connections: otherwise, while a part is down, a
/// client's own connection may come to sit on the port that the part wants back.
const RANGE: Range<u16> = 20_000..32_000;

/// Every process begins somewhere else, so that two test runs rarely try the same port.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(RANGE)));

/// A free port, never given twice in a row by this process.
///
/// # Errors
/// When no port of the range is free.
pub fn free() -> Result<u16> {
    RANGE
        .map(|_| in_range(NEXT.fetch_add(1, Ordering::Relaxed)))
        .find(|&port| is_free(port))
        .context("no free port on 127.0.0.1")
}

/// `port` itself when it is free, otherwise the next free one above it.
///
/// # Errors
/// When no port from there on is free.
pub fn preferred(port: u16) -> Result<u16> {
    (port..=u16::MAX).find(|&port| is_free(port)).with_context(|| format!("no free port from {port} on"))
}

fn in_range(counter: u16) -> u16 {
    RANGE.start + counter % (RANGE.end - RANGE.start)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preferred_port_that_is_taken_gives_the_next_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free().unwrap())).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(preferred(port).unwrap() > port);
        drop(taken);
        assert_eq!(preferred(port).unwrap(), port);
    }

    #[test]
    fn two_free_ports_differ_even_before_either_is_used() {
        assert_ne!(free().unwrap(), free().unwrap());
    }

    #[test]
    fn free_ports_stay_in_the_range_at_any_count() {
        for counter in [0, 1, 11_999, 12_000, u16::MAX] {
            assert!(RANGE.contains(&in_range(counter)), "{counter}");
        }
    }
}
