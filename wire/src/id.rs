//! Identifiers of batches and photos.
//!
//! Both go into Redis keys, channel names and URLs as they are, so the alphabet is `[A-Za-z0-9_-]` and nothing needs
//! quoting anywhere: an id that parsed can't inject a key, a channel, a path or a header.
//!
//! ```
//! use batchcast_wire::{BatchId, IdError};
//!
//! // A path from outside: checked once, and from then on safe in a key, a channel and an address.
//! assert_eq!("holiday-2026".parse::<BatchId>()?.as_str(), "holiday-2026");
//! assert_eq!("../admin".parse::<BatchId>(), Err(IdError::Character('.')));
//! # Ok::<(), IdError>(())
//! ```

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::limits::MAX_ID_BYTES;

/// Why a text is no identifier.
///
/// ```
/// use batchcast_wire::BatchId;
///
/// // Its text may be shown to whoever sent the id.
/// let error = BatchId::new("my batch").unwrap_err();
/// assert_eq!(error.to_string(), "an id holds only A-Z, a-z, 0-9, '_' and '-'; this one holds ' '");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing at all.
    #[error("an id is 1 to {MAX_ID_BYTES} characters long; this one is empty")]
    Empty,
    /// More than [`MAX_ID_BYTES`].
    #[error("an id is 1 to {MAX_ID_BYTES} characters long; this one has {0}")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error("an id holds only A-Z, a-z, 0-9, '_' and '-'; this one holds {0:?}")]
    Character(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        return Err(IdError::Character(c));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` against the alphabet and length of ids.
            ///
            /// ```
            #[doc = concat!("use batchcast_wire::", stringify!($name), ";")]
            ///
            #[doc = concat!("assert!(", stringify!($name), "::new(\"c0ffee-7_B\").is_ok());")]
            #[doc = concat!("assert!(", stringify!($name), "::new(\"a/b\").is_err()); // It would change an address.")]
            /// ```
            ///
            /// # Errors
            /// [`IdError`] says which character or length is wrong.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.into()))
            }

            /// The id as text.
            ///
            /// ```
            #[doc = concat!("use batchcast_wire::", stringify!($name), ";")]
            ///
            #[doc = concat!("let id: ", stringify!($name), " = \"c0ffee\".parse()?;")]
            /// assert_eq!(format!("https://example.com/{}", id.as_str()), "https://example.com/c0ffee"); // As it is.
            /// # Ok::<(), batchcast_wire::IdError>(())
            /// ```
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(D::Error::custom)
            }
        }
    };
}

id! {
    /// Names a batch: 1 to 64 characters of `[A-Za-z0-9_-]`.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, keys};
    ///
    /// // No check, no quoting from here on: the type says that there is nothing to quote.
    /// let batch: BatchId = "holiday-2026".parse()?;
    /// assert_eq!(keys::channel("", &batch), "batch:holiday-2026");
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    BatchId
}
id! {
    /// Names a photo within its batch: 1 to 64 characters of `[A-Za-z0-9_-]`.
    ///
    /// ```
    /// use batchcast_wire::PhotoId;
    ///
    /// // Not a file's name, which holds dots and blanks: give it an id of your own, and the name in its result.
    /// assert!(PhotoId::new("IMG 0042.jpg").is_err());
    /// assert!(PhotoId::new("0042").is_ok());
    /// ```
    PhotoId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_takes_letters_digits_underscore_and_hyphen_up_to_64() {
        assert_eq!(BatchId::new("batch-123_A").unwrap().as_str(), "batch-123_A");
        assert!(PhotoId::new(&"x".repeat(64)).is_ok());
        assert_eq!(PhotoId::new(&"x".repeat(65)), Err(IdError::TooLong(65)));
        assert_eq!(PhotoId::new(""), Err(IdError::Empty));
    }

    #[test]
    fn an_id_refuses_whatever_could_escape_a_key_a_channel_or_a_path() {
        for bad in ["..", "a/b", "a b", "a*", "a?", "a\r\nb", "a:b", "{a}", "é", "a\0", "a,b", "%00"] {
            assert!(matches!(BatchId::new(bad), Err(IdError::Character(_))), "{bad:?} passed");
        }
    }
}
