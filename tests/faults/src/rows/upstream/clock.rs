//! A photo worker whose clock is wrong. Positions order everything, so all that a wrong clock may spoil is how long
//! updates seem to take.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stack::{GUARD, Stack, Tab, Tabs, eventually};
use wire::Position;
use wire::metrics::{SSE_LATENCY, SSE_LATENCY_CLAMPED};

use super::{SLACK, figures_of_edge_at_rest};
use crate::context::Ctx;
use crate::figures::Figures;
use crate::uploads::Uploads;

const HOUR_SECS: i64 = 3_600;
/// They come one after the other; then one that fails, and after a long while the last one.
const PHOTOS: usize = 6;
const STALL_AFTER: Duration = Duration::from_secs(3);
const FORGET_AFTER: Duration = Duration::from_secs(6);
/// What a tab that is sent away is told to wait, at least.
const FORGOTTEN_RETRY: Duration = Duration::from_secs(60);
/// No event counts as having taken longer.
const LONGEST_LATENCY_SECS: f64 = 60.0;
/// The edge counts from when it learned of the last change, this row from when a tab showed it. A decision by the
/// worker's clock would be hours off.
const EARLIER: Duration = Duration::from_secs(2);

pub(super) async fn an_hour_off(ctx: Ctx) -> Result<()> {
    let clock = Clock::new(ctx.dir())?;
    let stack = ctx
        .stack()
        .edge_var("STALL_AFTER_SECS", &STALL_AFTER.as_secs().to_string())
        .edge_var("FORGET_AFTER_SECS", &FORGET_AFTER.as_secs().to_string())
        .edge_var("PING_SECS", "1")
        // A batch that is re-opened is seen to be open once what was read of its end is no longer young.
        .edge_var("IDLE_TTL_SECS", "1")
        .photo_worker_env("LD_PRELOAD", &clock.library.display().to_string())
        .photo_worker_env("CLOCK_OFFSET_FILE", &clock.offset.display().to_string())
        .start()
        .await?;
    let mut told = Vec::new();
    for (name, offset) in [("right", 0), ("ahead", HOUR_SECS), ("behind", -HOUR_SECS)] {
        let before = Figures::of_edge(&stack).await?;
        let times = batch_by_clock(&stack, &clock, offset).await.with_context(|| format!("with the clock {name}"))?;
        let figures = figures_of_edge_at_rest(&stack).await?.since(&before);
        told.push((times, latency(offset, &figures).with_context(|| format!("with the clock {name}"))?));
    }
    let each = |text: &dyn Fn(&(Times, Latency)) -> String| told.iter().map(text).collect::<Vec<_>>().join(", ");
    let [right, ahead, behind] = ["the right clock", "ahead", "behind"];
    let name = |what| format!("{what}: {right}, 1 h {ahead}, 1 h {behind}");
    ctx.figure(
        &name("live events clamped"),
        each(&|(_, latency)| format!("{} of {}", latency.clamped, latency.events)),
    );
    ctx.figure(&name("mean latency counted"), each(&|(_, latency)| format!("{:.3} s", latency.mean_secs)));
    ctx.figure(&name("told of a standstill"), each(&|(times, _)| format!("{:.1} s", times.stalled.as_secs_f64())));
    ctx.figure(&name("sent away"), each(&|(times, _)| format!("{:.1} s", times.forgotten.as_secs_f64())));
    let said = stack.edge.log().matches("are clamped in the latency figures").count();
    ensure!(said >= 2, "the edge's log says it {said} times");
    Ok(())
}

/// How long after the last change viewers were told that the batch stands still, and were sent away.
struct Times {
    stalled: Duration,
    forgotten: Duration,
}

/// The whole life of a batch: it goes on, stands still, is forgotten, ends, and is opened again with the right clock.
async fn batch_by_clock(stack: &Stack, clock: &Clock, offset: i64) -> Result<Times> {
    clock.set(offset)?;
    let uploads = Uploads::create(stack, PHOTOS + 2).await?;
    let first = uploads.position().await?;
    is_off(&uploads.state().await?, first, offset)?;
    // Pauses are divided by this: tabs that were sent away look in every two seconds.
    let tabs = Tabs::open(10, &Tab::builder(&stack.stream_url(uploads.id())).patience_scale(30.0));
    tabs.until_position(first).await?;
    for done in 0..PHOTOS {
        uploads.upload(done).await?;
        tabs.until_position(settled(&uploads, done + 1, 0).await?).await?;
    }
    uploads.upload_bad(PHOTOS).await?;
    let standstill = settled(&uploads, PHOTOS, 1).await?;
    let shown = tabs.until_position(standstill).await?;

    tabs.until("stalled", |history| last_stalled(history, standstill).is_some()).await?;
    let stalled = tabs.iter().filter_map(|tab| last_stalled(&tab.history(), standstill)).min().context("no tabs")?;
    let stalled = stalled.saturating_duration_since(shown);
    ensure!(stalled + EARLIER >= STALL_AFTER, "told of a standstill after {stalled:?}");
    ensure!(stalled <= STALL_AFTER + SLACK, "told of a standstill only after {stalled:?}");
    tabs.until("being sent away", |history| history.retry >= FORGOTTEN_RETRY).await?;
    let forgotten = shown.elapsed();
    ensure!(forgotten + EARLIER >= FORGET_AFTER, "sent away after {forgotten:?}");
    ensure!(forgotten <= FORGET_AFTER + SLACK, "sent away only after {forgotten:?}");

    uploads.upload(PHOTOS + 1).await?;
    tabs.until_finished().await?;
    let ended = settled(&uploads, PHOTOS + 1, 1).await?;
    all_show(&tabs, ended)?;
    tabs.check()?;

    clock.set(0)?;
    reopened(stack, &uploads, ended).await?;
    Ok(Times { stalled, forgotten })
}

/// A batch that has ended by a wrong clock is opened again by the right one.
async fn reopened(stack: &Stack, uploads: &Uploads, ended: Position) -> Result<()> {
    let url = format!("{}/api/batches/{}/retry", stack.edge.url(), uploads.id());
    reqwest::Client::new().post(url).send().await?.error_for_status()?;
    let reopened = uploads.position().await?;
    ensure!(reopened.epoch() > ended.epoch(), "re-opened at {reopened}, after {ended}");
    let again = settled(uploads, PHOTOS + 1, 1).await?;
    eventually(GUARD, async || {
        let read = stack.api().read_past_memory(uploads.id()).await?;
        ensure!(read.body["position"] == again.to_string(), "a reader is told {}", read.body["position"]);
        Ok(())
    })
    .await?;
    // One has the final position of the epoch before, the other has seen nothing.
    let url = stack.stream_url(uploads.id());
    let returning = Tab::builder(&url).last_event_id(&ended.to_string());
    let tabs: Tabs = [returning, Tab::builder(&url)].map(stack::TabBuilder::open).into_iter().collect();
    tabs.until_finished().await?;
    all_show(&tabs, again)?;
    tabs.check()
}

/// When a tab was told of a standstill after it had been shown `position`.
fn last_stalled(history: &stack::History, position: Position) -> Option<Instant> {
    let shown = history.reached(position)?;
    history.named.iter().find(|event| event.name == "stalled" && event.at >= shown).map(|event| event.at)
}

fn all_show(tabs: &Tabs, position: Position) -> Result<()> {
    let wrong = tabs.iter().filter(|tab| tab.history().position() != Some(position)).count();
    ensure!(wrong == 0, "{wrong} of {} tabs do not show {position}", tabs.len());
    Ok(())
}

/// Waits until so many photos are done and given up, and none is being worked on; where the batch stands then.
async fn settled(uploads: &Uploads, completed: usize, failed: usize) -> Result<Position> {
    eventually(GUARD, async || {
        let state = uploads.state().await?;
        let counts = &state["counts"];
        ensure!(counts["completed"] == completed && counts["failed"] == failed, "the counts are {counts}");
        ensure!(counts["processing"] == 0, "the counts are {counts}");
        Ok(state["position"].as_str().context("no position")?.parse()?)
    })
    .await
}

/// The worker's clock is really off: both what it tells people and the epoch of its batches.
fn is_off(state: &Value, position: Position, offset: i64) -> Result<()> {
    let updated: jiff::Timestamp = state["updatedAt"].as_str().context("no updatedAt")?.parse()?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let epoch = i64::try_from(position.epoch() / 1_000)?;
    for seconds in [updated.as_second(), epoch] {
        let off = seconds - now - offset;
        ensure!(off.abs() < 120, "the worker's clock is {} s off, not {offset} s", seconds - now);
    }
    Ok(())
}

/// What the edge has counted of live events.
struct Latency {
    events: f64,
    clamped: f64,
    mean_secs: f64,
}

/// With a wrong clock every live event is clamped, with the right one none.
fn latency(offset: i64, told: &Figures) -> Result<Latency> {
    let events = told.get(&format!("{SSE_LATENCY}_count"));
    ensure!(events > 0.0, "no live event was timed");
    let clamped = told.get(SSE_LATENCY_CLAMPED);
    let expected = if offset == 0 { 0.0 } else { events };
    ensure!(clamped == expected, "{clamped} of {events} live events are clamped");
    let mean_secs = told.get(&format!("{SSE_LATENCY}_sum")) / events;
    let most = if offset < 0 { LONGEST_LATENCY_SECS } else { SLACK.as_secs_f64() };
    ensure!(mean_secs <= most, "a live event took {mean_secs} s on average");
    Ok(Latency { events, clamped, mean_secs })
}

/// A clock of the photo worker's own: a library that is loaded before the system's adds to the time of day what stands
/// in a file. What measures durations is left alone, as on a machine whose clock is wrong.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

const CLOCK_C: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
  const char *path = getenv("CLOCK_OFFSET_FILE");
  FILE *file = path ? fopen(path, "r") : NULL;
  long seconds = 0;
  if (file) {
    if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
    fclose(file);
  }
  return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = (int)syscall(SYS_clock_gettime, clock, time);
  if (!failed && clock == CLOCK_REALTIME) time->tv_sec += offset();
  return failed;
}
"#;

impl Clock {
    /// Builds the library with the C compiler that SQLite is built with as well.
    fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let (source, library, offset) = (dir.join("clock.c"), dir.join("clock.so"), dir.join("clock-offset"));
        fs::write(&source, CLOCK_C)?;
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(&compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
        let built = built.with_context(|| format!("no C compiler {}", compiler.display()))?;
        ensure!(built.status.success(), "the clock was not built: {}", String::from_utf8_lossy(&built.stderr));
        let clock = Self { library, offset };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead.
    fn set(&self, seconds: i64) -> Result<()> {
        // Renamed into place: the worker never reads half a number.
        let new = self.offset.with_extension("new");
        fs::write(&new, seconds.to_string())?;
        Ok(fs::rename(&new, &self.offset)?)
    }
}
