//! Redis over HTTP: the built gateway in front of a real `redis-server`.

use std::{collections::BTreeMap, time::Duration};

use batchcast_publisher::{PublishError, Publisher, RedisSettings};
use futures::StreamExt;
use stack::{Certificate, GatewaySettings, Part, RedisServer, gateway, ports};
use tempfile::TempDir;

use crate::{
    eventually,
    rights::{documented, grant},
    source::Memory,
    states::{EPOCH, batch, changes, state},
    within,
};

const TOKEN: &str = "the-token-of-these-tests";

/// A gateway in front of a Redis, which it reaches by the publisher's rights and what itself needs.
pub(crate) struct OverHttp {
    url: String,
    gateway: Part,
    redis: RedisServer,
    _dir: TempDir,
}

impl OverHttp {
    async fn start() -> Self {
        Self::start_with(BTreeMap::new()).await
    }

    /// By TLS, and nothing else.
    pub(crate) async fn start_with_tls(certificate: &Certificate) -> Self {
        let files = [("GATEWAY_TLS_CERT_FILE", &certificate.chain), ("GATEWAY_TLS_KEY_FILE", &certificate.key)];
        let mut http =
            Self::start_with(files.map(|(name, file)| (name.into(), file.display().to_string())).into()).await;
        http.url = http.url.replace("http://", "https://");
        http
    }

    async fn start_with(env: BTreeMap<String, String>) -> Self {
        let (redis, dir) = (RedisServer::start().await.unwrap(), tempfile::tempdir().unwrap());
        grant(&redis, "publisher", &documented("ACL SETUSER publisher ")).await;
        let settings = GatewaySettings {
            port: ports::free().unwrap(),
            admin_port: ports::free().unwrap(),
            redis_url: redis.url().replace("redis://", "redis://publisher:secret@"),
            token: TOKEN.to_owned(),
            env,
        };
        let mut gateway = gateway(dir.path(), settings).expect("cargo build -p batchcast-gateway");
        gateway.start().await.unwrap();
        Self { url: gateway.url().to_owned(), gateway, redis, _dir: dir }
    }

    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings::new(&*self.url).rest_token(TOKEN)
    }
}

#[tokio::test]
async fn batches_are_published_read_and_watched_by_the_documented_rights() {
    let http = OverHttp::start().await;
    let (publisher, id) = (Publisher::builder(http.settings()).connect().await.unwrap(), batch("a"));
    publisher.cache(&state(&id, EPOCH, 1, 3), Duration::from_secs(9)).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 2, 3), Some(1))).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("a state", states.next()).await, Some(state(&id, EPOCH, 2, 3)));
    http.redis.run::<()>(&["SCRIPT", "FLUSH"]).await.unwrap();
    publisher.invalidate(&id).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 3, 3), None)).await.unwrap();
    assert_eq!(within("the end", states.next()).await, Some(state(&id, EPOCH, 3, 3)));
}

#[tokio::test]
async fn what_was_sent_is_sent_again_after_an_outage_in_which_redis_forgot_it() {
    let mut http = OverHttp::start().await;
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = Publisher::builder(http.settings()).source(source.clone()).connect().await.unwrap();
    let mut states = publisher.watch(&id);
    source.commit(state(&id, EPOCH, 1, 3));
    publisher.notify(&id);
    assert_eq!(within("the first", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
    http.gateway.kill();
    http.redis.run::<()>(&["FLUSHALL"]).await.unwrap();
    source.commit(state(&id, EPOCH, 2, 3));
    publisher.notify(&id);
    eventually("it was tried", async || (publisher.metrics().unreachable > 0).then_some(())).await;
    http.gateway.start().await.unwrap();
    assert_eq!(within("the second", states.next()).await, Some(state(&id, EPOCH, 2, 3)));
    assert!(publisher.metrics().connections_lost >= 1);
}

#[tokio::test]
async fn a_wrong_token_is_told_and_not_shown() {
    let http = OverHttp::start().await;
    let settings = RedisSettings::new(&*http.url).rest_token("hunter2");
    let error = Publisher::builder(settings).connect().await.unwrap().cached(&batch("a")).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAdmitted { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn the_longest_times_are_for_ever_and_no_overflow() {
    let nobody = RedisSettings::new("http://127.0.0.1:1").rest_token(TOKEN);
    let builder = Publisher::builder(nobody).connection_timeout(Duration::MAX).response_timeout(Duration::MAX);
    let error = builder.connect().await.unwrap().cached(&batch("a")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unanswered { .. }), "{error:?}");
}

#[tokio::test]
async fn an_address_without_its_token_or_with_a_user_is_a_wrong_setting() {
    for (url, words) in
        [("https://localhost", "UPSTASH_REDIS_REST_TOKEN"), ("https://u:hunter2@localhost", "REDIS_URL")]
    {
        let error = Publisher::builder(url).connect().await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
    }
}
