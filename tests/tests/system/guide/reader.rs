//! A reader of a page: types its commands, one after the other, into a shell beside a running stack.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use stack::{GUARD, Stack, workspace};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process;
use tokio::time::timeout;

use super::blocks::{Block, Command, is_shown};

/// What is exported by one command is there for the next. What is left running holds standard error, not the output.
const SCRIPT: &str = r#"exec 2>"$READER_ERRORS"
if [ -f "$READER_STATE" ]; then . "$READER_STATE"; fi
COMMAND
code=$?
export -p >"$READER_STATE"
exit $code"#;

/// The file of what a command says on standard error.
const ERRORS: &str = "errors";

/// A folder, a shell's variables, and the addresses of a stack in the place of those that pages name. What it has started
/// ends with it.
pub(crate) struct Reader {
    dir: TempDir,
    env: BTreeMap<String, String>,
    /// What pages say, and what holds here.
    addresses: Vec<(&'static str, String)>,
    /// Leads the process group of the commands, and so keeps its number while any of them left something running.
    leader: process::Child,
    group: Pid,
}

impl Reader {
    /// `app`: where a page's own application listens, in the place of `localhost:3000`.
    pub(crate) fn new(stack: &Stack, app: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("batchcast-guide-").tempdir()?;
        let bin = dir.path().join("bin");
        fs::create_dir(&bin)?;
        symlink(workspace::binary("batchcast")?, bin.join("batchcast"))?;
        // Pages say `redis-cli`, as if Redis were at its usual port.
        let redis = stack.redis.url().rsplit_once(':').context("the address has no port")?.1;
        let redis_cli = workspace::find_program("redis-cli").context("no redis-cli on the PATH")?;
        let wrapper = bin.join("redis-cli");
        fs::write(&wrapper, format!("#!/bin/sh\nexec {} -p {redis} \"$@\"\n", redis_cli.display()))?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        // The folder is the workspace's, as far as pages use it.
        for name in ["client", "examples", "node_modules", "wire"] {
            symlink(workspace::root().join(name), dir.path().join(name))?;
        }

        let path = std::env::var("PATH").context("no PATH")?;
        let addresses = stack.addresses();
        let env = [
            ("PATH", format!("{}:{path}", bin.display())),
            ("HOME", dir.path().display().to_string()),
            ("READER_STATE", dir.path().join("state").display().to_string()),
            ("READER_ERRORS", dir.path().join(ERRORS).display().to_string()),
            ("BATCHCAST", workspace::root().display().to_string()),
            ("REDIS_URL", addresses.redis),
            ("UPSTASH_REDIS_REST_URL", addresses.gateway),
            ("UPSTASH_REDIS_REST_TOKEN", addresses.gateway_token),
            ("EDGE_URL", addresses.edge),
            ("ORIGIN_URL", addresses.photo_worker),
            ("ORIGIN_TOKEN", stack.origin_token().to_owned()),
            ("AUTH_SECRET", stack.auth_secret().to_owned()),
            ("METRICS_TOKEN", addresses.metrics_token),
            ("TOKEN", stack.token("anna")),
        ];
        let host = |url: &str| url.split_once("://").map_or(url, |(_, host)| host).to_owned();
        let addresses = vec![
            ("localhost:8787", host(stack.edge.url())),
            ("localhost:8079", host(stack.gateway.url())),
            ("localhost:8090", host(stack.photo_worker.url())),
            ("localhost:6379", host(stack.redis.url())),
            ("localhost:6390", host(stack.redis.url())),
            ("redis-cli -p 6390", "redis-cli".to_owned()),
            ("localhost:3000", app.to_owned()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let leader =
            process::Command::new("cat").process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let group = group_of(&leader)?;
        Ok(Self { dir, env, addresses, leader, group })
    }

    /// Sets a variable of the shell.
    pub(crate) fn export(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Puts a file into the folder.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.dir.path().join(name), bytes)?)
    }

    pub(crate) async fn follow(&mut self, block: &Block) -> Result<()> {
        match block {
            Block::File { name, text } => self.write(name, self.here(text).as_bytes()),
            Block::Commands { commands, .. } => {
                for command in commands {
                    let said = || format!("line {}: {}", command.line, command.text);
                    self.run(command).await.with_context(said)?;
                }
                Ok(())
            }
        }
    }

    /// With the addresses of this stack.
    fn here(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, address))
    }

    async fn run(&mut self, command: &Command) -> Result<()> {
        // What has to be ended has a group of its own.
        let group = if command.is_endless { 0 } else { self.group.as_raw() };
        let mut child = process::Command::new("bash")
            .args(["-c", &SCRIPT.replace("COMMAND", &self.here(&command.text))])
            .env_clear()
            .envs(&self.env)
            .current_dir(self.dir.path())
            .process_group(group)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start bash")?;
        let own_group = command.is_endless.then(|| group_of(&child)).transpose()?;

        let mut shown = command.prints.iter().map(|line| self.here(line)).peekable();
        let (mut output, errors) = (String::new(), self.dir.path().join(ERRORS));
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let reading = async {
            while !(command.is_endless && shown.peek().is_none()) {
                let Some(line) = lines.next_line().await? else { break };
                shown.next_if(|expected| is_shown(expected, &line));
                output = format!("{output}{line}\n");
            }
            for line in fs::read_to_string(&errors)?.lines() {
                shown.next_if(|expected| is_shown(expected, line));
                output = format!("{output}{line}\n");
            }
            anyhow::Ok(())
        };
        let read = timeout(2 * GUARD, reading).await;
        if let Some(group) = own_group {
            killpg(group, Signal::SIGKILL)?;
        }
        if let Some(missing) = shown.next() {
            anyhow::bail!("{missing:?} was not printed, but:\n{output}");
        }
        read.with_context(|| format!("it does not end; it printed:\n{output}"))??;
        let status = timeout(GUARD, child.wait()).await.context("it does not end")??;
        ensure!(status.success() || !command.prints.is_empty(), "{status}; it printed:\n{output}");
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // An error means that nothing of it is left.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.leader.start_kill();
    }
}

fn group_of(leader: &process::Child) -> Result<Pid> {
    Ok(Pid::from_raw(leader.id().context("it has ended")?.try_into()?))
}
