//! Names of things: new ids, file names, and where streams and thumbnails are.

use rand::distr::{Alphanumeric, SampleString as _};
use wire::{BatchId, IdError, PhotoId};

/// 62^20 is more than a UUID can tell apart, and photo ids are unique across batches.
const RANDOM_CHARS: usize = 20;

/// A new batch's id.
pub(crate) fn new_batch() -> Result<BatchId, IdError> {
    BatchId::new(&format!("b_{}", random()))
}

/// The ids of the photos of one batch. They sort in the order in which they were given, so that whoever lists photos by
/// id shows them as they were chosen.
#[derive(Debug)]
pub(crate) struct PhotoIds {
    group: String,
    given: u32,
}

impl PhotoIds {
    pub(crate) fn new() -> Self {
        Self { group: random(), given: 0 }
    }

    /// The next photo's id.
    pub(crate) fn give(&mut self) -> Result<PhotoId, IdError> {
        self.given += 1;
        PhotoId::new(&format!("ph_{}_{:05}", self.group, self.given))
    }
}

/// A random name for a file that is being received.
pub(crate) fn random() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), RANDOM_CHARS)
}

/// Where the edge streams a batch.
pub(crate) fn stream_url(batch: &BatchId) -> String {
    format!("/api/batches/{batch}/stream")
}

/// Where a photo's thumbnail is.
pub(crate) fn thumbnail_url(photo: &PhotoId) -> String {
    format!("/api/photos/{photo}/thumbnail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photo_ids_sort_in_the_order_in_which_they_were_given() {
        let mut ids = PhotoIds::new();
        let given: Vec<_> = (0..11).map(|_| ids.give().unwrap()).collect();
        assert!(given.is_sorted());
        assert_ne!(given[0], PhotoIds::new().give().unwrap());
    }
}
