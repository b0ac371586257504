//! `examples/`, each run as its head says, beside a real Redis and watched from outside.

use std::{path::PathBuf, process::Stdio};

use batchcast_publisher::{BatchState, BatchStatus, Publisher};
use futures::StreamExt;
use stack::RedisServer;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{states::batch, within};

/// An example that cargo has built beside this test.
fn example(name: &str, server: &RedisServer) -> Command {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build -p batchcast-publisher --examples", program.display());
    let mut command = Command::new(program);
    command.env("REDIS_URL", server.url()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Watches until the end, and sees the bar only rise.
async fn watched_to_the_end(publisher: &Publisher, name: &str) -> BatchState {
    let mut states = publisher.watch(&batch(name));
    let mut last = within("the first state", states.next()).await.unwrap();
    while let Some(state) = within("the end", states.next()).await {
        assert!(state.position() > last.position() && state.head().progress() >= last.head().progress());
        last = state;
    }
    last
}

#[tokio::test]
async fn the_plain_loop_publishes_a_batch_from_start_to_end() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    let mut program = example("plain_loop", &server).args(["a-loop", "7"]).spawn().unwrap();
    let last = watched_to_the_end(&publisher, "a-loop").await;
    assert_eq!((last.head().status, last.head().counts.completed), (BatchStatus::Completed, 7));
    assert!(last.photos().all(|photo| photo.result.is_some()));
    assert!(within("it ends", program.wait()).await.unwrap().success());
}

/// Worker 0 dies after its first report, and what it had taken is reported a second time.
#[tokio::test]
async fn workers_on_a_queue_that_delivers_twice_count_once() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    let mut program = example("job_queue", &server).args(["a-queue", "25"]).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = within("a line", lines.next_line()).await.unwrap() {
        said.push(line);
    }
    assert!(within("it ends", program.wait()).await.unwrap().success());
    assert!(said.iter().any(|line| line.contains("Already")), "no photo was reported twice: {said:#?}");
    let state = publisher.cached(&batch("a-queue")).await.unwrap().unwrap();
    let counts = state.head().counts;
    assert_eq!((state.head().status, counts.completed, counts.failed), (BatchStatus::Partial, 24, 1));
}

#[tokio::test]
async fn the_web_application_notifies_and_answers_as_an_origin() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    let mut program = example("axum", &server).env("LISTEN", "127.0.0.1:0").spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let address = within("its address", lines.next_line()).await.unwrap().unwrap();
    let url = format!("{address}/api/batches/holiday");

    let unknown = reqwest::get(&url).await.unwrap();
    assert_eq!(unknown.status(), 404);
    let made = reqwest::Client::new().post(format!("{url}?photos=9")).send().await.unwrap();
    assert_eq!(made.status(), 202);
    let again = reqwest::Client::new().post(&url).send().await.unwrap();
    assert_eq!(again.status(), 409);
    let last = watched_to_the_end(&publisher, "holiday").await;
    assert_eq!((last.head().status, last.head().counts.completed), (BatchStatus::Completed, 9));
    let origin = reqwest::get(&url).await.unwrap().bytes().await.unwrap();
    assert_eq!(BatchState::from_json(&origin).unwrap(), last);
}
