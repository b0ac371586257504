//! What lies between Redis and a room: half-open streams, disturbed messages, rivals, clocks, the origin.

mod clock;
mod disturbed;
mod half_open;
mod origin;
mod rivals;

use std::time::Duration;

use anyhow::{Result, ensure};
use stack::{GUARD, Stack, eventually};

use crate::figures::Figures;
use crate::row::Row;

/// How long the edge waits for a ping to come back.
const PING_ANSWER: Duration = Duration::from_secs(5);
/// For what no setting promises: opening a subscription again, a read, and a machine with much to do.
const SLACK: Duration = Duration::from_secs(10);

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            4,
            "upstream stream half-open: bytes swallowed, socket alive",
            "noticed within one ping and its answer time; viewers are told that what they see may be behind, then that \
             it no longer is; a batch whose last message was swallowed is seen to end",
            half_open::bytes_swallowed,
        ),
        Row::new(
            8,
            "20 % of messages dropped, the last one always; 20 % doubled; order mixed",
            "final state right within one ping; gaps counted; extra reads of the hash bounded",
            disturbed::messages_disturbed,
        ),
        Row::new(
            10,
            "two publishers race with older and newer versions",
            "progress never falls; what came too late is counted as stale",
            rivals::publishers_race,
        ),
        Row::new(
            13,
            "origin slow (5 s and more), failing, or answering nonsense",
            "readers get a clear answer; one request to the origin however many wait",
            origin::no_help,
        )
        .deadline_secs(240),
        Row::new(
            14,
            "worker's clock 1 h ahead or behind",
            "the latency metric clamps and says so; nothing else changes",
            clock::an_hour_off,
        )
        .deadline_secs(240),
    ]
}

/// The edge's counters once its last room has closed: only then are they complete.
async fn figures_of_edge_at_rest(stack: &Stack) -> Result<Figures> {
    eventually(GUARD, async || {
        let figures = Figures::of_edge(stack).await?;
        let rooms = figures.get(wire::metrics::ROOMS);
        ensure!(rooms == 0.0 && figures.get(wire::metrics::SSE_EVENTS) > 0.0, "the edge has {rooms} rooms");
        Ok(figures)
    })
    .await
}

/// Waits until `check` holds; `otherwise` says what is wrong when it does not.
async fn until(otherwise: &str, mut check: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    eventually(GUARD, async || {
        ensure!(check().await?, "{otherwise}");
        Ok(())
    })
    .await
}
