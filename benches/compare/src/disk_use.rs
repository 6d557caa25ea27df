//! What a store takes on the disk.
//!
//! Engines prepare space ahead, with zeros or without; it belongs to nobody's events and is told apart. The used
//! part of a file ends with its last byte that is not zero, and holes take nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Bytes of all files of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUse {
    /// Without what is prepared ahead.
    pub(crate) used: u64,
    /// What the file system has given away.
    pub(crate) allocated: u64,
}

impl DiskUse {
    /// Of a directory and those within.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let mut all = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let one = match entry.file_type()?.is_dir() {
                true => Self::of(&entry.path())?,
                false => Self::of_file(&entry.path())?,
            };
            all.used += one.used;
            all.allocated += one.allocated;
        }
        Ok(all)
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let allocated = metadata.blocks() * 512;
        let mut block = vec![0; BLOCK_LEN];
        let mut end = metadata.len();
        while end > 0 {
            let start = (end - 1) / BLOCK_LEN as u64 * BLOCK_LEN as u64;
            let bytes = &mut block[..(end - start) as usize];
            file.read_exact_at(bytes, start)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = start + last as u64 + 1;
                break;
            }
            end = start;
        }
        Ok(Self {
            used: end.min(allocated.next_multiple_of(4096)),
            allocated,
        })
    }
}

const BLOCK_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("within")).unwrap();
        let mut bytes = vec![7; 3_000_000];
        bytes.resize(5_000_000, 0);
        fs::write(dir.path().join("within").join("file"), &bytes).unwrap();
        fs::write(dir.path().join("zeros"), vec![0; 4096]).unwrap();
        let disk = DiskUse::of(dir.path()).unwrap();
        assert_eq!(disk.used, 3_000_000);
        assert!(disk.allocated >= disk.used, "{disk:?}");
    }
}
