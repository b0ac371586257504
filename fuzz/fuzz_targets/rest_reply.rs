//! See `batchcast_fuzz::rest_reply`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| batchcast_fuzz::rest_reply(data));
