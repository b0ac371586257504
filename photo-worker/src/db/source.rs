//! The database as the publisher's source, and as the origin.

use std::time::{SystemTime, UNIX_EPOCH};

use publisher::{ProgressSource, SourceError};
use sqlx::AnyConnection;
use wire::{BatchId, BatchState, Changes, Photo, Position};

use super::{
    Db, DbError,
    rows::{BatchRow, PhotoRow},
};

impl Db {
    /// The whole state of a batch, and its owner.
    pub(crate) async fn state(&self, batch: &BatchId) -> Result<Option<(BatchState, Option<String>)>, DbError> {
        let Some(changes) = self.changes_since(batch, None).await? else { return Ok(None) };
        Ok(Some((BatchState::new(changes.head, changes.photos)?, changes.owner)))
    }

    /// Head and photos in one read transaction: both statements see the same commit.
    async fn changes_since(&self, batch: &BatchId, since: Option<Position>) -> Result<Option<Changes>, DbError> {
        let mut tx = self.snapshot().await?;
        let Some(row) = BatchRow::read(&mut tx, batch).await? else { return Ok(None) };
        let head = row.head()?;
        let since = since.filter(|since| since.epoch() == head.position.epoch());
        let photos = photos_after(&mut tx, batch, since).await?;
        tx.commit().await?;
        Ok(Some(Changes::new(since, head, photos).owned_by(row.owner)))
    }
}

async fn photos_after(
    connection: &mut AnyConnection,
    batch: &BatchId,
    since: Option<Position>,
) -> Result<Vec<Photo>, DbError> {
    let rows: Vec<PhotoRow> = sqlx::query_as(
        "SELECT id, name, status, version, result, error FROM photos WHERE batch_id = $1 AND version > $2",
    )
    .bind(batch.as_str())
    .bind(since.map_or(0, Position::version).cast_signed())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(PhotoRow::photo).collect()
}

impl ProgressSource for Db {
    async fn changes(&self, batch: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        Ok(self.changes_since(batch, since).await?)
    }

    async fn unsettled(&self, since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let ids: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM batches WHERE status IN ('QUEUED', 'PROCESSING') OR updated_at > $1")
                .bind(i64::try_from(since).unwrap_or(i64::MAX))
                .fetch_all(&self.reads)
                .await?;
        Ok(ids.iter().map(|(id,)| BatchId::new(id)).collect::<Result<_, _>>()?)
    }
}
