//! Looks for another master again and again, while what was written is recent: one that is deposed goes on answering, and
//! may take along what it has acknowledged.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::Instant;

/// How often it is looked while a loss would matter.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// What knows who the master is, and can look again.
pub(super) trait Watched: Send + Sync + 'static {
    /// When to look again; `None`: what was written is no longer of interest.
    fn next_look(&self) -> Option<Instant>;

    /// A look begins. False: somebody looks already, and that will do.
    fn begin_look(&self) -> bool;

    /// Looks, and tells of a loss.
    fn look_again(&self) -> impl Future<Output = ()> + Send;
}

/// A look is a task of its own: whoever waits here is interrupted often.
pub(super) async fn watch(watched: &Arc<impl Watched>) -> Infallible {
    loop {
        let next = watched.next_look();
        tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + EVERY)).await;
        if next.is_some() && watched.begin_look() {
            let watched = Arc::clone(watched);
            tokio::spawn(async move { watched.look_again().await });
        }
    }
}
