//! What somebody else has written into Redis: ignored, counted, and shown to nobody.

use anyhow::{Result, ensure};
use redis::aio::MultiplexedConnection;
use reqwest::{Method, StatusCode};
use stack::{GUARD, Tab, eventually};

use super::{ask, closed};
use crate::feed::Feed;

/// Stands in everything that is planted here, and shall be seen nowhere else.
const PLANTED: &str = "planted-by-someone-else";

const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

async fn run(redis: &mut MultiplexedConnection, words: &[&[u8]]) -> Result<()> {
    let mut command = redis::cmd(std::str::from_utf8(words[0])?);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    let _: redis::Value = command.query_async(redis).await?;
    Ok(())
}

/// What may stand under a batch's key, by name: each is no batch.
async fn plant_hashes(redis: &mut MultiplexedConnection) -> Result<Vec<&'static str>> {
    let planted = PLANTED.as_bytes();
    let huge = PLANTED.repeat(TEN_MEGABYTES / PLANTED.len() + 1);
    let many = huge.repeat(2);
    let not_utf8 = [planted, b"\xff\xfe"].concat();
    let wrong_status = format!(r#"{{"v":1,"batchId":"b-status","status":"{PLANTED}"}}"#);
    let hash = |id: &str| format!("batch:progress:{id}").into_bytes();
    run(redis, &[b"SET", &hash("b-string"), planted]).await?;
    run(redis, &[b"RPUSH", &hash("b-list"), planted]).await?;
    run(redis, &[b"HSET", &hash("b-text"), b"head", planted]).await?;
    run(redis, &[b"HSET", &hash("b-status"), b"head", wrong_status.as_bytes()]).await?;
    run(redis, &[b"HSET", &hash("b-bytes"), b"head", &not_utf8, &not_utf8, planted]).await?;
    run(redis, &[b"HSET", &hash("b-huge"), b"head", huge.as_bytes()]).await?;
    run(redis, &[b"HSET", &hash("b-endless"), b"head", many.as_bytes()]).await?;
    Ok(vec!["b-string", "b-list", "b-text", "b-status", "b-bytes", "b-huge", "b-endless"])
}

#[tokio::test]
async fn hashes_of_others_are_no_batches_and_are_not_shown() -> Result<()> {
    let stack = closed().edge_var("LOG_LEVEL", "debug").start().await?;
    let mut redis = stack.redis_connection().await?;
    let token = stack.addresses().token;
    for batch in plant_hashes(&mut redis).await? {
        for path in ["", "/stream"] {
            let answer = ask(&stack, Method::GET, batch, path).bearer_auth(&token).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            // The origin is asked instead, and does not know it.
            assert_eq!(status, StatusCode::NOT_FOUND, "{batch}{path}: {text}");
            assert!(!text.contains(PLANTED), "{batch}{path}: {text}");
        }
    }
    // A batch beside them is read as ever.
    let _feed = Feed::start(&stack, "b-ours", 2).await?;
    let ours = ask(&stack, Method::GET, "b-ours", "").bearer_auth(&token).send().await?;
    assert_eq!(ours.status(), StatusCode::OK);
    assert!(!stack.edge.log().contains(PLANTED), "it is in the edge's log");
    Ok(())
}

#[tokio::test]
async fn messages_and_fields_of_others_are_counted_and_do_not_stop_a_stream() -> Result<()> {
    let stack = closed().edge_var("LINGER_SECS", "0").edge_var("LOG_LEVEL", "debug").start().await?;
    let mut redis = stack.redis_connection().await?;
    let mut feed = Feed::start(&stack, "b-ours", 3).await?;
    let authorization = format!("Bearer {}", stack.addresses().token);
    let tab = Tab::builder(&stack.stream_url("b-ours")).header("authorization", &authorization).open();
    tab.until_position(feed.position()?).await?;

    let planted = PLANTED.as_bytes();
    let (not_utf8, huge) = ([planted, b"\xff\xfe,\n\r"].concat(), vec![b'x'; 1024 * 1024]);
    let unknown = format!(r#"{{"v":1,"type":"{PLANTED}"}}"#);
    let lying = format!(
        r#"{{"v":1,"type":"changes","batchId":"b-ours","epoch":{},"from":1,"to":2,"status":"{PLANTED}"}}"#,
        feed.position()?.epoch()
    );
    run(&mut redis, &[b"HSET", b"batch:progress:b-ours", b"photo:planted", planted, b"photo:bytes", &not_utf8]).await?;
    run(&mut redis, &[b"HSET", b"batchcast:metrics", b"batchcast_gaps_total\nplanted-by-someone-else 1", b"1"]).await?;
    for message in [planted, &not_utf8, &huge, unknown.as_bytes(), lying.as_bytes(), b""] {
        run(&mut redis, &[b"PUBLISH", b"batch:b-ours", message]).await?;
        let message = String::from_utf8_lossy(&message[..message.len().min(40)]).into_owned();
        // Each is followed by something of ours: when that is shown, the other has been read.
        if feed.position()?.version() < 3 {
            tab.until_position(feed.complete_one().await?).await?;
        }
        assert!(!tab.history().violations.iter().any(|words| words.contains(&message)), "{message}");
    }
    feed.complete_all().await?;
    tab.until_ended().await?;
    assert_eq!(tab.history().violations, [""; 0]);

    eventually(GUARD, async || {
        for series in
            [r#"batchcast_pubsub_messages_total{outcome="unknown"}"#, r#"batchcast_unreadable_total{what="field"}"#]
        {
            ensure!(stack.edge_metric(series).await? > 0.0, "{series} is 0");
        }
        Ok(())
    })
    .await?;
    let text = stack.edge_metrics().await?;
    assert!(!text.contains("planted"), "{text}");
    assert!(!stack.edge.log().contains(PLANTED), "it is in the edge's log");
    Ok(())
}
