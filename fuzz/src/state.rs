//! A batch's state: the answer of the origin, and the hash in Redis.

use redis_rest::event_stream::{Decoder, Event, Item};
use wire::limits::MAX_OWNER_BYTES;
use wire::script::{self, Settings};
use wire::{BatchId, BatchState, Changes, Head, StateError, Stored, event, state as form};

use crate::checks::is_sound;

/// How many of a script's arguments stand before the fields of photos.
const ARGS_BEFORE_PHOTOS: usize = 10;

/// JSON, or lines `FIELD VALUE` of the hash of `batch-123`.
///
/// What is read is sound, as a viewer is shown it, and what a fill of it stores is read as the same.
pub fn state(data: &[u8]) {
    let _ = (Head::from_json(data), form::is_of_another_form(data));
    if let Ok(state) = BatchState::from_json(data) {
        is_sound(&state);
        is_shown(&state);
        is_stored(&state, None);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let batch = BatchId::new("batch-123").expect("an id");
        let fields = text.lines().filter_map(|line| line.split_once(' '));
        if let Ok(Some(Stored { state, owner, .. })) = BatchState::from_hash(&batch, fields) {
            assert_eq!(state.head().batch_id, batch);
            is_sound(&state);
            is_stored(&state, owner);
        }
    }
}

fn is_stored(state: &BatchState, owner: Option<String>) {
    // An empty owner in a script's arguments means none.
    let owner = owner.filter(|owner| !owner.is_empty());
    let too_long = owner.as_ref().is_some_and(|owner| owner.len() > MAX_OWNER_BYTES);
    let fill = script::fill(Settings::new("", 60), &Changes::full(state, owner.clone()));
    let Ok(call) = fill else { return assert!(too_long && matches!(fill, Err(StateError::Owner(_)))) };
    let (fixed, photos) = call.args.split_at(ARGS_BEFORE_PHOTOS);
    let [.., head, stored_owner] = fixed else { panic!("too few arguments") };
    let mut fields = vec![("head", head.as_str())];
    fields.extend(owner.is_some().then_some(("owner", stored_owner.as_str())));
    fields.extend(photos.as_chunks::<2>().0.iter().map(|[name, value]| (name.as_str(), value.as_str())));
    let read = BatchState::from_hash(&state.head().batch_id, fields).expect("what we store we read");
    assert_eq!(read, Some(Stored::new(state.clone(), owner)));
}

fn is_shown(state: &BatchState) {
    assert!(state.changes_since(None).full);
    assert_eq!(state.changes_since(Some(state.position())).photos.len(), 0);
    let events =
        if state.is_terminal() { event::ending(state, None, None) } else { event::progress(state, None, None) };
    let mut items = Vec::new();
    Decoder::with_limit(16 * 1024 * 1024).decode(events.as_bytes(), &mut items);
    // A CR in the white space of an application's result ends a line of data, which comes back as LF.
    let exactly = !state.photos().filter_map(|photo| photo.result.as_ref()).any(|json| json.as_str().contains('\r'));
    match &items[..] {
        [Item::Event(progress)] => {
            assert_eq!((progress.event.as_str(), &progress.id), ("progress", &state.position().to_string()));
            let shown = BatchState::from_json(progress.data.as_bytes()).expect("an event holds the state");
            assert!(!exactly || shown == *state);
        }
        [Item::Event(_), Item::Event(Event { event, data, .. })] => {
            assert_eq!(event, "complete");
            assert_eq!(&Head::from_json(data.as_bytes()).expect("complete holds the head"), state.head());
        }
        other => panic!("{other:?}"),
    }
}
