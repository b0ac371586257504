//! The harness itself, on real parts: what it starts answers, and what it stops is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use stack::{Api, EdgeSettings, GUARD, Part, Viewer, edge, eventually, ports, redis_server};

#[tokio::test]
async fn a_killed_redis_comes_back_empty_on_the_same_port() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut redis = redis_server(dir.path(), ports::free()?)?;
    redis.start().await?;
    redis::cmd("SET").arg("key").arg("value").query_async::<()>(&mut connection(&redis).await?).await?;

    redis.kill();
    assert!(connection(&redis).await.is_err());
    redis.start().await?;
    let value: Option<String> = redis::cmd("GET").arg("key").query_async(&mut connection(&redis).await?).await?;
    assert_eq!(value, None);
    Ok(())
}

#[tokio::test]
async fn a_frozen_part_keeps_its_connections_and_answers_once_thawed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut redis = redis_server(dir.path(), ports::free()?)?;
    assert!(redis.freeze().is_err() && redis.pid().is_err(), "it does not run yet");
    redis.start().await?;
    let mut held = connection(&redis).await?;
    redis.freeze()?;
    let ping = redis::cmd("PING");
    let unanswered = tokio::time::timeout(Duration::from_millis(200), ping.query_async::<String>(&mut held)).await;
    assert!(unanswered.is_err());
    redis.thaw()?;
    ping.query_async::<String>(&mut held).await?;
    Ok(())
}

#[tokio::test]
async fn a_part_that_cannot_start_shows_its_log() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = ports::free()?;
    let mut first = redis_server(dir.path(), port)?;
    first.start().await?;
    let error = redis_server(dir.path(), port)?.start().await.unwrap_err();
    assert!(error.to_string().contains("Address already in use"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_worker_runs_with_the_given_variables_and_leaves_no_process_behind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let worker = tiny_worker(dir.path())?;
    let vars = BTreeMap::from([("GREETING".to_owned(), "given".to_owned())]);
    let mut edge = edge(dir.path(), &worker, &EdgeSettings { port: ports::free()?, vars, build: None })?;
    edge.start().await?;

    assert_eq!(Api::new(edge.url()).get("/greeting").await?.text().await?, "given");
    let mut viewer = Viewer::open(&format!("{}/stream", edge.url())).await?;
    let seen = viewer.next_of("progress").await?;
    assert_eq!((seen.id.as_str(), seen.data["progress"].as_u64()), ("1-2", Some(50)));
    assert!(viewer.next().await?.is_none());

    edge.kill();
    // Its processes name the folder in their arguments, as the place of the objects' storage or of the configuration.
    eventually(GUARD, async || {
        let left = processes_naming(dir.path())?;
        ensure!(left.is_empty(), "still running: {left:?}");
        Ok(())
    })
    .await
}

/// A worker of a few lines instead of ours, so that this tests the harness alone.
fn tiny_worker(dir: &Path) -> Result<PathBuf> {
    let worker = dir.join("worker");
    fs::create_dir(&worker)?;
    fs::write(
        worker.join("wrangler.toml"),
        "name = 'tiny'\nmain = 'index.js'\ncompatibility_date = '2026-11-17'\n[build]\ncommand = 'false'\n\
         [vars]\nGREETING = 'of the file'\n",
    )?;
    fs::write(
        worker.join("index.js"),
        r#"const stream = 'id: 1-2\nevent: progress\ndata: {"progress":50}\n\n';
           const routes = {
             "/healthz": () => new Response("ok"),
             "/greeting": (env) => new Response(env.GREETING),
             "/stream": () => new Response(stream, { headers: { "content-type": "text/event-stream" } }),
           };
           export default { fetch: (request, env) => routes[new URL(request.url).pathname](env) };"#,
    )?;
    Ok(worker)
}

fn processes_naming(dir: &Path) -> Result<Vec<String>> {
    let dir = dir.display().to_string();
    let processes = fs::read_dir("/proc")?.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let command_lines = processes.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    Ok(command_lines.filter(|line| line.contains(&dir)).collect())
}

async fn connection(redis: &Part) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    redis::Client::open(redis.url())?.get_multiplexed_async_connection().await
}
