//! What one subscriber has not read yet: a queue bounded in bytes, shared pieces, no copy.

use bytes::Bytes;
use futures::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// Makes a mailbox that holds at most `limit_bytes`.
pub(crate) fn mailbox(limit_bytes: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Mutex::new(Shared { limit_bytes, ..Shared::default() }));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug, Default)]
struct Shared {
    limit_bytes: usize,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    closed: bool,
    reader: Option<Waker>,
    /// Told when the reader has gone.
    gone: Arc<Notify>,
}

/// The end that is written to. Dropping it ends the stream once what is queued has been read.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Mutex<Shared>>);

/// The end that is read from.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Mutex<Shared>>);

impl Receiver {
    /// Everything that is in it, in one piece.
    pub(super) fn take_all(self) -> Vec<u8> {
        let mut shared = lock(&self.0);
        shared.queued_bytes = 0;
        shared.queue.drain(..).flatten().collect()
    }
}

/// There is no room. The mailbox is closed and emptied: whoever does not read must not cost memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Sender {
    /// Queues a piece. A mailbox with nothing unread takes one of any size: that costs nobody else room.
    pub(crate) fn push(&self, piece: Bytes) -> Result<(), Overflow> {
        let mut shared = lock(&self.0);
        if !shared.queue.is_empty() && shared.queued_bytes + piece.len() > shared.limit_bytes {
            shared.queue.clear();
            shared.closed = true;
            wake(shared);
            return Err(Overflow);
        }
        shared.queued_bytes += piece.len();
        shared.queue.push_back(piece);
        wake(shared);
        Ok(())
    }

    /// Returns when the reader has gone.
    pub(crate) async fn closed(&self) {
        let gone = Arc::clone(&lock(&self.0).gone);
        gone.notified().await;
    }

    /// Everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).queue.is_empty()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.closed = true;
        wake(shared);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Kept for a sender that does not wait yet.
        lock(&self.0).gone.notify_one();
    }
}

impl Stream for Receiver {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut shared = lock(&self.0);
        if let Some(piece) = shared.queue.pop_front() {
            shared.queued_bytes -= piece.len();
            return Poll::Ready(Some(piece));
        }
        if shared.closed {
            return Poll::Ready(None);
        }
        shared.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

/// No code panics while it holds the lock, so that a poisoned one is still whole.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the reader after the lock is free, so that it does not run into it.
fn wake(mut shared: MutexGuard<'_, Shared>) {
    let reader = shared.reader.take();
    drop(shared);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[tokio::test]
    async fn pieces_come_out_in_order_and_the_stream_ends_with_its_sender() {
        let (sender, receiver) = mailbox(10);
        sender.push("a".into()).unwrap();
        sender.push("b".into()).unwrap();
        assert!(!sender.is_empty());
        drop(sender);
        assert_eq!(receiver.collect::<Vec<_>>().await, ["a", "b"]);
    }

    #[tokio::test]
    async fn reading_makes_room() {
        let (sender, mut receiver) = mailbox(4);
        for _ in 0..100 {
            sender.push("1234".into()).unwrap();
            assert_eq!(receiver.next().await.unwrap(), "1234");
        }
        assert!(sender.is_empty());
    }

    #[tokio::test]
    async fn an_overflow_ends_the_stream_at_once() {
        let (sender, receiver) = mailbox(4);
        sender.push("1234".into()).unwrap();
        assert_eq!(sender.push("5".into()), Err(Overflow));
        assert!(receiver.collect::<Vec<_>>().await.is_empty());
    }

    #[tokio::test]
    async fn a_piece_of_any_size_fits_when_nothing_is_unread() {
        let (sender, mut receiver) = mailbox(4);
        sender.push("12345678".into()).unwrap();
        assert_eq!(receiver.next().await.unwrap(), "12345678");
    }

    #[tokio::test]
    async fn a_sender_learns_that_its_reader_has_gone() {
        let (sender, receiver) = mailbox(4);
        drop(receiver);
        sender.closed().await;
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (sender, mut receiver) = mailbox(4);
        let pushing = tokio::spawn(async move { sender.push("1".into()) });
        assert_eq!(receiver.next().await.unwrap(), "1");
        pushing.await.unwrap().unwrap();
    }
}
