//! Loads of requests. A closed one: so many connections, each with one request under way at a time, as fast as they are
//! answered. An open one: requests are due so many a second, however slow the answers are.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::answer;

/// What a connection holds of an answer until it is whole, in bytes: at first, and at most.
const FIRST_BYTES: usize = 32 * 1024;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How long one answer may take: beyond it, the server hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, and what its answer must contain.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: &'static str,
    /// The `ETag` that any connection saw last, if it is asked by.
    known: Option<Arc<Mutex<String>>>,
}

/// What was answered to all connections of a load.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) count: u64,
    /// Of them, those that were a 304.
    pub(crate) not_modified: u64,
    /// Heads and bodies.
    pub(crate) bytes: u64,
    /// How long each took in microseconds, in an open load.
    pub(crate) times: Vec<u64>,
}

impl Load {
    /// A request with these headers and this body, which may be empty.
    pub(crate) fn new(url: &str, head: &str, headers: &str, body: &str, answer: &'static str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("no http address")?.parse()?;
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{head} HTTP/1.1\r\nhost: {address}\r\n{headers}{length}\r\n{body}").into_bytes();
        Ok(Self { address, request, answer, known: None })
    }

    /// The same, which must have no body, with an `If-None-Match` of the `ETag` that any connection saw last, as a cache
    /// sends it that asks on behalf of many.
    pub(crate) fn revalidating(mut self) -> Self {
        self.known = Some(Arc::default());
        self
    }

    /// The number of requests answered a second, by so many connections over `time`.
    pub(crate) async fn rate(&self, connections: usize, time: Duration) -> Result<f64> {
        Ok(self.closed(connections, time).await?.count as f64 / time.as_secs_f64())
    }

    /// So many connections over `time`, each of which asks again as soon as it is answered.
    pub(crate) async fn closed(&self, connections: usize, time: Duration) -> Result<Answered> {
        let until = Instant::now() + time;
        self.on_one_thread(connections, move |load| load.ask_until(until)).await
    }

    /// So many requests a second over `time`, by so many connections. Each is timed from when it was due until its answer
    /// is whole: one that has to wait for a connection, because earlier ones are slow, has that counted.
    pub(crate) async fn open(&self, a_second: u32, connections: usize, time: Duration) -> Result<Answered> {
        let count = (f64::from(a_second) * time.as_secs_f64()) as u32;
        // Begun a little later, when all connections are made.
        let begun = Instant::now() + Duration::from_millis(200);
        let pace = Arc::new(Pace { begun, a_second, count, next: AtomicU32::new(0), due: Semaphore::new(0) });
        // A thread, because the runtime's timers are as coarse as a fifth of what is allowed here.
        let pacer = std::thread::spawn({
            let pace = Arc::clone(&pace);
            move || pace.keep()
        });
        let answered = self.on_one_thread(connections, {
            let pace = Arc::clone(&pace);
            move |load| load.ask_at(Arc::clone(&pace))
        });
        let answered = answered.await;
        pace.due.close();
        pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
        answered
    }

    /// Runs a task for each connection, all on one thread: so the load is the same for all, and takes one processor at
    /// most. On a machine of two, the server and Redis then share the other; how much it takes is a figure of its own.
    async fn on_one_thread<F>(&self, connections: usize, task: impl Fn(Self) -> F + Send + 'static) -> Result<Answered>
    where
        F: Future<Output = Result<Answered>> + Send + 'static,
    {
        let load = self.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let tasks = async {
                let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(task(load.clone()))).collect();
                let mut all = Answered::default();
                for task in tasks {
                    all.add(task.await??);
                }
                anyhow::Ok(all)
            };
            runtime.block_on(tasks)
        });
        let all = asking.await??;
        ensure!(all.count > 0, "no request was answered");
        Ok(all)
    }

    async fn ask_until(self, until: Instant) -> Result<Answered> {
        let mut connection = Connection::open(self.address).await?;
        let mut answered = Answered::default();
        while Instant::now() < until {
            self.ask(&mut connection, &mut answered).await?;
        }
        Ok(answered)
    }

    async fn ask_at(self, pace: Arc<Pace>) -> Result<Answered> {
        let mut connection = Connection::open(self.address).await?;
        let mut answered = Answered::default();
        while let Some(due) = pace.next().await {
            self.ask(&mut connection, &mut answered).await?;
            answered.times.push(due.elapsed().as_micros() as u64);
        }
        Ok(answered)
    }

    async fn ask(&self, connection: &mut Connection, answered: &mut Answered) -> Result<()> {
        let answer = connection.ask(&self.bytes()).await?;
        ensure!(answer.contains(self.answer), "another answer than {}: {answer}", self.answer);
        answered.count += 1;
        answered.not_modified += u64::from(answer::status(answer)? == answer::NOT_MODIFIED);
        answered.bytes += answer.len() as u64;
        if let Some(known) = &self.known {
            let tag = answer::header(answer, "etag").context("an answer without an ETag")?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if *known != tag {
                tag.clone_into(&mut known);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> Cow<'_, [u8]> {
        let known = self.known.as_ref().map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
        match known.filter(|tag| !tag.is_empty()) {
            Some(tag) => {
                let mut bytes = self.request[..self.request.len() - 2].to_vec();
                bytes.extend_from_slice(format!("if-none-match: {}\r\n\r\n", *tag).as_bytes());
                bytes.into()
            }
            None => Cow::Borrowed(&self.request),
        }
    }
}

impl Answered {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.not_modified += other.not_modified;
        self.bytes += other.bytes;
        self.times.extend(other.times);
    }
}

/// When requests are due.
struct Pace {
    begun: Instant,
    a_second: u32,
    count: u32,
    /// The next that is not taken.
    next: AtomicU32,
    /// One permit for each that is due and not asked yet. Who waits first gets the first.
    due: Semaphore,
}

impl Pace {
    fn at(&self, number: u32) -> Instant {
        self.begun + Duration::from_secs(1) * number / self.a_second
    }

    /// Lets requests become due, until all have or nobody asks any more.
    fn keep(&self) {
        for number in 0..self.count {
            std::thread::sleep(self.at(number).saturating_duration_since(Instant::now()));
            if self.due.is_closed() {
                return;
            }
            self.due.add_permits(1);
        }
    }

    /// Waits until the next is due; the time at which it was.
    async fn next(&self) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return None;
        }
        self.due.acquire().await.ok()?.forget();
        Some(self.at(number))
    }
}

/// An HTTP connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    patience: Duration,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; FIRST_BYTES], patience: PATIENCE })
    }

    /// Sends a request and reads its answer whole: head and body, as they come. An answer other than 2xx or 304 is an
    /// error, and so is one that is not whole after [`PATIENCE`].
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<&str> {
        let length = tokio::time::timeout(self.patience, self.exchange(request)).await;
        let length = length.with_context(|| format!("no whole answer came within {} s", self.patience.as_secs()))??;
        Ok(std::str::from_utf8(&self.buffer[..length])?)
    }

    /// The length of the answer, which then stands at the beginning of the buffer.
    async fn exchange(&mut self, request: &[u8]) -> Result<usize> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                ensure!(filled < MOST_BYTES, "the answer has more than {MOST_BYTES} bytes");
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection ended before the answer did");
            filled += read;
            if let Some(length) = answer::length(&self.buffer[..filled])? {
                ensure!(filled <= length, "more than one answer");
                if filled == length {
                    return Ok(length);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_due_at_their_times_in_their_order() {
        let begun = Instant::now();
        let pace =
            Arc::new(Pace { begun, a_second: 1_000, count: 20, next: AtomicU32::new(0), due: Semaphore::new(0) });
        let keeping = Arc::clone(&pace);
        let pacer = std::thread::spawn(move || keeping.keep());
        for number in 0..20 {
            let due = pace.next().await.unwrap();
            assert_eq!(due, begun + Duration::from_millis(number));
            assert!(Instant::now() >= due);
        }
        assert_eq!(pace.next().await, None);
        pacer.join().unwrap();
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_not_waited_for_without_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).await.unwrap();
        connection.patience = Duration::from_millis(10);
        let error = connection.ask(b"GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
        assert!(error.to_string().contains("no whole answer"), "{error}");
    }

    #[test]
    fn a_load_asks_by_the_tag_that_it_has_seen() {
        let load = Load::new("http://127.0.0.1:1", "GET /", "a: b\r\n", "", "").unwrap().revalidating();
        assert_eq!(*load.bytes(), *load.request);
        *load.known.as_ref().unwrap().lock().unwrap() = "\"7-1\"".into();
        let text = String::from_utf8(load.bytes().into_owned()).unwrap();
        assert!(text.ends_with("a: b\r\nif-none-match: \"7-1\"\r\n\r\n"), "{text}");
    }
}
