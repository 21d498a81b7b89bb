//! See `fuzz::verifier`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::verifier(bytes));
