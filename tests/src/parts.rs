//! How each part is started: its program, its settings, and how it shows that it is ready.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::GUARD;
use crate::part::{Health, Part};
use crate::process::Program;
use crate::{workerd, workspace, wrangler};

/// wrangler starts in 2 s on an idle machine and in 30 s on a busy one.
const WRANGLER_GUARD: Duration = Duration::from_secs(120);

/// A Redis that keeps nothing on disk: killed and started again, it is empty. `dir` is for its log.
///
/// # Errors
/// When `redis-server` is not installed.
pub fn redis_server(dir: &Path, port: u16) -> Result<Part> {
    let path = workspace::find_program("redis-server")
        .context("no redis-server on the PATH: `cargo xtask test` installs it or says how to")?;
    let port = port.to_string();
    let args = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
    Ok(Part {
        name: "redis-server",
        url: format!("redis://127.0.0.1:{port}"),
        program: Program { path, args: args.map(Into::into).to_vec(), env: BTreeMap::new(), dir: dir.to_owned() },
        says: "Ready to accept connections",
        health: Health::Ping,
        guard: GUARD,
        log: dir.join("redis.log"),
        process: None,
    })
}

/// Settings of [`gateway`].
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Port of the Redis-over-HTTP server.
    pub port: u16,
    /// Port of the operator's server.
    pub admin_port: u16,
    /// The Redis behind it.
    pub redis_url: String,
    /// The token that its callers must show.
    pub token: String,
    /// Further environment variables.
    pub env: BTreeMap<String, String>,
}

/// The gateway. `dir` is for its log.
///
/// # Errors
/// When it has not been built.
pub fn gateway(dir: &Path, settings: GatewaySettings) -> Result<Part> {
    let mut env = variables([
        ("GATEWAY_LISTEN", format!("127.0.0.1:{}", settings.port)),
        ("GATEWAY_ADMIN_LISTEN", format!("127.0.0.1:{}", settings.admin_port)),
        ("REDIS_URL", settings.redis_url),
        ("GATEWAY_TOKEN", settings.token),
    ]);
    env.extend(settings.env);
    Ok(Part {
        name: "gateway",
        url: format!("http://127.0.0.1:{}", settings.port),
        program: Program { path: workspace::binary("batchcast-gateway")?, args: Vec::new(), env, dir: dir.to_owned() },
        says: "listening on http",
        health: Health::Http(format!("http://127.0.0.1:{}/healthz", settings.admin_port)),
        guard: GUARD,
        log: dir.join("gateway.log"),
        process: None,
    })
}

/// Settings of [`photo_worker`].
#[derive(Debug, Clone)]
pub struct PhotoWorkerSettings {
    /// Port of its HTTP server.
    pub port: u16,
    /// Where it publishes to.
    pub redis_url: String,
    /// The token that it expects from the edge.
    pub origin_token: String,
    /// What its callers' tokens are signed with.
    pub auth_secret: String,
    /// The development switch: without a token everyone is let in.
    pub trust_user_header: bool,
    /// Further environment variables.
    pub env: BTreeMap<String, String>,
}

/// The photo worker. `dir` is for its log, database and photos, which outlive a restart.
///
/// # Errors
/// When it has not been built, or its folder cannot be made.
pub fn photo_worker(dir: &Path, settings: PhotoWorkerSettings) -> Result<Part> {
    let photos = dir.join("photos");
    fs::create_dir_all(&photos)?;
    let mut env = variables([
        ("PHOTO_WORKER_LISTEN", format!("127.0.0.1:{}", settings.port)),
        ("REDIS_URL", settings.redis_url),
        ("DATABASE_URL", format!("sqlite://{}", dir.join("photos.db").display())),
        ("PHOTO_DIR", photos.display().to_string()),
        ("ORIGIN_TOKEN", settings.origin_token),
        ("AUTH_SECRET", settings.auth_secret),
        ("TRUST_USER_HEADER", settings.trust_user_header.to_string()),
    ]);
    env.extend(settings.env);
    let url = format!("http://127.0.0.1:{}", settings.port);
    Ok(Part {
        name: "photo worker",
        program: Program {
            path: workspace::binary("batchcast-photo-worker")?,
            args: Vec::new(),
            env,
            dir: dir.to_owned(),
        },
        says: "listening on http://",
        health: Health::Http(format!("{url}/healthz")),
        url,
        guard: GUARD,
        log: dir.join("photo-worker.log"),
        process: None,
    })
}

/// Settings of [`edge`] and [`bare_edge`].
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// Port of `wrangler dev` or `workerd`.
    pub port: u16,
    /// The Worker's variables, over those of its `wrangler.toml`.
    pub vars: BTreeMap<String, String>,
    /// The folder of another build than the one that `wrangler.toml` names.
    pub build: Option<PathBuf>,
}

/// The Worker described by the `wrangler.toml` in `worker`, usually the workspace's root, run by `wrangler dev` as it
/// was last built. `dir` is for its log, the generated configuration and the objects' storage.
///
/// # Errors
/// When wrangler or the built Worker is missing, or its configuration is not understood.
pub fn edge(dir: &Path, worker: &Path, settings: &EdgeSettings) -> Result<Part> {
    let node = workspace::node()?;
    let config = dir.join("wrangler.toml");
    let text = wrangler_toml(worker)?;
    fs::write(&config, wrangler::for_dev(&text, worker, settings)?)?;

    let port = settings.port.to_string();
    let wrangler = workspace::built("node_modules/wrangler/bin/wrangler.js")?;
    let mut args = vec![wrangler.into_os_string(), "dev".into(), "--config".into(), config.into_os_string()];
    args.extend(["--ip", "127.0.0.1", "--port", &port, "--inspector-port", "0"].map(Into::into));
    args.extend(["--show-interactive-dev-session=false", "--log-level", "info", "--persist-to"].map(Into::into));
    args.push(dir.join("objects").into_os_string());
    // Nothing leaves the machine: no usage figures, and no request for sample data about the caller's place.
    let env = variables([
        ("WRANGLER_SEND_METRICS", "false"),
        ("CLOUDFLARE_CF_FETCH_ENABLED", "false"),
        ("NO_COLOR", "1"),
        ("CI", "1"),
        // What it would leave behind when it is killed goes with the stack's folder.
        ("TMPDIR", &dir.display().to_string()),
    ]);
    let program = Program { path: node, args, env, dir: dir.to_owned() };
    Ok(edge_part(dir, settings, program, "Ready on http://", WRANGLER_GUARD))
}

/// The same Worker in `workerd` alone: one process, ready at once, whose memory is the Worker's. Its log has the lines
/// of `console.log` as the Worker wrote them. The live page and other static files are not served.
///
/// # Errors
/// When workerd or the built Worker is missing, or its configuration is not understood.
pub fn bare_edge(dir: &Path, worker: &Path, settings: &EdgeSettings) -> Result<Part> {
    let text = wrangler_toml(worker)?;
    let main = worker.join(wrangler::main(&text)?);
    let name = main.file_name().and_then(|name| name.to_str()).context("`main` in wrangler.toml names no file")?;
    let build = settings.build.as_deref().or(main.parent()).context("`main` in wrangler.toml has no folder")?;

    let modules_dir = dir.join("workerd");
    let modules = workerd::lay_out(build, name, &modules_dir)?;
    let address = format!("127.0.0.1:{}", settings.port);
    fs::write(modules_dir.join("config.capnp"), workerd::config(&text, &settings.vars, &modules, &address)?)?;
    // On its control channel, here its output, workerd tells once it listens.
    let args = ["serve", "config.capnp", "--control-fd=1"].map(Into::into).to_vec();
    let program = Program { path: workspace::workerd()?, args, env: BTreeMap::new(), dir: modules_dir };
    Ok(edge_part(dir, settings, program, r#""event":"listen""#, GUARD))
}

fn wrangler_toml(worker: &Path) -> Result<String> {
    fs::read_to_string(worker.join("wrangler.toml")).context("cannot read wrangler.toml")
}

fn edge_part(dir: &Path, settings: &EdgeSettings, program: Program, says: &'static str, guard: Duration) -> Part {
    let url = format!("http://127.0.0.1:{}", settings.port);
    Part {
        name: "edge",
        program,
        says,
        health: Health::Http(format!("{url}/healthz")),
        url,
        guard,
        log: dir.join("edge.log"),
        process: None,
    }
}

fn variables<V: Into<String>, const N: usize>(pairs: [(&str, V); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}
