//! What it takes to take a socket out of the hands of the HTTP library in the middle of an answer.

use bytes::Bytes;
use http::response::Parts;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The head of an answer whose body is chunked, as bytes (RFC 9112, sections 4, 5 and 7.1).
pub(crate) fn head(parts: &Parts) -> Bytes {
    let status = parts.status;
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    head.push_str(&format!("date: {}\r\ntransfer-encoding: chunked\r\n", httpdate::fmt_http_date(SystemTime::now())));
    let mut head = head.into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// A socket that tells whether it was given more than it took: then the library holds the rest.
pub(crate) struct Watched {
    socket: TcpStream,
    unsent: Arc<AtomicBool>,
}

impl Watched {
    pub(crate) fn new(socket: TcpStream, unsent: Arc<AtomicBool>) -> Self {
        Self { socket, unsent }
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.socket
    }

    fn note(&self, written: &Poll<io::Result<usize>>, given: usize) {
        let all = matches!(written, Poll::Ready(Ok(taken)) if *taken == given);
        self.unsent.store(!all, Ordering::Relaxed);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.note(&written, bytes.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.note(&written, pieces.iter().map(|piece| piece.len()).sum());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    #[test]
    fn a_head_has_its_headers_and_no_length() {
        let (parts, ()) =
            Response::builder().header("content-type", "text/event-stream").body(()).unwrap().into_parts();
        let head = String::from_utf8(head(&parts).to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\ndate: "), "{head}");
        assert!(
            head.ends_with(" GMT\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"),
            "{head}"
        );
    }
}
