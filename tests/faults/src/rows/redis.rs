//! Redis itself, and what stands in it.

mod again;
mod emptied;
mod frozen;
mod reader;
mod refused;
mod versions;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stack::{GUARD, Stack, Tabs, eventually};
use wire::Position;

use crate::row::Row;
use crate::uploads::Uploads;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            1,
            "Redis killed and restarted empty in mid-batch",
            "viewers reach the true final state; no progress falls; the publisher re-sends in full",
            emptied::killed_and_restarted_empty,
        ),
        Row::new(
            2,
            "Redis frozen for 60 s, then goes on",
            "as above; reads are `HIT` until the proof lapses, then the origin's, then `STALE` with `Age`, or 503 when \
             nothing is held; no process grows",
            frozen::frozen_and_thawed,
        )
        .alone()
        .deadline_secs(300),
        Row::new(
            15,
            "failed photos of a `PARTIAL` batch run again (new epoch); the same id after its state expired; a backup of \
             Redis from an hour ago restored",
            "viewers get the full new state; nothing goes backwards",
            again::retried_expired_and_restored,
        )
        .deadline_secs(300),
        Row::new(
            16,
            "Redis at `maxmemory` with `noeviction`; a user without rights",
            "the publisher says which command was refused and why; batches stay dirty and leave once it is mended",
            refused::full_or_without_rights,
        ),
        Row::new(
            21,
            "a worker of an older `v`, one of a newer, and the old design's string under the key",
            "read as far as understood, counted, never a crash; worker and edge may be rolled one at a time",
            versions::rolled_one_at_a_time,
        ),
    ]
}

/// Waits until this many photos of a batch are done or given up, and nothing is under way; where the batch then stands
/// in the database.
async fn settled(uploads: &Uploads, photos: u64) -> Result<Position> {
    eventually(GUARD, async || {
        let state = uploads.state().await?;
        let count = |name| state["counts"][name].as_u64().unwrap_or_default();
        let ended = count("completed") + count("failed");
        ensure!(ended >= photos && count("processing") == 0, "{photos} are wanted: {}", state["counts"]);
        Ok(state["position"].as_str().context("a state without a position")?.parse()?)
    })
    .await
}

/// What Redis holds of a batch, its position and the number of its photos; `None`: nothing that is a batch.
async fn held(stack: &Stack, batch_id: &str) -> Result<Option<(Position, usize)>> {
    let key = format!("batch:progress:{batch_id}");
    let fields: Vec<(String, String)> =
        redis::cmd("HGETALL").arg(key).query_async(&mut stack.redis_connection().await?).await?;
    let Some((_, head)) = fields.iter().find(|(name, _)| name == "head") else { return Ok(None) };
    let head: Value = serde_json::from_str(head)?;
    let position = head["position"].as_str().context("a head without a position")?.parse()?;
    Ok(Some((position, fields.iter().filter(|(name, _)| name.starts_with("photo:")).count())))
}

/// Waits until Redis holds a whole batch as the database has it.
async fn until_held(stack: &Stack, uploads: &Uploads) -> Result<Position> {
    eventually(GUARD, async || {
        let (position, photos) = held(stack, uploads.id()).await?.context("Redis holds nothing")?;
        let wanted = uploads.position().await?;
        ensure!(position == wanted, "Redis holds {position}, the database {wanted}");
        ensure!(photos == uploads.photo_ids().len(), "Redis holds {photos} photos");
        Ok(position)
    })
    .await
}

/// Fails unless every tab shows what the database holds.
async fn show_the_truth(tabs: &Tabs, uploads: &Uploads) -> Result<()> {
    let state = uploads.state().await?;
    for (n, tab) in tabs.iter().enumerate() {
        let history = tab.history();
        let shown = serde_json::json!({
            "position": history.position().map(|position| position.to_string()),
            "status": history.status,
            "progress": history.percent,
            "counts": history.counts,
        });
        for field in ["position", "status", "progress", "counts"] {
            ensure!(shown[field] == state[field], "tab {n} shows {shown}, the database holds {}", state[field]);
        }
    }
    Ok(())
}

/// Runs one command, given as its words.
async fn run<T: redis::FromRedisValue>(stack: &Stack, words: &[&str]) -> Result<T> {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut stack.redis_connection().await?).await.with_context(|| format!("{words:?} failed"))
}
