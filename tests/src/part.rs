//! One part of the stack, that can be killed and started again on the same address with the same settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::process::{Process, Program, tail};
use crate::{GUARD, eventually};

/// How long a part has to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a part shows that it is ready, beyond having said so in its output.
#[derive(Debug, Clone)]
pub(crate) enum Health {
    /// Redis answers `PING`.
    Ping,
    /// `GET` of this address succeeds.
    Http(String),
    /// It has said so, and that is all.
    Said,
}

/// A program of the stack with its address. Made by the functions of this crate named after the parts, started by
/// [`Part::start`], stopped on drop.
#[derive(Debug)]
pub struct Part {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) program: Program,
    pub(crate) says: &'static str,
    pub(crate) health: Health,
    pub(crate) guard: Duration,
    pub(crate) log: PathBuf,
    pub(crate) process: Option<Process>,
}

impl Part {
    /// A program that is none of ours, with its log in `dir`, ready when `health` answers with success.
    #[must_use]
    pub fn foreign(name: &'static str, url: String, health: String, path: PathBuf, args: &[&str], dir: &Path) -> Self {
        let args = args.iter().map(Into::into).collect();
        Self {
            name,
            url,
            program: Program { path, args, env: BTreeMap::new(), dir: dir.to_owned() },
            says: "",
            health: Health::Http(health),
            guard: GUARD,
            log: dir.join(format!("{name}.log")),
            process: None,
        }
    }

    /// Takes it for ready when it has printed this.
    #[must_use]
    pub fn ready_when_it_says(mut self, words: &'static str) -> Self {
        (self.says, self.health) = (words, Health::Said);
        self
    }

    /// Sets an environment variable, for every start from now on.
    pub fn env(&mut self, name: &str, value: &str) {
        self.program.env.insert(name.to_owned(), value.to_owned());
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address at which it tells whether it is well, if it has one.
    #[must_use]
    pub fn health_url(&self) -> Option<&str> {
        match &self.health {
            Health::Http(url) => Some(url),
            Health::Ping | Health::Said => None,
        }
    }

    /// Starts it, for the first time or again, and waits until it is ready.
    ///
    /// # Errors
    /// When it runs already, cannot be started, or is not ready in time: then with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        // Boxed, because callers start several parts in one future.
        let ready = Box::pin(self.spawn_and_wait()).await;
        ready.with_context(|| format!("{} did not start; its log ends:\n{}", self.name, self.log_tail()))
    }

    /// Starts it and does not wait until it is ready.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        self.process = Some(Process::spawn(&self.program, &self.log)?);
        Ok(())
    }

    async fn spawn_and_wait(&mut self) -> Result<()> {
        let process = self.process.insert(Process::spawn(&self.program, &self.log)?);
        process.printed(self.says, self.guard).await?;
        eventually(self.guard, async || self.check().await).await
    }

    async fn check(&self) -> Result<()> {
        match &self.health {
            Health::Ping => {
                let client = redis::Client::open(self.url.as_str())?;
                let mut connection = client.get_multiplexed_async_connection().await?;
                redis::cmd("PING").query_async::<String>(&mut connection).await?;
            }
            Health::Http(url) => {
                let status = reqwest::get(url).await?.status();
                ensure!(status.is_success(), "{url} answers {status}");
            }
            Health::Said => {}
        }
        Ok(())
    }

    /// Kills it at once, as a power failure would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Lets it end by itself (SIGTERM); kills it when it takes too long.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop(PATIENCE).await;
        }
    }

    /// Kills it at once and starts it again: on the same address with the same settings.
    ///
    /// # Errors
    /// As [`Part::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.start().await
    }

    /// Stops its processes where they stand (SIGSTOP): connections stay open, nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.signal(Signal::SIGSTOP)
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.running()?.signal(Signal::SIGCONT)
    }

    /// Adds an argument to its command line, for every start from now on.
    pub fn arg(&mut self, argument: &str) {
        self.program.args.push(argument.into());
    }

    /// The id of its first process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.running()?.group().as_raw())
    }

    /// The memory that its processes hold, in bytes.
    ///
    /// # Errors
    /// When it does not run, or the system has no `/proc`.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.running()?.resident_bytes()
    }

    /// The time for which its processes have kept processors busy.
    ///
    /// # Errors
    /// As [`Part::resident_bytes`].
    pub fn cpu_time(&self) -> Result<Duration> {
        self.running()?.cpu_time()
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    /// The file with everything it has printed, over all its runs.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything it has printed so far, over all its runs; empty before the first.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of everything it has printed so far.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}
