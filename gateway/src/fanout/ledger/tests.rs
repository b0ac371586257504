//! The ledger's rules, and any order of events by chance against what Redis would hold.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn up() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.connected();
    ledger
}

fn channel(name: &str) -> Topic {
    Topic::Channel(name.into())
}

fn subscribe(channels: &[&str]) -> Option<Order> {
    Some(Order::Subscribe(channels.iter().map(|name| channel(name)).collect()))
}

fn unsubscribe(name: &str) -> Option<Order> {
    Some(Order::Unsubscribe(vec![channel(name)]))
}

#[test]
fn the_first_subscriber_waits_for_redis_and_the_next_does_not() {
    let mut ledger = up();
    assert_eq!(ledger.join(&channel("a"), 1), None);
    assert_eq!(ledger.next_order(), subscribe(&["a"]));
    assert_eq!(ledger.done(), [Notice::Confirmed(1)]);
    assert_eq!(ledger.join(&channel("a"), 2), Some(Notice::Confirmed(2)));
    assert_eq!(ledger.next_order(), None);
}

#[test]
fn who_joins_while_the_first_waits_is_confirmed_with_it() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    assert_eq!(ledger.join(&channel("a"), 2), None);
    assert_eq!(ledger.done(), [Notice::Confirmed(1), Notice::Confirmed(2)]);
    assert_eq!(ledger.next_order(), None);
}

#[test]
fn only_the_last_to_leave_unsubscribes() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.join(&channel("a"), 2);
    ledger.next_order();
    ledger.done();
    ledger.leave(&channel("a"), 1);
    assert_eq!(ledger.next_order(), None);
    ledger.leave(&channel("a"), 2);
    assert_eq!(ledger.next_order(), unsubscribe("a"));
    assert_eq!(ledger.done(), []);
    assert!(ledger.entries.is_empty());
}

#[test]
fn a_channel_joined_while_unsubscribing_is_subscribed_anew() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    ledger.done();
    ledger.leave(&channel("a"), 1);
    assert_eq!(ledger.next_order(), unsubscribe("a"));
    assert_eq!(ledger.join(&channel("a"), 2), None);
    assert_eq!(ledger.next_order(), None);
    ledger.done();
    assert_eq!(ledger.next_order(), subscribe(&["a"]));
    assert_eq!(ledger.done(), [Notice::Confirmed(2)]);
}

#[test]
fn a_channel_joined_again_before_unsubscribing_stays_subscribed() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    ledger.done();
    ledger.leave(&channel("a"), 1);
    assert_eq!(ledger.join(&channel("a"), 2), Some(Notice::Confirmed(2)));
    assert_eq!(ledger.next_order(), None);
}

#[test]
fn who_leaves_while_waiting_is_unsubscribed_after_the_confirmation() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    ledger.leave(&channel("a"), 1);
    assert_eq!(ledger.done(), []);
    assert_eq!(ledger.next_order(), unsubscribe("a"));
}

#[test]
fn channels_that_want_the_same_share_an_order() {
    let mut ledger = up();
    for (member, name) in ["a", "b", "c"].into_iter().enumerate() {
        ledger.join(&channel(name), member as u64);
    }
    assert_eq!(ledger.next_order(), subscribe(&["a", "b", "c"]));
}

#[test]
fn a_channel_and_a_pattern_of_one_name_are_two_topics_and_two_orders() {
    let mut ledger = up();
    let pattern = Topic::Pattern(b"a".to_vec());
    ledger.join(&channel("a"), 1);
    ledger.join(&pattern, 2);
    assert_eq!(ledger.next_order(), subscribe(&["a"]));
    assert_eq!(ledger.done(), [Notice::Confirmed(1)]);
    assert_eq!(ledger.next_order(), Some(Order::Subscribe(vec![pattern.clone()])));
    assert_eq!(ledger.done(), [Notice::Confirmed(2)]);
    assert_eq!(ledger.members(&pattern).collect::<Vec<_>>(), [2]);
}

#[test]
fn messages_reach_those_who_wait_too() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    assert_eq!(ledger.members(&channel("a")).collect::<Vec<_>>(), [1]);
    assert_eq!(ledger.members(&channel("b")).count(), 0);
}

#[test]
fn after_a_reconnection_open_responses_are_told_and_newcomers_confirmed() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    ledger.done();
    assert_eq!(ledger.disconnected(), []);
    assert_eq!(ledger.join(&channel("a"), 2), Some(Notice::Refused(2)));
    ledger.connecting();
    assert_eq!(ledger.join(&channel("a"), 3), None);
    assert_eq!(ledger.next_order(), None);
    ledger.connected();
    assert_eq!(ledger.next_order(), subscribe(&["a"]));
    assert_eq!(ledger.done(), [Notice::Resubscribed(1), Notice::Confirmed(3)]);
    assert_eq!(ledger.next_order(), None);
}

#[test]
fn a_lost_connection_refuses_those_who_wait() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.next_order();
    assert_eq!(ledger.disconnected(), [Notice::Refused(1)]);
    assert!(ledger.entries.is_empty());
    ledger.connected();
    assert_eq!(ledger.next_order(), None);
}

#[test]
fn a_refused_channel_does_not_refuse_its_neighbours() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.join(&channel("b"), 2);
    assert_eq!(ledger.next_order(), subscribe(&["a", "b"]));
    assert_eq!(ledger.refused(), []);
    assert_eq!(ledger.next_order(), subscribe(&["a"]));
    assert_eq!(ledger.refused(), [Notice::Refused(1)]);
    assert_eq!(ledger.next_order(), subscribe(&["b"]));
    assert_eq!(ledger.done(), [Notice::Confirmed(2)]);
}

#[test]
fn only_open_responses_are_counted() {
    let mut ledger = up();
    ledger.join(&channel("a"), 1);
    ledger.join(&channel("a"), 2);
    assert!(ledger.counts().is_empty());
    ledger.next_order();
    ledger.done();
    assert_eq!(ledger.counts(), BTreeMap::from([(channel("a"), 2)]));
}

#[derive(Debug, Clone)]
enum Event {
    Join(u8),
    Leave(prop::sample::Index),
    Order,
    Done,
    Refused,
    Lost,
    Connecting,
    Connected,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..4).prop_map(Event::Join),
        3 => any::<prop::sample::Index>().prop_map(Event::Leave),
        4 => Just(Event::Order),
        4 => Just(Event::Done),
        1 => Just(Event::Refused),
        1 => Just(Event::Lost),
        1 => Just(Event::Connecting),
        2 => Just(Event::Connected),
    ]
}

/// The ledger beside a Redis that does what it is told, and the members that are still there.
struct World {
    ledger: Ledger,
    redis: BTreeSet<Topic>,
    order: Option<Order>,
    up: bool,
    members: BTreeMap<MemberId, Topic>,
    next: MemberId,
}

impl World {
    fn apply(&mut self, event: &Event) {
        let notices = match event {
            Event::Join(channel) => {
                self.next += 1;
                let topic = if *channel < 2 { Topic::Channel(vec![*channel]) } else { Topic::Pattern(vec![*channel]) };
                self.members.insert(self.next, topic.clone());
                self.ledger.join(&topic, self.next).into_iter().collect()
            }
            Event::Leave(which) if !self.members.is_empty() => {
                let member = *which.get(&self.members.keys().copied().collect::<Vec<_>>());
                let channel = self.members.remove(&member).unwrap();
                self.ledger.leave(&channel, member);
                Vec::new()
            }
            Event::Order => {
                let order = self.ledger.next_order();
                assert!(order.is_none() || (self.order.is_none() && self.up), "one order at a time");
                self.order = order.or(self.order.take());
                Vec::new()
            }
            Event::Done if self.order.is_some() => self.carry_out(),
            Event::Refused if matches!(self.order, Some(Order::Subscribe(_))) => {
                self.order = None;
                self.ledger.refused()
            }
            Event::Lost => {
                (self.order, self.up) = (None, false);
                self.redis.clear();
                self.ledger.disconnected()
            }
            Event::Connecting if !self.up => {
                self.ledger.connecting();
                Vec::new()
            }
            Event::Connected if !self.up => {
                self.up = true;
                self.ledger.connected();
                Vec::new()
            }
            _ => Vec::new(),
        };
        for notice in notices {
            match notice {
                Notice::Confirmed(member) | Notice::Resubscribed(member) => {
                    assert!(self.redis.contains(&self.members[&member]), "confirmed without a subscription");
                }
                Notice::Refused(member) => {
                    self.members.remove(&member);
                }
            }
        }
    }

    fn carry_out(&mut self) -> Vec<Notice> {
        match self.order.take().unwrap() {
            Order::Subscribe(channels) => channels.into_iter().for_each(|channel| {
                assert!(self.redis.insert(channel), "subscribed twice");
            }),
            Order::Unsubscribe(channels) => channels.iter().for_each(|channel| {
                assert!(self.redis.remove(channel), "unsubscribed without a subscription");
            }),
        }
        self.ledger.done()
    }
}

proptest! {
    #[test]
    fn when_all_is_quiet_redis_holds_exactly_the_channels_with_members(events in prop::collection::vec(event(), 0..80)) {
        let mut world = World {
            ledger: Ledger::new(), redis: BTreeSet::new(), order: None, up: false, members: BTreeMap::new(), next: 0,
        };
        events.iter().for_each(|event| world.apply(event));
        world.apply(&Event::Connected);
        // More rounds than there can be orders left.
        for _ in 0..20 {
            world.apply(&Event::Order);
            world.apply(&Event::Done);
        }
        let wanted: BTreeSet<Topic> = world.members.values().cloned().collect();
        prop_assert_eq!(&world.redis, &wanted);
        prop_assert_eq!(world.ledger.entries.len(), wanted.len());
        let open: usize = world.ledger.counts().values().sum();
        prop_assert_eq!(open, world.members.len());
    }
}
