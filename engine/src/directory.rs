//! The directory of a log: its names, its manifest and its watermark. No decisions: those are
//! recovery's and housekeeping's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_segments::format::backup::{BACKUP_LEN_MAX, Backup, BackupState};
use annals_segments::format::manifest::{MANIFEST_HEADER_LEN, MANIFEST_LEN_MAX, Manifest};
use annals_segments::format::watermark::{WATERMARK_FILE_LEN, Watermark};
use annals_segments::format::{
    self, BACKUP_FILE, FormatError, LOCK_FILE, MANIFEST_FILES, TEMPORARY_SUFFIX, WATERMARK_FILE,
};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::{DirEntry, Disk, DiskFile, OpenMode, write_finished};

use crate::error::Error;

/// Where a log lies, and on which disk.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    /// Whether the newer copy of the manifest is known to be on the disk.
    manifest_proven: Arc<AtomicBool>,
}

impl Directory {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self {
            disk,
            path,
            manifest_proven: Arc::default(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.file(&format::segment_file_name(number))
    }

    pub(crate) fn index(&self, number: u64) -> PathBuf {
        self.file(&format::index_file_name(number))
    }

    pub(crate) fn checkpoint(&self, number: u64) -> PathBuf {
        self.file(&format::checkpoint_file_name(number))
    }

    pub(crate) fn heads(&self, covers: u64) -> PathBuf {
        self.file(&format::heads_file_name(covers))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.file(LOCK_FILE)
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        if is_planted(Bug::SkipDirectorySync) {
            return Ok(());
        }
        self.disk
            .sync_dir(&self.path)
            .map_err(Error::io(&self.path, "sync the directory"))
    }

    /// What is there, told apart by name.
    pub(crate) fn list(&self) -> Result<Listing, Error> {
        let entries = self
            .disk
            .list(&self.path)
            .map_err(Error::io(&self.path, "list the directory"))?;
        Ok(Listing::new(entries))
    }

    /// The newest valid manifest, that of a backup in its place; `None` when neither copy is valid.
    ///
    /// # Errors
    /// [`Error::UnsupportedFormat`] when the only readable copy is of a later release; [`Error::NotALog`] in a backup
    /// that is not whole.
    pub(crate) fn read_manifest(&self) -> Result<Option<Manifest>, Error> {
        if let Some(backup) = self.read_backup()? {
            return self.manifest_of(backup).map(Some);
        }
        let mut newest: Option<Manifest> = None;
        let mut unsupported = None;
        for name in MANIFEST_FILES {
            let path = self.file(name);
            let Some(bytes) = self.read_whole(&path, MANIFEST_LEN_MAX)? else {
                continue;
            };
            match Manifest::decode(&bytes) {
                Ok(manifest) => {
                    if newest
                        .as_ref()
                        .is_none_or(|other| other.generation < manifest.generation)
                    {
                        newest = Some(manifest);
                    }
                }
                Err(source) if source.is_unsupported() => {
                    unsupported = Some(Error::UnsupportedFormat {
                        path,
                        fault: source,
                    });
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "manifest copy not readable")
                }
            }
        }
        match unsupported {
            Some(error) => Err(error),
            None => Ok(newest),
        }
    }

    /// What a backup in this directory is made of; `None` when it is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::UnsupportedFormat`], [`Error::Io`].
    pub(crate) fn read_backup(&self) -> Result<Option<Backup>, Error> {
        let path = self.file(BACKUP_FILE);
        let file = match self.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io(&path, "read the file"))?,
        };
        let bytes = file
            .read_up_to(BACKUP_LEN_MAX)
            .map_err(Error::io(&path, "read the file"))?;
        let backup = Backup::decode(&bytes);
        // It holds no event itself.
        backup
            .map(Some)
            .map_err(|fault| corrupt(&path, 0, 1, 0, fault))
    }

    fn manifest_of(&self, backup: Backup) -> Result<Manifest, Error> {
        let (found, expected) = match backup.state {
            BackupState::Whole { manifest, .. } => return Ok(manifest),
            BackupState::Unfinished => (
                "a backup that was cut short",
                "a whole one; make the backup again",
            ),
            BackupState::Restoring => (
                "a log whose restoration was cut short",
                "a whole one; restore it again",
            ),
        };
        Err(Error::NotALog {
            path: self.path.clone(),
            found: found.into(),
            expected,
        })
    }

    /// Refuses a backup: it is not written to.
    ///
    /// # Errors
    /// [`Error::NotALog`].
    pub(crate) fn check_no_backup(&self) -> Result<(), Error> {
        let path = self.file(BACKUP_FILE);
        match self.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Nobody knows what is there: that is no backup yet.
            Err(error) => Err(Error::io(path, "look for a backup")(error)),
            Ok(_) => Err(Error::NotALog {
                path: self.path.clone(),
                found: "the backup of a log, or one whose restoration was cut short".into(),
                expected: "the log itself; restore it into another directory, or open this one read-only",
            }),
        }
    }

    /// The first bytes of both manifests: one of them changes whenever a manifest is written.
    pub(crate) fn manifest_stamps(&self) -> Result<[Vec<u8>; MANIFEST_FILES.len()], Error> {
        let mut stamps = MANIFEST_FILES.map(|_| Vec::new());
        for (stamp, name) in stamps.iter_mut().zip(MANIFEST_FILES) {
            let path = self.file(name);
            let read = self.disk.open(&path, OpenMode::Read);
            match read.and_then(|file| file.read_up_to(MANIFEST_HEADER_LEN as u64)) {
                Ok(bytes) => *stamp = bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(path, "read the file")(error)),
            }
        }
        Ok(stamps)
    }

    /// Overwrites the older copy and syncs it.
    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        if !self.manifest_proven.load(Ordering::Acquire) {
            self.prove_manifest(manifest.generation)?;
        }
        // Until this has succeeded, what is seen of it may not be on the disk.
        self.manifest_proven.store(false, Ordering::Release);
        self.write_manifest_copy(manifest)?;
        self.manifest_proven.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes the newer copy again before the older one, which `generation` goes to, is overwritten: when its sync
    /// failed, in this process or one before, it may be in the page cache only, and the older one is then all that a
    /// loss of power would leave.
    fn prove_manifest(&self, generation: u64) -> io::Result<()> {
        let name = manifest_name(generation.wrapping_sub(1));
        let Ok(Some(bytes)) = self.read_whole(&self.file(name), MANIFEST_LEN_MAX) else {
            return Ok(());
        };
        match Manifest::decode(&bytes) {
            // Beside it and in its place, never over it: torn, it would be gone, and most often it was there.
            Ok(newer) if newer.generation.wrapping_add(1) == generation => {
                write_finished(&*self.disk, &self.path, name, &bytes)
            }
            _ => Ok(()),
        }
    }

    fn write_manifest_copy(&self, manifest: &Manifest) -> io::Result<()> {
        let name = manifest_name(manifest.generation);
        let path = self.file(name);
        let (file, is_new) = open_or_create(&*self.disk, &path)?;
        let bytes = manifest.encode();
        // One that nobody can read must not take the place of one that somebody can.
        Manifest::decode(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        file.write_all_at(&bytes, 0)?;
        if !is_planted(Bug::SkipManifestSync) {
            file.sync_data()?;
        }
        if is_new && !is_planted(Bug::SkipDirectorySync) {
            self.disk.sync_dir(&self.path)
        } else {
            Ok(())
        }
    }

    /// The newest valid watermark, of whatever log.
    pub(crate) fn read_watermark(&self) -> Result<Option<Watermark>, Error> {
        let bytes = self.read_whole(&self.file(WATERMARK_FILE), WATERMARK_FILE_LEN as u64)?;
        Ok(bytes.and_then(|bytes| Watermark::decode_newest(&bytes)))
    }

    /// The watermark file for writing, created with its full length when missing.
    pub(crate) fn open_watermark(&self) -> Result<Arc<dyn DiskFile>, Error> {
        let path = self.file(WATERMARK_FILE);
        let open = || {
            let (file, _) = open_or_create(&*self.disk, &path)?;
            file.allocate(WATERMARK_FILE_LEN as u64)?;
            Ok(file)
        };
        open().map_err(Error::io(&path, "open the watermark"))
    }

    /// The content of a small file; `None` when it does not exist or is longer than it can be.
    fn read_whole(&self, path: &Path, len_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let read = self
            .disk
            .open(path, OpenMode::Read)
            .and_then(|file| file.read_all(len_max));
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io(path, "read the file")(error)),
        }
    }
}

fn open_or_create(disk: &dyn Disk, path: &Path) -> io::Result<(Arc<dyn DiskFile>, bool)> {
    match disk.open(path, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((disk.open(path, OpenMode::CreateNew)?, true))
        }
        opened => opened.map(|file| (file, false)),
    }
}

/// The entries of a log's directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Segment number and file length, ascending.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Segments that have an index file, and its length, ascending.
    pub(crate) indexes: Vec<(u64, u64)>,
    /// Segments that have a tail checkpoint.
    pub(crate) checkpoints: Vec<u64>,
    /// Heads tables and their lengths, ascending.
    pub(crate) heads: Vec<(u64, u64)>,
    /// Tables of last versions by first retained position, and their lengths, ascending.
    pub(crate) versions: Vec<(u64, u64)>,
    /// Unfinished files.
    pub(crate) temporary: Vec<String>,
    /// Whether a manifest, lock or watermark is there.
    pub(crate) has_log_files: bool,
    /// Names that are none of ours.
    pub(crate) foreign: Vec<String>,
}

impl Listing {
    fn new(entries: Vec<DirEntry>) -> Self {
        let mut listing = Self::default();
        for DirEntry { name, len, is_dir } in entries {
            if is_dir {
                listing.foreign.push(name);
            } else if let Some(number) = format::parse_segment_file_name(&name) {
                listing.segments.push((number, len));
            } else if let Some(number) = format::parse_index_file_name(&name) {
                listing.indexes.push((number, len));
            } else if let Some(number) = format::parse_checkpoint_file_name(&name) {
                listing.checkpoints.push(number);
            } else if let Some(covers) = format::parse_heads_file_name(&name) {
                listing.heads.push((covers, len));
            } else if let Some(first) = format::parse_versions_file_name(&name) {
                listing.versions.push((first, len));
            } else if is_unfinished(&name) {
                listing.temporary.push(name);
            } else if name == LOCK_FILE
                || name == WATERMARK_FILE
                || name == BACKUP_FILE
                || MANIFEST_FILES.contains(&name.as_str())
            {
                listing.has_log_files = true;
            } else if !name.starts_with(format::QUARANTINE_PREFIX) {
                listing.foreign.push(name);
            }
        }
        // A listing is sorted by name; numbers beyond ten digits would sort elsewhere.
        listing.segments.sort_unstable();
        listing.indexes.sort_unstable();
        listing.heads.sort_unstable();
        listing.versions.sort_unstable();
        listing
    }

    /// Whether anything here belongs to a log.
    pub(crate) fn holds_a_log(&self) -> bool {
        self.has_log_files || !self.segments.is_empty()
    }

    /// Bytes of a segment's file; 0 when there is none.
    pub(crate) fn segment_len(&self, number: u64) -> u64 {
        let place = self
            .segments
            .binary_search_by_key(&number, |(number, _)| *number);
        place.map_or(0, |place| self.segments[place].1)
    }

    pub(crate) fn has_index(&self, number: u64) -> bool {
        self.indexes
            .binary_search_by_key(&number, |(number, _)| *number)
            .is_ok()
    }
}

/// Name of the copy that a generation of the manifest goes to.
fn manifest_name(generation: u64) -> &'static str {
    MANIFEST_FILES[(generation % MANIFEST_FILES.len() as u64) as usize]
}

/// Whether a name is that of a file of ours that was still being written.
fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| {
        format::parse_index_file_name(name).is_some()
            || format::parse_segment_file_name(name).is_some()
            || format::parse_checkpoint_file_name(name).is_some()
            || format::parse_heads_file_name(name).is_some()
            || format::parse_versions_file_name(name).is_some()
            || MANIFEST_FILES.contains(&name)
            || name.starts_with(format::QUARANTINE_PREFIX)
            || name == BACKUP_FILE
    })
}

/// The damage a format error stands for, at a place in a file.
pub(crate) fn corrupt(
    path: &Path,
    offset: usize,
    first: u64,
    last: u64,
    source: FormatError,
) -> Error {
    match source.is_unsupported() {
        true => Error::UnsupportedFormat {
            path: path.to_owned(),
            fault: source,
        },
        false => Error::Corrupt {
            path: path.to_owned(),
            offset: offset as u64,
            first,
            last,
            fault: source,
        },
    }
}
