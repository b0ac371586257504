//! Pages of other origins: what a browser asks first, and what it must find in every answer.

use crate::support::{Gateway, within};
use reqwest::header::HeaderMap;
use stack::RedisServer;

const PAGE: &str = "https://page.example";

async fn parts(variables: &[(&str, &str)]) -> (RedisServer, Gateway) {
    let redis = RedisServer::start().await.unwrap();
    let gateway = Gateway::ready_with(redis.url(), variables).await;
    (redis, gateway)
}

/// What a page at `origin` gets: the status and the headers.
async fn ask(gateway: &Gateway, method: &str, path: &str, origin: &str) -> (u16, HeaderMap) {
    let answer = within(path, gateway.request(method, path).header("Origin", origin).send()).await.unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

fn assert_readable(headers: &HeaderMap, origin: &str) {
    assert_eq!(headers["access-control-allow-origin"], origin);
    let exposed = headers["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    assert!(exposed.contains("upstash-sync-token"), "{exposed}");
}

#[tokio::test]
async fn a_browser_may_ask_first_and_needs_no_token_for_that() {
    let (_redis, gateway) = parts(&[]).await;
    for path in ["/", "/pipeline", "/multi-exec", "/set/k/v", "/subscribe/c"] {
        let question = gateway.http.request(reqwest::Method::OPTIONS, format!("{}{path}", gateway.url));
        let question = question
            .header("Origin", PAGE)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,upstash-encoding");
        let answer = within(path, question.send()).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
        assert_eq!(answer.headers()["access-control-allow-headers"], "authorization,upstash-encoding");
        assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }
}

#[tokio::test]
async fn a_page_may_read_every_answer_also_refusals_and_streams() {
    let (_redis, gateway) = parts(&[]).await;
    let asked = [("GET", "/ping", 200), ("GET", "/get", 400), ("DELETE", "/get/k", 405), ("GET", "/subscribe/c", 200)];
    for (method, path, expected) in asked {
        let (status, headers) = ask(&gateway, method, path, PAGE).await;
        assert_eq!(status, expected, "{method} {path}");
        assert_readable(&headers, PAGE);
    }
    let (status, headers) = ask(&gateway, "GET", "/get/k?_token=wrong", PAGE).await;
    assert_eq!(status, 401);
    assert_readable(&headers, PAGE);
}

#[tokio::test]
async fn without_an_origin_nothing_is_said_about_any() {
    let (_redis, gateway) = parts(&[]).await;
    let answer = within("an answer", gateway.request("GET", "/ping").send()).await.unwrap();
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn with_a_list_only_its_origins_may_read() {
    let (_redis, gateway) = parts(&[("GATEWAY_ALLOWED_ORIGINS", "https://page.example,http://localhost:3000")]).await;
    for method in ["GET", "OPTIONS"] {
        for origin in [PAGE, "http://localhost:3000"] {
            let (status, headers) = ask(&gateway, method, "/ping", origin).await;
            assert_eq!((status, &headers["access-control-allow-origin"]), (200, &origin.parse().unwrap()));
        }
        let (_, headers) = ask(&gateway, method, "/ping", "https://page.example.evil").await;
        assert!(!headers.contains_key("access-control-allow-origin"));
        assert_eq!(headers["vary"], "origin");
    }
}
