//! An `EventSource`, as far as a restart needs it: it comes back when its stream has ended or could not be opened, after
//! the time that it was last told, with the last id that it was given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::latest::{Seen, data, whole_lines};
use crate::listeners::now_us;

/// What a browser waits that was told nothing: Chromium's. Firefox waits 5 s.
pub(super) const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// More than a head takes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Where it connects to, and what it asks.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// The bytes of the request, without a last id.
    pub(super) request: String,
    /// How many changes have been committed.
    pub(super) committed: AtomicU64,
    /// How many streams are open.
    pub(super) open: AtomicU64,
}

/// What it has lived through. Times are microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// When it began to connect, each time.
    pub(super) tries: Vec<u64>,
    pub(super) opens: Vec<Open>,
    /// When it first showed the latest change that it shows.
    pub(super) shown_at: u64,
    /// It was answered with something else than a stream, and will not come back.
    pub(super) given_up: bool,
}

/// A stream that was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) asked_at: u64,
    pub(super) answered_at: u64,
    /// When it first showed all that was committed as it was answered.
    pub(super) current_at: Option<u64>,
}

pub(super) struct EventSource {
    target: Arc<Target>,
    seen: Arc<Seen>,
    retry: Duration,
    last_id: String,
    pub(super) story: Story,
}

/// Counts one more open stream until it is dropped.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EventSource {
    pub(super) fn new(target: Arc<Target>, seen: Arc<Seen>) -> Self {
        Self { target, seen, retry: DEFAULT_RETRY, last_id: String::new(), story: Story::default() }
    }

    /// Lives until it is dropped, or has given up.
    pub(super) async fn live(&mut self) {
        while !self.story.given_up {
            // An error is the network's: it comes back from an end and from an error alike.
            let _ = self.connection().await;
            tokio::time::sleep(self.retry).await;
        }
    }

    async fn connection(&mut self) -> Result<()> {
        let target = Arc::clone(&self.target);
        self.story.tries.push(now_us());
        let mut stream = TcpStream::connect(target.address).await?;
        let asked_at = now_us();
        stream.write_all(with_last_id(&target.request, &self.last_id).as_bytes()).await?;
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if bytes.len() > MAX_HEAD_BYTES || stream.read_buf(&mut bytes).await? == 0 {
                bail!("the answer has no head");
            }
        };
        if !bytes.starts_with(b"HTTP/1.1 200") {
            self.story.given_up = true;
            return Ok(());
        }
        bytes.drain(..head);
        let _counted = Counted::new(&target.open);
        let needed = target.committed.load(Ordering::Relaxed);
        self.story.opens.push(Open { asked_at, answered_at: now_us(), current_at: None });
        loop {
            let taken = self.take(&bytes, needed)?;
            bytes.drain(..taken);
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Takes the lines that are whole: how many bytes they are.
    fn take(&mut self, bytes: &[u8], needed: u64) -> Result<usize> {
        let mut whole = 0;
        for line in whole_lines(bytes) {
            whole += line.len() + 1;
            if let Some(data) = data(line) {
                if self.seen.take(data)? {
                    self.story.shown_at = now_us();
                }
            } else if let Some(retry) = field(line, "retry") {
                self.retry = Duration::from_millis(retry.parse()?);
            } else if let Some(id) = field(line, "id") {
                self.last_id = id.to_owned();
            }
        }
        if self.seen.has(needed) {
            let open = self.story.opens.last_mut().context("no stream is open")?;
            open.current_at.get_or_insert_with(now_us);
        }
        Ok(whole)
    }
}

/// The value of a line's field, if it is this one.
fn field<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
    Some(std::str::from_utf8(value).ok()?.trim())
}

/// The request of one that has seen this.
fn with_last_id(request: &str, last_id: &str) -> String {
    match request.strip_suffix("\r\n") {
        Some(head) if !last_id.is_empty() => format!("{head}last-event-id: {last_id}\r\n\r\n"),
        _ => request.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::latest::Latest;

    const STREAM: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[test]
    fn a_last_id_is_one_header_more() {
        let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        assert_eq!(with_last_id(request, ""), request);
        assert_eq!(with_last_id(request, "7-1"), "GET / HTTP/1.1\r\nhost: x\r\nlast-event-id: 7-1\r\n\r\n");
    }

    async fn answer(listener: &TcpListener, answer: &str) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            socket.read_buf(&mut request).await.unwrap();
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn it_comes_back_as_it_was_told_until_it_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            address: listener.local_addr().unwrap(),
            request: "GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            committed: AtomicU64::new(2),
            open: AtomicU64::new(0),
        };
        let latest = Latest::default();
        let mut source = EventSource::new(Arc::new(target), latest.viewer());
        let server = async {
            let event = "retry: 10\n\nid: 7-1\nevent: progress\ndata: {\"nth\":\"00000000\"}\n\n";
            let first = answer(&listener, &format!("{STREAM}{event}")).await;
            // Nothing that could be an answer: the network's fault.
            answer(&listener, "").await;
            let third = answer(&listener, &format!("{STREAM}data: {{\"nth\":\"00000001\"}}\n\n")).await;
            answer(&listener, "HTTP/1.1 204 No Content\r\n\r\n").await;
            (first, third)
        };
        let ((first, third), ()) = tokio::join!(server, source.live());
        assert!(!first.contains("last-event-id") && third.contains("\r\nlast-event-id: 7-1\r\n"), "{third}");
        let Story { tries, opens, given_up, .. } = &source.story;
        assert_eq!((tries.len(), opens.len(), *given_up), (4, 2, true));
        assert!(opens[0].current_at.is_none() && opens[1].current_at.is_some(), "{opens:?}");
        assert_eq!((latest.behind(2), source.target.open.load(Ordering::Relaxed)), (0, 0));
    }
}
