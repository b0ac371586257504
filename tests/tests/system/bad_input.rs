//! Bad input gets a problem document that says what is wrong; nothing crashes.

use anyhow::{Context, Result};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use stack::{Stack, Viewer};

use crate::feed::Feed;

async fn problem(response: Response, status: u16) -> Result<String> {
    assert_eq!(response.status().as_u16(), status, "{}", response.url());
    let content_type = response.headers().get("content-type").context("no content type")?.to_str()?;
    assert!(content_type.starts_with("application/problem+json"), "{content_type}");
    let problem: Value = response.json().await?;
    assert_eq!(problem["status"].as_u64(), Some(u64::from(status)));
    assert!(problem["type"].as_str().is_some_and(|kind| !kind.is_empty()) && problem["title"].is_string());
    problem["detail"].as_str().map(str::to_owned).context("no detail")
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_in_words() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let (http, api) = (Client::new(), stack.api());
    let edge = stack.edge.url();
    assert!(problem(api.get("/api/batches/nobody").await?, 404).await?.contains("nobody"));
    assert!(problem(api.get("/api/batches/a%20b").await?, 400).await?.contains("A-Z"));
    assert!(problem(api.get("/api/batches/a%20b/stream").await?, 400).await?.contains("A-Z"));
    problem(api.get("/nowhere").await?, 404).await?;
    let wrong = http.request(Method::DELETE, format!("{edge}/api/batches/b")).send().await?;
    assert_eq!(wrong.headers().get("allow").context("no Allow")?, "GET, HEAD");
    problem(wrong, 405).await?;
    assert!(problem(api.get("/api/metrics").await?, 401).await?.contains("METRICS_TOKEN"));
    let unknown = Viewer::answer(&stack.stream_url("nobody"), None).await?;
    problem(unknown, 404).await?;

    let post = |path: &str| http.post(format!("{edge}{path}"));
    let empty = post("/api/photos/upload").multipart(reqwest::multipart::Form::new().text("projectId", "p"));
    problem(empty.send().await?, 400).await?;
    problem(post("/api/batches").body("not json").send().await?, 400).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_gateway_token_is_said_in_words() -> Result<()> {
    let stack =
        Stack::builder().edge_var("UPSTASH_REDIS_REST_TOKEN", "wrong").edge_var("ORIGIN_URL", "").start().await?;
    let _feed = Feed::start(&stack, "b-token", 2).await?;
    let words = problem(stack.api().get("/readyz").await?, 503).await?;
    assert!(words.contains("UPSTASH_REDIS_REST_TOKEN") && words.contains("WRONGPASS"), "{words}");
    // Also while Redis is left alone after a failure.
    for _ in 0..2 {
        let words = problem(stack.api().get("/api/batches/b-token").await?, 503).await?;
        assert!(words.contains("UPSTASH_REDIS_REST_TOKEN"), "{words}");
    }
    // A native EventSource gives up for good on anything but 200: it is asked to come back.
    let mut viewer = stack.view("b-token").await?;
    assert_eq!(viewer.next().await?.map(|seen| seen.event), Some("busy".to_owned()));
    assert!(viewer.next().await?.is_none() && viewer.retry().is_some());
    Ok(())
}

#[tokio::test]
async fn a_bad_setting_is_named_with_its_fix() -> Result<()> {
    let stack = Stack::builder().edge_var("PING_SECS", "soon").start().await?;
    let words = problem(stack.api().get("/api/batches/b").await?, 500).await?;
    assert!(words.contains("PING_SECS=\"soon\"") && words.contains("whole number"), "{words}");
    assert_eq!(stack.api().get("/healthz").await?.status(), StatusCode::OK);
    // It will be mended, so a stream asks to come back instead of ending an EventSource for good.
    assert_eq!(stack.view("b").await?.next().await?.map(|seen| seen.event), Some("busy".to_owned()));
    Ok(())
}

#[tokio::test]
async fn without_the_development_switch_nobody_is_let_in() -> Result<()> {
    let stack = Stack::builder().edge_var("TRUST_USER_HEADER", "false").start().await?;
    let _feed = Feed::start(&stack, "b-closed", 2).await?;
    problem(stack.api().get("/api/batches/b-closed").await?, 401).await?;
    problem(Viewer::answer(&stack.stream_url("b-closed"), None).await?, 401).await?;
    Ok(())
}

#[tokio::test]
async fn streams_can_be_switched_off_and_clients_come_back_later() -> Result<()> {
    let stack = Stack::builder().edge_var("STREAMS", "off").start().await?;
    let _feed = Feed::start(&stack, "b-off", 2).await?;
    let mut viewer = stack.view("b-off").await?;
    assert_eq!(viewer.next().await?.map(|seen| seen.event), Some("busy".to_owned()));
    assert_eq!(stack.api().read("b-off").await?.status, StatusCode::OK);
    Ok(())
}
