//! A Postgres on its own, for the tests of what keeps rows in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context, Result, ensure};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::part::{Health, Part};
use crate::process::Program;
use crate::{Certificate, GUARD, ports, workspace};

/// Postgres refuses to run as root. These are tried, Debian's own user first.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// The server that the tests of one program share, as long as one of them holds it.
static SHARED: Mutex<Weak<PostgresServer>> = Mutex::const_new(Weak::new());

/// A Postgres that forgets everything, stopped on drop; where a test fails, with the end of its log.
#[derive(Debug)]
pub struct PostgresServer {
    part: Part,
    programs: PathBuf,
    user: Option<User>,
    databases: AtomicU32,
    dir: TempDir,
}

impl PostgresServer {
    /// The server of this program's tests: making one takes a second or two, a database in it a tenth of one.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub async fn shared() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// A server that answers, with nothing in it.
    ///
    /// # Errors
    /// When Postgres is missing or does not start: then with the end of its log.
    pub async fn start() -> Result<Self> {
        let mut server = Self::stopped()?;
        server.part.start().await?;
        Ok(server)
    }

    /// A server that answers by TLS, with this certificate, and refuses who comes without.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub async fn start_with_tls(certificate: &Certificate) -> Result<Self> {
        let mut server = Self::stopped()?;
        server.keep("server.crt", &fs::read_to_string(&certificate.chain)?)?;
        server.keep("server.key", &fs::read_to_string(&certificate.key)?)?;
        // The programs of the tests come by the socket.
        server.keep("data/pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n")?;
        for setting in ["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key"] {
            server.part.program.args.extend(["-c", setting].map(Into::into));
        }
        server.part.start().await?;
        Ok(server)
    }

    fn stopped() -> Result<Self> {
        let programs = workspace::postgres_programs().context(
            "no Postgres in /usr/lib/postgresql or on the PATH: `cargo xtask test` installs it or says how to",
        )?;
        let user = user()?;
        let dir = tempfile::tempdir()?;
        if let Some(user) = &user {
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let part = part(dir.path(), &programs, user.as_ref(), ports::free()?);
        let server = Self { part, programs, user, databases: AtomicU32::new(0), dir };
        server
            .run("initdb", &["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])?;
        Ok(server)
    }

    /// A file that nobody but the server reads, as it asks of its key.
    fn keep(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = &self.user {
            chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(())
    }

    /// Makes a database; its address.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port()?;
        let socket = self.dir.path().display().to_string();
        self.run("createdb", &["-h", &socket, "-p", port, "-U", "postgres", &name])?;
        Ok(format!("postgres://postgres@127.0.0.1:{port}/{name}"))
    }

    /// Kills it, as a power failure would, and starts it again with what it had.
    ///
    /// # Errors
    /// When it does not start: then with the end of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.part.start().await
    }

    /// Stops it at once, with all of its processes.
    pub fn stop(&mut self) {
        // An error means that it is gone already.
        let _ = self.run("pg_ctl", &["-D", "data", "-m", "immediate", "-w", "stop"]);
        self.part.kill();
    }

    fn port(&self) -> Result<&str> {
        let (_, port) = self.part.url().rsplit_once(':').context("the address has no port")?;
        Ok(port)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        let (path, first) = as_user(&self.programs.join(program), self.user.as_ref());
        let output = Command::new(path).args(first).args(args).current_dir(self.dir.path()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} ended with {}: {said}", output.status);
        Ok(())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Postgres printed last:\n{}", self.part.log_tail());
        }
        self.stop();
    }
}

/// Whom to be instead of root; `None`: ourselves will do.
fn user() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let there = USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    there.map(Some).context("Postgres does not run as root, and there is no user postgres or nobody")
}

/// A program, and its first arguments, run as this user.
fn as_user(program: &Path, user: Option<&User>) -> (PathBuf, Vec<OsString>) {
    let Some(user) = user else { return (program.to_owned(), Vec::new()) };
    let args = [format!("--reuid={}", user.uid), format!("--regid={}", user.gid), "--clear-groups".to_owned()];
    let mut args: Vec<OsString> = args.map(Into::into).to_vec();
    args.push(program.into());
    ("setpriv".into(), args)
}

/// Quick rather than safe: what it holds is not worth an `fsync`.
fn part(dir: &Path, programs: &Path, user: Option<&User>, port: u16) -> Part {
    let (path, mut args) = as_user(&programs.join("postgres"), user);
    let (port, socket) = (port.to_string(), dir.display().to_string());
    args.extend(["-D", "data", "-h", "127.0.0.1", "-p", &port, "-k", &socket].map(Into::into));
    for setting in ["fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=200"] {
        args.extend(["-c", setting].map(Into::into));
    }
    Part {
        name: "postgres",
        url: format!("postgres://127.0.0.1:{port}"),
        program: Program { path, args, env: BTreeMap::new(), dir: dir.to_owned() },
        says: "database system is ready to accept connections",
        health: Health::Said,
        guard: GUARD,
        log: dir.join("postgres.log"),
        process: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_postgres_gives_each_test_a_database_and_leaves_nothing_behind() {
        let server = PostgresServer::start().await.unwrap();
        assert_ne!(server.database().unwrap(), server.database().unwrap());
        let (dir, pid) = (server.dir.path().to_owned(), server.part.pid().unwrap());
        drop(server);
        assert!(!dir.exists() && !std::fs::exists(format!("/proc/{pid}")).unwrap());
    }
}
