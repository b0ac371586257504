//! One connection of a tab: a request over HTTP/1.1 and the bytes of its answer.
//!
//! Written out instead of taken from a client, for three things: no connection is ever used twice, what arrives is
//! counted as it stands on the wire, and nothing reads ahead of a tab that does not read.

use std::io;

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::TabBuilder;

const MAX_HEAD_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// 200 with `text/event-stream`.
    Stream(Stream),
    /// Anything else, by its status.
    Other(u16),
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    framing: Framing,
    /// What came with the head.
    ahead: Vec<u8>,
    /// The size of the head, until it is told.
    head_bytes: usize,
}

/// Bytes of a body.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) body: Vec<u8>,
    /// How many bytes they were on the wire, with the head when they are the first.
    pub(super) wire_bytes: u64,
    /// Nothing more comes.
    pub(super) ended: bool,
}

/// Asks for the stream; `last_event_id` may be empty.
pub(super) async fn request(tab: &TabBuilder, last_event_id: &str) -> io::Result<Answer> {
    let url = Url::parse(&tab.url).map_err(io::Error::other)?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let mut socket = connect(host, port, tab.receive_buffer).await?;

    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut head = format!("GET {}{query} HTTP/1.1\r\nHost: {host}:{port}\r\n", url.path());
    head.push_str("Accept: text/event-stream\r\nCache-Control: no-cache\r\n");
    if !last_event_id.is_empty() {
        head.push_str(&format!("Last-Event-ID: {last_event_id}\r\n"));
    }
    for (name, value) in &tab.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).await?;

    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the head of the answer does not end"));
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = Head::parse(&bytes[..end]).ok_or_else(|| io::Error::other("no HTTP answer"))?;
    if !head.is_stream() {
        return Ok(Answer::Other(head.status));
    }
    Ok(Answer::Stream(Stream { socket, framing: head.framing, ahead: bytes.split_off(end + 4), head_bytes: end + 4 }))
}

async fn connect(host: &str, port: u16, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    let address = lookup_host((host.trim_matches(['[', ']']), port)).await?.next();
    let address = address.ok_or(io::ErrorKind::HostUnreachable)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect(address).await
}

impl Stream {
    /// The next bytes. Dropped before it is done, it has taken none.
    pub(super) async fn read(&mut self) -> io::Result<Arrived> {
        let mut bytes = std::mem::take(&mut self.ahead);
        if matches!(self.framing, Framing::Length(0)) {
            return Ok(Arrived { ended: true, ..Arrived::default() });
        }
        if bytes.is_empty() {
            bytes.reserve(READ_BYTES);
            if self.socket.read_buf(&mut bytes).await? == 0 {
                return Ok(Arrived { ended: true, ..Arrived::default() });
            }
        }
        let wire_bytes = (bytes.len() + std::mem::take(&mut self.head_bytes)) as u64;
        match &mut self.framing {
            Framing::UntilClose => Ok(Arrived { body: bytes, wire_bytes, ended: false }),
            Framing::Length(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                Ok(Arrived { body: bytes, wire_bytes, ended: *left == 0 })
            }
            Framing::Chunked(chunked) => {
                let mut body = Vec::with_capacity(bytes.len());
                let ended = chunked.decode(&bytes, &mut body).ok_or_else(|| io::Error::other("no chunk"))?;
                Ok(Arrived { body, wire_bytes, ended })
            }
        }
    }
}

/// What an answer's head says about it.
struct Head {
    status: u16,
    event_stream: bool,
    framing: Framing,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
        let mut lines = text.lines();
        let status = lines.next()?.strip_prefix("http/1.")?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let value = |name| headers.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value.trim());
        let kind = value("content-type").split(';').next().unwrap_or_default().trim();
        // A stream of a batch that has ended already comes with its length.
        let framing = match value("content-length").parse() {
            _ if value("transfer-encoding") == "chunked" => Framing::Chunked(Chunked::default()),
            Ok(length) => Framing::Length(length),
            Err(_) => Framing::UntilClose,
        };
        Some(Self { status, event_stream: kind == "text/event-stream", framing })
    }

    fn is_stream(&self) -> bool {
        self.status == 200 && self.event_stream
    }
}

#[derive(Debug)]
enum Framing {
    UntilClose,
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
}

/// Where the bytes of a chunked body (RFC 9112, section 7.1) stand.
#[derive(Debug)]
enum Chunked {
    /// In the line that gives the size, with what there is of it.
    Size(Vec<u8>),
    /// In a chunk, with so many bytes to come.
    Data(usize),
    /// In the line break behind a chunk, with so many bytes to come.
    Break(usize),
    /// Behind the last chunk. Trailers are not read.
    End,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size(Vec::new())
    }
}

impl Chunked {
    /// Appends to `body` what `bytes` hold of it. Whether it has ended; `None` when these are no chunks.
    fn decode(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Option<bool> {
        while !bytes.is_empty() {
            match self {
                Self::Size(line) => {
                    let (byte, rest) = bytes.split_first()?;
                    bytes = rest;
                    if *byte != b'\n' {
                        line.push(*byte);
                        continue;
                    }
                    let line = std::str::from_utf8(line).ok()?;
                    let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                    *self = if size == 0 { Self::End } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(*left));
                    body.extend_from_slice(taken);
                    bytes = rest;
                    *left -= taken.len();
                    if *left == 0 {
                        *self = Self::Break(2);
                    }
                }
                Self::Break(left) => {
                    let taken = bytes.len().min(*left);
                    bytes = &bytes[taken..];
                    *left -= taken;
                    if *left == 0 {
                        *self = Self::default();
                    }
                }
                Self::End => break,
            }
        }
        Some(matches!(self, Self::End))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_in_any_cut() {
        let wire = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        for cut in 1..wire.len() {
            let (mut chunked, mut body) = (Chunked::default(), Vec::new());
            chunked.decode(&wire[..cut], &mut body).unwrap();
            assert_eq!(chunked.decode(&wire[cut..], &mut body), Some(true), "cut at {cut}");
            assert_eq!(body, b"hello!", "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        assert_eq!(Chunked::default().decode(b"data: x\n\n", &mut Vec::new()), None);
    }

    #[test]
    fn only_200_with_the_right_type_is_a_stream() {
        let is_stream = |head: &str| Head::parse(head.as_bytes()).unwrap().is_stream();
        assert!(is_stream("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8"));
        assert!(!is_stream("HTTP/1.1 200 OK\r\nContent-Type: text/html"));
        assert!(!is_stream("HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream"));
        assert!(Head::parse(b"+PONG").is_none());
    }
}
