//! The proxy as tests see it. Holds which connections there are and what they are told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::connection::{self, Admitted};
use crate::counters::Counters;
use crate::history::History;
use crate::messages::MessageFaults;
use crate::orders::{CutBefore, Direction, Orders};

/// Added to a time, a delay without bound would overflow it; no test waits a day.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A proxy on 127.0.0.1 before one upstream address. Forwards cleanly until told otherwise; ends with all its
/// connections when dropped.
///
/// Orders hold from the moment the method returns: a byte that the proxy reads later moves by the new orders. Whether
/// they concern connections that are open, or those that come later, or both, stands with each method. All but
/// [`Proxy::cut`] and the two `swallow` methods end with [`Proxy::heal`]. A connection is open, and a byte has come,
/// when the proxy has taken it from the kernel, which may be a moment after the peer gave it there: so wait for
/// [`Proxy::connections`] or for an effect at the other end before an order that is to concern it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use fault_proxy::{Direction, Proxy};
///
/// let redis = "127.0.0.1:6379".parse()?;
/// let proxy = Proxy::start(0, redis).await?;
/// println!("connect to {}", proxy.address());
/// proxy.stall(Direction::ToClient);
/// proxy.heal();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    accepting: AbortHandle,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on `port` of 127.0.0.1; 0 takes any free one. Upstream is first contacted when a client connects; when
    /// that fails, the client is reset.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(connection::accept(listener, upstream, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, accepting, shared })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every open connection, to both sides, and gives how many. Later ones are untouched.
    pub fn cut(&self) -> usize {
        self.shared.cut(&mut self.shared.state())
    }

    /// Resets every open connection, gives how many, and resets every later one as soon as it is accepted, until
    /// [`Proxy::up`].
    pub fn down(&self) -> usize {
        let mut state = self.shared.state();
        state.down = true;
        self.shared.cut(&mut state)
    }

    /// Ends [`Proxy::down`].
    pub fn up(&self) {
        self.shared.state().down = false;
    }

    /// Makes the open connections half-open, for good, and gives how many: bytes in this direction are read and thrown
    /// away, its end or a reset included, while both sockets stay open. Later connections are untouched.
    ///
    /// Such a connection may stay open when both its peers are gone; [`Proxy::cut`] and dropping the proxy end it.
    pub fn swallow(&self, direction: Direction) -> usize {
        self.swallow_matching(direction, b"")
    }

    /// As [`Proxy::swallow`], but only for connections whose client has sent `needle` so far, such as the path of a
    /// request: clients of HTTP use a connection for several. Looks through the latest 1 MiB from each client. Bytes
    /// that the proxy has not read yet do not count, so wait for an effect of the request first.
    pub fn swallow_matching(&self, direction: Direction, needle: &[u8]) -> usize {
        let state = self.shared.state();
        let matching = state.open.values().filter(|open| open.history.contains(needle));
        matching.map(|open| open.orders.send_modify(|orders| orders.swallow.set(direction, true))).count()
    }

    /// Freezes this direction of all connections, open and later: bytes are neither read nor forwarded, nor is the end
    /// of a connection noticed, until [`Proxy::resume`]. Back-pressure builds up. Nothing is lost.
    pub fn stall(&self, direction: Direction) {
        self.shared.order(|orders| orders.stall.set(direction, true));
    }

    /// Ends [`Proxy::stall`].
    pub fn resume(&self, direction: Direction) {
        self.shared.order(|orders| orders.stall.set(direction, false));
    }

    /// Lets every chunk leave so much later than it came, in order, in both directions of all connections, open and
    /// later. Chunks do not wait for each other, so throughput stays. A new value holds for chunks on their way, too;
    /// zero ends it. More than a day is a day.
    pub fn delay(&self, latency: Duration) {
        self.shared.order(|orders| orders.delay = latency.min(MAX_DELAY));
    }

    /// Lets bytes to the client leave at this rate on each connection, open or later, in pieces of 10 ms or single
    /// bytes. 0 is taken as 1.
    pub fn trickle(&self, bytes_per_second: u32) {
        self.shared.order(|orders| orders.trickle = Some(bytes_per_second.max(1)));
    }

    /// Ends each connection, open or later, at the first `needle` that the server sends from now on: the client gets
    /// all bytes before it and then the end of the stream, the server is reset. A partial match is held back until it
    /// is decided. Takes the place of an earlier such order. An empty needle is never found.
    pub fn cut_before(&self, needle: impl Into<Vec<u8>>) {
        self.cut_before_times(needle, u64::MAX);
    }

    /// As [`Proxy::cut_before`], but only for the first so many finds on all connections together.
    pub fn cut_before_times(&self, needle: impl Into<Vec<u8>>, times: u64) {
        let rule = Arc::new(CutBefore::new(needle.into(), times));
        self.shared.order(|orders| orders.cut_before = Some(Arc::clone(&rule)));
    }

    /// Gives connections that are accepted from now on exactly these bytes as soon as they have sent something, and
    /// closes them. Upstream is not contacted, and of the other faults only [`Proxy::cut`] and [`Proxy::down`] concern
    /// them. Open connections are untouched.
    pub fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.shared.state().answer = Some(Arc::from(bytes.into()));
    }

    /// Disturbs pub/sub messages of all connections, open and later, when upstream is a Redis; the rest passes byte for
    /// byte. The first frame of an open connection may be spared: one whose beginning has already left. A RESP2 reply
    /// that looks exactly like a message is taken for one.
    pub fn messages(&self, faults: MessageFaults) {
        let faults = Arc::new(faults);
        self.shared.order(|orders| orders.messages = Some(Arc::clone(&faults)));
    }

    /// Back to clean forwarding, for open and later connections, except those that are cut or swallowed already. What
    /// was held back leaves at once.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.down = false;
        state.answer = None;
        state.order(Orders::heal);
    }

    /// Connections that are open now; a cut one is not, from the moment the order was given.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Connections accepted so far, without the refused ones.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.counters.accepted.value()
    }

    /// Connections reset on arrival so far, because of [`Proxy::down`].
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.counters.refused.value()
    }

    /// Bytes given to clients so far. May be a moment behind what a client has already read.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.counters.bytes_to_client.value()
    }

    /// Bytes given to upstream so far. May be a moment behind what upstream has already read.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.counters.bytes_to_server.value()
    }

    /// Bytes swallowed so far, in both directions.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.counters.swallowed.value()
    }

    /// Messages lost so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.counters.dropped.value()
    }

    /// Messages sent twice so far.
    #[must_use]
    pub fn duplicated(&self) -> u64 {
        self.shared.counters.duplicated.value()
    }

    /// Messages overtaken by the next one so far.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.shared.counters.reordered.value()
    }

    /// Connections cut so far, by [`Proxy::cut`], [`Proxy::down`] or [`Proxy::cut_before`].
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.counters.cuts.value()
    }

    /// Connections cut so far by [`Proxy::cut_before`].
    #[must_use]
    pub fn cuts_before(&self) -> u64 {
        self.shared.counters.cuts_before.value()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.down();
        self.accepting.abort();
    }
}

/// What the proxy and its tasks share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    down: bool,
    answer: Option<Arc<[u8]>>,
    /// What later connections are told first.
    orders: Orders,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    orders: watch::Sender<Orders>,
    history: Arc<History>,
}

impl Shared {
    /// Takes a new connection, unless the proxy is down.
    pub(crate) fn admit(shared: &Arc<Self>) -> Option<Admitted> {
        let mut state = shared.state();
        if state.down {
            shared.counters.refused.add(1);
            return None;
        }
        shared.counters.accepted.add(1);
        let id = shared.counters.accepted.value();
        let (sender, orders) = watch::channel(state.orders.clone());
        let history = Arc::new(History::default());
        state.open.insert(id, Open { orders: sender, history: Arc::clone(&history) });
        Some(Admitted { id, orders, history, answer: state.answer.clone(), shared: Arc::clone(shared) })
    }

    /// The connection has ended.
    pub(crate) fn forget(&self, id: u64) {
        self.state().open.remove(&id);
    }

    /// The connection was cut because of its needle.
    pub(crate) fn cut_before(&self, id: u64) {
        let mut state = self.state();
        // An open connection no more when another order has cut, and counted, it at the same time.
        self.counters.cuts.add(u64::from(state.open.remove(&id).is_some()));
        self.counters.cuts_before.add(1);
        // Connections that hold back a partial match would otherwise keep it, waiting for what can no longer happen.
        state.order(|orders| {
            orders.cut_before.take_if(|rule| rule.is_used_up());
        });
    }

    /// Changes what all connections are told, open and later ones.
    fn order(&self, change: impl Fn(&mut Orders)) {
        self.state().order(change);
    }

    fn cut(&self, state: &mut State) -> usize {
        let count = state.open.len();
        for (_, open) in state.open.drain() {
            open.orders.send_modify(|orders| orders.cut = true);
        }
        self.counters.cuts.add(count as u64);
        count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn order(&mut self, change: impl Fn(&mut Orders)) {
        change(&mut self.orders);
        for open in self.open.values() {
            open.orders.send_modify(&change);
        }
    }
}
