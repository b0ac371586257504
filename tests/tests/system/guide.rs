//! What the pages show, as a reader does it: README's lines, the tutorial, and the page about trouble.

mod blocks;
mod reader;

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use stack::{Builder, GUARD, Stack, ports, workspace};
use tokio::process::Command;
use tokio::time::timeout;

use crate::feed::Feed;
use crate::package::build_package;
use blocks::{Block, blocks};
use reader::Reader;

/// The batch that the pages speak of.
const BATCH: &str = "holiday-2026";

#[tokio::test]
async fn readmes_lines_by_hand_show_what_it_says() -> Result<()> {
    follow("README.md", "open").await
}

#[tokio::test]
async fn each_line_about_trouble_shows_what_the_page_says() -> Result<()> {
    follow("docs/TROUBLESHOOTING.md", "healthy").await
}

/// The tutorial's application is the edge's origin, and its pages are shown by a browser.
#[tokio::test]
async fn the_tutorial_leads_from_polling_to_live() -> Result<()> {
    build_package().await?;
    let app = format!("127.0.0.1:{}", ports::free()?);
    let builder = Stack::builder().bare().closed().edge_var("ALLOWED_ORIGINS", &format!("http://{app}"));
    let stack = builder.plan()?.edge_origin(&app).start().await?;
    let mut reader = Reader::new(&stack, &app)?;
    reader.export("ORIGIN_URL", &format!("http://{app}"));
    reader.export("PORT", app.rsplit_once(':').context("the address has no port")?.1);
    for (scenario, blocks) in scenarios("docs/TUTORIAL.md", "tutorial")? {
        ensure!(scenario == "tutorial", "the tutorial has one scenario, not {scenario}");
        for block in blocks {
            reader.follow(&block).await?;
        }
    }
    for page in ["page.html", "plain.html"] {
        show_to_the_end(&format!("http://{app}/{page}?batch=b-7")).await.with_context(|| page.to_owned())?;
    }
    Ok(())
}

/// Runs what a page shows, each scenario beside a stack of its own.
async fn follow(page: &str, usual: &str) -> Result<()> {
    for (scenario, blocks) in scenarios(page, usual)? {
        let (stack, feed) = start(&scenario).await?;
        let mut reader = Reader::new(&stack, &format!("127.0.0.1:{}", ports::free()?))?;
        if scenario == "open" {
            reader.export("TOKEN", &stack.addresses().token);
        }
        reader.write("a.jpg", &std::fs::read(workspace::root().join("fuzz/corpus/image/turned_with_date.jpg"))?)?;
        for block in blocks {
            reader.follow(&block).await.with_context(|| format!("{page}, beside the stack {scenario:?}"))?;
        }
        drop(feed);
    }
    Ok(())
}

/// A page's blocks by scenario, in the order of their first; files belong to the usual one.
fn scenarios(page: &str, usual: &str) -> Result<Vec<(String, Vec<Block>)>> {
    let text = std::fs::read_to_string(workspace::root().join(page))?;
    let mut all: Vec<(String, Vec<Block>)> = Vec::new();
    for block in blocks(&text).with_context(|| page.to_owned())? {
        let name = match &block {
            Block::Commands { scenario: Some(name), .. } => name.clone(),
            _ => usual.to_owned(),
        };
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, blocks)) => blocks.push(block),
            None => all.push((name, vec![block])),
        }
    }
    ensure!(!all.is_empty(), "{page} shows nothing that can be run");
    Ok(all)
}

/// The stack of a scenario. Where Redis runs it holds the batch, of which a quarter is done.
async fn start(scenario: &str) -> Result<(Stack, Option<Feed>)> {
    let closed = || Stack::builder().bare().closed();
    let whole = async |builder: Builder| {
        let stack = builder.start().await?;
        let feed = quarter_done(&stack).await?;
        anyhow::Ok((stack, Some(feed)))
    };
    match scenario {
        "open" => whole(Stack::builder().bare().edge_var("PING_SECS", "1")).await,
        "healthy" => whole(closed().edge_var("PING_SECS", "1")).await,
        "stalled" => whole(closed().edge_var("STALL_AFTER_SECS", "1")).await,
        "streams-off" => whole(closed().edge_var("STREAMS", "off")).await,
        "wrong-setting" => whole(closed().edge_var("KEY_PREFIX", "a b")).await,
        "no-origin" => whole(closed().edge_var("ORIGIN_TOKEN", "another")).await,
        "other-prefix" => whole(closed().photo_worker_env("KEY_PREFIX", "other:")).await,
        "no-redis" => {
            let mut stack = closed().plan()?.stopped()?;
            stack.gateway.start().await?;
            stack.photo_worker.start().await?;
            stack.edge.start().await?;
            Ok((stack, None))
        }
        "no-gateway" => {
            let mut stack = closed().edge_var("PING_SECS", "1").plan()?.stopped()?;
            stack.redis.start().await?;
            stack.photo_worker.start().await?;
            stack.edge.start().await?;
            Ok((stack, None))
        }
        other => bail!("no scenario is called {other}"),
    }
}

async fn quarter_done(stack: &Stack) -> Result<Feed> {
    let mut feed = Feed::start_of(stack, "anna", BATCH, 4).await?;
    feed.complete_one().await?;
    Ok(feed)
}

/// Opens a page in a browser, until it shows that the batch has ended.
async fn show_to_the_end(url: &str) -> Result<()> {
    let mut browser = Command::new(workspace::node()?);
    browser.arg(workspace::root().join("tests/browser/guide-page.mjs")).arg(url);
    browser.env("CHROMIUM", workspace::chromium()?).stdin(Stdio::null()).kill_on_drop(true);
    let status = timeout(2 * GUARD, browser.status()).await.context("the browser does not end")??;
    ensure!(status.success(), "the page does not show the end: {status}");
    Ok(())
}
