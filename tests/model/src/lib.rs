//! The whole path, from an application's commit to viewers' screens, as one deterministic model under random schedules
//! of faults.
//!
//! Real are the parts that decide: `publisher::schedule`, all of `wire` (the arguments of the script, messages, the
//! hash, events, the replica), `hub::Room` and `hub::cache`, and the decoder of `redis-rest`. Modelled is what lies
//! between, each in a file that says what it models and what it leaves out:
//!
//! | file | stands for |
//! |---|---|
//! | `app.rs` | the application's database: the truth, and all that ever was true |
//! | `publisher.rs` | `task.rs`, `job.rs` and `link.rs` of the publisher |
//! | `redis.rs` | Redis' keys and `update.lua`; `script.rs` holds it to the real ones |
//! | `upstream.rs` | pub/sub and the gateway |
//! | `object.rs`, `reads.rs`, `streams.rs` | the hub object: `edge/src/object.rs` and `edge/src/object/` |
//! | `viewer.rs` | an `EventSource` and the page |
//! | `faults.rs` | what goes wrong between them |
//! | `world.rs` | virtual time: whatever takes time is a closure that runs later |
//!
//! A schedule (`acts.rs`) is a list of acts: work, faults, time. Then faults stop (`World::recover`), everyone must show
//! the truth within minutes, and nobody is asked any more. At last one fault is tried alone (`trials.rs`), and must be
//! made good as soon as its own remedy does it.
//!
//! What holds all the time is asserted where it happens:
//! - a viewer's position, and its photos' versions, never fall, and what it shows was true, photo for photo
//!   (`viewer.rs`);
//! - `complete` comes once a connection, at an end, and last;
//! - nothing is written to a stream that is full, and what waits in one is bounded (`object.rs`, `streams.rs`);
//! - a room reads the hash and asks the origin no oftener than it may, and knows no viewer that is gone (`object.rs`,
//!   `acts.rs`); readers are never told less than before (`reads.rs`).
//!
//! ```text
//! cargo test -p batchcast-model                            10,000 schedules
//! PROPTEST_CASES=300000 cargo test -p batchcast-model      more
//! ```
//!
//! A failure prints the shortest schedule that fails, as code; it can be put into `one_schedule` of `schedules.rs`, which
//! tells its story:
//!
//! ```text
//! MODEL_TRACE=1 cargo test -p batchcast-model one_schedule -- --ignored --nocapture
//! ```
//!
//! `proptest` also writes its seed to `tests/model/proptest-regressions/schedules.txt` and tries it first from then on.
//! What was a bug becomes a test with a name in `schedules.rs` instead.

#![cfg(test)]

mod acts;
mod app;
mod faults;
mod object;
mod publisher;
mod reads;
mod redis;
mod schedules;
mod script;
mod streams;
mod trials;
mod upstream;
mod viewer;
mod world;
