//! Certificates for tests, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const CONFIG: &str = "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN=Batchcast tests\n";

/// A certificate authority of its own; its files go with it.
#[derive(Debug)]
pub struct Authority(TempDir);

/// The PEM files of a certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When `openssl` is missing or fails: then in its words.
    pub fn new() -> Result<Self> {
        let authority = Self(tempfile::tempdir()?);
        fs::write(authority.dir().join("openssl.cnf"), CONFIG)?;
        authority.make("ca", &["basicConstraints=critical,CA:TRUE"], &[])?;
        Ok(authority)
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Its own certificate, by which others trust it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// A certificate for 127.0.0.1, good for servers and clients.
    ///
    /// # Errors
    /// As [`Authority::new`].
    pub fn issue(&self, name: &str) -> Result<Certificate> {
        let extensions = ["basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1"];
        self.make(name, &extensions, &["-CA", "ca.pem", "-CAkey", "ca.key"])?;
        Ok(Certificate { chain: self.dir().join(format!("{name}.pem")), key: self.dir().join(format!("{name}.key")) })
    }

    fn make(&self, name: &str, extensions: &[&str], issuer: &[&str]) -> Result<()> {
        let (chain, key) = (format!("{name}.pem"), format!("{name}.key"));
        let output = Command::new("openssl")
            .current_dir(self.dir())
            .args(["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-nodes", "-out", &chain, "-keyout", &key])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(extensions.iter().flat_map(|extension| ["-addext", extension]))
            .args(issuer)
            .output()
            .context("openssl is missing")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
