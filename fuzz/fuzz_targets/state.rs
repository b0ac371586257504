//! See `batchcast_fuzz::state`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::state(data));
