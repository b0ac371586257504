//! Life and death of the edge and the photo worker: crashes, panics, limits, leaks.

mod crowd;
mod deaths;
mod heap;
mod native;
mod panics;
mod slow;
mod sockets;
mod streams;
mod traffic;

use crate::row::Row;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            6,
            "photo worker killed (-9) in mid-batch, and between the terminal commit and its publish; restarted",
            "the batch ends and is seen to end; every photo is counted once",
            deaths::photo_worker_killed,
        ),
        Row::new(
            11,
            "20 viewers stop reading while 200 MB of events go by (8 MiB of events of one photo, then events of ten)",
            "workerd's resident memory grows by at most 8 MiB in all (where events of ten photos fill the streams, \
             workerd's own send queues add up to 1 MiB a viewer); when they read on they catch up by merged events; the \
             other viewers notice nothing",
            slow::viewers_stop_reading,
        )
        .alone()
        .deadline_secs(400),
        Row::new(
            17,
            "a panic inside one hub object, others in the same isolate",
            "viewers of all are cut at once, not left silent, and resume; the next request works",
            panics::in_an_object,
        ),
        Row::new(
            18,
            "2,000 streams opened and ended, by either side",
            "no closure, writer or room is left behind; memory is flat",
            streams::opened_and_ended,
        )
        .alone()
        .deadline_secs(400),
        Row::new(
            19,
            "more viewers than the limit; a room that cannot start",
            "`busy` with `retry:` (3 to 7 s at random); a native EventSource comes back by itself",
            crowd::too_many_or_no_room,
        ),
    ]
}
