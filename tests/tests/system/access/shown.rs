//! What leaves the worker: neither who owns a batch nor what `REDACT` names is on the wire.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use redis::AsyncTypedCommands as _;
use reqwest::{Client, Method};
use stack::{GUARD, Stack, Viewer};

use super::{ask, closed, declare, upload};

const OWNER: &str = "ada-lovelace-4711";
/// Part of the files' names, which are part of what is found out about a photo.
const NAME: &str = "private-holiday";

/// The smallest photo there is.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

#[tokio::test]
async fn neither_the_owner_nor_a_redacted_field_is_on_the_wire() -> Result<()> {
    let stack = closed().photo_worker_env("REDACT", "name").start().await?;
    let token = stack.token(OWNER);
    let mut heard = redis::Client::open(stack.redis.url())?.get_async_pubsub().await?;
    heard.psubscribe("*").await?;

    let names = [1, 2].map(|n| format!("{NAME}-{n}.png"));
    let (batch, ids) = declare(&stack, &token, &[&names[0], &names[1]]).await?;
    let mut viewer = Viewer::open_with(Viewer::request(&stack.stream_url(&batch)).bearer_auth(&token)).await?;
    for (name, id) in names.iter().zip(&ids) {
        upload(&stack, &token, &batch, id, name, PNG.to_vec()).await?.error_for_status()?;
    }
    let shown = viewer.rest().await?;
    let complete = shown.last().context("nothing was shown")?;
    ensure!(complete.data["status"] == "COMPLETED", "{complete:?}");
    let mut wire: Vec<(&str, String)> = shown.iter().map(|seen| ("an event", seen.data.to_string())).collect();
    wire.push(("a read", read(&stack, &batch, &token).await?));
    wire.push(("what is held", held(&stack, &batch).await?));

    // The origin fills what Redis has lost.
    stack.redis_connection().await?.del(format!("batch:progress:{batch}")).await?;
    let past_memory = ask(&stack, Method::GET, &batch, "").bearer_auth(&token).header("cache-control", "no-cache");
    let filled = past_memory.send().await?.error_for_status()?;
    assert_eq!(filled.headers()["x-cache-source"], "origin");
    wire.push(("a fill's headers", format!("{:?}", filled.headers())));
    wire.push(("a fill", filled.text().await?));
    wire.push(("what was filled", held(&stack, &batch).await?));
    let metrics = Client::new().get(format!("{}/api/metrics", stack.edge.url())).bearer_auth(stack.metrics_token());
    wire.push(("metrics", metrics.send().await?.text().await?));

    // Whatever was published before this message has been heard when it comes.
    stack.redis_connection().await?.publish("over", "over").await?;
    let mut messages = heard.into_on_message();
    while let Some(message) = messages.next().await {
        let payload: String = message.get_payload()?;
        if message.get_channel_name() == "over" {
            break;
        }
        wire.push(("a message", payload));
    }
    assert!(wire.iter().filter(|(what, _)| *what == "a message").count() >= 2, "{wire:?}");
    assert!(wire.iter().any(|(_, text)| text.contains("sharpness")), "what is not named is shown");
    for (what, text) in &wire {
        assert!(!text.contains(OWNER) && !text.contains("owner"), "{what} tells the owner: {text}");
        assert!(!text.contains(NAME), "{what} tells a redacted field: {text}");
    }
    Ok(())
}

async fn read(stack: &Stack, batch: &str, token: &str) -> Result<String> {
    let answer = ask(stack, Method::GET, batch, "").bearer_auth(token).send().await?.error_for_status()?;
    Ok(format!("{:?}\n{}", answer.headers().clone(), answer.text().await?))
}

/// The hash but for its field `owner`, once there is one: a fill is not waited for by the answer.
async fn held(stack: &Stack, batch: &str) -> Result<String> {
    let mut redis = stack.redis_connection().await?;
    let hash = async || {
        let fields: HashMap<String, String> = redis.hgetall(format!("batch:progress:{batch}")).await?;
        ensure!(!fields.is_empty(), "nothing is held");
        Ok(fields)
    };
    let mut fields = stack::eventually(GUARD, hash).await?;
    assert_eq!(fields.remove("owner").as_deref(), Some(OWNER), "the edge has to know it");
    Ok(format!("{fields:?}"))
}
