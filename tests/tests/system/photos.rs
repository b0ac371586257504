//! Real photos, from upload to the end of their batch.

use std::io::Cursor;

use anyhow::{Context, Result};
use image::{ImageFormat, RgbImage};
use stack::{Seen, Stack, workspace};

fn photo(format: ImageFormat, tone: u8) -> Result<Vec<u8>> {
    let image = RgbImage::from_fn(640, 480, |x, y| image::Rgb([tone, (x / 3) as u8, (y / 2) as u8]));
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format)?;
    Ok(bytes)
}

fn statuses(complete: &Seen) -> (Option<&str>, Option<u64>, Option<u64>) {
    let counts = &complete.data["counts"];
    (complete.data["status"].as_str(), counts["completed"].as_u64(), counts["failed"].as_u64())
}

#[tokio::test]
async fn a_text_file_among_photos_fails_alone_and_the_batch_ends_partial() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let files = [
        ("one.jpg", photo(ImageFormat::Jpeg, 10)?),
        ("two.png", photo(ImageFormat::Png, 90)?),
        ("three.webp", photo(ImageFormat::WebP, 200)?),
        ("notes.txt", b"milk, bread, film".to_vec()),
    ];
    let declared: Vec<_> = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)).collect();
    let api = stack.api();
    let batch = api.create_batch("holiday", &declared).await?;
    let mut viewer = stack.view(&batch.batch_id).await?;
    // Whoever comes before the first update has reached Redis is let in by the origin.
    let asked = stack.origin_reads().await?;
    for ((name, bytes), photo) in files.iter().zip(&batch.photo_ids) {
        api.upload("holiday", &batch.batch_id, photo, name, bytes.clone()).await?;
    }
    let events = viewer.rest().await?;
    let complete = events.last().context("no events")?;
    assert_eq!(statuses(complete), (Some("PARTIAL"), Some(3), Some(1)));

    let state = api.read(&batch.batch_id).await?.body;
    let photos = state["photos"].as_array().context("no photos")?;
    let failed = photos.iter().find(|photo| photo["status"] == "FAILED").context("none failed")?;
    assert_eq!(failed["photoId"].as_str(), Some(batch.photo_ids[3].as_str()));
    assert!(failed["error"].as_str().is_some_and(|reason| reason.contains("JPEG")), "{failed}");
    let done = photos.iter().find(|photo| photo["photoId"] == batch.photo_ids[0].as_str()).context("no photo")?;
    assert_eq!((done["result"]["width"].as_u64(), done["result"]["height"].as_u64()), (Some(640), Some(480)));
    let thumbnail = api.get(done["result"]["thumbnail"].as_str().context("no thumbnail")?).await?;
    assert!(image::load_from_memory(&thumbnail.bytes().await?)?.width() <= 320);
    assert_eq!(stack.origin_reads().await?, asked, "the edge caused no read of the database");
    Ok(())
}

#[tokio::test]
async fn a_worker_in_another_language_publishes_with_the_same_script() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let example = workspace::root().join("examples/node/publish.mjs");
    let mut node = tokio::process::Command::new(workspace::node()?);
    node.arg(example).arg("b-node").env("REDIS_URL", stack.redis.url()).kill_on_drop(true);
    let mut child = node.spawn()?;
    let mut viewer = stack::eventually(stack::GUARD, async || stack.view("b-node").await).await?;
    let events = viewer.rest().await?;
    assert_eq!(events.last().map(|seen| seen.event.as_str()), Some("complete"));
    assert!(child.wait().await?.success());
    Ok(())
}
