//! What holds for every state that got in.

use wire::{BatchState, Head};

/// The state keeps its own rules, and its JSON is read as itself.
pub(crate) fn is_sound(state: &BatchState) {
    let head = state.head();
    head.check().expect("what was let in keeps the rules");
    assert!(head.progress() <= 100);
    assert!(state.photos().len() <= head.counts.total as usize);
    assert!(state.photos().all(|photo| photo.version <= head.position.version() && photo.to_json().is_ok()));
    assert_eq!(&BatchState::from_json(state.to_json().as_bytes()).expect("what we write we read"), state);
    assert_eq!(&Head::from_json(head.to_json().as_bytes()).expect("what we write we read"), head);
}
