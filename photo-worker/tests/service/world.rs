//! A Redis, a folder, a service in this process, and a client.

use std::{io::Cursor, path::Path, sync::Arc};

use batchcast_photo_worker::{Config, Service};
use futures::StreamExt as _;
use image::{ImageFormat, Rgb, RgbImage};
use publisher::Publisher;
use reqwest::{Client, RequestBuilder, StatusCode, multipart};
use serde_json::{Value, json};
use stack::{GUARD, PostgresServer, RedisServer};
use tempfile::TempDir;
use wire::{BatchId, BatchState};

pub(crate) struct World {
    pub redis: RedisServer,
    pub dir: Place,
    pub service: Service,
}

/// The settings of a service with its files in `dir`, and these over the defaults.
pub(crate) fn config(redis: &RedisServer, dir: &Place, variables: &[(&str, &str)]) -> Config {
    Config::from_lookup(|name| {
        let given = variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| match name {
            "PHOTO_WORKER_LISTEN" => Some("127.0.0.1:0".to_owned()),
            "REDIS_URL" => Some(redis.url().to_owned()),
            "DATABASE_URL" => Some(dir.database_url.clone()),
            "PHOTO_DIR" => Some(dir.path().join("photos").display().to_string()),
            // Most tests are about something else than who is asking.
            "TRUST_USER_HEADER" => Some("true".to_owned()),
            _ => None,
        })
    })
    .unwrap()
}

/// Where a service keeps what outlives it: a folder, and a database of the kind that this program tests on.
pub(crate) struct Place {
    dir: TempDir,
    pub database_url: String,
    _server: Option<Arc<PostgresServer>>,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        if crate::ON_POSTGRES {
            let server = PostgresServer::shared().await.unwrap();
            return Self { dir, database_url: server.database().unwrap(), _server: Some(server) };
        }
        let database_url = format!("sqlite://{}", dir.path().join("photos.db").display());
        Self { dir, database_url, _server: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl World {
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
        let service = Service::start(&config(&redis, &dir, variables)).await.unwrap();
        Self { redis, dir, service }
    }

    pub(crate) fn client(&self) -> Api {
        Api { base: format!("http://{}", self.service.address()), http: Client::new() }
    }

    /// What a reader of Redis sees, up to the batch's end.
    pub(crate) async fn watched(&self, batch: &str) -> Vec<BatchState> {
        watched(&self.redis, batch).await
    }
}

pub(crate) async fn watched(redis: &RedisServer, batch: &str) -> Vec<BatchState> {
    let publisher = Publisher::builder(redis.url()).connect().await.unwrap();
    let states = publisher.watch(&BatchId::new(batch).unwrap());
    tokio::time::timeout(GUARD, states.collect()).await.expect("the batch ends")
}

#[derive(Clone)]
pub(crate) struct Api {
    pub base: String,
    pub http: Client,
}

impl Api {
    /// Declares photos by their names; the batch's id and theirs.
    pub(crate) async fn declare(&self, names: &[&str]) -> (String, Vec<String>) {
        let photos: Vec<Value> = names.iter().map(|name| json!({ "name": name, "size": 1_000 })).collect();
        let body = json!({ "projectId": "p", "photos": photos });
        let request = self.http.post(self.url("/api/batches")).header("x-user-id", "user-1").json(&body);
        let (status, answer) = answer(request).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        ids(&answer)
    }

    pub(crate) async fn upload(&self, batch: &str, photo: &str, bytes: Vec<u8>) -> (StatusCode, Value) {
        let form = multipart::Form::new()
            .text("projectId", "p")
            .text("batchId", batch.to_owned())
            .text("photoId", photo.to_owned())
            .part("file", file("photo.jpg", bytes));
        self.send(form).await
    }

    pub(crate) async fn send(&self, form: multipart::Form) -> (StatusCode, Value) {
        answer(self.http.post(self.url("/api/photos/upload")).multipart(form)).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        answer(self.http.post(self.url(path)).body(body)).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    if status.is_client_error() {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Batch and photo ids of an answer.
pub(crate) fn ids(answer: &Value) -> (String, Vec<String>) {
    let batch = answer["batchId"].as_str().unwrap().to_owned();
    assert_eq!(answer["streamUrl"], format!("/api/batches/{batch}/stream"));
    let photos = answer["photoIds"].as_array().unwrap();
    (batch, photos.iter().map(|id| id.as_str().unwrap().to_owned()).collect())
}

pub(crate) fn file(name: &str, bytes: Vec<u8>) -> multipart::Part {
    multipart::Part::bytes(bytes).file_name(name.to_owned())
}

/// A small picture with a pattern.
pub(crate) fn picture(format: ImageFormat) -> Vec<u8> {
    picture_of(format, 480, 360)
}

pub(crate) fn picture_of(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| {
        let shade = u8::try_from((x / 16 * 40 + y / 16 * 25) % 256).unwrap();
        Rgb([shade, shade / 2, 255 - shade])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}
