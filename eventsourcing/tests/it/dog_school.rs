//! The first program a reader sees. That it runs is shown by the crate docs, of which it is the first example.

const EXAMPLE: &str = include_str!("../../examples/dog_school.rs");
const CRATE_DOCS: &str = include_str!("../../src/lib.rs");

#[test]
fn it_is_at_most_30_lines_of_code() {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = EXAMPLE.lines().filter(is_code).count();
    assert!(lines <= 30, "{lines} lines");
}

#[test]
fn the_crate_docs_begin_with_it() {
    let before: Vec<_> = CRATE_DOCS
        .split("#![doc = include_str!(\"../examples/dog_school.rs\")]")
        .collect();
    assert_eq!(before.len(), 2, "included once");
    assert!(before[0].trim_end().ends_with("//! ```"), "as a code block");
    assert_eq!(before[0].matches("```").count(), 1, "as the first one");
}
