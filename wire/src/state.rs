//! The state of a batch and its invariants, checked where bytes enter.
//!
//! ```
//! use batchcast_wire::{BatchState, StateError};
//!
//! // A cached read, or an origin's answer: what got past this is a batch, whoever sent it.
//! let read = BatchState::from_json(
//!     br#"{"v":1,"batchId":"holiday","position":"7-42","status":"PROCESSING",
//!     "counts":{"total":9,"queued":1,"processing":0,"completed":1,"failed":0}}"#,
//! );
//! assert!(matches!(read, Err(StateError::Counts(counts)) if counts.total == 9));
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{
    BatchId, Changes, Json, PhotoId, Position,
    keys::field,
    limits::{MAX_PHOTO_BYTES, MAX_PHOTOS, MAX_STATE_BYTES, MAX_UPDATED_AT_BYTES},
};

/// The version of the JSON forms in this crate. A reader that meets another one reads the hash, or waits.
pub const FORMAT_VERSION: u64 = 1;

/// How far a batch has come. One more would be another format, so that all may be matched.
///
/// ```
/// use batchcast_wire::BatchStatus;
///
/// let (done, failed, open) = (2, 1, 0); // By a database's counts.
/// let status = match (done, failed, open) {
///     (_, _, 1..) => BatchStatus::Processing,
///     (_, 0, _) => BatchStatus::Completed,
///     (0, _, _) => BatchStatus::Failed,
///     _ => BatchStatus::Partial,
/// };
/// assert_eq!(status, BatchStatus::Partial);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "UPPERCASE")]
pub enum BatchStatus {
    /// Nothing has begun.
    Queued,
    /// Photos are being worked on.
    Processing,
    /// Ended: every photo is done.
    Completed,
    /// Ended: some photos failed, some are done.
    Partial,
    /// Ended: no photo is done.
    Failed,
    /// Ended by a person before its photos did.
    Cancelled,
}

impl BatchStatus {
    /// Whether the batch has ended. Terminal is final within an epoch.
    ///
    /// ```
    /// use batchcast_wire::BatchStatus;
    ///
    /// assert!(BatchStatus::Partial.is_terminal()); // Failed photos can be run again only in a new epoch.
    /// assert!(!BatchStatus::Processing.is_terminal());
    /// ```
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Processing)
    }
}

/// How far a photo has come. One more would be another format, so that all may be matched.
///
/// ```
/// use batchcast_wire::PhotoStatus;
///
/// // In JSON, and so in a database that keeps the same words.
/// assert_eq!(serde_json::to_string(&PhotoStatus::Completed)?, r#""COMPLETED""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "UPPERCASE")]
pub enum PhotoStatus {
    /// Not begun.
    Queued,
    /// Being worked on.
    Processing,
    /// Done.
    Completed,
    /// Given up, with a reason.
    Failed,
}

/// How many photos stand where. The four parts add up to `total`: a fifth would be another format, so that this stays as
/// it is.
///
/// ```
/// use batchcast_wire::Counts;
///
/// let counts = Counts { total: 10, queued: 10, ..Counts::default() }; // All photos declared, none begun.
/// assert_eq!(counts.total - counts.completed - counts.failed, 10);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Counts {
    /// All photos of the batch.
    pub total: u32,
    /// Photos not begun.
    pub queued: u32,
    /// Photos being worked on.
    pub processing: u32,
    /// Photos done.
    pub completed: u32,
    /// Photos given up.
    pub failed: u32,
}

impl Counts {
    fn ended(&self) -> u64 {
        u64::from(self.completed) + u64::from(self.failed)
    }

    fn adds_up(&self) -> bool {
        u64::from(self.queued) + u64::from(self.processing) + self.ended() == u64::from(self.total)
    }
}

/// One photo of a batch.
///
/// ```
/// use batchcast_wire::{Photo, PhotoId, PhotoStatus};
///
/// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Failed, 42).with_error("not a JPEG".to_owned());
/// assert_eq!(photo.to_json()?, r#"{"photoId":"beach","status":"FAILED","version":42,"error":"not a JPEG"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Photo {
    /// Its name within the batch.
    #[cfg_attr(test, ts(type = "string"))]
    pub photo_id: PhotoId,
    /// How far it has come.
    pub status: PhotoStatus,
    /// The batch's version at which this photo last changed.
    #[cfg_attr(test, ts(type = "number"))]
    pub version: u64,
    /// What the application found out, any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional, type = "unknown"))]
    pub result: Option<Json>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub error: Option<String>,
}

impl Photo {
    /// A photo of which no more is known; `version`: the batch's at which it last changed.
    ///
    /// ```
    /// use batchcast_wire::{Photo, PhotoId, PhotoStatus};
    ///
    /// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Processing, 42);
    /// assert!(photo.result.is_none() && photo.error.is_none());
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn new(photo_id: PhotoId, status: PhotoStatus, version: u64) -> Self {
        Self { photo_id, status, version, result: None, error: None }
    }

    /// The same with what the application found out.
    ///
    /// ```
    /// use batchcast_wire::{Json, Photo, PhotoId, PhotoStatus};
    ///
    /// // A row of the database, whose column may be empty.
    /// let column: Option<&str> = Some(r#"{"width":4032}"#);
    /// let result = column.map(serde_json::from_str::<Json>).transpose()?;
    /// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Completed, 42).with_result(result);
    /// assert!(photo.result.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_result(self, result: impl Into<Option<Json>>) -> Self {
        Self { result: result.into(), ..self }
    }

    /// The same with why it failed, in words.
    ///
    /// ```
    /// use batchcast_wire::{Photo, PhotoId, PhotoStatus};
    ///
    /// // People read it on the page: words, and nothing of the machine.
    /// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Failed, 42).with_error("not a JPEG".to_owned());
    /// assert_eq!(photo.error.as_deref(), Some("not a JPEG"));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    #[must_use]
    pub fn with_error(self, error: impl Into<Option<String>>) -> Self {
        Self { error: error.into(), ..self }
    }

    /// The photo as JSON, at most [`MAX_PHOTO_BYTES`].
    ///
    /// ```
    /// use batchcast_wire::{Photo, PhotoId, PhotoStatus, StateError};
    ///
    /// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Failed, 42).with_error("trace ".repeat(1_000));
    /// assert!(matches!(photo.to_json(), Err(StateError::PhotoTooLarge { .. }))); // Where it is made, not at the edge.
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    ///
    /// # Errors
    /// [`StateError::PhotoTooLarge`] names the photo.
    pub fn to_json(&self) -> Result<String, StateError> {
        let json = to_json(self);
        if json.len() > MAX_PHOTO_BYTES {
            return Err(StateError::PhotoTooLarge { photo: self.photo_id.clone(), bytes: json.len() });
        }
        Ok(json)
    }
}

/// A batch without its photos. Its JSON carries `progress`, which is always computed from the counts and never read.
///
/// ```
/// use batchcast_wire::{BatchId, BatchStatus, Counts, Head};
///
/// let counts = Counts { total: 3, queued: 1, completed: 2, ..Counts::default() };
/// let at = "2026-11-22T23:10:30Z";
/// let head = Head::new(BatchId::new("holiday")?, "7-42".parse()?, BatchStatus::Processing, counts, at);
/// assert!(head.to_json().contains(r#""progress":66"#)); // Nobody says it: it follows from the counts.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Head {
    /// The batch.
    pub batch_id: BatchId,
    /// Where this head stands.
    pub position: Position,
    /// How far the batch has come.
    pub status: BatchStatus,
    /// How many photos stand where.
    pub counts: Counts,
    /// When the application last changed the batch: RFC 3339, for people. Readers order by position only.
    pub updated_at: String,
}

impl Head {
    /// A head from its parts, unchecked: see [`Head::check`]. `updated_at` is RFC 3339.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, BatchStatus, Counts, Head};
    ///
    /// let (id, position) = (BatchId::new("holiday")?, "7-1".parse()?);
    /// let counts = Counts { total: 3, queued: 3, ..Counts::default() };
    /// let head = Head::new(id, position, BatchStatus::Queued, counts, "2026-11-22T23:10:30Z");
    /// head.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        batch_id: BatchId,
        position: Position,
        status: BatchStatus,
        counts: Counts,
        updated_at: impl Into<String>,
    ) -> Self {
        Self { batch_id, position, status, counts, updated_at: updated_at.into() }
    }

    /// Per cent of the photos that have ended, rounded down; 0 for an empty open batch, 100 for an ended one.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// assert_eq!(head.progress(), 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress(&self) -> u8 {
        if self.status.is_terminal() {
            return 100;
        }
        let share = (self.counts.ended() * 100).checked_div(u64::from(self.counts.total)).unwrap_or(0);
        u8::try_from(share).unwrap_or(100)
    }

    /// Checks the head against itself: the counts add up, a terminal status agrees with them.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// # let mut head = head;
    /// head.check()?;
    /// head.status = BatchStatus::Completed; // With a photo still queued.
    /// assert!(head.check().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), StateError> {
        let Counts { total, queued, processing, completed, failed } = self.counts;
        if !self.counts.adds_up() {
            return Err(StateError::Counts(self.counts));
        }
        if total as usize > MAX_PHOTOS {
            return Err(StateError::TooManyPhotos(total as usize));
        }
        if self.updated_at.len() > MAX_UPDATED_AT_BYTES {
            return Err(StateError::UpdatedAt(self.updated_at.len()));
        }
        let agrees = match self.status {
            BatchStatus::Queued | BatchStatus::Processing | BatchStatus::Cancelled => true,
            BatchStatus::Completed => completed == total,
            BatchStatus::Partial => queued + processing == 0 && failed > 0 && completed > 0,
            BatchStatus::Failed => queued + processing == 0 && completed == 0,
        };
        if agrees { Ok(()) } else { Err(StateError::Terminal { status: self.status, counts: self.counts }) }
    }

    /// The head as JSON: the hash's field `head` and the data of a `complete` event.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// assert!(head.to_json().starts_with(r#"{"v":1,"batchId":"holiday","position":"7-42","status":"PROCESSING","#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Reads a head.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// // What says where all photos stand without sending one: the field `head`, or a `complete` event's data.
    /// assert_eq!(Head::from_json(head.to_json().as_bytes())?, head);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Not JSON of this form, another `v`, or a head that contradicts itself.
    pub fn from_json(json: &[u8]) -> Result<Self, StateError> {
        Incoming::read(json)?.into_head()
    }
}

/// The fields of a head in their order; `position` stays out of the last `progress` event.
pub(crate) fn head_fields<S: SerializeStruct>(out: &mut S, head: &Head, position: bool) -> Result<(), S::Error> {
    out.serialize_field("v", &FORMAT_VERSION)?;
    out.serialize_field("batchId", &head.batch_id)?;
    if position {
        out.serialize_field("position", &head.position)?;
    }
    out.serialize_field("status", &head.status)?;
    out.serialize_field("progress", &head.progress())?;
    out.serialize_field("counts", &head.counts)?;
    out.serialize_field("updatedAt", &head.updated_at)
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Head", 7)?;
        head_fields(&mut out, self, true)?;
        out.end()
    }
}

/// A head, or a whole state, as it comes in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    #[serde(default)]
    v: u64,
    batch_id: BatchId,
    position: Position,
    status: BatchStatus,
    counts: Counts,
    #[serde(default)]
    updated_at: String,
    #[serde(default)]
    photos: Vec<Photo>,
}

/// Whether JSON names another form than this reader's: then it is read as far as it is understood, and must not be
/// written back in its place.
///
/// ```
/// use batchcast_wire::state;
///
/// // A newer worker's head, in the middle of a deployment: shown as far as it goes, and left where it stands.
/// assert!(state::is_of_another_form(br#"{"v":2,"batchId":"holiday"}"#));
/// assert!(!state::is_of_another_form(br#"{"v":1,"batchId":"holiday"}"#));
/// ```
pub fn is_of_another_form(json: &[u8]) -> bool {
    serde_json::from_slice(json).is_ok_and(|Form { v }| v != FORMAT_VERSION)
}

/// What names the form of a state, whatever else it holds.
#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    v: u64,
}

impl Incoming {
    /// Reads another form as far as it is understood: writers and readers are not replaced in the same moment. An error
    /// names the form where that is why.
    fn read(json: &[u8]) -> Result<Self, StateError> {
        serde_json::from_slice(json).map_err(|error| match serde_json::from_slice(json) {
            Ok(Form { v }) if v != FORMAT_VERSION => StateError::Format(v),
            _ => StateError::Json(without_content(&error)),
        })
    }

    fn into_head(self) -> Result<Head, StateError> {
        let Self { batch_id, position, status, counts, updated_at, .. } = self;
        let head = Head { batch_id, position, status, counts, updated_at };
        head.check().map(|()| head)
    }
}

/// What is wrong, and where, without repeating what stands there: someone else may have written it, and it would be
/// logged.
fn without_content(error: &serde_json::Error) -> String {
    let words = error.to_string();
    if !error.is_data() || words.starts_with("missing field") {
        return words;
    }
    format!("something of another form at line {} column {}", error.line(), error.column())
}

/// Why a state is refused.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// # let mut head = head;
/// # use batchcast_wire::StateError;
/// head.counts.total = 3;
/// match BatchState::new(head, []) {
///     // Two reads of the database, maybe, with a commit between them: read both in one transaction.
///     Err(error @ StateError::Counts(_)) => assert!(error.to_string().starts_with("counts do not add up")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not JSON, or a field is missing or of another type.
    #[error("not a batch state: {0}")]
    Json(String),
    /// A newer or older form (0: it names none), of which not enough is understood.
    #[error(
        "the state has format v={0}, of which this reader, which knows v={FORMAT_VERSION}, does not understand enough"
    )]
    Format(u64),
    /// The parts are not the whole.
    #[error("counts do not add up to total: {0:?}")]
    Counts(Counts),
    /// A terminal status that the counts contradict.
    #[error("status {status:?} contradicts the counts {counts:?}")]
    Terminal {
        /// The status given.
        status: BatchStatus,
        /// The counts given.
        counts: Counts,
    },
    /// A photo that claims to have changed after its batch.
    #[error("photo {photo} has version {version}, after its batch's {batch}")]
    PhotoVersion {
        /// The photo.
        photo: PhotoId,
        /// What it claims.
        version: u64,
        /// Where its batch stands.
        batch: u64,
    },
    /// More bytes than [`MAX_PHOTO_BYTES`].
    #[error("photo {photo} takes {bytes} bytes as JSON; the limit is {MAX_PHOTO_BYTES}: shorten its result")]
    PhotoTooLarge {
        /// The photo.
        photo: PhotoId,
        /// Its size.
        bytes: usize,
    },
    /// More than [`MAX_PHOTOS`], or more photos than `total`.
    #[error("{0} photos; the limit is the batch's total, and {MAX_PHOTOS}")]
    TooManyPhotos(usize),
    /// More bytes than [`MAX_STATE_BYTES`].
    #[error("the state takes {0} bytes as JSON; the limit is {MAX_STATE_BYTES}")]
    TooLarge(usize),
    /// `updatedAt` is longer than a date-time can be.
    #[error("updatedAt takes {0} bytes; an RFC 3339 date-time has at most {MAX_UPDATED_AT_BYTES}")]
    UpdatedAt(usize),
    /// `owner` is longer than a user id may be.
    #[error("owner takes {0} bytes; the limit is {max}", max = crate::limits::MAX_OWNER_BYTES)]
    Owner(usize),
    /// Within an epoch `total` only grows, and then, and only then, `progress` may fall.
    #[error("the counts go backwards within their epoch: from {before:?} to {after:?}; raise the epoch, or invalidate")]
    Backwards {
        /// The counts known.
        before: Counts,
        /// The counts given.
        after: Counts,
    },
    /// Changes that do not continue this state.
    #[error("changes since {since:?} do not continue a state at {at}")]
    Gap {
        /// What the changes build on.
        since: Option<Position>,
        /// Where the state stands.
        at: Position,
    },
}

/// A whole batch: head and photos, consistent in itself.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// let state = BatchState::new(head, [photo("beach", 41), photo("dunes", 42)])?;
/// let missed = state.changes_since(Some("7-41".parse()?));
/// assert_eq!(missed.photos.iter().map(|photo| photo.photo_id.as_str()).collect::<Vec<_>>(), ["dunes"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchState {
    head: Head,
    photos: BTreeMap<PhotoId, Photo>,
    /// The same photos by the version at which they last changed: `changes_since` costs what it returns.
    by_version: BTreeSet<(u64, PhotoId)>,
    /// Bytes of all photos as JSON.
    photo_bytes: usize,
}

/// A batch as its hash holds it.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// let head = head.to_json();
/// let hash = [("head", head.as_str()), ("owner", "anna"), ("photo:beach", "?")]; // HGETALL
/// let stored = BatchState::from_hash(&BatchId::new("holiday")?, hash)?.ok_or("nothing is stored")?;
/// assert_eq!((stored.owner.as_deref(), stored.unreadable), (Some("anna"), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stored {
    /// The state; shared, because many readers are answered from one read.
    pub state: Arc<BatchState>,
    /// The application's user id; never sent to a viewer.
    pub owner: Option<String>,
    /// What was not understood: photos left out (too large, another form), and a head of another form, read as far as
    /// it goes.
    pub unreadable: usize,
}

impl Stored {
    /// A batch from elsewhere (an origin, say), all of which was understood.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let answered = BatchState::new(head, [photo("beach", 42)])?;
    /// let stored = Stored::new(answered, "anna".to_owned());
    /// assert_eq!((stored.owner.as_deref(), stored.unreadable), (Some("anna"), 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(state: impl Into<Arc<BatchState>>, owner: impl Into<Option<String>>) -> Self {
        Self { state: state.into(), owner: owner.into(), unreadable: 0 }
    }
}

/// What changed in a batch since a position.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// let state = BatchState::new(head, [photo("beach", 41)])?;
/// let delta = state.changes_since(Some("6-99".parse()?)); // From before the batch was opened again.
/// assert!(delta.full); // So a page throws away what it has, and shows these.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Delta<'a> {
    /// Whether `photos` is all of them.
    pub full: bool,
    /// The photos, by id.
    pub photos: Vec<&'a Photo>,
}

impl BatchState {
    /// A state from its parts. A photo named twice counts once, with its greater version.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head.clone(), [photo("beach", 42)])?;
    /// assert_eq!(state.photos().len(), 1); // The other one is queued, and need not be named.
    /// assert!(BatchState::new(head, [photo("beach", 43)]).is_err()); // Newer than its batch.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn new(head: Head, photos: impl IntoIterator<Item = Photo>) -> Result<Self, StateError> {
        let photos: Vec<Photo> = photos.into_iter().collect();
        let mut state =
            Self { head: head.clone(), photos: BTreeMap::new(), by_version: BTreeSet::new(), photo_bytes: 0 };
        state.replace(head, photos).map(|()| state)
    }

    /// Reads the JSON body of a cached read or of the origin's answer.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [photo("beach", 42)])?;
    /// let body = state.to_json();
    /// assert_eq!(BatchState::from_json(body.as_bytes())?, state);
    /// assert!(BatchState::from_json(&body.as_bytes()[1..]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Not JSON of this form (of another `v`: nor one that is understood), too large, or a state that contradicts itself.
    pub fn from_json(json: &[u8]) -> Result<Self, StateError> {
        let mut incoming = Incoming::read(json)?;
        let photos = std::mem::take(&mut incoming.photos);
        Self::new(incoming.into_head()?, photos)
    }

    /// Reads the fields of a batch's hash as far as they are understood. No `head` field: nothing is stored.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let id = BatchId::new("holiday")?;
    /// assert!(BatchState::from_hash(&id, [])?.is_none()); // Redis answers so for what it does not know.
    /// let head = head.to_json();
    /// assert!(BatchState::from_hash(&id, [("head", head.as_str())])?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A head that can't be read or contradicts itself, or one that is not the batch's.
    pub fn from_hash<'a>(
        batch: &BatchId,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Stored>, StateError> {
        let (mut head, mut owner, mut photos, mut unreadable) = (None, None, Vec::new(), 0);
        for (name, value) in fields {
            match name {
                field::HEAD => {
                    let incoming = Incoming::read(value.as_bytes())?;
                    unreadable += usize::from(incoming.v != FORMAT_VERSION);
                    head = Some(incoming.into_head()?);
                }
                field::OWNER => owner = Some(value.to_owned()),
                _ if name.starts_with(field::PHOTO_PREFIX) => match serde_json::from_str::<Photo>(value) {
                    Ok(photo) if value.len() <= MAX_PHOTO_BYTES => photos.push(photo),
                    _ => unreadable += 1,
                },
                _ => {}
            }
        }
        let Some(head) = head else { return Ok(None) };
        if head.batch_id != *batch {
            return Err(StateError::Json("the head is that of another batch".to_owned()));
        }
        let state = Arc::new(Self::new(head, photos)?);
        Ok(Some(Stored { state, owner, unreadable }))
    }

    /// The head.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [])?;
    /// assert_eq!(state.head().counts.completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Where the state stands.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [])?;
    /// let etag = format!("\"{}\"", state.position());
    /// assert_eq!(etag, "\"7-42\"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// Whether the batch has ended.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [])?;
    /// assert!(!state.is_terminal()); // Something is still to come: keep the stream open.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_terminal(&self) -> bool {
        self.head.status.is_terminal()
    }

    /// The photos, by id.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [photo("dunes", 41), photo("beach", 42)])?;
    /// assert_eq!(state.photos().map(|photo| photo.photo_id.as_str()).collect::<Vec<_>>(), ["beach", "dunes"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn photos(&self) -> impl ExactSizeIterator<Item = &Photo> {
        self.photos.values()
    }

    /// What a reader at `since` is missing: the photos changed after it. Everything for a reader that has nothing
    /// (`None`), stands in another epoch, or claims a position that this state has not reached.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// let state = BatchState::new(head, [photo("beach", 41), photo("dunes", 42)])?;
    /// assert_eq!(state.changes_since(None).photos.len(), 2); // A new viewer.
    /// assert_eq!(state.changes_since(Some("7-41".parse()?)).photos.len(), 1); // One that missed the last update.
    /// assert_eq!(state.changes_since(Some("7-42".parse()?)).photos.len(), 0); // One that has everything.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes_since(&self, since: Option<Position>) -> Delta<'_> {
        let known = since.filter(|p| p.epoch() == self.position().epoch() && *p <= self.position());
        let Some(since) = known else {
            return Delta { full: true, photos: self.photos.values().collect() };
        };
        let mut photos: Vec<&Photo> = (self.by_version.iter().rev())
            .take_while(|(version, _)| *version > since.version())
            .filter_map(|(_, id)| self.photos.get(id))
            .collect();
        photos.sort_unstable_by(|a, b| a.photo_id.cmp(&b.photo_id));
        Delta { full: false, photos }
    }

    /// Merges changes that continue this state (same epoch, built on a version it has, and newer).
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// # use batchcast_wire::Changes;
    /// let mut state = BatchState::new(head.clone(), [photo("beach", 42)])?;
    /// let next = Head::new(head.batch_id, "7-43".parse()?, head.status, head.counts, head.updated_at);
    /// state.apply(Changes::new(Some("7-42".parse()?), next, vec![photo("beach", 43)]))?;
    /// assert_eq!(state.position(), "7-43".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StateError::Gap`] when they do not continue it, or the invariant that the result would break. After an error
    /// the state is what it was.
    pub fn apply(&mut self, changes: Changes) -> Result<(), StateError> {
        let at = self.position();
        let continues = changes.since.is_none_or(|since| since <= at && since.epoch() == at.epoch());
        if !continues || changes.head.position <= at || changes.head.position.epoch() != at.epoch() {
            return Err(StateError::Gap { since: changes.since, at });
        }
        let (before, after) = (&self.head, &changes.head);
        let grown = after.counts.total > before.counts.total;
        if after.counts.total < before.counts.total || (after.progress() < before.progress() && !grown) {
            return Err(StateError::Backwards { before: before.counts, after: after.counts });
        }
        self.replace(changes.head, changes.photos)
    }

    /// Puts a head and the photos that changed with it in place of what is there, if the whole stays within the rules.
    fn replace(&mut self, head: Head, photos: Vec<Photo>) -> Result<(), StateError> {
        head.check()?;
        let version = head.position.version();
        let (mut bytes, mut replaced, mut added) = (self.photo_bytes, 0, BTreeSet::new());
        for photo in &photos {
            if photo.version > version {
                return Err(StateError::PhotoVersion {
                    photo: photo.photo_id.clone(),
                    version: photo.version,
                    batch: version,
                });
            }
            bytes += photo.to_json()?.len();
            match self.photos.get(&photo.photo_id) {
                Some(older) => replaced += to_json(older).len(),
                None => drop(added.insert(&photo.photo_id)),
            }
        }
        let count = self.photos.len() + added.len();
        if count > head.counts.total as usize {
            return Err(StateError::TooManyPhotos(count));
        }
        let size = bytes.saturating_sub(replaced);
        if size > MAX_STATE_BYTES {
            return Err(StateError::TooLarge(size));
        }
        self.head = head;
        self.photo_bytes = bytes;
        photos.into_iter().for_each(|photo| self.put(photo));
        Ok(())
    }

    /// Keeps the newer of two versions of a photo; the bytes of both were counted, so the other's are taken off.
    fn put(&mut self, photo: Photo) {
        let known = self.photos.get(&photo.photo_id).map(|known| known.version);
        if known.is_some_and(|version| version > photo.version) {
            self.photo_bytes -= to_json(&photo).len();
            return;
        }
        if let Some(version) = known {
            self.by_version.remove(&(version, photo.photo_id.clone()));
        }
        self.by_version.insert((photo.version, photo.photo_id.clone()));
        if let Some(older) = self.photos.insert(photo.photo_id.clone(), photo) {
            self.photo_bytes -= to_json(&older).len();
        }
    }

    /// The JSON body of a cached read.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// // What an application's own server answers to the edge that asks it for a batch.
    /// let body = BatchState::new(head, [photo("beach", 42)])?.to_json();
    /// assert!(body.ends_with(r#""photos":[{"photoId":"beach","status":"QUEUED","version":42}]}"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// Equal when their heads and photos are: the index follows from them.
impl PartialEq for BatchState {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.photos == other.photos
    }
}

impl Serialize for BatchState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("BatchState", 8)?;
        head_fields(&mut out, &self.head, true)?;
        out.serialize_field("photos", &self.photos.values().collect::<Vec<_>>())?;
        out.end()
    }
}

/// JSON of one of our own types: text keys and finite numbers only, so there is nothing that could fail.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    pub(crate) fn head(version: u64, status: BatchStatus, counts: [u32; 4]) -> Head {
        let [queued, processing, completed, failed] = counts;
        Head {
            batch_id: BatchId::new("batch-123").unwrap(),
            position: Position::new(1_795_389_030_082, version).unwrap(),
            status,
            counts: Counts { total: counts.iter().sum(), queued, processing, completed, failed },
            updated_at: "2026-11-22T23:10:30.082Z".into(),
        }
    }

    pub(crate) fn photo(id: &str, status: PhotoStatus, version: u64) -> Photo {
        Photo { photo_id: PhotoId::new(id).unwrap(), status, version, result: None, error: None }
    }

    /// Pinned: cached reads and open pages already parse this.
    #[test]
    fn the_json_of_a_state_is_unchanged() {
        let mut failed = photo("photo-8", PhotoStatus::Failed, 42);
        failed.error = Some("not a JPEG".into());
        let mut done = photo("photo-7", PhotoStatus::Completed, 41);
        done.result = Some(Json::new(&serde_json::json!({"width": 4032})).unwrap());
        let state = BatchState::new(head(42, BatchStatus::Processing, [4, 2, 5, 1]), [failed, done]).unwrap();
        let json = concat!(
            r#"{"v":1,"batchId":"batch-123","position":"1795389030082-42","status":"PROCESSING","progress":50,"#,
            r#""counts":{"total":12,"queued":4,"processing":2,"completed":5,"failed":1},"#,
            r#""updatedAt":"2026-11-22T23:10:30.082Z","#,
            r#""photos":[{"photoId":"photo-7","status":"COMPLETED","version":41,"result":{"width":4032}},"#,
            r#"{"photoId":"photo-8","status":"FAILED","version":42,"error":"not a JPEG"}]}"#,
        );
        assert_eq!(state.to_json(), json);
        assert_eq!(BatchState::from_json(json.as_bytes()).unwrap(), state);
    }

    #[test]
    fn progress_rounds_down_and_is_100_only_for_all_or_the_end() {
        assert_eq!(head(1, BatchStatus::Queued, [0, 0, 0, 0]).progress(), 0);
        assert_eq!(head(1, BatchStatus::Processing, [1, 0, 199, 0]).progress(), 99);
        assert_eq!(head(1, BatchStatus::Processing, [2, 0, 0, 1]).progress(), 33);
        assert_eq!(head(1, BatchStatus::Cancelled, [5, 0, 0, 0]).progress(), 100);
    }

    #[test]
    fn a_progress_that_came_in_is_never_believed() {
        let lie =
            head(1, BatchStatus::Processing, [1, 0, 1, 0]).to_json().replace("\"progress\":50", "\"progress\":97");
        assert_eq!(Head::from_json(lie.as_bytes()).unwrap().progress(), 50);
    }

    #[test]
    fn counts_add_up_and_a_terminal_status_agrees_with_them() {
        let mut wrong = head(1, BatchStatus::Processing, [1, 1, 1, 1]);
        wrong.counts.total = 5;
        assert!(matches!(wrong.check(), Err(StateError::Counts(_))));
        for (status, counts, ok) in [
            (BatchStatus::Completed, [0, 0, 3, 0], true),
            (BatchStatus::Completed, [0, 0, 2, 1], false),
            (BatchStatus::Completed, [0, 0, 0, 0], true),
            (BatchStatus::Partial, [0, 0, 2, 1], true),
            (BatchStatus::Partial, [0, 0, 3, 0], false),
            (BatchStatus::Partial, [1, 0, 2, 1], false),
            (BatchStatus::Failed, [0, 0, 0, 3], true),
            (BatchStatus::Failed, [0, 0, 1, 3], false),
            (BatchStatus::Cancelled, [3, 1, 0, 0], true),
        ] {
            assert_eq!(head(1, status, counts).check().is_ok(), ok, "{status:?} {counts:?}");
        }
    }

    #[test]
    fn counts_of_a_hostile_head_are_added_without_overflow() {
        let json = r#"{"v":1,"batchId":"b","position":"1-1","status":"PARTIAL","updatedAt":"",
            "counts":{"total":1,"queued":4294967295,"processing":4294967295,"completed":1,"failed":1}}"#;
        assert!(matches!(Head::from_json(json.as_bytes()), Err(StateError::Counts(_))));
    }

    #[test]
    fn photos_past_the_limits_or_the_version_are_refused() {
        let one = || head(5, BatchStatus::Processing, [1, 0, 0, 0]);
        let late = photo("a", PhotoStatus::Queued, 6);
        assert!(matches!(BatchState::new(one(), [late]), Err(StateError::PhotoVersion { .. })));
        let two = [photo("a", PhotoStatus::Queued, 1), photo("b", PhotoStatus::Queued, 1)];
        assert!(matches!(BatchState::new(one(), two), Err(StateError::TooManyPhotos(2))));
        let mut large = photo("a", PhotoStatus::Failed, 1);
        large.error = Some("x".repeat(MAX_PHOTO_BYTES));
        assert!(matches!(BatchState::new(one(), [large]), Err(StateError::PhotoTooLarge { .. })));
    }

    #[test]
    fn changes_that_break_a_rule_leave_the_state_as_it_was() {
        let photos = [photo("a", PhotoStatus::Queued, 1)];
        let mut state = BatchState::new(head(1, BatchStatus::Processing, [1, 0, 0, 0]), photos).unwrap();
        let before = state.clone();
        let photos = vec![photo("a", PhotoStatus::Completed, 2), photo("b", PhotoStatus::Queued, 2)];
        let head = head(2, BatchStatus::Processing, [0, 0, 1, 0]);
        let changes = Changes { since: Some(before.position()), head, photos, owner: None };
        assert_eq!(state.apply(changes), Err(StateError::TooManyPhotos(2)));
        assert_eq!(state, before);
    }

    #[test]
    fn within_an_epoch_progress_falls_only_when_the_batch_grows() {
        let before = BatchState::new(head(1, BatchStatus::Processing, [1, 0, 3, 0]), []).unwrap();
        for (counts, ok) in [([1, 0, 3, 0], true), ([2, 0, 2, 0], false), ([0, 0, 3, 0], false), ([5, 0, 3, 0], true)] {
            let head = head(2, BatchStatus::Processing, counts);
            let changes = Changes { since: Some(before.position()), head, photos: vec![], owner: None };
            assert_eq!(before.clone().apply(changes).is_ok(), ok, "{counts:?}");
        }
    }

    #[test]
    fn a_photo_named_twice_counts_once_with_its_greater_version() {
        let twice = [2, 3, 1].map(|version| photo("a", PhotoStatus::Queued, version));
        let state = BatchState::new(head(3, BatchStatus::Processing, [1, 0, 0, 0]), twice).unwrap();
        assert_eq!(state.photos().map(|p| p.version).collect::<Vec<_>>(), [3]);
        assert_eq!(state.photo_bytes, to_json(&photo("a", PhotoStatus::Queued, 3)).len());
        assert_eq!(state.by_version.len(), 1);
    }

    #[test]
    fn a_hash_is_read_as_far_as_it_is_understood() {
        let id = BatchId::new("batch-123").unwrap();
        let head = head(5, BatchStatus::Processing, [2, 0, 0, 0]).to_json();
        let fields = [
            ("epoch", "7"),
            ("head", head.as_str()),
            ("photo:a", r#"{"photoId":"a","status":"QUEUED","version":1,"fresh":true}"#),
            ("photo:b", r#"{"photoId":"b","status":"DEVELOPING","version":1}"#),
            ("owner", "user-1"),
            ("tomorrow", "x"),
        ];
        let stored = BatchState::from_hash(&id, fields).unwrap().unwrap();
        assert_eq!((stored.state.photos().len(), stored.unreadable, stored.owner.as_deref()), (1, 1, Some("user-1")));
        assert_eq!(BatchState::from_hash(&id, [("epoch", "7")]), Ok(None));
        let other = BatchId::new("other").unwrap();
        assert!(BatchState::from_hash(&other, fields).is_err());
    }

    #[test]
    fn a_head_of_another_form_is_read_if_it_can_be_and_counted() {
        let id = BatchId::new("batch-123").unwrap();
        let head = head(5, BatchStatus::Processing, [2, 0, 0, 0]).to_json();
        for other in ["\"v\":2,\"mood\":\"new\"", "\"v\":0", "\"unnamed\":true"] {
            let other = head.replace("\"v\":1", other);
            let stored = BatchState::from_hash(&id, [("head", other.as_str())]).unwrap().unwrap();
            assert_eq!((stored.state.head().counts.total, stored.unreadable), (2, 1), "{other}");
        }
        let not_understood = head.replace("\"v\":1", "\"v\":2").replace("\"total\":2", "\"sum\":2");
        assert_eq!(BatchState::from_hash(&id, [("head", not_understood.as_str())]), Err(StateError::Format(2)));
        assert!(is_of_another_form(not_understood.as_bytes()) && !is_of_another_form(head.as_bytes()));
        let broken = head.replace("\"total\":2", "\"sum\":2");
        assert!(matches!(BatchState::from_hash(&id, [("head", broken.as_str())]), Err(StateError::Json(_))));
    }

    #[test]
    fn a_reader_elsewhere_gets_everything() {
        let state =
            BatchState::new(head(9, BatchStatus::Processing, [1, 0, 0, 0]), [photo("a", PhotoStatus::Queued, 3)])
                .unwrap();
        let elsewhere = ["1-9", "1795389030082-10", "1795389030083-1"].map(|p| Some(p.parse().unwrap()));
        for since in elsewhere.into_iter().chain([None]) {
            assert!(state.changes_since(since).full, "{since:?}");
        }
        let here = state.changes_since(Some("1795389030082-3".parse().unwrap()));
        assert_eq!(here, Delta { full: false, photos: vec![] });
    }

    /// A batch's history: which photos change at each version.
    fn histories() -> impl Strategy<Value = Vec<Vec<usize>>> {
        vec(vec(0..12_usize, 0..5), 1..20)
    }

    fn at_version(history: &[Vec<usize>], version: usize) -> BatchState {
        let mut last = [None; 12];
        for (before, changed) in history[..version].iter().enumerate() {
            for &photo in changed {
                last[photo] = Some(before as u64 + 1);
            }
        }
        let photos = (last.iter().enumerate())
            .filter_map(|(n, v)| v.map(|v| photo(&format!("p{n}"), PhotoStatus::Processing, v)));
        BatchState::new(head(version as u64, BatchStatus::Processing, [0, 12, 0, 0]), photos).unwrap()
    }

    proptest! {
        #[test]
        fn changes_since_any_position_merge_to_the_state(history in histories(), cut in any::<prop::sample::Index>()) {
            let from = cut.index(history.len());
            let now = at_version(&history, history.len());
            let mut reader = at_version(&history, from);
            let since = reader.position();
            let delta = now.changes_since(Some(since));
            let photos = delta.photos.into_iter().cloned().collect();
            reader.apply(Changes { since: Some(since), head: now.head().clone(), photos, owner: None }).unwrap();
            prop_assert_eq!(reader, now);
        }

        #[test]
        fn a_state_survives_its_json(history in histories()) {
            let state = at_version(&history, history.len());
            prop_assert_eq!(BatchState::from_json(state.to_json().as_bytes()).unwrap(), state);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = BatchState::from_json(&bytes);
        }
    }
}
