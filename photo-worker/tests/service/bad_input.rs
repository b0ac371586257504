//! Bad input, each with its problem document.

use image::ImageFormat;
use reqwest::{StatusCode, multipart::Form};
use serde_json::{Value, json};
use wire::limits::MAX_FILE_BYTES;

use crate::world::{Api, World, answer, file, picture};

/// The answer is a problem document of this kind whose detail says something.
fn is_problem((status, body): &(StatusCode, Value), expected: u16, kind: &str) {
    assert_eq!((status.as_u16(), &body["type"]), (expected, &format!("urn:batchcast:problem:{kind}").into()), "{body}");
    assert_eq!(body["status"], expected);
    assert!(body["title"].is_string() && body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{body}");
}

async fn declare(api: &Api, body: Value) -> (StatusCode, Value) {
    answer(api.http.post(api.url("/api/batches")).json(&body)).await
}

#[tokio::test]
async fn addresses_and_ids_that_are_none() {
    let world = World::start(&[]).await;
    let api = world.client();
    is_problem(&api.get("/api/batches/b_unknown").await, 404, "unknown-batch");
    is_problem(&api.post("/api/batches/b_unknown/retry", "").await, 404, "unknown-batch");
    is_problem(&api.post("/api/batches/b_unknown/cancel", "").await, 404, "unknown-batch");
    is_problem(&api.get("/api/batches/no%20id").await, 400, "bad-id");
    is_problem(&api.get("/api/photos/..%2f..%2fetc/thumbnail").await, 400, "bad-id");
    is_problem(&api.get("/api/photos/ph_unknown/thumbnail").await, 404, "no-thumbnail");
    is_problem(&api.get("/api/projects/a*/batches").await, 400, "bad-id");
    is_problem(&api.get("/nothing").await, 404, "not-found");
    is_problem(&api.get("/api/photos/upload").await, 405, "method-not-allowed");
}

#[tokio::test]
async fn declarations_that_declare_nothing_or_too_much() {
    let world = World::start(&[]).await;
    let api = world.client();
    is_problem(&api.post("/api/batches", "hello").await, 400, "bad-request");
    is_problem(&declare(&api, json!({ "projectId": "p", "photos": [] })).await, 400, "no-files");
    is_problem(&declare(&api, json!({ "projectId": "a b", "photos": [{ "name": "a" }] })).await, 400, "bad-id");
    let large = json!({ "projectId": "p", "photos": [{ "name": "a", "size": MAX_FILE_BYTES + 1 }] });
    is_problem(&declare(&api, large).await, 413, "too-large");
    let long = json!({ "projectId": "p", "photos": [{ "name": "x".repeat(256) }] });
    is_problem(&declare(&api, long).await, 400, "bad-request");
    let many: Vec<Value> = (0..10_001).map(|n| json!({ "name": format!("{n}.jpg") })).collect();
    is_problem(&declare(&api, json!({ "projectId": "p", "photos": many })).await, 400, "bad-request");
    let wordy: Vec<Value> = (0..10_000).map(|n| json!({ "name": format!("{n:0>200}.jpg") })).collect();
    is_problem(&declare(&api, json!({ "projectId": "p", "photos": wordy })).await, 400, "bad-request");
    is_problem(&api.post("/api/batches", vec![b' '; 5 * 1024 * 1024]).await, 413, "too-large");
}

#[tokio::test]
async fn uploads_of_nothing_to_nowhere_or_too_much() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg"]).await;
    is_problem(&api.post("/api/photos/upload", "hello").await, 400, "bad-request");
    is_problem(&api.send(Form::new().text("batchId", batch.clone())).await, 400, "no-files");
    is_problem(&api.upload("b_unknown", &photos[0], vec![1]).await, 404, "unknown-batch");
    is_problem(&api.upload(&batch, "ph_unknown", vec![1]).await, 404, "unknown-photo");
    is_problem(&api.upload("a b", &photos[0], vec![1]).await, 400, "bad-id");
    let half = Form::new().text("batchId", batch.clone()).part("file", file("a.jpg", vec![1]));
    is_problem(&api.send(half).await, 400, "bad-request");
    let two = Form::new()
        .text("batchId", batch.clone())
        .text("photoId", photos[0].clone())
        .part("file", file("a.jpg", vec![1]))
        .part("file", file("b.jpg", vec![1]));
    is_problem(&api.send(two).await, 400, "bad-request");
    let many = (0..101).fold(Form::new(), |form, n| form.part("file", file(&format!("{n}.jpg"), vec![1])));
    is_problem(&api.send(many).await, 400, "bad-request");
    let too_large = vec![0; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    is_problem(&api.upload(&batch, &photos[0], too_large).await, 413, "too-large");
    let left = std::fs::read_dir(world.dir.path().join("photos/incoming")).unwrap().count();
    assert_eq!(left, 0, "what was refused is removed");
}

#[tokio::test]
async fn retries_and_cancellations_at_the_wrong_time() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg"]).await;
    is_problem(&api.post(&format!("/api/batches/{batch}/retry"), "").await, 409, "batch-open");
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    world.watched(&batch).await;
    is_problem(&api.post(&format!("/api/batches/{batch}/retry"), "").await, 409, "nothing-to-retry");
    is_problem(&api.post(&format!("/api/batches/{batch}/cancel"), "").await, 409, "batch-ended");
}

#[tokio::test]
async fn an_owner_that_is_too_long() {
    let world = World::start(&[]).await;
    let api = world.client();
    let body = json!({ "projectId": "p", "photos": [{ "name": "a" }] });
    let request = api.http.post(api.url("/api/batches")).header("x-user-id", "x".repeat(257)).json(&body);
    is_problem(&answer(request).await, 400, "bad-request");
}
