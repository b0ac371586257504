//! The `batchcast` command, beside a real `redis-server`. What asks the edge as well is tested with the whole system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::process::{Output, Stdio};

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Changes, Publisher,
    token::{Batches, Expected, Grant, KeySet, Secrets, verify},
};
use serde_json::Value;
use stack::{GUARD, RedisServer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// Waits for `future`, and fails loudly instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(GUARD, future).await else { panic!("{what}: not within {GUARD:?}") };
    value
}

fn batch(name: &str) -> BatchId {
    BatchId::new(name).unwrap()
}

/// A batch of `total` photos of which so many are done and failed; `status` has to agree.
fn state(id: &str, position: &str, status: &str, [completed, failed, total]: [u32; 3]) -> BatchState {
    let queued = total - completed - failed;
    let json = format!(
        r#"{{"v":1,"batchId":"{id}","position":"{position}","status":"{status}","updatedAt":"2026-11-22T23:10:30.082Z",
        "counts":{{"total":{total},"queued":{queued},"processing":0,"completed":{completed},"failed":{failed}}}}}"#
    );
    BatchState::from_json(json.as_bytes()).unwrap()
}

async fn publish(publisher: &Publisher, state: &BatchState) {
    publisher.publish(Changes::full(state, None)).await.unwrap();
}

fn command(server: &RedisServer, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchcast"));
    command.args(arguments).env("REDIS_URL", server.url()).kill_on_drop(true).stdin(Stdio::null());
    for name in ["KEY_PREFIX", "STATE_TTL_SECS", "ORIGIN_URL", "ORIGIN_TOKEN", "AUTH_SECRET"] {
        command.env_remove(name);
    }
    command
}

/// Exit code, standard output and standard error.
async fn batchcast(server: &RedisServer, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = within("the command ends", command(server, arguments).output()).await.unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// With this on its standard input.
async fn batchcast_reading(server: &RedisServer, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = command(server, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may end without having read it all.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = within("the command ends", child.wait_with_output()).await.unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn start() -> (RedisServer, Publisher) {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    (server, publisher)
}

#[tokio::test]
async fn watch_prints_the_progress_and_exits_by_how_the_batches_ended() {
    let (server, publisher) = start().await;
    for (id, status, counts, code) in [
        ("done", "COMPLETED", [2, 0, 2], 0),
        ("some", "PARTIAL", [1, 1, 2], 3),
        ("none", "FAILED", [0, 2, 2], 4),
        ("cut", "CANCELLED", [1, 0, 2], 5),
    ] {
        publish(&publisher, &state(id, "7-2", status, counts)).await;
        assert_eq!(batchcast(&server, &["watch", id]).await.0, Some(code), "{id}");
    }
    let (code, stdout, stderr) = batchcast(&server, &["watch", "done"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "done  100 %  COMPLETED  2 of 2 completed\n");
    let (code, stdout, _) = batchcast(&server, &["watch", "done", "some", "cut", "done"]).await;
    assert_eq!((code, stdout.lines().count()), (Some(5), 3), "{stdout}");
}

#[tokio::test]
async fn watch_follows_several_batches_as_they_go_on_and_gives_json() {
    let (server, publisher) = start().await;
    publish(&publisher, &state("a", "7-1", "QUEUED", [0, 0, 2])).await;
    let mut child = command(&server, &["watch", "--json", "a", "late"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = within("a line", lines.next_line()).await.unwrap().expect("the watch goes on");
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next().await["position"], "7-1");
    publish(&publisher, &state("a", "7-2", "PROCESSING", [1, 0, 2])).await;
    let update = next().await;
    assert_eq!((&update["batchId"], &update["progress"]), (&"a".into(), &50.into()));
    publish(&publisher, &state("late", "8-1", "PARTIAL", [1, 1, 2])).await;
    assert_eq!(next().await["batchId"], "late");
    publish(&publisher, &state("a", "7-3", "COMPLETED", [2, 0, 2])).await;
    assert_eq!(next().await["status"], "COMPLETED");
    let status = within("it ends with the last batch", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn watch_ends_at_once_or_in_time_with_what_it_has_seen() {
    let (server, publisher) = start().await;
    publish(&publisher, &state("open", "7-1", "PROCESSING", [1, 0, 2])).await;
    for how in [&["--once"][..], &["--timeout", "3s"]] {
        let (code, stdout, _) = batchcast(&server, &[&["watch", "open"][..], how].concat()).await;
        assert_eq!((code, stdout.as_str()), (Some(6), "open   50 %  PROCESSING  1 of 2 completed\n"), "{how:?}");
        let (code, stdout, _) = batchcast(&server, &[&["watch", "open", "nobody", "--json"][..], how].concat()).await;
        let lines = json_lines(&stdout);
        assert_eq!((code, lines.len(), &lines[1]["known"]), (Some(7), 2, &false.into()), "{stdout}");
    }
}

#[tokio::test]
async fn a_redis_that_lets_nobody_in_ends_a_watch_and_is_told_without_the_password() {
    let (server, _publisher) = start().await;
    let url = server.url().replace("redis://", "redis://somebody:hunter2@");
    let (code, _, stderr) = batchcast(&server, &["watch", "a", "--redis-url", &url]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("refuses the connection") && !stderr.contains("hunter2"), "{stderr}");
    let (code, _, stderr) = batchcast(&server, &["status", "--redis-url", "redis://u:hunter2@:x"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("REDIS_URL") && !stderr.contains("hunter2"), "{stderr}");
}

#[tokio::test]
async fn status_lists_what_is_open_and_what_cannot_be_read() {
    let (server, publisher) = start().await;
    assert_eq!(batchcast(&server, &["status"]).await.1, "");
    publish(&publisher, &state("open", "7-1", "PROCESSING", [1, 1, 4])).await;
    publish(&publisher, &state("done", "7-2", "COMPLETED", [2, 0, 2])).await;
    server.run::<()>(&["SET", "batch:progress:old", "of an older design"]).await.unwrap();
    server.run::<()>(&["HSET", "other:batch:progress:elsewhere", "head", "{}"]).await.unwrap();
    for index in 0..600 {
        publish(&publisher, &state(&format!("many-{index:03}"), "7-2", "COMPLETED", [1, 0, 1])).await;
    }

    let (code, stdout, stderr) = batchcast(&server, &["status"]).await;
    assert_eq!((code, stderr.as_str(), stdout.lines().count()), (Some(0), "", 3), "{stdout}");
    assert!(stdout.starts_with("BATCH  STATUS      DONE  FAILED  TOTAL   %"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no colours where it is no terminal: {stdout}");
    let open = stdout.lines().find(|line| line.starts_with("open")).unwrap();
    assert!(open.contains("PROCESSING") && open.ends_with("7-1"), "{open}");
    assert!(stdout.lines().any(|line| line.starts_with("old") && line.contains("UNREADABLE")), "{stdout}");

    let (_, stdout, _) = batchcast(&server, &["status", "--all", "--json"]).await;
    let rows = json_lines(&stdout);
    assert_eq!(rows.len(), 603);
    let row = rows.iter().find(|row| row["batchId"] == "open").unwrap();
    assert_eq!((&row["position"], &row["progress"], &row["failed"]), (&"7-1".into(), &50.into(), &1.into()));
    assert!(row["ttlSecs"].as_u64().is_some_and(|secs| (86_000..=86_400).contains(&secs)), "{row}");
    assert!(row["ageSecs"].is_u64() && row.get("origin").is_none(), "{row}");

    let (code, stdout, _) = batchcast(&server, &["status", "done", "nobody", "--json"]).await;
    let rows = json_lines(&stdout);
    let statuses: Vec<_> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!((code, statuses), (Some(7), vec!["COMPLETED", "UNKNOWN"]));
    let (_, stdout, _) = batchcast(&server, &["status", "--key-prefix", "other:", "--json"]).await;
    assert_eq!(json_lines(&stdout)[0]["batchId"], "elsewhere");
}

#[tokio::test]
async fn status_needs_few_rights_and_says_which_it_lacks() {
    let (server, publisher) = start().await;
    publish(&publisher, &state("open", "7-1", "PROCESSING", [1, 1, 4])).await;
    let rule = ["ACL", "SETUSER", "viewer", "on", ">secret", "resetkeys", "~batch:*", "-@all", "+hget"];
    server.run::<()>(&rule).await.unwrap();
    let url = server.url().replace("redis://", "redis://viewer:secret@");
    let (code, _, stderr) = batchcast(&server, &["status", "--redis-url", &url]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no permissions") && stderr.contains("scan"), "{stderr}");
    let (code, stdout, _) = batchcast(&server, &["status", "open", "--json", "--redis-url", &url]).await;
    assert_eq!((code, &json_lines(&stdout)[0]["ttlSecs"]), (Some(0), &Value::Null), "{stdout}");
    server.run::<()>(&["ACL", "SETUSER", "viewer", "+scan", "+ttl"]).await.unwrap();
    let (code, stdout, _) = batchcast(&server, &["status", "--json", "--redis-url", &url]).await;
    assert_eq!((code, json_lines(&stdout)[0]["ttlSecs"].is_u64()), (Some(0), true), "{stdout}");
}

#[tokio::test]
async fn publish_goes_through_the_script_and_its_checks() {
    let (server, publisher) = start().await;
    let whole = state("a", "7-2", "PROCESSING", [1, 0, 2]);
    let arguments = ["publish", "-", "--owner", "anna", "--state-ttl-secs", "90"];
    let (code, stdout, stderr) = batchcast_reading(&server, &arguments, &whole.to_json()).await;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "a 7-2 applied\n", ""));
    assert_eq!(publisher.cached(&batch("a")).await.unwrap(), Some(whole.clone()));
    assert_eq!(server.run::<String>(&["HGET", "batch:progress:a", "owner"]).await.unwrap(), "anna");
    assert!(server.run::<i64>(&["TTL", "batch:progress:a"]).await.unwrap() <= 90);

    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, whole.to_json()).unwrap();
    assert_eq!(batchcast(&server, &["publish", path]).await.1, "a 7-2 stale\n");
    std::fs::write(path, state("a", "7-3", "COMPLETED", [2, 0, 2]).to_json()).unwrap();
    assert_eq!(batchcast(&server, &["publish", path]).await.0, Some(0));
    std::fs::write(path, state("a", "7-4", "COMPLETED", [2, 0, 2]).to_json()).unwrap();
    let (code, _, stderr) = batchcast(&server, &["publish", path]).await;
    assert!(code == Some(1) && stderr.contains("raise the epoch"), "{stderr}");

    for (broken, word) in [
        (whole.to_json().replace("\"queued\":1", "\"queued\":7"), "add up"),
        (whole.to_json().replace("7-2", "soon"), "batch state"),
        ("hello".to_owned(), "PROTOCOL.md"),
    ] {
        let (code, stdout, stderr) = batchcast_reading(&server, &["publish", "-"], &broken).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{broken}");
        assert!(stderr.contains(word), "{stderr}");
    }
    let (code, _, stderr) = batchcast(&server, &["publish", "/nowhere/state.json"]).await;
    assert!(code == Some(1) && stderr.contains("/nowhere/state.json"), "{stderr}");
}

#[tokio::test]
async fn reopen_raises_the_epoch_of_what_redis_holds_and_keeps_the_owner() {
    let (server, publisher) = start().await;
    let ended = state("a", "7-3", "PARTIAL", [1, 1, 2]);
    publisher.publish(Changes::full(&ended, Some("anna".into()))).await.unwrap();
    let (code, stdout, stderr) = batchcast(&server, &["reopen", "a"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let open = publisher.cached(&batch("a")).await.unwrap().unwrap();
    assert_eq!(stdout, format!("a {} reopened\n", open.position()));
    assert!(open.position().epoch() > 1_700_000_000_000 && open.position().version() == 4, "{stdout}");
    assert_eq!((open.head().status, open.head().counts.queued), (BatchStatus::Processing, 1));
    assert_eq!(server.run::<String>(&["HGET", "batch:progress:a", "owner"]).await.unwrap(), "anna");

    let (code, _, stderr) = batchcast(&server, &["reopen", "a"]).await;
    assert!(code == Some(1) && stderr.contains("has not ended"), "{stderr}");
    let (code, _, stderr) = batchcast(&server, &["reopen", "nobody"]).await;
    assert!(code == Some(1) && stderr.contains("nobody was left as it is: redis does not hold"), "{stderr}");
    publish(&publisher, &state("b", "7-3", "PARTIAL", [1, 1, 2])).await;
    server.run::<()>(&["HSET", "batch:progress:b", "photo:x", "no photo"]).await.unwrap();
    let (code, _, stderr) = batchcast(&server, &["reopen", "b"]).await;
    assert!(code == Some(1) && stderr.contains("can't be read"), "{stderr}");
}

#[tokio::test]
async fn cancel_ends_what_is_open_and_leaves_what_has_ended() {
    let (server, publisher) = start().await;
    publish(&publisher, &state("a", "7-3", "PROCESSING", [1, 1, 3])).await;
    let (code, stdout, stderr) = batchcast(&server, &["cancel", "a"]).await;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "a 7-4 cancelled\n", ""));
    let cancelled = publisher.cached(&batch("a")).await.unwrap().unwrap();
    assert_eq!((cancelled.head().status, cancelled.head().counts.queued), (BatchStatus::Cancelled, 1));
    let (code, _, stderr) = batchcast(&server, &["cancel", "a"]).await;
    assert!(code == Some(1) && stderr.contains("has ended already"), "{stderr}");
}

#[tokio::test]
async fn invalidate_deletes_and_bad_usage_exits_with_2() {
    let (server, publisher) = start().await;
    for id in ["a", "b"] {
        publish(&publisher, &state(id, "7-1", "PROCESSING", [1, 0, 2])).await;
    }
    let (code, stdout, _) = batchcast(&server, &["invalidate", "a", "b"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "a invalidated\nb invalidated\n"));
    assert_eq!(publisher.cached(&batch("a")).await.unwrap(), None);
    let bad: [&[&str]; 9] = [
        &["watch", "no/id"],
        &["watch"],
        &["watch", "a", "--once", "--timeout", "1s"],
        &["invalidate"],
        &["status", "a", "--all"],
        &["publish", "-", "--state-ttl-secs", "0"],
        &["smoke", "--edge", "localhost:8787"],
        &["smoke", "--edge", "http://localhost", "--photos", "21"],
        &["party"],
    ];
    for arguments in bad {
        assert_eq!(batchcast(&server, arguments).await.0, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn every_verb_explains_itself() {
    let (server, _publisher) = start().await;
    let (code, overview, _) = batchcast(&server, &["--help"]).await;
    assert_eq!(code, Some(0));
    for verb in ["watch", "status", "publish", "invalidate", "reopen", "cancel", "doctor", "smoke", "token"] {
        assert!(overview.contains(&format!("  {verb} ")), "{overview}");
        let (code, help, _) = batchcast(&server, &[verb, "--help"]).await;
        assert!(code == Some(0) && help.contains("Usage: batchcast"), "{help}");
    }
    assert!(batchcast(&server, &["watch", "--help"]).await.1.contains("3  PARTIAL"));
}

const SECRET: &str = "a-secret-for-tests-of-more-than-32-bytes";

/// Without a Redis, and with this secret in the environment.
async fn token(secret: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchcast"));
    command.arg("token").args(arguments).env("REDIS_URL", "redis://127.0.0.1:1").env_remove("AUTH_SECRET");
    command.envs(secret.map(|secret| ("AUTH_SECRET", secret))).kill_on_drop(true);
    within("the command ends", command.output()).await.unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn token_prints_a_token_and_nothing_else_and_needs_no_redis() {
    let arguments = ["--user", "anna", "--batch", "b-1", "--batch", "b-2", "--expires-in", "15m"];
    let more = ["--issuer", "us", "--audience", "app", "--audience", "edge"];
    let output = token(Some(SECRET), &[&arguments[..], &more[..]].concat()).await;
    assert_eq!((output.status.code(), text(output.stderr)), (Some(0), String::new()));
    let stdout = text(output.stdout);
    let token = stdout.strip_suffix('\n').unwrap();

    let expected = Expected::new("us".to_owned(), "edge".to_owned());
    let secrets = Secrets::parse(SECRET).unwrap();
    let claims = verify(token, Some(&secrets), &KeySet::default(), &expected, now()).unwrap();
    let batches = Batches::These(vec![batch("b-1"), batch("b-2")]);
    assert_eq!(claims.grant, Grant::new("anna".to_owned(), batches));
    let left = claims.expires - now();
    assert!(left > 14 * 60_000 && left <= 15 * 60_000, "{left} ms");
}

#[tokio::test]
async fn a_token_is_signed_by_the_first_secret_also_of_a_file() {
    let file = std::env::temp_dir().join(format!("batchcast-secret-{}", std::process::id()));
    std::fs::write(&file, format!("{SECRET}\nan-older-secret-of-more-than-32-bytes\n")).unwrap();
    let output = token(Some("not-asked-for"), &["--all", "--secret-file", file.to_str().unwrap()]).await;
    std::fs::remove_file(&file).unwrap();
    let secrets = Secrets::parse(SECRET).unwrap();
    let printed = text(output.stdout);
    let claims = verify(printed.trim_end(), Some(&secrets), &KeySet::default(), &Expected::default(), now()).unwrap();
    assert_eq!((claims.grant.batches, claims.grant.subject), (Batches::All, None));
}

#[tokio::test]
async fn a_missing_or_weak_secret_is_told_and_not_shown() {
    for (secret, arguments, fix) in [
        (None, &["--all"][..], "AUTH_SECRET"),
        (Some(""), &["--all"], "AUTH_SECRET"),
        (Some("hunter2"), &["--all"], "openssl rand -base64 32"),
        (Some(SECRET), &["--all", "--secret-file", "/nowhere/hunter2"], "--secret-file"),
        (Some(SECRET), &["--user", ""], "sub"),
    ] {
        let Output { status, stdout, stderr } = token(secret, arguments).await;
        let said = text(stderr);
        assert_eq!((status.code(), stdout), (Some(1), vec![]), "{said}");
        assert!(said.contains(fix) && !said.contains(SECRET), "{said}");
        assert!(secret != Some("hunter2") || !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_token_for_nobody_is_bad_usage() {
    for arguments in [&[][..], &["--all", "--batch", "b"], &["--batch", "a b"], &["--all", "--expires-in", "soon"]] {
        let Output { status, stdout, stderr } = token(Some(SECRET), arguments).await;
        assert_eq!((status.code(), stdout), (Some(2), vec![]), "{arguments:?}");
        assert!(text(stderr).contains("--"), "{arguments:?}");
    }
}
