//! See `batchcast_fuzz::name`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::name(data));
