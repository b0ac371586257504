//! `update.lua`: a whole update of a batch in one round trip, and the arguments it takes.
//!
//! ```
#![doc = include_str!("examples/batch.txt")]
//! let settings = script::Settings::new("eu:", 86_400);
//! let call = script::update(settings, &Changes::new(None, head, vec![]), 1_795_389_030_100)?;
//! // For any client of Redis: EVALSHA sha 1 KEY ARGS…, and EVAL with this text where the script is not known.
//! assert!(script::UPDATE_LUA.contains("KEYS[1]"));
//! assert_eq!((call.key.as_str(), call.args[0].as_str()), ("eu:batch:progress:holiday", "full"));
//! assert_eq!(script::Reply::parse("applied"), Some(script::Reply::Applied)); // The first element of what it answers.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{
    BatchId, Cause, Changes, StateError,
    keys::{self, field},
    limits::MAX_TTL_SECS,
    message,
};

/// The script. It checks, writes, expires and publishes; it never decodes JSON.
pub const UPDATE_LUA: &str = include_str!("update.lua");

/// What to call the script with: `EVALSHA sha 1 KEY ARGS…`. It is that and no more, so it may be made from its parts.
///
/// ```
/// use batchcast_wire::{BatchId, script};
///
/// let call = script::invalidate(script::Settings::new("", 86_400), &BatchId::new("holiday")?);
/// let words = ["EVAL", script::UPDATE_LUA, "1", &call.key].into_iter().chain(call.args.iter().map(String::as_str));
/// assert_eq!(words.count(), 4 + call.args.len());
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The one key touched.
    pub key: String,
    /// The arguments, in the order of the script's head.
    pub args: Vec<String>,
}

/// What to do with the state given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Changes,
    Full,
    Fill,
}

/// What the script did. One more would be another script, so that all may be matched.
///
/// ```
/// use batchcast_wire::script::Reply;
///
/// let next = match Reply::parse("needs-full") {
///     Some(Reply::NeedsFull) => "read the whole batch from the database and send it",
///     Some(Reply::Finished) => "raise the epoch, if the batch was meant to be opened again",
///     Some(_) => "nothing",
///     None => "say that someone else's script answered",
/// };
/// assert!(next.starts_with("read"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Written and announced.
    Applied,
    /// The stored position is as great or greater. Not an error: someone else was faster, or it was sent before.
    Stale,
    /// Nothing is stored, or another epoch, or a version before the changes': send the whole state.
    NeedsFull,
    /// The stored state has ended in this epoch: to re-open it, raise the epoch.
    Finished,
    /// Nothing was stored, now it is.
    Filled,
    /// Something is stored already and was left alone.
    Present,
    /// Deleted and announced.
    Invalidated,
}

impl Reply {
    /// Reads the first element of the script's reply.
    ///
    /// ```
    /// use batchcast_wire::script::Reply;
    ///
    /// assert_eq!(Reply::parse("stale"), Some(Reply::Stale));
    /// assert_eq!(Reply::parse("OK"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "applied" => Self::Applied,
            "stale" => Self::Stale,
            "needs-full" => Self::NeedsFull,
            "finished" => Self::Finished,
            "filled" => Self::Filled,
            "present" => Self::Present,
            "invalidated" => Self::Invalidated,
            _ => return None,
        })
    }
}

/// Settings that every call carries.
///
/// ```
/// use batchcast_wire::{BatchId, script};
///
/// let settings = script::Settings::new("staging:", 3_600);
/// let call = script::invalidate(settings, &BatchId::new("holiday")?);
/// assert!(call.key.starts_with("staging:"));
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings<'a> {
    /// What stands before each name (`KEY_PREFIX`).
    pub prefix: &'a str,
    /// Seconds after which an unchanged batch is forgotten (`STATE_TTL_SECS`); at least 1.
    pub ttl_secs: u64,
}

impl<'a> Settings<'a> {
    /// Names with this prefix (empty: none), and a time to live in seconds, at least 1.
    ///
    /// ```
    /// use batchcast_wire::script;
    ///
    /// let a_day = script::Settings::new("", 24 * 60 * 60);
    /// assert_eq!(a_day.ttl_secs, 86_400);
    /// ```
    pub const fn new(prefix: &'a str, ttl_secs: u64) -> Self {
        Self { prefix, ttl_secs }
    }
}

/// A call that writes and announces `changes`. `cause`: the earliest commit that they
/// cover.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// let step = Changes::new(Some("7-41".parse()?), head, vec![]);
/// let call = script::update(script::Settings::new("", 86_400), &step, 1_795_389_030_100)?;
/// assert_eq!(call.args[..4], ["changes", "7", "42", "41"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first rule that the changes break.
pub fn update(settings: Settings<'_>, changes: &Changes, cause: impl Into<Cause>) -> Result<Call, StateError> {
    let mode = if changes.since.is_some() { Mode::Changes } else { Mode::Full };
    call(settings, mode, changes, message::changes(changes, cause))
}

/// A call that stores a whole state without announcing it, and only where nothing is stored.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// // What a server read at the origin: put where others find it, unless a worker was faster.
/// let whole = Changes::new(None, head, vec![]);
/// let call = script::fill(script::Settings::new("", 86_400), &whole)?;
/// assert_eq!(call.args[0], "fill");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first rule that the changes break.
pub fn fill(settings: Settings<'_>, whole: &Changes) -> Result<Call, StateError> {
    call(settings, Mode::Fill, whole, String::new())
}

/// A call that deletes what is stored and tells readers to ask the origin again.
///
/// ```
/// use batchcast_wire::{BatchId, script};
///
/// // The batch was deleted from the database.
/// let call = script::invalidate(script::Settings::new("", 86_400), &BatchId::new("holiday")?);
/// assert_eq!((call.key.as_str(), call.args[0].as_str()), ("batch:progress:holiday", "invalidate"));
/// # Ok::<(), batchcast_wire::IdError>(())
/// ```
pub fn invalidate(settings: Settings<'_>, batch: &BatchId) -> Call {
    let channel = keys::channel(settings.prefix, batch);
    let args = ["invalidate", "0", "0", "0", "0", "0", &channel, &message::invalidate(), "", ""];
    Call { key: keys::hash(settings.prefix, batch), args: args.map(String::from).to_vec() }
}

fn call(settings: Settings<'_>, mode: Mode, changes: &Changes, message: String) -> Result<Call, StateError> {
    changes.check()?;
    let (head, batch) = (&changes.head, changes.batch_id());
    let name = match mode {
        Mode::Changes => "changes",
        Mode::Full => "full",
        Mode::Fill => "fill",
    };
    let mut args = vec![
        name.to_owned(),
        head.position.epoch().to_string(),
        head.position.version().to_string(),
        changes.since.map_or(0, crate::Position::version).to_string(),
        u8::from(head.status.is_terminal()).to_string(),
        settings.ttl_secs.clamp(1, MAX_TTL_SECS).to_string(),
        keys::channel(settings.prefix, batch),
        message,
        head.to_json(),
        changes.owner.clone().unwrap_or_default(),
    ];
    for photo in &changes.photos {
        args.push(field::photo(&photo.photo_id));
        args.push(photo.to_json()?);
    }
    Ok(Call { key: keys::hash(settings.prefix, batch), args })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchStatus, PhotoStatus,
        state::tests::{head, photo},
    };

    /// Pinned: workers in other languages pass the same arguments.
    #[test]
    fn the_order_of_the_arguments_is_unchanged() {
        let changes = Changes {
            since: "1795389030082-41".parse().ok(),
            head: head(42, BatchStatus::Completed, [0, 0, 1, 0]),
            photos: vec![photo("a", PhotoStatus::Completed, 42)],
            owner: Some("user-1".into()),
        };
        let call = update(Settings { prefix: "eu:", ttl_secs: 60 }, &changes, 7).unwrap();
        assert_eq!(call.key, "eu:batch:progress:batch-123");
        assert_eq!(call.args[..7], ["changes", "1795389030082", "42", "41", "1", "60", "eu:batch:batch-123"]);
        assert!(call.args[7].starts_with(r#"{"v":1,"type":"changes""#));
        assert!(call.args[8].starts_with(r#"{"v":1,"batchId":"batch-123""#));
        assert_eq!(call.args[9..], ["user-1", "photo:a", r#"{"photoId":"a","status":"COMPLETED","version":42}"#]);
    }

    #[test]
    fn what_breaks_a_rule_is_not_sent() {
        let settings = Settings { prefix: "", ttl_secs: 60 };
        let mut changes =
            Changes { since: None, head: head(42, BatchStatus::Completed, [1, 0, 1, 0]), photos: vec![], owner: None };
        assert!(matches!(update(settings, &changes, 7), Err(StateError::Terminal { .. })));
        changes.head.status = BatchStatus::Processing;
        changes.owner = Some("x".repeat(300));
        assert_eq!(update(settings, &changes, 7), Err(StateError::Owner(300)));
    }
}
