//! The bounds of everything that enters, each with its reason. A larger value is refused with a clear error, never
//! cut short.
//!
//! ```
//! use batchcast_wire::limits::{MAX_FILE_BYTES, MAX_PHOTOS};
//!
//! // Asked before anything is sent, so that nobody waits for an upload that will be refused.
//! let fits = |sizes: &[u64]| sizes.len() <= MAX_PHOTOS && sizes.iter().all(|bytes| *bytes <= MAX_FILE_BYTES);
//! assert!(fits(&[4_000_000, 7_500_000]) && !fits(&[1 << 30]));
//! ```

/// Bytes of a batch or photo id: long enough for a UUID or a ULID with a prefix.
pub const MAX_ID_BYTES: usize = 64;

/// Largest epoch and version: the integers that JavaScript and Lua hold exactly (RFC 8259, section 6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Bytes of one photo as JSON. A result is a description, not the photo.
pub const MAX_PHOTO_BYTES: usize = 4 * 1024;

/// Photos of one batch.
pub const MAX_PHOTOS: usize = 10_000;

/// Bytes of a whole state as JSON: what a room keeps in memory and a first event carries.
pub const MAX_STATE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a channel message. A change that would be larger is announced as a nudge (`"photos": null`), and readers
/// fetch the hash.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Bytes of `updatedAt`: an RFC 3339 date-time with nanoseconds and offset has 35.
pub const MAX_UPDATED_AT_BYTES: usize = 40;

/// Bytes of `owner`, the application's user id.
pub const MAX_OWNER_BYTES: usize = 256;

/// Seconds for which a batch is kept at most, a hundred years: Redis refuses what goes beyond the end of its clock, and
/// would by then have done half of an update.
pub const MAX_TTL_SECS: u64 = 100 * 365 * 24 * 60 * 60;

/// Bytes of `KEY_PREFIX`: it is part of every key, channel and message of a subscription.
pub const MAX_PREFIX_BYTES: usize = 64;

/// Messages kept while the hash is being read; on overflow it is read again.
pub const MAX_HELD_MESSAGES: usize = 64;

/// Viewers of one batch: more than one object writes to within a second (`MAX_VIEWERS` sets another number).
pub const MAX_VIEWERS: usize = 10_000;

/// Viewers of one batch by one user: many tabs on many devices, and far from [`MAX_VIEWERS`] (`MAX_VIEWERS_PER_USER`
/// sets another number).
pub const MAX_VIEWERS_PER_USER: usize = 100;

/// Seconds over which opens and reads are counted: one of the two periods that the runtime's rate limits have.
pub const RATE_PERIOD_SECS: u64 = 10;

/// Streams that one user, or one address without a token, opens in [`RATE_PERIOD_SECS`]: ten a second.
pub const MAX_OPENS: u32 = 100;

/// Reads and tickets of one user, or one address without a token, in [`RATE_PERIOD_SECS`].
pub const MAX_READS: u32 = 300;

/// Bytes of a request's URL: every address here is shorter than 200, and a ticket than 1 KiB.
pub const MAX_URL_BYTES: usize = 4 * 1024;

/// Bytes of a request's headers, names and values: room for a token and for an application's own cookies.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Bytes of a token or ticket: what browsers keep as one cookie (RFC 6265, section 6.1).
pub const MAX_TOKEN_BYTES: usize = 4 * 1024;

/// Bytes of a key set (JWKS).
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// Keys of a key set that are looked at.
pub const MAX_KEYS: usize = 32;

/// Keys that are tried for one token: one that names none costs no more than a few checks.
pub const MAX_CANDIDATE_KEYS: usize = 4;

/// Bytes of an answer of Redis over HTTP: the largest state, each of its bytes escaped, with some room.
pub const MAX_REPLY_BYTES: usize = 3 * MAX_STATE_BYTES;

/// Bytes of one upload with all its files.
pub const MAX_UPLOAD_BYTES: u64 = 512 * 1024 * 1024;

/// Bytes of one uploaded file: three times a large JPEG of today's phones.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Files of one upload: each is open until the form has ended. Larger batches are declared, and may have
/// [`MAX_PHOTOS`].
pub const MAX_UPLOAD_FILES: usize = 100;

/// Bytes of a declaration of photos: [`MAX_PHOTOS`] with long names.
pub const MAX_DECLARATION_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a photo's name.
pub const MAX_NAME_BYTES: usize = 255;

/// Pixels of a photo: more than any camera of today takes. While so many are decoded they take 300 to 900 MB of memory, by
/// format.
pub const MAX_PIXELS: u64 = 100_000_000;
