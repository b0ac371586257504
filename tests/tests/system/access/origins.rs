//! Pages of other origins (CORS).

use anyhow::{Context, Result};
use reqwest::{Client, Method, Response, StatusCode};
use stack::Stack;

use super::{ASKED, ask, closed, refusal};
use crate::feed::Feed;

const APP: &str = "https://app.example.com";

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// A page of the origin [`APP`] may read this answer.
fn assert_readable(answer: &Response) {
    assert_eq!(header(answer, "access-control-allow-origin"), Some(APP), "{}", answer.url());
    assert_eq!(header(answer, "access-control-allow-credentials"), Some("true"));
    assert!(header(answer, "vary").is_some_and(|vary| vary.contains("Origin")));
}

async fn preflight(stack: &Stack, origin: &str, path: &str) -> Result<Response> {
    let request = ask(stack, Method::OPTIONS, "b-anna", path).header("origin", origin);
    Ok(request.header("access-control-request-method", "GET").send().await?)
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_ask() -> Result<()> {
    let stack = closed().edge_var("ALLOWED_ORIGINS", APP).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for origin in ["https://evil.example.com", "null", "http://app.example.com", "https://app.example.com.evil.com"] {
        for (method, path) in ASKED {
            let asked = ask(&stack, method, "b-anna", path).bearer_auth(stack.token("anna")).header("origin", origin);
            let answer = asked.send().await?;
            assert_eq!(header(&answer, "access-control-allow-origin"), None);
            refusal(answer, 403, "origin-not-allowed").await?;
            refusal(preflight(&stack, origin, path).await?, 403, "origin-not-allowed").await?;
        }
        let upload = Client::new().post(format!("{}/api/photos/upload", stack.edge.url())).header("origin", origin);
        refusal(upload.bearer_auth(stack.token("anna")).send().await?, 403, "origin-not-allowed").await?;
    }
    assert_eq!(stack.redis_subscribers("b-anna").await?, 0, "no room was opened for them");
    Ok(())
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_answers_and_refusals() -> Result<()> {
    let stack = closed().edge_var("ALLOWED_ORIGINS", &format!("http://localhost:5173, {APP}")).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for (method, path) in ASKED {
        let answer = preflight(&stack, APP, path).await?;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert!(header(&answer, "access-control-allow-headers").is_some_and(|names| names.contains("last-event-id")));
        assert_readable(&answer);
        for (token, status) in [("anna", None), ("bert", Some(404)), ("", Some(401))] {
            let mut asked = ask(&stack, method.clone(), "b-anna", path).header("origin", APP);
            if !token.is_empty() {
                asked = asked.bearer_auth(stack.token(token));
            }
            let answer = asked.send().await?;
            // Tickets are given for any batch.
            let expected = status.filter(|status| !(*status == 404 && path == "/ticket"));
            match expected {
                Some(status) => assert_eq!(answer.status(), status, "{path} {token}"),
                None => assert!(answer.status().is_success(), "{path} {token}: {}", answer.status()),
            }
            assert_readable(&answer);
        }
    }
    let list = Client::new().get(format!("{}/api/projects/p/batches", stack.edge.url())).header("origin", APP);
    let passed = list.bearer_auth(stack.token("anna")).send().await?;
    assert_eq!(passed.status(), StatusCode::OK);
    let embedded = Client::new().get(format!("{}/api/projects/p/batches", stack.edge.url()));
    let embedded = embedded.bearer_auth(stack.token("anna")).send().await?;
    assert!(header(&embedded, "vary").is_some_and(|vary| vary.contains("Origin")), "a cache keeps the two apart");
    assert_readable(&passed);
    Ok(())
}

#[tokio::test]
async fn what_another_site_embeds_opens_nothing() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for path in ["", "/stream"] {
        let image = ask(&stack, Method::GET, "b-anna", path).bearer_auth(stack.token("anna"));
        let image = image.header("sec-fetch-mode", "no-cors").header("sec-fetch-site", "same-site");
        refusal(image.send().await?, 403, "origin-not-allowed").await?;
    }
    assert_eq!(stack.redis_subscribers("b-anna").await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_pages_own_origin_needs_no_permission() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let own = ask(&stack, Method::POST, "b-anna", "/ticket").header("origin", stack.edge.url());
    let answer = own.bearer_auth(stack.token("anna")).send().await?;
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (201, None));
    let methods = ask(&stack, Method::OPTIONS, "b-anna", "").send().await?;
    assert_eq!(methods.headers().get("allow").context("no Allow")?, "GET, HEAD");
    Ok(())
}
