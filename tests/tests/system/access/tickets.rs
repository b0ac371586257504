//! Tickets: what may stand in the URL of a stream.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use stack::{Stack, Viewer};
use wire::token::TICKET_LIFE;

use super::{ask, claims, closed, refusal, ticket};
use crate::feed::Feed;

const HOUR: Duration = Duration::from_secs(3_600);

fn with(stack: &Stack, batch: &str, ticket: &str) -> String {
    format!("{}?ticket={ticket}", stack.stream_url(batch))
}

#[tokio::test]
async fn a_ticket_opens_the_stream_of_its_batch_again_and_again() -> Result<()> {
    let stack = closed().start().await?;
    let feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let answer = ask(&stack, Method::POST, "b-anna", "/ticket").bearer_auth(stack.token("anna")).send().await?;
    assert_eq!(answer.headers().get("cache-control").context("no cache-control")?, "no-store");
    let answer: Value = answer.json().await?;
    let url = format!("{}{}", stack.edge.url(), answer["streamUrl"].as_str().context("no streamUrl")?);
    assert!(answer["expiresAt"].as_u64().is_some());
    for _ in 0..2 {
        let mut viewer = Viewer::open(&url).await?;
        assert_eq!(viewer.next_of("progress").await?.id, feed.position()?.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_ticket_is_refused_after_its_time_however_often() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let token = claims("anna", &[], HOUR)?;
    let now = token.expires - 3_600_000;
    let late = stack.mint(&token.ticket(&"b-anna".parse()?, now - TICKET_LIFE));
    let in_time = stack.mint(&token.ticket(&"b-anna".parse()?, now - TICKET_LIFE + 60_000));
    Viewer::open(&with(&stack, "b-anna", &in_time)).await?;
    for _ in 0..2 {
        let answer = Viewer::answer(&with(&stack, "b-anna", &late), None).await?;
        assert!(refusal(answer, 401, "invalid-token").await?.contains("expired"));
    }
    Ok(())
}

#[tokio::test]
async fn a_ticket_for_another_batch_opens_nothing() -> Result<()> {
    let stack = closed().start().await?;
    let _one = Feed::start_of(&stack, "anna", "b-one", 2).await?;
    let _two = Feed::start_of(&stack, "anna", "b-two", 2).await?;
    let for_one = ticket(&stack, "b-one", &stack.token("anna")).await?;
    refusal(Viewer::answer(&with(&stack, "b-two", &for_one), None).await?, 404, "unknown-batch").await?;
    // Of someone else's batch there are tickets, which open nothing: nobody learns that it exists.
    let of_bert = ticket(&stack, "b-one", &stack.token("bert")).await?;
    refusal(Viewer::answer(&with(&stack, "b-one", &of_bert), None).await?, 404, "unknown-batch").await?;
    Ok(())
}

#[tokio::test]
async fn a_ticket_opens_streams_and_nothing_else() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let ticket = ticket(&stack, "b-anna", &stack.token("anna")).await?;
    for (method, path) in [(Method::GET, ""), (Method::POST, "/ticket"), (Method::POST, "/cancel")] {
        let in_url = ask(&stack, method.clone(), "b-anna", &format!("{path}?ticket={ticket}")).send().await?;
        refusal(in_url, 401, "unauthorized").await?;
        let in_header = ask(&stack, method, "b-anna", path).bearer_auth(&ticket).send().await?;
        assert_eq!(in_header.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let upload = Client::new().post(format!("{}/api/photos/upload", stack.edge.url())).bearer_auth(&ticket);
    assert_eq!(upload.send().await?.status(), StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn a_token_in_the_url_is_refused() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let token = stack.token("anna");
    let as_ticket = Viewer::answer(&with(&stack, "b-anna", &token), None).await?;
    assert!(refusal(as_ticket, 401, "invalid-token").await?.contains("no ticket"));
    for name in ["token", "access_token", "authorization"] {
        for path in ["", "/stream"] {
            let answer = ask(&stack, Method::GET, "b-anna", &format!("{path}?{name}={token}")).send().await?;
            let said = refusal(answer, 401, "unauthorized").await?;
            assert!(said.contains("token in a URL") && !said.contains(&token), "{said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn in_development_a_ticket_is_made_of_a_token_as_well() -> Result<()> {
    let stack = closed().edge_var("TRUST_USER_HEADER", "true").start().await?;
    let answer = ask(&stack, Method::POST, "b-any", "/ticket").send().await?;
    assert!(refusal(answer, 401, "unauthorized").await?.contains("made of a token"));
    Ok(())
}
