//! The examples with views in SQLite, run as they are.

#[path = "../../examples/full_text_search.rs"]
mod full_text_search;
#[path = "../../examples/searchable_timestamps.rs"]
mod searchable_timestamps;

#[test]
fn pages_are_found_by_what_they_say() {
    full_text_search::main().unwrap();
}

#[test]
fn changes_are_found_by_when_they_were() {
    searchable_timestamps::main().unwrap();
}
