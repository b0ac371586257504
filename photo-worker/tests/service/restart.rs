//! Killed and started again, it goes on where it was.

use image::ImageFormat;
use reqwest::Client;
use stack::RedisServer;
use wire::BatchStatus;

use crate::{
    process::Program,
    world::{Api, Place, picture, watched},
};

fn api(program: &Program) -> Api {
    Api { base: program.base.clone(), http: Client::new() }
}

#[tokio::test]
async fn photos_that_were_uploaded_before_it_was_killed_are_analysed_after() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let mut program = Program::start(&redis, &dir);
    let names: Vec<String> = (0..12).map(|n| format!("{n}.png")).collect();
    let (batch, photos) = api(&program).declare(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for photo in &photos[..11] {
        api(&program).upload(&batch, photo, picture(ImageFormat::Png)).await;
    }
    program.process.kill().unwrap();
    std::fs::write(dir.path().join("photos/incoming/half"), b"half an upload").unwrap();

    let program = Program::start(&redis, &dir);
    assert!(!dir.path().join("photos/incoming/half").exists());
    api(&program).upload(&batch, &photos[11], picture(ImageFormat::Png)).await;
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 12));
}

#[tokio::test]
async fn a_batch_that_redis_has_forgotten_meanwhile_is_published_again_at_start() {
    let dir = Place::new().await;
    let redis = RedisServer::start().await.unwrap();
    let program = Program::start(&redis, &dir);
    let (batch, photos) = api(&program).declare(&["a.jpg"]).await;
    api(&program).upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    watched(&redis, &batch).await;
    drop((program, redis));

    let redis = RedisServer::start().await.unwrap();
    let _program = Program::start(&redis, &dir);
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Completed);
}
