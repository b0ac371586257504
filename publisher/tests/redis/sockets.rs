//! By TLS, and by a Unix socket.

use std::{collections::HashMap, fs, path::Path};

use batchcast_publisher::{PublishError, Publisher, RedisSettings, Tls};
use futures::StreamExt;
use stack::{Authority, RedisServer, ports};

use crate::{
    states::{EPOCH, batch, changes, state},
    within,
};

async fn assert_works(redis: impl Into<RedisSettings>) {
    let (publisher, id) = (Publisher::builder(redis).connect().await.unwrap(), batch("a"));
    publisher.invalidate(&id).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("a state", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn redis_is_reached_by_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let _server = RedisServer::start_with(&["--unixsocket", path(&socket)]).await.unwrap();
    assert_works(format!("unix://{}", path(&socket))).await;
}

#[tokio::test]
async fn redis_is_reached_by_tls_where_both_sides_show_a_certificate() {
    let authority = Authority::new().unwrap();
    let (served, own) = (authority.issue("served").unwrap(), authority.issue("own").unwrap());
    let (root, port) = (authority.root(), ports::free().unwrap().to_string());
    let options = [
        ["--tls-port", &port],
        ["--tls-ca-cert-file", path(&root)],
        ["--tls-cert-file", path(&served.chain)],
        ["--tls-key-file", path(&served.key)],
        ["--tls-auth-clients", "yes"],
    ];
    let _server = RedisServer::start_with(options.as_flattened()).await.unwrap();
    let url = format!("rediss://127.0.0.1:{port}");

    let variables = HashMap::from([
        ("REDIS_URL", url.as_str()),
        ("REDIS_CA_FILE", path(&root)),
        ("REDIS_CERT_FILE", path(&own.chain)),
        ("REDIS_KEY_FILE", path(&own.key)),
    ]);
    let settings = RedisSettings::from_lookup(|name| variables.get(name).map(|value| (*value).to_owned())).unwrap();
    assert_works(settings).await;

    let believed = Tls::default().authority(fs::read(&root).unwrap());
    let foreign = Tls::default().authority(fs::read(Authority::new().unwrap().root()).unwrap());
    for tls in [believed, foreign, Tls::default()] {
        let publisher = Publisher::builder(RedisSettings::new(&*url).tls(tls.clone())).connect().await.unwrap();
        let refused = publisher.cached(&batch("a")).await;
        assert!(matches!(refused, Err(PublishError::Unanswered { .. })), "{tls:?}: {refused:?}");
    }
}
