//! See `fuzz::cut_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::cut_json(bytes));
