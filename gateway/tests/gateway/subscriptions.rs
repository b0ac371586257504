//! Subscriptions: one in Redis for all who hear a channel, confirmed before the 200, and kept over restarts.

use crate::support::{Gateway, json, until, within};
use futures::future::join_all;
use serde_json::json;
use stack::RedisServer;

const SUBSCRIBERS: usize = 50;

async fn parts() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    (redis, gateway)
}

#[tokio::test]
async fn all_subscribers_of_a_channel_share_one_subscription() {
    let (redis, gateway) = parts().await;
    let mut streams = join_all((0..SUBSCRIBERS).map(|_| gateway.subscribe("batch:x"))).await;
    assert_eq!(redis.subscriptions("batch:x").await.unwrap(), 1);
    let counts: serde_json::Value = gateway.admin("/subscriptions").await.json().await.unwrap();
    assert_eq!(counts, json!({ "batch:x": SUBSCRIBERS }));

    assert_eq!(gateway.post("/", r#"["PUBLISH","batch:x","{\"a\":[1,2]}"]"#).await.1, json!({ "result": 1 }));
    for stream in &mut streams {
        assert_eq!(stream.data().await, r#"message,batch:x,{"a":[1,2]}"#);
    }
    streams.truncate(1);
    until("the others to be gone", async || gateway.metric("batchcast_gateway_subscriptions ").await == 1).await;
    assert_eq!(redis.subscriptions("batch:x").await.unwrap(), 1);
    streams.clear();
    until("the last to unsubscribe", async || redis.subscriptions("batch:x").await.unwrap() == 0).await;
    let counts: serde_json::Value = gateway.admin("/subscriptions").await.json().await.unwrap();
    assert_eq!(counts, json!({}));
}

#[tokio::test]
async fn a_subscription_that_is_answered_misses_nothing() {
    let (redis, gateway) = parts().await;
    for round in 0..30 {
        // Each round joins while the one before may still be unsubscribing.
        let mut stream = gateway.subscribe("c").await;
        assert_eq!(redis.run::<i64>(&["PUBLISH", "c", &round.to_string()]).await.unwrap(), 1);
        assert_eq!(stream.data().await, format!("message,c,{round}"));
    }
}

#[tokio::test]
async fn channels_do_not_mix_and_names_are_taken_as_they_come() {
    let (redis, gateway) = parts().await;
    let mut percent = gateway.subscribe("100%").await;
    let mut slash = gateway.subscribe("a/b").await;
    redis.run::<i64>(&["PUBLISH", "a/b", "one"]).await.unwrap();
    redis.run::<i64>(&["PUBLISH", "100%", "line\nbreak"]).await.unwrap();
    assert_eq!(slash.data().await, "message,a/b,one");
    assert_eq!(percent.data().await, "message,100%,line\nbreak");
}

#[tokio::test]
async fn get_subscribes_too() {
    let (_redis, gateway) = parts().await;
    let answer = within("GET", gateway.request("GET", "/subscribe/c").send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("upstash-sync-token"));
}

#[tokio::test]
async fn after_a_restart_of_redis_open_streams_are_told_and_go_on() {
    let (mut redis, gateway) = parts().await;
    let mut streams = vec![gateway.subscribe("a").await, gateway.subscribe("a").await, gateway.subscribe("b").await];
    for _ in 0..2 {
        redis.restart().await.unwrap();
        for stream in &mut streams {
            assert_eq!(stream.comment().await, "resubscribed");
        }
        assert_eq!(redis.subscriptions("a").await.unwrap(), 1);
        redis.run::<i64>(&["PUBLISH", "a", "again"]).await.unwrap();
        redis.run::<i64>(&["PUBLISH", "b", "again"]).await.unwrap();
        for stream in &mut streams {
            assert!(stream.data().await.ends_with(",again"));
        }
    }
}

#[tokio::test]
async fn a_refused_subscription_is_an_error_and_harms_no_other() {
    let (redis, gateway) = parts().await;
    let mut stream = gateway.subscribe("open").await;
    redis.run::<String>(&["ACL", "SETUSER", "default", "resetchannels", "&open*"]).await.unwrap();
    let (status, answer) = json(gateway.request("POST", "/subscribe/closed").body("[]")).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().starts_with("NOPERM "), "{answer}");
    let _second = gateway.subscribe("open2").await;
    assert_eq!(redis.run::<i64>(&["PUBLISH", "open", "on"]).await.unwrap(), 1);
    assert_eq!(stream.data().await, "message,open,on");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_and_others_are_not() {
    let (redis, gateway) = parts().await;
    let mut reader = gateway.subscribe("c").await;
    let sleeper = gateway.subscribe("c").await;
    let message = "x".repeat(256 * 1024);
    // Sockets hold some megabytes before the mailbox fills; how many is the system's.
    within("the sleeper to be closed", async {
        while gateway.metric("batchcast_gateway_slow_closed_total ").await == 0 {
            redis.run::<i64>(&["PUBLISH", "c", &message]).await.unwrap();
            assert_eq!(reader.data().await.len(), "message,c,".len() + message.len());
        }
    })
    .await;
    assert_eq!(gateway.metric("batchcast_gateway_slow_closed_total ").await, 1);
    assert_eq!(gateway.metric("batchcast_gateway_subscriptions ").await, 1);
    drop(sleeper);
    redis.run::<i64>(&["PUBLISH", "c", "still"]).await.unwrap();
    assert_eq!(reader.data().await, "message,c,still");
}
