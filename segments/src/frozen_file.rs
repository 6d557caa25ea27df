//! A file that is finished: mapped or read whole, never written again.
//!
//! Derived files (`.idx`, heads, `.tail`) are written under a temporary name and renamed. From then on
//! nobody writes to them or cuts them; a newer one replaces the name, not the content.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Mapping, OpenMode};

/// The bytes of a finished file.
#[derive(Clone, Debug)]
pub struct FrozenFile {
    mapping: Arc<dyn Mapping>,
}

impl FrozenFile {
    /// Maps or reads the file at `path`, which must be finished as described in this module and has no more than `len_max`
    /// bytes: where it is not mapped, all of it comes into memory.
    ///
    /// # Errors
    /// Those of opening, mapping and reading; `FileTooLarge` before anything is allocated.
    pub fn open(disk: &dyn Disk, path: &Path, len_max: u64) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mapping = file.map(len)?;
        mapping.fetch(0..len, len)?;
        Ok(Self { mapping })
    }
}

impl AsRef<[u8]> for FrozenFile {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a finished file is never written and never cut: only this module makes such files,
        // under a temporary name, and replaces them by renaming another over them. Its writes happen
        // before: a name is opened by who saw the write return or found it in a listing.
        #[expect(unsafe_code, reason = "the room where finished files become a slice")]
        unsafe {
            self.mapping.bytes(0..self.mapping.len())
        }
    }
}

/// Writes a finished file: temporary name, content, sync, rename, directory sync.
///
/// After a crash at any point the name is absent, the old file, or the whole new one.
pub fn write_finished(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_filled(disk, dir, name, |file| file.write_all_at(bytes, 0))?;
    disk.sync_dir(dir)
}

/// As [`write_finished`], filled by the caller, a part at a time. The directory is not synced yet: for who writes many.
pub fn write_filled(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    write_named(disk, dir, name, |file| {
        fill(file)?;
        file.sync_data()
    })
}

/// Has `name` be another name of the file at `from`, which is finished too, in the place of what it named. The
/// directory is not synced yet.
///
/// # Errors
/// Those of [`Disk::hard_link`]: then nothing was changed.
pub fn link_finished(disk: &dyn Disk, from: &Path, dir: &Path, name: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{}", crate::format::TEMPORARY_SUFFIX));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.hard_link(from, &temporary)?;
    disk.rename(&temporary, &dir.join(name))?;
    // Two names of one file are not replaced by each other: then the first of them is still there.
    let _ = disk.remove(&temporary);
    Ok(())
}

/// As [`write_finished`] without a sync: after a crash of the system the name may stand for anything. For
/// files whose content proves itself and that are worth no wait of the device.
pub fn write_unsynced(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_named(disk, dir, name, |file| file.write_all_at(bytes, 0))
}

fn write_named(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{}", crate::format::TEMPORARY_SUFFIX));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    if let Err(error) = fill(&*file) {
        // Best effort: leftovers of this name are removed at the next open too.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, &dir.join(name))
}
