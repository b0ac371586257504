//! All HTTP subscribers of a channel, or of a pattern, share one Redis subscription, on one connection for all.
//!
//! A task owns the ledger: requests come in by one channel, what Redis says by another, and each is dealt with at once,
//! so that nothing waits for anything inside. A message is encoded once; all its subscribers get the same bytes: a few
//! threads write them to sockets (`crowd`), or the task of a stream over TLS takes them out of a mailbox.

mod crowd;
mod ledger;
mod link;
pub(crate) mod mailbox;
mod switchboard;

use crate::metrics::Metrics;
use crate::seats::Held;
use crate::target::Target;
use bytes::Bytes;
pub(crate) use crowd::Crowd;
use futures::{Stream, StreamExt};
use ledger::MemberId;
pub(crate) use ledger::Topic;
use redis_rest::{Frame, subscribe};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use switchboard::{Request, Switchboard};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Without this long a silence a stream carries at least a keep-alive comment.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one subscriber may leave unread before it is closed, in bytes.
pub(crate) const MAILBOX_BYTES: usize = 1024 * 1024;

/// How long a subscriber waits for Redis' confirmation.
pub(crate) const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The subscribers of this gateway.
#[derive(Debug, Clone)]
pub(crate) struct Fanout {
    requests: mpsc::UnboundedSender<Request>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    connected: AtomicBool,
}

/// The number of the next subscriber, unique in the process: the crowd is one for all users.
fn next_id() -> MemberId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SubscribeError {
    /// Redis refused, in these words. Asking again gives the same answer.
    #[error("{0}")]
    Refused(String),
    /// Redis is not there, or takes too long. Worth another try.
    #[error("ERR Redis is not reachable, so there is no subscription; try again shortly")]
    Unavailable,
}

impl Fanout {
    /// Starts the task that owns all subscriptions. It ends with [`Fanout::close`]. `suspect` is told when its
    /// connection is lost.
    pub(crate) fn spawn(target: Target, metrics: Arc<Metrics>, crowd: Crowd, suspect: Arc<Notify>) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let reports = link::spawn(target, Arc::clone(&metrics), suspect);
        tokio::spawn(Switchboard::new(metrics, crowd, Arc::clone(&shared)).run(inbox, reports));
        Self { requests, shared }
    }

    /// Subscribes to a topic. Returns when Redis has confirmed; a stream that opens is subscribed. `held` is dropped with
    /// the subscription.
    ///
    /// # Errors
    /// [`SubscribeError`] tells whether to ask again.
    pub(crate) async fn subscribe(&self, topic: Topic, held: Held) -> Result<Subscription, SubscribeError> {
        let id = next_id();
        let (sender, mailbox) = mailbox::mailbox(MAILBOX_BYTES);
        // First in the mailbox, before Redis can have sent anything. An empty mailbox takes every piece.
        let _ = sender.push(opening(&topic));
        let (confirm, confirmed) = oneshot::channel();
        // Made before anything is awaited: a client that goes while it waits leaves like any other.
        let leave = Leave { requests: self.requests.clone(), id };
        let _ = self.requests.send(Request::Join { id, topic, mailbox: sender, confirm });
        match timeout(SUBSCRIBE_TIMEOUT, confirmed).await {
            Ok(Ok(outcome)) => outcome.map(|()| Subscription { mailbox, leave, held }),
            // Too late, or the task has ended because the gateway stops.
            Ok(Err(_)) | Err(_) => Err(SubscribeError::Unavailable),
        }
    }

    /// Open responses a topic.
    pub(crate) async fn counts(&self) -> BTreeMap<Topic, usize> {
        let (answer, counts) = oneshot::channel();
        let _ = self.requests.send(Request::Counts(answer));
        counts.await.unwrap_or_default()
    }

    /// Whether there is a connection to subscribe on.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Ends all streams, for good.
    pub(crate) fn close(&self) {
        let _ = self.requests.send(Request::Close);
    }
}

/// An open subscription: a stream of pieces of `text/event-stream`. Dropping it leaves the topic.
#[derive(Debug)]
pub(crate) struct Subscription {
    mailbox: mailbox::Receiver,
    leave: Leave,
    held: Held,
}

impl Subscription {
    /// Goes on behind an answer that has been read: everything from now on is written to the socket, `head` first.
    pub(crate) fn hand_over(self, socket: TcpStream, head: Bytes) {
        let Self { mailbox, leave, held } = self;
        let _ = leave.requests.send(Request::Adopt { id: leave.id, mailbox, socket, head, held });
        // Dropping `leave` now says what the switchboard does not heed: from here on the socket tells who leaves.
    }
}

impl Stream for Subscription {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.mailbox.poll_next_unpin(context)
    }
}

#[derive(Debug)]
struct Leave {
    requests: mpsc::UnboundedSender<Request>,
    id: MemberId,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let _ = self.requests.send(Request::Leave { id: self.id });
    }
}

/// What every stream opens with: the confirmation, and a comment that makes proxies pass it on at once.
fn opening(topic: &Topic) -> Bytes {
    let name = String::from_utf8_lossy(topic.name());
    let frame = match topic {
        Topic::Channel(_) => Frame::Subscribed { channel: &name, count: 1 },
        Topic::Pattern(_) => Frame::PatternSubscribed { pattern: &name, count: 1 },
    };
    let mut opening = frame.to_event();
    opening.push_str(subscribe::KEEP_ALIVE_BYTES);
    opening.into()
}
