//! A `redis-server` that keeps nothing on disk.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::eventually;

pub(crate) struct Server {
    port: u16,
    process: Option<Child>,
    dir: TempDir,
    options: &'static [&'static str],
}

impl Server {
    /// A server that answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with further options that answers.
    pub(crate) async fn start_with(options: &'static [&'static str]) -> Self {
        let mut server = Self::stopped();
        server.options = options;
        server.restart().await;
        server
    }

    /// An address at which nothing listens yet.
    pub(crate) fn stopped() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self { port, process: None, dir: tempfile::tempdir().unwrap(), options: &[] }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it, if it runs, and starts it empty at the same address.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .args(self.options)
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not on the PATH: `cargo xtask test` installs it");
        self.process = Some(process);
        eventually("redis-server answers", async || self.try_connect().await).await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// A connection for what a test does behind the publisher's back.
    pub(crate) async fn admin(&self) -> MultiplexedConnection {
        self.try_connect().await.expect("redis-server answers")
    }

    /// Runs one command given as words.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.admin().await).await.unwrap()
    }

    /// The messages of a channel, from now on.
    pub(crate) async fn messages(&self, channel: &str) -> redis::aio::PubSub {
        let mut pubsub = redis::Client::open(self.url()).unwrap().get_async_pubsub().await.unwrap();
        pubsub.subscribe(channel).await.unwrap();
        pubsub
    }

    async fn try_connect(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.url()).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").query_async::<String>(&mut connection).await.ok()?;
        Some(connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
