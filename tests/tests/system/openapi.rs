//! The API's description (`edge/openapi.yaml`) beside real answers.

use anyhow::{Context as _, Result, ensure};
use stack::{Stack, workspace};
use tokio::process::Command;

use crate::feed::Feed;

const APP: &str = "https://app.example.com";

/// Runs `tests/clients/openapi.test.mjs`, which asks for everything that is described, and compares each answer.
#[tokio::test]
async fn every_answer_is_as_the_description_says() -> Result<()> {
    let stack = Stack::builder().bare().closed().edge_var("ALLOWED_ORIGINS", APP).start().await?;
    let feed = Feed::start_of(&stack, "bert", "b-described", 3).await?;
    let mut node = Command::new(workspace::node()?);
    node.args(["--test", "--test-reporter=spec", "--test-timeout=120000", "tests/clients/openapi.test.mjs"])
        .env("EDGE_URL", stack.edge.url())
        .env("EDGE_TOKEN", stack.addresses().token)
        .env("EDGE_USER_TOKEN", stack.token("anna"))
        .env("EDGE_METRICS_TOKEN", stack.metrics_token())
        .env("EDGE_BATCH", feed.id.as_str())
        .env("EDGE_ALLOWED_ORIGIN", APP)
        .current_dir(workspace::root())
        .kill_on_drop(true);
    let output = node.output().await.context("cannot start the comparison")?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{said}");
    // Shown by `--nocapture`, and nothing passes without having run.
    println!("{said}");
    ensure!(said.contains('✔'), "nothing ran: {said}");
    Ok(())
}
