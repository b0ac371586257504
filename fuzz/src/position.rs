//! Positions as they come in: `Last-Event-ID`, and the entity tags of `If-None-Match`.

use edge::ask;
use wire::{Position, Seen};

/// A position, a line break, and an `If-None-Match`.
///
/// A position has one spelling, as text and in JSON, and so has what was seen. A header matches the position that it
/// names, and no other.
pub fn position(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (seen, header) = text.split_once('\n').unwrap_or((&text, &text));
    let _ = serde_json::from_str::<Position>(seen);
    if let Ok(id) = seen.parse::<Seen>() {
        assert_eq!(id.to_string(), seen);
    }
    let Ok(position) = seen.parse::<Position>() else { return };
    assert_eq!(position.to_string(), seen);
    assert_eq!(Position::new(position.epoch(), position.version()), Ok(position));
    let json = serde_json::to_string(&position).expect("text is JSON");
    assert_eq!(serde_json::from_str::<Position>(&json).expect("what we write we read"), position);
    named(position, header);
    if let Ok(next) = Position::new(position.epoch(), position.version() + 1) {
        assert!(next > position);
        assert!(!ask::matches(&ask::etag(next), position));
    }
}

fn named(position: Position, header: &str) {
    let etag = ask::etag(position);
    for names in [etag.clone(), format!("W/{etag}"), format!("{header}, {etag}"), format!(" {etag} ,{header}")] {
        assert!(ask::matches(&names, position), "{names}");
    }
    if !header.contains(&etag) && !header.contains('*') {
        assert!(!ask::matches(header, position), "{header}");
    }
}
