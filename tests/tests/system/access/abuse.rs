//! Requests that nobody means well with.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::{Stack, Viewer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::closed;
use crate::feed::Feed;

const REQUESTS: u64 = 10_000;
const AT_ONCE: usize = 32;

/// Sends these bytes on a connection of their own; the answer's status, or none where the server hung up on them.
async fn status(address: &str, request: &[u8]) -> Result<Option<u16>> {
    let mut socket = TcpStream::connect(address).await?;
    // It may hang up before it has read all.
    let _ = socket.write_all(request).await;
    let (mut answer, mut some) = (Vec::new(), [0; 256]);
    while answer.len() < 12 {
        match tokio::time::timeout(stack::GUARD, socket.read(&mut some)).await.context("no answer")? {
            Ok(0) | Err(_) => return Ok(None),
            Ok(read) => answer.extend(&some[..read]),
        }
    }
    let line = String::from_utf8_lossy(&answer[..12]).into_owned();
    Ok(Some(line.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| line.clone())?))
}

fn host(stack: &Stack) -> String {
    stack.edge.url().trim_start_matches("http://").to_owned()
}

/// A request with what is found in attacks: known and unknown paths, ids and headers, well formed or not.
fn random_request(number: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(number);
    let mut pick = |of: &[&str]| of[random.random_range(0..of.len())].to_owned();
    let methods =
        ["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "OPTIONS", "DELETE", "PUT", "BREW"];
    let starts = [
        "/api/batches/",
        "/api/batches/",
        "/api/batches/",
        "/api/batches",
        "/api/photos/",
        "/api/projects/",
        "/api/",
        "/",
        "/batches/",
        "//",
        "/readyz",
    ];
    let middles = [
        "b-1",
        "b-1",
        "b-1",
        "..",
        "%00",
        "%0d%0a",
        "*",
        "a?b",
        "a#b",
        "%2e%2e%2f",
        "é",
        "'\"<>",
        "b_1%",
        "%ff%fe",
        "",
    ];
    let ends = [
        "",
        "",
        "",
        "/stream",
        "/stream",
        "/ticket",
        "/retry",
        "/cancel",
        "/thumbnail",
        "/../..",
        "/stream?ticket=",
        "?x=%zz",
        "/.",
        "//",
    ];
    let names = [
        "authorization",
        "cookie",
        "x-user-id",
        "origin",
        "last-event-id",
        "if-none-match",
        "cache-control",
        "accept",
        "x-batchcast-ask",
        "cf-connecting-ip",
        "content-type",
        "range",
        "x-forwarded-for",
    ];
    let values = [
        "Bearer a.b.c",
        "Bearer",
        "Basic YTpi",
        "__Host-batchcast=;;=",
        "null",
        "https://evil.example.com",
        "7-3",
        "-1--1",
        "99999999999999999999-1",
        "\"7-3\", W/\"x\", *",
        "no-cache",
        "{\"batch\":\"b\"}",
        "%7B%7D",
        "\u{e9}\u{ff}",
        "multipart/form-data; boundary=",
        "bytes=0-",
        "::1",
        "a, b, c",
    ];
    let (method, path) = (pick(&methods), pick(&starts) + &pick(&middles) + &pick(&ends));
    let headers: Vec<(String, String)> = (0..4).map(|_| (pick(&names), pick(&values))).collect();
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        // Bytes of Latin-1, as far as they have one.
        let value: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        bytes.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
    }
    if random.random_bool(0.2) {
        let junk: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random()).collect();
        bytes.extend(format!("content-length: {}\r\n\r\n", junk.len()).into_bytes());
        bytes.extend(junk);
    } else {
        bytes.extend(b"\r\n");
    }
    bytes
}

#[tokio::test]
async fn ten_thousand_random_requests_cause_no_fault() -> Result<()> {
    // Some name batches that nobody knows: two objects are enough for them.
    let stack = closed().edge_var("HUB_SHARDS", "2").edge_var("TRUST_USER_HEADER", "true").start().await?;
    let _feed = Feed::start(&stack, "b-1", 2).await?;
    let host = host(&stack);
    let statuses = stream::iter((0..REQUESTS).map(|number| {
        let host = &host;
        async move { Ok::<_, anyhow::Error>((number, status(host, &random_request(number)).await?)) }
    }));
    let statuses: Vec<_> = statuses.buffer_unordered(AT_ONCE).collect().await;
    let mut seen = std::collections::BTreeMap::<Option<u16>, u64>::new();
    for answer in statuses {
        let (number, status) = answer?;
        let request = || String::from_utf8_lossy(&random_request(number)).into_owned();
        // The runtime itself says 501 to a method that HTTP does not know.
        let unknown_method = status == Some(501) && request().starts_with("BREW");
        ensure!(status.is_none_or(|status| status < 500) || unknown_method, "{status:?} for {}", request());
        *seen.entry(status).or_default() += 1;
    }
    // They were requests, most of them: the routes have been reached, not only the parser of HTTP.
    let count = |status| seen.get(&Some(status)).copied().unwrap_or_default();
    ensure!([200, 204, 400, 401, 403, 404, 405].map(count).iter().all(|times| *times > 50), "{seen:?}");
    assert_eq!(stack.api().get("/readyz").await?.status(), 200);
    assert!(!stack.edge.log().contains("panicked"), "{}", stack.edge.log_tail());
    Ok(())
}

/// How often Redis was asked for something of a batch.
async fn commands(stack: &Stack) -> Result<String> {
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut stack.redis_connection().await?).await?;
    let counted = ["hgetall", "hmget", "subscribe", "publish", "eval"];
    let of = |line: &&str| counted.iter().any(|name| line.starts_with(&format!("cmdstat_{name}:")));
    let calls = stats.lines().filter(of).map(|line| line.split(',').next().unwrap_or_default());
    Ok(calls.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn an_id_names_neither_another_key_nor_another_channel() -> Result<()> {
    let stack = closed().start().await?;
    let (host, token, before) = (host(&stack), stack.addresses().token, commands(&stack).await?);
    let ids = [
        "..",
        "%2e%2e",
        "../batchcast:metrics",
        "..%2fmetrics",
        "a%00",
        "a%00b",
        "*",
        "%2a",
        "a*",
        "?",
        "%3f",
        "%0d%0a",
        "a%0d%0aX-Injected:%201",
        "a%0aPUBLISH",
        "a,b",
        "{a}",
        "a:b",
        "%7b%7d",
        "a%20b",
        "\u{e9}",
    ];
    for id in ids {
        for path in ["", "/stream"] {
            let request = format!(
                "GET /api/batches/{id}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                 Connection: close\r\n\r\n"
            );
            let status = status(&host, request.as_bytes()).await?;
            // Dots go up in a path: what is left is no batch either.
            ensure!(matches!(status, None | Some(400 | 404 | 405)), "{id}{path}: {status:?}");
        }
    }
    assert_eq!(commands(&stack).await?, before, "nothing was asked of Redis");
    let unknown = Viewer::request(&format!("{}/api/batches/a?b", stack.edge.url())).bearer_auth(&token).send().await?;
    assert_eq!(unknown.status(), 404, "the batch a, which nobody knows");
    Ok(())
}

#[tokio::test]
async fn urls_and_headers_have_a_limit() -> Result<()> {
    let stack = closed().start().await?;
    let token = stack.addresses().token;
    let url = format!("{}/api/batches/b?x={}", stack.edge.url(), "x".repeat(5_000));
    super::refusal(Viewer::request(&url).bearer_auth(&token).send().await?, 414, "url-too-long").await?;
    let url = format!("{}/api/batches/b", stack.edge.url());
    let cookies = Viewer::request(&url).header("cookie", "c=".to_owned() + &"x".repeat(40_000));
    let answer = cookies.bearer_auth(&token).send().await?;
    // A runtime may have a lower limit of its own.
    if answer.headers().contains_key("content-type") {
        super::refusal(answer, 431, "headers-too-large").await?;
    } else {
        assert_eq!(answer.status(), 431);
    }
    Ok(())
}

#[tokio::test]
async fn a_host_in_punycode_is_a_host() -> Result<()> {
    let stack = closed().start().await?;
    let request = b"GET /healthz HTTP/1.1\r\nHost: xn--bcher-kva.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&host(&stack), request).await?, Some(200));
    Ok(())
}
