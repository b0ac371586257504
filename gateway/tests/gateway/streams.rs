//! Patterns and `/monitor`, and the bytes of streams.

use crate::support::{Gateway, Stream, TOKEN, Wire, error, json, until, within};
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use stack::RedisServer;

const SUBSCRIBERS: usize = 20;

async fn parts() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    (redis, gateway)
}

/// Reads a monitor up to the line of a command.
async fn monitored(monitor: &mut Stream, command: &str) {
    within(command, async { while !monitor.data().await.ends_with(command) {} }).await;
}

#[tokio::test]
async fn a_pattern_hears_the_channels_that_match_it() {
    let (redis, gateway) = parts().await;
    let mut stream = gateway.psubscribe("user:*").await;
    redis.run::<i64>(&["PUBLISH", "other:1", "no"]).await.unwrap();
    redis.run::<i64>(&["PUBLISH", "user:1", r#"{"a":[1,2]}"#]).await.unwrap();
    assert_eq!(stream.data().await, r#"pmessage,user:*,user:1,{"a":[1,2]}"#);
    let counts: serde_json::Value = gateway.admin("/pattern-subscriptions").await.json().await.unwrap();
    assert_eq!(counts, json!({ "user:*": 1 }));
}

#[tokio::test]
async fn a_channel_and_a_pattern_each_hear_a_message_once() {
    let (redis, gateway) = parts().await;
    let (mut channel, mut pattern) = (gateway.subscribe("user:1").await, gateway.psubscribe("user:*").await);
    for message in ["one", "two"] {
        redis.run::<i64>(&["PUBLISH", "user:1", message]).await.unwrap();
    }
    for message in ["one", "two"] {
        assert_eq!(channel.data().await, format!("message,user:1,{message}"));
        assert_eq!(pattern.data().await, format!("pmessage,user:*,user:1,{message}"));
    }
}

#[tokio::test]
async fn all_subscribers_of_a_pattern_share_one_subscription() {
    let (redis, gateway) = parts().await;
    let mut streams = join_all((0..SUBSCRIBERS).map(|_| gateway.psubscribe("user:*"))).await;
    assert_eq!(redis.run::<i64>(&["PUBLISH", "user:7", "m"]).await.unwrap(), 1);
    assert_eq!(redis.run::<i64>(&["PUBSUB", "NUMPAT"]).await.unwrap(), 1);
    for stream in &mut streams {
        assert_eq!(stream.data().await, "pmessage,user:*,user:7,m");
    }
    drop(streams);
    let patterns = async || redis.run::<i64>(&["PUBSUB", "NUMPAT"]).await.unwrap();
    until("the last to unsubscribe", async || patterns().await == 0).await;
}

#[tokio::test]
async fn patterns_survive_a_restart_of_redis() {
    let (mut redis, gateway) = parts().await;
    let (mut pattern, mut channel) = (gateway.psubscribe("user:*").await, gateway.subscribe("user:1").await);
    for _ in 0..2 {
        redis.restart().await.unwrap();
        pattern.resubscribed().await;
        channel.resubscribed().await;
        redis.run::<i64>(&["PUBLISH", "user:1", "again"]).await.unwrap();
        assert_eq!(pattern.data().await, "pmessage,user:*,user:1,again");
        assert_eq!(channel.data().await, "message,user:1,again");
    }
}

#[tokio::test]
async fn monitor_tells_what_anybody_runs_and_ends_with_redis() {
    let (mut redis, gateway) = parts().await;
    let mut monitor = gateway.caller(TOKEN).open("/monitor").await;
    assert_eq!(monitor.data().await, r#""OK""#);
    redis.run::<String>(&["SET", "by", "someone"]).await.unwrap();
    monitored(&mut monitor, r#" "SET" "by" "someone""#).await;
    gateway.result(&json!(["SET", "by", "line\nbreak"])).await;
    monitored(&mut monitor, r#" "SET" "by" "line\nbreak""#).await;
    redis.kill();
    monitor.ended().await;
}

#[tokio::test]
async fn on_sigterm_every_kind_of_stream_ends_whole() {
    let (_redis, mut gateway) = parts().await;
    let monitor = gateway.caller(TOKEN).open("/monitor").await;
    let streams = [gateway.subscribe("c").await, gateway.psubscribe("c*").await, monitor];
    gateway.signal(Signal::SIGTERM);
    for mut stream in streams {
        stream.ended().await;
    }
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn monitors_are_few_and_one_that_goes_makes_room() {
    let (_redis, gateway) = parts().await;
    let mut monitors = Vec::new();
    for _ in 0..16 {
        monitors.push(gateway.caller(TOKEN).open("/monitor").await);
    }
    let open = async || within("an answer", gateway.request("POST", "/monitor").body("[]").send()).await.unwrap();
    let refused = open().await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    monitors.pop();
    until("a place to be free", async || open().await.status() == 200).await;
}

/// Upstash's client takes each line that begins exactly `data: ` for a message of its own.
#[tokio::test]
async fn no_second_line_of_a_payload_passes_for_a_message() {
    let (redis, gateway) = parts().await;
    let (channel, pattern) = (gateway.subscribe("c").await, gateway.psubscribe("c*").await);
    redis.run::<i64>(&["PUBLISH", "c", "a\nmessage,other,b\r\n c\rd\n"]).await.unwrap();
    let rest = "a\ndata:message,other,b\ndata:  c\ndata:d\ndata:\n\n";
    assert_eq!(channel.raw_event().await, format!("data: message,c,{rest}"));
    assert_eq!(pattern.raw_event().await, format!("data: pmessage,c*,c,{rest}"));
}

#[tokio::test]
async fn streams_are_opened_by_get_and_post_only() {
    let (_redis, gateway) = parts().await;
    for path in ["/subscribe/c", "/psubscribe/c*", "/monitor"] {
        for method in ["HEAD", "PUT", "DELETE"] {
            let answer = within(method, gateway.request(method, path).send()).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (405, ""), "{method} {path}");
        }
        assert_eq!(within(path, gateway.request("GET", path).send()).await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_subscription_too_many_is_refused_until_one_goes() {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready_with(redis.url(), &[("GATEWAY_MAX_SUBSCRIPTIONS", "2")]).await;
    let (mut first, second) = (gateway.subscribe("a").await, gateway.psubscribe("b*").await);
    for path in ["/subscribe/a", "/psubscribe/a*"] {
        let refused = within(path, gateway.request("POST", path).body("[]").send()).await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        assert_eq!(error(&refused.json().await.unwrap()), "ERR max concurrent subscriptions exceeded. Limit: 2");
    }
    drop(second);
    until("a place to be free", async || {
        let answer = within("an answer", gateway.request("POST", "/subscribe/c").body("[]").send()).await.unwrap();
        answer.status() == 200
    })
    .await;
    redis.run::<i64>(&["PUBLISH", "a", "on"]).await.unwrap();
    assert_eq!(first.data().await, "message,a,on");
}

#[tokio::test]
async fn a_stream_that_redis_refuses_takes_no_place() {
    let redis = RedisServer::start().await.unwrap();
    redis.run::<String>(&["ACL", "SETUSER", "default", "resetchannels", "&open*"]).await.unwrap();
    let gateway = Gateway::ready_with(redis.url(), &[("GATEWAY_MAX_SUBSCRIPTIONS", "1")]).await;
    for _ in 0..3 {
        assert_eq!(json(gateway.request("POST", "/subscribe/closed").body("[]")).await.0, 400);
    }
    gateway.subscribe("open").await;
}

#[tokio::test]
async fn a_stream_behind_another_request_on_one_connection_begins_after_its_answer() {
    let (redis, gateway) = parts().await;
    for _ in 0..20 {
        let mut wire = Wire::connect(&gateway).await;
        wire.send(&[("POST / HTTP/1.1", r#"["PING"]"#), ("GET /subscribe/c HTTP/1.1", "")]).await;
        let text = wire.until("data: subscribe,c,1\n\n: keep-alive\n\n\r\n").await;
        let (first, second) = text.split_once(r#"{"result":"PONG"}"#).unwrap();
        assert!(first.starts_with("HTTP/1.1 200 ") && second.starts_with("HTTP/1.1 200 "), "{text}");
        redis.run::<i64>(&["PUBLISH", "c", "m"]).await.unwrap();
        wire.until("data: message,c,m\n\n\r\n").await;
    }
}

/// Pieces of a body in chunks are nothing that HTTP/1.0 knows: it ends with the connection.
#[tokio::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let (redis, gateway) = parts().await;
    let mut wire = Wire::connect(&gateway).await;
    wire.send(&[("GET /subscribe/c HTTP/1.0", "")]).await;
    let text = wire.until(": keep-alive\n\n").await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "data: subscribe,c,1\n\n: keep-alive\n\n");
    redis.run::<i64>(&["PUBLISH", "c", "m"]).await.unwrap();
    assert_eq!(wire.until("\n\n").await, "data: message,c,m\n\n");
}
