//! How small payloads become: those of a git history, as `annals demo` makes them.
//!
//! Every other event is a sample for the dictionary, the rest is measured: what a dictionary does for events it has
//! never seen. `./test payloads` prints the figures; with `ANNALS_REPO`, also those of the repository there.

use std::path::Path;

use annals::{Compressor, Dictionary, Zlib, Zstd};
use annals_engine::{Direction, Log, Query};
use tempfile::tempdir;

use crate::process::{Ran, annals};

/// Payloads of the demo, in the order of their events.
fn payloads(repo: Option<&Path>) -> Vec<Vec<u8>> {
    let (dir, elsewhere) = (tempdir().unwrap(), tempdir().unwrap());
    let into = dir.path().join("log");
    let mut demo = annals(["demo", "--json", "--into"]);
    demo.arg(&into).current_dir(&elsewhere);
    if let Some(repo) = repo {
        demo.arg("--repo").arg(repo);
    }
    Ran::from(demo.output().unwrap()).code(0);
    let log = Log::open(&into).unwrap();
    let view = log.view();
    view.read(1.., &Query::all(), Direction::Forward)
        .map(|event| event.unwrap().payload().to_vec())
        .collect()
}

/// Bytes that `compressor` makes of the payloads, where it makes them smaller.
fn len(payloads: &[&Vec<u8>], compressor: &dyn Compressor) -> usize {
    let compressed = payloads.iter().map(|plain| {
        let compressed = compressor.compress(plain).unwrap();
        let back = compressor.decompress(&compressed, plain.len()).unwrap();
        assert_eq!(back, **plain);
        compressed.len().min(plain.len())
    });
    compressed.sum()
}

/// Prints the figures, and answers which part of the bytes zstd saves with a dictionary.
fn measure(name: &str, payloads: &[Vec<u8>]) -> f64 {
    let samples: Vec<_> = payloads.iter().step_by(2).collect();
    let measured: Vec<_> = payloads.iter().skip(1).step_by(2).collect();
    let dictionary = Dictionary::train(&samples, DICTIONARY_LEN).unwrap();
    let dictionary_len = dictionary.as_bytes().len();
    let with_dictionary = Zstd::new().dictionary(dictionary.clone());
    let hardest = Zstd::new().level(19).dictionary(dictionary);
    let plain = measured.iter().map(|payload| payload.len()).sum::<usize>();
    let saved = |len: usize| 1.0 - len as f64 / plain as f64;
    let lens: [(&str, usize); 5] = [
        ("plain", plain),
        ("zlib", len(&measured, &Zlib::new())),
        ("zstd", len(&measured, &Zstd::new())),
        ("zstd, level 19, dictionary", len(&measured, &hardest)),
        ("zstd, dictionary", len(&measured, &with_dictionary)),
    ];
    println!(
        "{name}: {} payloads measured, dictionary of {dictionary_len} bytes from {} others",
        measured.len(),
        samples.len()
    );
    for (how, len) in lens {
        let each = len as f64 / measured.len() as f64;
        println!(
            "  {how:<28}{len:>10} bytes {each:>7.1} each {:>6.1} % smaller",
            100.0 * saved(len)
        );
    }
    saved(lens[4].1)
}

#[test]
fn zstd_with_a_dictionary_halves_the_payloads_of_a_git_history() {
    let saved = measure("bundled history", &payloads(None));
    assert!(saved >= 0.5, "{:.1} % saved, expected 50", 100.0 * saved);
    if let Some(repo) = std::env::var_os("ANNALS_REPO") {
        let repo = Path::new(&repo);
        measure(&repo.display().to_string(), &payloads(Some(repo)));
    }
}

const DICTIONARY_LEN: usize = 16 << 10;
