//! Open sockets of subscribers, all written to by a few threads: no task, no buffer and no copy a subscriber.
//!
//! A subscriber's socket comes here once its request has been read. From then on it only listens, so that there is
//! nothing left to do for HTTP: an event is framed once as a chunk (RFC 9112, section 7.1), and the same bytes are
//! written to each socket. What a socket does not take waits in a queue of its own, bounded, until it does.

use super::MAILBOX_BYTES;
use super::ledger::MemberId;
use bytes::{BufMut, Bytes, BytesMut};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The token of the waker. Members count from 0 and do not come this far.
const WAKER: Token = Token(usize::MAX);

/// Readiness that is taken up at once.
const EVENTS: usize = 1024;

/// Orders that are carried out before it is looked again which sockets are ready.
const ORDERS_A_TURN: usize = 64;

/// What a client may still send once it listens, in bytes. It has nothing to say; one that says more is closed, as its
/// thread has others to serve.
const MAX_CHATTER_BYTES: usize = 64 * 1024;

/// What may wait for a thread, in bytes, before no more events are given to it.
const MAX_BACKLOG_BYTES: usize = 16 * 1024 * 1024;

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Threads with sockets. Cheap to clone; they end when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Crowd(Arc<[Shard]>);

#[derive(Debug)]
struct Shard {
    /// Taken when it is dropped, which is how the thread learns of that.
    orders: Option<Sender<Order>>,
    /// The bytes of the events that the thread has not taken up yet.
    backlog: Arc<AtomicUsize>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// What becomes of members, as the threads notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It closed its end.
    Gone(MemberId),
    /// It left too much unread and was closed.
    Slow(MemberId),
}

/// Takes up losses. Called by a thread that must not wait.
pub(super) type Report = Arc<dyn Fn(Loss) + Send + Sync>;

enum Order {
    Adopt { id: MemberId, socket: std::net::TcpStream, first: Bytes, report: Report },
    Write { ids: Vec<MemberId>, chunk: Bytes },
    KeepAlive { report: Report, chunk: Bytes },
    Close { id: MemberId },
}

impl Crowd {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no threads or no descriptors left.
    pub(crate) fn spawn(threads: usize) -> io::Result<Self> {
        let shards = (0..threads.max(1)).map(|_| Shard::spawn()).collect::<io::Result<Vec<_>>>()?;
        Ok(Self(shards.into()))
    }

    /// Takes a socket, on which nothing has been written yet of the answer, and writes `first` to it.
    pub(super) fn adopt(&self, id: MemberId, socket: std::net::TcpStream, first: Bytes, report: Report) {
        self.shard(id).order(Order::Adopt { id, socket, first, report });
    }

    /// Whether events come faster than they can be written, and too many wait.
    pub(super) fn is_behind(&self) -> bool {
        self.0.iter().any(|shard| shard.backlog.load(Ordering::Relaxed) > MAX_BACKLOG_BYTES)
    }

    /// Makes it seem so, or no longer.
    #[cfg(test)]
    pub(super) fn pretend_behind(&self, behind: bool) {
        let backlog = if behind { MAX_BACKLOG_BYTES + 1 } else { 0 };
        self.0.iter().for_each(|shard| shard.backlog.store(backlog, Ordering::Relaxed));
    }

    /// Writes an event to these.
    pub(super) fn write(&self, ids: Vec<MemberId>, event: &[u8]) {
        let chunk = chunk(event);
        if let [shard] = &*self.0 {
            return shard.write(ids, chunk);
        }
        let mut parts = vec![Vec::new(); self.0.len()];
        ids.into_iter().for_each(|id| parts[self.place(id)].push(id));
        for (shard, ids) in self.0.iter().zip(parts).filter(|(_, ids)| !ids.is_empty()) {
            shard.write(ids, chunk.clone());
        }
    }

    /// Writes a comment to all who report there and for whom nothing waits: who does not read needs no sign of life.
    pub(super) fn keep_alive(&self, report: &Report, comment: &[u8]) {
        let chunk = chunk(comment);
        for shard in &*self.0 {
            shard.order(Order::KeepAlive { report: Arc::clone(report), chunk: chunk.clone() });
        }
    }

    /// Ends the body and closes the socket.
    pub(super) fn close(&self, id: MemberId) {
        self.shard(id).order(Order::Close { id });
    }

    fn place(&self, id: MemberId) -> usize {
        (id % self.0.len() as u64) as usize
    }

    fn shard(&self, id: MemberId) -> &Shard {
        &self.0[self.place(id)] // There is at least one, and a remainder is less than their number.
    }
}

impl Shard {
    fn spawn() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (orders, inbox) = channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let keeper = Keeper { seats: HashMap::new(), scratch: vec![0; 4096], backlog: Arc::clone(&backlog) };
        let thread =
            std::thread::Builder::new().name("batchcast-crowd".to_owned()).spawn(move || keeper.run(poll, &inbox))?;
        Ok(Self { orders: Some(orders), backlog, waker, thread: Some(thread) })
    }

    fn write(&self, ids: Vec<MemberId>, chunk: Bytes) {
        self.backlog.fetch_add(weight(&ids, &chunk), Ordering::Relaxed);
        self.order(Order::Write { ids, chunk });
    }

    fn order(&self, order: Order) {
        let Some(orders) = &self.orders else { return };
        match orders.send(order) {
            Ok(()) => drop(self.waker.wake()),
            // A thread that has ended takes no sockets, and has lost those that it had.
            Err(SendError(Order::Adopt { id, report, .. })) => report(Loss::Gone(id)),
            Err(_) => {}
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.waker.wake();
        // Every body has its end when the process has its own.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The room that an event takes while it waits for a thread, in bytes.
fn weight(ids: &[MemberId], chunk: &Bytes) -> usize {
    size_of_val(ids) + chunk.len()
}

/// `bytes` as one chunk of a body.
pub(super) fn chunk(bytes: &[u8]) -> Bytes {
    let mut chunk = BytesMut::with_capacity(bytes.len() + 16);
    chunk.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    chunk.put_slice(bytes);
    chunk.put_slice(b"\r\n");
    chunk.freeze()
}

/// One thread's sockets.
struct Keeper {
    seats: HashMap<MemberId, Seat>,
    /// Where what clients still send is read into, and left.
    scratch: Vec<u8>,
    backlog: Arc<AtomicUsize>,
}

struct Seat {
    socket: TcpStream,
    /// What the socket has not taken; of the first piece only the rest.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// What the client has sent since it only listens, in bytes.
    chatter_bytes: usize,
    report: Report,
}

/// What is left of the orders.
#[derive(Debug, PartialEq, Eq)]
enum Inbox {
    Empty,
    /// Perhaps more.
    Waiting,
    /// There will be no more.
    Closed,
}

/// Why a seat is empty.
enum Lost {
    Gone,
    Slow,
}

impl Keeper {
    fn run(mut self, mut poll: Poll, inbox: &Receiver<Order>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = None;
        loop {
            match poll.poll(&mut events, patience) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    tracing::error!(%error, "the subscribers' sockets can't be watched");
                    self.seats.drain().for_each(|(id, seat)| (seat.report)(Loss::Gone(id)));
                    return;
                }
                _ => {}
            }
            for event in &events {
                if event.token() != WAKER {
                    self.ready(event.token().0 as MemberId, event.is_readable(), poll.registry());
                }
            }
            patience = match self.carry_out_some(inbox, poll.registry()) {
                Inbox::Empty => None,
                Inbox::Waiting => Some(Duration::ZERO),
                Inbox::Closed => return self.seats.drain().for_each(|(_, seat)| seat.end()),
            };
        }
    }

    /// Carries orders out, but not for long: orders that wait are no reason not to look which sockets are ready, as one
    /// of those may be why they wait.
    fn carry_out_some(&mut self, inbox: &Receiver<Order>, registry: &Registry) -> Inbox {
        for _ in 0..ORDERS_A_TURN {
            match inbox.try_recv() {
                Ok(order) => self.carry_out(order, registry),
                Err(TryRecvError::Empty) => return Inbox::Empty,
                Err(TryRecvError::Disconnected) => return Inbox::Closed,
            }
        }
        Inbox::Waiting
    }

    fn carry_out(&mut self, order: Order, registry: &Registry) {
        match order {
            Order::Adopt { id, socket, first, report } => {
                let mut socket = TcpStream::from_std(socket);
                let watched =
                    registry.register(&mut socket, Token(id as usize), Interest::READABLE | Interest::WRITABLE);
                let mut seat = Seat { socket, queue: VecDeque::new(), queued_bytes: 0, chatter_bytes: 0, report };
                let written = watched.map_err(|_| Lost::Gone).and_then(|()| seat.write(&first));
                self.seats.insert(id, seat);
                self.settle(id, written, registry);
            }
            Order::Write { ids, chunk } => {
                self.write(&ids, &chunk, registry);
                self.backlog.fetch_sub(weight(&ids, &chunk), Ordering::Relaxed);
            }
            Order::KeepAlive { report, chunk } => {
                let idle = |seat: &Seat| seat.queue.is_empty() && Arc::ptr_eq(&seat.report, &report);
                let idle: Vec<_> = self.seats.iter().filter(|(_, seat)| idle(seat)).map(|(id, _)| *id).collect();
                self.write(&idle, &chunk, registry);
            }
            Order::Close { id } => {
                if let Some(mut seat) = self.seats.remove(&id) {
                    let _ = registry.deregister(&mut seat.socket);
                    seat.end();
                }
            }
        }
    }

    fn write(&mut self, ids: &[MemberId], chunk: &Bytes, registry: &Registry) {
        for id in ids {
            if let Some(seat) = self.seats.get_mut(id) {
                let written = seat.write(chunk);
                self.settle(*id, written, registry);
            }
        }
    }

    /// A socket has become ready. Readiness is told once, so that all of it is used.
    fn ready(&mut self, id: MemberId, readable: bool, registry: &Registry) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let mut outcome = seat.flush();
        if readable && outcome.is_ok() {
            outcome = seat.drain(&mut self.scratch);
        }
        self.settle(id, outcome, registry);
    }

    fn settle(&mut self, id: MemberId, outcome: Result<(), Lost>, registry: &Registry) {
        let Err(lost) = outcome else { return };
        if let Some(mut seat) = self.seats.remove(&id) {
            let _ = registry.deregister(&mut seat.socket);
            (seat.report)(match lost {
                Lost::Gone => Loss::Gone(id),
                Lost::Slow => Loss::Slow(id),
            });
        }
    }
}

impl Seat {
    fn write(&mut self, piece: &Bytes) -> Result<(), Lost> {
        self.flush()?;
        let mut rest = piece.clone();
        if self.queue.is_empty() {
            write_some(&mut self.socket, &mut rest)?;
            if rest.is_empty() {
                return Ok(());
            }
        } else if self.queued_bytes + rest.len() > MAILBOX_BYTES {
            return Err(Lost::Slow);
        }
        self.queued_bytes += rest.len();
        self.queue.push_back(rest);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Lost> {
        while let Some(piece) = self.queue.front_mut() {
            let before = piece.len();
            let written = write_some(&mut self.socket, piece);
            self.queued_bytes -= before - piece.len();
            written?;
            if !piece.is_empty() {
                return Ok(());
            }
            self.queue.pop_front();
        }
        if self.queue.capacity() > 0 {
            self.queue = VecDeque::new(); // One that was long once would hold its room for ever.
        }
        Ok(())
    }

    /// Reads until there is no more: a client has nothing to say any more but that it goes.
    fn drain(&mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        while self.chatter_bytes <= MAX_CHATTER_BYTES {
            match self.socket.read(scratch) {
                Ok(0) => return Err(Lost::Gone),
                Ok(read) => self.chatter_bytes += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Lost::Gone),
            }
        }
        Err(Lost::Gone)
    }

    /// Ends the body, if it stands at the end of an event, and closes.
    fn end(mut self) {
        if self.queue.is_empty() {
            let _ = self.socket.write(LAST_CHUNK);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// Writes until the socket takes no more.
fn write_some(socket: &mut TcpStream, rest: &mut Bytes) -> Result<(), Lost> {
    while !rest.is_empty() {
        match socket.write(rest) {
            Ok(0) => return Err(Lost::Gone),
            Ok(written) => drop(rest.split_to(written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The system has waited long enough for the client to take what was sent before.
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Lost::Slow),
            Err(_) => return Err(Lost::Gone),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const GUARD: Duration = Duration::from_secs(20);

    /// A crowd of one socket, its other end, and what is reported.
    fn adopted(id: MemberId) -> (Crowd, std::net::TcpStream, Receiver<Loss>, Report) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(GUARD)).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let crowd = Crowd::spawn(2).unwrap();
        let (losses, lost) = channel();
        let losses = std::sync::Mutex::new(losses);
        let report: Report = Arc::new(move |loss| {
            let _ = losses.lock().unwrap().send(loss);
        });
        crowd.adopt(id, socket, Bytes::from_static(b"head;"), Arc::clone(&report));
        (crowd, client, lost, report)
    }

    fn read(client: &mut std::net::TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        client.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn events_are_chunks_and_the_body_ends_with_the_crowd() {
        let (crowd, mut client, _lost, report) = adopted(7);
        crowd.write(vec![7, 8], b"event");
        crowd.keep_alive(&report, b":");
        drop(crowd);
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "head;5\r\nevent\r\n1\r\n:\r\n0\r\n\r\n");
    }

    #[test]
    fn closing_one_ends_its_body() {
        let (crowd, mut client, _lost, _) = adopted(3);
        crowd.close(3);
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "head;0\r\n\r\n");
    }

    #[test]
    fn who_goes_is_reported() {
        let (_crowd, client, lost, _) = adopted(1);
        drop(client);
        assert_eq!(lost.recv_timeout(GUARD), Ok(Loss::Gone(1)));
    }

    #[test]
    fn what_a_socket_does_not_take_waits_and_comes_in_order() {
        let (crowd, mut client, lost, _) = adopted(1);
        assert_eq!(read(&mut client, 5), "head;");
        // More than sockets hold: a piece of any size may wait where nothing else does.
        let piece = "0123456789".repeat(1024 * 1024);
        crowd.write(vec![1], piece.as_bytes());
        let length = format!("{:x}\r\n", piece.len());
        assert_eq!(read(&mut client, length.len()), length);
        assert!(read(&mut client, piece.len()) == piece);
        assert_eq!(read(&mut client, 2), "\r\n");
        for event in ["first", "other"] {
            crowd.write(vec![1], event.as_bytes());
        }
        assert_eq!(read(&mut client, 20), "5\r\nfirst\r\n5\r\nother\r\n");
        assert!(lost.try_recv().is_err());
    }

    #[test]
    fn between_orders_it_is_looked_which_sockets_are_ready() {
        let poll = Poll::new().unwrap();
        let mut keeper = Keeper { seats: HashMap::new(), scratch: Vec::new(), backlog: Arc::default() };
        let (orders, inbox) = channel();
        for id in 0..ORDERS_A_TURN as MemberId + 1 {
            orders.send(Order::Close { id }).unwrap();
        }
        assert_eq!(keeper.carry_out_some(&inbox, poll.registry()), Inbox::Waiting);
        assert_eq!(keeper.carry_out_some(&inbox, poll.registry()), Inbox::Empty);
        drop(orders);
        assert_eq!(keeper.carry_out_some(&inbox, poll.registry()), Inbox::Closed);
    }

    #[test]
    fn who_talks_instead_of_listening_is_gone() {
        let (_crowd, mut client, lost, _) = adopted(1);
        // Until the other end closes.
        while client.write_all(&[b'x'; 4096]).is_ok() && lost.try_recv() != Ok(Loss::Gone(1)) {}
    }

    #[test]
    fn who_leaves_too_much_unread_is_closed() {
        let (crowd, _client, lost, _) = adopted(1);
        let piece = vec![b'x'; 256 * 1024];
        // Sockets hold some megabytes before the queue fills; how many is the system's.
        while lost.try_recv() != Ok(Loss::Slow(1)) {
            crowd.write(vec![1], &piece);
            std::thread::yield_now();
        }
    }
}
