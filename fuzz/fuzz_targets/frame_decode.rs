//! Lets the fuzzer call `annals_tests::fuzz::frame_decode`, where the promise stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals_tests::fuzz::frame_decode(bytes));
