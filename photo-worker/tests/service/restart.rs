//! Killed and started again, it goes on where it was.

use std::time::{Duration, SystemTime};

use image::ImageFormat;
use stack::RedisServer;
use wire::BatchStatus;

use crate::{
    process::Program,
    world::{Place, picture, watched},
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
