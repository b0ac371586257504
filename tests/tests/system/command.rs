//! The `batchcast` command beside a running system: what it checks, tries, watches and lists.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use publisher::token::{Claims, Grant};
use serde_json::Value;
use stack::{GUARD, Stack, eventually, ports, workspace};
use tokio::process::Command;

/// How a run of the command ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {} {}", self.stdout, self.stderr))
    }

    /// The checks of a doctor's report that ended so.
    fn checks(&self, verdict: &str) -> Result<BTreeSet<String>> {
        let report = self.json()?;
        let lines = report["lines"].as_array().context("no lines")?;
        let those = lines.iter().filter(|line| line["verdict"] == verdict);
        Ok(those.filter_map(|line| line["check"].as_str().map(str::to_owned)).collect())
    }
}

/// Runs the command with these variables and no others of its own.
async fn batchcast(settings: &[(&str, String)], arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new(workspace::binary("batchcast")?);
    command.args(arguments).env_clear().envs(settings.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    // A smoke test may take its 60 s to see that something is wrong.
    let output = tokio::time::timeout(3 * GUARD, command.output()).await.context("the command does not end")??;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok(Ended { code: output.status.code(), stdout, stderr })
}

type Settings = Vec<(&'static str, String)>;

/// What is right for this stack.
fn settings(stack: &Stack) -> Settings {
    let addresses = stack.addresses();
    vec![
        ("REDIS_URL", addresses.redis),
        ("UPSTASH_REDIS_REST_URL", addresses.gateway),
        ("UPSTASH_REDIS_REST_TOKEN", addresses.gateway_token),
        ("EDGE_URL", addresses.edge),
        ("ORIGIN_URL", addresses.photo_worker),
        ("ORIGIN_TOKEN", stack.origin_token().to_owned()),
        ("AUTH_SECRET", stack.auth_secret().to_owned()),
        ("METRICS_TOKEN", addresses.metrics_token),
    ]
}

/// The same, but for one.
fn with(settings: &Settings, name: &'static str, value: &str) -> Settings {
    let others = settings.iter().filter(|(other, _)| *other != name).cloned();
    others.chain([(name, value.to_owned())]).collect()
}

fn none_is_shown(ended: &Ended, stack: &Stack) -> Result<()> {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let addresses = stack.addresses();
    for secret in [stack.origin_token(), stack.auth_secret(), &addresses.gateway_token, &addresses.metrics_token] {
        ensure!(!said.contains(secret), "a secret is shown: {said}");
    }
    ensure!(!said.contains("eyJ"), "a token is shown: {said}");
    Ok(())
}

async fn keys(stack: &Stack, pattern: &str) -> Result<Vec<String>> {
    Ok(redis::cmd("KEYS").arg(pattern).query_async(&mut stack.redis_connection().await?).await?)
}

fn names(checks: &[&str]) -> BTreeSet<String> {
    checks.iter().map(|check| (*check).to_owned()).collect()
}

#[tokio::test]
async fn doctor_finds_a_healthy_system_healthy_and_each_wrong_setting() -> Result<()> {
    let stack = Stack::builder().bare().closed().start().await?;
    let right = settings(&stack);
    let ended = batchcast(&right, &["doctor", "--json"]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert_eq!(ended.checks("fail")?, names(&[]));
    assert_eq!(ended.checks("skipped")?, names(&["AUTH_AUDIENCE", "AUTH_ISSUER", "BATCHCAST_TOKEN"]));
    let good = ended.checks("ok")?;
    for check in ["live updates", "edge reads Redis", "edge takes the token", "edge asks the origin", "origin"] {
        ensure!(good.contains(check), "{check}: {}", ended.stdout);
    }
    none_is_shown(&ended, &stack)?;
    assert_eq!(keys(&stack, "batch:progress:doctor-*").await?, [""; 0], "it leaves nothing behind");

    let text = batchcast(&right, &["doctor"]).await?;
    ensure!(text.code == Some(0) && text.stdout.contains(" 0 wrong, 3 skipped"), "{}", text.stdout);
    ensure!(!text.stdout.contains('\u{1b}'), "no colours where it is no terminal");
    none_is_shown(&text, &stack)?;

    let anna = with(&right, "BATCHCAST_TOKEN", &stack.token("anna"));
    let ended = batchcast(&anna, &["doctor", "--json"]).await?;
    assert_eq!((ended.code, ended.checks("fail")?), (Some(0), names(&[])), "{}", ended.stdout);
    none_is_shown(&ended, &stack)?;

    let nowhere = format!("127.0.0.1:{}", ports::free()?);
    let (redis, edge) = (stack.redis.url().to_owned(), stack.edge.url().to_owned());
    let expired = stack.mint(&Claims::new(Grant::user("anna"), 1_000));
    for (name, value, failing, fix) in [
        ("REDIS_URL", format!("redis://{nowhere}"), &["Redis"][..], "mend REDIS_URL"),
        ("REDIS_URL", redis.replace("redis://", "redis://u:hunter2@"), &["Redis"], "user and password"),
        ("REDIS_URL", "localhost".to_owned(), &["REDIS_URL"], "redis://[user:password@]"),
        ("REDIS_URL", format!("{redis}/1"), &["Redis over HTTP", "edge reads Redis"], "same server and database"),
        ("KEY_PREFIX", "other:".to_owned(), &["edge reads Redis"], "KEY_PREFIX"),
        ("KEY_PREFIX", "a b".to_owned(), &["KEY_PREFIX"], "A-Z"),
        ("UPSTASH_REDIS_REST_URL", format!("http://{nowhere}"), &["Redis over HTTP"], "start the gateway"),
        ("UPSTASH_REDIS_REST_URL", edge, &["Redis over HTTP"], "something else"),
        ("UPSTASH_REDIS_REST_TOKEN", "hunter2".to_owned(), &["Redis over HTTP"], "GATEWAY_TOKEN"),
        ("UPSTASH_REDIS_REST_TOKEN", String::new(), &["Redis over HTTP"], "set UPSTASH_REDIS_REST_TOKEN"),
        ("EDGE_URL", format!("http://{nowhere}"), &["edge /healthz"], "start the edge"),
        ("EDGE_URL", stack.gateway.url().to_owned(), &["edge /healthz"], "not the address of an edge"),
        ("EDGE_URL", "edge".to_owned(), &["EDGE_URL"], "http://HOST:PORT"),
        ("ORIGIN_URL", format!("http://{nowhere}"), &["origin"], "start the origin"),
        ("ORIGIN_TOKEN", "hunter2".to_owned(), &["origin"], "same at the origin and the edge"),
        ("ORIGIN_TOKEN", String::new(), &["origin"], "set ORIGIN_TOKEN"),
        ("AUTH_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2".to_owned(), &["edge takes the token"], "AUTH_SECRET"),
        ("AUTH_SECRET", "hunter2".to_owned(), &["AUTH_SECRET"], "openssl rand"),
        ("BATCHCAST_TOKEN", expired, &["edge takes the token", "token"], "new token"),
        ("METRICS_TOKEN", "hunter2".to_owned(), &["edge /api/metrics"], "METRICS_TOKEN"),
        ("STATE_TTL_SECS", "a day".to_owned(), &["STATE_TTL_SECS"], "whole seconds"),
    ] {
        let ended = batchcast(&with(&right, name, &value), &["doctor", "--json"]).await?;
        assert_eq!((ended.code, ended.checks("fail")?), (Some(1), names(failing)), "{name}={value}: {}", ended.stdout);
        ensure!(ended.stdout.contains(fix) && !ended.stdout.contains("hunter2"), "{name}={value}: {}", ended.stdout);
        none_is_shown(&ended, &stack)?;
    }
    let (elsewhere, away) = (with(&right, "EDGE_URL", stack.edge.url()), format!("http://{nowhere}"));
    let ended = batchcast(&elsewhere, &["doctor", "--json", "--edge", &away]).await?;
    assert_eq!(ended.checks("fail")?, names(&["edge /healthz"]), "an option counts before the environment");
    let ended = batchcast(&[("REDIS_URL", redis)], &["doctor", "--json"]).await?;
    assert_eq!((ended.code, ended.checks("fail")?), (Some(0), names(&[])), "what is not set is skipped");
    Ok(())
}

#[tokio::test]
async fn doctor_finds_the_part_that_is_away_or_wrongly_set() -> Result<()> {
    let mut stack = Stack::builder().bare().closed().plan()?.stopped()?;
    stack.redis.start().await?;
    stack.photo_worker.start().await?;
    stack.edge.start().await?;
    let right = settings(&stack);
    let ended = batchcast(&right, &["doctor", "--json"]).await?;
    let expected = ["Redis over HTTP", "edge /readyz", "edge reads Redis", "edge /api/metrics"];
    assert_eq!((ended.code, ended.checks("fail")?), (Some(1), names(&expected)), "{}", ended.stdout);

    let mut stack = Stack::builder().bare().closed().plan()?.stopped()?;
    stack.redis.start().await?;
    stack.gateway.start().await?;
    stack.edge.start().await?;
    let ended = batchcast(&settings(&stack), &["doctor", "--json"]).await?;
    let expected = ["edge asks the origin", "edge passes through", "origin"];
    assert_eq!((ended.code, ended.checks("fail")?), (Some(1), names(&expected)), "{}", ended.stdout);

    let stack = Stack::builder().bare().closed().edge_var("ORIGIN_TOKEN", "another").start().await?;
    let ended = batchcast(&settings(&stack), &["doctor", "--json"]).await?;
    assert_eq!((ended.code, ended.checks("fail")?), (Some(1), names(&["edge asks the origin"])), "{}", ended.stdout);
    ensure!(ended.stdout.contains("ORIGIN_TOKEN (401)"), "the edge's own words: {}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn doctor_says_that_a_developers_edge_lets_everyone_in() -> Result<()> {
    let stack = Stack::builder().bare().start().await?;
    let ended = batchcast(&settings(&stack), &["doctor"]).await?;
    ensure!(ended.code == Some(0) && ended.stdout.contains("TRUST_USER_HEADER is on"), "{}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn doctor_does_with_the_rights_of_a_publisher() -> Result<()> {
    let stack = Stack::builder().bare().closed().start().await?;
    let protocol = std::fs::read_to_string(workspace::root().join("PROTOCOL.md"))?;
    let (_, rest) = protocol.split_once("ACL SETUSER publisher ").context("the rule stands in PROTOCOL.md")?;
    let (rule, _) = rest.split_once("```").context("it ends")?;
    let rule: Vec<String> = rule.split_whitespace().map(|word| word.replace("PASSWORD", "secret")).collect();
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("publisher").arg(rule);
    command.query_async::<()>(&mut stack.redis_connection().await?).await?;
    let url = stack.redis.url().replace("redis://", "redis://publisher:secret@");
    let ended = batchcast(&with(&settings(&stack), "REDIS_URL", &url), &["doctor", "--json"]).await?;
    assert_eq!((ended.code, ended.checks("fail")?), (Some(0), names(&[])), "{}", ended.stdout);
    ensure!(ended.checks("skipped")?.contains("clock of Redis"), "{}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn smoke_finds_a_healthy_system_healthy() -> Result<()> {
    let stack = Stack::builder().bare().closed().start().await?;
    let right = settings(&stack);
    let ended = batchcast(&right, &["smoke", "--json"]).await?;
    let report = ended.json()?;
    assert_eq!(
        (ended.code, &report["ok"], &report["wrong"]),
        (Some(0), &true.into(), &serde_json::json!([])),
        "{report}"
    );
    assert_eq!((report["reads"].as_array().map(Vec::len), &report["hitRate"]), (Some(10), &1.0.into()), "{report}");
    ensure!(report["latencyMs"].is_array() && report["unchanged"] == 304, "{report}");
    let events = report["events"].as_array().context("no events")?;
    ensure!(events.last().is_some_and(|event| event["event"] == "complete"), "{report}");
    none_is_shown(&ended, &stack)?;

    // Through the edge alone, in words, as somebody.
    let mut through = with(&right, "BATCHCAST_TOKEN", &stack.token("anna"));
    through.retain(|(name, _)| *name == "EDGE_URL" || *name == "BATCHCAST_TOKEN");
    let ended = batchcast(&through, &["smoke", "--photos", "1"]).await?;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for words in ["of 1 photos", "complete", "after its commit", "read 10", "hit rate 100 %", "all is well"] {
        ensure!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    none_is_shown(&ended, &stack)
}

#[tokio::test]
async fn smoke_says_what_is_wrong() -> Result<()> {
    let stack = Stack::builder().bare().closed().photo_worker_env("KEY_PREFIX", "other:").start().await?;
    let ended = batchcast(&settings(&stack), &["smoke", "--timeout", "8s"]).await?;
    ensure!(ended.code == Some(1) && ended.stdout.contains("not done within 8 s"), "{}", ended.stdout);
    ensure!(ended.stdout.contains("no live update came"), "{}", ended.stdout);

    let stranger = with(&settings(&stack), "AUTH_SECRET", "another-secret-of-at-least-32-bytes");
    let ended = batchcast(&stranger, &["smoke"]).await?;
    ensure!(ended.code == Some(1) && ended.stdout.contains("is answered by 401"), "{}", ended.stdout);
    none_is_shown(&ended, &stack)?;

    // Another server in the place of the edge: the batch can't be watched, and is not left open.
    let ended = batchcast(&with(&settings(&stack), "EDGE_URL", stack.photo_worker.url()), &["smoke", "--json"]).await?;
    let report = ended.json()?;
    assert_eq!((ended.code, &report["cancelled"]), (Some(1), &true.into()), "{report}");
    ensure!(report["wrong"][0].as_str().is_some_and(|words| words.contains("GET …/stream")), "{report}");
    let nowhere = with(&settings(&stack), "EDGE_URL", &format!("http://127.0.0.1:{}", ports::free()?));
    let ended = batchcast(&nowhere, &["smoke"]).await?;
    ensure!(ended.code == Some(1) && ended.stdout.contains("refused"), "{}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn smoke_finds_a_gateway_that_is_away() -> Result<()> {
    let mut stack = Stack::builder().bare().closed().plan()?.stopped()?;
    stack.redis.start().await?;
    stack.photo_worker.start().await?;
    stack.edge.start().await?;
    let ended = batchcast(&settings(&stack), &["smoke"]).await?;
    // The origin, as the last resort, has shown the batch to its end: only that nothing was live tells.
    ensure!(ended.code == Some(1) && ended.stdout.contains("COMPLETED"), "{}", ended.stdout);
    ensure!(ended.stdout.contains("no live update came"), "{}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn watch_and_status_show_what_the_photo_worker_publishes() -> Result<()> {
    let stack = Stack::builder().bare().closed().start().await?;
    let right = settings(&stack);
    // Two photos are declared and one comes, which is none: the batch stays open.
    let http = reqwest::Client::new();
    let origin = stack.photo_worker.url();
    let body = serde_json::json!({"projectId": "p", "photos": [{"name": "a", "size": 3}, {"name": "b", "size": 3}]});
    let created = http.post(format!("{origin}/api/batches")).bearer_auth(stack.token("anna")).json(&body);
    let created: Value = created.send().await?.error_for_status()?.json().await?;
    let batch = created["batchId"].as_str().context("no batchId")?;
    let upload = async |photo: &Value| -> Result<()> {
        let photo = photo.as_str().context("no photoId")?.to_owned();
        let form = reqwest::multipart::Form::new().text("projectId", "p").text("batchId", batch.to_owned());
        let file = reqwest::multipart::Part::bytes(b"abc".to_vec()).file_name("a");
        let request = http.post(format!("{origin}/api/photos/upload")).bearer_auth(stack.token("anna"));
        request.multipart(form.text("photoId", photo).part("file", file)).send().await?.error_for_status()?;
        Ok(())
    };
    upload(&created["photoIds"][0]).await?;
    let status = async || -> Result<Value> { batchcast(&right, &["status", "--json"]).await?.json() };
    let row = eventually(GUARD, async || {
        let row = status().await?;
        ensure!(row["failed"] == 1 && row["origin"]["lag"] == 0, "{row}");
        Ok(row)
    })
    .await?;
    assert_eq!((&row["batchId"], &row["progress"], &row["total"]), (&batch.into(), &50.into(), &2.into()), "{row}");
    ensure!(row["ageSecs"].as_u64().is_some_and(|secs| secs < 60), "{row}");
    let open = batchcast(&right, &["watch", batch, "--once"]).await?;
    assert_eq!((open.code, open.stdout.contains("50 %")), (Some(6), true), "{}", open.stdout);

    // Redis is set back by one version.
    let position = row["position"].as_str().context("no position")?;
    let (epoch, version) = position.split_once('-').context("no position")?;
    let older = format!("{epoch}-{}", version.parse::<u64>()? - 1);
    let file = tempfile::NamedTempFile::new()?;
    let counts = serde_json::json!({"total": 2, "queued": 1, "processing": 1, "completed": 0, "failed": 0});
    let state = serde_json::json!({"batchId": batch, "position": older, "status": "PROCESSING", "counts": counts});
    std::fs::write(file.path(), state.to_string())?;
    assert_eq!(batchcast(&right, &["invalidate", batch]).await?.code, Some(0));
    let path = file.path().to_str().context("no path")?;
    assert_eq!(batchcast(&right, &["publish", path]).await?.code, Some(0));
    assert_eq!(status().await?["origin"]["lag"], 1);
    let table = batchcast(&right, &["status"]).await?;
    ensure!(table.stdout.lines().nth(1).is_some_and(|row| row.ends_with(&older)), "{}", table.stdout);

    let mut watch = Command::new(workspace::binary("batchcast")?);
    watch.args(["watch", batch]).env_clear().envs(right.iter().map(|(name, value)| (*name, value)));
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    upload(&created["photoIds"][1]).await?;
    let ended = tokio::time::timeout(GUARD, watch.wait_with_output()).await.context("the watch does not end")??;
    assert_eq!(ended.status.code(), Some(4), "{}", String::from_utf8_lossy(&ended.stderr));
    ensure!(String::from_utf8(ended.stdout)?.ends_with("100 %  FAILED  0 of 2 completed, 2 failed\n"));
    Ok(())
}
