//! Two processes on one Postgres, one Redis and one folder share the photos of one batch.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use image::ImageFormat;
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use sqlx::{AnyConnection, Connection as _};
use stack::{GUARD, RedisServer, eventually};
use wire::BatchStatus;

use crate::{
    process::Program,
    world::{Place, picture, picture_of, watched},
};

const PHOTOS: usize = 24;

/// A batch whose photos all came to the first process. The second has one of them in work, and stands still.
struct Two {
    redis: RedisServer,
    _dir: Place,
    first: Program,
    second: Program,
    batch: String,
    photos: Vec<String>,
    /// The photo that the second has.
    held: String,
    rows: AnyConnection,
    /// As rows name the first.
    worker: String,
}

impl Two {
    async fn start() -> Self {
        let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
        sqlx::any::install_default_drivers();
        let mut rows = AnyConnection::connect(&dir.database_url).await.unwrap();
        let first = Program::start(&redis, &dir);
        let api = first.api();
        let names: Vec<String> = (0..PHOTOS).map(|n| format!("{n}.jpg")).collect();
        let (batch, photos) = api.declare(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        // So large that a batch of them takes much longer than a look for work.
        let bytes = picture_of(ImageFormat::Jpeg, 3_000, 2_000);
        api.upload(&batch, &photos[0], bytes.clone()).await;
        let worker =
            eventually(GUARD, async || workers(&mut rows).await.into_values().next().context("nothing is in work"));
        let worker = worker.await.unwrap();

        let url = format!("{}?application_name=second", dir.database_url);
        let second = Program::start_with(&redis, &dir, &[("DATABASE_URL", &url)]);
        for photo in &photos[1..] {
            api.upload(&batch, photo, bytes.clone()).await;
        }
        let held = freeze(&second, &worker, &mut rows).await;
        Self { redis, _dir: dir, first, second, batch, photos, held, rows, worker }
    }

    /// The first has it, or has finished it.
    async fn taken_over(&mut self) {
        let taken = eventually(GUARD, async || {
            let by = workers(&mut self.rows).await.remove(&self.held);
            ensure!(by.as_ref() == Some(&self.worker), "{by:?} has it");
            Ok(())
        });
        taken.await.unwrap();
    }

    /// The batch is whole: every photo is counted once, and its thumbnail there.
    async fn ends_whole(&self) {
        let end = watched(&self.redis, &self.batch).await.pop().unwrap();
        assert_eq!((end.head().status, end.head().counts.completed as usize), (BatchStatus::Completed, PHOTOS));
        let api = self.first.api();
        let (_, origin) = api.get(&format!("/api/batches/{}", self.batch)).await;
        assert_eq!(origin["position"].as_str(), Some(&*end.position().to_string()));
        let told = origin["photos"].as_array().unwrap();
        assert_eq!((told.len(), self.photos.len()), (PHOTOS, PHOTOS));
        for photo in told {
            assert_eq!((&photo["status"], &photo["result"]["width"]), (&"COMPLETED".into(), &3_000.into()), "{photo}");
            let thumbnail = api.http.get(api.url(photo["result"]["thumbnail"].as_str().unwrap())).send().await.unwrap();
            assert_eq!(thumbnail.status(), StatusCode::OK);
            image::load_from_memory(&thumbnail.bytes().await.unwrap()).unwrap();
        }
    }
}

/// Who has each photo, or had it last.
async fn workers(rows: &mut AnyConnection) -> BTreeMap<String, String> {
    let workers = sqlx::query_as("SELECT id, leased_by FROM photos WHERE leased_by IS NOT NULL");
    let workers: Vec<(String, String)> = workers.fetch_all(rows).await.unwrap();
    workers.into_iter().collect()
}

/// Stops the second process as it is, when it has a photo in work and is in no transaction; that photo.
async fn freeze(second: &Program, first: &str, rows: &mut AnyConnection) -> String {
    let frozen = eventually(GUARD, async || {
        second.signal(Signal::SIGSTOP);
        let held = sqlx::query_scalar(
            "SELECT id FROM photos WHERE status = 'PROCESSING' AND leased_by <> $1 AND NOT EXISTS
             (SELECT FROM pg_stat_activity WHERE application_name = 'second' AND state <> 'idle')",
        );
        let held: Option<String> = held.bind(first).fetch_optional(&mut *rows).await?;
        if held.is_none() {
            second.signal(Signal::SIGCONT);
        }
        held.context("it has nothing in work")
    });
    frozen.await.unwrap()
}

/// How many photos a process says that it has analysed.
async fn analysed(program: &Program) -> usize {
    let (_, metrics) = program.api().get("/metrics").await;
    let mut lines = metrics.as_str().unwrap().lines();
    let count = lines.find_map(|line| line.strip_prefix("photo_worker_photos_total{outcome=\"completed\"} "));
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_process_that_is_killed_in_mid_batch_leaves_its_photos_to_the_other() {
    let mut two = Two::start().await;
    two.second.process.kill().unwrap();
    two.taken_over().await;
    two.ends_whole().await;
    let of_first = workers(&mut two.rows).await.values().filter(|worker| **worker == two.worker).count();
    assert_eq!(analysed(&two.first).await, of_first);
}

#[tokio::test]
async fn a_process_that_stood_still_for_longer_than_its_lease_changes_nothing_when_it_goes_on() {
    let mut two = Two::start().await;
    two.taken_over().await;
    two.second.signal(Signal::SIGCONT);
    two.ends_whole().await;
    assert_eq!(workers(&mut two.rows).await[&two.held], two.worker);
    assert_eq!(analysed(&two.first).await + analysed(&two.second).await, PHOTOS);
}

#[tokio::test]
async fn an_end_that_a_killed_process_had_not_told_is_told_by_the_other() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    sqlx::any::install_default_drivers();
    let mut rows = AnyConnection::connect(&dir.database_url).await.unwrap();
    let first = Program::start(&redis, &dir);
    first.signal(Signal::SIGSTOP);
    // It can tell nobody: that port is nobody's, as a Redis that is away.
    let second = Program::start_with(&redis, &dir, &[("REDIS_URL", "redis://127.0.0.1:1")]);
    let (batch, photos) = second.api().declare(&["a.jpg"]).await;
    second.api().upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    let ended = eventually(GUARD, async || {
        let status = sqlx::query_scalar("SELECT status FROM batches WHERE id = $1").bind(&batch);
        let status: String = status.fetch_one(&mut rows).await?;
        ensure!(status == "COMPLETED", "{status}");
        Ok(())
    });
    ended.await.unwrap();
    drop(second);

    first.signal(Signal::SIGCONT);
    let end = watched(&redis, &batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 1));
    let forgotten = eventually(GUARD, async || {
        let workers: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM workers").fetch_one(&mut rows).await?;
        ensure!(workers == 1, "{workers} are known");
        Ok(())
    });
    forgotten.await.unwrap();
}
