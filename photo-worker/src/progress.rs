//! How far a batch is, from how far its photos are. Plain decisions, no rows.

use wire::{BatchStatus, Counts, PhotoStatus};

/// The counts after one photo moved.
pub(crate) fn moved(mut counts: Counts, from: PhotoStatus, to: PhotoStatus) -> Counts {
    let part = place(&mut counts, from);
    *part = part.saturating_sub(1);
    *place(&mut counts, to) += 1;
    counts
}

fn place(counts: &mut Counts, status: PhotoStatus) -> &mut u32 {
    match status {
        PhotoStatus::Queued => &mut counts.queued,
        PhotoStatus::Processing => &mut counts.processing,
        PhotoStatus::Completed => &mut counts.completed,
        PhotoStatus::Failed => &mut counts.failed,
    }
}

/// The status that follows from the counts of a batch that nobody cancelled.
pub(crate) fn status_of(counts: Counts) -> BatchStatus {
    let Counts { total, queued, processing, completed, failed } = counts;
    if queued == total {
        BatchStatus::Queued
    } else if queued + processing > 0 {
        BatchStatus::Processing
    } else if failed == 0 {
        BatchStatus::Completed
    } else if completed == 0 {
        BatchStatus::Failed
    } else {
        BatchStatus::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts([queued, processing, completed, failed]: [u32; 4]) -> Counts {
        Counts { total: queued + processing + completed + failed, queued, processing, completed, failed }
    }

    #[test]
    fn the_status_follows_from_the_counts() {
        for (parts, status) in [
            ([3, 0, 0, 0], BatchStatus::Queued),
            ([2, 1, 0, 0], BatchStatus::Processing),
            ([2, 0, 1, 0], BatchStatus::Processing),
            ([0, 0, 3, 0], BatchStatus::Completed),
            ([0, 0, 2, 1], BatchStatus::Partial),
            ([0, 0, 0, 3], BatchStatus::Failed),
        ] {
            assert_eq!(status_of(counts(parts)), status, "{parts:?}");
        }
    }

    #[test]
    fn a_move_keeps_the_total() {
        let moved = moved(counts([2, 1, 0, 0]), PhotoStatus::Processing, PhotoStatus::Failed);
        assert_eq!(moved, counts([2, 0, 0, 1]));
    }
}
