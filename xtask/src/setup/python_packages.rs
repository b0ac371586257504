//! The PyPI packages of `tests/clients/requirements.txt`: clients of other languages, for the tests of the gateway.

use anyhow::Result;
use stack::workspace;

use super::system_programs;
use crate::command::{command, run};
use crate::stamp::Stamp;

/// Installs the packages when those that are there were not installed from the present list.
pub(super) fn ensure() -> Result<()> {
    let (dir, list) = (workspace::python_packages(), workspace::root().join("tests/clients/requirements.txt"));
    let stamp = Stamp::new(dir.join(".batchcast-list"), std::slice::from_ref(&list))?;
    if stamp.is_current() {
        return Ok(());
    }
    system_programs::ensure_pip()?;
    println!("Installing the Python packages");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    // Into a folder of the project: Debian does not let pip change its own.
    let mut pip = command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    run(pip.arg("--target").arg(&dir).arg("--requirement").arg(&list))?;
    stamp.set()
}
