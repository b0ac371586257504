//! The live page in a real browser, against the real system.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Result, ensure};
use image::{ImageFormat, Rgb, RgbImage};
use stack::{Stack, workspace};
use tempfile::TempDir;
use tokio::process::Command;

/// Chooses, drops and pastes photos, watches them to their end, cancels, loses the network, and checks what a person
/// would see. Set `SCREENSHOTS` to a folder to look at it.
#[tokio::test]
async fn the_live_page_uploads_photos_and_shows_them_to_their_end() -> Result<()> {
    let photos = photos()?;
    // By its name and first bytes a photo.
    std::fs::write(photos.path().join("broken.jpg"), b"\xff\xd8\xff\xe0 and then nothing of one")?;
    std::fs::write(photos.path().join("notes.txt"), "milk, bread, film")?;
    drive("live-page.mjs", photos.path()).await
}

/// Counts the streams and reads of a page of many batches. Set `SCREENSHOTS` to a folder to look at it.
#[tokio::test]
async fn a_gallery_streams_what_is_open_and_in_view_and_asks_for_nothing_else() -> Result<()> {
    drive("gallery.mjs", photos()?.path()).await
}

/// With `FILM` naming a file the script takes the moving picture of README instead, of more photos.
fn photos() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let count = if std::env::var_os("FILM").is_some() { 18 } else { 8 };
    for n in 0..count {
        let mut bytes = Cursor::new(Vec::new());
        landscape(n as f32 / count as f32).write_to(&mut bytes, ImageFormat::Jpeg)?;
        std::fs::write(dir.path().join(format!("photo-{n}.jpg")), bytes.into_inner())?;
    }
    Ok(dir)
}

/// Sky, a sun, two ranges of hills; `hour`: how much of the day is over.
fn landscape(hour: f32) -> RgbImage {
    let (width, height) = (1600.0_f32, 1200.0_f32);
    let ridge = |x: f32, at: f32, high: f32, wave: f32| {
        at - high * ((x / wave + hour * 9.0).sin() + 0.4 * (x / wave * 2.7 + hour * 5.0).sin())
    };
    RgbImage::from_fn(1600, 1200, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let sun =
            ((x - width * (0.2 + 0.6 * hour)).hypot(y - height * (0.28 + 0.1 * (hour * 6.3).cos())) / 95.0).min(1.0);
        let far = y > ridge(x, 760.0, 90.0, 260.0);
        let near = y > ridge(x, 960.0, 70.0, 190.0);
        let [r, g, b] = match (near, far) {
            (true, _) => [38.0 + 60.0 * hour, 62.0 + 20.0 * hour, 48.0],
            (_, true) => [96.0 + 70.0 * hour, 108.0 + 10.0 * hour, 128.0 - 20.0 * hour],
            _ => {
                let low = y / height;
                let glow = 90.0 * (1.0 - sun);
                [120.0 + 130.0 * low + glow, 160.0 + 30.0 * low - 30.0 * hour + glow, 215.0 - 110.0 * low * hour + glow]
            }
        };
        // Grain, so that it is sharp.
        let grain = ((x * 12.9898 + y * 78.233).sin() * 43_758.547).fract() * 10.0 - 5.0;
        Rgb([r, g, b].map(|channel| (channel + grain).clamp(0.0, 255.0) as u8))
    })
}

/// As a user with a token in a cookie.
async fn drive(script: &str, photos: &Path) -> Result<()> {
    // As in production, but for the cookie's name: a browser takes `__Host-` only by HTTPS.
    let builder = Stack::builder().closed().edge_var("AUTH_COOKIE", "batchcast");
    let stack = builder.photo_worker_env("AUTH_COOKIE", "batchcast").start().await?;
    let status = Command::new(workspace::node()?)
        .arg(workspace::root().join("tests/browser").join(script))
        .env("EDGE_URL", stack.edge.url())
        .env("PHOTOS", photos)
        .env("COOKIE", format!("batchcast={}", stack.token("anna")))
        .env("CHROMIUM", workspace::chromium()?)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the browser test failed: {status}");
    Ok(())
}
