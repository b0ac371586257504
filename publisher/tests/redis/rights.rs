//! The least rights that the crate's documentation promises to be enough.

use batchcast_publisher::{Outcome, PhotoId, PublishError, Publisher};
use futures::StreamExt;
use stack::RedisServer;

use crate::{
    sinks::Recorder,
    states::{EPOCH, batch, changes, position, state},
    within,
};

/// A rule in the crate's documentation, word for word, from behind `start` on.
pub(crate) fn documented(start: &str) -> Vec<String> {
    let docs = include_str!("../../src/lib.rs");
    let (_, rest) = docs.split_once(start).expect("the rule stands in the documentation");
    let (rule, _) = rest.split_once("```").unwrap();
    rule.split_whitespace().filter(|word| *word != "//!").map(|word| word.replace("PASSWORD", "secret")).collect()
}

/// What the documentation adds to the rule, in the first code behind `start`.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
pub(crate) fn documented_more(start: &str) -> Vec<String> {
    let (_, rest) = include_str!("../../src/lib.rs").split_once(start).expect("it stands in the documentation");
    rest.split('`').nth(1).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Makes a user by a rule.
pub(crate) async fn grant(server: &RedisServer, user: &str, rule: &[String]) {
    let words: Vec<&str> = ["ACL", "SETUSER", user].into_iter().chain(rule.iter().map(String::as_str)).collect();
    server.run::<()>(&words).await.unwrap();
}

#[tokio::test]
async fn the_documented_rule_is_enough_for_everything_and_for_nothing_else() {
    let server = RedisServer::start().await.unwrap();
    grant(&server, "publisher", &documented("ACL SETUSER publisher ")).await;
    let url = server.url().replace("redis://", "redis://publisher:secret@");
    let (sink, id) = (Recorder::default(), batch("a"));
    let publisher = Publisher::builder(&url).sink(sink.clone()).connect().await.unwrap();

    publisher.cache(&state(&id, EPOCH, 1, 3), std::time::Duration::from_secs(9)).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 2, 3), Some(1))).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("a state", states.next()).await, Some(state(&id, EPOCH, 2, 3)));
    publisher.invalidate(&id).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 3, 3), None)).await.unwrap();
    assert_eq!(within("the end", states.next()).await, Some(state(&id, EPOCH, 3, 3)));
    sink.is_told(position(EPOCH, 3)).await;
    assert_eq!(publisher.close(stack::GUARD).await, []);
    assert_eq!(server.run::<i64>(&["EXISTS", "batch:lease:recorder:a"]).await.unwrap(), 0, "it may give a lease back");
    assert_eq!(server.run::<i64>(&["EXISTS", "batch:sink:recorder:a"]).await.unwrap(), 1);

    let (tracked, photos) = (batch("b"), [PhotoId::new("1").unwrap(), PhotoId::new("2").unwrap()]);
    let tracker = publisher.tracker(&tracked, &photos[..1]).owner("anna".to_owned()).await.unwrap();
    publisher.tracker(&tracked, &photos).await.unwrap();
    let photo = tracker.photo(&photos[0]);
    photo.started().await.unwrap();
    photo.failed("not a JPEG").await.unwrap();
    tracker.photo(&photos[1]).completed(None).await.unwrap();
    assert_eq!(tracker.reopen().await.unwrap().outcome, Outcome::Counted);
    assert_eq!(tracker.cancel().await.unwrap().outcome, Outcome::Counted);
    assert!(publisher.cached(&tracked).await.unwrap().unwrap().is_terminal());

    let elsewhere = Publisher::builder(&url).key_prefix("other:").connect().await.unwrap();
    let refused = elsewhere.publish(changes(&state(&id, EPOCH, 1, 3), None)).await;
    assert!(matches!(refused, Err(PublishError::Rejected { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = RedisServer::start().await.unwrap();
    let url = server.url().replace("redis://", "redis://publisher:not-the-password@");
    let publisher = Publisher::builder(&url).connect().await.unwrap();
    let error = publisher.cached(&batch("a")).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAdmitted { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("not-the-password"), "{error:?}");
}
