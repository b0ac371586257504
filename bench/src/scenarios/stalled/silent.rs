//! A viewer that reads nothing after the head of its answer.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::latest::EventLines;
use crate::listeners::Reader as _;

/// What its system receives ahead of the reading, as it is asked for; Linux takes twice as much.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 4 * 1024;

/// The longest segment that it takes: that of Ethernet. By loopback's, of 64 KiB, the server's system would reckon how
/// much it may hold for a connection.
pub(super) const SEGMENT_BYTES: u32 = 1_448;

/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// The open stream.
pub(super) struct Silent(std::net::TcpStream);

impl Silent {
    /// Asks for the stream, and reads the head of the answer and no byte more.
    pub(super) fn open(address: SocketAddr, request: &str) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.set_tcp_mss(SEGMENT_BYTES)?;
        socket.connect(&address.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream: std::net::TcpStream = socket.into();
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        ensure!(head.starts_with(b"HTTP/1.1 200"), "a stream was refused: {}", String::from_utf8_lossy(&head));
        Ok(Self(stream))
    }

    /// Reads on until then: whether the server has cut the stream.
    pub(super) async fn read_on(self, mut reader: EventLines, until: Instant) -> Result<bool> {
        self.0.set_nonblocking(true)?;
        let (mut stream, mut kept) = (TcpStream::from_std(self.0)?, Vec::new());
        loop {
            match tokio::time::timeout_at(until.into(), stream.read_buf(&mut kept)).await {
                Err(_) => return Ok(false),
                // An end, or an error such as a reset.
                Ok(Ok(0) | Err(_)) => return Ok(true),
                Ok(Ok(_)) => {
                    let taken = reader.take(&kept, 0)?;
                    kept.drain(..taken.bytes);
                }
            }
        }
    }
}
