//! A batch from its declaration to its end, and what comes after.

use batchcast_photo_worker::Db;
use image::{GenericImageView as _, ImageFormat};
use publisher::{ProgressSource as _, Publisher};
use reqwest::StatusCode;
use stack::GUARD;
use wire::{BatchId, BatchStatus};

use crate::world::{World, answer, file, ids, picture};

#[tokio::test]
async fn a_batch_with_a_text_file_among_its_photos_ends_partial_with_the_reason() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.png", "c.webp", "notes.txt"]).await;
    let files =
        [picture(ImageFormat::Jpeg), picture(ImageFormat::Png), picture(ImageFormat::WebP), b"not a photo".to_vec()];
    for (photo, bytes) in photos.iter().zip(files) {
        assert_eq!(api.upload(&batch, photo, bytes).await.0, StatusCode::ACCEPTED);
    }
    let states = world.watched(&batch).await;
    assert!(states.is_sorted_by(|a, b| a.position() < b.position() && a.head().progress() <= b.head().progress()));
    let end = states.last().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Partial, 3));

    let (status, origin) = api.get(&format!("/api/batches/{batch}")).await;
    assert_eq!((status, origin["position"].as_str()), (StatusCode::OK, Some(&*end.position().to_string())));
    let told = origin["photos"].as_array().unwrap().iter().find(|photo| photo["photoId"] == photos[0]).unwrap();
    assert_eq!((&told["result"]["name"], &told["result"]["width"]), (&"a.jpg".into(), &480.into()));
    let failed = origin["photos"].as_array().unwrap().iter().find(|photo| photo["photoId"] == photos[3]).unwrap();
    assert_eq!(failed["error"], "not an image we can read (JPEG, PNG, WebP)");

    let response = api.http.get(api.url(told["result"]["thumbnail"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    let thumbnail = image::load_from_memory(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(thumbnail.dimensions(), (320, 240));
}

#[tokio::test]
async fn a_batch_is_served_as_soon_as_it_is_declared_and_its_owner_only_to_redis() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, _) = api.declare(&["a.jpg"]).await;
    let (status, state) = api.get(&format!("/api/batches/{batch}")).await;
    assert_eq!((status, &state["status"], &state["counts"]["total"]), (StatusCode::OK, &"QUEUED".into(), &1.into()));
    assert!(!state.to_string().contains("user-1"));
    let (_, metrics) = api.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("photo_worker_origin_reads_total 1\n"), "{metrics}");
    let (_, listed) = api.get("/api/projects/p/batches").await;
    assert_eq!((&listed["batches"][0]["batchId"], &listed["batches"][1]), (&batch.into(), &serde_json::Value::Null));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.get(path).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn files_without_a_batch_become_one() {
    let world = World::start(&[]).await;
    let api = world.client();
    let form = reqwest::multipart::Form::new()
        .part("file", file("a.jpg", picture(ImageFormat::Jpeg)))
        .part("file", file("b.png", picture(ImageFormat::Png)))
        .text("projectId", "p");
    let (status, answer) = api.send(form).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (batch, photos) = ids(&answer);
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!((end.head().status, photos.len()), (BatchStatus::Completed, 2));
}

#[tokio::test]
async fn a_photo_uploaded_twice_is_taken_once() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.jpg"]).await;
    let twice = [picture(ImageFormat::Jpeg), picture(ImageFormat::Png)];
    for bytes in twice {
        assert_eq!(api.upload(&batch, &photos[0], bytes).await.0, StatusCode::ACCEPTED);
    }
    api.upload(&batch, &photos[1], picture(ImageFormat::Jpeg)).await;
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().counts.completed, 2);
    assert_eq!(api.upload(&batch, &photos[0], b"again".to_vec()).await.0, StatusCode::ACCEPTED, "also after the end");
    let (_, metrics) = api.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("photo_worker_uploads_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn a_retry_runs_the_failed_photos_in_a_greater_epoch() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.txt"]).await;
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    api.upload(&batch, &photos[1], b"text".to_vec()).await;
    let first = world.watched(&batch).await.pop().unwrap();
    let (status, answer) = api.post(&format!("/api/batches/{batch}/retry"), "").await;
    assert_eq!((status, ids(&answer).1), (StatusCode::ACCEPTED, vec![photos[1].clone()]));
    let reopened = async {
        loop {
            let last = world.watched(&batch).await.pop().unwrap();
            if last.position() > first.position() {
                return last;
            }
        }
    };
    let second = tokio::time::timeout(GUARD, reopened).await.expect("the batch ends again");
    assert!(second.position().epoch() > first.position().epoch());
    assert_eq!((second.head().status, second.head().counts.failed), (BatchStatus::Partial, 1));
}

#[tokio::test]
async fn a_cancelled_batch_ends_at_once_and_takes_no_more_photos() {
    let world = World::start(&[]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.jpg"]).await;
    assert_eq!(api.post(&format!("/api/batches/{batch}/cancel"), "").await.0, StatusCode::OK);
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!(end.head().status, BatchStatus::Cancelled);
    let (status, problem) = api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &"urn:batchcast:problem:batch-ended".into()));
}

#[tokio::test]
async fn a_declared_photo_that_does_not_come_fails_as_not_received() {
    let world = World::start(&[("RECEIVE_TIMEOUT_SECS", "1")]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.jpg"]).await;
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.failed), (BatchStatus::Failed, 2));
    assert!(end.photos().all(|photo| photo.error.as_deref() == Some("not received")));
    assert_eq!(api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_origin_asks_for_its_token() {
    let world = World::start(&[("ORIGIN_TOKEN", "t-1")]).await;
    let api = world.client();
    let (batch, _) = api.declare(&["a.jpg"]).await;
    let path = format!("/api/batches/{batch}");
    let (status, problem) = api.get(&path).await;
    assert_eq!((status, &problem["type"]), (StatusCode::UNAUTHORIZED, &"urn:batchcast:problem:unauthorized".into()));
    assert_eq!(answer(api.http.get(api.url(&path)).bearer_auth("t-1")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn stopping_delivers_what_is_due() {
    // A pause longer than the test: only closing sends the last update.
    let world = World::start(&[("COALESCE_MS", "600000")]).await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "b.jpg"]).await;
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    assert_eq!(world.service.stop().await, []);
    let database = Db::open(&world.dir.database_url).await.unwrap();
    let id = BatchId::new(&batch).unwrap();
    let committed = database.changes(&id, None).await.unwrap().unwrap();
    let publisher = Publisher::builder(world.redis.url()).connect().await.unwrap();
    let held = publisher.cached(&id).await.unwrap().unwrap();
    assert_eq!(held.position(), committed.head.position);
}
