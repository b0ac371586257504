//! Who else is told of a batch's end, by the settings.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use image::ImageFormat;
use serde_json::Value;
use stack::GUARD;
use tokio::net::TcpListener;

use crate::world::{World, picture};

type Posted = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

async fn webhook(State(posted): State<Posted>, headers: HeaderMap, body: Bytes) {
    posted.lock().unwrap().push(("webhook".to_owned(), headers, serde_json::from_slice(&body).unwrap()));
}

async fn slack(State(posted): State<Posted>, headers: HeaderMap, body: Bytes) {
    posted.lock().unwrap().push(("slack".to_owned(), headers, serde_json::from_slice(&body).unwrap()));
}

#[tokio::test]
async fn the_end_of_a_batch_is_posted_where_the_settings_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let posted = Posted::default();
    let app = Router::new().route("/webhook", post(webhook)).route("/slack", post(slack));
    let app = app.with_state(Arc::clone(&posted));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let world = World::start(&[
        ("WEBHOOK_URL", &format!("{url}/webhook")),
        ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("WEBHOOK_ALLOW_PRIVATE", "true"),
        ("SLACK_WEBHOOK_URL", &format!("{url}/slack")),
        ("BATCH_PAGE_URL", "https://photos.example.com/batches/{id}"),
        ("REDACT", "sharpness"),
    ])
    .await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "notes.txt"]).await;
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    api.upload(&batch, &photos[1], b"not a photo".to_vec()).await;
    let told = stack::eventually(GUARD, async || {
        let (_, metrics) = api.get("/metrics").await;
        let lines = ["webhook", "slack"]
            .map(|sink| format!("batchcast_sink_deliveries_total{{sink=\"{sink}\",outcome=\"delivered\"}} 1\n"));
        let metrics = metrics.as_str().unwrap().to_owned();
        anyhow::ensure!(lines.iter().all(|line| metrics.contains(line)), "{metrics}");
        Ok(posted.lock().unwrap().clone())
    });
    let told = told.await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    let by = |name: &str| told.iter().find(|(sink, ..)| sink == name).unwrap();

    let (_, headers, body) = by("webhook");
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert_eq!((&body["type"], &body["data"]["status"]), (&"batch.ended".into(), &"PARTIAL".into()));
    assert_eq!(headers["webhook-id"], format!("{batch}:{}", body["data"]["position"].as_str().unwrap()));
    let text = body.to_string();
    assert!(text.contains("thumbnail") && !text.contains("sharpness") && !text.contains("user-1"), "{text}");

    let (_, _, message) = by("slack");
    let text = message["text"].as_str().unwrap();
    let first = format!(
        ":warning: Batch <https://photos.example.com/batches/{batch}|{batch}> is partly completed: \
         1 of 2 photos completed, 1 failed"
    );
    assert_eq!(text.lines().next(), Some(&*first));
    assert!(world.service.stop().await.is_empty());
    server.abort();
}
