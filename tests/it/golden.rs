//! T20: a store that an earlier build wrote, kept byte by byte, opens and holds what was appended.
//!
//! `tests/golden/format-N` is the store of format version N. `ANNALS_WRITE_GOLDEN=1` writes that of the current version
//! anew: a deed for a change of the format before its first release, and for nothing else. After a release a
//! changed format gets a folder of its own, and the old ones stay.

use std::fs;
use std::path::{Path, PathBuf};

use annals_engine::RecoveryOutcome;
use annals_segments::format::FORMAT_VERSION;
use annals_tests::harness::driver::{DIR, Draft, Driver, Step};
use annals_tests::invariants::{End, History};
use annals_tests::sim_disk::{Image, SimDisk, Spared};
use annals_tests::small_log;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/format-{FORMAT_VERSION}"))
}

/// What the store holds: every feature of the format once.
fn fill(run: &mut Driver) -> Step {
    run.open()?;
    run.append(Draft::of("a", 40).event(Some("b"), "Tagged", Some("t"), 300))?;
    run.append(Draft::of("a", 10).tracking("up", 7))?;
    for _ in 0..5 {
        run.append(Draft::of("b", 12_000).buffered())?;
    }
    run.follow("reader", Some(2))?;
    run.append(Draft::new().event(None, "Apart", Some("t"), 5))?;
    run.close()
}

/// The history, and the files as they are written today.
fn made() -> (History, Image) {
    let mut driver = Driver::new(20);
    fill(&mut driver).unwrap_or_else(|stop| panic!("{stop:?}"));
    let image = driver.disk.snapshot().power_cut(Spared::Everything);
    (driver.history.clone(), image)
}

fn read() -> Image {
    let mut image = Image::default();
    image.dirs.insert(DIR.into());
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        let path = Path::new(DIR).join(entry.file_name());
        // Zeros at the end are not kept, but for their number.
        let name = entry.file_name().into_string().unwrap();
        let (name, len) = match name.split_once('+') {
            Some((name, zeros)) => (name.to_owned(), zeros.parse().unwrap()),
            None => (name, 0),
        };
        let bytes = fs::read(entry.path()).unwrap();
        let file = image.file_mut(&path.with_file_name(name));
        file.write(&bytes, 0);
        file.set_len(bytes.len() as u64 + len);
    }
    image
}

fn write(image: &Image) {
    let _ = fs::remove_dir_all(folder());
    fs::create_dir_all(folder()).unwrap();
    for (path, file) in &image.files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "LOCK" {
            continue;
        }
        let bytes = file.bytes();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let zeros = bytes.len() - end;
        let name = if zeros == 0 {
            name
        } else {
            format!("{name}+{zeros}")
        };
        fs::write(folder().join(name), &bytes[..end]).unwrap();
    }
}

#[test]
fn a_store_of_this_format_opens_as_it_was_written() {
    let (history, image) = made();
    if std::env::var_os("ANNALS_WRITE_GOLDEN").is_some() {
        write(&image);
    }
    for (image, what) in [(read(), "kept"), (image, "of today")] {
        let disk = SimDisk::of(&image);
        let log = small_log(disk, 1)
            .open(DIR)
            .unwrap_or_else(|error| panic!("the store {what}: {error}"));
        assert_eq!(
            log.recovery().outcome,
            RecoveryOutcome::Clean,
            "the store {what}"
        );
        let found = history.check(&log, u64::MAX, End::Kill);
        assert_eq!(
            found
                .unwrap_or_else(|breach| panic!("the store {what}: {breach}"))
                .head,
            history.head()
        );
    }
}
