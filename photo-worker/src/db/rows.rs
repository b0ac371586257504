//! Rows as they are stored, and what they mean.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::IntoDeserializer as _};
use sqlx::{AnyConnection, FromRow};
use wire::{BatchId, BatchStatus, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position};

use super::{DbError, Kind};

/// A batch.
#[derive(Debug, Clone, FromRow)]
pub(super) struct BatchRow {
    id: String,
    pub owner: Option<String>,
    epoch: i64,
    version: i64,
    status: String,
    total: i64,
    queued: i64,
    processing: i64,
    completed: i64,
    failed: i64,
    created_at: i64,
    updated_at: i64,
}

impl BatchRow {
    pub(super) async fn read(connection: &mut AnyConnection, id: &BatchId) -> Result<Option<Self>, DbError> {
        let query = sqlx::query_as("SELECT * FROM batches WHERE id = $1").bind(id.as_str());
        Ok(query.fetch_optional(connection).await?)
    }

    /// Reads it, and keeps everyone else from changing it until the transaction ends. In SQLite the transaction does.
    pub(super) async fn lock(connection: &mut AnyConnection, id: &BatchId) -> Result<Option<Self>, DbError> {
        if Kind::of(connection) == Kind::Sqlite {
            return Self::read(connection, id).await;
        }
        let query = sqlx::query_as("SELECT * FROM batches WHERE id = $1 FOR UPDATE").bind(id.as_str());
        Ok(query.fetch_optional(connection).await?)
    }

    pub(super) fn head(&self) -> Result<Head, DbError> {
        let count = |n: i64| u32::try_from(n).map_err(|_| DbError::Corrupt(format!("a count of {n}")));
        Ok(Head::new(
            BatchId::new(&self.id)?,
            Position::new(self.epoch.unsigned_abs(), self.version.unsigned_abs())?,
            read_word(&self.status)?,
            Counts {
                total: count(self.total)?,
                queued: count(self.queued)?,
                processing: count(self.processing)?,
                completed: count(self.completed)?,
                failed: count(self.failed)?,
            },
            date_time(self.updated_at),
        ))
    }

    pub(super) fn summary(&self) -> Result<Summary, DbError> {
        let created_at = date_time(self.created_at);
        Ok(Summary { head: self.head()?, created_at, thumbnails: Vec::new(), created_ms: self.created_at })
    }
}

/// A batch as a list shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub head: Head,
    pub created_at: String,
    /// Where some of its photos' thumbnails are.
    pub thumbnails: Vec<String>,
    #[serde(skip)]
    pub created_ms: i64,
}

/// A photo.
#[derive(Debug, Clone, FromRow)]
pub(super) struct PhotoRow {
    id: String,
    name: String,
    status: String,
    version: i64,
    result: Option<String>,
    error: Option<String>,
}

impl PhotoRow {
    pub(super) fn photo(self) -> Result<Photo, DbError> {
        // Before there is more to say of a photo, and when it failed, people still want to know which one it is.
        let result: Result<Json, _> = match self.result {
            Some(json) => serde_json::from_str(&json),
            None => Json::new(&serde_json::json!({ "name": self.name })),
        };
        Ok(Photo::new(PhotoId::new(&self.id)?, read_word(&self.status)?, self.version.unsigned_abs())
            .with_result(result.map_err(|e| DbError::Corrupt(e.to_string()))?)
            .with_error(self.error))
    }
}

/// Writes a head over its batch's row.
pub(super) async fn write_head(connection: &mut AnyConnection, head: &Head, now: i64) -> Result<(), DbError> {
    let Counts { queued, processing, completed, failed, .. } = head.counts;
    let query = sqlx::query(
        "UPDATE batches SET epoch = $1, version = $2, status = $3, queued = $4, processing = $5, completed = $6,
         failed = $7, updated_at = $8 WHERE id = $9",
    );
    let position = head.position;
    query
        .bind(position.epoch().cast_signed())
        .bind(position.version().cast_signed())
        .bind(batch_word(head.status))
        .bind(i64::from(queued))
        .bind(i64::from(processing))
        .bind(i64::from(completed))
        .bind(i64::from(failed))
        .bind(now)
        .bind(head.batch_id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// A stored status; the words are those of the wire.
pub(super) fn read_word<'a, T: Deserialize<'a>>(word: &'a str) -> Result<T, DbError> {
    let read: Result<T, serde::de::value::Error> = T::deserialize(word.into_deserializer());
    read.map_err(|e| DbError::Corrupt(e.to_string()))
}

pub(super) fn batch_word(status: BatchStatus) -> &'static str {
    match status {
        BatchStatus::Queued => "QUEUED",
        BatchStatus::Processing => "PROCESSING",
        BatchStatus::Completed => "COMPLETED",
        BatchStatus::Partial => "PARTIAL",
        BatchStatus::Failed => "FAILED",
        BatchStatus::Cancelled => "CANCELLED",
    }
}

pub(super) fn photo_word(status: PhotoStatus) -> &'static str {
    match status {
        PhotoStatus::Queued => "QUEUED",
        PhotoStatus::Processing => "PROCESSING",
        PhotoStatus::Completed => "COMPLETED",
        PhotoStatus::Failed => "FAILED",
    }
}

/// RFC 3339, in UTC.
fn date_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default()
}
