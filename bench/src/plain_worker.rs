//! Workers in JavaScript that do next to nothing, in the same `workerd` as ours: what the runtime itself costs.

use std::path::Path;

use anyhow::Result;
use stack::{Part, ports, workspace};

/// The Worker in this folder of `bench/peers`, not started yet. It is ready when it answers `/1`.
pub(crate) fn stopped(name: &'static str, dir: &Path) -> Result<Part> {
    let address = format!("127.0.0.1:{}", ports::free()?);
    let config = workspace::root().join("bench/peers").join(name).join("config.capnp");
    let args = ["serve", &config.to_string_lossy(), &format!("--socket-addr=http={address}")];
    let url = format!("http://{address}");
    Ok(Part::foreign(name, url.clone(), format!("{url}/1"), workspace::workerd()?, &args, dir))
}
