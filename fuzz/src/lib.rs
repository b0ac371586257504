//! What must hold for any bytes that come from outside: one function a decoder, which panics where it does not.
//!
//! In scope: the properties, and `corpus/`, inputs that are worth trying again. Each function runs in two ways: under
//! libFuzzer, which looks for new inputs (`cargo xtask fuzz`, by the programs of `fuzz_targets/`), and on stable, where
//! `tests/corpus.rs` replays the corpus and mutations of it with the other tests.
//! Inputs of the corpus with a name in words were written by hand; those with a number for a name were found by the
//! fuzzer, and reach code that the others do not.
//! Out of scope: what a decoder says of a particular input; that is told by the tests beside it.
//!
//! One package of the workspace, so that the fuzzer tries what `Cargo.lock` names. Only its feature `libfuzzer` needs
//! more than a stable compiler.
#![expect(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

mod checks;
mod event_stream;
mod message;
#[cfg(feature = "photos")]
mod photo;
mod position;
mod resp2;
mod rest_reply;
mod rest_request;
mod state;
mod token;

pub use event_stream::event_stream;
pub use message::message;
#[cfg(feature = "photos")]
pub use photo::{image, name};
pub use position::position;
pub use rest_reply::rest_reply;
pub use rest_request::rest_request;
pub use state::state;
pub use token::token;
