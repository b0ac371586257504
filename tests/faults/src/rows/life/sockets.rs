//! The edge's connections, as the kernel sees them.

use std::fs;

use anyhow::{Context as _, Result};
use stack::Stack;

const ESTABLISHED: &str = "01";
/// Closed by the other side alone.
const CLOSE_WAIT: &str = "08";

/// A line of `/proc/net/tcp`, for a connection between the edge's port and a client: each has one at either side.
struct Side {
    at_edge: bool,
    state: String,
    /// Bytes that were written and not yet acknowledged, or received and not yet read.
    waiting: u64,
}

/// Connections of viewers that the edge's process holds, also those that viewers have closed.
pub(super) fn held_by_edge(stack: &Stack) -> Result<usize> {
    let sides = sides(stack)?;
    let held = |side: &&Side| side.at_edge && (side.state == ESTABLISHED || side.state == CLOSE_WAIT);
    Ok(sides.iter().filter(held).count())
}

/// Bytes between the edge's process and its clients: they left the one and were not yet read by the others.
pub(super) fn bytes_in_kernel(stack: &Stack) -> Result<u64> {
    Ok(sides(stack)?.iter().map(|side| side.waiting).sum())
}

/// All sockets of the edge's process, those to the gateway among them.
pub(super) fn all_of_edge(stack: &Stack) -> Result<usize> {
    let files = fs::read_dir(format!("/proc/{}/fd", stack.edge.pid()?))?;
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

fn sides(stack: &Stack) -> Result<Vec<Side>> {
    let (_, port) = stack.edge.url().rsplit_once(':').context("an address without a port")?;
    let port = format!(":{:04X}", port.parse::<u16>()?);
    let table = fs::read_to_string("/proc/net/tcp").context("this system has no /proc/net/tcp")?;
    Ok(table.lines().skip(1).filter_map(|line| side(line, &port)).collect())
}

fn side(line: &str, port: &str) -> Option<Side> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, remote, state, queues) = (fields.get(1)?, fields.get(2)?, fields.get(3)?, fields.get(4)?);
    let at_edge = local.ends_with(port);
    if !at_edge && !remote.ends_with(port) {
        return None;
    }
    let (written, received) = queues.split_once(':')?;
    let bytes = |hex| u64::from_str_radix(hex, 16).ok();
    Some(Side { at_edge, state: (*state).to_owned(), waiting: bytes(written)? + bytes(received)? })
}
