//! Certificates for tests, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const CONFIG: &str = "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN=Batchcast tests\n";

/// A certificate authority of its own; its files go with it.
pub(crate) struct Authority(TempDir);

/// The PEM files of a certificate and its key.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        fs::write(authority.dir().join("openssl.cnf"), CONFIG).unwrap();
        authority.make("ca", &["basicConstraints=critical,CA:TRUE"], &[]);
        authority
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Its own certificate, by which others trust it.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// A certificate for 127.0.0.1, good for servers and clients.
    pub(crate) fn issue(&self, name: &str) -> Certificate {
        let extensions = ["basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1"];
        self.make(name, &extensions, &["-CA", "ca.pem", "-CAkey", "ca.key"]);
        Certificate { chain: self.dir().join(format!("{name}.pem")), key: self.dir().join(format!("{name}.key")) }
    }

    fn make(&self, name: &str, extensions: &[&str], issuer: &[&str]) {
        let (chain, key) = (format!("{name}.pem"), format!("{name}.key"));
        let output = Command::new("openssl")
            .current_dir(self.dir())
            .args(["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-nodes", "-out", &chain, "-keyout", &key])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(extensions.iter().flat_map(|extension| ["-addext", extension]))
            .args(issuer)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
