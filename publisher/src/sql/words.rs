//! How statuses are spelled in a row: as on the wire.

use wire::{BatchStatus, PhotoStatus};

/// The statuses of a batch.
pub(super) const BATCH: [(&str, BatchStatus); 6] = [
    ("QUEUED", BatchStatus::Queued),
    ("PROCESSING", BatchStatus::Processing),
    ("COMPLETED", BatchStatus::Completed),
    ("PARTIAL", BatchStatus::Partial),
    ("FAILED", BatchStatus::Failed),
    ("CANCELLED", BatchStatus::Cancelled),
];

/// The statuses of a photo.
pub(super) const PHOTO: [(&str, PhotoStatus); 4] = [
    ("QUEUED", PhotoStatus::Queued),
    ("PROCESSING", PhotoStatus::Processing),
    ("COMPLETED", PhotoStatus::Completed),
    ("FAILED", PhotoStatus::Failed),
];

/// The status that a word means.
pub(super) fn read<T: Copy>(words: &[(&'static str, T)], word: &str) -> Option<T> {
    words.iter().find(|(spelled, _)| *spelled == word).map(|(_, status)| *status)
}

/// The word for a status.
pub(super) fn write<T: Copy + PartialEq>(words: &[(&'static str, T)], status: T) -> &'static str {
    words.iter().find(|(_, meant)| *meant == status).map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_spelled_as_on_the_wire() {
        for (word, status) in BATCH {
            assert_eq!(serde_json::to_value(status).unwrap(), word);
        }
        for (word, status) in PHOTO {
            assert_eq!(serde_json::to_value(status).unwrap(), word);
            assert_eq!((read(&PHOTO, word), write(&PHOTO, status)), (Some(status), word));
        }
        assert_eq!(read(&BATCH, "queued"), None);
    }
}
