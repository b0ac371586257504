//! Photos and their names, as they are uploaded.

use photo_worker::fuzzing;

/// The bytes of a photo.
///
/// They are analysed or refused, within the memory that the photo worker grants them.
pub fn image(data: &[u8]) {
    fuzzing::image(data);
}

/// The name that a photo was uploaded under.
pub fn name(data: &[u8]) {
    fuzzing::name(data);
}
