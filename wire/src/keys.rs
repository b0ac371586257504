//! Names in Redis. The prefix (`KEY_PREFIX`, empty by default) stands before every one of them, so that two systems can
//! share one Redis. No name holds braces: a call touches one key, so a cluster needs no hash tag.
//!
//! ```
//! use batchcast_wire::{BatchId, keys};
//!
//! // What to look at with redis-cli: HGETALL, and SUBSCRIBE.
//! let batch = BatchId::new("holiday")?;
//! assert_eq!(keys::hash("eu:", &batch), "eu:batch:progress:holiday");
//! assert_eq!(keys::channel("eu:", &batch), "eu:batch:holiday");
//! # Ok::<(), batchcast_wire::IdError>(())
//! ```

use crate::{BatchId, limits::MAX_PREFIX_BYTES};

/// What is wrong with a prefix, in words; `None`: it can be used. It goes into channel names and paths, so it holds no
/// comma, no space and no brace.
///
/// ```
/// use batchcast_wire::keys;
///
/// // Where the setting is read, so that a bad one stops the program at its start.
/// assert_eq!(keys::prefix_problem("staging:"), None);
/// assert!(keys::prefix_problem("{staging}").is_some());
/// ```
pub fn prefix_problem(prefix: &str) -> Option<&'static str> {
    let plain = prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.'));
    (!plain || prefix.len() > MAX_PREFIX_BYTES).then_some("use at most 64 characters of A-Z a-z 0-9 _ - : .")
}

/// The hash that holds a batch: `batch:progress:ID`.
///
/// ```
/// use batchcast_wire::{BatchId, keys};
///
/// assert_eq!(keys::hash("", &BatchId::new("holiday")?), "batch:progress:holiday");
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
pub fn hash(prefix: &str, batch: &BatchId) -> String {
    format!("{prefix}batch:progress:{batch}")
}

/// The channel on which a batch's changes are announced: `batch:ID`.
///
/// ```
/// use batchcast_wire::{BatchId, keys};
///
/// assert_eq!(keys::channel("", &BatchId::new("holiday")?), "batch:holiday");
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
pub fn channel(prefix: &str, batch: &BatchId) -> String {
    format!("{prefix}batch:{batch}")
}

/// The position of the batch that was told last to the sink of this name: `batch:sink:NAME:ID`.
pub fn told(prefix: &str, sink: &str, batch: &BatchId) -> String {
    format!("{prefix}batch:sink:{sink}:{batch}")
}

/// Who tells the sink of this name about the batch just now: `batch:lease:NAME:ID`.
pub fn lease(prefix: &str, sink: &str, batch: &BatchId) -> String {
    format!("{prefix}batch:lease:{sink}:{batch}")
}

/// The hash into which hub objects add their counters: `batchcast:metrics`.
///
/// ```
/// use batchcast_wire::keys;
///
/// assert_eq!(keys::metrics("staging:"), "staging:batchcast:metrics");
/// ```
pub fn metrics(prefix: &str) -> String {
    format!("{prefix}batchcast:metrics")
}

/// Fields of a batch's hash.
///
/// ```
/// use batchcast_wire::keys::field;
///
/// // Where a batch stands, without reading its photos: HMGET batch:progress:ID epoch version.
/// assert_eq!([field::EPOCH, field::VERSION], ["epoch", "version"]);
/// ```
pub mod field {
    use crate::PhotoId;

    /// Epoch of the stored position, decimal.
    pub const EPOCH: &str = "epoch";
    /// Version of the stored position, decimal.
    pub const VERSION: &str = "version";
    /// The state without photos, JSON.
    pub const HEAD: &str = "head";
    /// The application's user id; never sent to a viewer.
    pub const OWNER: &str = "owner";
    /// `1` when the stored status is terminal: the script decides by it without decoding JSON.
    pub const ENDED: &str = "ended";
    /// What the fields of photos begin with.
    pub const PHOTO_PREFIX: &str = "photo:";

    /// The field of one photo: `photo:ID`.
    ///
    /// ```
    /// use batchcast_wire::{PhotoId, keys::field};
    ///
    /// let name = field::photo(&PhotoId::new("beach")?);
    /// assert_eq!(name, "photo:beach");
    /// assert_eq!(name.strip_prefix(field::PHOTO_PREFIX), Some("beach")); // And back, for whoever reads the hash.
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn photo(id: &PhotoId) -> String {
        format!("{PHOTO_PREFIX}{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_cannot_change_what_a_name_means() {
        for fine in ["", "eu:", "team-1.staging_"] {
            assert_eq!(prefix_problem(fine), None, "{fine}");
        }
        for bad in ["a,b", "{a}", "a b", "a*", "é", &"x".repeat(65)] {
            assert!(prefix_problem(bad).is_some(), "{bad}");
        }
    }
}
