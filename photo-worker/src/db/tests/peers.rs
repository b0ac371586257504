//! Who of the processes lives, and connections whose users do not.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::*;
use crate::db::peers::Gone;

/// Drives a future until it has to wait for the time `nth`, counted from 0, and drops it there.
async fn drop_at(nth: u32, future: impl Future) {
    let (mut future, mut left) = (pin!(future), nth);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending if left > 0 => {
            left -= 1;
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
    .await;
}

fn names(gone: &[Gone]) -> Vec<&str> {
    gone.iter().map(|gone| &*gone.id).collect()
}

#[tokio::test]
async fn in_postgres_a_process_is_gone_when_its_lease_is_over_or_it_says_so_until_that_is_settled() {
    let (db, _keep) = database(Kind::Postgres).await;
    let (one, other) = (worker(), worker());
    db.alive(&one, 2_000).await.unwrap();
    db.alive(&other, 20_000).await.unwrap();
    let (ours, none) = (worker(), [""; 0]);
    let gone = async |now| db.gone(&ours, now).await.unwrap();
    assert_eq!(names(&gone(31_999).await), none);
    let found = gone(32_000).await;
    assert_eq!(names(&found), [&*one.id]);
    assert_eq!(names(&gone(49_999).await), none, "it is somebody's to settle");
    db.alive(&one, 32_001).await.unwrap();
    db.settled(&found).await.unwrap();
    assert_eq!(names(&gone(62_001).await), [&*other.id, &*one.id], "one that was heard of again stays known");
    assert_eq!(names(&gone(92_001).await).len(), 2, "who was to settle them is gone, too");

    let found = gone(200_000).await;
    db.settled(&found).await.unwrap();
    db.leave_untold(&other).await.unwrap();
    let found = gone(0).await;
    assert_eq!(names(&found), [&*other.id], "it says so, though it was taken for gone");
    db.settled(&found).await.unwrap();
    db.alive(&one, 0).await.unwrap();
    db.leave(&one).await.unwrap();
    assert_eq!(names(&gone(i64::MAX).await), none);
}

#[tokio::test]
async fn in_sqlite_there_are_no_others() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let ours = worker();
    db.alive(&ours, 2_000).await.unwrap();
    db.leave_untold(&ours).await.unwrap();
    assert_eq!(db.gone(&ours, i64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn who_goes_away_while_a_transaction_begins_leaves_its_connection_in_order() {
    let (db, _keep) = database(Kind::Postgres).await;
    for nth in 0..10 {
        drop_at(nth, db.snapshot()).await;
        db.alive(&worker(), nth.into()).await.unwrap();
        drop_at(nth, db.write()).await;
        db.alive(&worker(), nth.into()).await.unwrap();
    }
    assert_eq!(db.gone(&worker(), i64::MAX).await.unwrap().len(), 20);
}
