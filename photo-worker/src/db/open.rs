//! Whole batches: opening, re-opening, cancelling, listing.

use wire::{BatchId, BatchStatus, Counts, Head, PhotoId, PhotoStatus, Position};

use super::{
    Db, DbError, Stepped,
    rows::{BatchRow, Summary, photo_word, write_head},
};
use crate::{access::Visible, names, trace};

/// The newest ?2 batches of the project ?1, of those of the owner ?3, if ?4 those of nobody, and those in the JSON list
/// ?5. Each part goes by an index of its own (`+` bars the project's), so that a caller who sees little walks little.
pub(super) const THESE: &str = "
    SELECT * FROM (
      SELECT * FROM (SELECT * FROM batches WHERE project_id = ?1 AND owner = ?3
                     ORDER BY created_at DESC, id LIMIT ?2)
      UNION
      SELECT * FROM (SELECT * FROM batches WHERE ?4 AND project_id = ?1 AND owner IS NULL
                     ORDER BY created_at DESC, id LIMIT ?2)
      UNION
      SELECT * FROM batches WHERE +project_id = ?1 AND id IN (SELECT value FROM json_each(?5))
    ) ORDER BY created_at DESC, id LIMIT ?2";

/// A photo to be declared.
#[derive(Debug, Clone)]
pub(crate) struct NewPhoto {
    pub id: PhotoId,
    pub name: String,
    /// Its file is here already.
    pub received: bool,
}

/// What came of a retry.
#[derive(Debug)]
pub(crate) enum Retried {
    /// Open again. `photos` run again; those whose file is here are in `received` too.
    Reopened {
        stepped: Stepped,
        photos: Vec<PhotoId>,
        received: Vec<PhotoId>,
    },
    Unknown,
    Open,
    Nothing,
}

/// What came of a cancellation.
#[derive(Debug)]
pub(crate) enum Cancellation {
    Done(Stepped),
    Unknown,
    Ended(BatchStatus),
}

/// A batch, and the application's user who owns it.
#[derive(Debug)]
pub(crate) struct Owned {
    pub batch: BatchId,
    pub owner: Option<String>,
}

impl Db {
    /// Makes a batch of these photos. `now` and `expires_at`, until when the missing files must have come, are in
    /// milliseconds since the Unix epoch.
    pub(crate) async fn create(
        &self,
        project: &str,
        owner: Option<&str>,
        photos: &[NewPhoto],
        now: i64,
        expires_at: i64,
    ) -> Result<BatchId, DbError> {
        let batch = names::new_batch()?;
        let mut tx = self.write().await?;
        let total = i64::try_from(photos.len()).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO batches (id, project_id, owner, epoch, version, status, total, queued, processing, completed,
             failed, created_at, updated_at) VALUES (?, ?, ?, ?, 1, 'QUEUED', ?, ?, 0, 0, 0, ?, ?)",
        )
        .bind(batch.as_str())
        .bind(project)
        .bind(owner)
        .bind(now)
        .bind(total)
        .bind(total)
        .bind(now)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        for photo in photos {
            sqlx::query(
                "INSERT INTO photos (id, batch_id, name, status, version, received_at, expires_at,
                   traceparent)
                 VALUES (?, ?, ?, 'QUEUED', 1, ?, ?, ?)",
            )
            .bind(photo.id.as_str())
            .bind(batch.as_str())
            .bind(&photo.name)
            .bind(photo.received.then_some(now))
            .bind(expires_at)
            .bind(trace::column())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(batch)
    }

    /// Re-opens an ended batch in a new epoch: whatever is not done runs again.
    pub(crate) async fn retry(&self, batch: &BatchId, now: i64, expires_at: i64) -> Result<Retried, DbError> {
        let mut tx = self.write().await?;
        let Some(row) = BatchRow::read(&mut tx, batch).await? else { return Ok(Retried::Unknown) };
        let head = row.head()?;
        if !head.status.is_terminal() {
            return Ok(Retried::Open);
        }
        let unfinished: Vec<(String, bool)> = sqlx::query_as(
            "SELECT id, received_at IS NOT NULL FROM photos WHERE batch_id = ? AND status <> 'COMPLETED'",
        )
        .bind(batch.as_str())
        .fetch_all(&mut *tx)
        .await?;
        if unfinished.is_empty() {
            return Ok(Retried::Nothing);
        }
        let head = reopened(&head, now)?;
        sqlx::query(
            "UPDATE photos SET status = ?, version = ?, result = NULL, error = NULL, expires_at = ?, traceparent = ?
             WHERE batch_id = ? AND status <> 'COMPLETED'",
        )
        .bind(photo_word(PhotoStatus::Queued))
        .bind(head.position.version().cast_signed())
        .bind(expires_at)
        .bind(trace::column())
        .bind(batch.as_str())
        .execute(&mut *tx)
        .await?;
        write_head(&mut tx, &head, now).await?;
        tx.commit().await?;
        let ids = |only_received: bool| {
            let wanted = unfinished.iter().filter(move |(_, received)| *received || !only_received);
            wanted.map(|(id, _)| PhotoId::new(id)).collect::<Result<Vec<_>, _>>()
        };
        let stepped = Stepped { batch: batch.clone(), ended: false };
        Ok(Retried::Reopened { stepped, photos: ids(false)?, received: ids(true)? })
    }

    /// Ends an open batch. Photos stay where they are; work under way on them changes nothing any more.
    pub(crate) async fn cancel(&self, batch: &BatchId, now: i64) -> Result<Cancellation, DbError> {
        let mut tx = self.write().await?;
        let Some(row) = BatchRow::read(&mut tx, batch).await? else { return Ok(Cancellation::Unknown) };
        let mut head = row.head()?;
        if head.status.is_terminal() {
            return Ok(Cancellation::Ended(head.status));
        }
        head.status = BatchStatus::Cancelled;
        head.position = Position::new(head.position.epoch(), head.position.version() + 1)?;
        write_head(&mut tx, &head, now).await?;
        tx.commit().await?;
        Ok(Cancellation::Done(Stepped { batch: batch.clone(), ended: true }))
    }

    /// The newest batches of a project, of those that are `visible`.
    pub(crate) async fn batches_of(
        &self,
        project: &str,
        visible: Visible<'_>,
        limit: u32,
    ) -> Result<Vec<Summary>, DbError> {
        let rows: Vec<BatchRow> = match visible {
            Visible::All => {
                let query =
                    sqlx::query_as("SELECT * FROM batches WHERE project_id = ? ORDER BY created_at DESC, id LIMIT ?");
                query.bind(project).bind(limit).fetch_all(&self.reads).await?
            }
            Visible::These { owner, unowned, named } => {
                let named = serde_json::Value::from_iter(named.iter().map(BatchId::as_str)).to_string();
                let query = sqlx::query_as(THESE).bind(project).bind(limit).bind(owner).bind(unowned).bind(named);
                query.fetch_all(&self.reads).await?
            }
        };
        rows.iter().map(BatchRow::summary).collect()
    }

    /// Whose a batch is; `None`: there is no such batch.
    pub(crate) async fn owner(&self, batch: &BatchId) -> Result<Option<Owned>, DbError> {
        let query = sqlx::query_as("SELECT id, owner FROM batches WHERE id = ?").bind(batch.as_str());
        owned(query.fetch_optional(&self.reads).await?)
    }

    /// Whose batch a photo belongs to; `None`: there is no such photo.
    pub(crate) async fn owner_of_photo(&self, photo: &PhotoId) -> Result<Option<Owned>, DbError> {
        let query = sqlx::query_as(
            "SELECT batches.id, owner FROM batches JOIN photos ON batches.id = photos.batch_id WHERE photos.id = ?",
        );
        owned(query.bind(photo.as_str()).fetch_optional(&self.reads).await?)
    }
}

fn owned(row: Option<(String, Option<String>)>) -> Result<Option<Owned>, DbError> {
    row.map(|(batch, owner)| Ok(Owned { batch: BatchId::new(&batch)?, owner })).transpose()
}

/// The head of an ended batch in its next epoch. The version goes on, so that no photo is ever newer than its batch.
fn reopened(ended: &Head, now: i64) -> Result<Head, DbError> {
    let Counts { total, completed, .. } = ended.counts;
    let status = if completed == 0 { BatchStatus::Queued } else { BatchStatus::Processing };
    // A clock that stands still or goes back must not make the epoch fall.
    let epoch = now.unsigned_abs().max(ended.position.epoch() + 1);
    let position = Position::new(epoch, ended.position.version() + 1)?;
    let counts = Counts { total, queued: total - completed.min(total), processing: 0, completed, failed: 0 };
    Ok(Head::new(ended.batch_id.clone(), position, status, counts, ended.updated_at.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_batch_has_a_greater_epoch_even_when_the_clock_goes_back() {
        let ended = Head::new(
            BatchId::new("b").unwrap(),
            Position::new(1_000, 7).unwrap(),
            BatchStatus::Partial,
            Counts { total: 3, completed: 1, failed: 2, ..Counts::default() },
            String::new(),
        );
        for (now, epoch) in [(5_000, 5_000), (1_000, 1_001), (10, 1_001)] {
            let head = reopened(&ended, now).unwrap();
            assert_eq!(head.position, Position::new(epoch, 8).unwrap());
            assert_eq!((head.counts.queued, head.counts.failed), (2, 0));
            head.check().unwrap();
        }
    }
}
