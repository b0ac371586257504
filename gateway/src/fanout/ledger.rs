//! Who hears which topic, and what Redis still has to be told: bookkeeping without a socket.
//!
//! One order to Redis is under way at a time. That settles every race: a topic that is joined while its
//! UNSUBSCRIBE travels is subscribed anew when that is confirmed, and a second subscriber who joins while
//! the first waits is confirmed with him.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// What can be subscribed to. Names are the bytes that Redis knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Topic {
    /// A channel.
    Channel(Vec<u8>),
    /// All channels whose names match this glob-style pattern.
    Pattern(Vec<u8>),
}

impl Topic {
    /// The channel's name, or the pattern.
    pub(crate) fn name(&self) -> &[u8] {
        let (Self::Channel(name) | Self::Pattern(name)) = self;
        name
    }

    /// One order is about one kind.
    fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Channel(_), Self::Channel(_)) | (Self::Pattern(_), Self::Pattern(_)))
    }
}

/// A subscriber, unique in the process.
pub(super) type MemberId = u64;

/// The most topics in one order. Bounds the pause before whoever comes next is served.
const ORDER_TOPICS: usize = 500;

/// What Redis is told next, for topics of one kind that all want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Subscribe(Vec<Topic>),
    Unsubscribe(Vec<Topic>),
}

/// What a subscriber is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Redis has confirmed; the response may begin.
    Confirmed(MemberId),
    /// The subscription was lost and made anew behind an open response.
    Resubscribed(MemberId),
    /// There will be no subscription, or no longer. The member is gone from the ledger.
    Refused(MemberId),
}

/// Whether Redis can be told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Being made: who joins waits for the outcome.
    Connecting,
    Up,
    /// Lost, and not being made right now: who joins is refused at once.
    Down,
}

/// How a topic stands with Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Off,
    /// An order is under way.
    Changing,
    On,
}

#[derive(Debug)]
struct Entry {
    /// Each member, and whether it was ever confirmed.
    members: BTreeMap<MemberId, bool>,
    standing: Standing,
    /// A joint order with this topic was refused, so that it is asked for alone.
    alone: bool,
}

impl Entry {
    fn new() -> Self {
        Self { members: BTreeMap::new(), standing: Standing::Off, alone: false }
    }

    fn wants_subscribe(&self) -> bool {
        self.standing == Standing::Off && !self.members.is_empty()
    }

    fn wants_unsubscribe(&self) -> bool {
        self.standing == Standing::On && self.members.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    entries: HashMap<Topic, Entry>,
    /// Topics that may want an order, in the order in which they began to. Some no longer do.
    waiting: VecDeque<Topic>,
    under_way: Option<Order>,
    link: Link,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), waiting: VecDeque::new(), under_way: None, link: Link::Connecting }
    }

    /// A subscriber comes. `None` as long as Redis has to confirm first.
    pub(super) fn join(&mut self, topic: &Topic, member: MemberId) -> Option<Notice> {
        if self.link == Link::Down {
            return Some(Notice::Refused(member));
        }
        let entry = self.entries.entry(topic.clone()).or_insert_with(Entry::new);
        let confirmed = entry.standing == Standing::On;
        entry.members.insert(member, confirmed);
        if entry.standing == Standing::Off {
            self.waiting.push_back(topic.clone());
        }
        confirmed.then_some(Notice::Confirmed(member))
    }

    /// A subscriber goes, confirmed or not. Unknown ones are ignored: they were refused before.
    pub(super) fn leave(&mut self, topic: &Topic, member: MemberId) {
        let Some(entry) = self.entries.get_mut(topic) else { return };
        entry.members.remove(&member);
        if !entry.members.is_empty() {
            return;
        }
        match entry.standing {
            Standing::Off => {
                self.entries.remove(topic);
            }
            Standing::On => self.waiting.push_back(topic.clone()),
            Standing::Changing => {} // Looked at again when the order is done.
        }
    }

    /// Who hears the topic. Also those who still wait: a message between Redis' confirmation and its
    /// arrival here is theirs already.
    pub(super) fn members(&self, topic: &Topic) -> impl Iterator<Item = MemberId> + '_ {
        self.entries.get(topic).into_iter().flat_map(|entry| entry.members.keys().copied())
    }

    /// The next order to Redis; `None` while one is under way, without a connection, or with nothing to say.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        if self.link != Link::Up || self.under_way.is_some() {
            return None;
        }
        let order = loop {
            let topic = self.waiting.pop_front()?;
            match self.entries.get(&topic) {
                Some(entry) if entry.wants_subscribe() => break Order::Subscribe(self.with_alike(topic, true)),
                Some(entry) if entry.wants_unsubscribe() => break Order::Unsubscribe(self.with_alike(topic, false)),
                _ => {}
            }
        };
        self.under_way = Some(order.clone());
        Some(order)
    }

    /// `first` and those right behind it that want the same, all marked as changing.
    fn with_alike(&mut self, first: Topic, subscribe: bool) -> Vec<Topic> {
        let alone = self.entries.get(&first).is_some_and(|entry| entry.alone);
        let mut topics = vec![first];
        self.mark(&topics[0]);
        while !alone && topics.len() < ORDER_TOPICS {
            let alike = self.waiting.front().is_some_and(|next| {
                self.entries.get(next).is_some_and(|entry| {
                    next.is_like(&topics[0])
                        && !entry.alone
                        && if subscribe { entry.wants_subscribe() } else { entry.wants_unsubscribe() }
                })
            });
            let Some(topic) = alike.then(|| self.waiting.pop_front()).flatten() else { break };
            self.mark(&topic);
            topics.push(topic);
        }
        topics
    }

    fn mark(&mut self, topic: &Topic) {
        if let Some(entry) = self.entries.get_mut(topic) {
            entry.standing = Standing::Changing;
        }
    }

    /// Redis has carried the order out.
    pub(super) fn done(&mut self) -> Vec<Notice> {
        match self.under_way.take() {
            Some(Order::Subscribe(topics)) => topics.iter().flat_map(|topic| self.subscribed(topic)).collect(),
            Some(Order::Unsubscribe(topics)) => {
                topics.iter().for_each(|topic| self.settle(topic, Standing::Off));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn subscribed(&mut self, topic: &Topic) -> Vec<Notice> {
        self.settle(topic, Standing::On);
        let Some(entry) = self.entries.get_mut(topic) else { return Vec::new() };
        let members = entry.members.iter_mut();
        members
            .map(|(&member, confirmed)| {
                if std::mem::replace(confirmed, true) {
                    Notice::Resubscribed(member)
                } else {
                    Notice::Confirmed(member)
                }
            })
            .collect()
    }

    /// Redis has refused to subscribe. One refused topic refuses a joint order whole, so each is then asked
    /// for alone; a topic refused alone is refused to its members.
    pub(super) fn refused(&mut self) -> Vec<Notice> {
        let Some(Order::Subscribe(topics)) = self.under_way.take() else { return Vec::new() };
        if let [topic] = &topics[..] {
            let entry = self.entries.remove(topic);
            return entry.into_iter().flat_map(|entry| entry.members.into_keys()).map(Notice::Refused).collect();
        }
        for topic in &topics {
            if let Some(entry) = self.entries.get_mut(topic) {
                entry.alone = true;
            }
            self.settle(topic, Standing::Off);
        }
        Vec::new()
    }

    /// An order about the topic is over; what it wants now may differ from what it wanted then.
    fn settle(&mut self, topic: &Topic, standing: Standing) {
        let Some(entry) = self.entries.get_mut(topic) else { return };
        entry.standing = standing;
        if entry.wants_subscribe() || entry.wants_unsubscribe() {
            self.waiting.push_back(topic.clone());
        } else if entry.members.is_empty() {
            self.entries.remove(topic);
        }
    }

    /// A connection is being made.
    pub(super) fn connecting(&mut self) {
        self.link = Link::Connecting;
    }

    /// There is a connection, with no subscription on it yet.
    pub(super) fn connected(&mut self) {
        self.link = Link::Up;
    }

    /// There is no connection. Open responses stay and are subscribed anew; who still waits is refused.
    pub(super) fn disconnected(&mut self) -> Vec<Notice> {
        self.link = Link::Down;
        self.under_way = None;
        self.waiting.clear();
        let mut refused = Vec::new();
        self.entries.retain(|topic, entry| {
            refused.extend(entry.members.extract_if(.., |_, confirmed| !*confirmed).map(|(member, _)| member));
            entry.standing = Standing::Off;
            if entry.members.is_empty() {
                return false;
            }
            self.waiting.push_back(topic.clone());
            true
        });
        refused.into_iter().map(Notice::Refused).collect()
    }

    /// Open responses a topic: members that were confirmed.
    pub(super) fn counts(&self) -> BTreeMap<Topic, usize> {
        let open = |entry: &Entry| entry.members.values().filter(|confirmed| **confirmed).count();
        let counts = self.entries.iter().map(|(topic, entry)| (topic.clone(), open(entry)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests;
