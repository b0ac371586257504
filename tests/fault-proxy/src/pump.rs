//! Moves the bytes of one direction between two sockets. Holds the sockets' side of forwarding; which bytes leave when
//! is decided in [`crate::lane`].

use std::io::ErrorKind;
use std::time::Instant;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::connection::Admitted;
use crate::lane::{self, Due, End, Lane};
use crate::orders::{Direction, Orders};

const READ_BYTES: usize = 32 << 10;

/// Why the whole connection ends, not only one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A socket broke, or the connection was cut.
    Reset,
    /// The client has everything before the needle.
    CutBefore,
}

/// One direction of one connection.
pub(crate) struct Pump<'a> {
    direction: Direction,
    admitted: &'a Admitted,
    orders: watch::Receiver<Orders>,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    lane: Lane,
    /// The receiver is gone and the sender must not learn it, because the way back is swallowed.
    receiver_lost: bool,
    buffer: Vec<u8>,
}

/// What to wait for before the next turn, besides new orders.
#[derive(Default)]
struct Wait {
    readable: bool,
    writable: bool,
    until: Option<Instant>,
}

enum Turn {
    Wait(Wait),
    Finished,
    Ended(Ending),
}

impl<'a> Pump<'a> {
    pub(crate) fn new(direction: Direction, admitted: &'a Admitted, from: ReadHalf<'a>, to: WriteHalf<'a>) -> Self {
        Self {
            direction,
            admitted,
            orders: admitted.orders.clone(),
            from,
            to,
            lane: Lane::new(direction, admitted.id),
            receiver_lost: false,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Forwards until the sender has finished, and says so to the receiver.
    pub(crate) async fn run(mut self) -> Result<(), Ending> {
        loop {
            let wait = match self.turn() {
                Turn::Wait(wait) => wait,
                Turn::Ended(ending) => return Err(ending),
                Turn::Finished => {
                    // A receiver that is gone already needs no word of it.
                    let _ = self.to.shutdown().await;
                    return Ok(());
                }
            };
            let until = wait.until.map(tokio::time::Instant::from_std);
            tokio::select! {
                changed = self.orders.changed() => changed.map_err(|_| Ending::Reset)?,
                _ = self.from.readable(), if wait.readable => {}
                _ = self.to.writable(), if wait.writable => {}
                () = async { tokio::time::sleep_until(until.unwrap_or_else(tokio::time::Instant::now)).await },
                    if until.is_some() => {}
            }
        }
    }

    /// Reads once and writes what is due. The orders stay locked meanwhile, and nothing here waits: so when a method of
    /// the proxy has given an order, no byte moves by the old ones any more.
    fn turn(&mut self) -> Turn {
        let (direction, counters) = (self.direction, self.admitted.counters());
        let orders = self.orders.borrow_and_update();
        if orders.cut {
            return Turn::Ended(Ending::Reset);
        }
        if orders.stall.is(direction) {
            return Turn::Wait(Wait::default());
        }
        let now = Instant::now();
        self.lane.adopt(&orders, now);
        let swallow = self.receiver_lost || orders.swallow.is(direction);

        if !self.lane.is_ended() && (swallow || self.lane.has_room(&orders)) {
            match self.from.try_read(&mut self.buffer) {
                Ok(0) => self.lane.end(End::Finish, now),
                Ok(count) => {
                    let bytes = &self.buffer[..count];
                    if direction == Direction::ToServer {
                        self.admitted.history.record(bytes);
                    }
                    if swallow {
                        counters.swallowed.add(count as u64);
                    } else {
                        self.lane.input(bytes, now);
                        counters.disturbed(self.lane.take_disturbed());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.lane.end(End::Reset, now),
            }
        }
        if swallow {
            counters.swallowed.add(self.lane.discard(now));
            // The end is swallowed, too: the connection stays open to both sides.
            return Turn::Wait(Wait { readable: !self.lane.is_ended(), ..Wait::default() });
        }

        let mut wait = Wait { until: self.lane.deadline(), ..Wait::default() };
        loop {
            match self.lane.due(&orders, now) {
                Due::Nothing => break,
                Due::At(time) => {
                    wait.until = lane::earlier(wait.until, Some(time));
                    break;
                }
                Due::Bytes(bytes) => match self.to.try_write(bytes) {
                    Ok(count) => {
                        counters.sent(direction, count);
                        self.lane.sent(count, &orders, now);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        wait.writable = true;
                        break;
                    }
                    Err(_) if orders.swallow.is(direction.opposite()) => {
                        self.receiver_lost = true;
                        counters.swallowed.add(self.lane.discard(now));
                        return Turn::Wait(Wait { readable: !self.lane.is_ended(), ..Wait::default() });
                    }
                    Err(_) => return Turn::Ended(Ending::Reset),
                },
            }
        }
        match self.lane.finished() {
            None => {
                wait.readable = self.lane.has_room(&orders);
                Turn::Wait(wait)
            }
            Some(End::Finish) => Turn::Finished,
            Some(End::Reset) => Turn::Ended(Ending::Reset),
            Some(End::CutBefore) => Turn::Ended(Ending::CutBefore),
        }
    }
}
