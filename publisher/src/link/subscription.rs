//! The messages of one channel.

use std::time::Duration;

use futures::StreamExt;
use redis::{
    Value,
    aio::{PubSub, PubSubSink, PubSubStream},
};

/// The messages of one channel.
pub(crate) enum Subscription {
    /// On a connection of Redis.
    Redis(PubSubscription),
    /// On one to a node of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(PubSubscription, super::cluster::Member),
    /// On an event stream.
    #[cfg(feature = "rest")]
    Rest(super::rest::Stream),
}

/// A connection that has subscribed.
pub(crate) struct PubSubscription {
    sink: PubSubSink,
    messages: PubSubStream,
    response_timeout: Duration,
}

impl Subscription {
    /// The next message; `None`: the subscription is lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Redis(redis) => redis.next().await,
            #[cfg(feature = "cluster")]
            Self::Cluster(redis, _) => redis.next().await,
            #[cfg(feature = "rest")]
            Self::Rest(stream) => stream.next().await,
        }
    }

    /// Asks whether it is alive, and still where messages come.
    pub(crate) async fn answers(&mut self) -> bool {
        match self {
            Self::Redis(redis) => redis.answers().await,
            #[cfg(feature = "cluster")]
            Self::Cluster(redis, member) => redis.answers().await && member.is_master().await,
            #[cfg(feature = "rest")]
            Self::Rest(stream) => stream.was_heard(),
        }
    }
}

impl PubSubscription {
    /// `pubsub` has subscribed.
    pub(super) fn new(pubsub: PubSub, response_timeout: Duration) -> Self {
        let (sink, messages) = pubsub.split();
        Self { sink, messages, response_timeout }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        Some(self.messages.next().await?.get_payload_bytes().to_vec())
    }

    async fn answers(&mut self) -> bool {
        matches!(tokio::time::timeout(self.response_timeout, self.sink.ping::<Value>()).await, Ok(Ok(_)))
    }
}
