//! Sockets for the tests. Everything waits for an event, with a guard; nothing sleeps instead.

use std::net::SocketAddr;
use std::time::Duration;

use fault_proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// A test fails when an event does not come within this.
pub(crate) const GUARD: Duration = Duration::from_secs(30);

/// So long a test waits for what must not come. On a slow machine it may then miss a fault, but never fail.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// A proxy and the server behind it.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    server: TcpListener,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(0, server.local_addr().unwrap()).await.unwrap();
        Self { proxy, server }
    }

    /// A connection through the proxy: both its ends, after a byte each way.
    pub(crate) async fn connect(&self) -> (TcpStream, TcpStream) {
        let mut client = connect(self.proxy.address()).await;
        let mut server = self.accept().await;
        send(&mut client, b"?").await;
        receive(&mut server, b"?").await;
        send(&mut server, b"!").await;
        receive(&mut client, b"!").await;
        (client, server)
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        timeout(GUARD, self.server.accept()).await.expect("no connection").unwrap().0
    }
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    timeout(GUARD, TcpStream::connect(address)).await.expect("cannot connect").unwrap()
}

pub(crate) async fn send(socket: &mut TcpStream, bytes: &[u8]) {
    timeout(GUARD, socket.write_all(bytes)).await.expect("cannot send").unwrap();
}

/// Expects exactly these bytes next.
pub(crate) async fn receive(socket: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(GUARD, socket.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(expected));
}

/// Expects exactly these bytes and then the end of the stream.
pub(crate) async fn receive_to_end(socket: &mut TcpStream, expected: &[u8]) {
    let mut bytes = Vec::new();
    timeout(GUARD, socket.read_to_end(&mut bytes)).await.expect("no end").unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(expected));
}

/// Expects that nothing comes, not even the end.
pub(crate) async fn receive_nothing(socket: &mut TcpStream) {
    let came = timeout(QUIET, socket.read(&mut [0; 64])).await;
    assert!(came.is_err(), "came: {came:?}");
}

/// Expects a reset and nothing before it.
pub(crate) async fn receive_reset(socket: &mut TcpStream) {
    let came = timeout(GUARD, socket.read(&mut [0; 64])).await.expect("no end");
    assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(GUARD, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
