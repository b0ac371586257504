//! See `batchcast_fuzz::image`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::image(data));
