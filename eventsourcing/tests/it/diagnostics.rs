//! What the macros say to mistakes, word by word: each message at what it is about, with what to write instead.

#[test]
fn every_mistake_is_told_where_it_is_made() {
    trybuild::TestCases::new().compile_fail("tests/diagnostics/*.rs");
}
