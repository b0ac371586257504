//! A Redis on its own, for the tests of one part.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::FromRedisValue;
use redis::aio::{MultiplexedConnection, PubSub};
use tempfile::TempDir;

use crate::{Authority, Part, ports, redis_server};

/// A `redis-server` that keeps nothing on disk, killed on drop; where a test fails, with the end of its log. While it is
/// down, no outgoing connection can come to sit on its port: see [`ports`].
#[derive(Debug)]
pub struct RedisServer {
    part: Part,
    dir: TempDir,
}

impl RedisServer {
    /// A server that answers.
    ///
    /// # Errors
    /// When `redis-server` is missing or does not start: then with the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// A server that answers, with further options of its command line.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn start_with(options: &[&str]) -> Result<Self> {
        let mut server = Self::stopped()?;
        server.part.program.args.extend(options.iter().map(Into::into));
        server.restart().await?;
        Ok(server)
    }

    /// A server that answers, also by TLS at a port of its own, there only for who shows a certificate of `authority`. With
    /// that port.
    ///
    /// # Errors
    /// As [`RedisServer::start`], and when `openssl` is missing.
    pub async fn start_with_tls(authority: &Authority, options: &[&str]) -> Result<(Self, u16)> {
        let port = ports::free()?;
        let tls = tls_options(authority, port)?;
        let all: Vec<&str> = tls.iter().map(String::as_str).chain(options.iter().copied()).collect();
        Ok((Self::start_with(&all).await?, port))
    }

    /// An address at which nothing listens yet; [`RedisServer::restart`] changes that.
    ///
    /// # Errors
    /// When `redis-server` is missing.
    pub fn stopped() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let part = redis_server(dir.path(), ports::free()?)?;
        Ok(Self { part, dir })
    }

    /// A sentinel that watches `master` under the name `name` and decides alone, after half a second of silence.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn sentinel(master: &Self, name: &str) -> Result<Self> {
        Self::sentinel_of(master.port()?, name, Vec::new()).await
    }

    /// A sentinel that watches the master at this port by TLS, and answers by TLS itself, at the port that comes with it.
    ///
    /// # Errors
    /// As [`RedisServer::start_with_tls`].
    pub async fn sentinel_with_tls(authority: &Authority, master: u16, name: &str) -> Result<(Self, u16)> {
        let port = ports::free()?;
        let mut options = tls_options(authority, port)?;
        options.extend(["--tls-replication", "yes"].map(Into::into));
        Ok((Self::sentinel_of(master, name, options).await?, port))
    }

    async fn sentinel_of(master: u16, name: &str, options: Vec<String>) -> Result<Self> {
        let mut server = Self::stopped()?;
        // It writes down there what it learns.
        let config = server.dir.path().join("sentinel.conf");
        let settings = format!(
            "sentinel monitor {name} 127.0.0.1 {master} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 2000\n"
        );
        fs::write(&config, settings)?;
        server.part.program.args.insert(0, config.into());
        server.part.program.args.push("--sentinel".into());
        server.part.program.args.extend(options.into_iter().map(Into::into));
        server.part.says = "+monitor master";
        server.restart().await?;
        Ok(server)
    }

    /// Kills it, if it runs, and starts it empty at the same address.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.part.start().await
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.part.kill();
    }

    /// Stops it where it stands: connections stay open, nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.part.freeze()
    }

    /// Lets it go on after [`RedisServer::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.part.thaw()
    }

    /// The address, with its scheme.
    #[must_use]
    pub fn url(&self) -> &str {
        self.part.url()
    }

    /// The port of the address.
    ///
    /// # Errors
    /// Never, as addresses are made here.
    pub fn port(&self) -> Result<u16> {
        let (_, port) = self.url().rsplit_once(':').context("the address has no port")?;
        Ok(port.parse()?)
    }

    /// The time for which it has kept processors busy.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.part.cpu_time()
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        let connection = self.client()?.get_multiplexed_async_connection().await;
        connection.context("cannot connect to redis-server")
    }

    /// Runs one command, given as its words.
    ///
    /// # Errors
    /// When the server does not answer, answers with an error, or with something else than a `T`.
    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut self.connect().await?).await.with_context(|| format!("{words:?} failed"))
    }

    /// The messages of a channel, from now on.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn messages(&self, channel: &str) -> Result<PubSub> {
        let mut messages = self.client()?.get_async_pubsub().await?;
        messages.subscribe(channel).await?;
        Ok(messages)
    }

    /// How many connections subscribe to a channel.
    ///
    /// # Errors
    /// As [`RedisServer::run`].
    pub async fn subscriptions(&self, channel: &str) -> Result<u64> {
        let (_, count): (String, u64) = self.run(&["PUBSUB", "NUMSUB", channel]).await?;
        Ok(count)
    }

    fn client(&self) -> Result<redis::Client> {
        Ok(redis::Client::open(self.url())?)
    }
}

/// A certificate of the server's own, which it also shows to other servers.
fn tls_options(authority: &Authority, port: u16) -> Result<Vec<String>> {
    let own = authority.issue(&format!("redis-{port}"))?;
    let path = |path: &Path| path.display().to_string();
    let options = [
        ["--tls-port", &port.to_string()],
        ["--tls-ca-cert-file", &path(&authority.root())],
        ["--tls-cert-file", &path(&own.chain)],
        ["--tls-key-file", &path(&own.key)],
        ["--tls-auth-clients", "yes"],
    ];
    Ok(options.as_flattened().iter().map(ToString::to_string).collect())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} printed last:\n{}", self.url(), self.part.log_tail());
        }
    }
}
