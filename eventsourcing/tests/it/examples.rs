//! Every example runs to its end: what it shows, it asserts. Each says so in a test of its own, which is run where it is
//! made a module of; the first one, `dog_school.rs`, is run by the crate docs.

#[path = "../../examples/bank_accounts.rs"]
mod bank_accounts;
#[path = "../../examples/dog_school_plain.rs"]
mod dog_school_plain;
#[path = "../../examples/dog_school_pure.rs"]
mod dog_school_pure;
#[path = "../../examples/versioned_aggregate.rs"]
mod versioned_aggregate;

#[test]
fn all_of_them_are_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    #[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
    let files = std::fs::read_dir(folder).unwrap();
    for file in files {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            continue;
        }
        let name = file.file_name().into_string().unwrap();
        // What the compiler is told of it may stand in between.
        let module = format!("/examples/{name}\"]\n");
        let is_run = name == "dog_school.rs" || tests().any(|text| text.contains(&module));
        assert!(is_run, "{name} is a module of no test");
    }
}

/// The sources of the tests here.
fn tests() -> impl Iterator<Item = String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    #[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
    let files = std::fs::read_dir(folder).unwrap();
    files.filter_map(|file| {
        #[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
        std::fs::read_to_string(file.unwrap().path()).ok()
    })
}
