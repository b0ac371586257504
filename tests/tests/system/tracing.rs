//! One id follows an update, from the request that brought a photo to the edge's log.

use anyhow::{Context, Result};
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use stack::{GUARD, Stack};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_trace_of_an_upload_stands_in_the_logs_of_worker_and_edge_and_reaches_no_viewer() -> Result<()> {
    let stack = Stack::builder().bare().photo_worker_env("LOG_LEVEL", "debug").start().await?;
    let batch = stack.api().create_batch("traced", &[("a.jpg".to_owned(), 10)]).await?;
    let mut viewer = stack.view(&batch.batch_id).await?;
    let form = Form::new()
        .text("projectId", "traced")
        .text("batchId", batch.batch_id.clone())
        .text("photoId", batch.photo_ids[0].clone())
        .part("file", Part::bytes(b"no photo".to_vec()).file_name("a.jpg"));
    let upload = Client::new().post(format!("{}/api/photos/upload", stack.edge.url())).multipart(form);
    upload.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01")).send().await?.error_for_status()?;

    let shown = viewer.rest().await?;
    let complete = shown.last().context("nothing was shown")?;
    assert_eq!(complete.event, "complete");
    let told = stack::eventually(GUARD, async || told(&stack, &complete.id)).await?;
    assert_eq!((&told["batch"], &told["viewers"]), (&batch.batch_id.clone().into(), &1.into()), "{told}");
    assert!(told["latency_ms"].is_u64(), "{told}");
    let log = stack.photo_worker.log();
    for words in ["a photo was worked on", "a traced update was published"] {
        assert!(log.lines().any(|line| line.contains(words) && line.contains(TRACE)), "{words}: {log}");
    }
    assert!(shown.iter().all(|seen| !seen.data.to_string().contains(TRACE)), "{shown:?}");
    assert!(!stack.api().read(&batch.batch_id).await?.body.to_string().contains(TRACE));
    Ok(())
}

/// The edge's line about the traced update that led to this position.
fn told(stack: &Stack, position: &str) -> Result<Value> {
    let log = stack.edge.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line.get(line.find('{')?..)?).ok());
    let mut traced = lines.filter(|line| line["trace_id"] == TRACE && line["position"] == position);
    traced.next().with_context(|| format!("no line of the trace at {position} yet: {log}"))
}
