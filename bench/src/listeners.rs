//! A load of viewers: many open streams, and when each event arrived on each.
//!
//! What arrives is looked through for marks of a fixed length and not for the framing around them, which differs from
//! server to server; so the load's own cost grows with the bytes alone, and it is shown. What a mark is, a [`Reader`]
//! knows.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use stack::processor_time;

/// The token of the waker, which ends the reading.
const STOP: Token = Token(usize::MAX);

/// How long the opening of all streams may take, where nothing else is said.
const OPEN_PATIENCE: Duration = Duration::from_secs(300);

/// Open streams, read by a thread of their own until they are dropped.
pub(crate) struct Listeners<R> {
    count: usize,
    counters: Arc<Counters>,
    waker: Waker,
    /// `None`: closed.
    thread: Option<JoinHandle<Result<Vec<R>>>>,
}

/// What all together have come to.
#[derive(Default)]
struct Counters {
    events: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicU64,
    /// The id of the thread that reads; 0: it has not begun.
    thread: AtomicI32,
}

/// What one stream's reader looks for.
pub(crate) trait Reader: Send + 'static {
    /// Looks through what has come by `now`, in microseconds since the Unix epoch. What may be the beginning of a mark is
    /// left, and comes again.
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken>;
}

impl<R: Reader> Listeners<R> {
    /// Opens so many, and returns when each has its head.
    pub(crate) fn open(address: SocketAddr, request: &str, count: usize, reader: impl Fn() -> R) -> Result<Self> {
        Self::open_within(OPEN_PATIENCE, address, request, count, reader)
    }

    /// As [`Listeners::open`], but gives up when not all are open by the end of `patience`.
    pub(crate) fn open_within(
        patience: Duration,
        address: SocketAddr,
        request: &str,
        count: usize,
        reader: impl Fn() -> R,
    ) -> Result<Self> {
        let begun = Instant::now();
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count {
            let opened = streams.len();
            ensure!(begun.elapsed() < patience, "{opened} of {count} streams were open after {patience:?}");
            streams.push(open(address, request).with_context(|| format!("{opened} of {count} streams were open"))?);
        }
        Self::start(streams, reader)
    }

    /// Opens one by each of these requests, and returns when each has its head.
    pub(crate) fn open_each(
        address: SocketAddr,
        requests: impl IntoIterator<Item = impl AsRef<str>>,
        reader: impl Fn() -> R,
    ) -> Result<Self> {
        let streams = requests.into_iter().map(|request| open(address, request.as_ref())).collect::<Result<_>>()?;
        Self::start(streams, reader)
    }

    /// Reads these, whose heads have been read already, and no byte behind them.
    pub(crate) fn of(streams: Vec<std::net::TcpStream>, reader: impl Fn() -> R) -> Result<Self> {
        Self::start(streams.into_iter().map(|stream| Opened { stream, read: Vec::new() }).collect(), reader)
    }

    fn start(streams: Vec<Opened>, reader: impl Fn() -> R) -> Result<Self> {
        let (poll, count) = (Poll::new()?, streams.len());
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listeners = Vec::with_capacity(count);
        for (number, Opened { stream, read }) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            listeners.push(Listener { stream, kept: read, reader: reader() });
        }
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let thread = std::thread::spawn(move || {
            shared.thread.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
            read_all(poll, &mut listeners, &shared)?;
            Ok(listeners.into_iter().map(|listener| listener.reader).collect())
        });
        Ok(Self { count, counters, waker, thread: Some(thread) })
    }

    /// How many bytes all together have read, after the heads.
    pub(crate) fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    /// How many events all together have heard.
    pub(crate) fn heard(&self) -> u64 {
        self.counters.events.load(Ordering::Relaxed)
    }

    /// How many streams have ended by themselves.
    pub(crate) fn ended(&self) -> u64 {
        self.counters.ended.load(Ordering::Relaxed)
    }

    /// The processor time that reading has taken: of the load, and of nothing that is measured.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        match self.counters.thread.load(Ordering::Relaxed) {
            0 => Ok(Duration::ZERO),
            id => processor_time::of_own_thread(id),
        }
    }

    /// Waits until each has heard `events`, or `patience` is over: whether all have.
    pub(crate) async fn all_heard(&self, events: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.heard() < (events * self.count) as u64 {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Closes all; what each reader has found.
    pub(crate) fn close(mut self) -> Result<Vec<R>> {
        // A thread that has failed is not there to be woken; joining it tells why.
        let _ = self.waker.wake();
        let thread = self.thread.take().context("the listeners are closed already")?;
        thread.join().map_err(|_| anyhow::anyhow!("the listeners panicked"))?
    }
}

impl<R> Drop for Listeners<R> {
    fn drop(&mut self) {
        // Who has failed elsewhere does not wait for what was read.
        let _ = self.waker.wake();
    }
}

/// A stream whose head has been read.
struct Opened {
    stream: std::net::TcpStream,
    /// What came together with its head.
    read: Vec<u8>,
}

/// Opens a stream and reads its head.
fn open(address: SocketAddr, request: &str) -> Result<Opened> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "a stream ended before it began");
        head.extend_from_slice(&bytes[..read]);
    };
    let read = head.split_off(end);
    let text = String::from_utf8_lossy(&head);
    ensure!(text.starts_with("HTTP/1.1 200"), "a stream was refused: {text}");
    Ok(Opened { stream, read })
}

struct Listener<R> {
    stream: TcpStream,
    /// The beginning of what may be a mark.
    kept: Vec<u8>,
    reader: R,
}

fn read_all<R: Reader>(mut poll: Poll, listeners: &mut [Listener<R>], counters: &Counters) -> Result<()> {
    let mut events = Events::with_capacity(listeners.len() + 1);
    let mut buffer = vec![0; 64 * 1024];
    for listener in listeners.iter_mut() {
        counters.bytes.fetch_add(listener.kept.len() as u64, Ordering::Relaxed);
        listener.take(counters)?;
    }
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(listener) = listeners.get_mut(event.token().0) else { return Ok(()) };
            if listener.read(&mut buffer, event.is_read_closed(), counters)? == Stream::Ended {
                counters.ended.fetch_add(1, Ordering::Relaxed);
                poll.registry().deregister(&mut listener.stream)?;
            }
        }
    }
}

/// Whether more may come.
#[derive(PartialEq, Eq)]
enum Stream {
    Open,
    Ended,
}

impl<R: Reader> Listener<R> {
    /// Reads what there is. An end that is there as well has to be read now: it is not told of again.
    fn read(&mut self, buffer: &mut [u8], has_ended: bool, counters: &Counters) -> Result<Stream> {
        loop {
            let read = match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stream::Open),
                Ok(0) => return Ok(Stream::Ended),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Stream::Ended),
                read => read?,
            };
            counters.bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.kept.extend_from_slice(&buffer[..read]);
            self.take(counters)?;
            if read < buffer.len() && !has_ended {
                return Ok(Stream::Open); // All that there was; more is told anew.
            }
        }
    }

    /// Looks through what has been read.
    fn take(&mut self, counters: &Counters) -> Result<()> {
        let taken = self.reader.take(&self.kept, now_us())?;
        counters.events.fetch_add(taken.events, Ordering::Relaxed);
        self.kept.drain(..taken.bytes);
        Ok(())
    }
}

/// What was dealt with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Marks that count.
    pub(crate) events: u64,
    /// Bytes that need not come again.
    pub(crate) bytes: usize,
}

/// The present time, in microseconds since the Unix epoch, as the system told it once; from there on by a clock that is
/// never set, so that differences are times that have passed.
pub(crate) fn now_us() -> u64 {
    static BEGUN: LazyLock<(Instant, Duration)> =
        LazyLock::new(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    let (begun, at) = *BEGUN;
    (at + begun.elapsed()).as_micros() as u64
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};

    use super::*;
    use crate::marks::{Furthest, Sent};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Waits until so many streams have ended.
    fn all_ended(listeners: &Listeners<Furthest>, count: u64) -> bool {
        let until = Instant::now() + PATIENCE;
        while listeners.ended() < count && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        listeners.ended() == count
    }

    #[test]
    fn an_end_that_comes_together_with_the_last_bytes_is_seen() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mine = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = server.accept().unwrap();
        theirs.write_all(Sent::new(1).mark(0).as_bytes()).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        // Both are there before anybody waits for either: the end, which comes last, is seen beside the bytes.
        let mut ends = [0];
        let is_there = || {
            let mut poll = Poll::new().unwrap();
            let copy = mine.try_clone().unwrap();
            copy.set_nonblocking(true).unwrap();
            let mut copy = TcpStream::from_std(copy);
            poll.registry().register(&mut copy, Token(0), Interest::READABLE).unwrap();
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(PATIENCE)).unwrap();
            events.iter().any(mio::event::Event::is_read_closed)
        };
        while !is_there() {}
        assert!(mine.peek(&mut ends).unwrap() > 0, "nothing was taken");
        let listeners = Listeners::of(vec![mine], Furthest::default).unwrap();
        assert!(all_ended(&listeners, 1));
        assert_eq!(listeners.heard(), 1);
        listeners.close().unwrap();
    }

    #[test]
    fn what_comes_together_with_the_head_counts() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mark = Sent::new(1).mark(0);
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{mark}");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            stream
        });
        let listeners = Listeners::open(address, "GET / HTTP/1.1\r\n\r\n", 1, Furthest::default).unwrap();
        drop(answering.join().unwrap());
        assert!(all_ended(&listeners, 1));
        assert_eq!((listeners.heard(), listeners.bytes()), (1, mark.len() as u64));
        listeners.close().unwrap();
    }

    #[test]
    fn time_goes_on_and_is_about_that_of_the_system() {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let (first, second) = (now_us(), now_us());
        assert!(first <= second && first.abs_diff(system) < 60_000_000, "{first} and {second}, {system}");
    }
}
