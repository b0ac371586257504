//! A native watcher of one batch: the receiving rules of `wire`'s replica over a subscription of its own.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use wire::{BatchId, BatchState, Message, Position, Replica, replica::Received};

use crate::{PublishError, backoff, link::Subscription, store::Store};

/// After so long without a message the subscription is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(20);

/// States of `batch` with growing positions, until one is terminal.
pub(crate) fn watch(store: Arc<Store>, batch: BatchId) -> impl Stream<Item = BatchState> + Send + Unpin {
    let watcher = Watcher {
        replica: Replica::new(batch.clone()),
        store,
        batch,
        subscription: None,
        must_read: false,
        failures: 0,
        shown: None,
        over: false,
    };
    Box::pin(stream::unfold(watcher, |mut watcher| async {
        let state = watcher.next().await?;
        Some((state, watcher))
    }))
}

struct Watcher {
    store: Arc<Store>,
    batch: BatchId,
    replica: Replica,
    subscription: Option<Subscription>,
    must_read: bool,
    failures: u32,
    shown: Option<Position>,
    over: bool,
}

impl Watcher {
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
        match tokio::time::timeout(SILENCE, subscription.next()).await {
            Ok(Some(message)) => return Ok(self.replica.receive(Message::parse(&message))),
            Ok(None) => {}
            Err(_) if subscription.answers().await => return Ok(Received::Dropped),
            Err(_) => {}
        }
        self.subscription = None;
        Err(PublishError::Unanswered { source: "the subscription was lost".into() })
    }
}
