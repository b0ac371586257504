//! Disks and databases that fail for a moment: no photo fails for it, and what was asked for is done.

use anyhow::{Context as _, ensure};
use image::ImageFormat;
use sqlx::{AnyConnection, Connection as _};
use stack::{GUARD, eventually};
use wire::BatchStatus;

use crate::world::{World, picture};

async fn rows(world: &World) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&world.dir.database_url).await.unwrap()
}

async fn losses(rows: &mut AnyConnection, photo: &str) -> i64 {
    sqlx::query_scalar("SELECT losses FROM photos WHERE id = $1").bind(photo).fetch_one(rows).await.unwrap()
}

#[tokio::test]
async fn a_photo_whose_thumbnail_cant_be_stored_is_tried_again() {
    let world = World::start(&[("LEASE_SECS", "1")]).await;
    let (api, mut rows) = (world.client(), rows(&world).await);
    let (batch, photos) = api.declare(&["a.jpg"]).await;
    let in_its_place = world.dir.path().join(format!("photos/thumbnails/{}.jpg", photos[0]));
    std::fs::create_dir(&in_its_place).unwrap();
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    let tried = eventually(GUARD, async || {
        ensure!(losses(&mut rows, &photos[0]).await > 0, "it was not tried again");
        Ok(())
    });
    tried.await.unwrap();
    std::fs::remove_dir(&in_its_place).unwrap();
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 1));
}

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
    if !crate::ON_POSTGRES {
        // SQLite has nothing that outlives a rollback, to count by.
        return;
    }
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
async fn a_batch_is_cancelled_though_whoever_asked_hangs_up() {
    if !crate::ON_POSTGRES {
        // Nobody can be seen to wait in SQLite.
        return;
    }
    let world = World::start(&[]).await;
    let (api, mut rows, mut other) = (world.client(), rows(&world).await, rows(&world).await);
    let (batch, _) = api.declare(&["a.jpg"]).await;
    let mut held = other.begin().await.unwrap();
    let lock = sqlx::query("SELECT id FROM batches WHERE id = $1 FOR UPDATE").bind(&batch);
    lock.fetch_one(&mut *held).await.unwrap();
    let waits = eventually(GUARD, async || {
        let waits =
            "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits: Option<String> = sqlx::query_scalar(waits).fetch_optional(&mut rows).await?;
        waits.context("nobody waits for the batch")
    });
    let cancel = format!("/api/batches/{batch}/cancel");
    tokio::select! {
        answer = api.post(&cancel, "") => panic!("{answer:?}"),
        waits = waits => drop(waits.unwrap()),
    }
    held.rollback().await.unwrap();
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Cancelled);
}
