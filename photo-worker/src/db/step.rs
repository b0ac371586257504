//! One change of a batch: photos move, counts and status follow, the version rises.

use sqlx::AnyConnection;
use wire::{BatchId, BatchStatus, Head, PhotoId, PhotoStatus, Position};

use super::{
    DbError,
    rows::{photo_word, write_head},
};
use crate::progress;

/// A batch that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stepped {
    pub batch: BatchId,
    /// It has ended with this change.
    pub ended: bool,
}

/// A photo on its way from one status to the next.
pub(super) struct Move<'a> {
    pub photo: &'a PhotoId,
    pub from: PhotoStatus,
    pub to: PhotoStatus,
    pub result: Option<&'a str>,
    pub error: Option<&'a str>,
}

/// Moves photos of an open batch within the caller's transaction.
pub(super) async fn step(
    connection: &mut AnyConnection,
    mut head: Head,
    moves: &[Move<'_>],
    now: i64,
) -> Result<Stepped, DbError> {
    let position = head.position;
    head.position = Position::new(position.epoch(), position.version() + 1)?;
    for step in moves {
        head.counts = progress::moved(head.counts, step.from, step.to);
        write_photo(connection, step, head.position).await?;
    }
    // A batch that has begun does not go back to QUEUED when its one photo in work is queued again.
    let status = progress::status_of(head.counts);
    let begun = head.status == BatchStatus::Processing && status == BatchStatus::Queued;
    head.status = if begun { BatchStatus::Processing } else { status };
    write_head(connection, &head, now).await?;
    Ok(Stepped { ended: head.status.is_terminal(), batch: head.batch_id })
}

async fn write_photo(connection: &mut AnyConnection, step: &Move<'_>, at: Position) -> Result<(), DbError> {
    sqlx::query("UPDATE photos SET status = $1, version = $2, result = $3, error = $4 WHERE id = $5")
        .bind(photo_word(step.to))
        .bind(at.version().cast_signed())
        .bind(step.result)
        .bind(step.error)
        .bind(step.photo.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
