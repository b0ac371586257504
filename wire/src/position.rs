//! Where a reader stands in a batch.
//!
//! ```
//! use batchcast_wire::Position;
//!
//! let (known, arrived): (Position, Position) = ("7-41".parse()?, "8-1".parse()?);
//! assert!(arrived > known); // The batch was opened again: its epoch counts before the version.
//! # Ok::<(), batchcast_wire::PositionError>(())
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::limits::MAX_INTEGER;

/// `EPOCH-VERSION`: both given by the application, both at most [`MAX_INTEGER`]. Ordered by epoch, then version; the
/// greater always wins.
///
/// The version is raised in the same database transaction as the counts. The epoch is the batch's creation time in
/// milliseconds, raised when an ended batch is re-opened. As the text of an `ETag`, of an event's `id` and of
/// `Last-Event-ID` it survives whatever Redis loses.
///
/// ```
/// use batchcast_wire::Position;
///
/// let seen: Position = "1795389030082-41".parse()?;
/// assert!(seen < Position::new(1_795_389_030_082, 42)?);
/// assert_eq!(seen.to_string(), "1795389030082-41");
/// # Ok::<(), batchcast_wire::PositionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    epoch: u64,
    version: u64,
}

/// Why a text or a pair of numbers is no position.
///
/// ```
/// use batchcast_wire::{Position, PositionError};
///
/// // A `Last-Event-ID` that is not ours is no reason to refuse a viewer: it gets everything.
/// let seen = match "yesterday".parse::<Position>() {
///     Ok(position) => Some(position),
///     Err(PositionError::Form | PositionError::TooLarge | _) => None,
/// };
/// assert_eq!(seen, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// Not two decimal numbers with one hyphen between.
    #[error("a position reads EPOCH-VERSION, two whole decimal numbers without leading zeros")]
    Form,
    /// A number past [`MAX_INTEGER`].
    #[error("epoch and version are at most {MAX_INTEGER}")]
    TooLarge,
}

impl Position {
    /// A position from its two numbers.
    ///
    /// ```
    /// use batchcast_wire::Position;
    ///
    /// // The two columns of the batch's row.
    /// let (created_at_ms, version) = (1_795_389_030_082, 42);
    /// assert_eq!(Position::new(created_at_ms, version)?.to_string(), "1795389030082-42");
    /// # Ok::<(), batchcast_wire::PositionError>(())
    /// ```
    ///
    /// # Errors
    /// [`PositionError::TooLarge`] past [`MAX_INTEGER`].
    pub fn new(epoch: u64, version: u64) -> Result<Self, PositionError> {
        if epoch > MAX_INTEGER || version > MAX_INTEGER {
            return Err(PositionError::TooLarge);
        }
        Ok(Self { epoch, version })
    }

    /// Creation time of the batch in milliseconds, or of its last re-opening.
    ///
    /// ```
    /// use batchcast_wire::Position;
    ///
    /// // Versions of different epochs can't be compared: nothing of the one follows from the other.
    /// let (a, b): (Position, Position) = ("7-3".parse()?, "8-3".parse()?);
    /// assert!(a.version() == b.version() && a.epoch() != b.epoch());
    /// # Ok::<(), batchcast_wire::PositionError>(())
    /// ```
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// Counts the changes within the epoch.
    ///
    /// ```
    /// use batchcast_wire::Position;
    ///
    /// // SELECT … FROM photos WHERE batch = ? AND version > ?
    /// let sent: Position = "1795389030082-41".parse()?;
    /// assert_eq!(sent.version(), 41);
    /// # Ok::<(), batchcast_wire::PositionError>(())
    /// ```
    pub fn version(self) -> u64 {
        self.version
    }
}

fn number(text: &str) -> Result<u64, PositionError> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return Err(PositionError::Form);
    }
    text.parse().map_err(|_| PositionError::TooLarge)
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, version) = text.split_once('-').ok_or(PositionError::Form)?;
        Self::new(number(epoch)?, number(version)?)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.version)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_has_one_spelling() {
        for bad in ["", "-", "1", "1-", "-1", "01-2", "1-02", "1-2-3", " 1-2", "1-2\n", "+1-2", "1-0x2", "१-2"] {
            assert_eq!(bad.parse::<Position>(), Err(PositionError::Form), "{bad:?}");
        }
        assert_eq!("9007199254740992-1".parse::<Position>(), Err(PositionError::TooLarge));
        assert_eq!("1-99999999999999999999999".parse::<Position>(), Err(PositionError::TooLarge));
    }

    #[test]
    fn epoch_comes_before_version() {
        assert!(Position::new(2, 0).unwrap() > Position::new(1, 99).unwrap());
        assert!(Position::new(1, 10).unwrap() > Position::new(1, 9).unwrap());
    }

    proptest! {
        #[test]
        fn text_and_position_are_the_same(epoch in 0..=MAX_INTEGER, version in 0..=MAX_INTEGER) {
            let position = Position::new(epoch, version).unwrap();
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Position>();
        }
    }
}
