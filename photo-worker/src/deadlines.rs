//! Declared photos that do not come in time fail. Sleeps until the next one's time and asks the database only then.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    db::DbError,
    service::{App, now_ms},
};

/// How long who has failed waits before the next attempt.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_secs(5);

pub(crate) async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = expire(&app).await.unwrap_or_else(|error| {
            tracing::error!(%error, "declared photos could not be checked");
            AFTER_FAILURE
        });
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Fails what is overdue; how long until the next may be.
async fn expire(app: &App) -> Result<Duration, DbError> {
    let now = now_ms();
    let overdue = app.db.overdue(now).await?;
    let expired = app.db.expire(now).await;
    // A commit whose answer was lost would be told to nobody.
    let told = |_: &DbError| overdue.iter().for_each(|batch| app.publisher.notify(batch));
    let (stepped, photos) = expired.inspect_err(told)?;
    app.counters.failed.fetch_add(photos as u64, std::sync::atomic::Ordering::Relaxed);
    stepped.iter().for_each(|stepped| app.announce(stepped));
    let next = app.db.next_expiry().await?;
    Ok(pause(next, now_ms(), app.receive_timeout))
}

/// Never longer than a photo may take to come: what is declared during the sleep is not due before its end.
fn pause(next: Option<i64>, now: i64, timeout: Duration) -> Duration {
    let ahead = next.map(|next| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
    ahead.map_or(timeout, |ahead| ahead.min(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_until_the_next_deadline_and_no_longer_than_a_photo_may_take() {
        let timeout = Duration::from_secs(900);
        assert_eq!(pause(Some(5_000), 2_000, timeout), Duration::from_secs(3));
        assert_eq!(pause(Some(1_000), 2_000, timeout), Duration::ZERO);
        assert_eq!(pause(Some(i64::MAX), 2_000, timeout), timeout);
        assert_eq!(pause(None, 2_000, timeout), timeout);
    }
}
