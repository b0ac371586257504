//! A batch of the real photo worker, with photos small enough that only their number costs time.

use std::io::Cursor;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use image::{ImageFormat, RgbImage};
use serde_json::Value;
use stack::{Api, Stack};

const PROJECT: &str = "faults";
const UPLOADS_AT_ONCE: usize = 4;

/// A batch that was declared to the photo worker.
pub(crate) struct Uploads {
    api: Api,
    batch_id: String,
    photo_ids: Vec<String>,
    origin: String,
    origin_token: String,
}

impl Uploads {
    /// Declares a batch of `count` photos through the edge.
    pub(crate) async fn create(stack: &Stack, count: usize) -> Result<Self> {
        Self::create_at(stack, stack.edge.url(), count).await
    }

    /// Declares a batch of `count` photos at `base`, an address without a slash at its end: the edge's, the photo
    /// worker's, or a proxy's before one of them. It is uploaded there, too.
    pub(crate) async fn create_at(stack: &Stack, base: &str, count: usize) -> Result<Self> {
        let size = photo()?.len() as u64;
        let declared: Vec<_> = (0..count).map(|n| (format!("{n}.jpg"), size)).collect();
        let api = Api::new(base);
        let batch = api.create_batch(PROJECT, &declared).await?;
        Ok(Self {
            api,
            batch_id: batch.batch_id,
            photo_ids: batch.photo_ids,
            origin: stack.photo_worker.url().to_owned(),
            origin_token: stack.origin_token().to_owned(),
        })
    }

    /// The batch's id.
    pub(crate) fn id(&self) -> &str {
        &self.batch_id
    }

    /// The photos' ids, in the order of their declaration.
    pub(crate) fn photo_ids(&self) -> &[String] {
        &self.photo_ids
    }

    /// Uploads a photo. It is done with later.
    pub(crate) async fn upload(&self, n: usize) -> Result<()> {
        self.upload_bytes(n, photo()?.to_vec()).await
    }

    /// Uploads, in place of a photo, what will fail.
    pub(crate) async fn upload_bad(&self, n: usize) -> Result<()> {
        self.upload_bytes(n, b"milk, bread, film".to_vec()).await
    }

    /// Uploads all photos, also those that were uploaded before: a photo is taken once.
    pub(crate) async fn upload_all(&self) -> Result<()> {
        self.upload_range(0..self.photo_ids.len()).await
    }

    /// Uploads these photos, some at once.
    pub(crate) async fn upload_range(&self, photos: impl IntoIterator<Item = usize>) -> Result<()> {
        let uploads = photos.into_iter().map(|n| self.upload(n));
        stream::iter(uploads).buffer_unordered(UPLOADS_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// The whole state as the photo worker's database has it: `position`, `status`, `counts`, `photos`, …
    pub(crate) async fn state(&self) -> Result<Value> {
        let url = format!("{}/api/batches/{}", self.origin, self.batch_id);
        let request = reqwest::Client::new().get(url).bearer_auth(&self.origin_token);
        request.send().await?.error_for_status()?.json().await.context("the origin's answer is no state")
    }

    /// The position in the photo worker's database.
    pub(crate) async fn position(&self) -> Result<wire::Position> {
        let state = self.state().await?;
        state["position"].as_str().context("a state without a position")?.parse().context("no position")
    }

    /// Uploads this as the file of photo `n`.
    pub(crate) async fn upload_bytes(&self, n: usize, bytes: Vec<u8>) -> Result<()> {
        let photo_id = self.photo_ids.get(n).with_context(|| format!("no photo {n} was declared"))?;
        self.api.upload(PROJECT, &self.batch_id, photo_id, &format!("{n}.jpg"), bytes).await
    }
}

/// A JPEG of 64 × 48 pixels, made once.
fn photo() -> Result<&'static [u8]> {
    static PHOTO: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(photo) = PHOTO.get() {
        return Ok(photo);
    }
    let image = RgbImage::from_fn(64, 48, |x, y| image::Rgb([90, (x * 4) as u8, (y * 5) as u8]));
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg)?;
    Ok(PHOTO.get_or_init(|| bytes))
}
