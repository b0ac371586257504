//! What a client that comes back says that it has seen.
//!
//! ```
//! use batchcast_wire::{Seen, event};
//!
//! // The id of the last event that a client got is all that is known of it when it returns.
//! let sent = event::idle("7-42".parse()?);
//! let id = sent.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default();
//! assert!(id.parse::<Seen>()?.is_idle_at("7-42".parse()?));
//! # Ok::<(), batchcast_wire::PositionError>(())
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Position, PositionError};

/// Follows the position in the id of an `idle` event.
const IDLE: &str = "~idle";

/// A `Last-Event-ID`: the position that was shown last, and whether the client was then sent away because nothing had
/// changed for long.
///
/// So the client carries all that the next answer depends on: a server that has sent it away need not remember it.
///
/// ```
/// use batchcast_wire::Seen;
///
/// let seen: Seen = "1795389030082-41~idle".parse()?;
/// assert_eq!(seen.position.to_string(), "1795389030082-41");
/// assert!(seen.idle && seen.to_string() == "1795389030082-41~idle");
/// # Ok::<(), batchcast_wire::PositionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// What was shown.
    pub position: Position,
    /// The last thing that it was told was `idle`.
    pub idle: bool,
}

impl Seen {
    /// What a client says that was sent away at `position`.
    ///
    /// ```
    /// use batchcast_wire::Seen;
    ///
    /// assert_eq!(Seen::idle("7-42".parse()?).to_string(), "7-42~idle");
    /// # Ok::<(), batchcast_wire::PositionError>(())
    /// ```
    pub fn idle(position: Position) -> Self {
        Self { position, idle: true }
    }

    /// Whether the client may be sent away again without a stream: it was before, and the batch still stands there.
    ///
    /// ```
    /// use batchcast_wire::Seen;
    ///
    /// let seen: Seen = "7-42~idle".parse()?;
    /// assert!(seen.is_idle_at("7-42".parse()?)); // Still nothing new: no stream, no room.
    /// assert!(!seen.is_idle_at("7-43".parse()?)); // Something happened: a stream again.
    /// # Ok::<(), batchcast_wire::PositionError>(())
    /// ```
    pub fn is_idle_at(self, stored: Position) -> bool {
        self.idle && self.position == stored
    }
}

impl From<Position> for Seen {
    fn from(position: Position) -> Self {
        Self { position, idle: false }
    }
}

impl FromStr for Seen {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        Ok(match text.strip_suffix(IDLE) {
            Some(position) => Self::idle(position.parse()?),
            None => Self::from(text.parse::<Position>()?),
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.position, if self.idle { IDLE } else { "" })
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_INTEGER;
    use proptest::prelude::*;

    fn seen(text: &str) -> Result<Seen, PositionError> {
        text.parse()
    }

    #[test]
    fn what_was_seen_has_one_spelling() {
        for bad in ["", "~idle", "7-3~", "7-3~IDLE", "7-3~idle~idle", "7-3 ~idle", "~idle7-3"] {
            assert_eq!(seen(bad), Err(PositionError::Form), "{bad:?}");
        }
    }

    #[test]
    fn only_who_was_sent_away_and_has_seen_all_is_sent_away_again() {
        let at = |text: &str| text.parse::<Position>().unwrap();
        assert!(seen("7-3~idle").unwrap().is_idle_at(at("7-3")));
        assert!(!seen("7-3").unwrap().is_idle_at(at("7-3")), "it was not sent away");
        for other in ["7-4", "7-2", "8-3"] {
            assert!(!seen("7-3~idle").unwrap().is_idle_at(at(other)), "{other}");
        }
    }

    proptest! {
        #[test]
        fn text_and_what_was_seen_are_the_same(epoch in 0..=MAX_INTEGER, version in 0..=MAX_INTEGER, idle: bool) {
            let all = Seen { position: Position::new(epoch, version).unwrap(), idle };
            prop_assert_eq!(seen(&all.to_string()), Ok(all));
            prop_assert_eq!(serde_json::from_str::<Seen>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
        }
    }
}
