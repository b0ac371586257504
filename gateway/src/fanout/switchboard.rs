//! The task behind [`super::Fanout`]: carries what requests and Redis say to the ledger, and what the ledger
//! says to mailboxes and Redis.

use super::crowd::{self, Crowd, Loss, Report};
use super::ledger::{Ledger, MemberId, Notice, Order, Topic};
use super::link;
use super::mailbox::{Receiver, Sender};
use super::{KEEP_ALIVE, Shared, SubscribeError};
use crate::metrics::Metrics;
use crate::seats::Held;
use bytes::{Bytes, BytesMut};
use redis_rest::{Frame, subscribe};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// How soon it is looked at whether a crowd that was behind has caught up.
const CATCH_UP: Duration = Duration::from_millis(50);

/// What the HTTP side asks.
#[derive(Debug)]
pub(super) enum Request {
    Join {
        id: MemberId,
        topic: Topic,
        mailbox: Sender,
        confirm: oneshot::Sender<Result<(), SubscribeError>>,
    },
    /// Its answer is given up, and with it the mailbox.
    Leave {
        id: MemberId,
    },
    /// Its answer goes on in the crowd: what is in the mailbox, then all that comes.
    Adopt {
        id: MemberId,
        mailbox: Receiver,
        socket: TcpStream,
        head: Bytes,
        held: Held,
    },
    Counts(oneshot::Sender<BTreeMap<Topic, usize>>),
    Close,
}

/// One subscriber.
struct Member {
    topic: Topic,
    outlet: Outlet,
    /// Taken when Redis' answer is passed on.
    confirm: Option<oneshot::Sender<Result<(), SubscribeError>>>,
}

/// Where a subscriber's events go.
enum Outlet {
    /// To an answer that is written by a task of its own.
    Mailbox(Sender),
    /// To its socket.
    Crowd { _held: Held },
}

pub(super) struct Switchboard {
    ledger: Ledger,
    members: HashMap<MemberId, Member>,
    /// Where orders for the present connection go.
    orders: Option<mpsc::UnboundedSender<Order>>,
    metrics: Arc<Metrics>,
    crowd: Crowd,
    shared: Arc<Shared>,
    /// Told of what the crowd loses.
    report: Report,
    lost: mpsc::UnboundedReceiver<Loss>,
    /// Topics of which an event was dropped because the crowd is behind: their subscribers are told when it no longer is.
    dropped: HashSet<Topic>,
}

impl Switchboard {
    pub(super) fn new(metrics: Arc<Metrics>, crowd: Crowd, shared: Arc<Shared>) -> Self {
        let (losses, lost) = mpsc::unbounded_channel();
        let report = Arc::new(move |loss| {
            // Nobody asks any more when the switchboard has ended.
            let _ = losses.send(loss);
        });
        Self {
            ledger: Ledger::new(),
            members: HashMap::new(),
            orders: None,
            metrics,
            crowd,
            shared,
            report,
            lost,
            dropped: HashSet::new(),
        }
    }

    /// Runs until it is told to close, or nobody is left to ask anything.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut reports: mpsc::Receiver<link::Report>,
    ) {
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        let mut catch_up = interval(CATCH_UP);
        catch_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    None | Some(Request::Close) => return self.close_all(),
                    Some(request) => self.take_request(request),
                },
                Some(report) = reports.recv() => self.take_report(report),
                Some(loss) = self.lost.recv() => self.take_loss(loss),
                _ = keep_alive.tick() => self.keep_alive(),
                _ = catch_up.tick(), if !self.dropped.is_empty() => self.catch_up(),
            }
            self.send_order();
        }
    }

    /// Mailboxes end with the members; sockets are told.
    fn close_all(self) {
        let sockets = self.members.iter().filter(|(_, member)| matches!(member.outlet, Outlet::Crowd { .. }));
        sockets.for_each(|(id, _)| self.crowd.close(*id));
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Join { id, topic, mailbox, confirm } => {
                let notice = self.ledger.join(&topic, id);
                let member = Member { topic, outlet: Outlet::Mailbox(mailbox), confirm: Some(confirm) };
                self.members.insert(id, member);
                self.notify(notice, None);
            }
            Request::Leave { id } => {
                if self.members.get(&id).is_some_and(|member| matches!(member.outlet, Outlet::Mailbox(_))) {
                    self.remove(id);
                }
            }
            Request::Adopt { id, mailbox, socket, head, held } => self.adopt(id, mailbox, socket, head, held),
            Request::Counts(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.ledger.counts());
            }
            Request::Close => {}
        }
    }

    /// In one turn, so that no event comes between what the mailbox holds and what goes to the socket.
    fn adopt(&mut self, id: MemberId, mailbox: Receiver, socket: TcpStream, head: Bytes, held: Held) {
        let Some(member) = self.members.get_mut(&id) else { return }; // Closed meanwhile; so is the socket.
        member.outlet = Outlet::Crowd { _held: held };
        let waiting = mailbox.take_all();
        let mut first = BytesMut::from(head);
        if !waiting.is_empty() {
            first.extend_from_slice(&crowd::chunk(&waiting));
        }
        self.crowd.adopt(id, socket, first.freeze(), Arc::clone(&self.report));
    }

    fn take_loss(&mut self, loss: Loss) {
        let (Loss::Gone(id) | Loss::Slow(id)) = loss;
        let Some(member) = self.remove(id) else { return };
        if matches!(loss, Loss::Slow(_)) {
            self.note_slow(&member);
        }
    }

    fn remove(&mut self, id: MemberId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        self.ledger.leave(&member.topic, id);
        Some(member)
    }

    fn note_slow(&self, member: &Member) {
        self.metrics.slow_closed.add(1);
        let topic = String::from_utf8_lossy(member.topic.name());
        tracing::warn!(%topic, "closed a subscriber that does not keep up");
    }

    fn take_report(&mut self, report: link::Report) {
        use link::Report;
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
                    self.send(&[id], &Bytes::from_static(subscribe::RESUBSCRIBED_BYTES.as_bytes()));
                }
                Notice::Refused(id) => {
                    let error =
                        refusal.map_or(SubscribeError::Unavailable, |words| SubscribeError::Refused(words.into()));
                    self.answer(id, Err(error));
                    // Its mailbox goes with it, which ends the stream of one that was open; or its socket does.
                    if self.members.remove(&id).is_some_and(|member| matches!(member.outlet, Outlet::Crowd { .. })) {
                        self.crowd.close(id);
                    }
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
        // Redis gives up on a subscriber that falls behind; here the others would pay for it, so that the event goes, and
        // all are told that something is missing: it is the same to them as a subscription that was lost and made anew.
        if self.crowd.is_behind() {
            self.metrics.dropped.add(1);
            self.dropped.insert(topic.clone());
            return;
        }
        self.catch_up();
        let members: Vec<MemberId> = self.ledger.members(topic).collect();
        self.metrics.deliveries.add(members.len());
        self.send(&members, &event);
    }

    /// Queues an event for subscribers; one without room is closed.
    fn send(&mut self, ids: &[MemberId], event: &Bytes) {
        let (mut in_crowd, mut slow) = (Vec::new(), Vec::new());
        for id in ids {
            match self.members.get(id).map(|member| &member.outlet) {
                Some(Outlet::Crowd { .. }) => in_crowd.push(*id),
                Some(Outlet::Mailbox(mailbox)) if mailbox.push(event.clone()).is_err() => slow.push(*id),
                _ => {}
            }
        }
        if !in_crowd.is_empty() {
            self.crowd.write(in_crowd, event);
        }
        for id in slow {
            if let Some(member) = self.remove(id) {
                self.note_slow(&member);
            }
        }
    }

    /// Tells those who have missed something, if there is room for it by now.
    fn catch_up(&mut self) {
        if self.dropped.is_empty() || self.crowd.is_behind() {
            return;
        }
        for topic in std::mem::take(&mut self.dropped) {
            let members: Vec<MemberId> = self.ledger.members(&topic).collect();
            self.send(&members, &Bytes::from_static(subscribe::RESUBSCRIBED_BYTES.as_bytes()));
        }
    }

    /// Who has something unread needs no sign of life, and one that does not read gets none.
    fn keep_alive(&mut self) {
        let comment = Bytes::from_static(subscribe::KEEP_ALIVE_BYTES.as_bytes());
        for member in self.members.values() {
            match &member.outlet {
                // An empty mailbox has room for a comment.
                Outlet::Mailbox(mailbox) if mailbox.is_empty() => drop(mailbox.push(comment.clone())),
                _ => {}
            }
        }
        self.crowd.keep_alive(&self.report, &comment);
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
    use crate::fanout::mailbox::mailbox;
    use futures::{FutureExt, StreamExt};

    fn topic() -> Topic {
        Topic::Channel(b"c".to_vec())
    }

    /// A switchboard with this test in the place of HTTP and of Redis.
    struct Rig {
        requests: mpsc::UnboundedSender<Request>,
        reports: mpsc::Sender<link::Report>,
        orders: mpsc::UnboundedReceiver<Order>,
        crowd: Crowd,
        metrics: Arc<Metrics>,
    }

    impl Rig {
        async fn connected() -> Self {
            let (requests, inbox) = mpsc::unbounded_channel();
            let (reports, outbox) = mpsc::channel(8);
            let (crowd, metrics) = (Crowd::spawn(1).unwrap(), Arc::<Metrics>::default());
            let switchboard = Switchboard::new(Arc::clone(&metrics), crowd.clone(), Arc::default());
            tokio::spawn(switchboard.run(inbox, outbox));
            let (sender, orders) = mpsc::unbounded_channel();
            reports.send(link::Report::Connected(sender)).await.unwrap();
            Self { requests, reports, orders, crowd, metrics }
        }

        async fn join(&mut self, id: MemberId) -> Receiver {
            let (sender, receiver) = mailbox(100);
            let (confirm, confirmed) = oneshot::channel();
            self.requests.send(Request::Join { id, topic: topic(), mailbox: sender, confirm }).unwrap();
            assert_eq!(self.orders.recv().await, Some(Order::Subscribe(vec![topic()])));
            self.reports.send(link::Report::Done).await.unwrap();
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
        let message = link::Report::Message { topic: topic(), channel: b"c".to_vec(), payload: b"hello".to_vec() };
        rig.reports.send(message).await.unwrap();
        let (first, second) = (first.next().await.unwrap(), second.next().await.unwrap());
        assert_eq!(first, "data: message,c,hello\n\n");
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_can_t_be_written_fast_enough_are_dropped_and_it_is_said() {
        let mut rig = Rig::connected().await;
        let mut stream = rig.join(1).await;
        let message = |text: &str| link::Report::Message {
            topic: topic(),
            channel: b"c".to_vec(),
            payload: text.as_bytes().to_vec(),
        };
        rig.crowd.pretend_behind(true);
        rig.reports.send(message("lost")).await.unwrap();
        while rig.metrics.dropped.value() == 0 {
            tokio::task::yield_now().await;
        }
        rig.crowd.pretend_behind(false);
        assert_eq!(stream.next().await.unwrap(), subscribe::RESUBSCRIBED_BYTES);
        rig.reports.send(message("heard")).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "data: message,c,heard\n\n");
    }
}
