//! Every seed of every fuzz target, and small changes of each, on the stable toolchain.
//!
//! The fuzzer looks for new inputs; this test keeps what it found, and what was made for it, from
//! breaking again. A crash that was fixed leaves its input in `fuzz/seeds/<target>`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use annals_segments::Random;
use annals_tests::SeededRandom;
use annals_tests::counting_allocator::peak_of;
use annals_tests::fuzz::{TARGETS, Target};

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Name and content of the seeds of a target, in the order of their names.
fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let listed = fs::read_dir(fuzz_dir().join("seeds").join(target.name)).unwrap();
    let paths: BTreeSet<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    paths.into_iter().map(read).collect()
}

/// Runs each seed, then `changes` variants of it that are a function of its place.
fn replay(name: &str, changes: u64) {
    let target = target(name);
    let seeds = seeds(&target);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (place, (path, seed)) in seeds.iter().enumerate() {
        run(&target, path, seed);
        let random = SeededRandom::new(place as u64);
        for change in 0..changes {
            run(
                &target,
                &format!("{path}, change {change}"),
                &changed(seed, &random),
            );
        }
    }
}

/// Runs one input and shows it when it fails: it is to be kept as a seed.
fn run(target: &Target, from: &str, input: &[u8]) {
    struct Shown<'a>(&'a str, &'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: {:?}", self.0, self.1);
            }
        }
    }
    let _shown = Shown(from, input);
    let ((), peak) = peak_of(|| (target.run)(input));
    assert!(peak <= PEAK_MAX, "{peak} bytes are held at once");
}

/// Bytes that any input may make a target hold at once: small logs, several times over.
const PEAK_MAX: usize = 64 << 20;

/// A copy of `seed` with a few bytes changed, cut out, doubled or added.
fn changed(seed: &[u8], random: &SeededRandom) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.next_u64() % 4 {
        let place = (random.next_u64() % (bytes.len() as u64 + 1)) as usize;
        match random.next_u64() % 5 {
            0 => bytes.truncate(place),
            1 => {
                let mut added = [0; 8];
                random.fill(&mut added);
                bytes.splice(place..place, added);
            }
            2 => {
                let end = (place + 8).min(bytes.len());
                bytes.drain(place..end);
            }
            3 => bytes.extend_from_within(place..(place + 64).min(bytes.len())),
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = random.next_u64() as u8;
                }
            }
        }
    }
    bytes
}

#[test]
fn frames_and_records_survive_any_bytes() {
    replay("frame_decode", 400);
}

#[test]
fn a_directory_of_any_bytes_opens_or_is_refused() {
    replay("segment_recover", 100);
}

#[test]
fn what_any_crashes_leave_is_what_was_appended() {
    replay("segment_recover_structured", 40);
}

#[test]
fn snapshots_of_any_bytes_are_shown_as_they_were_put_or_not() {
    replay("snapshot_load", 100);
}

#[test]
fn a_manifest_of_any_bytes_is_used_or_refused() {
    replay("manifest_open", 30);
}

#[test]
fn an_index_of_any_bytes_answers_or_is_refused() {
    replay("index_open_query", 200);
}

#[test]
fn any_sequence_of_calls_answers_as_a_vector_does() {
    replay("api_ops", 20);
}

#[test]
fn compressed_payloads_of_any_bytes_are_bounded() {
    replay("zstd_payload", 100);
}

#[test]
fn encrypted_payloads_that_were_changed_are_never_opened() {
    replay("aead_open", 300);
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let programs: BTreeSet<String> = fs::read_dir(fuzz_dir().join("fuzz_targets"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let names: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(programs, names);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "fuzz/Cargo.toml does not name {name}"
        );
        let source =
            fs::read_to_string(fuzz_dir().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            source.contains(&format!("annals_tests::fuzz::{name}")),
            "{name} runs another body"
        );
    }
}

/// Writes the seeds that are made, beside those that were found. To be run after a change of format:
/// `cargo test -p annals-tests --test it -- --ignored write_seeds`.
#[test]
#[ignore = "writes files; run it after a change of format"]
fn write_seeds() {
    for target in TARGETS {
        let folder = fuzz_dir().join("seeds").join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (name, seed) in (target.seeds)() {
            fs::write(folder.join(name), seed).unwrap();
        }
    }
}
