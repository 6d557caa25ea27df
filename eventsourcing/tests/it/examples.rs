//! Every example runs to its end: what it shows, it asserts. Each says so in a test of its own, which is run here; the
//! first one, `dog_school.rs`, is run by the crate docs.

#[path = "../../examples/dog_school_plain.rs"]
mod dog_school_plain;
#[path = "../../examples/dog_school_pure.rs"]
mod dog_school_pure;

#[test]
fn all_of_them_are_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    #[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
    let files = std::fs::read_dir(folder).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = format!("\nmod {};\n", name.trim_end_matches(".rs"));
        assert!(
            name == "dog_school.rs" || include_str!("examples.rs").contains(&module),
            "{name} is not run here"
        );
    }
}
