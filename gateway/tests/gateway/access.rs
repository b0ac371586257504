//! Who may do what: the read-only token, tokens of ACL users, and where secrets must not show.

use crate::support::{Gateway, TOKEN, error, json, until, within};
use serde_json::{Value, json};
use stack::RedisServer;
use std::fs;
use std::io::Write;
use tempfile::NamedTempFile;

const READ_ONLY: &str = "read-only-token";
const ANN: &str = "token-of-ann";
const BOB: &str = "token-of-bob";

/// `redis-server` started by tests listens without a password: this user is for its URL.
const GATEWAY_USER: [&str; 7] = ["on", ">hunter2-in-url", "~*", "&*", "+@all", "-@dangerous", "+info"];

async fn parts() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready_with(redis.url(), &[("GATEWAY_READ_ONLY_TOKEN", READ_ONLY)]).await;
    (redis, gateway)
}

fn no_permission(name: &str) -> Value {
    json!({ "error": format!("NOPERM this user has no permissions to run the '{name}' command or its subcommand") })
}

async fn set_user(redis: &RedisServer, name: &str, rules: &[&str]) {
    let words = [&["ACL", "SETUSER", name], rules].concat();
    redis.run::<String>(&words).await.unwrap();
}

/// A Redis with two users, each with keys and channels of their own, and a gateway that knows them; a third's password
/// is wrong in its file.
async fn users() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    set_user(&redis, "ann", &["on", ">pass-of-ann", "~a:*", "resetchannels", "&ann:*", "+@all"]).await;
    set_user(&redis, "bob", &["on", ">pass-of-bob", "~b:*", "resetchannels", "&bob:*", "+@all", "-monitor"]).await;
    set_user(&redis, "eve", &["on", ">pass-of-eve", "~*", "&*", "+@all"]).await;
    let mut tokens = NamedTempFile::new().unwrap();
    write!(
        tokens,
        "# TOKEN USER PASSWORD\n{ANN} ann pass-of-ann\n{BOB} bob pass-of-bob\ntoken-of-eve eve wrong-pass\n"
    )
    .unwrap();
    let file = tokens.path().to_str().unwrap();
    let gateway = Gateway::ready_with(redis.url(), &[("GATEWAY_TOKENS_FILE", file)]).await;
    (redis, gateway)
}

#[tokio::test]
async fn a_read_only_token_reads() {
    let (_redis, gateway) = parts().await;
    let reader = gateway.caller(READ_ONLY);
    gateway.post("/pipeline", r#"[["SET","k","v"],["HSET","h","f","1"],["XADD","s","1-1","a","b"]]"#).await;
    let rules = [
        (r#"["GET","k"]"#, json!("v")),
        (r#"["mget","k","none"]"#, json!(["v", null])),
        (r#"["HGETALL","h"]"#, json!(["f", "1"])),
        (r#"["XRANGE","s","-","+"]"#, json!([["1-1", ["a", "b"]]])),
        (r#"["TTL","k"]"#, json!(-1)),
        (r#"["PING"]"#, json!("PONG")),
        (r#"["OBJECT","ENCODING","k"]"#, json!("embstr")),
    ];
    for (body, result) in rules {
        assert_eq!(reader.post("/", body).await, (200, json!({ "result": result })), "{body}");
    }
    assert_eq!(json(reader.request("GET", "/get/k")).await, (200, json!({ "result": "v" })));
}

#[tokio::test]
async fn a_read_only_token_subscribes() {
    let (redis, gateway) = parts().await;
    let reader = gateway.caller(READ_ONLY);
    let (mut channel, mut pattern) = (reader.subscribe("c").await, reader.psubscribe("c*").await);
    redis.run::<i64>(&["PUBLISH", "c", "hello"]).await.unwrap();
    assert_eq!(channel.data().await, "message,c,hello");
    assert_eq!(pattern.data().await, "pmessage,c*,c,hello");
}

#[tokio::test]
async fn a_read_only_token_is_refused_whatever_does_more_than_read() {
    let (redis, gateway) = parts().await;
    redis.run::<String>(&["SET", "k", "v"]).await.unwrap();
    let reader = gateway.caller(READ_ONLY);
    let commands = [
        json!(["SET", "k", "w"]),
        json!(["sEt", "k", "w"]),
        json!(["EVAL", "return redis.call('SET','k','w')", 0]),
        json!(["KEYS", "*"]),
        json!(["SCAN", 0]),
        json!(["PUBLISH", "c", "m"]),
        json!(["FLUSHALL"]),
        json!(["CONFIG", "GET", "maxmemory"]),
        json!(["SORT", "k", "STORE", "l"]),
        json!(["GETDEL", "k"]),
        json!(["OBJECT", "HELP"]),
    ];
    for command in commands {
        let words: Vec<String> = command.as_array().unwrap().iter().map(ToString::to_string).collect();
        let refusal = no_permission(&command[0].as_str().unwrap().to_lowercase());
        assert_eq!(reader.post("/", command.to_string()).await, (400, refusal.clone()), "{command}");
        let path = format!("/{}", words.join("/").replace('"', "").replace('*', "%2A"));
        assert_eq!(json(reader.request("GET", &path)).await, (400, refusal.clone()), "{path}");

        let pipeline = json!([["GET", "k"], command, ["GET", "k"]]).to_string();
        let value = json!({ "result": "v" });
        assert_eq!(reader.post("/pipeline", pipeline.as_str()).await, (200, json!([value, refusal, value])));
        assert_eq!(reader.post("/multi-exec", pipeline).await, (400, refusal));
    }
    assert_eq!(json(reader.request("POST", "/monitor")).await, (400, no_permission("monitor")));
    assert_eq!(redis.run::<String>(&["GET", "k"]).await.unwrap(), "v");
}

#[tokio::test]
async fn redis_itself_limits_each_user_to_its_keys() {
    let (_redis, gateway) = users().await;
    for (token, own, other) in [(ANN, "a:1", "b:1"), (BOB, "b:1", "a:1")] {
        let user = gateway.caller(token);
        assert_eq!(user.post("/", json!(["SET", own, token]).to_string()).await, (200, json!({ "result": "OK" })));
        assert_eq!(user.post("/", json!(["GET", own]).to_string()).await, (200, json!({ "result": token })));
        for command in [json!(["SET", other, "x"]), json!(["GET", other])] {
            let (status, answer) = user.post("/", command.to_string()).await;
            assert!(status == 400 && error(&answer).starts_with("NOPERM "), "{command}: {answer}");
            let (_, answers) = user.post("/pipeline", json!([command, ["GET", own]]).to_string()).await;
            assert!(error(&answers[0]).starts_with("NOPERM "), "{answers}");
            assert_eq!(answers[1], json!({ "result": token }));
        }
        let transaction = json!([["GET", own], ["GET", other]]).to_string();
        assert_eq!(user.post("/multi-exec", transaction).await.0, 400);
    }
}

#[tokio::test]
async fn redis_itself_limits_each_user_to_its_channels() {
    let (redis, gateway) = users().await;
    let mut streams = Vec::new();
    for (token, own, other) in [(ANN, "ann:1", "bob:1"), (BOB, "bob:1", "ann:1")] {
        let user = gateway.caller(token);
        streams.push((own, user.subscribe(own).await));
        let (status, answer) = json(user.request("POST", &format!("/subscribe/{other}")).body("[]")).await;
        assert!(status == 400 && error(&answer).starts_with("NOPERM "), "{answer}");
        let (status, answer) = json(user.request("POST", "/psubscribe/*").body("[]")).await;
        assert!(status == 400 && error(&answer).starts_with("NOPERM "), "{answer}");
    }
    for (channel, stream) in &mut streams {
        redis.run::<i64>(&["PUBLISH", channel, "m"]).await.unwrap();
        assert_eq!(stream.data().await, format!("message,{channel},m"));
    }
}

#[tokio::test]
async fn only_a_user_who_may_monitor_does() {
    let (_redis, gateway) = users().await;
    assert_eq!(json(gateway.caller(BOB).request("POST", "/monitor")).await, (400, no_permission("monitor")));
    assert_eq!(gateway.caller(ANN).open("/monitor").await.data().await, r#""OK""#);
}

#[tokio::test]
async fn a_user_who_may_not_ask_about_commands_still_has_its_own() {
    let (redis, gateway) = users().await;
    set_user(&redis, "bob", &["reset", "on", ">pass-of-bob", "~b:*", "+get"]).await;
    assert_eq!(gateway.caller(BOB).post("/", r#"["GET","b:1"]"#).await, (200, json!({ "result": null })));
}

#[tokio::test]
async fn a_wrong_password_in_the_file_harms_no_other() {
    let (_redis, gateway) = users().await;
    let eve = gateway.caller("token-of-eve");
    let (status, answer) = eve.post("/", r#"["GET","k"]"#).await;
    assert!(status == 503 && error(&answer).contains("nothing was sent"), "{answer}");
    assert_eq!(json(eve.request("POST", "/subscribe/c").body("[]")).await.0, 503);
    for token in [TOKEN, ANN] {
        assert_eq!(gateway.caller(token).post("/", r#"["PING"]"#).await, (200, json!({ "result": "PONG" })));
    }
    assert_eq!(gateway.admin("/readyz").await.status(), 200);
    assert_eq!(gateway.caller("token-of-nobody").post("/", r#"["PING"]"#).await.0, 401);
}

/// Everything it says about itself, at the level that says most of what users can turn on, and with all that goes wrong.
#[tokio::test]
async fn secrets_stand_in_no_log_and_each_access_line_is_json() {
    let mut redis = RedisServer::start().await.unwrap();
    set_user(&redis, "gateway", &GATEWAY_USER).await;
    let mut tokens = NamedTempFile::new().unwrap();
    writeln!(tokens, "token-of-eve eve wrong-pass").unwrap();
    let url = redis.url().replace("://", "://gateway:hunter2-in-url@");
    let variables = [
        ("LOG_LEVEL", "debug"),
        ("GATEWAY_LOG_FORMAT", "json"),
        ("GATEWAY_ACCESS_LOG", "true"),
        ("GATEWAY_READ_ONLY_TOKEN", READ_ONLY),
        ("GATEWAY_TOKENS_FILE", tokens.path().to_str().unwrap()),
    ];
    let gateway = Gateway::ready_with(&url, &variables).await;
    let ask = |path: &str, id: &'static str| {
        let request = gateway.http.post(format!("{}{path}", gateway.url)).header("X-Request-Id", id);
        within(id, request.body(r#"["PING"]"#).send())
    };
    let asked = [
        (format!("/?_token={TOKEN}"), "query-1", 200),
        (format!("/?%5ftoken={TOKEN}"), "escaped-1", 401),
        (format!("/echo/x?EX=1&_token={READ_ONLY}"), "reader-1", 400),
        ("/?_token=wrong-in-query".to_owned(), "wrong-1", 401),
        ("/?_token=token-of-eve".to_owned(), "eve-1", 503),
    ];
    for (path, id, status) in &asked {
        let answer = ask(path, id).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (*status, *id));
    }
    assert_eq!(gateway.caller("wrong-in-header").post("/", r#"["PING"]"#).await.0, 401);
    redis.kill();
    until("a refused request", async || gateway.post("/", r#"["PING"]"#).await.0 == 503).await;

    let log = gateway.log();
    for secret in [TOKEN, READ_ONLY, "token-of-eve", "wrong-in-", "hunter2", "wrong-pass"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let accesses: Vec<&Value> = lines.iter().filter(|line| line["target"] == "access").collect();
    for (_, id, status) in asked {
        let line = accesses.iter().find(|line| line["request_id"] == id).unwrap_or_else(|| panic!("{id} in {log}"));
        assert!(line["status"] == status && line["method"] == "POST" && line["took_us"].is_u64(), "{line}");
    }
    assert!(accesses.iter().all(|line| line["request_id"].as_str().is_some_and(|id| !id.is_empty())));
}

#[tokio::test]
async fn a_file_of_tokens_that_is_not_understood_stops_it_without_its_secrets() {
    let mut tokens = NamedTempFile::new().unwrap();
    writeln!(tokens, "token-of-ann ann pass word").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_batchcast-gateway"))
        .args(["--listen", "127.0.0.1:0", "--token", TOKEN, "--tokens-file", tokens.path().to_str().unwrap()])
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && words.contains("GATEWAY_TOKENS_FILE is not usable: line 1"), "{words}");
    assert!(!words.contains("token-of-ann") && !words.contains("pass word"), "{words}");
    fs::remove_file(tokens.path()).unwrap();
}

/// Where Redis refuses `MULTI` or `EXEC`, what stands between them would run by itself.
#[tokio::test]
async fn who_may_not_make_transactions_is_refused_and_nothing_runs() {
    let redis = RedisServer::start().await.unwrap();
    redis.run::<String>(&["ACL", "SETUSER", "ann", "on", ">pass", "~*", "+@all", "-@transaction"]).await.unwrap();
    let url = redis.url().replace("redis://", "redis://ann:pass@");
    let gateway = Gateway::ready_with(&url, &[]).await;
    for _ in 0..2 {
        let (status, answer) = gateway.post("/multi-exec", r#"[["INCR","n"]]"#).await;
        assert!(status == 400 && error(&answer).starts_with("NOPERM "), "{answer}");
    }
    assert_eq!(gateway.result(&json!(["GET", "n"])).await, json!(null));
    // It counts for this user only as long as it is so.
    redis.run::<String>(&["ACL", "SETUSER", "ann", "+@transaction"]).await.unwrap();
    let again = Gateway::ready_with(&url, &[]).await;
    assert_eq!(again.post("/multi-exec", r#"[["INCR","n"]]"#).await, (200, json!([{ "result": 1 }])));
}
