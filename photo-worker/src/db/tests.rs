//! The rows: what one step changes, and what the publisher and the edge read of it.

use std::{sync::Arc, time::Duration};

use publisher::{
    ProgressSource as _,
    token::{Batches, Grant},
};
use stack::PostgresServer;
use tempfile::TempDir;
use wire::{BatchId, BatchState, BatchStatus, PhotoId, PhotoStatus, Position};

use super::{open::THESE_IN_SQLITE, *};
use crate::{
    access::{Caller, Visible},
    names,
};

/// What a database lives in, as long as a test needs it.
enum Keep {
    File { _dir: TempDir },
    Server { _server: Arc<PostgresServer> },
}

async fn database(kind: Kind) -> (Db, Keep) {
    match kind {
        Kind::Sqlite => {
            let dir = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", dir.path().join("a.db").display());
            (Db::open(&url).await.unwrap(), Keep::File { _dir: dir })
        }
        Kind::Postgres => {
            let server = PostgresServer::shared().await.unwrap();
            let db = Db::open(&server.database().unwrap()).await.unwrap();
            (db, Keep::Server { _server: server })
        }
    }
}

/// Runs each of these on both databases.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Kind::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Kind::Postgres).await;
            })+
        }
    };
}

mod peers;
mod work;

on_both!(
    each_change_raises_the_version_by_one_and_carries_only_its_photos,
    the_last_photo_ends_the_batch,
    work_on_a_cancelled_batch_changes_nothing,
    a_retry_runs_again_what_is_not_done_and_asks_for_missing_files_again,
    overdue_photos_of_a_batch_fail_in_one_change,
    unsettled_are_the_open_batches_and_those_that_changed_lately,
    every_read_is_one_consistent_snapshot,
    a_list_has_the_newest_of_exactly_those_that_may_be_seen,
    pages_of_any_size_have_each_batch_once_in_the_order_of_the_whole,
    a_list_tells_some_thumbnails_of_what_was_done_lately,
);

/// A batch of photos whose files are here, made at 1,000 ms.
async fn batch(db: &Db, photos: usize, received: bool) -> (BatchId, Vec<PhotoId>) {
    let mut ids = names::PhotoIds::new();
    let new = |n| NewPhoto { id: ids.give().unwrap(), name: format!("{n}.jpg"), received };
    let photos: Vec<NewPhoto> = (0..photos).map(new).collect();
    let batch = db.create("p", Some("user-1"), &photos, 1_000, 61_000).await.unwrap();
    (batch, photos.into_iter().map(|photo| photo.id).collect())
}

fn worker() -> Worker {
    Worker::new(30_000)
}

async fn begin(db: &Db, photo: &PhotoId, now: i64) -> Option<Claim> {
    begin_as(db, photo, &worker(), now).await
}

async fn begin_as(db: &Db, photo: &PhotoId, worker: &Worker, now: i64) -> Option<Claim> {
    db.begin(photo, worker, now).await.unwrap().map(|taken| match taken {
        Taken::Begun(begun) => begun.claim,
        Taken::GivenUp(_) => panic!("{photo} was given up"),
    })
}

async fn done(db: &Db, photo: &PhotoId, outcome: Result<&str, &str>, now: i64) -> Stepped {
    let claim = begin(db, photo, now).await.unwrap();
    db.finish(&claim, outcome, now).await.unwrap().unwrap()
}

async fn state(db: &Db, batch: &BatchId) -> BatchState {
    let (state, owner) = db.state(batch).await.unwrap().unwrap();
    assert_eq!(owner.as_deref(), Some("user-1"));
    state
}

fn at(version: u64) -> Position {
    Position::new(1_000, version).unwrap()
}

async fn each_change_raises_the_version_by_one_and_carries_only_its_photos(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    let claim = begin(&db, &photos[0], 2_000).await.unwrap();
    let stepped = db.finish(&claim, Ok(r#"{"width":1}"#), 3_000).await.unwrap().unwrap();
    assert_eq!(stepped, Stepped { batch: id.clone(), ended: false });

    let whole = db.changes(&id, None).await.unwrap().unwrap();
    assert_eq!((whole.since, whole.head.position, whole.photos.len()), (None, at(3), 2));
    assert_eq!((whole.head.updated_at.as_str(), whole.owner.as_deref()), ("1970-01-01T00:00:03Z", Some("user-1")));
    let news = db.changes(&id, Some(at(1))).await.unwrap().unwrap();
    assert_eq!((news.since, news.photos.len(), news.photos[0].version), (Some(at(1)), 1, 3));
    let nothing = db.changes(&id, Some(at(3))).await.unwrap().unwrap();
    assert!(nothing.photos.is_empty());
    let other_epoch = db.changes(&id, Position::new(999, 9).ok()).await.unwrap().unwrap();
    assert_eq!((other_epoch.since, other_epoch.photos.len()), (None, 2));
}

async fn the_last_photo_ends_the_batch(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    for (photo, outcome) in photos.iter().zip([Ok("{}"), Err("blurred")]) {
        done(&db, photo, outcome, 2_000).await;
    }
    let state = state(&db, &id).await;
    assert_eq!(state.head().status, BatchStatus::Partial);
    assert!(begin(&db, &photos[0], 3_000).await.is_none(), "what is done is not begun again");
}

async fn work_on_a_cancelled_batch_changes_nothing(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    let claim = begin(&db, &photos[0], 2_000).await.unwrap();
    assert!(matches!(db.cancel(&id, 3_000).await.unwrap(), Cancellation::Done(_)));
    let cancelled = state(&db, &id).await;
    assert!(db.finish(&claim, Ok("{}"), 4_000).await.unwrap().is_none());
    assert!(begin(&db, &photos[1], 4_000).await.is_none());
    assert_eq!(state(&db, &id).await, cancelled);
}

async fn a_retry_runs_again_what_is_not_done_and_asks_for_missing_files_again(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    let claim = begin(&db, &photos[0], 2_000).await.unwrap();
    db.cancel(&id, 3_000).await.unwrap();
    let Retried::Reopened { photos: again, received, .. } = db.retry(&id, 4_000, 9_000).await.unwrap() else {
        panic!("not re-opened")
    };
    assert_eq!((again.len(), received.len()), (2, 2));
    let state = state(&db, &id).await;
    assert_eq!((state.position().epoch(), state.head().status), (4_000, BatchStatus::Queued));
    begin(&db, &photos[0], 5_000).await.unwrap();
    assert!(db.finish(&claim, Ok("{}"), 5_000).await.unwrap().is_none(), "work of the old epoch is dropped");
}

async fn overdue_photos_of_a_batch_fail_in_one_change(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 3, false).await;
    assert_eq!(db.receive(&id, &photos[0], 2_000).await.unwrap(), Received::Accepted);
    assert_eq!(db.next_expiry().await.unwrap(), Some(61_000));
    assert_eq!(db.expire(60_999).await.unwrap(), (vec![], 0));
    let (stepped, failed) = db.expire(61_000).await.unwrap();
    assert_eq!((stepped, failed), (vec![Stepped { batch: id.clone(), ended: false }], 2));
    assert_eq!(db.next_expiry().await.unwrap(), None);
    assert_eq!(state(&db, &id).await.position(), at(2));
    assert_eq!(db.receive(&id, &photos[1], 62_000).await.unwrap(), Received::TooLate);
    assert_eq!(db.receive(&id, &photos[0], 62_000).await.unwrap(), Received::AlreadyHere);
}

async fn unsettled_are_the_open_batches_and_those_that_changed_lately(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (open, _) = batch(&db, 1, true).await;
    let (ended, photos) = batch(&db, 1, true).await;
    done(&db, &photos[0], Ok("{}"), 5_000).await;
    let since = |ms| std::time::UNIX_EPOCH + Duration::from_millis(ms);
    let mut both = db.unsettled(since(4_000)).await.unwrap();
    both.sort_unstable();
    let mut expected = vec![open.clone(), ended];
    expected.sort_unstable();
    assert_eq!(both, expected);
    assert_eq!(db.unsettled(since(6_000)).await.unwrap(), [open]);
}

/// Readers and a writer at the same time: no version is ever seen without its photo.
async fn every_read_is_one_consistent_snapshot(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 40, true).await;
    let (reader, of) = (db.clone(), id.clone());
    let reading = tokio::spawn(async move {
        loop {
            let changes = reader.changes(&of, None).await.unwrap().unwrap();
            let newest = changes.photos.iter().map(|photo| photo.version).max();
            assert_eq!(newest, Some(changes.head.position.version()));
            assert_eq!(changes.check(), Ok(()));
            if changes.head.status.is_terminal() {
                return;
            }
        }
    });
    for photo in &photos {
        done(&db, photo, Ok("{}"), 2_000).await;
    }
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("the reader sees the end").unwrap();
}

/// Batches of anna, of bert and of nobody, two of each in the projects `p` and `q`.
async fn batches_of_several(db: &Db) -> Vec<(BatchId, Option<&'static str>)> {
    let mut batches = Vec::new();
    for project in ["p", "p", "q", "q"] {
        for owner in [Some("anna"), Some("bert"), None] {
            // Two at a time are made in the same millisecond.
            let now = 1_000 + i64::try_from(batches.len() / 2).unwrap();
            batches.push((db.create(project, owner, &[], now, 61_000).await.unwrap(), owner));
        }
    }
    batches
}

async fn a_list_has_the_newest_of_exactly_those_that_may_be_seen(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let batches = batches_of_several(&db).await;
    let named = |ns: &[usize]| Batches::These(ns.iter().map(|n| batches[*n].0.clone()).collect());
    let mut callers = vec![Caller::Developer(None)];
    for subject in [None, Some("anna"), Some("bert"), Some("carl"), Some("")] {
        let subject = subject.map(str::to_owned);
        callers.extend(subject.clone().map(|user| Caller::Developer(Some(user))));
        for batches in [Batches::All, Batches::none(), named(&[0]), named(&[1, 2, 3]), named(&[0, 1, 2, 6, 7, 8])] {
            callers.push(Caller::Bearer(Grant::new(subject.clone(), batches)));
        }
    }
    for (caller, project) in callers.iter().flat_map(|caller| ["p", "q", "r"].map(|project| (caller, project))) {
        let ids = async |visible, limit| -> Vec<BatchId> {
            let listed = db.batches_of(project, visible, None, limit).await.unwrap();
            listed.into_iter().map(|summary| summary.head.batch_id).collect()
        };
        let mut expected = ids(Visible::All, 100).await;
        assert_eq!(expected.len(), if project == "r" { 0 } else { 6 });
        let owner = |id: &BatchId| batches.iter().find(|(batch, _)| batch == id).and_then(|(_, owner)| *owner);
        expected.retain(|id| caller.may_see(id, owner(id)));
        assert_eq!(ids(caller.visible(), 100).await, expected, "{caller:?} in {project}");
        expected.truncate(3);
        assert_eq!(ids(caller.visible(), 3).await, expected, "{caller:?} in {project}");
    }
    let mut ticket = Grant::user("anna");
    ticket.only = Some(batches[0].0.clone());
    assert!(db.batches_of("p", Caller::Bearer(ticket).visible(), None, 100).await.unwrap().is_empty());
}

async fn pages_of_any_size_have_each_batch_once_in_the_order_of_the_whole(kind: Kind) {
    let (db, _keep) = database(kind).await;
    batches_of_several(&db).await;
    for caller in [Caller::Developer(None), Caller::Developer(Some("anna".to_owned()))] {
        let whole = db.batches_of("p", caller.visible(), None, 100).await.unwrap();
        for limit in 1..=7 {
            let (mut pages, mut place) = (Vec::new(), None);
            loop {
                let page = db.batches_of("p", caller.visible(), place.as_ref(), limit).await.unwrap();
                let Some(last) = page.last() else { break };
                place = Some(Place::behind(last));
                pages.extend(page);
            }
            let ids = |list: &[Summary]| list.iter().map(|one| one.head.batch_id.clone()).collect::<Vec<_>>();
            assert_eq!(ids(&pages), ids(&whole), "{limit} a page");
        }
    }
}

async fn a_list_tells_some_thumbnails_of_what_was_done_lately(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (_, none) = batch(&db, 2, true).await;
    let (some, photos) = batch(&db, 40, true).await;
    for (n, photo) in photos.iter().take(36).enumerate() {
        done(&db, photo, if n < 3 { Err("blurred") } else { Ok("{}") }, 2_000).await;
    }
    let listed = db.batches_of("p", Visible::All, None, 100).await.unwrap();
    let thumbnails = |id: &BatchId| &listed.iter().find(|one| one.head.batch_id == *id).unwrap().thumbnails;
    // 64 versions back are the last 32 that were begun and done.
    let expected: Vec<String> = photos[4..8].iter().map(names::thumbnail_url).collect();
    assert_eq!(*thumbnails(&some), expected);
    let without = db.owner_of_photo(&none[0]).await.unwrap().unwrap().batch;
    assert!(thumbnails(&without).is_empty());
}

#[tokio::test]
async fn whoever_sees_little_walks_little() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {THESE_IN_SQLITE}")))
            .fetch_all(&db.reads)
            .await
            .unwrap();
    let steps: Vec<&str> = plan.iter().map(|(.., step)| &**step).filter(|step| step.contains(" batches ")).collect();
    let by = |start: &str| steps.iter().filter(|step| step.starts_with(start)).count();
    let owners = by("SEARCH batches USING INDEX batches_of_owner (project_id=? AND owner=? AND created_at<?)");
    let named = by("SEARCH batches USING INDEX sqlite_autoindex_batches_1 (id=?)");
    assert_eq!((owners, named, steps.len()), (2, 1, 3), "{plan:?}");
}
