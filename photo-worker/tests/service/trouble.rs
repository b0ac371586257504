//! A disk that fails for a moment: no photo fails for it.

use anyhow::ensure;
use image::ImageFormat;
use sqlx::{AnyConnection, Connection as _};
use stack::{GUARD, eventually};
use wire::BatchStatus;

use crate::world::{World, picture};

pub(crate) async fn rows(world: &World) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&world.dir.database_url).await.unwrap()
}

pub(crate) async fn losses(rows: &mut AnyConnection, photo: &str) -> i64 {
    sqlx::query_scalar("SELECT losses FROM photos WHERE id = $1").bind(photo).fetch_one(rows).await.unwrap()
}

#[tokio::test]
async fn a_photo_whose_thumbnail_cant_be_stored_is_tried_again() {
    let world = World::start(&[("LEASE_SECS", "1")]).await;
    let (api, mut rows) = (world.client(), rows(&world).await);
    let (batch, photos) = api.declare(&["a.jpg"]).await;
    let in_its_place = world.dir.path().join(format!("photos/thumbnails/{}.jpg", photos[0]));
    std::fs::create_dir(&in_its_place).unwrap();
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    let tried = eventually(GUARD, async || {
        ensure!(losses(&mut rows, &photos[0]).await > 0, "it was not tried again");
        Ok(())
    });
    tried.await.unwrap();
    std::fs::remove_dir(&in_its_place).unwrap();
    let end = world.watched(&batch).await.pop().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 1));
}
