//! Lets the fuzzer call `annals_tests::fuzz::aead_open`, where the promise stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals_tests::fuzz::aead_open(bytes));
