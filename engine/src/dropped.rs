//! What was dropped from the front of the log: up to where, and the last versions that are left of it.
//!
//! The table of last versions is authoritative: no event says any more which versions these aggregates
//! had. When it is not there whole, nothing is guessed: a log is not opened for writing then, and one that
//! is open for reading answers [`Error::Corrupt`] wherever the table would have been asked.

use std::io;
use std::path::PathBuf;

use annals_segments::FrozenFile;
use annals_segments::format::manifest::{Manifest, SealedSegment};
use annals_segments::format::version_table::{VersionTable, VersionTableIdentity};
use annals_segments::format::{FormatError, versions_file_name};

use crate::aggregate_id::AggregateId;
use crate::directory::{Directory, Listing, corrupt};
use crate::error::Error;
use crate::segment::LogIdentity;

/// See the module.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// First position that is retained; every one below was dropped.
    pub(crate) first_position: u64,
    /// Number of the last segment dropped; 0 when nobody can tell.
    pub(crate) last_segment: u64,
    path: PathBuf,
    table: Result<VersionTable<FrozenFile>, FormatError>,
}

impl Dropped {
    /// What was dropped from a log, by its manifest, or without one by the files that are there; `None`
    /// when nothing was.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::UnsupportedFormat`]. Damage is no error here: see [`Dropped::check`].
    pub(crate) fn find(
        directory: &Directory,
        log: &LogIdentity,
        manifest: Option<&Manifest>,
        listing: &Listing,
    ) -> Result<Option<Self>, Error> {
        match manifest {
            Some(manifest) if manifest.first_retained_position > 1 => {
                Self::named(directory, log, manifest).map(Some)
            }
            Some(_) => Ok(None),
            None => Self::without_manifest(directory, log, listing),
        }
    }

    /// The table that a manifest names by its first retained position.
    ///
    /// # Errors
    /// As [`Dropped::find`].
    pub(crate) fn named(
        directory: &Directory,
        log: &LogIdentity,
        manifest: &Manifest,
    ) -> Result<Self, Error> {
        let before = |first: &SealedSegment| first.number - 1;
        let last_segment = manifest.segments.first().map(before);
        let mut dropped = Self::open(directory, log, manifest.first_retained_position)?;
        match last_segment {
            Some(last_segment) if last_segment != dropped.last_segment => {
                if dropped.table.is_ok() {
                    dropped.table = Err(another("last segment", dropped.last_segment));
                }
                dropped.last_segment = last_segment;
            }
            _ => {}
        }
        Ok(dropped)
    }

    /// With the manifests lost, the newest table that reaches up to the first segment that is there.
    fn without_manifest(
        directory: &Directory,
        log: &LogIdentity,
        listing: &Listing,
    ) -> Result<Option<Self>, Error> {
        let Some((first_segment, _)) = listing.segments.first().filter(|(number, _)| *number > 1)
        else {
            return Ok(None);
        };
        for (first_position, _) in listing.versions.iter().rev() {
            let dropped = Self::open(directory, log, *first_position)?;
            if dropped.table.is_ok() && dropped.last_segment >= first_segment - 1 {
                return Ok(Some(dropped));
            }
        }
        Ok(Some(Self {
            first_position: 1,
            last_segment: first_segment - 1,
            path: directory.segment(first_segment - 1),
            table: Err(FormatError::TooShort {
                structure: "segment",
                found: 0,
                expected: 1,
            }),
        }))
    }

    /// Opens the table of a log truncated up to `first_position`.
    ///
    /// # Errors
    /// As [`Dropped::find`].
    pub(crate) fn open(
        directory: &Directory,
        log: &LogIdentity,
        first_position: u64,
    ) -> Result<Self, Error> {
        let path = directory.file(&versions_file_name(first_position));
        let table = match FrozenFile::open(&*directory.disk, &path, TABLE_LEN_MAX) {
            Ok(file) => VersionTable::open(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FormatError::TooShort {
                structure: "table of last versions",
                found: 0,
                expected: annals_segments::format::version_table::VERSION_TABLE_HEADER_LEN,
            }),
            Err(error) => return Err(Error::io(path, "open the table of last versions")(error)),
        };
        let table = table.and_then(|table| match table.identity() {
            VersionTableIdentity { log_id, .. } if log_id != log.id => {
                Err(another("log id", u64::from(log_id[0])))
            }
            identity if identity.first_retained_position != first_position => Err(another(
                "first retained position",
                identity.first_retained_position,
            )),
            _ => Ok(table),
        });
        let last_segment = table
            .as_ref()
            .map_or(0, |table| table.identity().last_segment);
        let dropped = Self {
            first_position,
            last_segment,
            path,
            table,
        };
        match dropped.damage() {
            Some(error @ Error::UnsupportedFormat { .. }) => Err(error),
            _ => Ok(dropped),
        }
    }

    /// Refuses a log whose last versions are not known.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.damage().map_or(Ok(()), Err)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.table.is_err()
    }

    /// What is wrong with the table.
    pub(crate) fn damage(&self) -> Option<Error> {
        let fault = self.table.as_ref().err()?;
        // It holds no event that is still to be read.
        Some(corrupt(&self.path, 0, 1, 0, fault.clone()))
    }

    /// Version of the last dropped event of an aggregate; `None` when no event of it was dropped.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the table cannot be believed.
    pub(crate) fn version(&self, id: &AggregateId) -> Result<Option<u64>, Error> {
        match &self.table {
            Ok(table) => Ok(table.version(id.kind(), id.as_bytes())),
            Err(_) => self.check().map(|()| None),
        }
    }

    /// Every aggregate with dropped events and the version of the last of them, ascending; nothing when
    /// the table cannot be believed.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (AggregateId, u64)> {
        let entries = self.table.iter().flat_map(VersionTable::iter);
        entries.filter_map(|(kind, id, version)| {
            AggregateId::from_record(kind, id).map(|id| (id, version))
        })
    }
}

/// Bytes of a table of last versions: at most this, of half a thousand million aggregates. The table stands for events
/// that are gone, so nothing else bounds it.
const TABLE_LEN_MAX: u64 = 16 << 30;

fn another(field: &'static str, found: u64) -> FormatError {
    FormatError::Field {
        structure: "table of last versions",
        field,
        found,
        expected: "that of the manifest: this file belongs elsewhere",
    }
}
