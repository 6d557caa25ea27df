//! Every example runs to its end: what it shows, it asserts. Each says so in a test of its own, which is run here; the
//! first one, `dog_school.rs`, is run by the crate docs.

#[path = "../../examples/dog_school_plain.rs"]
mod dog_school_plain;
#[path = "../../examples/dog_school_pure.rs"]
mod dog_school_pure;

#[test]
fn all_of_them_are_run() {
    let tests: String = folder("tests/it").map(|(_, text)| text).collect();
    for (name, _) in folder("examples") {
        let path = format!("#[path = \"../../examples/{name}\"]\nmod ");
        assert!(
            name == "dog_school.rs" || tests.contains(&path),
            "{name} is not run here"
        );
    }
}

/// Names and texts of the sources in a folder of this crate.
#[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
fn folder(name: &str) -> impl Iterator<Item = (String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_dir(folder).unwrap().filter_map(|file| {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).ok()?;
        Some((file.file_name().into_string().unwrap(), text))
    })
}
