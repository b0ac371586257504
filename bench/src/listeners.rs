//! A load of subscribers: many open streams, and when each event arrived on each.
//!
//! An event carries the time at which it was sent, in a form of fixed length. The readers look for that and not for the
//! framing around it, which differs from server to server; so their own cost is the same for all.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

/// The token of the waker, which ends the reading.
const STOP: Token = Token(usize::MAX);

/// Stands before the time.
const MARK: &[u8] = b"\"sent\":";

/// How many digits the time has: microseconds since the Unix epoch, until the year 2286.
const DIGITS: usize = 16;

/// An event with the present time, so many bytes long.
pub(crate) fn event(bytes: usize) -> String {
    let mut text = format!("{{\"sent\":{},\"padding\":\"", now_us());
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len() + 2)));
    text + "\"}"
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// Open streams, read by a thread of their own until they are dropped.
pub(crate) struct Listeners {
    heard: Arc<AtomicU64>,
    waker: Waker,
    thread: JoinHandle<Result<Vec<u64>>>,
}

impl Listeners {
    /// Opens so many, and returns when each has its head. The first `warm_up` events of each are heard and not timed.
    pub(crate) fn open(address: SocketAddr, request: &str, count: usize, warm_up: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listeners = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = TcpStream::from_std(open(address, request)?);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            listeners.push(Listener { stream, kept: Vec::new(), times: Vec::new() });
        }
        let heard = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            read_all(poll, &mut listeners, &counter)?;
            Ok(listeners.into_iter().flat_map(|listener| listener.times.into_iter().skip(warm_up)).collect())
        });
        Ok(Self { heard, waker, thread })
    }

    /// How many events all together have heard.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Closes all; how long each event took to each listener, in microseconds.
    pub(crate) fn close(self) -> Result<Vec<u64>> {
        // A thread that has failed is not there to be woken; joining it tells why.
        let _ = self.waker.wake();
        self.thread.join().map_err(|_| anyhow::anyhow!("the listeners panicked"))?
    }
}

/// Opens a stream and reads its head.
fn open(address: SocketAddr, request: &str) -> Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "a stream ended before it began");
        head.extend_from_slice(&bytes[..read]);
    }
    let text = String::from_utf8_lossy(&head);
    ensure!(text.starts_with("HTTP/1.1 200"), "a stream was refused: {text}");
    stream.set_nonblocking(true)?;
    Ok(stream)
}

struct Listener {
    stream: TcpStream,
    /// The beginning of what may be an event.
    kept: Vec<u8>,
    /// How long each took, in microseconds.
    times: Vec<u64>,
}

fn read_all(mut poll: Poll, listeners: &mut [Listener], heard: &AtomicU64) -> Result<()> {
    let mut events = Events::with_capacity(listeners.len() + 1);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(listener) = listeners.get_mut(event.token().0) else { return Ok(()) };
            heard.fetch_add(listener.read(&mut buffer)?, Ordering::Relaxed);
        }
    }
}

impl Listener {
    /// Reads what there is; how many events it was.
    fn read(&mut self, buffer: &mut [u8]) -> Result<u64> {
        let mut events = 0;
        loop {
            let read = match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(events),
                read => read?,
            };
            ensure!(read > 0, "a stream ended by itself");
            let now = now_us();
            self.kept.extend_from_slice(&buffer[..read]);
            let taken = take_times(&self.kept, |sent| self.times.push(now.saturating_sub(sent)))?;
            events += taken.events;
            self.kept.drain(..taken.bytes);
            if read < buffer.len() {
                return Ok(events); // All that there was; more is told anew.
            }
        }
    }
}

/// What was dealt with.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    events: u64,
    bytes: usize,
}

/// Finds the times in `bytes`. What may be the beginning of one is left.
fn take_times(bytes: &[u8], mut found: impl FnMut(u64)) -> Result<Taken> {
    let (mut events, mut from) = (0, 0);
    while let Some(at) = bytes[from..].windows(MARK.len()).position(|part| part == MARK) {
        let begin = from + at + MARK.len();
        let Some(digits) = bytes.get(begin..begin + DIGITS) else {
            return Ok(Taken { events, bytes: from + at });
        };
        found(std::str::from_utf8(digits)?.parse().context("the time is not a number")?);
        (events, from) = (events + 1, begin + DIGITS);
    }
    Ok(Taken { events, bytes: from.max(bytes.len().saturating_sub(MARK.len() - 1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_in_any_cut() {
        let text = format!("data: {}\n\ndata: {}\n\n", event(200), event(60));
        for cut in 0..text.len() {
            let (mut count, mut rest) = (0, Vec::new());
            for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                rest.extend_from_slice(part);
                let taken = take_times(&rest, |_| count += 1).unwrap();
                rest.drain(..taken.bytes);
            }
            assert_eq!(count, 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_the_length_that_was_asked_for() {
        assert_eq!(event(300).len(), 300);
    }
}
