//! The live page in a real browser, against the real system.

use std::io::Cursor;

use anyhow::{Result, ensure};
use image::{ImageFormat, RgbImage};
use stack::{Stack, workspace};
use tokio::process::Command;

/// Runs `tests/browser/live-page.mjs` as a user with a token in a cookie, which drives Chromium: it chooses photos, watches them to their end and checks
/// what a person would see. Set `SCREENSHOTS` to a folder to look at it.
#[tokio::test]
async fn the_live_page_uploads_photos_and_shows_them_to_their_end() -> Result<()> {
    // As in production, but for the cookie's name: a browser takes `__Host-` only by HTTPS.
    let builder = Stack::builder().closed().edge_var("AUTH_COOKIE", "batchcast");
    let stack = builder.photo_worker_env("AUTH_COOKIE", "batchcast").start().await?;
    let photos = tempfile::tempdir()?;
    for n in 0..8_u8 {
        let image = RgbImage::from_fn(1600, 1200, |x, y| image::Rgb([n * 30, (x / 7) as u8, (y / 5) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Jpeg)?;
        std::fs::write(photos.path().join(format!("photo-{n}.jpg")), bytes.into_inner())?;
    }
    std::fs::write(photos.path().join("notes.txt"), "milk, bread, film")?;
    let script = workspace::root().join("tests/browser/live-page.mjs");
    let status = Command::new(workspace::node()?)
        .arg(script)
        .env("EDGE_URL", stack.edge.url())
        .env("PHOTOS", photos.path())
        .env("COOKIE", format!("batchcast={}", stack.token("anna")))
        .env("CHROMIUM", workspace::chromium()?)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the browser test failed: {status}");
    Ok(())
}
