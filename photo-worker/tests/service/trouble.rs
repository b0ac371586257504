//! Disks and databases that fail for a moment: no photo fails for it, and what was asked for is done.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, ensure};
use batchcast_photo_worker::Service;
use image::ImageFormat;
use sqlx::{Any, AnyConnection, Connection as _, Transaction};
use stack::{GUARD, RedisServer, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use wire::BatchStatus;

use crate::world::{Api, Place, World, config, picture, picture_of};

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

/// Takes connections to Postgres, and once lets nobody hear that a photo's end was committed.
async fn deaf_once(server: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, is_over) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, is_over) = (TcpStream::connect(&server).await.unwrap(), Arc::clone(&is_over));
            tokio::spawn(async move { pass_on(client, server, &is_over).await });
        }
    });
    port
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, is_over: &AtomicBool) -> std::io::Result<()> {
    let (mut said, mut answered, mut ends_photo) = (vec![0; 65_536], vec![0; 65_536], false);
    let has = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let said = &said[..read?];
                if said.is_empty() {
                    return Ok(());
                }
                ends_photo |= has(said, "COMPLETED");
                server.write_all(said).await?;
                if ends_photo && has(said, "COMMIT") && !is_over.swap(true, Ordering::AcqRel) {
                    // The server has committed.
                    return server.read(&mut answered).await.map(drop);
                }
            }
            read = server.read(&mut answered) => {
                let answered = &answered[..read?];
                if answered.is_empty() {
                    return Ok(());
                }
                client.write_all(answered).await?;
            }
        }
    }
}

#[tokio::test]
async fn an_end_whose_commit_was_not_answered_is_told() {
    if !crate::ON_POSTGRES {
        // SQLite answers from this process.
        return;
    }
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let (_, server) = dir.database_url.split_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let url = dir.database_url.replace(server, &format!("127.0.0.1:{}", deaf_once(server.to_owned()).await));
    let world =
        World { service: Service::start(&config(&redis, &dir, &[("DATABASE_URL", &url)])).await.unwrap(), redis, dir };
    let (batch, photos) = world.client().declare(&["a.jpg"]).await;
    // So large that its beginning is told before its end is there.
    world.client().upload(&batch, &photos[0], picture_of(ImageFormat::Jpeg, 3_000, 2_000)).await;
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Completed);
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
    if !crate::ON_POSTGRES {
        // Nobody can be seen to wait in SQLite.
        return;
    }
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
    if !crate::ON_POSTGRES {
        // It has no others.
        return;
    }
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
