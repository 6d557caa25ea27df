//! The files of a log as their enemy sees them: what is there, what is in it, and spoiling it.
//!
//! All of it is for a log in a [`MemoryDisk`] under [`DIR`].
//!
//! # Panics
//! Everything here panics when a file is not there: then the test is at fault.

use std::path::Path;

use annals_segments::{Disk, MemoryDisk, OpenMode};

/// Where the tests keep their log.
pub const DIR: &str = "/log";
/// The first segment.
pub const FIRST_SEGMENT: &str = "0000000001.seg";
/// The segment behind it.
pub const SECOND_SEGMENT: &str = "0000000002.seg";

/// Names of the files, sorted.
pub fn names(disk: &MemoryDisk) -> Vec<String> {
    let entries = disk.list(Path::new(DIR)).expect("the log is there");
    entries.into_iter().map(|entry| entry.name).collect()
}

/// Whether a file is there.
pub fn exists(disk: &MemoryDisk, name: &str) -> bool {
    names(disk).iter().any(|found| found == name)
}

/// How many files have a name that ends like this.
pub fn count(disk: &MemoryDisk, suffix: &str) -> usize {
    names(disk)
        .iter()
        .filter(|name| name.ends_with(suffix))
        .count()
}

/// Removes a file.
pub fn remove(disk: &MemoryDisk, name: &str) {
    let path = Path::new(DIR).join(name);
    disk.remove(&path).expect("the file is there");
}

/// The bytes of a file.
pub fn content(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let path = Path::new(DIR).join(name);
    let file = disk.open(&path, OpenMode::Read).expect("the file is there");
    file.read_up_to(u64::MAX)
        .expect("a file in memory can be read")
}

/// Overwrites bytes of a file, which is made when it is missing.
pub fn write(disk: &MemoryDisk, name: &str, bytes: &[u8], offset: u64) {
    let path = Path::new(DIR).join(name);
    let mode = match exists(disk, name) {
        true => OpenMode::ReadWrite,
        false => OpenMode::CreateNew,
    };
    let file = disk.open(&path, mode).expect("the file is there, or new");
    file.write_all_at(bytes, offset)
        .expect("a file in memory can be written");
}

/// Changes one bit.
pub fn flip(disk: &MemoryDisk, name: &str, offset: usize) {
    let byte = content(disk, name)[offset];
    write(disk, name, &[byte ^ 1], offset as u64);
}

/// Offset behind the last byte that is not zero.
pub fn written_len(disk: &MemoryDisk, name: &str) -> usize {
    let last = content(disk, name).iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}
