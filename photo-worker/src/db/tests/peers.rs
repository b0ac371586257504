//! Who of the processes lives, and connections whose users do not.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::*;

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

#[tokio::test]
async fn in_postgres_a_process_is_gone_when_its_lease_is_over_or_it_says_so_until_that_is_settled() {
    let (db, _keep) = database(Kind::Postgres).await;
    let (one, other) = (worker(), worker());
    db.alive(&one, 2_000).await.unwrap();
    db.alive(&other, 20_000).await.unwrap();
    assert_eq!(db.gone(31_999).await.unwrap(), [""; 0]);
    assert_eq!(db.gone(32_000).await.unwrap(), [&*one.id]);
    db.alive(&one, 32_000).await.unwrap();
    assert_eq!(db.gone(49_999).await.unwrap(), [""; 0]);

    db.leaves_untold(&other).await.unwrap();
    assert_eq!(db.gone(0).await.unwrap(), [&*other.id]);
    db.settled(&other.id).await.unwrap();
    assert_eq!(db.gone(0).await.unwrap(), [""; 0]);
    db.settled(&one.id).await.unwrap();
    assert_eq!(db.gone(i64::MAX).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn in_sqlite_there_are_no_others() {
    let (db, _keep) = database(Kind::Sqlite).await;
    let ours = worker();
    db.alive(&ours, 2_000).await.unwrap();
    db.leaves_untold(&ours).await.unwrap();
    assert_eq!(db.gone(i64::MAX).await.unwrap(), [""; 0]);
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
    assert_eq!(db.gone(i64::MAX).await.unwrap().len(), 20);
}
