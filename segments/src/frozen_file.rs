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
    /// Maps or reads the file at `path`, which must be finished as described in this module.
    ///
    /// # Errors
    /// Those of opening, mapping and reading.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
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
    write_named(disk, dir, name, bytes, |file| file.sync_data())?;
    disk.sync_dir(dir)
}

/// As [`write_finished`] without a sync: after a crash of the system the name may stand for anything. For
/// files whose content proves itself and that are worth no wait of the device.
pub fn write_unsynced(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_named(disk, dir, name, bytes, |_| Ok(()))
}

fn write_named(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    sync: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{}", crate::format::TEMPORARY_SUFFIX));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| sync(&*file));
    if let Err(error) = written {
        // Best effort: leftovers of this name are removed at the next open too.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, &dir.join(name))
}
