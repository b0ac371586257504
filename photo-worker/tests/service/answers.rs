//! A Postgres that refuses, holds back or loses its answer for a moment, and those who do not wait for it: what was asked
//! for is done, and told.

use anyhow::Context as _;
use batchcast_photo_worker::Service;
use fault_proxy::Proxy;
use futures::StreamExt as _;
use image::ImageFormat;
use publisher::Publisher;
use sqlx::{Any, AnyConnection, Connection as _, Transaction};
use stack::{GUARD, RedisServer, eventually};
use wire::BatchStatus;

use crate::{
    trouble::{losses, rows},
    world::{Api, Place, World, config, picture, picture_of},
};

/// A sequence counts also what is rolled back.
const REFUSES_TWICE: &str = "
    CREATE SEQUENCE tries;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.status = 'COMPLETED' AND nextval('tries') <= 2 THEN RAISE EXCEPTION 'not now'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON photos FOR EACH ROW EXECUTE FUNCTION refuse();";

#[tokio::test]
async fn what_came_of_a_photo_is_offered_until_the_database_takes_it() {
    let world = World::start(&[]).await;
    let (api, mut rows) = (world.client(), rows(&world).await);
    sqlx::raw_sql(REFUSES_TWICE).execute(&mut rows).await.unwrap();
    let (batch, photos) = api.declare(&["a.jpg"]).await;
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Completed);
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&mut rows).await.unwrap();
    assert_eq!((tries, losses(&mut rows, &photos[0]).await), (3, 0));
}

#[tokio::test]
async fn an_end_whose_commit_was_not_answered_is_told() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let (_, server) = dir.database_url.split_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let proxy = Proxy::start(0, server.parse().unwrap()).await.unwrap();
    let url = dir.database_url.replace(server, &proxy.address().to_string());
    let service = Service::start(&config(&redis, &dir, &[("DATABASE_URL", &url)])).await.unwrap();
    let world = World { redis, dir, service };
    let (batch, photos) = world.client().declare(&["a.jpg"]).await;
    let publisher = Publisher::builder(world.redis.url()).connect().await.unwrap();
    let mut states = publisher.watch(&batch.parse().unwrap());
    // So large that it is in work for a while.
    world.client().upload(&batch, &photos[0], picture_of(ImageFormat::Jpeg, 6_000, 4_000)).await;
    let in_work = async { while states.next().await.unwrap().head().counts.processing == 0 {} };
    tokio::time::timeout(GUARD, in_work).await.expect("it is in work");
    // Its beginning was read and told: the next commit is its end's.
    proxy.cut_before_times("COMMIT\0", 1);
    let end = tokio::time::timeout(GUARD, states.collect::<Vec<_>>()).await.expect("the end is told").pop().unwrap();
    assert_eq!((end.head().status, proxy.cuts_before()), (BatchStatus::Completed, 1));
}

/// Locks a batch's row until it is dropped.
async fn locked<'a>(other: &'a mut AnyConnection, batch: &str) -> Transaction<'a, Any> {
    let mut held = other.begin().await.unwrap();
    let lock = sqlx::query("SELECT id FROM batches WHERE id = $1 FOR UPDATE").bind(batch);
    lock.fetch_one(&mut *held).await.unwrap();
    held
}

/// Asks for the batch to be cancelled, and hangs up when that waits for a lock.
async fn cancel_and_hang_up(api: &Api, batch: &str, rows: &mut AnyConnection) {
    let waits = eventually(GUARD, async || {
        let waits =
            "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits: Option<String> = sqlx::query_scalar(waits).fetch_optional(&mut *rows).await?;
        waits.context("nobody waits for the batch")
    });
    let cancel = format!("/api/batches/{batch}/cancel");
    tokio::select! {
        answer = api.post(&cancel, "") => panic!("{answer:?}"),
        waits = waits => drop(waits.unwrap()),
    }
}

#[tokio::test]
async fn a_batch_is_cancelled_though_whoever_asked_hangs_up() {
    let world = World::start(&[]).await;
    let (api, mut rows, mut other) = (world.client(), rows(&world).await, rows(&world).await);
    let (batch, _) = api.declare(&["a.jpg"]).await;
    let held = locked(&mut other, &batch).await;
    cancel_and_hang_up(&api, &batch, &mut rows).await;
    held.rollback().await.unwrap();
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Cancelled);
}

#[tokio::test]
async fn a_stop_that_cuts_something_off_says_so_to_the_other_processes() {
    for is_cut_off in [false, true] {
        let world = World::start(&[]).await;
        let (api, mut rows, mut other) = (world.client(), rows(&world).await, rows(&world).await);
        let (batch, _) = api.declare(&["a.jpg"]).await;
        let held = locked(&mut other, &batch).await;
        if is_cut_off {
            cancel_and_hang_up(&api, &batch, &mut rows).await;
        }
        assert_eq!(world.service.stop().await, []);
        drop(held);
        let workers: Vec<(i64,)> =
            sqlx::query_as("SELECT alive_until FROM workers").fetch_all(&mut rows).await.unwrap();
        assert_eq!(workers, if is_cut_off { vec![(0,)] } else { vec![] });
    }
}
