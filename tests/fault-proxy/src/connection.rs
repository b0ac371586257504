//! Accepts connections and serves each of them. Holds the sockets; which connections there are and what they are told
//! stands in [`crate::proxy`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::counters::Counters;
use crate::history::History;
use crate::orders::{Direction, Orders};
use crate::proxy::Shared;
use crate::pump::{Ending, Pump};

/// A client that has got its answer is given so long to close first.
const MAX_LINGER: Duration = Duration::from_secs(1);

/// A connection that the proxy has taken; it is gone from the open ones when this is dropped.
pub(crate) struct Admitted {
    pub(crate) id: u64,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) history: Arc<History>,
    /// Given instead of contacting upstream.
    pub(crate) answer: Option<Arc<[u8]>>,
    pub(crate) shared: Arc<Shared>,
}

impl Admitted {
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Waits until this connection is cut.
    async fn cut(&self) {
        // Without a sender the proxy is gone, which ends the connection as well.
        let _ = self.orders.clone().wait_for(|orders| orders.cut).await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

/// Takes connections for ever.
pub(crate) async fn accept(listener: TcpListener, upstream: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Too many open files, most likely: waiting gives them a chance to be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        match Shared::admit(&shared) {
            Some(admitted) => drop(tokio::spawn(serve(client, upstream, admitted))),
            None => reset(&client),
        }
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, admitted: Admitted) {
    // Without it only timing differs, so a socket that refuses is no reason to fail.
    let _ = client.set_nodelay(true);
    if let Some(answer) = &admitted.answer {
        tokio::select! {
            biased;
            () = admitted.cut() => reset(&client),
            () = give(&mut client, answer, admitted.counters()) => {}
        }
        return;
    }
    let connected = tokio::select! {
        biased;
        () = admitted.cut() => None,
        connected = TcpStream::connect(upstream) => connected.ok(),
    };
    let Some(mut server) = connected else {
        return reset(&client);
    };
    let _ = server.set_nodelay(true);
    match forward(&mut client, &mut server, &admitted).await {
        Ok(()) => {}
        Err(Ending::Reset) => {
            reset(&client);
            reset(&server);
        }
        // Closed towards the client, since a reset could overtake the bytes before the needle.
        Err(Ending::CutBefore) => {
            admitted.shared.cut_before(admitted.id);
            reset(&server);
        }
    }
    // First gone from the open connections, then closed: who sees the end of a connection finds it no longer counted.
    drop(admitted);
}

async fn forward(client: &mut TcpStream, server: &mut TcpStream, admitted: &Admitted) -> Result<(), Ending> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let to_server = Pump::new(Direction::ToServer, admitted, from_client, to_server);
    let to_client = Pump::new(Direction::ToClient, admitted, from_server, to_client);
    tokio::try_join!(to_server.run(), to_client.run()).map(|_| ())
}

/// Gives the answer to whatever the client sends. Failing means that the client is gone.
async fn give(client: &mut TcpStream, answer: &[u8], counters: &Counters) {
    let mut sink = [0; 1024];
    if !matches!(client.read(&mut sink).await, Ok(1..)) || client.write_all(answer).await.is_err() {
        return;
    }
    counters.sent(Direction::ToClient, answer.len());
    let _ = client.shutdown().await;
    // Closing a socket with unread bytes resets it, and a reset can overtake the answer.
    let _ = tokio::time::timeout(MAX_LINGER, async { while let Ok(1..) = client.read(&mut sink).await {} }).await;
}

/// Makes the end of a socket a reset.
fn reset(socket: &TcpStream) {
    // A socket that refuses is closed in the ordinary way.
    let _ = socket.set_zero_linger();
}
