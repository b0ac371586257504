//! By TLS: one server, sentinels, a cluster, and over HTTP.

use std::{collections::HashMap, fs, path::Path};

use batchcast_publisher::{PublishError, Publisher, RedisSettings, Tls};
use stack::{Authority, Certificate, RedisServer};

#[cfg(feature = "rest")]
use crate::rest::OverHttp;
use crate::{assert_works, states::batch};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// By the names that the environment has for it.
fn settings(url: &str, authority: &Authority, own: &Certificate) -> RedisSettings {
    let root = authority.root();
    let variables = HashMap::from([
        ("REDIS_URL", url),
        ("REDIS_CA_FILE", path(&root)),
        ("REDIS_CERT_FILE", path(&own.chain)),
        ("REDIS_KEY_FILE", path(&own.key)),
    ]);
    RedisSettings::from_lookup(|name| variables.get(name).map(|value| (*value).to_owned())).unwrap()
}

/// Only who is believed, and believes, is let in.
async fn assert_works_for_who_is_known(url: &str, authority: &Authority) {
    assert_works(settings(url, authority, &authority.issue("own").unwrap())).await;

    let foreign = Authority::new().unwrap();
    let stranger = settings(url, authority, &foreign.issue("own").unwrap());
    let unbelieving = settings(url, &foreign, &authority.issue("own").unwrap());
    let nameless = RedisSettings::new(url).tls(Tls::default().authority(fs::read(authority.root()).unwrap()));
    for wrong in [stranger, unbelieving, nameless, RedisSettings::new(url)] {
        let publisher = Publisher::builder(wrong.clone()).connect().await.unwrap();
        let refused = publisher.cached(&batch("a")).await;
        assert!(matches!(refused, Err(PublishError::Unanswered { .. })), "{wrong:?}: {refused:?}");
    }
}

#[tokio::test]
async fn redis_is_reached_by_tls_where_both_sides_show_a_certificate() {
    let authority = Authority::new().unwrap();
    let (_server, port) = RedisServer::start_with_tls(&authority, &[]).await.unwrap();
    assert_works_for_who_is_known(&format!("rediss://127.0.0.1:{port}"), &authority).await;
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn sentinels_and_the_master_that_they_name_are_reached_by_tls() {
    let authority = Authority::new().unwrap();
    let (_master, port) = RedisServer::start_with_tls(&authority, &["--tls-replication", "yes"]).await.unwrap();
    let (_sentinel, port) = RedisServer::sentinel_with_tls(&authority, port, "main").await.unwrap();
    assert_works_for_who_is_known(&format!("rediss-sentinel://127.0.0.1:{port}#main"), &authority).await;
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn the_nodes_of_a_cluster_are_reached_by_tls() {
    let authority = Authority::new().unwrap();
    let options = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-require-full-coverage", "no"];
    let (bus, other) = (stack::ports::free().unwrap().to_string(), stack::ports::free().unwrap().to_string());
    let with = |bus| [&options[..], &["--cluster-port", bus]].concat();
    let (first, port) = RedisServer::start_with_tls(&authority, &with(&bus)).await.unwrap();
    let (second, at) = RedisServer::start_with_tls(&authority, &with(&other)).await.unwrap();
    // All batches are at the node that is only known by the other.
    second.run::<String>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await.unwrap();
    first.run::<String>(&["CLUSTER", "MEET", "127.0.0.1", &at.to_string(), &other]).await.unwrap();
    for node in [&first, &second] {
        let whole = async || {
            let info = node.run::<String>(&["CLUSTER", "INFO"]).await.unwrap();
            ["cluster_state:ok", "cluster_slots_ok:16384"].iter().all(|line| info.contains(line)).then_some(())
        };
        crate::eventually("the cluster to be whole", whole).await;
    }
    assert_works_for_who_is_known(&format!("rediss-cluster://127.0.0.1:{port}"), &authority).await;
}

#[cfg(feature = "rest")]
#[tokio::test]
async fn redis_over_https_is_reached_by_who_believes_its_certificate() {
    let authority = Authority::new().unwrap();
    let http = OverHttp::start_with_tls(&authority.issue("served").unwrap()).await;
    let believed = |authority: &Authority| Tls::default().authority(fs::read(authority.root()).unwrap());
    assert_works(http.settings().tls(believed(&authority))).await;

    for tls in [believed(&Authority::new().unwrap()), Tls::default()] {
        let publisher = Publisher::builder(http.settings().tls(tls.clone())).connect().await.unwrap();
        let refused = publisher.cached(&batch("a")).await;
        assert!(matches!(refused, Err(PublishError::Unanswered { .. })), "{tls:?}: {refused:?}");
    }
}
