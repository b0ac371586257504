//! See `batchcast_fuzz::message`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::message(data));
