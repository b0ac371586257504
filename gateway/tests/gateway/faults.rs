//! Nothing is mixed up, lost or bent: under load, over restarts of Redis, for any bytes.

use crate::support::{Gateway, error, json, until, within};
use futures::future::join_all;
use redis_rest::{Encoding, Reply};
use serde_json::{Value, json};
use sha1_smol::Sha1;
use stack::RedisServer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

const CLIENTS: usize = 1_000;
const WRITERS: usize = 50;

async fn parts() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    (redis, gateway)
}

/// One command in each form that a body can have; the answer's part for it.
async fn in_every_form(gateway: &Gateway, command: &Value) -> [Value; 3] {
    let single = gateway.post("/", command.to_string()).await.1;
    let mut answers = [single, json!(null), json!(null)];
    for (answer, path) in answers[1..].iter_mut().zip(["/pipeline", "/multi-exec"]) {
        *answer = gateway.post(path, json!([command]).to_string()).await.1[0].take();
    }
    answers
}

#[tokio::test]
async fn among_thousands_at_the_same_time_everybody_gets_the_own_answer() {
    let (redis, gateway) = parts().await;
    let pairs = (0..CLIENTS).flat_map(|client| [format!("k{client}"), format!("v{client}")]);
    let words: Vec<String> = ["MSET".to_owned()].into_iter().chain(pairs).collect();
    redis.run::<String>(&words.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();

    let transactions = join_all((0..CLIENTS).map(async |client| {
        let body = json!([["SET", "owner", client], ["INCR", "n"], ["GET", "owner"], ["INCR", "n"]]).to_string();
        let (status, answer) = gateway.post("/multi-exec", body).await;
        assert_eq!((status, &answer[2]["result"]), (200, &json!(client.to_string())), "{answer}");
        let number = |at: usize| answer[at]["result"].as_u64().unwrap();
        assert_eq!(number(3), number(1) + 1);
    }));
    let reads = join_all((0..CLIENTS).map(async |client| {
        let answer = gateway.post("/", json!(["GET", format!("k{client}")]).to_string()).await;
        assert_eq!(answer, (200, json!({ "result": format!("v{client}") })));
    }));
    tokio::join!(transactions, reads);
    assert_eq!(gateway.result(&json!(["GET", "n"])).await, json!((2 * CLIENTS).to_string()));
}

/// How often Redis was emptied, and how often something was answered, for all to see.
#[derive(Default)]
struct Weather {
    restarts: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

/// Writes and reads back. What it reads must be what it wrote last, or a later write whose end was not told; or nothing,
/// where Redis was emptied since.
async fn writer(gateway: &Gateway, weather: &Weather, client: usize) {
    let key = format!("key-{client}");
    for round in 0.. {
        if weather.over.load(SeqCst) {
            return;
        }
        let value = format!("value-{client}-{round}");
        let before = weather.restarts.load(SeqCst);
        let (status, answer) = gateway.post("/", json!(["SET", key, value]).to_string()).await;
        if !counted(weather, status, &answer) {
            continue;
        }
        assert_eq!(answer, json!({ "result": "OK" }));
        let (status, answer) = gateway.post("/", json!(["GET", key]).to_string()).await;
        if counted(weather, status, &answer) {
            let emptied = weather.restarts.load(SeqCst) > before;
            let right = answer == json!({ "result": value }) || emptied && answer == json!({ "result": null });
            assert!(right, "{client}, round {round}: {answer}");
        }
    }
}

fn counted(weather: &Weather, status: u16, answer: &Value) -> bool {
    if status != 200 {
        assert!(status == 503 && error(answer).starts_with("ERR Redis "), "{status}: {answer}");
    }
    let counter = if status == 200 { &weather.answered } else { &weather.refused };
    counter.fetch_add(1, SeqCst);
    status == 200
}

#[tokio::test]
async fn over_restarts_of_redis_under_load_every_answer_is_right() {
    let (mut redis, gateway) = parts().await;
    let weather = Weather::default();
    let storm = async {
        for _ in 0..5 {
            let answered = weather.answered.load(SeqCst);
            until("answers to come", async || weather.answered.load(SeqCst) > answered + 10 * WRITERS as u64).await;
            let refused = weather.refused.load(SeqCst);
            weather.restarts.fetch_add(1, SeqCst);
            redis.kill();
            until("refusals to come", async || weather.refused.load(SeqCst) > refused).await;
            redis.restart().await.unwrap();
        }
        gateway.await_ready().await;
        weather.over.store(true, SeqCst);
    };
    tokio::join!(join_all((0..WRITERS).map(|client| writer(&gateway, &weather, client))), storm);
    assert_eq!(gateway.result(&json!(["PING"])).await, json!("PONG"));
}

#[tokio::test]
async fn arguments_that_are_none_are_refused_in_every_form_and_nothing_runs() {
    let (redis, gateway) = parts().await;
    let rules = [
        (r#"["SET","k",null]"#, "ERR null args are not supported"),
        (r#"[null]"#, "ERR null args are not supported"),
        (r#"["SET","k",["a"]]"#, r#"ERR unsupported arg type: "[": json.Delim"#),
        (r#"["SET",{"k":1},"v"]"#, r#"ERR unsupported arg type: "{": json.Delim"#),
        (r#"[["SET"],"k","v"]"#, r#"ERR unsupported arg type: "[": json.Delim"#),
        ("[]", "ERR empty command"),
        (r#""SET""#, "expected JSON array"),
        ("1", "expected JSON array"),
        ("true", "expected JSON array"),
        (r#"{"SET":"k"}"#, "expected JSON array"),
    ];
    for (command, words) in rules {
        let refusal = (400, json!({ "error": words }));
        assert_eq!(gateway.post("/", command).await, refusal, "{command}");
        let several = format!(r#"[["SET","k","before"],{command}]"#);
        for path in ["/pipeline", "/multi-exec"] {
            assert_eq!(gateway.post(path, several.as_str()).await, refusal, "{path} {command}");
        }
    }
    for body in [r#"["SET","k","v""#, r#"["SET","k","v"] x"#, r#"["SET","k",v]"#, r#"["SET","k","\ud800"]"#] {
        let (status, answer) = gateway.post("/", body).await;
        assert!(status == 400 && error(&answer).starts_with("ERR invalid JSON"), "{body}: {answer}");
    }
    let bytes = gateway.request("POST", "/").body(b"[\"SET\",\"k\",\"\xff\"]".to_vec());
    assert!(error(&json(bytes).await.1).contains("is not UTF-8"));
    assert_eq!(redis.run::<i64>(&["EXISTS", "k"]).await.unwrap(), 0);
}

/// Redis repeats a subcommand that it does not know, cut in the middle of a character. A text that is not UTF-8 costs
/// all requests their connection.
#[tokio::test]
async fn a_subcommand_that_there_is_not_disturbs_nobody() {
    let (_redis, gateway) = parts().await;
    let cut = format!("a{}", "é".repeat(200));
    for name in ["OBJECT", "CONFIG", "XINFO", "PUBSUB", "FUNCTION", "OBJECT|ENCODING", "CONFIG|GET"] {
        let (status, answer) = gateway.post("/", json!([name, cut, "x"]).to_string()).await;
        assert!(status == 400 && error(&answer).starts_with("ERR "), "{name}: {answer}");
    }
    let (status, answer) = json(gateway.request("GET", "/object/%FF")).await;
    assert!(status == 400 && error(&answer).starts_with("ERR "), "{answer}");
    assert_eq!(gateway.metric("batchcast_gateway_redis_connections_total").await, 2);
}

/// As above, where what Redis repeats is an argument of a command that it knows.
#[tokio::test]
async fn an_error_that_repeats_bytes_of_an_argument_disturbs_nobody() {
    let (_redis, gateway) = parts().await;
    for path in ["/config/set/%FF/1", "/acl/cat/%FF", "/acl/setuser/x/%FF", "/function/list/%FF"] {
        let (status, answer) = json(gateway.request("GET", path)).await;
        assert!(status == 400 && error(&answer).starts_with("ERR "), "{path}: {answer}");
    }
    assert_eq!(gateway.metric("batchcast_gateway_redis_connections_total").await, 2);
}

#[tokio::test]
async fn base64_carries_every_byte_at_every_depth() {
    let (_redis, gateway) = parts().await;
    let all: Vec<u8> = (0..=255).collect();
    for path in ["/set/s", "/rpush/l", "/hset/h/f"] {
        assert_eq!(json(gateway.request("POST", path).body(all.clone())).await.0, 200, "{path}");
    }
    let bulk = || Reply::Bulk(all.clone());
    let nested = r#"["EVAL","local s = redis.call('GET', KEYS[1]) return {s, {{s}, 1}}","1","s"]"#;
    let rules = [
        (r#"["GET","s"]"#, bulk()),
        (r#"["LRANGE","l","0","-1"]"#, Reply::Array(vec![bulk()])),
        (r#"["HGETALL","h"]"#, Reply::Array(vec![Reply::Bulk(b"f".to_vec()), bulk()])),
        (nested, Reply::Array(vec![bulk(), Reply::Array(vec![Reply::Array(vec![bulk()]), Reply::Int(1)])])),
    ];
    let ask = async |path: &str, body: String| {
        let request = gateway.request("POST", path).header("Upstash-Encoding", "base64").body(body);
        within(path, request.send()).await.unwrap().bytes().await.unwrap()
    };
    for (command, reply) in &rules {
        let body = ask("/", (*command).to_owned()).await;
        assert_eq!(&Reply::from_body(&body, Encoding::Base64).unwrap(), reply, "{command}");
    }
    let commands = format!("[{}]", rules.each_ref().map(|(command, _)| *command).join(","));
    for path in ["/pipeline", "/multi-exec"] {
        let replies = redis_rest::reply::pipeline_replies(&ask(path, commands.clone()).await, Encoding::Base64);
        assert_eq!(replies.unwrap(), rules.each_ref().map(|(_, reply)| reply.clone()), "{path}");
    }
}

/// Pinned: clients of Upstash decode everything but a bare `OK`, and JavaScript has no whole numbers beyond 2^53.
#[tokio::test]
async fn a_nested_ok_is_encoded_and_large_numbers_are_text() {
    let (_redis, gateway) = parts().await;
    let rules = [
        ("return redis.status_reply('OK')", json!("OK"), json!("OK")),
        ("return 'OK'", json!("OK"), json!("T0s=")),
        ("return {redis.status_reply('OK'), {'OK', 1}}", json!(["OK", ["OK", 1]]), json!(["T0s=", ["T0s=", 1]])),
        ("return {false, {}}", json!([null, []]), json!([null, []])),
    ];
    for (script, plain, encoded) in rules {
        for (encoding, expected) in [(None, plain), (Some("base64"), encoded)] {
            assert_eq!(reply(&gateway, &json!(["EVAL", script, 0]), encoding).await, expected, "{script} {encoding:?}");
        }
    }
    for (number, plain, encoded) in [
        ("9007199254740991", json!(9007199254740991_i64), json!(9007199254740991_i64)),
        ("-9007199254740991", json!(-9007199254740991_i64), json!(-9007199254740991_i64)),
        ("9007199254740992", json!("9007199254740992"), json!("OTAwNzE5OTI1NDc0MDk5Mg==")),
        ("9223372036854775807", json!("9223372036854775807"), json!("OTIyMzM3MjAzNjg1NDc3NTgwNw==")),
        ("-9223372036854775808", json!("-9223372036854775808"), json!("LTkyMjMzNzIwMzY4NTQ3NzU4MDg=")),
    ] {
        for (encoding, expected) in [(None, plain), (Some("base64"), encoded)] {
            gateway.result(&json!(["DEL", "n"])).await;
            assert_eq!(reply(&gateway, &json!(["INCRBY", "n", number]), encoding).await, expected, "{encoding:?}");
        }
    }
}

async fn reply(gateway: &Gateway, command: &Value, encoding: Option<&str>) -> Value {
    let mut request = gateway.request("POST", "/").body(command.to_string());
    if let Some(encoding) = encoding {
        request = request.header("Upstash-Encoding", encoding);
    }
    json(request).await.1["result"].take()
}

/// As `@upstash/ratelimit` does: the digest is of the script as the client has it, with the flag.
#[tokio::test]
async fn a_script_with_the_flag_for_key_locking_is_known_by_its_clients_digest() {
    let (redis, gateway) = parts().await;
    let script = "#!lua flags=allow-key-locking\nreturn redis.call('INCR', KEYS[1])";
    let digest = Sha1::from(script).digest().to_string();
    let by_digest = json!(["EVALSHA", digest, 1, "n"]);
    assert_eq!(
        error(&gateway.post("/", by_digest.to_string()).await.1),
        "NOSCRIPT No matching script. Please use EVAL."
    );
    assert_eq!(gateway.result(&json!(["EVAL", script, 1, "n"])).await, json!(1));
    assert_eq!(in_every_form(&gateway, &by_digest).await, [2, 3, 4].map(|n| json!({ "result": n })));

    redis.run::<String>(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(gateway.post("/", by_digest.to_string()).await.0, 400);
    let exists = json!(["SCRIPT", "EXISTS", digest, "0".repeat(40)]);
    assert_eq!(gateway.result(&exists).await, json!([0, 0]));
    let load = json!(["SCRIPT", "LOAD", script]);
    assert_eq!(in_every_form(&gateway, &load).await, [(); 3].map(|()| json!({ "result": digest })));
    assert_eq!(in_every_form(&gateway, &exists).await, [(); 3].map(|()| json!({ "result": [1, 0] })));
    let together = json!([["EVAL", script, 1, "n"], by_digest]).to_string();
    assert_eq!(gateway.post("/pipeline", together).await.1, json!([{ "result": 5 }, { "result": 6 }]));
}

#[tokio::test]
async fn scan_tells_types_in_every_form() {
    let (redis, gateway) = parts().await;
    redis.run::<i64>(&["RPUSH", "list", "a"]).await.unwrap();
    for scan in [json!(["SCAN", 0, "WITHTYPE"]), json!(["scan", "0", "MATCH", "l*", "COUNT", 100, "withType"])] {
        let page = json!({ "result": ["0", ["list", "list"]] });
        assert_eq!(in_every_form(&gateway, &scan).await, [(); 3].map(|()| page.clone()), "{scan}");
    }
    let (status, answer) = gateway.post("/", r#"["SCAN","x","WITHTYPE"]"#).await;
    assert_eq!((status, answer), (400, json!({ "error": "ERR invalid cursor" })));
    assert_eq!(gateway.result(&json!(["SCAN", 0])).await, json!(["0", ["list"]]));
}

#[tokio::test]
async fn what_has_nothing_to_do_answers_0_in_every_form() {
    let (redis, gateway) = parts().await;
    redis.run::<String>(&["SET", "k", "v"]).await.unwrap();
    for command in [json!(["UNLINK"]), json!(["COPY", "k", "k"]), json!(["COPY", "none", "k"])] {
        assert_eq!(in_every_form(&gateway, &command).await, [(); 3].map(|()| json!({ "result": 0 })), "{command}");
    }
    assert_eq!(gateway.result(&json!(["COPY", "k", "l"])).await, json!(1));
    assert_eq!(gateway.result(&json!(["UNLINK", "k", "l"])).await, json!(2));
}
