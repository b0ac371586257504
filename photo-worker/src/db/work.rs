//! Work on photos: who has one, and until when nobody else may take it. The rows are the queue that processes share.
//!
//! A photo's version at which it was claimed is that claim's proof. A take-over, a retry, an end: each raises it, so
//! whoever comes late with an older one changes nothing, whatever the clocks say.
//!
//! A photo that is found without its process, which did not give it back, has cost that process, or was beside one that
//! did. Nobody can tell which, so each is tried again, one at a time in a process, and given up when it has happened too
//! often. So one that harms nobody shares the fate of one that does once at most.

use std::time::{Duration, Instant};

use sqlx::{Any, Transaction};
use wire::{BatchId, Head, PhotoId, PhotoStatus, TraceParent};

use super::{
    Db, DbError, Kind, Stepped,
    photos::{Which, move_all},
    rows::{BatchRow, read_word},
    step::{Move, step},
};
use crate::names;

/// Photos that are to be done, of open batches: each part by an index of its own.
macro_rules! to_do {
    ($select:literal, $condition:literal) => {
        concat!(
            $select,
            " FROM batches CROSS JOIN photos
             WHERE batches.status IN ('QUEUED', 'PROCESSING') AND photos.batch_id = batches.id
             AND photos.status IN ('QUEUED', 'PROCESSING') AND photos.received_at IS NOT NULL AND ",
            $condition
        )
    };
}

pub(super) const CLAIMABLE: &str = to_do!(
    "SELECT photos.id, photos.losses + CASE WHEN photos.status = 'PROCESSING' AND photos.leased_until > 0
     THEN 1 ELSE 0 END",
    "(photos.status = 'QUEUED' OR photos.leased_until <= $1) ORDER BY photos.received_at, photos.id LIMIT $2"
);
const HELD: &str = to_do!("SELECT photos.id", "photos.status = 'PROCESSING' AND photos.leased_by = $1");

/// How many processes may be lost at work on a photo.
const MOST_LOSSES: i64 = 3;
/// What is said of a photo that cost them.
pub(super) const GIVEN_UP: &str = "given up after 3 interrupted attempts";

/// A process that works on photos.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    /// Its name in rows and logs, a new one at each start.
    pub id: String,
    /// How long a photo is its own without a word, in milliseconds.
    pub lease_ms: i64,
}

impl Worker {
    pub(crate) fn new(lease_ms: i64) -> Self {
        Self { id: format!("w_{}", names::random()), lease_ms }
    }

    /// The third part of a lease: two signs of life may be lost before it is over.
    pub(crate) fn third(&self) -> Duration {
        Duration::from_millis(self.lease_ms.unsigned_abs() / 3)
    }
}

/// A photo that waits for someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub photo: PhotoId,
    /// Whoever worked on it before is lost.
    pub suspect: bool,
}

impl From<PhotoId> for Waiting {
    /// One that nobody has worked on.
    fn from(photo: PhotoId) -> Self {
        Self { photo, suspect: false }
    }
}

/// The right to finish a photo.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub photo: PhotoId,
    version: i64,
    /// Since when its lease runs: since before the photo was waited for.
    pub since: Instant,
}

/// What came of a wish to work on a photo that waits.
#[derive(Debug)]
pub(crate) enum Taken {
    Begun(Begun),
    /// Nobody works on it any more: it has failed.
    GivenUp(Stepped),
}

/// Work on a photo has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub stepped: Stepped,
    pub claim: Claim,
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
    version: i64,
    leased_until: i64,
    losses: i64,
    traceparent: Option<String>,
}

impl Db {
    /// The photos that wait for someone, or whose worker is gone, oldest first.
    pub(crate) async fn claimable(&self, limit: u32, now: i64) -> Result<Vec<Waiting>, DbError> {
        let query = sqlx::query_as(CLAIMABLE).bind(now).bind(i64::from(limit));
        let rows: Vec<(String, i64)> = query.fetch_all(&self.reads).await?;
        rows.iter().map(|(id, losses)| Ok(Waiting { photo: PhotoId::new(id)?, suspect: *losses > 0 })).collect()
    }

    /// Work on the photo begins, or is given up; `None`: there is nothing to do (done already, another's, or its batch
    /// was cancelled).
    pub(crate) async fn begin(&self, photo: &PhotoId, worker: &Worker, now: i64) -> Result<Option<Taken>, DbError> {
        let since = Instant::now();
        let mut tx = self.write().await?;
        let is_free = |photo: &Standing, status| match status {
            PhotoStatus::Queued => true,
            PhotoStatus::Processing => photo.leased_until <= now,
            PhotoStatus::Completed | PhotoStatus::Failed => false,
        };
        let Some((standing, from, head)) = standing(&mut tx, photo, is_free).await? else { return Ok(None) };
        // What was given back has no lease.
        let lost = from == PhotoStatus::Processing && standing.leased_until > 0;
        let losses = standing.losses + i64::from(lost);
        if losses >= MOST_LOSSES {
            let given_up = Move { photo, from, to: PhotoStatus::Failed, result: None, error: Some(GIVEN_UP) };
            let stepped = step(&mut tx, head, &[given_up], now).await?;
            tx.commit().await?;
            return Ok(Some(Taken::GivenUp(stepped)));
        }
        let moves = [Move { photo, from, to: PhotoStatus::Processing, result: None, error: None }];
        let stepped = step(&mut tx, head, &moves, now).await?;
        let lease = sqlx::query_scalar(
            "UPDATE photos SET leased_by = $1, leased_until = $2, losses = $3 WHERE id = $4 RETURNING version",
        );
        let lease = lease.bind(&worker.id).bind(now.saturating_add(worker.lease_ms)).bind(losses).bind(photo.as_str());
        let version: i64 = lease.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        let trace = standing.traceparent.and_then(|text| text.parse().ok());
        let claim = Claim { photo: photo.clone(), version, since };
        Ok(Some(Taken::Begun(Begun { stepped, claim, name: standing.name, trace })))
    }

    /// Keeps the photo for another lease. False: it is not the claim's any more.
    pub(crate) async fn renew(&self, claim: &Claim, worker: &Worker, now: i64) -> Result<bool, DbError> {
        let query =
            sqlx::query("UPDATE photos SET leased_until = $1 WHERE id = $2 AND version = $3 AND status = 'PROCESSING'");
        let query = query.bind(now.saturating_add(worker.lease_ms)).bind(claim.photo.as_str()).bind(claim.version);
        Ok(query.execute(&self.writes).await?.rows_affected() > 0)
    }

    /// Work on the photo has ended: with its result as JSON, or with the reason it failed. `None`: nobody waits for it
    /// any more, or it is another's by now.
    pub(crate) async fn finish(
        &self,
        claim: &Claim,
        outcome: Result<&str, &str>,
        now: i64,
    ) -> Result<Option<Stepped>, DbError> {
        let mut tx = self.write().await?;
        let is_ours = |photo: &Standing, status| status == PhotoStatus::Processing && photo.version == claim.version;
        let Some((_, from, head)) = standing(&mut tx, &claim.photo, is_ours).await? else { return Ok(None) };
        let to = if outcome.is_ok() { PhotoStatus::Completed } else { PhotoStatus::Failed };
        let (result, error) = (outcome.ok(), outcome.err());
        let stepped = step(&mut tx, head, &[Move { photo: &claim.photo, from, to, result, error }], now).await?;
        tx.commit().await?;
        Ok(Some(stepped))
    }

    /// What this worker has not finished is anyone's from now on. One row at a time: whoever locks several without
    /// their batch may wait for someone who waits for them.
    pub(crate) async fn release(&self, worker: &Worker) -> Result<(), DbError> {
        let held: Vec<(String,)> = sqlx::query_as(HELD).bind(&worker.id).fetch_all(&self.reads).await?;
        for (photo,) in held {
            let query = sqlx::query(
                "UPDATE photos SET leased_until = 0 WHERE id = $1 AND leased_by = $2 AND status = 'PROCESSING'",
            );
            query.bind(photo).bind(&worker.id).execute(&self.writes).await?;
        }
        Ok(())
    }

    /// After a restart. SQLite has one process, so photos in work are those of a dead one: they are queued again, and
    /// nobody waits for a lease. In Postgres they may be another's.
    pub(crate) async fn recover(&self, now: i64) -> Result<(), DbError> {
        if self.kind == Kind::Sqlite {
            let mut tx = self.write().await?;
            sqlx::query("UPDATE photos SET losses = losses + 1 WHERE status = 'PROCESSING' AND leased_until > 0")
                .execute(&mut *tx)
                .await?;
            let all = Which { condition: "$2 >= 0", now };
            move_all(&mut tx, &all, PhotoStatus::Processing, PhotoStatus::Queued, None).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// The photo, its status and its batch's head, where the batch is open and the photo `fits`.
async fn standing(
    tx: &mut Transaction<'_, Any>,
    photo: &PhotoId,
    fits: impl Fn(&Standing, PhotoStatus) -> bool,
) -> Result<Option<(Standing, PhotoStatus, Head)>, DbError> {
    // Most that others have taken are seen here, without a wait for the batch's lock.
    let Some((before, _)) = read(tx, photo, &fits).await? else { return Ok(None) };
    let Some(row) = BatchRow::lock(tx, &BatchId::new(&before.batch_id)?).await? else { return Ok(None) };
    // Only now: before the batch was locked, someone else may have moved the photo.
    let Some((standing, status)) = read(tx, photo, &fits).await? else { return Ok(None) };
    let head = row.head()?;
    Ok((!head.status.is_terminal()).then_some((standing, status, head)))
}

async fn read(
    tx: &mut Transaction<'_, Any>,
    photo: &PhotoId,
    fits: impl Fn(&Standing, PhotoStatus) -> bool,
) -> Result<Option<(Standing, PhotoStatus)>, DbError> {
    let query = sqlx::query_as(
        "SELECT batch_id, name, status, version, leased_until, losses, traceparent FROM photos WHERE id = $1",
    );
    let Some(standing): Option<Standing> = query.bind(photo.as_str()).fetch_optional(&mut **tx).await? else {
        return Ok(None);
    };
    let status = read_word(&standing.status)?;
    Ok(fits(&standing, status).then_some((standing, status)))
}
