//! Viewers whose network comes and goes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fault_proxy::{Direction, Proxy};
use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::{Stack, Tab, Tabs};

use super::repeated;
use crate::context::Ctx;
use crate::uploads::Uploads;

const PHOTOS: usize = 500;
/// Between two uploads: slow enough that the batch goes on until the last cut.
const PAUSE: Duration = Duration::from_millis(200);
const VIEWERS: usize = 4;
const CUTS: usize = 10;
const CUT: Duration = Duration::from_secs(5);
/// A viewer is cut again at a random moment within this after it has caught up.
const LEAST_PEACE: Duration = Duration::from_secs(1);

pub(super) async fn network_cut(ctx: Ctx) -> Result<()> {
    let plan = ctx.stack().plan()?;
    let edge = plan.edge();
    let stack = plan.start().await?;
    let uploads = Uploads::create(&stack, PHOTOS).await?;
    let path = format!("/api/batches/{}/stream", uploads.id());
    let proxies = try_join_all((0..VIEWERS).map(|_| ctx.proxy(edge))).await?;
    let steady = Tab::open(&format!("{}{path}", stack.edge.url()));
    let tabs: Tabs = proxies.iter().map(|proxy| Tab::open(&format!("http://{}{path}", proxy.address()))).collect();
    steady.until_position(uploads.position().await?).await?;
    tabs.until_position(uploads.position().await?).await?;
    let least_state = size_of_state(&stack, &uploads).await?;

    let seed = rand::random::<u32>();
    println!("row  7  seed {seed}");
    let cuts = proxies.iter().zip(tabs.iter()).enumerate().map(|(n, (proxy, tab))| {
        let rng = StdRng::seed_from_u64(u64::from(seed) + n as u64);
        cut_again_and_again(&uploads, proxy, tab, rng)
    });
    let mut photos = 0..PHOTOS - 1;
    let upload_next = async || {
        if let Some(n) = photos.next() {
            uploads.upload(n).await?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    };
    let slowest = repeated(upload_next, try_join_all(cuts)).await?.into_iter().max().unwrap_or_default();
    ctx.time("back and caught up after the network is back, at most", slowest);
    ensure!(!photos.is_empty(), "the batch stood still before the last cut");

    uploads.upload_range(photos.start..PHOTOS).await?;
    steady.until_ended().await?;
    tabs.until_finished().await?;
    let last = Some(uploads.position().await?);
    ensure!(tabs.iter().all(|tab| tab.history().position() == last), "a tab does not end at {last:?}");
    let opened = tabs.iter().map(|tab| tab.history().opens.len()).collect::<Vec<_>>();
    // Once at first, once a cut, and once for the 204, which opens no stream.
    ensure!(opened == [CUTS + 1; VIEWERS], "streams of each tab: {opened:?}");
    tabs.check()?;
    few_bytes(&ctx, &tabs, &steady, least_state, size_of_state(&stack, &uploads).await?)
}

/// Cuts the viewer off [`CUTS`] times, and waits each time until it has caught up; how long that took at most.
///
/// By chance the connection breaks at once, and others are refused; or everything is lost without a sign, and the
/// connection breaks at the end.
async fn cut_again_and_again(uploads: &Uploads, proxy: &Proxy, tab: &Tab, mut rng: StdRng) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..CUTS {
        tokio::time::sleep(rng.random_range(Duration::ZERO..LEAST_PEACE)).await;
        let opened = tab.history().opens.len();
        ensure!(proxy.connections() == 1, "{} connections before a cut", proxy.connections());
        if rng.random() {
            proxy.down();
            tokio::time::sleep(CUT).await;
            proxy.up();
        } else {
            proxy.swallow(Direction::ToServer);
            proxy.swallow(Direction::ToClient);
            tokio::time::sleep(CUT).await;
            proxy.cut();
        }
        let (up, missed) = (Instant::now(), uploads.position().await?);
        tab.until("its return", |history| history.opens.len() > opened).await?;
        slowest = slowest.max(tab.until_position(missed).await?.saturating_duration_since(up));
    }
    Ok(slowest)
}

/// What a viewer is sent in all hardly depends on how often it was cut off: nothing is sent again.
fn few_bytes(ctx: &Ctx, tabs: &Tabs, steady: &Tab, least_state: u64, state: u64) -> Result<()> {
    let cut = tabs.iter().map(|tab| tab.history().bytes).max().unwrap_or_default();
    let returned = tabs.iter().map(|tab| tab.history().resumed_bytes).max().unwrap_or_default();
    let steady = steady.history().bytes;
    ctx.bytes("received by a viewer cut 10 times, at most", cut);
    ctx.bytes("of that on resumed connections, with all that was new", returned);
    ctx.bytes("received by one never cut", steady);
    ctx.bytes("10 times the full state", CUTS as u64 * state);
    // A tenth of the smallest full state, as it was at the beginning, is for an answer's head and the batch's.
    let allowed = steady + CUTS as u64 * least_state / 10;
    ensure!(cut <= allowed, "{cut} bytes for a viewer that was cut, {steady} for one that was not");
    Ok(())
}

/// The bytes of the whole state, as it stands.
async fn size_of_state(stack: &Stack, uploads: &Uploads) -> Result<u64> {
    let path = format!("/api/batches/{}", uploads.id());
    Ok(stack.api().get(&path).await?.error_for_status()?.bytes().await?.len() as u64)
}
