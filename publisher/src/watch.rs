//! A native watcher of one batch: the receiving rules of `wire`'s replica over a subscription of its own.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use wire::{BatchId, BatchState, Message, Position, Replica, replica::Received};

use crate::{PublishError, backoff, link::Subscription, store::Store};

/// After so long without a message the subscription is asked whether it is alive, and the hash is read: one may have been
/// lost.
const SILENCE: Duration = Duration::from_secs(20);

/// States of `batch` with growing positions, until one is terminal.
pub(crate) fn watch(store: Arc<Store>, batch: BatchId) -> impl Stream<Item = BatchState> + Send + Unpin {
    Box::pin(stream::unfold(Watcher::new(store, batch, SILENCE), |mut watcher| async {
        let state = watcher.next().await?;
        Some((state, watcher))
    }))
}

struct Watcher {
    store: Arc<Store>,
    batch: BatchId,
    silence: Duration,
    replica: Replica,
    subscription: Option<Subscription>,
    must_read: bool,
    failures: u32,
    shown: Option<Position>,
    over: bool,
}

impl Watcher {
    fn new(store: Arc<Store>, batch: BatchId, silence: Duration) -> Self {
        Self {
            replica: Replica::new(batch.clone()),
            store,
            batch,
            silence,
            subscription: None,
            must_read: false,
            failures: 0,
            shown: None,
            over: false,
        }
    }

    async fn next(&mut self) -> Option<BatchState> {
        if self.over {
            return None;
        }
        loop {
            if let Err(error) = self.advance().await {
                self.failures += 1;
                tracing::warn!(batch = %self.batch, %error, "watching: trying again");
                tokio::time::sleep(backoff::random_pause(self.failures)).await;
            }
            if let Some(state) = self.news() {
                return Some(state);
            }
        }
    }

    /// The copy, where it has not been shown yet.
    fn news(&mut self) -> Option<BatchState> {
        let state = self.replica.state().filter(|state| Some(state.position()) > self.shown)?;
        self.shown = Some(state.position());
        self.over = self.replica.has_ended();
        Some(BatchState::clone(state))
    }

    /// One step: subscribe first, then read, then take messages.
    async fn advance(&mut self) -> Result<(), PublishError> {
        if self.subscription.is_none() {
            self.subscription = Some(self.store.subscribe(&self.batch).await?);
            self.must_read = true;
        }
        if self.must_read {
            return self.read().await;
        }
        match self.message().await? {
            Received::Gap | Received::Reread => self.must_read = true,
            Received::Applied | Received::Dropped | Received::Held => {}
        }
        Ok(())
    }

    /// Messages that arrive meanwhile wait in the subscription and are applied after the read.
    async fn read(&mut self) -> Result<(), PublishError> {
        self.replica.begin_read();
        let stored = match self.store.read(&self.batch).await {
            Ok(stored) => stored,
            Err(error) => {
                self.replica.fail_read();
                return Err(error);
            }
        };
        let finished = self.replica.finish_read(stored.map(|stored| stored.state));
        self.must_read = finished.again;
        if finished.again {
            self.failures += 1;
            tokio::time::sleep(backoff::random_pause(self.failures)).await;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<Received, PublishError> {
        let Some(subscription) = &mut self.subscription else { return Ok(Received::Dropped) };
        match tokio::time::timeout(self.silence, subscription.next()).await {
            Ok(Some(message)) => return Ok(self.replica.receive(Message::parse(&message))),
            Ok(None) => {}
            Err(_) if subscription.answers().await => return Ok(Received::Reread),
            Err(_) => {}
        }
        self.subscription = None;
        Err(PublishError::Unanswered { source: "the subscription was lost".into() })
    }
}

#[cfg(test)]
mod tests {
    use stack::{GUARD, RedisServer};
    use wire::{Cause, Changes};

    use super::*;
    use crate::{
        DEFAULT_STATE_TTL, RedisSettings,
        link::{Link, Timeouts},
        policy::Policy,
    };

    fn state(version: u64) -> BatchState {
        let json = format!(
            r#"{{"v":1,"batchId":"a","position":"7-{version}","status":"PROCESSING",
            "counts":{{"total":1,"queued":1,"processing":0,"completed":0,"failed":0}},
            "photos":[{{"photoId":"p","status":"QUEUED","version":1}}]}}"#
        );
        BatchState::from_json(json.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_message_that_was_lost_is_made_good_after_a_silence() {
        let server = RedisServer::start().await.unwrap();
        let timeouts = Timeouts { connection: GUARD, response: GUARD };
        let link = Link::new(&RedisSettings::new(server.url()), timeouts).unwrap();
        let store = Arc::new(Store::new(link, String::new(), Policy::new(DEFAULT_STATE_TTL)));
        let cause = Cause::from(7);
        store.update(&Changes::full(&state(1), None), cause).await.unwrap();
        let mut watcher = Watcher::new(Arc::clone(&store), BatchId::new("a").unwrap(), Duration::from_millis(10));
        assert_eq!(watcher.next().await, Some(state(1)));
        // As after an update whose message nobody heard.
        server.run::<i64>(&["DEL", "batch:progress:a"]).await.unwrap();
        store.fill(&state(2), 60).await.unwrap();
        let next = tokio::time::timeout(GUARD, watcher.next()).await.expect("it reads");
        assert_eq!(next, Some(state(2)));
    }
}
