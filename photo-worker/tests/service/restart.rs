//! Killed and started again, it goes on where it was.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use image::ImageFormat;
use serde_json::Value;
use sqlx::{AnyConnection, Connection as _};
use stack::{GUARD, RedisServer, eventually};
use wire::BatchStatus;

use crate::{
    process::Program,
    world::{Place, picture, picture_of, watched},
};

#[tokio::test]
async fn photos_that_were_uploaded_before_it_was_killed_are_analysed_after() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let mut program = Program::start(&redis, &dir);
    let names: Vec<String> = (0..12).map(|n| format!("{n}.png")).collect();
    let (batch, photos) = program.api().declare(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for photo in &photos[..11] {
        program.api().upload(&batch, photo, picture(ImageFormat::Png)).await;
    }
    program.process.kill().unwrap();
    let [new, old] = ["new", "old"].map(|name| dir.path().join("photos/incoming").join(name));
    std::fs::write(&new, b"half an upload").unwrap();
    std::fs::File::create(&old).unwrap().set_modified(SystemTime::now() - Duration::from_secs(90_000)).unwrap();

    let program = Program::start(&redis, &dir);
    // Where another process may be receiving it, what is new is left.
    assert_eq!((new.exists(), old.exists()), (crate::ON_POSTGRES, false));
    program.api().upload(&batch, &photos[11], picture(ImageFormat::Png)).await;
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 12));
}

#[tokio::test]
async fn a_batch_that_redis_has_forgotten_meanwhile_is_published_again_at_start() {
    let dir = Place::new().await;
    let redis = RedisServer::start().await.unwrap();
    let program = Program::start(&redis, &dir);
    let (batch, photos) = program.api().declare(&["a.jpg"]).await;
    program.api().upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    watched(&redis, &batch).await;
    drop((program, redis));

    let redis = RedisServer::start().await.unwrap();
    let _program = Program::start(&redis, &dir);
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Completed);
}

#[tokio::test]
async fn a_photo_that_ends_whoever_analyses_it_is_given_up_and_the_batch_ends() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    sqlx::any::install_default_drivers();
    let mut program = Program::start(&redis, &dir);
    let mut rows = AnyConnection::connect(&dir.database_url).await.unwrap();
    let (batch, photos) = program.api().declare(&["deadly.jpg", "good.png"]).await;
    // So large that it is seen in work.
    program.api().upload(&batch, &photos[0], picture_of(ImageFormat::Jpeg, 6_000, 4_000)).await;
    let mut before = String::new();
    for _ in 0..3 {
        let begun = eventually(GUARD, async || {
            let by = sqlx::query_scalar("SELECT leased_by FROM photos WHERE id = $1 AND status = 'PROCESSING'");
            let by: Option<String> = by.bind(&photos[0]).fetch_optional(&mut rows).await?;
            let by = by.context("it is not in work")?;
            ensure!(by != before, "it is in work at one that is gone");
            Ok(by)
        });
        before = begun.await.unwrap();
        program.process.kill().unwrap();
        program = Program::start(&redis, &dir);
    }
    program.api().upload(&batch, &photos[1], picture(ImageFormat::Png)).await;
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.failed), (BatchStatus::Partial, 1));
    let (_, state) = program.api().get(&format!("/api/batches/{batch}")).await;
    assert_eq!(state["photos"][0]["error"], Value::from("given up after 3 interrupted attempts"), "{state}");
}
