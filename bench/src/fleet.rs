//! An application with many batches and one publisher.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use publisher::{BatchId, Changes, Position, ProgressSource, Publisher, SourceError};

use crate::app::Database;
use crate::marks::Sent;

/// The application.
pub(crate) struct Fleet {
    publisher: Publisher,
    databases: Databases,
    ids: Vec<BatchId>,
}

#[derive(Clone)]
struct Databases(Arc<HashMap<BatchId, Database>>);

impl Fleet {
    /// So many batches of so many photos each, of which Redis knows none yet.
    pub(crate) async fn connect(redis_url: &str, batches: usize, photos: usize) -> Result<Self> {
        let ids: Vec<BatchId> =
            (0..batches).map(|number| format!("b-{number:05}").parse()).collect::<Result<_, _>>()?;
        let databases = ids.iter().map(|id| Ok((id.clone(), Database::new(id, photos)?))).collect::<Result<_>>()?;
        let databases = Databases(Arc::new(databases));
        let publisher = Publisher::builder(redis_url).source(databases.clone()).connect().await?;
        Ok(Self { publisher, databases, ids })
    }

    pub(crate) fn ids(&self) -> &[BatchId] {
        &self.ids
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The database of a batch.
    pub(crate) fn database(&self, batch: &BatchId) -> Result<&Database> {
        self.databases.0.get(batch).with_context(|| format!("there is no batch {batch}"))
    }

    /// Publishes all of them whole.
    pub(crate) async fn publish_all(&self) -> Result<()> {
        for id in &self.ids {
            self.publisher.publish(self.database(id)?.changes_since(None)).await?;
        }
        Ok(())
    }

    /// Commits change `number`, a photo's of this batch, and tells the publisher.
    pub(crate) fn change(&self, batch: &BatchId, number: usize, sent: &Sent) -> Result<()> {
        self.database(batch)?.commit(number, sent)?;
        self.publisher.notify(batch);
        Ok(())
    }

    /// Publishes what is left; the batches of which something was not delivered within this time.
    pub(crate) async fn close(&self, patience: Duration) -> Vec<BatchId> {
        self.publisher.close(patience).await
    }
}

impl ProgressSource for Databases {
    async fn changes(&self, batch: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        Ok(self.0.get(batch).map(|database| database.changes_since(since)))
    }

    async fn unsettled(&self, _: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }
}
