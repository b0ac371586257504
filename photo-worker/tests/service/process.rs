//! The program: its one line, its settings, its end.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Client;
use stack::RedisServer;

use crate::world::{Api, Place};

pub(crate) struct Program {
    pub process: Child,
    pub base: String,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(redis: &RedisServer, dir: &Place) -> Self {
        Self::start_with(redis, dir, &[])
    }

    /// With these variables over the others.
    pub(crate) fn start_with(redis: &RedisServer, dir: &Place, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_batchcast-photo-worker"))
            .env("PHOTO_WORKER_LISTEN", "127.0.0.1:0")
            .env("REDIS_URL", redis.url())
            .env("DATABASE_URL", &dir.database_url)
            .env("PHOTO_DIR", dir.path().join("photos"))
            .env("WORKER_THREADS", "1")
            // After a kill nobody waits for longer.
            .env("LEASE_SECS", "1")
            .env("TRUST_USER_HEADER", "true")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let base = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line:?}"));
        Self { base: base.to_owned(), process, stdout }
    }

    pub(crate) fn api(&self) -> Api {
        Api { base: self.base.clone(), http: Client::new() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn it_prints_one_line_and_ends_in_order_when_told_to() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let mut program = Program::start(&redis, &dir);
    program.signal(Signal::SIGTERM);
    assert!(program.process.wait().unwrap().success());
    let mut rest = String::new();
    program.stdout.read_line(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_bad_setting_stops_it_and_is_named() {
    for (variable, value) in [("COALESCE_MS", "soon"), ("LOG_LEVEL", "a=b=c")] {
        let Output { status, stderr, stdout } =
            Command::new(env!("CARGO_BIN_EXE_batchcast-photo-worker")).env(variable, value).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout), (Some(2), vec![]));
        assert!(said.contains(variable) && said.contains("set "), "{said}");
    }
}
