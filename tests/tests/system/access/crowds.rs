//! How often, and how many.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use reqwest::Method;
use stack::{Builder, End, Stack, Tab, TabBuilder, Viewer, eventually};
use wire::limits::{MAX_OPENS, MAX_READS, RATE_PERIOD_SECS};

use super::{ask, closed, refusal};
use crate::feed::Feed;

const OPENS: usize = 600;
const AT_ONCE: usize = 50;

fn tab(stack: &Stack, batch: &str, user: &str) -> TabBuilder {
    let authorization = format!("Bearer {}", stack.token(user));
    Tab::builder(&stack.stream_url(batch)).header("authorization", &authorization).patience_scale(10.0)
}

/// Opens a stream and leaves it at its first event: whether it was let in.
async fn is_let_in(stack: &Stack, token: &str) -> Result<bool> {
    let mut viewer = Viewer::open_with(Viewer::request(&stack.stream_url("b-crowd")).bearer_auth(token)).await?;
    match viewer.next().await? {
        Some(seen) if seen.event == "busy" => {
            ensure!(viewer.retry().is_some(), "it is not told when to come back");
            Ok(false)
        }
        seen => Ok(seen.is_some()),
    }
}

async fn one_user_opens_too_often(builder: Builder) -> Result<()> {
    // Many of one user at the same time are not the question here.
    let stack = builder.edge_var("MAX_VIEWERS_PER_USER", "1000").start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-crowd", 4).await?;
    let quiet = tab(&stack, "b-crowd", "anna").open();
    quiet.until_position(feed.position()?).await?;

    // Mallory sees the batch, too: she is refused for coming too often.
    let mallory = stack.mint(&super::claims("mallory", &["b-crowd"], std::time::Duration::from_secs(600))?);
    let begun = Instant::now();
    let opens = futures::stream::iter((0..OPENS).map(|_| is_let_in(&stack, &mallory))).buffer_unordered(AT_ONCE);
    let let_in: Vec<Result<bool>> = opens.collect().await;
    let let_in = let_in.into_iter().collect::<Result<Vec<_>>>()?;
    let periods = begun.elapsed().as_secs() / RATE_PERIOD_SECS + 2;
    let count = let_in.iter().filter(|let_in| **let_in).count();
    ensure!(count >= MAX_OPENS as usize, "only {count} were let in");
    ensure!(count as u64 <= periods * u64::from(MAX_OPENS) && count < OPENS, "{count} in {periods} periods");

    // Anna's stream goes on meanwhile, and she may open another.
    quiet.until_position(feed.complete_one().await?).await?;
    ensure!(is_let_in(&stack, &stack.token("anna")).await?, "another user was turned away");
    Ok(())
}

#[tokio::test]
async fn six_hundred_opens_of_one_user_are_limited_and_others_are_not_harmed() -> Result<()> {
    one_user_opens_too_often(closed()).await
}

#[tokio::test]
async fn the_runtimes_own_rate_limit_does_the_same() -> Result<()> {
    one_user_opens_too_often(Stack::builder().closed()).await
}

#[tokio::test]
async fn who_reads_too_often_is_told_when_to_come_back() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-crowd", 4).await?;
    let token = stack.token("anna");
    let read = || ask(&stack, Method::GET, "b-crowd", "").bearer_auth(&token).send();
    // A period may end in between, so more than twice as many as it has.
    for _ in 0..=2 * MAX_READS {
        let answer = read().await?;
        if answer.status() == 429 {
            assert!(answer.headers().contains_key("retry-after"));
            let said = refusal(answer, 429, "too-many-requests").await?;
            assert!(said.contains("300 reads"), "{said}");
            // Who shows no token is counted by address, not as this user.
            refusal(ask(&stack, Method::GET, "b-crowd", "").send().await?, 401, "unauthorized").await?;
            return Ok(());
        }
    }
    anyhow::bail!("all reads were answered")
}

#[tokio::test]
async fn more_viewers_than_a_batch_may_have_are_told_busy_and_come_back() -> Result<()> {
    let stack = closed().edge_var("MAX_VIEWERS", "2").start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-full", 9).await?;
    let inside = [0, 1].map(|_| tab(&stack, "b-full", "anna").open());
    for tab in &inside {
        tab.until_position(feed.position()?).await?;
    }
    let outside = tab(&stack, "b-full", "anna").open();
    outside.until_event("busy", "").await?;
    inside[0].close();
    inside[0].until_ended().await?;
    // Who has left is noticed when something is written.
    let position = feed.complete_one().await?;
    outside.until_position(position).await?;
    feed.complete_all().await?;
    for tab in [&inside[1], &outside] {
        assert_eq!(tab.until_ended().await?, End::Finished);
        assert_eq!(tab.history().violations, [""; 0]);
    }
    Ok(())
}

#[tokio::test]
async fn one_user_does_not_take_all_places_of_a_batch() -> Result<()> {
    let stack = closed().edge_var("MAX_VIEWERS_PER_USER", "2").edge_var("LINGER_SECS", "0").start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-user", 3).await?;
    let anna = [0, 1].map(|_| tab(&stack, "b-user", "anna").open());
    for tab in &anna {
        tab.until_position(feed.position()?).await?;
    }
    let third = tab(&stack, "b-user", "anna").open();
    third.until_event("busy", "").await?;
    let bert = stack.mint(&super::claims("bert", &["b-user"], std::time::Duration::from_secs(600))?);
    let mut viewer = Viewer::open_with(Viewer::request(&stack.stream_url("b-user")).bearer_auth(bert)).await?;
    viewer.next_of("progress").await?;
    feed.complete_all().await?;
    for tab in anna.iter().chain([&third]) {
        assert_eq!(tab.until_ended().await?, End::Finished);
    }
    eventually(stack::GUARD, async || {
        ensure!(stack.edge_metric(r#"batchcast_busy_total{reason="user"}"#).await? > 0.0, "nobody was told busy");
        Ok(())
    })
    .await
}
