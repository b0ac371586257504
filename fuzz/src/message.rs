//! The messages of a batch's channel, and the copy of the batch that is fed with them.

use std::sync::Arc;

use wire::message::{self, Announcement};
use wire::replica::Received;
use wire::{BatchId, BatchState, Message, Replica};

use crate::checks::is_sound;

/// More lines than a replica holds messages.
const MAX_LINES: usize = 200;

/// A line is what reaches a replica: `>` a read of the hash begins, `<` it comes back, with the state behind it as JSON
/// or with nothing, `x` it fails; anything else is the payload of a message.
///
/// The replica's position never falls, whatever it holds is sound, and what it says it did it did. A message that is
/// understood is read as itself when it is written again.
pub fn message(data: &[u8]) {
    let batch = BatchId::new("batch-123").expect("an id");
    let mut replica = Replica::new(batch);
    for line in data.split(|byte| *byte == b'\n').take(MAX_LINES) {
        let before = replica.state().cloned();
        reach(&mut replica, line);
        assert!(replica.position() >= before.as_deref().map(BatchState::position), "the position fell");
        if let Some(state) = replica.state().filter(|state| before.as_ref() != Some(*state)) {
            is_sound(state);
        }
    }
}

fn reach(replica: &mut Replica, line: &[u8]) {
    match line {
        b">" => replica.begin_read(),
        b"x" => replica.fail_read(),
        b"<" => assert!(replica.finish_read(None).absent),
        [b'<', json @ ..] => come_back(replica, json),
        payload => receive(replica, payload),
    }
}

fn come_back(replica: &mut Replica, json: &[u8]) {
    let Ok(state) = BatchState::from_json(json) else { return };
    let position = state.position();
    let finished = replica.finish_read(Some(Arc::new(state)));
    assert!(!finished.absent && !replica.is_reading());
    assert!(replica.position() >= Some(position));
    assert!(finished.again || !replica.is_behind());
}

fn receive(replica: &mut Replica, payload: &[u8]) {
    let (before, was_reading) = (replica.state().cloned(), replica.is_reading());
    let message = Message::parse(payload);
    is_read_as_written(&message);
    let received = replica.receive(message.clone());
    assert_eq!(received == Received::Held, was_reading);
    match (received, message) {
        (Received::Applied, Message::Changes(news)) => assert_eq!(replica.state().map(|s| s.head()), Some(&news.head)),
        (Received::Applied, other) => panic!("{other:?} was applied"),
        _ => assert_eq!(replica.state(), before.as_ref(), "not applied, and yet another state"),
    }
}

fn is_read_as_written(message: &Message) {
    match message {
        Message::Changes(news) => announcement(news),
        Message::Ping { nonce } => assert_eq!(&Message::parse(message::ping(nonce).as_bytes()), message),
        Message::Invalidate => assert_eq!(&Message::parse(message::invalidate().as_bytes()), message),
        Message::Unknown => {}
    }
}

fn announcement(news: &Announcement) {
    news.head.check().expect("what was let in keeps the rules");
    assert!(news.from <= news.head.position.version());
    let Some(changes) = news.clone().into_changes() else { return assert_eq!(news.photos, None) };
    let written = message::changes(&changes, news.cause);
    let Message::Changes(read) = Message::parse(written.as_bytes()) else { panic!("not understood: {written}") };
    // Written again, it may be too large for a message: then it is a nudge.
    let mut expected = news.clone();
    expected.photos = read.photos.as_ref().and(news.photos.clone());
    assert_eq!(read, expected);
}
