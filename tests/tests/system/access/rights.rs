//! The least rights in Redis that PROTOCOL.md promises to be enough for the edge.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use stack::{GUARD, Stack, Tab, eventually, workspace};

use super::ask;
use crate::feed::Feed;

/// The rule in PROTOCOL.md, word for word.
fn documented_rule() -> Result<Vec<String>> {
    let protocol = std::fs::read_to_string(workspace::root().join("PROTOCOL.md"))?;
    let (_, rest) = protocol.split_once("ACL SETUSER edge ").context("the rule stands in PROTOCOL.md")?;
    let (rule, _) = rest.split_once("```").context("it ends")?;
    Ok(rule.split_whitespace().map(|word| word.replace("PASSWORD", "secret")).collect())
}

#[tokio::test]
async fn the_documented_rule_is_enough_for_the_edge() -> Result<()> {
    let builder = Stack::builder().bare().edge_var("PING_SECS", "1").edge_var("LINGER_SECS", "0");
    let plan = builder.edge_var("ACTIVE_TTL_SECS", "0").plan()?;
    let redis = plan.redis();
    let mut stack = plan.gateway_redis(format!("edge:secret@{redis}")).stopped()?;
    stack.redis.start().await?;
    let mut connection = stack.redis_connection().await?;
    let mut rule = redis::cmd("ACL");
    rule.arg("SETUSER").arg("edge").arg(documented_rule()?);
    rule.query_async::<()>(&mut connection).await?;
    stack.photo_worker.start().await?;
    stack.gateway.start().await?;
    stack.edge.start().await?;

    assert_eq!(stack.api().get("/readyz").await?.status(), StatusCode::OK);
    let mut feed = Feed::start(&stack, "b-rights", 4).await?;
    assert_eq!(stack.api().read("b-rights").await?.status, StatusCode::OK);
    let tab = Tab::open(&stack.stream_url("b-rights"));
    tab.until_position(feed.complete_one().await?).await?;
    // A ping has come back.
    let (pinged, mut channel) = (feed.position()?, redis::Client::open(stack.redis.url())?.get_async_pubsub().await?);
    channel.subscribe("batch:b-rights").await?;
    let ping = tokio::time::timeout(GUARD, futures::StreamExt::next(&mut channel.on_message())).await?;
    ensure!(ping.is_some(), "no ping after {pinged}");
    feed.complete_all().await?;
    tab.until_ended().await?;
    assert_eq!(tab.history().violations, [""; 0]);

    // A fill: the photo worker knows a batch that Redis has lost.
    let batch = stack.api().create_batch("p", &[("a.jpg".to_owned(), 3)]).await?.batch_id;
    let key = format!("batch:progress:{batch}");
    eventually(GUARD, async || {
        let there: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut stack.redis_connection().await?).await?;
        ensure!(there, "it was published");
        Ok(())
    })
    .await?;
    redis::cmd("DEL").arg(&key).query_async::<()>(&mut connection).await?;
    let read = ask(&stack, Method::GET, &batch, "").send().await?;
    assert_eq!(read.headers().get("x-cache-source").context("no source")?, "origin");
    eventually(GUARD, async || {
        let there: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut stack.redis_connection().await?).await?;
        ensure!(there, "it was not filled");
        ensure!(stack.edge_metric(r#"batchcast_pubsub_messages_total{outcome="ping"}"#).await? > 0.0, "no ping");
        Ok(())
    })
    .await?;
    let log: Vec<Vec<redis::Value>> = redis::cmd("ACL").arg("LOG").query_async(&mut connection).await?;
    ensure!(log.is_empty(), "Redis has refused the edge something: {log:?}");
    Ok(())
}

#[tokio::test]
async fn the_documented_rule_is_enough_for_nothing_else() -> Result<()> {
    let server = stack::RedisServer::start().await?;
    let rule = documented_rule()?;
    let words: Vec<&str> = ["ACL", "SETUSER", "edge"].into_iter().chain(rule.iter().map(String::as_str)).collect();
    server.run::<()>(&words).await?;
    let client = redis::Client::open(server.url().replace("redis://", "redis://edge:secret@"))?;
    let mut edge = client.get_multiplexed_async_connection().await?;
    for command in [
        "GET other",
        "HGETALL other",
        "KEYS *",
        "FLUSHALL",
        "CONFIG GET *",
        "PUBLISH other x",
        "SET batch:progress:a x",
        "SCAN 0",
        "MONITOR",
        "ACL LIST",
        "HDEL other f",
        "EVAL return 0",
    ] {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().context("a command")?);
        words.for_each(|word| {
            asked.arg(word);
        });
        if command.starts_with("EVAL") {
            asked = redis::cmd("EVAL");
            asked.arg("return redis.call('GET', KEYS[1])").arg(1).arg("batch:progress:a");
        }
        let refused = asked.query_async::<redis::Value>(&mut edge).await;
        let error = refused.err().with_context(|| format!("{command} was allowed"))?;
        let words = error.to_string();
        ensure!(["permission", "can't run"].iter().any(|said| words.contains(said)), "{command}: {words}");
    }
    Ok(())
}
