//! `examples/node/publish.mjs`: the same script, called from another language.

use std::{path::Path, process::Stdio};

use batchcast_publisher::{BatchStatus, Publisher};
use futures::StreamExt;
use stack::RedisServer;
use tokio::process::Command;

use crate::{states::batch, within};

#[tokio::test]
async fn the_node_example_publishes_a_batch_from_start_to_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ioredis = root.join("node_modules/ioredis");
    assert!(ioredis.exists(), "ioredis is not installed: `cargo xtask test` installs it (or `npm ci`)");
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    let mut states = publisher.watch(&batch("from-node"));
    let mut node = Command::new("node")
        .args(["examples/node/publish.mjs", "from-node", "6"])
        .current_dir(root)
        .env("REDIS_URL", server.url())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("node is not on the PATH: `cargo xtask test` says how to install it");
    let mut last = within("the first state", states.next()).await.unwrap();
    while let Some(state) = within("the end", states.next()).await {
        assert!(state.position() > last.position() && state.head().progress() >= last.head().progress());
        last = state;
    }
    assert_eq!((last.head().status, last.photos().len()), (BatchStatus::Completed, 6));
    assert!(within("the example ends", node.wait()).await.unwrap().success());
}
