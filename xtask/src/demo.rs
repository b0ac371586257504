//! `cargo xtask demo`: a batch of photos through a fresh system, live in the terminal and in the browser.

mod live;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt as _, stream};
use stack::{Api, Batch, Stack, Viewer};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::interrupt::unless_interrupted;
use crate::photos::{self, Photo};
use crate::{artifacts, setup};
use summary::{Halfway, Summary};

const PROJECT: &str = "demo";
const MADE_PHOTOS: u32 = 24;
const UPLOADS_AT_ONCE: usize = 4;
const CACHED_READS: usize = 10;

/// Runs the demo with the files of `folder`, or with made photos.
pub(crate) async fn run(folder: Option<&Path>) -> Result<ExitCode> {
    artifacts::build(&setup::to_run()?)?;
    let Some(summary) = unless_interrupted(demo(folder)).await? else {
        println!("\nInterrupted; everything is stopped.");
        return Ok(ExitCode::FAILURE);
    };
    println!("{summary}");
    println!("Everything is stopped; `cargo xtask stack` keeps such a system running.");
    if summary.some_succeeded() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("The batch ended {}: no photo was analysed.", summary.watched.end.status);
    Ok(ExitCode::FAILURE)
}

async fn demo(folder: Option<&Path>) -> Result<Summary> {
    let made = tempfile::Builder::new().prefix("batchcast-photos-").tempdir()?;
    let photos = match folder {
        Some(folder) => photos::in_folder(folder)?,
        None => make_photos(made.path()).await?,
    };
    println!("Starting Redis, gateway, photo worker and edge");
    let stack = Stack::builder().preferred_ports().start().await?;
    let addresses = stack.addresses();
    println!("  edge {}, gateway {}", addresses.edge, addresses.gateway);
    println!("  redis {}, photo worker {}", addresses.redis, addresses.photo_worker);

    let api = stack.api();
    let declared: Vec<_> = photos.iter().map(|photo| (photo.name.clone(), photo.bytes)).collect();
    let batch = api.create_batch(PROJECT, &declared).await?;
    println!("Live in a browser: {}/batches/{}\n", addresses.edge, batch.batch_id);

    let origin_reads_before = stack.origin_reads().await?;
    let begun = Instant::now();
    let stream_url = stack.stream_url(&batch.batch_id);
    let viewer = Viewer::open(&stream_url).await?;
    let (tell_halfway, halfway) = oneshot::channel();
    let (watched, refusals, halfway) = tokio::try_join!(
        live::watch(viewer, &stream_url, tell_halfway),
        async { Ok(upload_all(&api, &batch, &photos).await) },
        look_halfway(&stack, &batch.batch_id, halfway),
    )?;
    let took = begun.elapsed();
    let origin_reads = stack.origin_reads().await?.saturating_sub(origin_reads_before);
    Ok(Summary { batch_id: batch.batch_id, took, watched, refusals, halfway, origin_reads })
}

async fn make_photos(dir: &Path) -> Result<Vec<Photo>> {
    let begun = Instant::now();
    println!("Making {MADE_PHOTOS} photos of 12 megapixels");
    let dir = dir.to_owned();
    let photos = spawn_blocking(move || photos::make(&dir, MADE_PHOTOS)).await??;
    let megabytes = photos.iter().map(|photo| photo.bytes).sum::<u64>() / 1_000_000;
    println!("  {megabytes} MB in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(photos)
}

/// Uploads some at once; the reasons of those that were refused. The batch tells how it goes on without them.
async fn upload_all(api: &Api, batch: &Batch, photos: &[Photo]) -> Vec<String> {
    let uploads = photos.iter().zip(&batch.photo_ids).map(|(photo, photo_id)| async move {
        let bytes = tokio::fs::read(&photo.path).await?;
        api.upload(PROJECT, &batch.batch_id, photo_id, &photo.name, bytes).await
    });
    let results = stream::iter(uploads).buffer_unordered(UPLOADS_AT_ONCE).collect::<Vec<_>>().await;
    results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}

/// In mid-batch, counts the subscriptions and makes the cached reads.
async fn look_halfway(stack: &Stack, batch_id: &str, halfway: oneshot::Receiver<u8>) -> Result<Halfway> {
    let progress = halfway.await?;
    let redis_subscribers = stack.redis_subscribers(batch_id).await?;
    let gateway_subscribers = stack.gateway_subscribers(batch_id).await?;
    let api = stack.api();
    let mut reads = Vec::new();
    for _ in 0..CACHED_READS {
        reads.push(api.read(batch_id).await?);
    }
    Ok(Halfway { progress, redis_subscribers, gateway_subscribers, reads })
}
