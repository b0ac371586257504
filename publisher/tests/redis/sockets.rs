//! By a Unix socket.

use stack::RedisServer;

use crate::assert_works;

#[tokio::test]
async fn redis_is_reached_by_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let _server = RedisServer::start_with(&["--unixsocket", socket.to_str().unwrap()]).await.unwrap();
    assert_works(format!("unix://{}", socket.display())).await;
}
