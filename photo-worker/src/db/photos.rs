//! A photo's file: received, or never received.

use sqlx::{Any, AnyConnection, AssertSqlSafe, Transaction};
use wire::{BatchId, BatchStatus, PhotoId, PhotoStatus};

use crate::trace;

use super::{
    Db, DbError, Stepped,
    rows::{BatchRow, photo_word, read_word},
    step::{Move, step},
};

/// What is said of a photo whose file did not come.
const NOT_RECEIVED: &str = "not received";

/// What came of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It is the photo's now: analyse it.
    Accepted,
    /// The photo has its file already.
    AlreadyHere,
    /// The photo failed because its file had not come in time.
    TooLate,
    UnknownBatch,
    UnknownPhoto,
    Ended(BatchStatus),
}

impl Db {
    /// Whether a file may become this photo's, and whether it still needs to.
    pub(crate) async fn awaits(&self, batch: &BatchId, photo: &PhotoId) -> Result<Received, DbError> {
        let mut connection = self.reads.acquire().await?;
        let row = BatchRow::read(&mut connection, batch).await?;
        judge(&mut connection, row, photo).await
    }

    /// The photo's file is here. On anything but [`Received::Accepted`] nothing changes.
    pub(crate) async fn receive(&self, batch: &BatchId, photo: &PhotoId, now: i64) -> Result<Received, DbError> {
        let mut tx = self.write().await?;
        let row = BatchRow::lock(&mut tx, batch).await?;
        let received = judge(&mut tx, row, photo).await?;
        if received == Received::Accepted {
            sqlx::query("UPDATE photos SET received_at = $1, traceparent = $2 WHERE id = $3")
                .bind(now)
                .bind(trace::column())
                .bind(photo.as_str())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(received)
    }

    /// The batches that have declared photos whose time is over.
    pub(crate) async fn overdue(&self, now: i64) -> Result<Vec<BatchId>, DbError> {
        let batches = sqlx::query_as(
            "SELECT DISTINCT batch_id FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'QUEUED' AND received_at IS NULL AND expires_at <= $1
             AND batches.status IN ('QUEUED', 'PROCESSING')",
        );
        let batches: Vec<(String,)> = batches.bind(now).fetch_all(&self.reads).await?;
        batches.iter().map(|(batch,)| BatchId::new(batch).map_err(DbError::from)).collect()
    }

    /// Fails the declared photos whose time is over, all of a batch in one change. Returns the batches and how many
    /// photos failed.
    pub(crate) async fn expire(&self, now: i64) -> Result<(Vec<Stepped>, usize), DbError> {
        let mut tx = self.write().await?;
        let (from, to) = (PhotoStatus::Queued, PhotoStatus::Failed);
        let overdue = Which { condition: "received_at IS NULL AND expires_at <= $2", now };
        let moved = move_all(&mut tx, &overdue, from, to, Some(NOT_RECEIVED)).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// When the next declared photo's time is over, in milliseconds since the Unix epoch.
    pub(crate) async fn next_expiry(&self) -> Result<Option<i64>, DbError> {
        let next = sqlx::query_scalar(
            "SELECT MIN(expires_at) FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'QUEUED' AND received_at IS NULL AND batches.status IN ('QUEUED', 'PROCESSING')",
        );
        Ok(next.fetch_one(&self.reads).await?)
    }
}

/// What a file for this photo of the batch in `row` may become.
async fn judge(connection: &mut AnyConnection, row: Option<BatchRow>, photo: &PhotoId) -> Result<Received, DbError> {
    let Some(row) = row else { return Ok(Received::UnknownBatch) };
    let head = row.head()?;
    let query = sqlx::query_as("SELECT received_at, status FROM photos WHERE id = $1 AND batch_id = $2");
    let query = query.bind(photo.as_str()).bind(head.batch_id.as_str());
    let found: Option<(Option<i64>, String)> = query.fetch_optional(connection).await?;
    let Some((received_at, status)) = found else { return Ok(Received::UnknownPhoto) };
    let here = received_at.is_some();
    Ok(match read_word(&status)? {
        _ if here => Received::AlreadyHere,
        _ if head.status.is_terminal() => Received::Ended(head.status),
        PhotoStatus::Failed => Received::TooLate,
        PhotoStatus::Queued | PhotoStatus::Processing | PhotoStatus::Completed => Received::Accepted,
    })
}

/// Photos that are to be moved: a condition on their columns, in which `$2` is the time.
pub(super) struct Which {
    pub condition: &'static str,
    pub now: i64,
}

/// Moves photos of open batches, all of a batch in one change. Returns the batches and how many photos moved. Batches are
/// locked in the order of their ids, so that two who do this can't wait for each other.
pub(super) async fn move_all(
    tx: &mut Transaction<'_, Any>,
    which: &Which,
    from: PhotoStatus,
    to: PhotoStatus,
    error: Option<&str>,
) -> Result<(Vec<Stepped>, usize), DbError> {
    let condition = which.condition;
    let batches = format!(
        "SELECT DISTINCT photos.batch_id FROM photos JOIN batches ON batches.id = photos.batch_id
         WHERE photos.status = $1 AND {condition} AND batches.status IN ('QUEUED', 'PROCESSING')
         ORDER BY photos.batch_id"
    );
    let query = sqlx::query_as(AssertSqlSafe(batches)).bind(photo_word(from)).bind(which.now);
    let batches: Vec<(String,)> = query.fetch_all(&mut **tx).await?;
    let (mut stepped, mut photos) = (Vec::new(), 0);
    for (batch,) in batches {
        let Some(row) = BatchRow::lock(tx, &BatchId::new(&batch)?).await? else { continue };
        let head = row.head()?;
        // Asked again: before the batch was locked, a file may have come, or the batch have ended.
        let ids = format!("SELECT id FROM photos WHERE status = $1 AND {condition} AND batch_id = $3");
        let query = sqlx::query_as(AssertSqlSafe(ids)).bind(photo_word(from)).bind(which.now).bind(&batch);
        let ids: Vec<(String,)> = query.fetch_all(&mut **tx).await?;
        if ids.is_empty() || head.status.is_terminal() {
            continue;
        }
        let ids = ids.iter().map(|(id,)| PhotoId::new(id)).collect::<Result<Vec<_>, _>>()?;
        let moves: Vec<Move<'_>> = ids.iter().map(|photo| Move { photo, from, to, result: None, error }).collect();
        stepped.push(step(tx, head, &moves, which.now).await?);
        photos += ids.len();
    }
    Ok((stepped, photos))
}
