//! No secret is in a log, an answer or a metric.

use anyhow::{Context, Result};
use reqwest::{Client, Method};
use stack::{Stack, Viewer};

use super::{ask, closed, ticket};
use crate::feed::Feed;

const REDIS_PASSWORD: &str = "the-password-of-redis-0123456789";

#[tokio::test]
async fn a_whole_runs_logs_and_answers_hold_none_of_its_secrets() -> Result<()> {
    let builder = closed().edge_var("LOG_LEVEL", "debug").edge_var("LINGER_SECS", "0");
    let builder = builder.gateway_env("LOG_LEVEL", "trace").gateway_env("GATEWAY_ACCESS_LOG", "true");
    let plan = builder.photo_worker_env("LOG_LEVEL", "trace").plan()?;
    let redis = plan.redis();
    let as_user = format!("worker:{REDIS_PASSWORD}@{redis}");
    let mut stack = plan.gateway_redis(&as_user).photo_worker_redis(&as_user).stopped()?;
    stack.redis.start().await?;
    let mut admin = stack.redis_connection().await?;
    let rule = ["on", &format!(">{REDIS_PASSWORD}"), "~*", "&*", "+@all"].map(str::to_owned);
    redis::cmd("ACL").arg("SETUSER").arg("worker").arg(&rule).query_async::<()>(&mut admin).await?;
    stack.gateway.start().await?;
    stack.photo_worker.start().await?;
    stack.edge.start().await?;

    let mut secrets = vec![REDIS_PASSWORD.to_owned(), stack.auth_secret().to_owned()];
    let mut answers = Vec::new();
    use_everything(&stack, &mut secrets, &mut answers).await?;
    let addresses = stack.addresses();
    secrets.extend([addresses.gateway_token, addresses.metrics_token, stack.origin_token().to_owned()]);
    // What goes wrong is logged in more words than what goes well.
    stack.redis.kill();
    let read = ask(&stack, Method::GET, "b-lost", "").bearer_auth(stack.token("anna")).send().await?;
    answers.push(read.text().await?);
    stack.redis.start().await?;

    let logs = [
        ("the edge", stack.edge.log()),
        ("the gateway", stack.gateway.log()),
        ("the photo worker", stack.photo_worker.log()),
        ("Redis", stack.redis.log()),
    ];
    for (name, log) in &logs {
        assert!(!log.is_empty(), "{name} has logged something");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{secret} is in the log of {name}");
        }
    }
    assert!(logs[1].1.contains("/pipeline") || logs[1].1.contains("subscribe"), "the gateway has logged requests");
    for secret in &secrets {
        // The token and the ticket were made for whoever got them.
        assert!(!answers.iter().any(|answer| answer.contains(secret.as_str())), "{secret} is in an answer");
    }
    Ok(())
}

/// One of each request, good and bad; adds the tokens that were used and the answers that came.
async fn use_everything(stack: &Stack, secrets: &mut Vec<String>, answers: &mut Vec<String>) -> Result<()> {
    let (anna, bert) = (stack.token("anna"), stack.token("bert"));
    let mut feed = Feed::start_of(stack, "anna", "b-anna", 2).await?;
    for token in [&anna, &bert, "not.a.token"] {
        for path in ["", "/stream"] {
            if token == anna && path == "/stream" {
                continue;
            }
            answers.push(ask(stack, Method::GET, "b-anna", path).bearer_auth(token).send().await?.text().await?);
        }
    }
    let ticket = ticket(stack, "b-anna", &anna).await?;
    let mut viewer = Viewer::open(&format!("{}?ticket={ticket}", stack.stream_url("b-anna"))).await?;
    feed.complete_all().await?;
    answers.extend(viewer.rest().await?.into_iter().map(|seen| seen.data.to_string()));
    for bearer in [stack.metrics_token(), &anna] {
        let metrics = Client::new().get(format!("{}/api/metrics", stack.edge.url())).bearer_auth(bearer);
        answers.push(metrics.send().await?.text().await?);
    }
    let own = [("/metrics", stack.photo_worker.url()), ("/metrics", stack.gateway_admin_url())];
    for (path, base) in own {
        answers.push(reqwest::get(format!("{base}{path}")).await?.text().await?);
    }
    let wrong = Client::new().post(stack.gateway.url()).bearer_auth("wrong").body("[\"PING\"]").send().await?;
    answers.push(wrong.text().await?);
    let lists = Client::new().get(format!("{}/api/projects/p/batches", stack.edge.url())).bearer_auth(&anna);
    answers.push(lists.send().await?.text().await?);
    let (_, signature) = anna.rsplit_once('.').context("a token has a signature")?;
    secrets.extend([signature.to_owned(), anna.clone(), bert, ticket]);
    Ok(())
}
