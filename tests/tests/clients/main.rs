//! Clients that others have written, as they are published, against the gateway and a real Redis: code that was written
//! for Upstash's REST API runs unchanged. The scenarios are in `tests/clients`, in the languages of the clients.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use stack::{GatewaySettings, Part, RedisServer, gateway, ports, workspace};
use tokio::process::Command;

const TOKEN: &str = "the-token-of-the-clients";
const READ_ONLY_TOKEN: &str = "the-token-of-the-readers";

/// A gateway and its Redis, for one file of scenarios.
struct Parts {
    redis: RedisServer,
    gateway: Part,
    _dir: tempfile::TempDir,
}

impl Parts {
    async fn start() -> Result<Self> {
        let (redis, dir) = (RedisServer::start().await?, tempfile::tempdir()?);
        let settings = GatewaySettings {
            port: ports::free()?,
            admin_port: ports::free()?,
            redis_url: redis.url().to_owned(),
            token: TOKEN.to_owned(),
            env: BTreeMap::from([("GATEWAY_READ_ONLY_TOKEN".to_owned(), READ_ONLY_TOKEN.to_owned())]),
        };
        let mut gateway = gateway(dir.path(), settings)?;
        gateway.start().await?;
        Ok(Self { redis, gateway, _dir: dir })
    }

    async fn run(&self, mut command: Command) -> Result<()> {
        command
            .env("UPSTASH_REDIS_REST_URL", self.gateway.url())
            .env("UPSTASH_REDIS_REST_TOKEN", TOKEN)
            .env("UPSTASH_READ_ONLY_TOKEN", READ_ONLY_TOKEN)
            .env("UPSTASH_DISABLE_TELEMETRY", "1")
            .env("REDIS_URL", self.redis.url())
            .current_dir(workspace::root())
            .kill_on_drop(true);
        let output = command.output().await.context("cannot start the scenarios")?;
        let said = [output.stdout, output.stderr].concat();
        let (said, status) = (String::from_utf8_lossy(&said), output.status);
        ensure!(status.success(), "{status}\n{said}\nThe gateway's log ends:\n{}", self.gateway.log_tail());
        // Shown by `--nocapture`, and nothing passes without having run.
        println!("{said}");
        ensure!(said.contains('✔') || said.contains(" ... ok"), "nothing ran:\n{said}");
        Ok(())
    }
}

async fn node(file: &str) -> Result<()> {
    let mut node = Command::new(workspace::node()?);
    node.args(["--test", "--test-reporter=spec", "--test-timeout=120000"]).arg(Path::new("tests/clients").join(file));
    Parts::start().await?.run(node).await
}

#[tokio::test]
async fn upstash_redis_for_javascript() -> Result<()> {
    node("upstash-redis.test.mjs").await
}

#[tokio::test]
async fn upstash_realtime() -> Result<()> {
    node("upstash-realtime.test.mjs").await
}

#[tokio::test]
async fn upstash_ratelimit() -> Result<()> {
    node("upstash-ratelimit.test.mjs").await
}

#[tokio::test]
async fn upstash_redis_for_python() -> Result<()> {
    let mut python = Command::new(workspace::find_program("python3").context("no python3 on the PATH")?);
    python.args(["-m", "unittest", "--verbose", "tests/clients/upstash_redis_test.py"]);
    python.env("PYTHONPATH", workspace::python_packages()).env("PYTHONDONTWRITEBYTECODE", "1");
    Parts::start().await?.run(python).await
}
