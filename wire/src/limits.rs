//! The bounds of everything that enters, each with its reason. A larger value is refused with a clear error, never
//! cut short.

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

/// Bytes of `KEY_PREFIX`: it is part of every key, channel and message of a subscription.
pub const MAX_PREFIX_BYTES: usize = 64;

/// Messages kept while the hash is being read; on overflow it is read again.
pub const MAX_HELD_MESSAGES: usize = 64;
