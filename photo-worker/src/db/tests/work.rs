//! Several workers at one database: each photo is somebody's, and counted once.

use super::*;
use crate::db::work::{CLAIMABLE, GIVEN_UP};

on_both!(
    of_many_who_want_a_photo_one_gets_it,
    a_photo_is_found_until_someone_has_it_and_again_when_its_lease_is_over,
    who_renews_keeps_it,
    whoever_finishes_after_a_take_over_changes_nothing,
    what_is_released_is_anyones_at_once_and_what_others_have_is_not,
    a_photo_that_costs_three_processes_is_given_up_until_somebody_tries_it_again,
    what_is_given_back_is_no_loss,
    overdue_photos_fail_once_however_many_look,
);

async fn claimable(db: &Db, limit: u32, now: i64) -> Vec<PhotoId> {
    db.claimable(limit, now).await.unwrap().into_iter().map(|waiting| waiting.photo).collect()
}

async fn of_many_who_want_a_photo_one_gets_it(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 5, true).await;
    let wanting: Vec<_> = (0..8)
        .map(|_| {
            let (db, photos) = (db.clone(), photos.clone());
            tokio::spawn(async move {
                let mut got = 0;
                for photo in &photos {
                    got += usize::from(begin(&db, photo, 2_000).await.is_some());
                }
                got
            })
        })
        .collect();
    let mut got = 0;
    for wanting in wanting {
        got += wanting.await.unwrap();
    }
    let state = state(&db, &id).await;
    assert_eq!((got, state.head().counts.processing, state.position()), (5, 5, at(6)));
}

async fn a_photo_is_found_until_someone_has_it_and_again_when_its_lease_is_over(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (cancelled, _) = batch(&db, 1, true).await;
    db.cancel(&cancelled, 1_500).await.unwrap();
    batch(&db, 1, false).await;
    let (_, photos) = batch(&db, 3, true).await;
    assert_eq!(claimable(&db, 9, 2_000).await, photos);
    assert_eq!(claimable(&db, 2, 2_000).await, photos[..2]);
    done(&db, &photos[0], Ok("{}"), 2_000).await;
    begin(&db, &photos[1], 2_000).await.unwrap();
    assert_eq!(claimable(&db, 9, 31_999).await, photos[2..]);
    assert!(begin(&db, &photos[1], 31_999).await.is_none());
    assert_eq!(claimable(&db, 9, 32_000).await, photos[1..]);
    assert!(begin(&db, &photos[1], 32_000).await.is_some());
    assert_eq!(claimable(&db, 9, 32_000).await, photos[2..]);
}

async fn who_renews_keeps_it(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (_, photos) = batch(&db, 1, true).await;
    let ours = worker();
    let claim = begin_as(&db, &photos[0], &ours, 2_000).await.unwrap();
    assert!(db.renew(&claim, &ours, 20_000).await.unwrap());
    assert!(begin(&db, &photos[0], 49_999).await.is_none());
    assert!(begin(&db, &photos[0], 50_000).await.is_some());
    assert!(!db.renew(&claim, &ours, 50_000).await.unwrap(), "it is another's");
}

async fn whoever_finishes_after_a_take_over_changes_nothing(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    let late = begin(&db, &photos[0], 2_000).await.unwrap();
    let ours = begin(&db, &photos[0], 40_000).await.unwrap();
    let taken = state(&db, &id).await;
    assert_eq!((taken.head().counts.queued, taken.head().counts.processing), (1, 1));
    assert!(db.finish(&late, Err("late"), 41_000).await.unwrap().is_none());
    assert_eq!(state(&db, &id).await, taken);
    db.finish(&ours, Ok("{}"), 42_000).await.unwrap().unwrap();
    let finished = state(&db, &id).await;
    for claim in [&late, &ours] {
        assert!(db.finish(claim, Ok("{}"), 43_000).await.unwrap().is_none());
    }
    assert_eq!(state(&db, &id).await, finished);
    assert_eq!((finished.head().counts.completed, finished.head().counts.failed), (1, 0));
}

async fn what_is_released_is_anyones_at_once_and_what_others_have_is_not(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (_, photos) = batch(&db, 3, true).await;
    let ours = worker();
    begin_as(&db, &photos[0], &ours, 2_000).await.unwrap();
    begin(&db, &photos[1], 2_000).await.unwrap();
    let done = begin_as(&db, &photos[2], &ours, 2_000).await.unwrap();
    db.finish(&done, Ok("{}"), 2_000).await.unwrap().unwrap();
    assert_eq!(claimable(&db, 9, 2_000).await, []);
    db.release(&ours).await.unwrap();
    assert_eq!(claimable(&db, 9, 2_000).await, photos[..1]);
}

async fn a_photo_that_costs_three_processes_is_given_up_until_somebody_tries_it_again(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, photos) = batch(&db, 2, true).await;
    let mut claims = Vec::new();
    for (losses, now) in [2_000, 40_000, 80_000].into_iter().enumerate() {
        let waiting = db.claimable(1, now).await.unwrap();
        assert_eq!(waiting, [Waiting { photo: photos[0].clone(), suspect: losses > 0 }]);
        claims.push(begin(&db, &photos[0], now).await.unwrap());
    }
    let taken = db.begin(&photos[0], &worker(), 120_000).await.unwrap();
    assert!(matches!(&taken, Some(Taken::GivenUp(stepped)) if !stepped.ended && stepped.batch == id), "{taken:?}");
    for claim in &claims {
        assert!(db.finish(claim, Ok("{}"), 121_000).await.unwrap().is_none(), "who comes back late changes nothing");
    }
    assert_eq!(claimable(&db, 9, 500_000).await, photos[1..]);
    done(&db, &photos[1], Ok("{}"), 130_000).await;
    let ended = state(&db, &id).await;
    let failed = ended.photos().find(|photo| photo.photo_id == photos[0]).unwrap();
    assert_eq!((ended.head().status, failed.error.as_deref()), (BatchStatus::Partial, Some(GIVEN_UP)));

    db.retry(&id, 200_000, 300_000).await.unwrap();
    assert_eq!(db.claimable(9, 200_000).await.unwrap(), [photos[0].clone().into()]);
    assert!(begin(&db, &photos[0], 200_000).await.is_some());
}

async fn what_is_given_back_is_no_loss(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (_, photos) = batch(&db, 1, true).await;
    for now in 2_000..2_009 {
        assert_eq!(db.claimable(9, now).await.unwrap(), [photos[0].clone().into()]);
        let ours = worker();
        begin_as(&db, &photos[0], &ours, now).await.unwrap();
        db.release(&ours).await.unwrap();
        db.recover(now).await.unwrap();
    }
}

async fn overdue_photos_fail_once_however_many_look(kind: Kind) {
    let (db, _keep) = database(kind).await;
    let (id, _) = batch(&db, 3, false).await;
    let looking: Vec<_> = (0..4)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.expire(61_000).await.unwrap().1 })
        })
        .collect();
    let mut failed = 0;
    for looking in looking {
        failed += looking.await.unwrap();
    }
    assert_eq!((failed, state(&db, &id).await.head().counts.failed), (3, 3));
}

#[tokio::test]
async fn in_sqlite_interrupted_photos_are_queued_after_a_restart_and_progress_does_not_fall() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let (id, photos) = batch(&db, 3, true).await;
    begin(&db, &photos[0], 2_000).await.unwrap();
    begin(&db, &photos[1], 2_000).await.unwrap();
    let before = state(&db, &id).await;
    db.recover(3_000).await.unwrap();
    let after = state(&db, &id).await;
    assert_eq!((claimable(&db, 9, 3_000).await, after.position()), (photos, at(before.position().version() + 1)));
    assert!(after.photos().all(|photo| photo.status == PhotoStatus::Queued));
    assert_eq!(after.head().status, BatchStatus::Processing, "a batch that has begun stays begun");
}

#[tokio::test]
async fn in_sqlite_a_start_that_finds_a_photo_in_work_counts_a_loss() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let (id, photos) = batch(&db, 1, true).await;
    for now in [2_000, 3_000, 4_000] {
        begin(&db, &photos[0], now).await.unwrap();
        db.recover(now).await.unwrap();
    }
    let taken = db.begin(&photos[0], &worker(), 5_000).await.unwrap();
    assert!(matches!(&taken, Some(Taken::GivenUp(stepped)) if stepped.ended), "{taken:?}");
    assert_eq!(state(&db, &id).await.head().status, BatchStatus::Failed);
}

#[tokio::test]
async fn in_postgres_a_start_leaves_others_their_photos() {
    let (db, _keep) = database(Kind::Postgres).await;
    let (id, photos) = batch(&db, 2, true).await;
    let theirs = begin(&db, &photos[0], 2_000).await.unwrap();
    let before = state(&db, &id).await;
    db.recover(3_000).await.unwrap();
    assert_eq!((state(&db, &id).await, claimable(&db, 9, 3_000).await), (before, photos[1..].to_vec()));
    assert!(db.finish(&theirs, Ok("{}"), 4_000).await.unwrap().is_some());
}

#[tokio::test]
async fn a_look_for_work_walks_open_batches_and_what_is_to_do_in_them() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {CLAIMABLE}")))
            .fetch_all(&db.reads)
            .await
            .unwrap();
    let steps: Vec<&str> = plan.iter().map(|(.., step)| &**step).collect();
    assert!(steps[0].starts_with("SCAN batches USING") && steps[0].contains(" batches_open"), "{steps:?}");
    assert!(steps[1].starts_with("SEARCH photos USING") && steps[1].contains(" photos_to_do (batch_id=?"), "{steps:?}");
}
