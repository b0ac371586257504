//! The npm package `@batchcast/client` in a real browser, against the real system.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use stack::{Builder, GUARD, Stack, ports, workspace};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::feed::Feed;

#[tokio::test]
async fn the_element_shows_a_batch_to_its_end_over_a_restart_of_the_edge() -> Result<()> {
    let mut stack = Stack::builder().bare().start().await?;
    let mut feed = Feed::start(&stack, "b-element", 4).await?;
    let mut page = Page::open(&stack, "b-element", &[]).await?;
    let first = page.until("the first word", |seen| seen.progress.as_deref() == Some("0")).await?;
    assert_eq!((&*first.words, &*first.state, first.tiles.len()), ("4 photos waiting", "open", 4));
    feed.complete_one().await?;
    let second = page.until("a quarter", |seen| seen.progress.as_deref() == Some("25")).await?;
    assert_eq!((&*second.words, second.streams), ("1 of 4 photos done", vec![None]));

    stack.edge.kill();
    let lost = page.until("the loss", |seen| seen.stale).await?;
    assert_eq!(lost.note, "Connection lost. What you see may be old.");
    let left_at = feed.position()?.to_string();
    feed.complete_one().await?;
    stack.edge.start().await?;
    let back = page.until("what was missed", |seen| seen.progress.as_deref() == Some("50") && !seen.stale).await?;
    assert!(back.streams.len() > 1, "{back:?}");
    assert!(back.streams[1..].iter().all(|id| id.as_deref() == Some(&left_at)), "each goes on where it was: {back:?}");

    feed.complete_all().await?;
    let end = page.until("the end", |seen| seen.state == "completed").await?;
    assert_eq!((end.progress.as_deref(), &*end.words, &*end.note), (Some("100"), "All 4 photos done", ""));
    assert_eq!((&*end.said, end.tiles), ("All 4 photos done", vec!["COMPLETED".to_owned(); 4]));
    assert_eq!(end.problems, Vec::<String>::new());
    page.close().await
}

#[tokio::test]
async fn where_streams_are_refused_the_element_reads() -> Result<()> {
    let stack = Stack::builder().bare().edge_var("STREAMS", "off").edge_var("ACTIVE_TTL_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-reads", 2).await?;
    let mut page = Page::open(&stack, "b-reads", &[]).await?;
    // Who is shown nothing yet reads at once.
    let first = page.until("the first read", |seen| seen.progress.as_deref() == Some("0")).await?;
    assert_eq!((first.reads, first.streams.len()), (1, 1));
    page.until("word of the reads", |seen| seen.note == "Updated every few seconds." && !seen.stale).await?;
    feed.complete_one().await?;
    page.until("a change", |seen| seen.progress.as_deref() == Some("50")).await?;
    feed.complete_all().await?;
    let end = page.until("the end", |seen| seen.state == "completed").await?;
    assert!(end.reads >= 3 && end.streams.len() < end.reads + 3, "{end:?}");
    assert_eq!(end.problems, Vec::<String>::new());
    page.close().await
}

#[tokio::test]
async fn a_page_of_another_origin_watches_by_tickets_and_gets_a_new_one_for_each_stream() -> Result<()> {
    let port = ports::free()?.to_string();
    let builder = Stack::builder().edge_var("ALLOWED_ORIGINS", &format!("http://127.0.0.1:{port}"));
    let mut stack = closed(builder).start().await?;
    let mut feed = Feed::start_of(&stack, "anna", "b-ticket", 4).await?;
    let token = stack.token("anna");
    let mut page = Page::open(&stack, "b-ticket", &[("APP_PORT", &port), ("TOKEN", &token)]).await?;
    page.until("the first word", |seen| seen.progress.as_deref() == Some("0")).await?;
    feed.complete_one().await?;
    page.until("a quarter", |seen| seen.progress.as_deref() == Some("25")).await?;
    let left_at = feed.position()?.to_string();
    stack.edge.kill();
    stack.edge.start().await?;
    feed.complete_all().await?;
    let end = page.until("the end", |seen| seen.state == "completed").await?;
    assert_eq!(end.streams.last(), Some(&Some(left_at)), "it resumes, with a new ticket");
    assert_eq!(end.problems, Vec::<String>::new());
    page.close().await
}

#[tokio::test]
async fn without_a_right_the_element_says_so() -> Result<()> {
    let stack = closed(Stack::builder()).start().await?;
    Feed::start_of(&stack, "anna", "b-hers", 4).await?;
    let mut page = Page::open(&stack, "b-hers", &[]).await?;
    let refused = page.until("the refusal", |seen| seen.state == "refused").await?;
    assert_eq!((&*refused.words, refused.progress), ("You may not see this batch.", None));
    page.close().await
}

#[tokio::test]
async fn the_hook_shows_a_batch_to_its_end() -> Result<()> {
    let stack = Stack::builder().bare().start().await?;
    let mut feed = Feed::start(&stack, "b-hook", 2).await?;
    let mut page = Page::open(&stack, "b-hook", &[("SHOW", "hook")]).await?;
    page.until("the first word", |seen| seen.progress.as_deref() == Some("0") && seen.state == "live").await?;
    feed.complete_one().await?;
    page.until("a half", |seen| seen.progress.as_deref() == Some("50")).await?;
    feed.complete_all().await?;
    let end = page.until("the end", |seen| seen.state == "ended").await?;
    assert_eq!((end.progress.as_deref(), end.problems), (Some("100"), Vec::<String>::new()));
    page.close().await
}

fn closed(builder: Builder) -> Builder {
    builder.bare().closed()
}

/// `tests/browser/package-page.mjs`.
struct Page {
    browser: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a reader of the page sees, and what the page has asked for.
#[derive(Debug, Clone, Deserialize)]
struct Seen {
    progress: Option<String>,
    words: String,
    state: String,
    stale: bool,
    note: String,
    said: String,
    tiles: Vec<String>,
    /// The `Last-Event-ID` of each stream.
    streams: Vec<Option<String>>,
    reads: usize,
    problems: Vec<String>,
}

impl Page {
    async fn open(stack: &Stack, batch: &str, env: &[(&str, &str)]) -> Result<Self> {
        build_package().await?;
        let mut browser = Command::new(workspace::node()?)
            .arg(workspace::root().join("tests/browser/package-page.mjs"))
            .env("EDGE_URL", stack.edge.url())
            .env("BATCH", batch)
            .env("CHROMIUM", workspace::chromium()?)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(browser.stdout.take().context("no output")?).lines();
        Ok(Self { browser, lines })
    }

    /// Waits until the page shows something.
    async fn until(&mut self, what: &str, holds: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let mut last = None;
        let found = timeout(GUARD, async {
            while let Some(line) = self.lines.next_line().await? {
                let seen: Seen = serde_json::from_str(&line).with_context(|| line.clone())?;
                if holds(&seen) {
                    return Ok(seen);
                }
                last = Some(seen);
            }
            anyhow::bail!("the browser has ended")
        });
        let found = found.await.context("in time").and_then(|found| found);
        found.with_context(|| format!("{what} was not shown; last: {last:?}"))
    }

    async fn close(mut self) -> Result<()> {
        drop(self.browser.stdin.take());
        let status = timeout(GUARD, self.browser.wait()).await.context("the browser does not end")??;
        ensure!(status.success(), "the page's script failed: {status}");
        Ok(())
    }
}

/// Builds `client/lib` unless another test of this run has.
pub(crate) async fn build_package() -> Result<()> {
    static BUILT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    BUILT
        .get_or_try_init(|| async {
            let script = workspace::root().join("client/build.mjs");
            let status = Command::new(workspace::node()?).arg(script).arg("--package").status().await?;
            ensure!(status.success(), "the package was not built: {status}");
            Ok(())
        })
        .await
        .copied()
}
