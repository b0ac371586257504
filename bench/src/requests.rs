//! A load of requests: so many connections, each with one request under way at a time, as fast as they are answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a connection holds of an answer until it is whole, in bytes. Answers here are small.
const ANSWER_BYTES: usize = 16 * 1024;

/// A request, and what its answer must contain.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: &'static str,
}

impl Load {
    /// A request with these headers and this body, which may be empty.
    pub(crate) fn new(url: &str, head: &str, headers: &str, body: &str, answer: &'static str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("no http address")?.parse()?;
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{head} HTTP/1.1\r\nhost: {address}\r\n{headers}{length}\r\n{body}").into_bytes();
        Ok(Self { address, request, answer })
    }

    /// The number of requests answered a second, by so many connections over `time`.
    pub(crate) async fn rate(&self, connections: usize, time: Duration) -> Result<f64> {
        let until = Instant::now() + time;
        // One thread, so that the load is the same for all and leaves a core for what is measured.
        let load = self.clone();
        let counting = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let tasks = async {
                let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(load.clone().ask_until(until))).collect();
                let mut count = 0;
                for task in tasks {
                    count += task.await??;
                }
                anyhow::Ok(count)
            };
            runtime.block_on(tasks)
        });
        let count = counting.await??;
        ensure!(count > 0, "no request was answered");
        Ok(count as f64 / time.as_secs_f64())
    }

    async fn ask_until(self, until: Instant) -> Result<u64> {
        let mut connection = Connection::open(self.address).await?;
        let mut count = 0;
        while Instant::now() < until {
            let answer = connection.ask(&self.request).await?;
            ensure!(answer.contains(self.answer), "another answer than {}: {answer}", self.answer);
            count += 1;
        }
        Ok(count)
    }
}

/// An HTTP connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; ANSWER_BYTES] })
    }

    /// Sends a request and reads its answer whole: head and body. An answer other than 2xx is an error.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<&str> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection ended before the answer did");
            filled += read;
            if let Some(length) = answer_length(&self.buffer[..filled])? {
                ensure!(filled <= length, "more than one answer");
                if filled == length {
                    return Ok(std::str::from_utf8(&self.buffer[..filled])?);
                }
            }
        }
    }
}

/// The length of an answer with its head; `None`: the head is not whole yet.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?;
    if !text.starts_with("HTTP/1.1 2") {
        bail!("not a success: {text}");
    }
    let mut lengths = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some(head + 4 + lengths.next().context("no content-length")??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(answer_length(answer).unwrap(), Some(answer.len()));
        assert_eq!(answer_length(&answer[..30]).unwrap(), None);
        assert!(answer_length(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
