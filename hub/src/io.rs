//! What goes into a room and what comes out: plain data.

use std::rc::Rc;

use wire::{Position, Stored, TraceParent};

use crate::Millis;

/// Names a viewer within its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(pub u32);

/// Who a viewer is, as far as a room has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visitor {
    /// The user, of whom there may be only so many viewers; `None`: not counted.
    pub user: Option<Rc<str>>,
    /// When the token behind the stream expires; `None`: never.
    pub until: Option<Millis>,
}

/// Why a room takes no more viewers for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// There are [`Config::max_viewers`](crate::Config::max_viewers).
    Room,
    /// There are [`Config::max_viewers_per_user`](crate::Config::max_viewers_per_user) of this user.
    User,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A viewer came.
    Came {
        /// Its name from now on.
        viewer: ViewerId,
        /// Who it is.
        visitor: Visitor,
        /// The position of its `Last-Event-ID`.
        seen: Option<Position>,
        /// What was read to let it in.
        stored: Stored,
    },
    /// A viewer's stream is gone.
    Left(ViewerId),
    /// A read that was not the room's own found this.
    Learned(Stored),
    /// The subscription is confirmed: for the first time, or again after the gateway lost Redis.
    Confirmed,
    /// A message arrived on the channel.
    Message(&'a [u8]),
    /// The subscription ended or could not be opened.
    Lost,
    /// [`Output::ReadHash`] came back; `Ok(None)`: Redis holds nothing that can be read.
    HashRead(Result<Option<Stored>, Unanswered>),
    /// [`Output::AskOrigin`] came back; `Ok(None)`: the origin does not know the batch.
    OriginRead(Result<Option<Stored>, Unanswered>),
    /// The request of [`Output::Ping`] was answered with the stored position.
    PingAnswered(Option<Position>),
    /// The object's alarm rang: prove that the subscription is alive.
    Alarm,
    /// The time of [`Room::wake_at`](crate::Room::wake_at) has come.
    Wake,
}

/// The one asked gave no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open the subscription; answer with `Confirmed`, `Message`s and, at its end, `Lost`.
    Subscribe,
    /// Drop the subscription.
    Unsubscribe,
    /// Read the hash; answer with `HashRead`.
    ReadHash,
    /// Ask the origin; answer with `OriginRead`.
    AskOrigin,
    /// Read the stored position and publish a ping with this nonce, in this order; answer with `PingAnswered`.
    Ping(String),
    /// Write the same bytes to these viewers.
    Write {
        /// Who.
        to: Vec<ViewerId>,
        /// Whole events.
        bytes: Rc<str>,
    },
    /// Tell the log that a traced update has been shown.
    Traced {
        /// The trace of the earliest update that was shown.
        trace: TraceParent,
        /// What was shown.
        position: Position,
        /// To how many viewers; at least one.
        viewers: usize,
        /// From the earliest commit until now; `None`: the update does not tell when that was.
        latency: Option<Millis>,
    },
    /// End a viewer's stream once what was written has left.
    Close(ViewerId),
    /// End a viewer's stream now: what waits in it has waited too long.
    Cut(ViewerId),
}
