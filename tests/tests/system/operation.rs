//! What operators and owners rely on.

use anyhow::{Context, Result, ensure};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use stack::{GUARD, Stack, eventually};

use crate::feed::Feed;

#[tokio::test]
async fn counters_are_told_when_a_room_closes_and_read_with_the_metrics_token() -> Result<()> {
    let stack = Stack::builder().edge_var("LINGER_SECS", "0").start().await?;
    let mut feed = Feed::start(&stack, "b-metrics", 3).await?;
    stack.api().read("b-metrics").await?;
    let mut viewer = stack.view("b-metrics").await?;
    viewer.next_of("progress").await?;
    feed.complete_all().await?;
    viewer.rest().await?;

    let (http, token) = (Client::new(), stack.addresses().metrics_token);
    let metrics = async |accept: &str| {
        let request = http.get(format!("{}/api/metrics", stack.edge.url())).bearer_auth(&token);
        Ok::<_, anyhow::Error>(request.header("accept", accept).send().await?.error_for_status()?.text().await?)
    };
    let text = eventually(GUARD, async || {
        let text = metrics("text/plain").await?;
        ensure!(text.contains("batchcast_cache_requests_total{result=\"hit\",source=\"redis\"} 1"), "{text}");
        Ok(text)
    })
    .await?;
    assert!(text.contains("# TYPE batchcast_sse_latency_seconds histogram"), "{text}");
    assert!(text.contains("batchcast_rooms 0\n"), "{text}");
    let json: Value = serde_json::from_str(&metrics("application/json").await?)?;
    assert!(json["sse"]["sseEventCount"].as_u64().is_some_and(|count| count >= 3), "{json}");
    assert_eq!(json["redis"]["cacheHitRatio"], "100.00%");
    Ok(())
}

#[tokio::test]
async fn a_batch_is_its_owners_also_after_redis_lost_it() -> Result<()> {
    let stack = Stack::builder().edge_var("ACTIVE_TTL_SECS", "0").start().await?;
    let (http, edge) = (Client::new(), stack.edge.url());
    let body = json!({"projectId": "p", "photos": [{"name": "a.jpg", "size": 3}]});
    let created = http.post(format!("{edge}/api/batches")).header("x-user-id", "anna").json(&body).send().await?;
    let batch: Value = created.error_for_status()?.json().await?;
    let batch = batch["batchId"].as_str().context("no batchId")?;
    let read = async |user: &str, path: &str| {
        let request = http.get(format!("{edge}/api/batches/{batch}{path}")).header("x-user-id", user);
        Ok::<_, anyhow::Error>(request.send().await?.status())
    };
    for emptied in [false, true] {
        if emptied {
            redis::cmd("FLUSHALL").query_async::<()>(&mut stack.redis_connection().await?).await?;
        }
        assert_eq!(read("anna", "").await?, StatusCode::OK, "emptied: {emptied}");
        assert_eq!(read("bert", "").await?, StatusCode::NOT_FOUND, "emptied: {emptied}");
        assert_eq!(read("bert", "/stream").await?, StatusCode::NOT_FOUND, "emptied: {emptied}");
    }
    Ok(())
}
