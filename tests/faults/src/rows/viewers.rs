//! Viewers: many, forgotten, cut off, or coming in the wrong moment.

mod cuts;
mod endings;
mod forgotten;
mod joins;
mod restarts;

use std::cell::Cell;
use std::time::Duration;

use anyhow::Result;

use crate::feed::Feed;
use crate::row::Row;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            5,
            "edge restarted with 200 viewers: killed and away for 5 s; later stopped (SIGTERM: `workerd` serves \
             on, and is killed after 5 s) and started at once",
            "all at the final state; reconnects spread out",
            restarts::edge_restarted,
        ),
        Row::new(
            7,
            "viewers' network cut for 5 s at random moments, with a reset or silently: 4 viewers, 10 times each",
            "no photo state missed, none seen backwards, bytes re-sent a small fraction of the full state",
            cuts::network_cut,
        ),
        Row::new(
            9,
            "200 viewers join during 1,000 updates a second (by `publish`)",
            "each has the first full state, then no gap",
            joins::joined_in_a_storm,
        )
        .alone(),
        Row::new(
            12,
            "the batch ends in the very moment of connecting (500 tries); in half of them the stream is also cut between \
             the last `progress` and `complete`, up to three times",
            "always exactly one `complete` seen",
            endings::ended_while_connecting,
        ),
        Row::new(
            20,
            "the worker never comes back, 100 tabs stay open (times shortened: stalled after 2 s, forgotten after 6 s, \
             tabs look in every 3 s)",
            "`stalled` shown, the origin asked; then no room and no subscription, and looking in costs positions read only, \
             in an object made anew too; a later update still reaches every tab",
            forgotten::worker_never_comes_back,
        ),
    ]
}

/// Lets the batch go on, a photo each `pause`, until `meanwhile` is done; its last photo is left.
async fn going_on<T>(feed: &Feed, pause: Duration, meanwhile: impl Future<Output = Result<T>>) -> Result<T> {
    let next = async || {
        if feed.left() > 1 {
            feed.complete_one().await?;
        }
        tokio::time::sleep(pause).await;
        Ok(())
    };
    repeated(next, meanwhile).await
}

/// Repeats `step` until `meanwhile` is done. A step that has begun is never broken off.
async fn repeated<T>(
    mut step: impl AsyncFnMut() -> Result<()>,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<T> {
    let done = Cell::new(false);
    let meanwhile = async {
        let result = meanwhile.await;
        done.set(true);
        result
    };
    let steps = async {
        while !done.get() {
            step().await?;
        }
        Ok(())
    };
    let (result, steps): (_, Result<()>) = tokio::join!(meanwhile, steps);
    steps?;
    result
}
