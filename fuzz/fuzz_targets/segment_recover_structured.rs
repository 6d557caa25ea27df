//! Lets the fuzzer call `annals_tests::fuzz::segment_recover_structured`, where the promise stands.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annals_tests::fuzz::segment_recover_structured(bytes));
