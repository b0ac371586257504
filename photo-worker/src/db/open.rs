//! Whole batches: opening, re-opening, cancelling, listing.

use std::{fmt, str::FromStr};

use sqlx::AssertSqlSafe;
use wire::{BatchId, BatchStatus, Counts, Head, PhotoId, PhotoStatus, Position};

use super::{
    Db, DbError, Kind, Stepped,
    rows::{BatchRow, Summary, photo_word, write_head},
};
use crate::{access::Visible, names, trace};

/// The newest $2 batches of the project $1 behind the place $6, $7, of those of the owner $3, if $4 those of nobody, and
/// those in the JSON list $5. Each part goes by an index of its own, so that a caller who sees little walks little: in
/// SQLite `+` bars the project's.
macro_rules! these {
    ($project:literal, $named:literal) => {
        concat!(
            "SELECT * FROM (
              SELECT * FROM (SELECT * FROM batches WHERE project_id = $1 AND owner = $3
                             AND created_at <= $6 AND (created_at < $6 OR id > $7)
                             ORDER BY created_at DESC, id LIMIT $2) AS theirs
              UNION
              SELECT * FROM (SELECT * FROM batches WHERE $4 AND project_id = $1 AND owner IS NULL
                             AND created_at <= $6 AND (created_at < $6 OR id > $7)
                             ORDER BY created_at DESC, id LIMIT $2) AS of_nobody
              UNION
              SELECT * FROM batches WHERE ",
            $project,
            " = $1 AND id IN (",
            $named,
            ") AND created_at <= $6 AND (created_at < $6 OR id > $7)
            ) AS visible ORDER BY created_at DESC, id LIMIT $2"
        )
    };
}
pub(super) const THESE_IN_SQLITE: &str = these!("+project_id", "SELECT value FROM json_each($5)");
const THESE_IN_POSTGRES: &str = these!("project_id", "SELECT json_array_elements_text($5::json)");

/// Every batch of a project behind a place.
const ALL: &str = "
    SELECT * FROM batches WHERE project_id = $1 AND created_at <= $2 AND (created_at < $2 OR id > $3)
    ORDER BY created_at DESC, id LIMIT $4";

/// Thumbnails that a list tells of a batch.
const LISTED_THUMBNAILS: usize = 4;

/// How many versions back they are looked for: a photo takes two, and a list must not walk thousands of photos a batch.
const LATELY: i64 = 64;

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

/// A place in a list of batches, the newest first: behind this batch. Written `CREATED-ID`, which readers pass back as it
/// is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    created_at: i64,
    batch: BatchId,
}

impl Place {
    pub(crate) fn behind(summary: &Summary) -> Self {
        Self { created_at: summary.created_ms, batch: summary.head.batch_id.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at, self.batch)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (created_at, batch) = text.split_once('-').ok_or(NoPlace)?;
        let created_at = created_at.parse().map_err(|_| NoPlace)?;
        Ok(Self { created_at, batch: BatchId::new(batch).map_err(|_| NoPlace)? })
    }
}

/// A text that is no [`Place`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

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
             failed, created_at, updated_at) VALUES ($1, $2, $3, $4, 1, 'QUEUED', $5, $5, 0, 0, 0, $4, $4)",
        )
        .bind(batch.as_str())
        .bind(project)
        .bind(owner)
        .bind(now)
        .bind(total)
        .execute(&mut *tx)
        .await?;
        for photo in photos {
            sqlx::query(
                "INSERT INTO photos (id, batch_id, name, status, version, received_at, expires_at,
                   traceparent)
                 VALUES ($1, $2, $3, 'QUEUED', 1, $4, $5, $6)",
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
        let Some(row) = BatchRow::lock(&mut tx, batch).await? else { return Ok(Retried::Unknown) };
        let head = row.head()?;
        if !head.status.is_terminal() {
            return Ok(Retried::Open);
        }
        let unfinished: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, CASE WHEN received_at IS NULL THEN 0 ELSE 1 END FROM photos
             WHERE batch_id = $1 AND status <> 'COMPLETED'",
        )
        .bind(batch.as_str())
        .fetch_all(&mut *tx)
        .await?;
        if unfinished.is_empty() {
            return Ok(Retried::Nothing);
        }
        let head = reopened(&head, now)?;
        sqlx::query(
            "UPDATE photos SET status = $1, version = $2, result = NULL, error = NULL, expires_at = $3, traceparent = $4,
             losses = 0 WHERE batch_id = $5 AND status <> 'COMPLETED'",
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
            let wanted = unfinished.iter().filter(move |(_, received)| *received != 0 || !only_received);
            wanted.map(|(id, _)| PhotoId::new(id)).collect::<Result<Vec<_>, _>>()
        };
        let stepped = Stepped { batch: batch.clone(), ended: false };
        Ok(Retried::Reopened { stepped, photos: ids(false)?, received: ids(true)? })
    }

    /// Ends an open batch. Photos stay where they are; work under way on them changes nothing any more.
    pub(crate) async fn cancel(&self, batch: &BatchId, now: i64) -> Result<Cancellation, DbError> {
        let mut tx = self.write().await?;
        let Some(row) = BatchRow::lock(&mut tx, batch).await? else { return Ok(Cancellation::Unknown) };
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

    /// The newest batches of a project, of those that are `visible` and behind `place`, or of all.
    pub(crate) async fn batches_of(
        &self,
        project: &str,
        visible: Visible<'_>,
        place: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<Summary>, DbError> {
        let (created_at, id) = place.map_or((i64::MAX, ""), |place| (place.created_at, place.batch.as_str()));
        let rows: Vec<BatchRow> = match visible {
            Visible::All => {
                let query = sqlx::query_as(ALL).bind(project).bind(created_at).bind(id).bind(i64::from(limit));
                query.fetch_all(&self.reads).await?
            }
            Visible::These { owner, unowned, named } => {
                let named = serde_json::Value::from_iter(named.iter().map(BatchId::as_str)).to_string();
                let these = match self.kind {
                    Kind::Postgres => THESE_IN_POSTGRES,
                    Kind::Sqlite => THESE_IN_SQLITE,
                };
                let query = sqlx::query_as(these).bind(project).bind(i64::from(limit)).bind(owner);
                query.bind(unowned).bind(named).bind(created_at).bind(id).fetch_all(&self.reads).await?
            }
        };
        let mut summaries = rows.iter().map(BatchRow::summary).collect::<Result<Vec<_>, _>>()?;
        self.add_thumbnails(&mut summaries).await?;
        Ok(summaries)
    }

    /// Of the photos that were done last.
    async fn add_thumbnails(&self, summaries: &mut [Summary]) -> Result<(), DbError> {
        if summaries.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = (2..=summaries.len() + 1).map(|n| format!("${n}")).collect();
        let done = format!(
            "SELECT photos.batch_id, photos.id FROM photos JOIN batches ON batches.id = photos.batch_id
             WHERE photos.status = 'COMPLETED' AND photos.version > batches.version - $1
             AND batches.id IN ({}) ORDER BY photos.id",
            places.join(", ")
        );
        let query = sqlx::query_as(AssertSqlSafe(done)).bind(LATELY);
        let query = summaries.iter().fold(query, |query, summary| query.bind(summary.head.batch_id.as_str()));
        let done: Vec<(String, String)> = query.fetch_all(&self.reads).await?;
        for summary in summaries {
            let of_batch = done.iter().filter(|(batch, _)| batch == summary.head.batch_id.as_str());
            let photos = of_batch.take(LISTED_THUMBNAILS).map(|(_, photo)| PhotoId::new(photo));
            summary.thumbnails =
                photos.map(|photo| photo.map(|photo| names::thumbnail_url(&photo))).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Whose a batch is; `None`: there is no such batch.
    pub(crate) async fn owner(&self, batch: &BatchId) -> Result<Option<Owned>, DbError> {
        let query = sqlx::query_as("SELECT id, owner FROM batches WHERE id = $1").bind(batch.as_str());
        owned(query.fetch_optional(&self.reads).await?)
    }

    /// Whose batch a photo belongs to; `None`: there is no such photo.
    pub(crate) async fn owner_of_photo(&self, photo: &PhotoId) -> Result<Option<Owned>, DbError> {
        let query = sqlx::query_as(
            "SELECT batches.id, owner FROM batches JOIN photos ON batches.id = photos.batch_id WHERE photos.id = $1",
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
    fn a_place_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["1795389030082-b_1", "0-x", "7-with-a-dash"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "7", "7-", "-b", "x-b", "7-b*", "7.5-b", "99999999999999999999-b"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

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
