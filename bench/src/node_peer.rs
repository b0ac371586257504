//! The peers that are Node programs (`bench/peers`): a server that viewers are connected to, and a worker that puts each
//! change through as an application would.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use stack::{Part, ports, processor_time, workspace};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What a peer's programs find their surroundings by.
pub(crate) struct Surroundings<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) redis_url: &'a str,
    pub(crate) gateway_url: &'a str,
    pub(crate) gateway_token: &'a str,
}

impl Surroundings<'_> {
    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("REDIS_URL", self.redis_url.to_owned()),
            ("GATEWAY_URL", self.gateway_url.to_owned()),
            ("GATEWAY_TOKEN", self.gateway_token.to_owned()),
            ("DATABASE", self.dir.join("peer.db").display().to_string()),
        ]
    }
}

const UPSTASH_PACKAGES: &[&str] = &["@upstash/realtime", "@upstash/redis", "hono", "@hono/node-server", "zod"];

/// The npm packages that a peer is made of.
const PACKAGES: [(&str, &[&str]); 4] = [
    ("after", &["ioredis"]),
    ("upstash-realtime", UPSTASH_PACKAGES),
    ("upstash-realtime-changes", UPSTASH_PACKAGES),
    ("bullmq", &["bullmq", "better-sse", "ioredis"]),
];

/// What a report says where a peer's packages are not all installed; `None`: they are.
pub(crate) fn lack(peer: &str) -> Option<String> {
    let (_, packages) = PACKAGES.iter().find(|(name, _)| *name == peer)?;
    let modules = workspace::root().join("node_modules");
    let absent: Vec<&str> = packages.iter().copied().filter(|name| !modules.join(name).is_dir()).collect();
    (!absent.is_empty()).then(|| format!("{peer} is not installed: npm has not brought {}", absent.join(", ")))
}

fn script(peer: &str, program: &str) -> String {
    workspace::root().join("bench/peers").join(peer).join(program).display().to_string()
}

/// The server of a peer, running.
pub(crate) async fn server(peer: &'static str, around: &Surroundings<'_>) -> Result<Part> {
    let (port, args) = (ports::free()?, ["--disable-warning=ExperimentalWarning", &*script(peer, "server.mjs")]);
    let url = format!("http://127.0.0.1:{port}");
    let part = Part::foreign(peer, url, String::new(), workspace::node()?, &args, around.dir);
    let mut part = part.ready_when_it_says("listening on http://");
    part.env("PORT", &port.to_string());
    around.variables().iter().for_each(|(name, value)| part.env(name, value));
    part.start().await?;
    Ok(part)
}

/// The worker of a peer, running; killed on drop.
pub(crate) struct Worker {
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    child: Child,
    /// What it has spent on parsing lines, which an application would not have.
    parsing: Duration,
}

/// How long a worker may take for one update: beyond it, it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it says of an update.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "parseMs")]
    parse_ms: f64,
}

impl Worker {
    pub(crate) fn start(peer: &str, around: &Surroundings<'_>) -> Result<Self> {
        let mut command = Command::new(workspace::node()?);
        command.args(["--disable-warning=ExperimentalWarning", &*script(peer, "worker.mjs")]);
        command.envs(around.variables()).current_dir(workspace::root()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { stdin, answers, child, parsing: Duration::ZERO })
    }

    /// Puts a change through: the whole state, of which this photo has changed.
    pub(crate) async fn publish(&mut self, batch: &str, at: u64, state: &str, changed: &str) -> Result<()> {
        self.publish_many(batch, at, state, &[changed]).await
    }

    /// Puts a change through of which several photos are part.
    pub(crate) async fn publish_many(&mut self, batch: &str, at: u64, state: &str, changed: &[&str]) -> Result<()> {
        let line =
            format!("{{\"batch\":{},\"at\":{at},\"state\":{state},\"changed\":{}}}\n", json!(batch), json!(changed));
        let answering = async {
            self.stdin.write_all(line.as_bytes()).await?;
            self.answers.next_line().await
        };
        let answer = tokio::time::timeout(PATIENCE, answering).await;
        let answer = answer.with_context(|| format!("the worker has not answered for {} s", PATIENCE.as_secs()))??;
        let answer = answer.context("the worker has ended")?;
        ensure!(answer.contains("\"published\":"), "the worker says {answer}");
        let answer: Answer = serde_json::from_str(&answer)?;
        self.parsing += Duration::from_secs_f64(answer.parse_ms / 1e3);
        Ok(())
    }

    /// The time for which it has kept processors busy, without the parsing of lines, which is the harness' own.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let pid = self.child.id().context("the worker has ended")?;
        Ok(processor_time::of_process(pid)?.saturating_sub(self.parsing))
    }
}
