//! Starting, Redis away and back, and stopping.

use crate::support::{Gateway, TOKEN, json, until};
use serde_json::json;
use stack::RedisServer;
use std::process::Command;

#[tokio::test]
async fn it_starts_without_redis_says_so_and_recovers() {
    let mut redis = RedisServer::stopped().unwrap();
    let gateway = Gateway::start(&redis);
    assert_eq!(gateway.admin("/healthz").await.status(), 200);
    let readyz = gateway.admin("/readyz").await;
    assert_eq!(readyz.status(), 503);
    assert!(readyz.text().await.unwrap().contains("connection to Redis"));
    let unreachable = json!({ "error": "ERR Redis is not reachable; nothing was sent, try again shortly" });
    for path in ["/", "/pipeline", "/multi-exec"] {
        let body = if path == "/" { r#"["PING"]"# } else { r#"[["PING"]]"# };
        assert_eq!(gateway.post(path, body).await, (503, unreachable.clone()), "{path}");
    }
    let (status, answer) = json(gateway.request("POST", "/subscribe/c").body("[]")).await;
    assert!(status == 503 && answer["error"].as_str().unwrap().contains("Redis is not reachable"), "{answer}");

    redis.restart().await.unwrap();
    gateway.await_ready().await;
    assert_eq!(gateway.post("/", r#"["PING"]"#).await, (200, json!({ "result": "PONG" })));
}

#[tokio::test]
async fn commands_work_again_after_a_restart_of_redis() {
    let mut redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    gateway.post("/", r#"["SET","k","v"]"#).await;
    redis.kill();
    assert_eq!(gateway.post("/", r#"["GET","k"]"#).await.0, 503);
    redis.restart().await.unwrap();
    until("commands to work again", async || gateway.post("/", r#"["GET","k"]"#).await.0 == 200).await;
}

#[tokio::test]
async fn on_sigterm_it_ends_open_streams_and_exits_with_0() {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    let mut stream = gateway.subscribe("c").await;
    assert_eq!(gateway.terminate().await, Some(0));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn what_is_counted_is_shown_without_secrets() {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    gateway.post("/", r#"["PING"]"#).await;
    gateway.http.get(format!("{}/?_token=no", gateway.url)).send().await.unwrap();
    let text = gateway.admin("/metrics").await.text().await.unwrap();
    assert!(text.contains("batchcast_gateway_requests_total{status=\"200\"} 1\n"), "{text}");
    assert!(text.contains("batchcast_gateway_requests_total{status=\"401\"} 1\n"), "{text}");
    assert!(text.contains("batchcast_gateway_redis_up 1\n"), "{text}");
    assert!(!text.contains(TOKEN));
}

#[test]
fn a_missing_token_or_a_bad_address_stops_it_with_the_remedy() {
    let run = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchcast-gateway"));
        command.args(["--listen", "127.0.0.1:0"]).env("GATEWAY_TOKEN", TOKEN).env(name, value);
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("GATEWAY_TOKEN", "").contains("GATEWAY_TOKEN is missing"));
    assert!(run("REDIS_URL", "localhost").contains("REDIS_URL is not usable"));
    assert!(run("GATEWAY_ADMIN_LISTEN", "here").contains("--admin-listen"));
}
