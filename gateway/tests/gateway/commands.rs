//! Commands: their answers, statuses and error texts, in the words that Upstash's clients know.

use crate::support::{Gateway, TOKEN, json, within};
use serde_json::{Value, json};
use stack::RedisServer;

async fn parts() -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready(&redis).await;
    (redis, gateway)
}

#[tokio::test]
async fn replies_have_resp2_shapes() {
    let (_redis, gateway) = parts().await;
    let rules = [
        (r#"["SET","k","v","EX",100]"#, json!("OK")),
        (r#"["get","k"]"#, json!("v")),
        (r#"["GET","none"]"#, json!(null)),
        (r#"["SET","n",1e+21]"#, json!("OK")),
        (r#"["GET","n"]"#, json!("1e+21")),
        (r#"["HSET","h","a",1,"b",true]"#, json!(2)),
        (r#"["HGETALL","h"]"#, json!(["a", "1", "b", "true"])),
        (r#"["ZADD","z",1.5,"m"]"#, json!(1)),
        (r#"["ZSCORE","z","m"]"#, json!("1.5")),
        (r#"["INCRBY","big",9007199254740993]"#, json!("9007199254740993")),
        (r#"["PING"]"#, json!("PONG")),
        (r#"["EVAL","return {1,{'a',false},redis.status_reply('FINE')}",0]"#, json!([1, ["a", null], "FINE"])),
    ];
    for (body, result) in rules {
        assert_eq!(gateway.post("/", body).await, (200, json!({ "result": result })), "{body}");
    }
}

#[tokio::test]
async fn errors_of_redis_pass_unchanged_with_status_400() {
    let (_redis, gateway) = parts().await;
    gateway.post("/", r#"["SET","k","v"]"#).await;
    let rules = [
        (r#"["LPUSH","k","a"]"#, "WRONGTYPE Operation against a key holding the wrong kind of value"),
        (
            r#"["EVALSHA","0000000000000000000000000000000000000000",0]"#,
            "NOSCRIPT No matching script. Please use EVAL.",
        ),
        (r#"["GET"]"#, "ERR wrong number of arguments for 'get' command"),
        (r#"["EVAL","return redis.error_reply('MINE own words')",0]"#, "MINE own words"),
    ];
    for (body, error) in rules {
        assert_eq!(gateway.post("/", body).await, (400, json!({ "error": error })), "{body}");
    }
}

#[tokio::test]
async fn requests_that_are_none_are_refused_in_upstash_words() {
    let (_redis, gateway) = parts().await;
    let rules = [
        ("", "EOF"),
        ("{}", "expected JSON array"),
        ("[]", "ERR empty command"),
        (r#"["SET","k",null]"#, "ERR null args are not supported"),
        (r#"["SET","k",{"a":1}]"#, r#"ERR unsupported arg type: "{": json.Delim"#),
        (r#"["MULTI"]"#, r#"ERR Command "MULTI" is not allowed in REST or it has a special context path"#),
        (
            r#"["BLPOP","k",0]"#,
            "ERR Command is not available: 'BLPOP'. \
             See https://upstash.com/docs/redis/overall/rediscompatibility for details",
        ),
    ];
    for (body, error) in rules {
        assert_eq!(gateway.post("/", body).await, (400, json!({ "error": error })), "{body}");
    }
}

/// Redis repeats such arguments in its error, cut in the middle of a character.
#[tokio::test]
async fn an_unknown_command_disturbs_nobody() {
    let (_redis, gateway) = parts().await;
    let body = json!(["JSON.SET", "a", "é".repeat(200)]).to_string();
    for _ in 0..3 {
        let (status, answer) = gateway.post("/", body.as_str()).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.starts_with("ERR Command is not available: 'JSON.SET'."), "{error}");
    }
    assert_eq!(gateway.metric("batchcast_gateway_redis_connections_total").await, 2);
}

#[tokio::test]
async fn only_the_right_token_opens() {
    let (_redis, gateway) = parts().await;
    let refusal = json!({ "error": "WRONGPASS invalid or missing auth token. \
        See https://docs.upstash.com/redis/troubleshooting/http_unauthorized for details." });
    let ask = |path: String| gateway.http.post(format!("{}{path}", gateway.url)).body(r#"["PING"]"#);
    for request in [ask("/".into()), ask("/".into()).bearer_auth("wrong"), ask("/?_token=wrong".into())] {
        assert_eq!(json(request).await, (401, refusal.clone()));
    }
    for path in ["/pipeline", "/multi-exec", "/subscribe/c", "/get/k"] {
        assert_eq!(json(ask(path.into())).await, (401, refusal.clone()), "{path}");
    }
    for request in [ask("/".into()).bearer_auth(TOKEN), ask(format!("/?_token={TOKEN}"))] {
        assert_eq!(json(request).await, (200, json!({ "result": "PONG" })));
    }
}

#[tokio::test]
async fn a_failing_item_of_a_pipeline_fails_alone() {
    let (_redis, gateway) = parts().await;
    let body = r#"[["SET","k","v"],["LPUSH","k","a"],["SUBSCRIBE","c"],["FOO"],["GET","k"]]"#;
    let (status, answer) = gateway.post("/pipeline", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer[0], json!({ "result": "OK" }));
    assert!(answer[1]["error"].as_str().unwrap().starts_with("WRONGTYPE "));
    assert!(answer[2]["error"].as_str().unwrap().contains("not allowed in REST"));
    assert!(answer[3]["error"].as_str().unwrap().contains("not available: 'FOO'"));
    assert_eq!(answer[4], json!({ "result": "v" }));
    assert_eq!(gateway.post("/pipeline", r#"[["PING"],[]]"#).await, (400, json!({ "error": "ERR empty command" })));
}

#[tokio::test]
async fn a_transaction_answers_item_by_item_or_is_discarded_whole() {
    let (_redis, gateway) = parts().await;
    let (status, answer) = gateway.post("/multi-exec", r#"[["SET","k","v"],["LPUSH","k","a"],["GET","k"]]"#).await;
    assert_eq!((status, &answer[0], &answer[2]), (200, &json!({ "result": "OK" }), &json!({ "result": "v" })));
    assert!(answer[1]["error"].as_str().unwrap().starts_with("WRONGTYPE "));

    let (status, answer) = gateway.post("/multi-exec", r#"[["SET","k","w"],["GET"]]"#).await;
    let discarded = json!({ "error": "EXECABORT Transaction discarded because of previous errors." });
    assert_eq!((status, answer), (400, discarded));
    assert_eq!(gateway.post("/multi-exec", r#"[["SET","k","w"],["EXEC"]]"#).await.0, 400);
    assert_eq!(gateway.post("/", r#"["GET","k"]"#).await.1, json!({ "result": "v" }));
}

#[tokio::test]
async fn transactions_at_the_same_time_do_not_mix() {
    let (_redis, gateway) = parts().await;
    let body = json!(vec![["INCR", "n"]; 20]).to_string();
    let answers = futures::future::join_all((0..50).map(|_| gateway.post("/multi-exec", body.as_str()))).await;
    for (status, answer) in answers {
        assert_eq!(status, 200);
        let numbers: Vec<i64> =
            answer.as_array().unwrap().iter().map(|item| item["result"].as_i64().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    }
    assert_eq!(gateway.post("/", r#"["GET","n"]"#).await.1, json!({ "result": "1000" }));
}

#[tokio::test]
async fn base64_carries_the_exact_bytes() {
    let (_redis, gateway) = parts().await;
    let set = gateway.request("POST", "/set/bin").body(b"\xff\x00v".to_vec());
    assert_eq!(json(set.header("Upstash-Encoding", "base64")).await, (200, json!({ "result": "OK" })));
    let get = || gateway.request("GET", "/get/bin");
    assert_eq!(json(get().header("Upstash-Encoding", "base64")).await.1, json!({ "result": "/wB2" }));
    assert_eq!(json(get()).await.1, json!({ "result": "\u{fffd}\u{0}v" }));
    let pipeline = gateway.request("POST", "/pipeline").body(r#"[["PING"],["MGET","bin","no"],["LPUSH","bin","a"]]"#);
    let (_, answer) = json(pipeline.header("Upstash-Encoding", "base64")).await;
    assert_eq!((&answer[0]["result"], &answer[1]["result"]), (&json!("UE9ORw=="), &json!(["/wB2", null])));
    assert!(answer[2]["error"].as_str().unwrap().starts_with("WRONGTYPE "));
}

#[tokio::test]
async fn resp2_is_given_raw() {
    let (_redis, gateway) = parts().await;
    let ask = |path: &str, body: &'static str| {
        gateway.request("POST", path).header("Upstash-Response-Format", "resp2").body(body)
    };
    let answer =
        within("resp2", ask("/pipeline", r#"[["PING"],["GET","no"],["LPUSH","l","a"]]"#).send()).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.text().await.unwrap(), "+PONG\r\n$-1\r\n:1\r\n");
    assert_eq!(json(ask("/", r#"["PING"]"#).header("Upstash-Encoding", "base64")).await.0, 400);
    assert_eq!(json(ask("/multi-exec", r#"[["PING"]]"#)).await, (200, json!([{ "result": "PONG" }])));
}

#[tokio::test]
async fn the_path_form_takes_arguments_from_path_body_and_query() {
    let (redis, gateway) = parts().await;
    assert_eq!(json(gateway.request("PUT", "/set/a%2Fb?EX=100").body("v")).await.1, json!({ "result": "OK" }));
    assert_eq!(redis.run::<String>(&["GET", "a/b"]).await.unwrap(), "v");
    assert!(redis.run::<i64>(&["TTL", "a/b"]).await.unwrap() > 0);
    assert_eq!(json(gateway.request("GET", "/get/a%2Fb")).await.1, json!({ "result": "v" }));
    let head = within("HEAD", gateway.request("HEAD", "/get/a%2Fb").send()).await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
}

#[tokio::test]
async fn other_methods_are_405_with_an_empty_body() {
    let (_redis, gateway) = parts().await;
    for (method, path) in [("DELETE", "/get/k"), ("PATCH", "/"), ("GET", "/pipeline")] {
        let answer = within(method, gateway.request(method, path).send()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (405, ""), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_upstash_words() {
    let (_redis, gateway) = parts().await;
    let (status, answer) = gateway.post("/", "x".repeat(10 * 1024 * 1024 + 1)).await;
    let error = "ERR max request size exceeded. Limit: 10485760 bytes, Actual: 10485761 bytes";
    assert_eq!((status, answer), (413, json!({ "error": error })));
    let value = "x".repeat(9 * 1024 * 1024);
    assert_eq!(gateway.post("/", json!(["SET", "k", value]).to_string()).await.1, json!({ "result": "OK" }));
}

#[tokio::test]
async fn every_answer_carries_a_sync_token_of_its_own() {
    let (_redis, gateway) = parts().await;
    let mut tokens = Vec::new();
    for body in [r#"["PING"]"#, r#"["SET","k","v"]"#, "bad"] {
        let answer = within("an answer", gateway.request("POST", "/").body(body).send()).await.unwrap();
        tokens.push(answer.headers()["upstash-sync-token"].to_str().unwrap().to_owned());
        let _: Value = answer.json().await.unwrap();
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}
