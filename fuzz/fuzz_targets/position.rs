//! See `batchcast_fuzz::position`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::position(data));
