//! Batches that end while a viewer connects, and streams that are cut within their end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use stack::{End, Stack, Tab, Tabs};

use crate::context::Ctx;
use crate::feed::Feed;

const TRIES: usize = 500;
const AT_ONCE: usize = 12;
/// How often a stream is cut, in the second half of the tries.
const CUTS: std::ops::RangeInclusive<u64> = 1..=3;
/// Tabs come back after a tenth of the pause that they are told.
const PATIENCE: f64 = 10.0;

/// What a try came to.
struct Try {
    tab: Tab,
    cuts: u64,
    /// It was shown the batch before its end.
    early: bool,
    /// `complete` after the end.
    complete_after: Duration,
}

pub(super) async fn ended_while_connecting(ctx: Ctx) -> Result<()> {
    let stack = ctx.stack().start().await?;
    let aim = Aim::default();
    let tries = stream::iter(0..TRIES).map(|n| one_try(&ctx, &stack, n, &aim)).buffer_unordered(AT_ONCE);
    let tries: Vec<Try> = tries.try_collect().await?;

    let early = tries.iter().filter(|it| it.early).count();
    ctx.figure("viewers shown the batch before its end, and from its end on", format!("{early}, {}", TRIES - early));
    ensure!((TRIES / 5..TRIES - TRIES / 5).contains(&early), "the moment was missed: {early} of {TRIES} were early");
    let mut waits: Vec<_> = tries.iter().filter(|it| it.cuts == 0).map(|it| it.complete_after).collect();
    waits.sort();
    ctx.time("`complete` after the end, half of those not cut", waits[waits.len() / 2]);
    ctx.time("and all of them", waits[waits.len() - 1]);
    ctx.figure("streams cut before `complete`", tries.iter().map(|it| it.cuts).sum::<u64>());
    tries.into_iter().map(|it| it.tab).collect::<Tabs>().check()
}

/// One batch with one viewer, who connects while the last photo is published.
async fn one_try(ctx: &Ctx, stack: &Stack, n: usize, aim: &Aim) -> Result<Try> {
    let feed = Feed::start(stack, &format!("b-ending-{n}"), 1 + n % 3).await?;
    feed.complete(feed.left() - 1).await?;

    let cuts = if n < TRIES / 2 { 0 } else { rand::random_range(CUTS) };
    let proxy = ctx.proxy(stack.edge.url().trim_start_matches("http://").parse()?).await?;
    if cuts > 0 {
        proxy.cut_before_times("event: complete", cuts);
    }
    let url = format!("http://{}/api/batches/{}/stream", proxy.address(), feed.id());
    let tab = Tab::builder(&url).patience_scale(PATIENCE).stopped().open();

    let (connect_after, end_after) = aim.delays();
    let connect = async {
        tokio::time::sleep(connect_after).await;
        tab.start();
    };
    let end = async {
        tokio::time::sleep(end_after).await;
        Ok((Instant::now(), feed.complete_one().await?))
    };
    let ((), end): (_, Result<_>) = tokio::join!(connect, end);
    let (ended, last) = end?;

    let end = tab.until_ended().await.with_context(|| format!("try {n}, cut {cuts} times"))?;
    let history = tab.history().clone();
    let completes = history.count("complete", "");
    ensure!(
        end == End::Finished && completes == 1,
        "try {n}, cut {cuts} times: {completes} times `complete`: {history}"
    );
    ensure!(history.position() == Some(last), "try {n}: the end is {last}: {history}");
    // One stream a cut, one with `complete`, and the 204, which opens none.
    let (connects, opens) = (history.connects.len() as u64, history.opens.len() as u64);
    ensure!((connects, opens) == (cuts + 2, cuts + 1), "try {n}, cut {cuts} times: {history}");
    ensure!(proxy.cuts_before() == cuts, "try {n}: {} cuts in place of {cuts}", proxy.cuts_before());

    let early = history.positions[0].0 < last;
    aim.correct(early);
    let complete = history.first("complete", "").context("counted, but not there")?;
    Ok(Try { tab, cuts, early, complete_after: complete.saturating_duration_since(ended) })
}

/// How long after the viewer's start the batch ends, in microseconds: corrected after each try, so that about as many
/// viewers are shown the batch before its end as from its end on, however fast the machine is.
#[derive(Default)]
struct Aim(AtomicI64);

impl Aim {
    const CORRECTION: i64 = 500;
    const JITTER: i64 = 15_000;

    /// After how long to connect, and after how long to end the batch.
    fn delays(&self) -> (Duration, Duration) {
        let end_after = self.0.load(Ordering::Relaxed) + rand::random_range(-Self::JITTER..=Self::JITTER);
        let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        (micros(-end_after), micros(end_after))
    }

    fn correct(&self, early: bool) {
        self.0.fetch_add(if early { -Self::CORRECTION } else { Self::CORRECTION }, Ordering::Relaxed);
    }
}
