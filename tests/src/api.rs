//! A thin client of the edge's HTTP routes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header::{CACHE_CONTROL, ETAG, HeaderMap, IF_NONE_MATCH};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// A client of one base address: the edge, or the photo worker, which has some of the same routes.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    http: Client,
}

/// A batch as it was created.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Its id.
    pub batch_id: String,
    /// One id for each photo that was declared, in the same order.
    pub photo_ids: Vec<String>,
    /// Where its stream is, as the photo worker told it.
    pub stream_url: String,
}

/// The answer to a cached read.
#[derive(Debug, Clone)]
pub struct Read {
    /// 200, 304, or an error.
    pub status: StatusCode,
    /// `X-Cache`.
    pub cache: String,
    /// `X-Cache-Source`.
    pub source: String,
    /// `ETag` with its quotes.
    pub etag: String,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
    /// The state or the problem document; null when there is no body.
    pub body: Value,
}

impl Api {
    /// `base` is the address without a slash at its end.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), http: Client::new() }
    }

    /// A `GET` of any path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.http.get(self.address(path)).send().await.with_context(|| format!("GET {path}"))
    }

    /// Creates a batch of photos given by name and size in bytes.
    ///
    /// # Errors
    /// When it is not created; then with the answer's text.
    pub async fn create_batch(&self, project_id: &str, photos: &[(String, u64)]) -> Result<Batch> {
        let photos: Vec<Value> = photos.iter().map(|(name, size)| json!({ "name": name, "size": size })).collect();
        let body = json!({ "projectId": project_id, "photos": photos });
        let response = succeeded(self.http.post(self.address("/api/batches")).json(&body)).await?;
        response.json().await.context("the answer to POST /api/batches is not a batch")
    }

    /// Uploads the photo that was declared as `photo_id`.
    ///
    /// # Errors
    /// When it is not taken; then with the answer's text.
    pub async fn upload(
        &self,
        project_id: &str,
        batch_id: &str,
        photo_id: &str,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let form = Form::new()
            .text("projectId", project_id.to_owned())
            .text("batchId", batch_id.to_owned())
            .text("photoId", photo_id.to_owned())
            .part("file", Part::bytes(bytes).file_name(name.to_owned()));
        let request = self.http.post(self.address("/api/photos/upload")).multipart(form);
        succeeded(request).await.with_context(|| format!("uploading {name}"))?;
        Ok(())
    }

    /// Reads the state of a batch.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn read(&self, batch_id: &str) -> Result<Read> {
        read(self.http.get(self.batch(batch_id))).await
    }

    /// Reads the state of a batch unless its `ETag` is still `etag`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn read_if_changed(&self, batch_id: &str, etag: &str) -> Result<Read> {
        read(self.http.get(self.batch(batch_id)).header(IF_NONE_MATCH, etag)).await
    }

    /// Reads the state of a batch past the edge's memory, from Redis.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn read_past_memory(&self, batch_id: &str) -> Result<Read> {
        read(self.http.get(self.batch(batch_id)).header(CACHE_CONTROL, "no-cache")).await
    }

    fn batch(&self, batch_id: &str) -> String {
        self.address(&format!("/api/batches/{batch_id}"))
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

async fn read(request: RequestBuilder) -> Result<Read> {
    let begun = Instant::now();
    let response = request.send().await?;
    let status = response.status();
    let headers = response.headers().clone();
    let bytes = response.bytes().await?;
    let took = begun.elapsed();
    let header = |name| text(&headers, name);
    Ok(Read {
        status,
        cache: header("x-cache"),
        source: header("x-cache-source"),
        etag: header(ETAG.as_str()),
        took,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

/// A header's text; empty when it is absent.
fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn succeeded(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = response.url().path().to_owned();
    let body = response.text().await.unwrap_or_default();
    anyhow::bail!("{url} answers {status}: {body}")
}
