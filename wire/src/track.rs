//! `track.lua`: counting a batch that has no database behind it, the arguments it takes and what it answers.

use std::collections::BTreeSet;

use crate::{
    BatchId, Cause, Head, Photo, PhotoId, StateError, keys,
    limits::{MAX_INTEGER, MAX_OWNER_BYTES, MAX_PHOTOS, MAX_TTL_SECS, MAX_UPDATED_AT_BYTES},
    script::Call,
};

/// The script. It counts, derives status and end, writes, expires and publishes; it never decodes JSON.
pub const TRACK_LUA: &str = include_str!("track.lua");

/// What every call says: of which batch, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// What stands before each name (`KEY_PREFIX`).
    pub prefix: &'a str,
    /// Which batch.
    pub batch: &'a BatchId,
    /// When this attempt is made, anew for each: the version follows from it, the message's `at`, and the epoch that
    /// begins with it, if one does.
    pub cause: Cause,
    /// The same for people, RFC 3339.
    pub updated_at: &'a str,
}

/// What the script did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It changed the batch: written and announced.
    Counted,
    /// Nothing changed: it was so already, or further.
    Already,
    /// Nothing changed: the batch has ended, and stays as it is; or it was opened again since the work began that failed.
    Ended,
    /// Redis holds no such batch.
    Unknown,
    /// Redis holds a batch that this script does not count, or that somebody else has written since.
    Untracked,
    /// The photo was not declared.
    UnknownPhoto,
    /// With these there would be more photos than a batch may have.
    TooMany,
    /// With this the state would be larger than it may be.
    TooLarge,
    /// There is no position after the stored one.
    Last,
}

impl Reply {
    /// Reads the first element of the script's reply.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "counted" => Self::Counted,
            "already" => Self::Already,
            "ended" => Self::Ended,
            "unknown" => Self::Unknown,
            "untracked" => Self::Untracked,
            "unknown-photo" => Self::UnknownPhoto,
            "too-many" => Self::TooMany,
            "too-large" => Self::TooLarge,
            "last" => Self::Last,
            _ => return None,
        })
    }
}

/// The script's whole reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it did.
    pub reply: Reply,
    /// Something that was no batch stood under the key and was overwritten.
    pub replaced: bool,
    /// The batch as it now stands; `None` where Redis holds none that is counted.
    pub head: Option<Head>,
}

impl Answer {
    /// Reads the three elements of the script's reply; `None`: they are none that it gives.
    pub fn read(reply: &str, replaced: i64, head: &[u8]) -> Option<Self> {
        let reply = Reply::parse(reply)?;
        let head = if head.is_empty() { None } else { Some(Head::from_json(head).ok()?) };
        Some(Self { reply, replaced: replaced == 1, head })
    }
}

/// A call that declares photos of a batch, as queued; the batch with them where Redis holds none. Each counts once,
/// however often it is named. `owner`: `None` keeps the one stored.
///
/// # Errors
/// The first rule that is broken: too many photos, or too long an owner.
pub fn declare<'a>(
    context: Context<'_>,
    ttl_secs: u64,
    owner: Option<&str>,
    photos: impl IntoIterator<Item = &'a PhotoId>,
) -> Result<Call, StateError> {
    let owner = owner.unwrap_or_default();
    if owner.len() > MAX_OWNER_BYTES {
        return Err(StateError::Owner(owner.len()));
    }
    let photos: BTreeSet<&PhotoId> = photos.into_iter().collect();
    if photos.len() > MAX_PHOTOS {
        return Err(StateError::TooManyPhotos(photos.len()));
    }
    let more = [ttl_secs.clamp(1, MAX_TTL_SECS).to_string(), owner.to_owned()];
    call(context, "declare", more.into_iter().chain(photos.into_iter().map(|id| id.as_str().to_owned())))
}

/// A call that raises a photo to its status, with its result or its error. Its version is not looked at: the script gives
/// one. `began`: the epoch in which the work began, where that is known: a failure of work from before a reopen is late,
/// and answered [`Reply::Ended`].
///
/// # Errors
/// [`StateError::PhotoTooLarge`], counted with the longest version.
pub fn photo(context: Context<'_>, photo: &Photo, began: Option<u64>) -> Result<Call, StateError> {
    let photo = Photo { version: MAX_INTEGER, ..photo.clone() };
    let (whole, bare) = (photo.to_json()?, Photo::new(photo.photo_id.clone(), photo.status, MAX_INTEGER).to_json()?);
    // Both end with the closing brace, which the script sets.
    let tail = &whole[bare.len() - 1..whole.len() - 1];
    let status = serde_json::to_value(photo.status).ok().and_then(|status| status.as_str().map(str::to_owned));
    let began = began.map(|epoch| epoch.to_string()).unwrap_or_default();
    call(context, "photo", [photo.photo_id.to_string(), status.unwrap_or_default(), tail.to_owned(), began])
}

/// A call that ends an open batch as cancelled.
///
/// # Errors
/// When the context breaks a rule.
pub fn cancel(context: Context<'_>) -> Result<Call, StateError> {
    call(context, "cancel", [])
}

/// A call that opens an ended batch again, in a new epoch: what is not completed is queued.
///
/// # Errors
/// When the context breaks a rule.
pub fn reopen(context: Context<'_>) -> Result<Call, StateError> {
    call(context, "reopen", [])
}

fn call(context: Context<'_>, mode: &str, more: impl IntoIterator<Item = String>) -> Result<Call, StateError> {
    let Context { prefix, batch, cause, updated_at } = context;
    if updated_at.len() > MAX_UPDATED_AT_BYTES {
        return Err(StateError::UpdatedAt(updated_at.len()));
    }
    let mut args = vec![
        mode.to_owned(),
        cause.at.min(MAX_INTEGER).to_string(),
        updated_at.to_owned(),
        keys::channel(prefix, batch),
        batch.to_string(),
        cause.trace.map(|trace| trace.to_string()).unwrap_or_default(),
    ];
    args.extend(more);
    Ok(Call { key: keys::hash(prefix, batch), args })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Json, PhotoStatus,
        limits::{MAX_MESSAGE_BYTES, MAX_PHOTO_BYTES, MAX_STATE_BYTES},
        state::tests::{head, photo as bare},
    };

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn args(make: impl FnOnce(Context<'_>) -> Result<Call, StateError>) -> Vec<String> {
        let batch = BatchId::new("batch-123").unwrap();
        let cause = Cause { at: 1_795_389_030_100, trace: TRACE.parse().ok() };
        let updated_at = "2026-11-22T23:10:30.100Z";
        let call = make(Context { prefix: "eu:", batch: &batch, cause, updated_at }).unwrap();
        assert_eq!(call.key, "eu:batch:progress:batch-123");
        let common = ["1795389030100", updated_at, "eu:batch:batch-123", "batch-123", TRACE];
        assert_eq!(call.args[1..6], common);
        [&call.args[..1], &call.args[6..]].concat()
    }

    /// Pinned: workers in other languages pass the same arguments.
    #[test]
    fn the_order_of_the_arguments_is_unchanged() {
        let ids = ["b", "a", "b"].map(|id| PhotoId::new(id).unwrap());
        assert_eq!(args(|context| declare(context, 60, Some("user-1"), &ids)), ["declare", "60", "user-1", "a", "b"]);
        assert_eq!(args(|context| declare(context, 0, None, &ids[..1])), ["declare", "1", "", "b"]);
        let started = bare("a", PhotoStatus::Processing, 7);
        assert_eq!(args(|context| photo(context, &started, None)), ["photo", "a", "PROCESSING", "", ""]);
        let done = bare("a", PhotoStatus::Completed, 7).with_result(Json::new(&serde_json::json!({"width": 9})).ok());
        assert_eq!(
            args(|context| photo(context, &done, None)),
            ["photo", "a", "COMPLETED", r#","result":{"width":9}"#, ""]
        );
        let failed = bare("a", PhotoStatus::Failed, 7).with_error("not a \"JPEG\"".to_owned());
        let words = r#","error":"not a \"JPEG\"""#;
        assert_eq!(args(|context| photo(context, &failed, Some(41))), ["photo", "a", "FAILED", words, "41"]);
        assert_eq!(args(cancel), ["cancel"]);
        assert_eq!(args(reopen), ["reopen"]);
    }

    #[test]
    fn what_breaks_a_rule_is_not_sent() {
        let batch = BatchId::new("b").unwrap();
        let context = Context { prefix: "", batch: &batch, cause: 7.into(), updated_at: "" };
        let ids: Vec<PhotoId> = (0..=MAX_PHOTOS).map(|n| PhotoId::new(&format!("p{n}")).unwrap()).collect();
        assert_eq!(declare(context, 9, None, &ids), Err(StateError::TooManyPhotos(MAX_PHOTOS + 1)));
        assert_eq!(declare(context, 9, Some(&"x".repeat(300)), &ids[..1]), Err(StateError::Owner(300)));
        let large = bare("a", PhotoStatus::Failed, 1).with_error("x".repeat(MAX_PHOTO_BYTES));
        assert!(matches!(photo(context, &large, None), Err(StateError::PhotoTooLarge { .. })));
        let late = Context { updated_at: &"x".repeat(41), ..context };
        assert_eq!(cancel(late), Err(StateError::UpdatedAt(41)));
    }

    #[test]
    fn the_script_knows_the_limits_of_this_crate() {
        let limits = format!("= {MAX_INTEGER}, {MAX_PHOTOS}, {MAX_STATE_BYTES}, {MAX_MESSAGE_BYTES}\n");
        assert!(TRACK_LUA.contains(&limits), "{limits}");
        let longest = bare("a", PhotoStatus::Processing, MAX_INTEGER).to_json().unwrap();
        assert!(TRACK_LUA.contains(&format!("#'{}'", longest.replace("\"a\"", "\"\""))), "{longest}");
    }

    #[test]
    fn an_answer_is_read_with_its_head_and_nothing_else_is_one() {
        let head = head(42, crate::BatchStatus::Processing, [1, 0, 1, 0]);
        let answer = Answer { reply: Reply::Counted, replaced: true, head: Some(head.clone()) };
        assert_eq!(Answer::read("counted", 1, head.to_json().as_bytes()), Some(answer));
        let unknown = Answer { reply: Reply::Unknown, replaced: false, head: None };
        assert_eq!(Answer::read("unknown", 0, b""), Some(unknown));
        assert_eq!(Answer::read("applied", 0, b""), None);
        assert_eq!(Answer::read("counted", 0, b"{}"), None);
    }
}
