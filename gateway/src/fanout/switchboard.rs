//! The task behind [`super::Fanout`]: carries what requests and Redis say to the ledger, and what the ledger
//! says to mailboxes and Redis.

use super::ledger::{Ledger, MemberId, Notice, Order, Topic};
use super::link::Report;
use super::mailbox::Sender;
use super::{KEEP_ALIVE, Shared, SubscribeError};
use crate::metrics::Metrics;
use bytes::Bytes;
use redis_rest::{Frame, subscribe};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at};

/// What the HTTP side asks.
#[derive(Debug)]
pub(super) enum Request {
    Join { id: MemberId, topic: Topic, mailbox: Sender, confirm: oneshot::Sender<Result<(), SubscribeError>> },
    Leave { id: MemberId, topic: Topic },
    Counts(oneshot::Sender<BTreeMap<Topic, usize>>),
    Close,
}

/// One subscriber.
struct Member {
    topic: Topic,
    mailbox: Sender,
    /// Taken when Redis' answer is passed on.
    confirm: Option<oneshot::Sender<Result<(), SubscribeError>>>,
}

pub(super) struct Switchboard {
    ledger: Ledger,
    members: HashMap<MemberId, Member>,
    /// Where orders for the present connection go.
    orders: Option<mpsc::UnboundedSender<Order>>,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
}

impl Switchboard {
    pub(super) fn new(metrics: Arc<Metrics>, shared: Arc<Shared>) -> Self {
        Self { ledger: Ledger::new(), members: HashMap::new(), orders: None, metrics, shared }
    }

    /// Runs until it is told to close, or nobody is left to ask anything.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    None | Some(Request::Close) => return,
                    Some(request) => self.take_request(request),
                },
                Some(report) = reports.recv() => self.take_report(report),
                _ = keep_alive.tick() => self.keep_alive(),
            }
            self.send_order();
        }
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Join { id, topic, mailbox, confirm } => {
                let notice = self.ledger.join(&topic, id);
                self.members.insert(id, Member { topic, mailbox, confirm: Some(confirm) });
                self.notify(notice, None);
            }
            Request::Leave { id, topic } => {
                self.members.remove(&id);
                self.ledger.leave(&topic, id);
            }
            Request::Counts(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.ledger.counts());
            }
            Request::Close => {}
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Connecting => self.ledger.connecting(),
            Report::Connected(orders) => {
                self.orders = Some(orders);
                self.ledger.connected();
                self.shared.connected.store(true, Ordering::Relaxed);
            }
            Report::Disconnected => {
                self.orders = None;
                self.shared.connected.store(false, Ordering::Relaxed);
                let notices = self.ledger.disconnected();
                self.notify(notices, None);
            }
            Report::Done => {
                let notices = self.ledger.done();
                self.notify(notices, None);
            }
            Report::Refused(words) => {
                let notices = self.ledger.refused();
                self.notify(notices, Some(&words));
            }
            Report::Message { topic, channel, payload } => self.deliver(&topic, &channel, &payload),
        }
    }

    /// `refusal`: Redis' words, where it was Redis that refused.
    fn notify(&mut self, notices: impl IntoIterator<Item = Notice>, refusal: Option<&str>) {
        for notice in notices {
            match notice {
                Notice::Confirmed(id) => self.answer(id, Ok(())),
                Notice::Resubscribed(id) => {
                    self.push(id, Bytes::from_static(subscribe::RESUBSCRIBED_BYTES.as_bytes()));
                }
                Notice::Refused(id) => {
                    let error =
                        refusal.map_or(SubscribeError::Unavailable, |words| SubscribeError::Refused(words.into()));
                    self.answer(id, Err(error));
                    // Its mailbox goes with it, which ends the stream of one that was open.
                    self.members.remove(&id);
                }
            }
        }
    }

    fn answer(&mut self, id: MemberId, outcome: Result<(), SubscribeError>) {
        if let Some(confirm) = self.members.get_mut(&id).and_then(|member| member.confirm.take()) {
            // One that went meanwhile leaves by its own request.
            let _ = confirm.send(outcome);
        }
    }

    fn deliver(&mut self, topic: &Topic, channel: &[u8], payload: &[u8]) {
        self.metrics.messages.add(1);
        let (channel, payload) = (&*String::from_utf8_lossy(channel), &*String::from_utf8_lossy(payload));
        let frame = match topic {
            Topic::Channel(_) => Frame::Message { channel, payload }.to_event(),
            Topic::Pattern(pattern) => {
                Frame::PatternMessage { pattern: &String::from_utf8_lossy(pattern), channel, payload }.to_event()
            }
        };
        let event = Bytes::from(frame);
        let members: Vec<MemberId> = self.ledger.members(topic).collect();
        self.metrics.deliveries.add(members.len());
        for id in members {
            self.push(id, event.clone());
        }
    }

    /// Queues a piece for a subscriber; one without room is closed.
    fn push(&mut self, id: MemberId, piece: Bytes) {
        let fits = self.members.get(&id).is_none_or(|member| member.mailbox.push(piece).is_ok());
        if fits {
            return;
        }
        if let Some(member) = self.members.remove(&id) {
            self.ledger.leave(&member.topic, id);
            self.metrics.slow_closed.add(1);
            let topic = String::from_utf8_lossy(member.topic.name());
            tracing::warn!(%topic, "closed a subscriber that does not keep up");
        }
    }

    /// Who has something unread needs no sign of life, and one that does not read gets none.
    fn keep_alive(&mut self) {
        let comment = Bytes::from_static(subscribe::KEEP_ALIVE_BYTES.as_bytes());
        for member in self.members.values().filter(|member| member.mailbox.is_empty()) {
            // An empty mailbox has room for a comment.
            let _ = member.mailbox.push(comment.clone());
        }
    }

    fn send_order(&mut self) {
        let Some(orders) = &self.orders else { return };
        if let Some(order) = self.ledger.next_order() {
            // Where the connection is gone already, its report is on the way and starts all anew.
            let _ = orders.send(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::mailbox::{Receiver, mailbox};
    use futures::{FutureExt, StreamExt};

    fn topic() -> Topic {
        Topic::Channel(b"c".to_vec())
    }

    /// A switchboard with this test in the place of HTTP and of Redis.
    struct Rig {
        requests: mpsc::UnboundedSender<Request>,
        reports: mpsc::Sender<Report>,
        orders: mpsc::UnboundedReceiver<Order>,
    }

    impl Rig {
        async fn connected() -> Self {
            let (requests, inbox) = mpsc::unbounded_channel();
            let (reports, outbox) = mpsc::channel(8);
            tokio::spawn(Switchboard::new(Arc::default(), Arc::default()).run(inbox, outbox));
            let (sender, orders) = mpsc::unbounded_channel();
            reports.send(Report::Connected(sender)).await.unwrap();
            Self { requests, reports, orders }
        }

        async fn join(&mut self, id: MemberId) -> Receiver {
            let (sender, receiver) = mailbox(100);
            let (confirm, confirmed) = oneshot::channel();
            self.requests.send(Request::Join { id, topic: topic(), mailbox: sender, confirm }).unwrap();
            assert_eq!(self.orders.recv().await, Some(Order::Subscribe(vec![topic()])));
            self.reports.send(Report::Done).await.unwrap();
            confirmed.await.unwrap().unwrap();
            receiver
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_gets_a_keep_alive_every_15_seconds_and_one_that_does_not_read_gets_one() {
        let mut rig = Rig::connected().await;
        let start = Instant::now();
        let mut stream = rig.join(1).await;
        for round in 1..=3 {
            assert_eq!(stream.next().await.unwrap(), subscribe::KEEP_ALIVE_BYTES);
            assert_eq!((Instant::now() - start).as_secs(), 15 * round);
        }
        tokio::time::sleep(10 * KEEP_ALIVE).await;
        assert_eq!(stream.next().await.unwrap(), subscribe::KEEP_ALIVE_BYTES);
        assert_eq!(stream.next().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_every_stream() {
        let mut rig = Rig::connected().await;
        let mut stream = rig.join(1).await;
        rig.requests.send(Request::Close).unwrap();
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_is_the_same_bytes_for_all() {
        let mut rig = Rig::connected().await;
        let mut first = rig.join(1).await;
        let (sender, mut second) = mailbox(100);
        let (confirm, confirmed) = oneshot::channel();
        rig.requests.send(Request::Join { id: 2, topic: topic(), mailbox: sender, confirm }).unwrap();
        confirmed.await.unwrap().unwrap();
        let message = Report::Message { topic: topic(), channel: b"c".to_vec(), payload: b"hello".to_vec() };
        rig.reports.send(message).await.unwrap();
        let (first, second) = (first.next().await.unwrap(), second.next().await.unwrap());
        assert_eq!(first, "data: message,c,hello\n\n");
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
