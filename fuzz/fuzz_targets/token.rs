//! See `batchcast_fuzz::token`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::token(data));
