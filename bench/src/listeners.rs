//! A load of viewers: many open streams, and when each event arrived on each.
//!
//! What arrives is looked through for marks of a fixed length and not for the framing around them, which differs from
//! server to server; so the load's own cost is the same for all. What a mark is, a [`Reader`] knows.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

/// The token of the waker, which ends the reading.
const STOP: Token = Token(usize::MAX);

/// Open streams, read by a thread of their own until they are dropped.
pub(crate) struct Listeners {
    heard: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    waker: Waker,
    thread: JoinHandle<Result<Vec<u64>>>,
}

/// What one stream's reader looks for.
pub(crate) trait Reader: Send + 'static {
    /// Looks through what has come by `now`, in microseconds since the Unix epoch. What may be the beginning of a mark is
    /// left, and comes again.
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<Taken>;

    /// How long each took, in microseconds.
    fn into_times(self) -> Vec<u64>;
}

impl Listeners {
    /// Opens so many, and returns when each has its head.
    pub(crate) fn open<R: Reader>(
        address: SocketAddr,
        request: &str,
        count: usize,
        reader: impl Fn() -> R,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listeners = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = TcpStream::from_std(open(address, request)?);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            listeners.push(Listener { stream, kept: Vec::new(), reader: reader() });
        }
        let (heard, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&heard), Arc::clone(&bytes));
        let thread = std::thread::spawn(move || {
            read_all(poll, &mut listeners, &counters.0, &counters.1)?;
            Ok(listeners.into_iter().flat_map(|listener| listener.reader.into_times()).collect())
        });
        Ok(Self { heard, bytes, waker, thread })
    }

    /// How many bytes all together have read, after the heads.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
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

struct Listener<R> {
    stream: TcpStream,
    /// The beginning of what may be a mark.
    kept: Vec<u8>,
    reader: R,
}

fn read_all<R: Reader>(
    mut poll: Poll,
    listeners: &mut [Listener<R>],
    heard: &AtomicU64,
    bytes: &AtomicU64,
) -> Result<()> {
    let mut events = Events::with_capacity(listeners.len() + 1);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(listener) = listeners.get_mut(event.token().0) else { return Ok(()) };
            heard.fetch_add(listener.read(&mut buffer, bytes)?, Ordering::Relaxed);
        }
    }
}

impl<R: Reader> Listener<R> {
    /// Reads what there is; how many events it was.
    fn read(&mut self, buffer: &mut [u8], bytes: &AtomicU64) -> Result<u64> {
        let mut events = 0;
        loop {
            let read = match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(events),
                read => read?,
            };
            ensure!(read > 0, "a stream ended by itself");
            bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.kept.extend_from_slice(&buffer[..read]);
            let taken = self.reader.take(&self.kept, now_us())?;
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
