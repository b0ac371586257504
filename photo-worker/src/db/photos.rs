//! One photo's way: received, begun, finished; or never received.

use sqlx::{Sqlite, SqliteConnection, Transaction};
use wire::{BatchId, BatchStatus, Head, PhotoId, PhotoStatus, TraceParent};

use crate::trace;

use super::{
    Db, DbError, Stepped,
    rows::{BatchRow, read_word},
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

/// Work on a photo has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub stepped: Stepped,
    /// The name it was uploaded under.
    pub name: String,
    /// The trace of the request that brought it.
    pub trace: Option<TraceParent>,
}

#[derive(sqlx::FromRow)]
struct Standing {
    batch_id: String,
    name: String,
    status: String,
    traceparent: Option<String>,
}

impl Db {
    /// Whether a file may become this photo's, and whether it still needs to.
    pub(crate) async fn awaits(&self, batch: &BatchId, photo: &PhotoId) -> Result<Received, DbError> {
        let mut connection = self.reads.acquire().await?;
        judge(&mut connection, batch, photo).await
    }

    /// The photo's file is here. On anything but [`Received::Accepted`] nothing changes.
    pub(crate) async fn receive(&self, batch: &BatchId, photo: &PhotoId, now: i64) -> Result<Received, DbError> {
        let mut tx = self.write().await?;
        let received = judge(&mut tx, batch, photo).await?;
        if received == Received::Accepted {
            sqlx::query("UPDATE photos SET received_at = ?, traceparent = ? WHERE id = ?")
                .bind(now)
                .bind(trace::column())
                .bind(photo.as_str())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(received)
    }

    /// Work on the photo begins; `None`: there is nothing to do (done already, or its batch was cancelled).
    pub(crate) async fn begin(&self, photo: &PhotoId, now: i64) -> Result<Option<Begun>, DbError> {
        let mut tx = self.write().await?;
        let Some((standing, head)) = standing(&mut tx, photo, PhotoStatus::Queued).await? else { return Ok(None) };
        let to = PhotoStatus::Processing;
        let moves = [Move { photo, from: PhotoStatus::Queued, to, result: None, error: None }];
        let stepped = step(&mut tx, head, &moves, now).await?;
        tx.commit().await?;
        let trace = standing.traceparent.and_then(|text| text.parse().ok());
        Ok(Some(Begun { stepped, name: standing.name, trace }))
    }

    /// Work on the photo has ended: with its result as JSON, or with the reason it failed. `None`: nobody waits for it
    /// any more.
    pub(crate) async fn finish(
        &self,
        photo: &PhotoId,
        outcome: Result<&str, &str>,
        now: i64,
    ) -> Result<Option<Stepped>, DbError> {
        let mut tx = self.write().await?;
        let Some((_, head)) = standing(&mut tx, photo, PhotoStatus::Processing).await? else { return Ok(None) };
        let to = if outcome.is_ok() { PhotoStatus::Completed } else { PhotoStatus::Failed };
        let (result, error) = (outcome.ok(), outcome.err());
        let stepped =
            step(&mut tx, head, &[Move { photo, from: PhotoStatus::Processing, to, result, error }], now).await?;
        tx.commit().await?;
        Ok(Some(stepped))
    }

    /// Fails the declared photos whose time is over, all of a batch in one change. Returns the batches and how many
    /// photos failed.
    pub(crate) async fn expire(&self, now: i64) -> Result<(Vec<Stepped>, usize), DbError> {
        let overdue = "FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'QUEUED' AND received_at IS NULL AND expires_at <= ?
             AND batches.status IN ('QUEUED', 'PROCESSING')";
        let mut tx = self.write().await?;
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT photos.batch_id, photos.id {overdue}")));
        let rows: Vec<(String, String)> = rows.bind(now).fetch_all(&mut *tx).await?;
        let stepped =
            move_all(&mut tx, &rows, PhotoStatus::Queued, PhotoStatus::Failed, Some(NOT_RECEIVED), now).await?;
        tx.commit().await?;
        Ok((stepped, rows.len()))
    }

    /// When the next declared photo's time is over, in milliseconds since the Unix epoch.
    pub(crate) async fn next_expiry(&self) -> Result<Option<i64>, DbError> {
        let next = sqlx::query_scalar(
            "SELECT MIN(expires_at) FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'QUEUED' AND received_at IS NULL AND batches.status IN ('QUEUED', 'PROCESSING')",
        );
        Ok(next.fetch_one(&self.reads).await?)
    }

    /// After a restart: photos that were being worked on are queued again. Returns all whose file is here and whose
    /// batch is open, oldest first.
    pub(crate) async fn recover(&self, now: i64) -> Result<Vec<PhotoId>, DbError> {
        let mut tx = self.write().await?;
        let interrupted: Vec<(String, String)> = sqlx::query_as(
            "SELECT photos.batch_id, photos.id FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'PROCESSING' AND batches.status IN ('QUEUED', 'PROCESSING')",
        )
        .fetch_all(&mut *tx)
        .await?;
        move_all(&mut tx, &interrupted, PhotoStatus::Processing, PhotoStatus::Queued, None, now).await?;
        let waiting: Vec<(String,)> = sqlx::query_as(
            "SELECT photos.id FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'QUEUED' AND received_at IS NOT NULL AND batches.status IN ('QUEUED', 'PROCESSING')
             ORDER BY received_at, photos.id",
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        waiting.iter().map(|(id,)| PhotoId::new(id).map_err(DbError::from)).collect()
    }
}

/// The photo and its batch's head, where the batch is open and the photo in `status`.
async fn standing(
    tx: &mut Transaction<'_, Sqlite>,
    photo: &PhotoId,
    status: PhotoStatus,
) -> Result<Option<(Standing, Head)>, DbError> {
    let query =
        sqlx::query_as("SELECT batch_id, name, status, traceparent FROM photos WHERE id = ?").bind(photo.as_str());
    let Some(standing): Option<Standing> = query.fetch_optional(&mut **tx).await? else { return Ok(None) };
    if read_word::<PhotoStatus>(&standing.status)? != status {
        return Ok(None);
    }
    let Some(row) = BatchRow::read(tx, &BatchId::new(&standing.batch_id)?).await? else { return Ok(None) };
    let head = row.head()?;
    Ok((!head.status.is_terminal()).then_some((standing, head)))
}

async fn judge(connection: &mut SqliteConnection, batch: &BatchId, photo: &PhotoId) -> Result<Received, DbError> {
    let Some(row) = BatchRow::read(connection, batch).await? else { return Ok(Received::UnknownBatch) };
    let query = sqlx::query_as("SELECT received_at IS NOT NULL, status FROM photos WHERE id = ? AND batch_id = ?");
    let found: Option<(bool, String)> =
        query.bind(photo.as_str()).bind(batch.as_str()).fetch_optional(connection).await?;
    let Some((here, status)) = found else { return Ok(Received::UnknownPhoto) };
    let head = row.head()?;
    Ok(match read_word(&status)? {
        _ if here => Received::AlreadyHere,
        _ if head.status.is_terminal() => Received::Ended(head.status),
        PhotoStatus::Failed => Received::TooLate,
        PhotoStatus::Queued | PhotoStatus::Processing | PhotoStatus::Completed => Received::Accepted,
    })
}

/// Moves photos, given as pairs of batch and photo, all of a batch in one change.
async fn move_all(
    tx: &mut Transaction<'_, Sqlite>,
    photos: &[(String, String)],
    from: PhotoStatus,
    to: PhotoStatus,
    error: Option<&str>,
    now: i64,
) -> Result<Vec<Stepped>, DbError> {
    let mut stepped = Vec::new();
    for of_batch in by_batch(photos)? {
        let (batch, ids) = of_batch;
        let Some(row) = BatchRow::read(tx, &batch).await? else { continue };
        let moves: Vec<Move<'_>> = ids.iter().map(|photo| Move { photo, from, to, result: None, error }).collect();
        stepped.push(step(tx, row.head()?, &moves, now).await?);
    }
    Ok(stepped)
}

fn by_batch(photos: &[(String, String)]) -> Result<Vec<(BatchId, Vec<PhotoId>)>, DbError> {
    let mut grouped = std::collections::BTreeMap::<BatchId, Vec<PhotoId>>::new();
    for (batch, photo) in photos {
        grouped.entry(BatchId::new(batch)?).or_default().push(PhotoId::new(photo)?);
    }
    Ok(grouped.into_iter().collect())
}
