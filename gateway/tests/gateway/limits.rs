//! Bounds: of sizes, numbers and time; and a Redis that does not answer.

use crate::support::{Gateway, error, until, within};
use nix::sys::signal::Signal;
use serde_json::json;
use stack::RedisServer;
use tokio::net::TcpStream;

async fn parts(variables: &[(&str, &str)]) -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready_with(redis.url(), variables).await;
    (redis, gateway)
}

/// The command is known from here on, so that what is sent to a frozen Redis is the command itself.
async fn frozen_after_a_set(redis: &RedisServer, gateway: &Gateway) {
    gateway.result(&json!(["SET", "k", "before"])).await;
    redis.freeze().unwrap();
}

#[tokio::test]
async fn an_answer_over_the_limit_is_an_error_with_both_sizes() {
    let (redis, gateway) = parts(&[("GATEWAY_MAX_RESPONSE_BYTES", "100")]).await;
    for (length, whole) in [(100 - r#"{"result":""}"#.len(), true), (101 - r#"{"result":""}"#.len(), false)] {
        redis.run::<String>(&["SET", "k", &"x".repeat(length)]).await.unwrap();
        let (status, answer) = gateway.post("/", r#"["GET","k"]"#).await;
        if whole {
            assert_eq!(status, 200, "{answer}");
        } else {
            let words = "ERR max request size exceeded. Limit: 100 bytes, Actual: 101 bytes";
            assert!(status == 400 && error(&answer).starts_with(words), "{answer}");
        }
    }
    for path in ["/pipeline", "/multi-exec"] {
        let (status, answer) = gateway.post(path, r#"[["GET","k"],["PING"]]"#).await;
        assert!(status == 400 && error(&answer).starts_with("ERR max request size exceeded."), "{path}: {answer}");
    }
}

/// The answer is given up long before it is whole; the commands are not.
#[tokio::test]
async fn all_of_a_pipeline_runs_although_its_answer_is_too_large() {
    let (redis, gateway) = parts(&[("GATEWAY_MAX_RESPONSE_BYTES", "100000")]).await;
    redis.run::<String>(&["SET", "big", &"x".repeat(50_000)]).await.unwrap();
    let mut commands = vec![json!(["GET", "big"]); 500];
    commands.push(json!(["INCR", "n"]));
    let (status, answer) = gateway.post("/pipeline", json!(commands).to_string()).await;
    let words = "ERR max request size exceeded. Limit: 100000 bytes, Actual: 25000008 bytes";
    assert!(status == 400 && error(&answer).starts_with(words), "{answer}");
    assert_eq!(gateway.result(&json!(["GET", "n"])).await, json!("1"));
}

#[tokio::test]
async fn a_request_with_too_many_commands_runs_none() {
    let (_redis, gateway) = parts(&[("GATEWAY_MAX_COMMANDS", "2")]).await;
    let three = json!(vec![["INCR", "n"]; 3]).to_string();
    for path in ["/pipeline", "/multi-exec"] {
        let words = "ERR too many commands in one request. Limit: 2, Actual: 3";
        assert_eq!(gateway.post(path, three.as_str()).await, (400, json!({ "error": words })), "{path}");
        assert_eq!(gateway.post(path, r#"[["PING"],["PING"]]"#).await.0, 200);
    }
    assert_eq!(gateway.result(&json!(["GET", "n"])).await, json!(null));
}

#[tokio::test]
async fn a_request_too_many_is_refused_until_one_is_answered() {
    let (redis, gateway) = parts(&[("GATEWAY_MAX_REQUESTS", "1")]).await;
    frozen_after_a_set(&redis, &gateway).await;
    let write = gateway.post("/", r#"["SET","k","v"]"#);
    let meanwhile = async {
        gateway.await_in_flight(1).await;
        let refused = within("a refusal", gateway.request("GET", "/get/k").send()).await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        assert_eq!(error(&refused.json().await.unwrap()), "ERR max concurrent requests exceeded. Limit: 1");
        redis.thaw().unwrap();
    };
    let (write, ()) = tokio::join!(write, meanwhile);
    assert_eq!(write, (200, json!({ "result": "OK" })));
    assert_eq!(gateway.result(&json!(["GET", "k"])).await, json!("v"));
}

/// A stream is open for hours: it must not take the place of requests.
#[tokio::test]
async fn an_open_stream_is_no_request_under_way() {
    let (_redis, gateway) = parts(&[("GATEWAY_MAX_REQUESTS", "1")]).await;
    let _streams = [gateway.subscribe("a").await, gateway.psubscribe("b*").await];
    assert_eq!(gateway.result(&json!(["PING"])).await, json!("PONG"));
}

#[tokio::test]
async fn without_redis_every_refusal_says_when_to_try_again() {
    let gateway = Gateway::start(&RedisServer::stopped().unwrap());
    for (path, body) in [("/", r#"["PING"]"#), ("/pipeline", r#"[["PING"]]"#), ("/subscribe/c", ""), ("/monitor", "")] {
        let refused = within(path, gateway.request("POST", path).body(body).send()).await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert!(error(&refused.json().await.unwrap()).starts_with("ERR Redis is not reachable"), "{path}");
    }
}

#[tokio::test]
async fn a_write_that_redis_does_not_answer_says_that_it_may_have_run() {
    let (redis, gateway) = parts(&[("GATEWAY_RESPONSE_TIMEOUT_SECS", "1")]).await;
    frozen_after_a_set(&redis, &gateway).await;
    for (path, body) in [("/", r#"["SET","k","v"]"#), ("/pipeline", r#"[["SET","k","v"]]"#)] {
        let answer = within(path, gateway.request("POST", path).body(body).send()).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        let words = error(&answer.json().await.unwrap()).to_owned();
        let expected = ["did not answer; the commands may have been executed", "not reachable; nothing was sent"];
        // The second may find the connection given up already.
        let expected = if path == "/" { &expected[..1] } else { &expected[..] };
        assert!(expected.iter().any(|end| words.contains(end)), "{path}: {words}");
    }
    redis.thaw().unwrap();
    until("writes to work again", async || gateway.post("/", r#"["SET","k","after"]"#).await.0 == 200).await;
    assert_eq!(gateway.result(&json!(["GET", "k"])).await, json!("after"));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_gateway_stops() {
    let (redis, mut gateway) = parts(&[]).await;
    frozen_after_a_set(&redis, &gateway).await;
    let address = gateway.url.strip_prefix("http://").unwrap().to_owned();
    let write = gateway.post("/", r#"["SET","k","v"]"#);
    let meanwhile = async {
        gateway.await_in_flight(1).await;
        gateway.signal(Signal::SIGTERM);
        until("no more connections to be accepted", async || TcpStream::connect(&address).await.is_err()).await;
        redis.thaw().unwrap();
    };
    let (write, ()) = tokio::join!(write, meanwhile);
    assert_eq!(write, (200, json!({ "result": "OK" })));
    assert_eq!(gateway.exit_code().await, Some(0));
    assert_eq!(redis.run::<String>(&["GET", "k"]).await.unwrap(), "v");
}
