//! Redis killed and restarted empty.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use stack::{GUARD, Tab, Tabs, eventually};
use tokio::try_join;

use super::{held, settled, show_the_truth, until_held};
use crate::context::Ctx;
use crate::figures::Figures;
use crate::uploads::Uploads;

const UNREACHABLE: &str = r#"batchcast_publisher_updates_total{outcome="unreachable"}"#;
const NEEDS_FULL: &str = r#"batchcast_publisher_updates_total{outcome="needs-full"}"#;

pub(super) async fn killed_and_restarted_empty(ctx: Ctx) -> Result<()> {
    let mut stack = ctx.stack().edge_var("PING_SECS", "2").start().await?;
    let watched = Uploads::create(&stack, 60).await?;
    // Nobody reads this one, so no answer of the origin fills Redis with it: only the publisher can bring it back.
    let unwatched = Uploads::create(&stack, 12).await?;
    let tabs = Tabs::open(12, &Tab::builder(&stack.stream_url(watched.id())));
    try_join!(watched.upload_range(0..20), unwatched.upload_range(0..6))?;
    let begun = settled(&watched, 20).await?;
    tabs.until_position(begun).await?;
    settled(&unwatched, 6).await?;
    until_held(&stack, &unwatched).await?;
    let before = Figures::of_photo_worker(&stack).await?;

    let kill = async {
        tabs[0].until("a photo of those under way", |history| history.position() > Some(begun)).await?;
        stack.redis.kill();
        anyhow::Ok(Instant::now())
    };
    let (killed, ()) = try_join!(kill, watched.upload_range(20..40))?;
    let missed = settled(&watched, 40).await?;
    // Away for so long that the publisher has given up more than once.
    eventually(GUARD, async || {
        let tries = Figures::of_photo_worker(&stack).await?.since(&before).get(UNREACHABLE);
        ensure!(tries >= 5.0, "{tries} tries without an answer");
        Ok(())
    })
    .await?;
    stack.redis.start().await?;
    let ready = Instant::now();
    ctx.time("Redis was away for", ready - killed);

    let fresh = tabs.until_position(missed).await?;
    ctx.time("viewers fresh after Redis was ready", fresh.saturating_duration_since(ready));
    until_held(&stack, &unwatched).await?;
    ctx.time("unwatched batch whole again in Redis after", ready.elapsed());
    until_held(&stack, &watched).await?;
    let resent = Figures::of_photo_worker(&stack).await?.since(&before);
    ctx.figure("updates answered with needs-full", resent.get(NEEDS_FULL));
    ensure!(resent.get(NEEDS_FULL) >= 1.0, "nothing was re-sent in full: {resent:?}");

    let newcomers = Tabs::open(4, &Tab::builder(&stack.stream_url(unwatched.id())));
    try_join!(watched.upload_range(40..60), unwatched.upload_range(6..12))?;
    for (tabs, uploads) in [(&tabs, &watched), (&newcomers, &unwatched)] {
        tabs.until_finished().await?;
        show_the_truth(tabs, uploads).await?;
        tabs.check()?;
        let (position, _) = held(&stack, uploads.id()).await?.context("Redis holds nothing at the end")?;
        ensure!(position == uploads.position().await?, "Redis holds {position} at the end");
    }
    // A tab comes back once, after `complete`: nobody was disconnected by the fall of Redis.
    let connects = tabs.sum(|history| history.connects.len() as u64);
    ensure!(connects == 2 * tabs.len() as u64, "{connects} connections of {} tabs", tabs.len());
    Ok(())
}
