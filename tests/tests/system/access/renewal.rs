//! A stream lives as long as the token behind it, and goes on with the next one.

use std::time::Duration;

use anyhow::{Context, Result};
use publisher::token::Claims;
use stack::{Seen, Viewer};

use super::{claims, closed};
use crate::feed::Feed;

const SHORT: Duration = Duration::from_secs(3);
/// More than can be told one by one in that time, with `FLUSH_MS` between two events.
const PHOTOS: u32 = 400;

/// The photos that these events name, each with the version at which it changed.
fn changes(events: &[Seen]) -> Vec<(String, u64)> {
    let photos = events.iter().filter(|seen| seen.event == "progress" && seen.data["full"] != true);
    let photos = photos.flat_map(|seen| seen.data["photos"].as_array().cloned().unwrap_or_default());
    let change = |photo: serde_json::Value| Some((photo["photoId"].as_str()?.to_owned(), photo["version"].as_u64()?));
    photos.filter_map(change).collect()
}

fn last_id(events: &[Seen]) -> Result<String> {
    Ok(events.iter().rfind(|seen| !seen.id.is_empty()).context("no id")?.id.clone())
}

/// The first stream's events up to its end, in `auth-expired`, while photos are completed; and whether it ended in time.
async fn until_expired(feed: &mut Feed, viewer: &mut Viewer) -> Result<Vec<Seen>> {
    let mut events = vec![viewer.next_of("progress").await?];
    loop {
        // One update an event: nothing is merged while both wait for each other.
        feed.complete_one().await?;
        let Some(seen) = viewer.next().await? else { break };
        let expired = seen.event == "auth-expired";
        events.push(seen);
        if expired {
            break;
        }
    }
    anyhow::ensure!(viewer.next().await?.is_none(), "the stream went on");
    Ok(events)
}

#[tokio::test]
async fn a_new_token_in_mid_stream_loses_no_event() -> Result<()> {
    let stack = closed().start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-anna", PHOTOS).await?;
    let first = stack.mint(&claims("anna", &[], SHORT)?);
    let request = Viewer::request(&stack.stream_url("b-anna")).bearer_auth(first);
    let mut viewer = Viewer::open_with(request).await?;
    let mut events = until_expired(&mut feed, &mut viewer).await?;
    assert_eq!(events.last().map(|seen| seen.event.as_str()), Some("auth-expired"));

    // Two updates pass by while nobody watches.
    feed.complete_one().await?;
    feed.complete_one().await?;
    let again = Viewer::request(&stack.stream_url("b-anna")).header("last-event-id", last_id(&events)?);
    let mut viewer = Viewer::open_with(again.bearer_auth(stack.token("anna"))).await?;
    let (rest, all) = tokio::join!(viewer.rest(), feed.complete_all());
    all?;
    let rest = rest?;
    assert_eq!(rest.last().map(|seen| seen.event.as_str()), Some("complete"));
    assert!(rest.iter().all(|seen| seen.data["full"] != true), "it went on where it was");
    events.extend(rest);
    let mut versions: Vec<u64> = changes(&events).into_iter().map(|(_, version)| version).collect();
    versions.sort_unstable();
    // The batch was declared at version 1; each photo that was completed raised it by one.
    assert_eq!(versions, (2..=u64::from(PHOTOS) + 1).collect::<Vec<_>>(), "each change was told, and once");
    Ok(())
}

#[tokio::test]
async fn a_ticket_opens_a_stream_that_lives_as_long_as_the_token_behind_it() -> Result<()> {
    let stack = closed().start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-anna", PHOTOS).await?;
    let token = claims("anna", &[], SHORT)?;
    let ticket: Claims = token.ticket(&"b-anna".parse()?, token.expires - 1_000);
    assert_eq!(ticket.streams_until(), token.expires);
    let url = format!("{}?ticket={}", stack.stream_url("b-anna"), stack.mint(&ticket));
    let mut viewer = Viewer::open(&url).await?;
    let events = until_expired(&mut feed, &mut viewer).await?;
    assert_eq!(events.last().map(|seen| seen.event.as_str()), Some("auth-expired"));
    let again = Viewer::answer(&url, Some(&last_id(&events)?)).await?;
    assert_eq!(again.status(), 401, "its ticket ends with it");
    Ok(())
}
