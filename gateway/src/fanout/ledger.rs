//! Who hears which channel, and what Redis still has to be told: bookkeeping without a socket.
//!
//! One order to Redis is under way at a time. That settles every race: a channel that is joined while its
//! UNSUBSCRIBE travels is subscribed anew when that is confirmed, and a second subscriber who joins while
//! the first waits is confirmed with him.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// A channel's name, as the bytes Redis knows.
pub(super) type Channel = Vec<u8>;

/// A subscriber, unique in the process.
pub(super) type MemberId = u64;

/// The most channels in one order. Bounds the pause before whoever comes next is served.
const ORDER_CHANNELS: usize = 500;

/// What Redis is told next, for channels that all want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Subscribe(Vec<Channel>),
    Unsubscribe(Vec<Channel>),
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

/// How a channel stands with Redis.
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
    /// A joint order with this channel was refused, so that it is asked for alone.
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
    entries: HashMap<Channel, Entry>,
    /// Channels that may want an order, in the order in which they began to. Some no longer do.
    waiting: VecDeque<Channel>,
    under_way: Option<Order>,
    link: Link,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), waiting: VecDeque::new(), under_way: None, link: Link::Connecting }
    }

    /// A subscriber comes. `None` as long as Redis has to confirm first.
    pub(super) fn join(&mut self, channel: &[u8], member: MemberId) -> Option<Notice> {
        if self.link == Link::Down {
            return Some(Notice::Refused(member));
        }
        let entry = self.entries.entry(channel.to_vec()).or_insert_with(Entry::new);
        let confirmed = entry.standing == Standing::On;
        entry.members.insert(member, confirmed);
        if entry.standing == Standing::Off {
            self.waiting.push_back(channel.to_vec());
        }
        confirmed.then_some(Notice::Confirmed(member))
    }

    /// A subscriber goes, confirmed or not. Unknown ones are ignored: they were refused before.
    pub(super) fn leave(&mut self, channel: &[u8], member: MemberId) {
        let Some(entry) = self.entries.get_mut(channel) else { return };
        entry.members.remove(&member);
        if !entry.members.is_empty() {
            return;
        }
        match entry.standing {
            Standing::Off => {
                self.entries.remove(channel);
            }
            Standing::On => self.waiting.push_back(channel.to_vec()),
            Standing::Changing => {} // Looked at again when the order is done.
        }
    }

    /// Who hears the channel. Also those who still wait: a message between Redis' confirmation and its
    /// arrival here is theirs already.
    pub(super) fn members(&self, channel: &[u8]) -> impl Iterator<Item = MemberId> + '_ {
        self.entries.get(channel).into_iter().flat_map(|entry| entry.members.keys().copied())
    }

    /// The next order to Redis; `None` while one is under way, without a connection, or with nothing to say.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        if self.link != Link::Up || self.under_way.is_some() {
            return None;
        }
        let order = loop {
            let channel = self.waiting.pop_front()?;
            match self.entries.get(&channel) {
                Some(entry) if entry.wants_subscribe() => break Order::Subscribe(self.with_alike(channel, true)),
                Some(entry) if entry.wants_unsubscribe() => break Order::Unsubscribe(self.with_alike(channel, false)),
                _ => {}
            }
        };
        self.under_way = Some(order.clone());
        Some(order)
    }

    /// `first` and those right behind it that want the same, all marked as changing.
    fn with_alike(&mut self, first: Channel, subscribe: bool) -> Vec<Channel> {
        let alone = self.entries.get(&first).is_some_and(|entry| entry.alone);
        let mut channels = vec![first];
        self.mark(&channels[0]);
        while !alone && channels.len() < ORDER_CHANNELS {
            let alike = self.waiting.front().is_some_and(|next| {
                self.entries.get(next).is_some_and(|entry| {
                    !entry.alone && if subscribe { entry.wants_subscribe() } else { entry.wants_unsubscribe() }
                })
            });
            let Some(channel) = alike.then(|| self.waiting.pop_front()).flatten() else { break };
            self.mark(&channel);
            channels.push(channel);
        }
        channels
    }

    fn mark(&mut self, channel: &[u8]) {
        if let Some(entry) = self.entries.get_mut(channel) {
            entry.standing = Standing::Changing;
        }
    }

    /// Redis has carried the order out.
    pub(super) fn done(&mut self) -> Vec<Notice> {
        match self.under_way.take() {
            Some(Order::Subscribe(channels)) => channels.iter().flat_map(|channel| self.subscribed(channel)).collect(),
            Some(Order::Unsubscribe(channels)) => {
                channels.iter().for_each(|channel| self.settle(channel, Standing::Off));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn subscribed(&mut self, channel: &[u8]) -> Vec<Notice> {
        self.settle(channel, Standing::On);
        let Some(entry) = self.entries.get_mut(channel) else { return Vec::new() };
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

    /// Redis has refused to subscribe. One refused channel refuses a joint order whole, so each is then asked
    /// for alone; a channel refused alone is refused to its members.
    pub(super) fn refused(&mut self) -> Vec<Notice> {
        let Some(Order::Subscribe(channels)) = self.under_way.take() else { return Vec::new() };
        if let [channel] = &channels[..] {
            let entry = self.entries.remove(channel);
            return entry.into_iter().flat_map(|entry| entry.members.into_keys()).map(Notice::Refused).collect();
        }
        for channel in &channels {
            if let Some(entry) = self.entries.get_mut(channel) {
                entry.alone = true;
            }
            self.settle(channel, Standing::Off);
        }
        Vec::new()
    }

    /// An order about the channel is over; what it wants now may differ from what it wanted then.
    fn settle(&mut self, channel: &[u8], standing: Standing) {
        let Some(entry) = self.entries.get_mut(channel) else { return };
        entry.standing = standing;
        if entry.wants_subscribe() || entry.wants_unsubscribe() {
            self.waiting.push_back(channel.to_vec());
        } else if entry.members.is_empty() {
            self.entries.remove(channel);
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
        self.entries.retain(|channel, entry| {
            refused.extend(entry.members.extract_if(.., |_, confirmed| !*confirmed).map(|(member, _)| member));
            entry.standing = Standing::Off;
            if entry.members.is_empty() {
                return false;
            }
            self.waiting.push_back(channel.clone());
            true
        });
        refused.into_iter().map(Notice::Refused).collect()
    }

    /// Open responses a channel: members that were confirmed.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let open = |entry: &Entry| entry.members.values().filter(|confirmed| **confirmed).count();
        let counts =
            self.entries.iter().map(|(channel, entry)| (String::from_utf8_lossy(channel).into_owned(), open(entry)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests;
