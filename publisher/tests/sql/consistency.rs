//! One consistent snapshot, whatever is committed meanwhile.

use batchcast_publisher::{Photo, PhotoStatus, ProgressSource as _, SqlSource};

use crate::world::{World, batch, done, id, on_both};

on_both!(no_version_is_ever_read_without_its_photo);

/// Three writers take turns at forty photos, while two readers look.
async fn no_version_is_ever_read_without_its_photo(world: World) {
    let (source, b) = (world.migrated().await, id("b"));
    let (photos, _) = batch(&source, &b, 42).await;
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(read_to_the_end(source.clone()))).collect();
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let (source, photos) = (source.clone(), photos.clone());
            tokio::spawn(async move {
                for photo in photos.iter().skip(n).step_by(3) {
                    let begun = Photo::new(photo.clone(), PhotoStatus::Processing, 0);
                    source.step(&id("b"), &begun).await.unwrap().unwrap();
                    source.step(&id("b"), &done(photo)).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(seen > 1, "it saw nothing on the way");
    }
}

/// How many versions were seen.
async fn read_to_the_end(source: SqlSource) -> usize {
    let (mut since, mut seen) = (None, 0);
    loop {
        let changes = source.changes(&id("b"), since).await.unwrap().unwrap();
        if since != Some(changes.head.position) {
            let newest = changes.photos.iter().map(|photo| photo.version).max();
            assert_eq!(newest, Some(changes.head.position.version()), "{changes:?}");
            seen += 1;
        }
        if changes.head.status.is_terminal() {
            return seen;
        }
        since = Some(changes.head.position);
    }
}
