//! The default schema: what a source reads of it, and what a step does to it.

use std::time::{Duration, SystemTime};

use batchcast_publisher::{
    BatchStatus, Json, Photo, PhotoId, PhotoStatus, Position, ProgressSource as _, Queries, SqlError,
};

use crate::world::{World, batch, done, id, on_both};

on_both!(
    a_source_gives_what_changed_since_a_position,
    the_last_photo_ends_the_batch,
    of_two_who_end_a_photo_only_the_first_counts,
    unsettled_are_the_open_batches_and_those_that_changed_lately,
    tables_are_made_once_and_by_one_of_many,
    a_batch_that_is_there_is_not_made_again,
    what_can_not_be_published_is_not_committed,
);

async fn a_source_gives_what_changed_since_a_position(world: World) {
    let (source, b) = (world.migrated().await, id("b"));
    assert_eq!(source.changes(&b, None).await.unwrap(), None, "nobody knows it");
    let (photos, made) = batch(&source, &b, 3).await;
    let result = Json::new(&serde_json::json!({ "width": 640 })).unwrap();
    source.step(&b, &done(&photos[0]).with_result(result.clone())).await.unwrap().unwrap();
    let failed = Photo::new(photos[1].clone(), PhotoStatus::Failed, 0).with_error("blurred".to_owned());
    let head = source.step(&b, &failed).await.unwrap().unwrap();

    let whole = source.changes(&b, None).await.unwrap().unwrap();
    assert_eq!(whole.check(), Ok(()));
    assert_eq!((whole.since, whole.photos.len(), whole.owner.as_deref()), (None, 3, Some("anna")));
    assert_eq!((whole.head.position.version(), whole.head.status), (3, BatchStatus::Processing));
    assert_eq!((whole.head.position, whole.head.counts), (head.position, head.counts));
    let news = source.changes(&b, Some(made)).await.unwrap().unwrap();
    assert_eq!((news.since, news.photos.len()), (Some(made), 2));
    let photo = |n: usize| news.photos.iter().find(|photo| photo.photo_id == photos[n]).unwrap();
    assert_eq!((photo(0).result.as_ref(), photo(0).version), (Some(&result), 2));
    assert_eq!((photo(1).error.as_deref(), photo(1).version), (Some("blurred"), 3));
    let nothing = source.changes(&b, Some(head.position)).await.unwrap().unwrap();
    assert!(nothing.photos.is_empty());
    let elsewhere = Position::new(made.epoch() - 1, 9).unwrap();
    let whole = source.changes(&b, Some(elsewhere)).await.unwrap().unwrap();
    assert_eq!((whole.since, whole.photos.len()), (None, 3), "another epoch");
}

async fn the_last_photo_ends_the_batch(world: World) {
    let (source, b) = (world.migrated().await, id("b"));
    let (photos, _) = batch(&source, &b, 2).await;
    let begun = Photo::new(photos[0].clone(), PhotoStatus::Processing, 0);
    assert_eq!(source.step(&b, &begun).await.unwrap().unwrap().status, BatchStatus::Processing);
    source.step(&b, &done(&photos[0])).await.unwrap().unwrap();
    let head = source.step(&b, &Photo::new(photos[1].clone(), PhotoStatus::Failed, 0)).await.unwrap().unwrap();
    assert_eq!((head.status, head.position.version()), (BatchStatus::Partial, 4));
    assert_eq!(source.step(&b, &done(&photos[1])).await.unwrap(), None, "it has ended");
    assert_eq!(source.step(&b, &done(&PhotoId::new("x").unwrap())).await.unwrap(), None);
    assert_eq!(source.step(&id("x"), &done(&photos[0])).await.unwrap(), None);
}

async fn of_two_who_end_a_photo_only_the_first_counts(world: World) {
    let (source, b) = (world.migrated().await, id("b"));
    let (photos, _) = batch(&source, &b, 20).await;
    for photo in &photos {
        let (one, other) = (done(photo), Photo::new(photo.clone(), PhotoStatus::Failed, 0));
        let (one, other) = tokio::join!(source.step(&b, &one), source.step(&b, &other));
        let heads = [one.unwrap(), other.unwrap()];
        assert_eq!(heads.iter().flatten().count(), 1);
    }
    let end = source.changes(&b, None).await.unwrap().unwrap();
    assert_eq!(end.check(), Ok(()));
    assert!(end.head.status.is_terminal());
    assert_eq!(end.head.position.version(), 21);
}

async fn unsettled_are_the_open_batches_and_those_that_changed_lately(world: World) {
    let source = world.migrated().await;
    batch(&source, &id("open"), 1).await;
    let (photos, _) = batch(&source, &id("ended"), 1).await;
    source.step(&id("ended"), &done(&photos[0])).await.unwrap().unwrap();
    let minute = Duration::from_secs(60);
    let mut both = source.unsettled(SystemTime::now() - minute).await.unwrap();
    both.sort_unstable();
    assert_eq!(both, [id("ended"), id("open")]);
    assert_eq!(source.unsettled(SystemTime::now() + minute).await.unwrap(), [id("open")]);
}

async fn tables_are_made_once_and_by_one_of_many(world: World) {
    let mut making = Vec::new();
    for _ in 0..8 {
        let source = world.source(Queries::default()).await;
        making.push(tokio::spawn(async move { source.migrate().await }));
    }
    for made in making {
        made.await.unwrap().unwrap();
    }
    let source = world.migrated().await;
    batch(&source, &id("b"), 1).await;
    source.migrate().await.unwrap();
    assert!(source.changes(&id("b"), None).await.unwrap().is_some(), "what was there stays");
}

async fn a_batch_that_is_there_is_not_made_again(world: World) {
    let source = world.migrated().await;
    let (photos, _) = batch(&source, &id("b"), 1).await;
    let again = source.create(&id("b"), None, &photos).await;
    assert!(matches!(&again, Err(SqlError::Refused(why)) if why.contains('b')), "{again:?}");
    let many = vec![photos[0].clone(); 10_001];
    assert!(matches!(source.create(&id("c"), None, &many).await, Err(SqlError::Refused(_))));
    assert!(matches!(source.create(&id("c"), None, &[]).await, Err(SqlError::Refused(_))), "it would never end");
    let owner = "x".repeat(300);
    assert!(matches!(source.create(&id("c"), Some(&owner), &photos).await, Err(SqlError::Refused(_))));
}

async fn what_can_not_be_published_is_not_committed(world: World) {
    let source = world.migrated().await;
    let (photos, _) = batch(&source, &id("b"), 1).await;
    let result = Json::new(&"x".repeat(5_000)).unwrap();
    let large = Photo::new(photos[0].clone(), PhotoStatus::Completed, 0).with_result(result);
    let refused = source.step(&id("b"), &large).await;
    assert!(matches!(&refused, Err(SqlError::Refused(_))), "{refused:?}");
    let small = Photo::new(photos[0].clone(), PhotoStatus::Completed, 0);
    assert!(source.step(&id("b"), &small).await.unwrap().is_some_and(|head| head.status.is_terminal()));
}
