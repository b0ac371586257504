//! A load of viewers: many open streams, and when each event arrived on each.
//!
//! What arrives is looked through for marks of a fixed length and not for the framing around them, which differs from
//! server to server; so the load's own cost is the same for all. What a mark is, a [`Reader`] knows.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
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
        Self::of(streams, reader)
    }

    /// Opens one by each of these requests, and returns when each has its head.
    pub(crate) fn open_each(
        address: SocketAddr,
        requests: impl IntoIterator<Item = impl AsRef<str>>,
        reader: impl Fn() -> R,
    ) -> Result<Self> {
        let streams = requests.into_iter().map(|request| open(address, request.as_ref())).collect::<Result<_>>()?;
        Self::of(streams, reader)
    }

    /// Reads these, whose heads have been read already.
    pub(crate) fn of(streams: Vec<std::net::TcpStream>, reader: impl Fn() -> R) -> Result<Self> {
        let (poll, count) = (Poll::new()?, streams.len());
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listeners = Vec::with_capacity(count);
        for (number, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            listeners.push(Listener { stream, kept: Vec::new(), reader: reader() });
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
    Ok(stream)
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
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(listener) = listeners.get_mut(event.token().0) else { return Ok(()) };
            if listener.read(&mut buffer, counters)? == Stream::Ended {
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
    /// Reads what there is.
    fn read(&mut self, buffer: &mut [u8], counters: &Counters) -> Result<Stream> {
        loop {
            let read = match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stream::Open),
                Ok(0) => return Ok(Stream::Ended),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Stream::Ended),
                read => read?,
            };
            counters.bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.kept.extend_from_slice(&buffer[..read]);
            let taken = self.reader.take(&self.kept, now_us())?;
            counters.events.fetch_add(taken.events, Ordering::Relaxed);
            self.kept.drain(..taken.bytes);
            if read < buffer.len() {
                return Ok(Stream::Open); // All that there was; more is told anew.
            }
        }
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

/// The present time, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
