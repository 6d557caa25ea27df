//! Rules of the house that neither compiler nor lints know.
//!
//! They run over the files of the project as they are on the disk, tracked or not yet. Where a file opens
//! others is no rule here: `clippy.toml` sees to that.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file: beyond them it holds more than one concept.
const LINES_MAX: usize = 1000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every file of the project that is text, with its path from the root.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    assert!(files.len() > 50, "{} files found", files.len());
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_built = ["target", "corpus", "artifacts", "coverage"].contains(&name.as_str());
        let is_hidden = name.starts_with('.') && name != ".ci" && name != ".gitignore";
        if is_built || is_hidden {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() {
            // What is not UTF-8 is a fixture.
            files.extend(
                fs::read_to_string(entry.path())
                    .ok()
                    .map(|text| (path, text)),
            );
        }
    }
}

fn sources() -> impl Iterator<Item = (String, String)> {
    files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"))
}

fn assert_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn every_source_file_opens_by_saying_what_it_is() {
    let is_silent =
        |text: &str| !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(");
    let silent = sources()
        .filter(|(_, text)| is_silent(text))
        .map(|(path, _)| path)
        .collect();
    assert_none(silent, "no `//!` in the first line");
}

#[test]
fn no_source_file_outgrows_its_concept() {
    let lengths = sources().map(|(path, text)| (path, text.lines().count()));
    let long = lengths
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines}"));
    assert_none(long.collect(), "files of more than 1,000 lines");
}

#[test]
fn nothing_is_left_for_later_in_the_source() {
    // Put together, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    assert_none(
        lines_with(&words),
        "finish it, or file it where work is planned",
    );
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/tm", "p/"),
    ];
    assert_none(lines_with(&places), "absolute paths of one machine");
}

fn lines_with(words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files() {
        for (line, number) in text.lines().zip(1..) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn every_page_of_the_book_is_listed_and_its_programs_are_run() {
    let files = files();
    let text = |wanted: &str| {
        let found = files.iter().find(|(path, _)| path == wanted);
        found.map_or("", |(_, text)| text.as_str())
    };
    let (summary, included) = (text("docs/SUMMARY.md"), text("eventsourcing/src/lib.rs"));
    let pages = files.iter().filter_map(|(path, text)| {
        let page = path.strip_prefix("docs/")?;
        (page.ends_with(".md") && page != "SUMMARY.md").then_some((page, text))
    });
    let mut broken = Vec::new();
    for (page, text) in pages {
        if !summary.contains(&format!("]({page})")) {
            broken.push(format!("{page} is not in SUMMARY.md"));
        }
        if text.contains("```rust") && !included.contains(&format!("docs/{page}")) {
            broken.push(format!("the programs of {page} are run by nobody"));
        }
    }
    assert_none(broken, "the book");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let files = files();
    let text = |wanted: &str| {
        let found = files.iter().find(|(path, _)| path == wanted);
        found.map(|(_, text)| text.as_str())
    };
    let mut broken = Vec::new();
    for (path, document) in &files {
        if !path.ends_with(".md") && !path.ends_with("llms.txt") {
            continue;
        }
        let is_elsewhere = |link: &&str| link.contains("://") || link.starts_with("mailto:");
        for link in links(document)
            .into_iter()
            .filter(|link| !is_elsewhere(link))
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                _ => resolved(path, file),
            };
            let is_there = root().join(&target).exists();
            let has_heading = heading.is_empty()
                || text(&target).is_some_and(|text| anchors(text).any(|anchor| anchor == heading));
            if !is_there || !has_heading {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(broken, "links to nothing");
}

/// What Markdown outside of programs links to, and what a page of the book includes.
fn links(document: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for line in prose(document) {
        for (mark, end) in [("](", ')'), ("{{#include ", '}')] {
            let parts = line.split(mark).skip(1);
            links.extend(parts.filter_map(|part| Some(part.split_once(end)?.0)));
        }
    }
    links
}

fn prose(document: &str) -> impl Iterator<Item = &str> {
    let mut is_program = false;
    document.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_program ^= is_fence;
        !is_program && !is_fence
    })
}

/// What headings are called in links: small letters, hyphens for spaces, nothing else but letters, digits, `_`, `-`.
fn anchors(document: &str) -> impl Iterator<Item = String> {
    let headings = prose(document).filter(|line| line.starts_with('#'));
    headings.map(|heading| {
        let title = heading.trim_start_matches('#').trim();
        let kept = title
            .chars()
            .filter(|char| char.is_alphanumeric() || [' ', '_', '-'].contains(char));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    })
}

/// `link` as it stands in the file `from`, from the root of the project.
fn resolved(from: &str, link: &str) -> String {
    let mut folders: Vec<_> = from.split('/').collect();
    folders.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(folders.pop()),
            part => folders.push(part),
        }
    }
    folders.join("/")
}

#[test]
fn every_crate_says_what_it_is_and_follows_the_lints_of_the_workspace() {
    let manifests = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"));
    let mut broken = Vec::new();
    for (path, text) in manifests.filter(|(_, text)| text.contains("[package]")) {
        let is_described = text
            .lines()
            .any(|line| line.starts_with("description = \"") && line.len() > 30);
        // The fuzzer's workspace has targets of one line.
        let follows = text.contains("[lints]\nworkspace = true") || path.starts_with("fuzz/");
        if !is_described || !follows {
            broken.push(path);
        }
    }
    assert_none(broken, "no description, or no `[lints] workspace = true`");
}

#[test]
fn the_test_command_can_be_run() {
    for (path, text) in files() {
        if ["test", ".ci/run"].contains(&path.as_str()) {
            assert!(
                text.starts_with("#!/usr/bin/env bash\n"),
                "{path} has no interpreter"
            );
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = fs::metadata(root().join(&path))
                    .unwrap()
                    .permissions()
                    .mode();
                assert_eq!(mode & 0o111, 0o111, "{path} is not executable");
            }
        }
    }
}

/// In a table of the book whose last column is "held by", what stands there in backticks and is no file is a test, a
/// module of tests or an example.
#[test]
fn what_the_book_says_holds_something_is_there() {
    let files = files();
    let is_there = |name: &str| {
        let function = format!("fn {name}(");
        let module = format!("/{name}.rs");
        let is_conformance = name
            .strip_prefix("conformance::")
            .is_some_and(|name| is_in(&files, &format!("fn {name}")));
        is_conformance
            || files
                .iter()
                .any(|(path, text)| path.ends_with(&module) || text.contains(&function))
            || files.iter().any(|(path, _)| path.ends_with(name))
    };
    let mut missing = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("docs/")) {
        let mut is_held = false;
        for line in text.lines() {
            is_held &= line.starts_with('|');
            let last = line.trim_end_matches('|').rsplit('|').next();
            let last = last.unwrap_or_default().trim();
            is_held |= last == "held by" && line.starts_with('|');
            if is_held {
                let names = last.split('`').skip(1).step_by(2);
                let gone = names.filter(|name| !is_there(name));
                missing.extend(gone.map(|name| format!("{path}: {name}")));
            }
        }
    }
    assert_none(missing, "named in the book, and not there");
}

fn is_in(files: &[(String, String)], words: &str) -> bool {
    files.iter().any(|(_, text)| text.contains(words))
}
