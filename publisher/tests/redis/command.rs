//! The `batchcast` command.

use std::process::Output;

use batchcast_publisher::{
    BatchStatus, Publisher,
    token::{Batches, Expected, Grant, KeySet, Secrets, verify},
};
use stack::RedisServer;
use tokio::process::Command;

use crate::{
    states::{EPOCH, batch, changes, state},
    within,
};

async fn batchcast(server: &RedisServer, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchcast"));
    command.args(arguments).env("REDIS_URL", server.url()).env_remove("KEY_PREFIX").kill_on_drop(true);
    within("the command ends", command.output()).await.unwrap()
}

#[tokio::test]
async fn watch_prints_the_progress_and_exits_by_how_the_batch_ended() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    publisher.publish(changes(&state(&batch("done"), EPOCH, 2, 2), None)).await.unwrap();
    let mut cancelled = changes(&state(&batch("cut"), EPOCH, 1, 2), None);
    cancelled.head.status = BatchStatus::Cancelled;
    publisher.publish(cancelled).await.unwrap();

    let done = batchcast(&server, &["watch", "done"]).await;
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "done  100 %  COMPLETED  2 of 2 completed\n");
    assert_eq!(batchcast(&server, &["watch", "cut"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn invalidate_deletes_and_bad_usage_exits_with_2() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    publisher.publish(changes(&state(&batch("a"), EPOCH, 1, 2), None)).await.unwrap();
    assert_eq!(batchcast(&server, &["invalidate", "a"]).await.status.code(), Some(0));
    assert_eq!(publisher.cached(&batch("a")).await.unwrap(), None);
    assert_eq!(batchcast(&server, &["watch", "no/id"]).await.status.code(), Some(2));
    assert_eq!(batchcast(&server, &["party"]).await.status.code(), Some(2));
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

    let expected = Expected { issuer: Some("us".into()), audience: Some("edge".into()) };
    let secrets = Secrets::parse(SECRET).unwrap();
    let claims = verify(token, Some(&secrets), &KeySet::default(), &expected, now()).unwrap();
    let batches = Batches::These(vec![batch("b-1"), batch("b-2")]);
    assert_eq!(claims.grant, Grant { subject: Some("anna".into()), batches, only: None });
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
