//! Pub/sub: what is published, and how it reaches the rooms that subscribe, through the gateway.
//!
//! Models a subscription that is refused, confirmed late or never, ended, half-open (up, and deaf), and interrupted
//! together with Redis and confirmed again afterwards; and messages that are lost, doubled, delayed and overtaken.
//! Nothing is held back for a subscription that is away: Redis forgets.

use hub::{Input, Millis};
use wire::{BatchId, keys};

use crate::world::World;

#[derive(Debug)]
pub(crate) struct Subscription {
    batch: BatchId,
    /// Redis sends it what is published.
    hears: bool,
    /// Half-open: nothing will arrive any more, and no end either.
    deaf: bool,
    /// When its last message arrives: the next one comes after it, unless they overtake each other.
    last_at: Millis,
}

impl World {
    /// Upstream::open.
    pub(crate) fn subscribe(&mut self, batch: &BatchId) {
        self.subscribed += 1;
        let number = self.subscribed;
        let before = self.slot(batch).upstream.replace(number);
        before.map(|before| self.subscriptions.remove(&before));
        let subscription = Subscription { batch: batch.clone(), hears: false, deaf: false, last_at: self.now };
        self.subscriptions.insert(number, subscription);
        let there = self.delay();
        self.later(there, move |world| world.subscription_arrives(number));
    }

    fn subscription_arrives(&mut self, number: u64) {
        if self.edge_can_subscribe() {
            return self.confirm(number);
        }
        // Refused at once, or not answered at all: then the room gives up by itself.
        if self.rng.bool() {
            self.lose_subscription(number);
        }
    }

    fn confirm(&mut self, number: u64) {
        let late = self.confirmation_is_late();
        let Some(subscription) = self.subscriptions.get_mut(&number).filter(|s| !s.deaf) else { return };
        subscription.hears = true;
        subscription.last_at = subscription.last_at.max(self.now + late);
        self.carry(number, |world, batch| world.feed(batch, Input::Confirmed));
    }

    pub(crate) fn unsubscribe(&mut self, batch: &BatchId) {
        if let Some(number) = self.slot(batch).upstream.take() {
            self.subscriptions.remove(&number);
        }
    }

    /// The subscription behind a batch's room ends.
    pub(crate) fn end_subscription(&mut self, batch: &BatchId) {
        if let Some(number) = self.slot(batch).upstream {
            self.lose_subscription(number);
        }
    }

    fn lose_subscription(&mut self, number: u64) {
        self.carry(number, move |world, batch| {
            world.slot(batch).upstream = None;
            world.subscriptions.remove(&number);
            world.feed(batch, Input::Lost);
        });
        if let Some(subscription) = self.subscriptions.get_mut(&number) {
            subscription.hears = false;
        }
    }

    /// It falls silent without a word.
    pub(crate) fn deafen(&mut self, batch: &BatchId) {
        let number = self.slot(batch).upstream;
        if let Some(subscription) = number.and_then(|number| self.subscriptions.get_mut(&number)) {
            (subscription.hears, subscription.deaf) = (false, true);
        }
    }

    /// The gateway has lost Redis: nobody hears anything.
    pub(crate) fn interrupt_subscriptions(&mut self) {
        self.subscriptions.values_mut().for_each(|subscription| subscription.hears = false);
    }

    /// The gateway has Redis again: each subscription is confirmed anew, or ended.
    pub(crate) fn resume_subscriptions(&mut self) {
        let numbers: Vec<u64> = self.subscriptions.iter().filter(|(_, s)| !s.hears).map(|(n, _)| *n).collect();
        for number in numbers {
            let after = self.delay();
            let confirms = self.rng.u8(..4) > 0;
            self.later(after, move |world| match confirms {
                true if world.edge_can_subscribe() => world.confirm(number),
                true => {}
                false => world.lose_subscription(number),
            });
        }
    }

    /// `PUBLISH`.
    pub(crate) fn publish(&mut self, batch: &BatchId, message: &str) {
        self.trace(|| format!("redis: publishes {message}"));
        let hearing: Vec<u64> =
            self.subscriptions.iter().filter(|(_, s)| s.hears && s.batch == *batch).map(|(n, _)| *n).collect();
        for number in hearing {
            for _ in 0..self.times_carried() {
                let message = message.to_owned();
                self.carry(number, move |world, batch| world.feed(batch, Input::Message(message.as_bytes())));
            }
        }
    }

    pub(crate) fn publish_on(&mut self, channel: &str, message: &str) {
        let on = |batch: &BatchId| keys::channel("", batch) == channel;
        if let Some(batch) = self.app.ids().into_iter().find(on) {
            self.publish(&batch, message);
        }
    }

    /// Something travels on a subscription, after what went before it, and arrives if the room still listens to it.
    fn carry(&mut self, number: u64, arrive: impl FnOnce(&mut World, &BatchId) + 'static) {
        let (delay, overtakes) = (self.message_delay(), self.messages_overtake());
        let now = self.now;
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return };
        let mut at = now + delay;
        if !overtakes {
            at = at.max(subscription.last_at);
            subscription.last_at = at;
        }
        let batch = subscription.batch.clone();
        self.later(at - now, move |world| {
            let listens = world.slot(&batch).upstream == Some(number);
            if listens && world.subscriptions.get(&number).is_some_and(|subscription| !subscription.deaf) {
                arrive(world, &batch);
            }
        });
    }
}
