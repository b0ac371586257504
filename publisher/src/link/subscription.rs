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
    /// `pubsub` has subscribed.
    pub(super) fn new(pubsub: PubSub, response_timeout: Duration) -> Self {
        let (sink, messages) = pubsub.split();
        Self::Redis(PubSubscription { sink, messages, response_timeout })
    }

    /// The next message; `None`: the subscription is lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Redis(redis) => Some(redis.messages.next().await?.get_payload_bytes().to_vec()),
            #[cfg(feature = "rest")]
            Self::Rest(stream) => stream.next().await,
        }
    }

    /// Asks whether it is alive.
    pub(crate) async fn answers(&mut self) -> bool {
        match self {
            Self::Redis(PubSubscription { sink, response_timeout, .. }) => {
                matches!(tokio::time::timeout(*response_timeout, sink.ping::<Value>()).await, Ok(Ok(_)))
            }
            #[cfg(feature = "rest")]
            Self::Rest(stream) => stream.was_heard(),
        }
    }
}
