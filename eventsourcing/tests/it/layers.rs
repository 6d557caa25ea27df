//! Who may know whom, read from the sources: application -> persistence -> domain, recorders ->
//! persistence, and the engine behind one room.

use std::path::{Path, PathBuf};

const LAYERS: &[&str] = &[
    "application",
    "conformance",
    "dcb",
    "domain",
    "doors",
    "environment",
    "persistence",
    "projection",
    "recorders",
    "testing",
    "system",
];

#[test]
fn each_layer_knows_only_those_below_it() {
    for (layer, known) in [
        ("domain", &["domain"][..]),
        ("persistence", &["persistence", "domain"]),
        ("application", &["application", "persistence", "domain"]),
        ("dcb", &["dcb", "application", "persistence", "domain"]),
        (
            "projection",
            &["projection", "application", "persistence", "domain"],
        ),
        (
            "system",
            &[
                "system",
                "projection",
                "application",
                "persistence",
                "domain",
            ],
        ),
        (
            "environment",
            &[
                "environment",
                "projection",
                "application",
                "recorders",
                "persistence",
                "domain",
            ],
        ),
        ("recorders", &["persistence", "domain"]),
        ("conformance", &["conformance", "persistence", "domain"]),
        (
            "testing",
            &[
                "testing",
                "projection",
                "dcb",
                "application",
                "recorders",
                "persistence",
                "domain",
            ],
        ),
    ] {
        for (file, line) in code_of(layer) {
            // What a macro expands to stands in the program that uses it.
            let line = line.replace("$crate::", "");
            for other in LAYERS.iter().filter(|other| !known.contains(other)) {
                assert!(
                    !line.contains(&format!("crate::{other}")),
                    "{layer} knows {other}: {file:?}: {line}"
                );
            }
            let by_root = line
                .split("crate::")
                .nth(1)
                .is_some_and(|path| path.starts_with(char::is_uppercase));
            assert!(
                !by_root,
                "{layer} takes the way over the root: {file:?}: {line}"
            );
        }
    }
}

#[test]
fn one_room_knows_the_engine() {
    for layer in LAYERS {
        for (file, line) in code_of(layer) {
            let is_door = file.ends_with("recorders/log.rs")
                || file
                    .parent()
                    .is_some_and(|dir| dir.ends_with("recorders/log"));
            assert!(
                is_door || !line.contains("annals_engine"),
                "{file:?}: {line}"
            );
        }
    }
}

/// Lines that are no comments, of `<layer>.rs` and the files below `<layer>/`.
fn code_of(layer: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut lines = Vec::new();
    read_lines(&src.join(layer).with_extension("rs"), &mut lines);
    let dir = src.join(layer);
    if dir.is_dir() {
        read_dir(&dir, &mut lines);
    }
    assert!(!lines.is_empty(), "{layer} has no code");
    lines
}

#[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
fn read_dir(dir: &Path, lines: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_dir(&path, lines),
            false => read_lines(&path, lines),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "sources are read, not a log")]
fn read_lines(path: &Path, lines: &mut Vec<(PathBuf, String)>) {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.extend(code.map(|line| (path.to_owned(), line.to_owned())));
}
