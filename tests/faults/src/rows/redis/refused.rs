//! Redis answers, and answers no.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use publisher::{PublishError, Publisher};
use stack::{GUARD, Stack, Tab, Tabs, eventually};

use super::{run, settled, show_the_truth, until_held};
use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;
use crate::uploads::Uploads;

/// The rights that PROTOCOL.md asks for the publisher.
const RIGHTS: &str = "resetkeys ~batch:* resetchannels &batch:* -@all +evalsha +script|load +type +hmget +hset +hgetall \
                      +del +expire +publish +subscribe +ping";
const FAILED: &str = r#"batchcast_publisher_updates_total{outcome="failed"}"#;
const BACKLOG: &str = "batchcast_publisher_backlog";
/// Photos uploaded while Redis refuses them for one reason.
const PHOTOS: usize = 5;

/// Why Redis refuses what the publisher sends.
struct Refusal {
    name: &'static str,
    cause: &'static str,
    mend: &'static str,
    /// Redis' words, as far as they say why.
    words: &'static str,
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        name: "maxmemory",
        cause: "CONFIG SET maxmemory 1",
        mend: "CONFIG SET maxmemory 0",
        words: "command not allowed when used memory > 'maxmemory'",
    },
    Refusal {
        name: "no right to call the script",
        cause: "ACL SETUSER worker -evalsha",
        mend: "ACL SETUSER worker +evalsha",
        words: "no permissions to run the 'evalsha' command",
    },
    Refusal {
        name: "no right to write within the script",
        cause: "ACL SETUSER worker -hset",
        mend: "ACL SETUSER worker +hset",
        words: "The user executing the script can't run this command",
    },
    Refusal {
        name: "no right to the keys",
        cause: "ACL SETUSER worker resetkeys",
        mend: "ACL SETUSER worker ~batch:*",
        words: "no permissions to access one of the keys",
    },
];

pub(super) async fn full_or_without_rights(ctx: Ctx) -> Result<()> {
    let plan = ctx.stack().edge_var("PING_SECS", "2").plan()?;
    let user = format!("worker:secret@{}", plan.redis());
    let stack = plan.photo_worker_redis(&user).start().await?;
    tell(&stack, "CONFIG SET maxmemory-policy noeviction").await?;
    tell(&stack, &format!("ACL SETUSER worker on >secret {RIGHTS}")).await?;

    let batch = Uploads::create(&stack, PHOTOS * (REFUSALS.len() + 2)).await?;
    let tabs = Tabs::open(6, &Tab::builder(&stack.stream_url(batch.id())));
    batch.upload_range(0..PHOTOS).await?;
    tabs.until_position(settled(&batch, PHOTOS as u64).await?).await?;
    let feed =
        Feed::unpublished(Publisher::builder(format!("redis://{user}")), "b-refused", REFUSALS.len() + 1).await?;
    // Told in the background, so that what follows are changes: a whole state passes `maxmemory`, for it begins with `DEL`.
    feed.notify();
    eventually(GUARD, async || super::held(&stack, feed.id()).await?.map(drop).context("Redis does not hold the feed"))
        .await?;
    let tabs_of_feed = Tabs::open(3, &Tab::builder(&stack.stream_url(feed.id())));

    let mut slowest = Duration::ZERO;
    for (n, refusal) in REFUSALS.iter().enumerate() {
        let uploads = (n + 1) * PHOTOS..(n + 2) * PHOTOS;
        let took = refused(&stack, refusal, &batch, uploads, &feed, &tabs).await;
        slowest = slowest.max(took.context(refusal.name)?);
    }
    ctx.figure("reasons to refuse", REFUSALS.len());
    ctx.time("viewers fresh after it was mended", slowest);
    let unannounced = written_but_not_announced(&stack, &batch, &tabs).await?;
    ctx.time("written without the right to announce it, shown after (PING_SECS=2)", unannounced);

    batch.upload_all().await?;
    feed.complete_all().await?;
    for tabs in [&tabs, &tabs_of_feed] {
        tabs.until_finished().await?;
        tabs.check()?;
    }
    show_the_truth(&tabs, &batch).await?;
    ensure!(
        tabs_of_feed.iter().all(|tab| tab.history().position() == feed.position().ok()),
        "the feed's end is missed"
    );
    Ok(())
}

/// Refuses what is sent for a while; how long viewers waited once it was mended.
async fn refused(
    stack: &Stack,
    refusal: &Refusal,
    batch: &Uploads,
    uploads: std::ops::Range<usize>,
    feed: &Feed,
    tabs: &Tabs,
) -> Result<Duration> {
    let (before, logged) = (Figures::of_photo_worker(stack).await?, stack.photo_worker.log().len());
    let held = super::held(stack, batch.id()).await?;
    tell(stack, refusal.cause).await?;
    let error = feed.complete_one().await.err().context("the feed was not refused")?;
    match error.downcast_ref() {
        Some(PublishError::Rejected { command: "EVALSHA", message }) if message.contains(refusal.words) => {}
        _ => anyhow::bail!("the feed is told {error:?}"),
    }
    feed.notify();

    let all = uploads.end;
    batch.upload_range(uploads).await?;
    let position = settled(batch, all as u64).await?;
    eventually(GUARD, async || {
        let since = Figures::of_photo_worker(stack).await?.since(&before);
        ensure!(since.get(FAILED) >= 3.0, "it was not tried again: {} failures", since.get(FAILED));
        Ok(())
    })
    .await?;
    let log = stack.photo_worker.log();
    let told = |line: &str| line.contains("redis rejected EVALSHA") && line.contains(refusal.words);
    ensure!(
        log[logged..].lines().any(told),
        "the photo worker does not say what was refused and why: {}",
        &log[logged..]
    );
    let backlogs = [Figures::of_photo_worker(stack).await?.get(BACKLOG), feed.publisher().metrics().backlog as f64];
    ensure!(backlogs == [1.0, 1.0], "with a batch each that can't leave, the backlogs are {backlogs:?}");
    ensure!(super::held(stack, batch.id()).await? == held, "Redis took what it refused");

    tell(stack, refusal.mend).await?;
    let mended = Instant::now();
    let fresh = tabs.until_position(position).await?;
    eventually(GUARD, async || {
        let backlogs = [Figures::of_photo_worker(stack).await?.get(BACKLOG), feed.publisher().metrics().backlog as f64];
        ensure!(backlogs == [0.0, 0.0], "the backlogs are {backlogs:?}");
        Ok(())
    })
    .await?;
    until_held(stack, batch).await?;
    Ok(fresh.saturating_duration_since(mended))
}

/// Without the right to announce, the script has written when it fails, and Redis holds what is sent again. Viewers
/// learn of it by the next ping, which tells the stored position.
async fn written_but_not_announced(stack: &Stack, batch: &Uploads, tabs: &Tabs) -> Result<Duration> {
    let logged = stack.photo_worker.log().len();
    tell(stack, "ACL SETUSER worker -publish").await?;
    let from = PHOTOS * (REFUSALS.len() + 1);
    let begun = Instant::now();
    // The last one is kept for later, so that the batch goes on.
    batch.upload_range(from..from + PHOTOS - 1).await?;
    let shown = tabs.until_position(settled(batch, (from + PHOTOS - 1) as u64).await?).await?;
    let log = stack.photo_worker.log();
    ensure!(log[logged..].contains("redis rejected EVALSHA"), "the photo worker says nothing: {}", &log[logged..]);
    tell(stack, "ACL SETUSER worker +publish").await?;
    Ok(shown - begun)
}

async fn tell(stack: &Stack, command: &str) -> Result<()> {
    run(stack, &command.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>()).await
}
