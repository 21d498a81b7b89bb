//! See `fuzz::batch_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::batch_request(bytes));
