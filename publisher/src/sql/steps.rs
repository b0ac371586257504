//! Batches of the default schema, made and moved on: photo, counts, status and version in one transaction.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::{
    BatchId, BatchStatus, Counts, Head, Photo, PhotoId, PhotoStatus, Position,
    limits::{MAX_INTEGER, MAX_OWNER_BYTES, MAX_PHOTOS},
};

use super::{
    SqlSource,
    database::{Bind, Session},
    error::SqlError,
    parse::Columns,
    queries::{Queries, Query},
    words,
};

const NEW_BATCH: &str = "INSERT INTO batches
 (id, owner, epoch, version, status, total, queued, processing, completed, failed, updated_at)
 VALUES ($1, $2, $3, 1, 'QUEUED', $4, $4, 0, 0, 0, $3) ON CONFLICT (id) DO NOTHING RETURNING id";
const NEW_PHOTO: &str = "INSERT INTO photos (batch_id, id, status, version) VALUES ($1, $2, 'QUEUED', 1)";
const PHOTO: &str = "SELECT status FROM photos WHERE batch_id = $1 AND id = $2";
const MOVE_PHOTO: &str =
    "UPDATE photos SET status = $3, version = $4, result = $5, error = $6 WHERE batch_id = $1 AND id = $2";
const MOVE_BATCH: &str = "UPDATE batches SET version = $2, status = $3, queued = $4, processing = $5, completed = $6,
 failed = $7, updated_at = $8 WHERE id = $1";

impl SqlSource {
    /// Makes a batch of these photos in the **default schema**, all of them queued; its position has version 1.
    ///
    /// ```
    #[doc = include_str!("../examples/sqlite.txt")]
    /// let position = source.create(&batch, Some("anna"), &photos).await?; // When the upload has ended.
    /// assert_eq!(position.version(), 1);
    /// assert!(matches!(source.create(&batch, None, &photos).await, Err(SqlError::Refused(_))));
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::Refused`]: there is such a batch, or it would have no photos or too many, or too long an owner. Else the
    /// database's.
    pub async fn create(&self, batch: &BatchId, owner: Option<&str>, photos: &[PhotoId]) -> Result<Position, SqlError> {
        if photos.is_empty() {
            return Err(SqlError::Refused("a batch has at least one photo: without any it would never end".into()));
        }
        if let Some(owner) = owner.filter(|owner| owner.len() > MAX_OWNER_BYTES) {
            let words = format!("an owner has at most {MAX_OWNER_BYTES} bytes, and not {}", owner.len());
            return Err(SqlError::Refused(words));
        }
        if photos.len() > MAX_PHOTOS {
            return Err(SqlError::Refused(format!(
                "a batch has at most {MAX_PHOTOS} photos, and not {}",
                photos.len()
            )));
        }
        let (now, total) = (now_ms(), i64::try_from(photos.len()).unwrap_or(i64::MAX));
        let id = Bind::Text(batch.as_str());
        let mut session = self.database.write().await?;
        let binds = [id, owner.map_or(Bind::Null, Bind::Text), Bind::Integer(now), Bind::Integer(total)];
        if session.rows(&Query::of("create", NEW_BATCH), &binds).await?.is_empty() {
            return Err(SqlError::Refused(format!("there is a batch {batch} already")));
        }
        let new_photo = Query::of("create", NEW_PHOTO);
        for photo in photos {
            session.rows(&new_photo, &[id, Bind::Text(photo.as_str())]).await?;
        }
        session.commit().await?;
        Position::new(now.unsigned_abs(), 1).map_err(|error| SqlError::Refused(error.to_string()))
    }

    /// Moves a photo of an open batch in the **default schema** to its new status, with its result or error, and the
    /// batch with it. The version that `photo` says does not count. After that, [`crate::Publisher::notify`], whatever
    /// it says: an error may be the lost answer to a commit, and a repetition then changes nothing.
    ///
    /// `None`: nothing was changed. There is no such photo, it stands there already, it or its batch has ended. So of two
    /// who end the same photo only the first counts.
    ///
    /// ```
    #[doc = include_str!("../examples/sqlite.txt")]
    /// source.create(&batch, None, &photos).await?;
    /// let done = Photo::new(photos[0].clone(), PhotoStatus::Completed, 0).with_result(Json::new(&4032)?);
    /// let head = source.step(&batch, &done).await?;
    /// assert_eq!(head.map(|head| head.counts.completed), Some(1));
    /// assert_eq!(source.step(&batch, &done).await?, None); // A repetition counts nothing.
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SqlError::Refused`]: as JSON the photo would be larger than may be published. Else the database's.
    pub async fn step(&self, batch: &BatchId, photo: &Photo) -> Result<Option<Head>, SqlError> {
        // With the longest version: what is committed has to be published.
        let mut largest = photo.clone();
        largest.version = MAX_INTEGER;
        largest.to_json().map_err(|error| SqlError::Refused(error.to_string()))?;
        let mut session = self.database.write().await?;
        let Some(head) = locked(&mut session, batch).await? else { return Ok(None) };
        let query = Query::of("step", PHOTO);
        let rows = session.rows(&query, &[Bind::Text(batch.as_str()), Bind::Text(photo.photo_id.as_str())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let from = Columns { query: &query, row }.photo_status()?;
        let Some(head) = moved(&head, from, photo.status, now_ms()) else { return Ok(None) };
        write_photo(&mut session, &head, photo).await?;
        write_head(&mut session, &head, now_ms()).await?;
        session.commit().await?;
        Ok(Some(head))
    }
}

/// The batch's head. Until the commit nobody else changes it: in Postgres by the row's lock, in SQLite by the file's.
async fn locked(session: &mut Session, batch: &BatchId) -> Result<Option<Head>, SqlError> {
    let mut query = Queries::default().head;
    if session.is_postgres() {
        query.sql = format!("{} FOR UPDATE", query.sql).into();
    }
    let rows = session.rows(&query, &[Bind::Text(batch.as_str())]).await?;
    let head = rows.first().map(|row| Columns { query: &query, row }.head(batch)).transpose()?;
    Ok(head.map(|(head, _)| head))
}

async fn write_photo(session: &mut Session, head: &Head, photo: &Photo) -> Result<(), SqlError> {
    let binds = [
        Bind::Text(head.batch_id.as_str()),
        Bind::Text(photo.photo_id.as_str()),
        Bind::Text(words::write(&words::PHOTO, photo.status)),
        Bind::Integer(head.position.version().cast_signed()),
        photo.result.as_ref().map_or(Bind::Null, |json| Bind::Text(json.as_str())),
        photo.error.as_deref().map_or(Bind::Null, Bind::Text),
    ];
    session.rows(&Query::of("step", MOVE_PHOTO), &binds).await.map(drop)
}

async fn write_head(session: &mut Session, head: &Head, now: i64) -> Result<(), SqlError> {
    let Counts { queued, processing, completed, failed, .. } = head.counts;
    let counts = [queued, processing, completed, failed].map(|count| Bind::Integer(count.into()));
    let mut binds = vec![
        Bind::Text(head.batch_id.as_str()),
        Bind::Integer(head.position.version().cast_signed()),
        Bind::Text(words::write(&words::BATCH, head.status)),
    ];
    binds.extend(counts);
    binds.push(Bind::Integer(now));
    session.rows(&Query::of("step", MOVE_BATCH), &binds).await.map(drop)
}

/// The head after one photo moved; `None`: it may not, or need not.
fn moved(head: &Head, from: PhotoStatus, to: PhotoStatus, now: i64) -> Option<Head> {
    let ended = |status| matches!(status, PhotoStatus::Completed | PhotoStatus::Failed);
    if head.status.is_terminal() || ended(from) || from == to {
        return None;
    }
    let mut counts = head.counts;
    let left = place(&mut counts, from);
    *left = left.checked_sub(1)?;
    *place(&mut counts, to) += 1;
    let position = Position::new(head.position.epoch(), head.position.version() + 1).ok()?;
    let time = jiff::Timestamp::from_millisecond(now).map(|time| time.to_string()).unwrap_or_default();
    Some(Head::new(head.batch_id.clone(), position, status_of(counts, head.status), counts, time))
}

fn place(counts: &mut Counts, status: PhotoStatus) -> &mut u32 {
    match status {
        PhotoStatus::Queued => &mut counts.queued,
        PhotoStatus::Processing => &mut counts.processing,
        PhotoStatus::Completed => &mut counts.completed,
        PhotoStatus::Failed => &mut counts.failed,
    }
}

/// What follows from the counts. A batch that has begun stays begun, also when its one photo in work is queued again.
fn status_of(counts: Counts, before: BatchStatus) -> BatchStatus {
    let Counts { total, queued, processing, completed, failed } = counts;
    if queued == total {
        before
    } else if queued + processing > 0 {
        BatchStatus::Processing
    } else if failed == 0 {
        BatchStatus::Completed
    } else if completed == 0 {
        BatchStatus::Failed
    } else {
        BatchStatus::Partial
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status() -> impl Strategy<Value = PhotoStatus> {
        prop::sample::select(words::PHOTO.map(|(_, status)| status).to_vec())
    }

    proptest! {
        /// Whatever photos are moved where, by whomever.
        #[test]
        fn each_step_is_a_head_that_holds_and_the_last_photo_ends_the_batch(
            steps in prop::collection::vec((0_usize..4, status()), 0..40),
        ) {
            let id = BatchId::new("b").unwrap();
            let counts = Counts { total: 4, queued: 4, ..Counts::default() };
            let mut head = Head::new(id, Position::new(1, 1).unwrap(), BatchStatus::Queued, counts, "");
            let mut photos = [PhotoStatus::Queued; 4];
            for (n, to) in steps {
                let Some(next) = moved(&head, photos[n], to, 0) else { continue };
                prop_assert!(next.position > head.position && next.progress() >= head.progress());
                (head, photos[n]) = (next, to);
                prop_assert_eq!(head.check(), Ok(()));
                let ended = photos.iter().all(|s| matches!(s, PhotoStatus::Completed | PhotoStatus::Failed));
                prop_assert_eq!(head.status.is_terminal(), ended);
            }
        }
    }

    #[test]
    fn what_has_ended_is_not_moved_again() {
        let counts = Counts { total: 2, processing: 1, completed: 1, ..Counts::default() };
        let id = BatchId::new("b").unwrap();
        let mut head = Head::new(id, Position::new(1, 3).unwrap(), BatchStatus::Processing, counts, "");
        assert!(moved(&head, PhotoStatus::Completed, PhotoStatus::Failed, 0).is_none());
        assert!(moved(&head, PhotoStatus::Processing, PhotoStatus::Processing, 0).is_none());
        head.status = BatchStatus::Cancelled;
        assert!(moved(&head, PhotoStatus::Processing, PhotoStatus::Completed, 0).is_none());
    }
}
