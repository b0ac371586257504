//! The messages of one channel.

use std::time::Duration;

use futures::StreamExt;
use redis::{
    Value,
    aio::{PubSub, PubSubSink, PubSubStream},
};

/// The messages of one channel.
pub(crate) struct Subscription {
    sink: PubSubSink,
    messages: PubSubStream,
    response_timeout: Duration,
}

impl Subscription {
    /// `pubsub` has subscribed.
    pub(super) fn new(pubsub: PubSub, response_timeout: Duration) -> Self {
        let (sink, messages) = pubsub.split();
        Self { sink, messages, response_timeout }
    }

    /// The next message; `None`: the subscription is lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        Some(self.messages.next().await?.get_payload_bytes().to_vec())
    }

    /// Asks whether it is alive.
    pub(crate) async fn answers(&mut self) -> bool {
        matches!(tokio::time::timeout(self.response_timeout, self.sink.ping::<Value>()).await, Ok(Ok(_)))
    }
}
