#![doc = include_str!("../FORMAT.md")]

pub mod backup;
pub mod frame;
pub mod manifest;
pub mod quarantined;
pub mod record;
pub mod segment_header;
pub mod snapshot;
pub mod version_table;
pub mod watermark;

/// The format version this build writes. It reads this one and refuses later ones.
pub const FORMAT_VERSION: u16 = 1;

/// Every structure inside a segment starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 8;

/// Number of a segment: 1..=this, so that the index can name it in four bytes.
pub const SEGMENT_NUMBER_MAX: u64 = u32::MAX as u64 - 1;
/// Generation of a manifest or watermark: at most this, so that counting on never overflows.
pub const GENERATION_MAX: u64 = 1 << 63;
/// The position behind the last event: at most this, so that counting on from it never overflows.
pub const POSITION_MAX: u64 = 1 << 63;
/// Bytes of a topic name: 1..=this.
pub const TOPIC_LEN_MAX: usize = 1024;
/// Bytes of an aggregate id: 1..=this.
pub const AGGREGATE_ID_LEN_MAX: usize = 255;
/// Tags of one event: 0..=this.
pub const TAG_COUNT_MAX: usize = 64;
/// Bytes of one tag: 1..=this.
pub const TAG_LEN_MAX: usize = 255;
/// Metadata entries of one event: 0..=this.
pub const METADATA_COUNT_MAX: usize = 255;
/// Bytes of a metadata key: 1..=this.
pub const METADATA_KEY_LEN_MAX: usize = 255;
/// Bytes of all metadata of one event as encoded: 0..=this.
pub const METADATA_LEN_MAX: usize = 65_535;
/// Bytes of a tracking name: 1..=this.
pub const TRACKING_NAME_LEN_MAX: usize = 255;
/// Bytes of the name of a follower: 1..=this.
pub const FOLLOWER_NAME_LEN_MAX: usize = 255;
/// Named followers of a log: at most this.
pub const FOLLOWER_COUNT_MAX: usize = 256;
/// Damaged places that a manifest lists: at most this.
pub const QUARANTINED_COUNT_MAX: usize = 4096;
/// Bytes of one frame, header and padding included: at most this. No option goes beyond.
pub const FRAME_LEN_MAX: usize = 256 << 20;
/// Bytes of one segment file: at most this, so that offsets fit four bytes with room to spare.
pub const SEGMENT_LEN_MAX: u64 = 2 << 30;
/// Bytes of one segment file: at least this.
pub const SEGMENT_LEN_MIN: u64 = 64 << 10;

/// The file that carries the exclusive lock.
pub const LOCK_FILE: &str = "LOCK";
/// The two copies of the manifest; the older one is overwritten.
pub const MANIFEST_FILES: [&str; 2] = ["MANIFEST-a", "MANIFEST-b"];
/// The watermark.
pub const WATERMARK_FILE: &str = "WATERMARK";
/// Suffix of a segment.
pub const SEGMENT_SUFFIX: &str = ".seg";
/// Suffix of the index of a sealed segment.
pub const INDEX_SUFFIX: &str = ".idx";
/// Suffix of the checkpoint of a segment being written.
pub const CHECKPOINT_SUFFIX: &str = ".tail";
/// Prefix of the heads table.
pub const HEADS_PREFIX: &str = "heads-";
/// Prefix of the table of last versions of dropped aggregates.
pub const VERSIONS_PREFIX: &str = "versions-";
/// The directory of the snapshots, a log of its own.
pub const SNAPSHOTS_DIR: &str = "snapshots";
/// Suffix of a file that is still being written; deleted at open.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
/// What a backup is made of; a directory with it is no log to be written to.
pub const BACKUP_FILE: &str = "BACKUP";
/// Prefix of a file that keeps bytes recovery took out of the log.
pub const QUARANTINE_PREFIX: &str = "quarantine-";

/// Digits of a segment number in a file name: zero-padded, so that a listing sorts.
const NUMBER_DIGITS: usize = 10;

/// `0000000001.seg`.
pub fn segment_file_name(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}{SEGMENT_SUFFIX}")
}

/// `0000000001.idx`.
pub fn index_file_name(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}{INDEX_SUFFIX}")
}

/// `0000000001.tail`.
pub fn checkpoint_file_name(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}{CHECKPOINT_SUFFIX}")
}

/// `heads-0000000001`, named by the last segment folded in.
pub fn heads_file_name(covers: u64) -> String {
    format!("{HEADS_PREFIX}{covers:0NUMBER_DIGITS$}")
}

/// `versions-0000000101`, named by the first retained position.
pub fn versions_file_name(first_retained: u64) -> String {
    format!("{VERSIONS_PREFIX}{first_retained:0NUMBER_DIGITS$}")
}

/// `quarantine-0000000001-4096`: segment and offset the bytes were taken from.
pub fn quarantine_file_name(number: u64, offset: u64) -> String {
    format!("{QUARANTINE_PREFIX}{number:0NUMBER_DIGITS$}-{offset}")
}

/// `quarantine-0000000001-4096-89abcdef`: as [`quarantine_file_name`], and the checksum of the bytes.
pub fn quarantined_file_name(number: u64, offset: u64, checksum: u32) -> String {
    format!("{}-{checksum:08x}", quarantine_file_name(number, offset))
}

/// The segment number in `name`, when it is a segment's name exactly as [`segment_file_name`] spells it.
pub fn parse_segment_file_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(SEGMENT_SUFFIX)?)
}

/// The segment number in `name`, when it is an index's name.
pub fn parse_index_file_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(INDEX_SUFFIX)?)
}

/// The segment number in `name`, when it is a tail checkpoint's name.
pub fn parse_checkpoint_file_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(CHECKPOINT_SUFFIX)?)
}

/// The segment number in `name`, when it is a heads table's name.
pub fn parse_heads_file_name(name: &str) -> Option<u64> {
    parse_number(name.strip_prefix(HEADS_PREFIX)?)
}

/// The first retained position in `name`, when it is the name of a table of last versions.
pub fn parse_versions_file_name(name: &str) -> Option<u64> {
    parse_number(name.strip_prefix(VERSIONS_PREFIX)?)
}

fn parse_number(digits: &str) -> Option<u64> {
    let padded =
        digits.len() == NUMBER_DIGITS || digits.len() > NUMBER_DIGITS && !digits.starts_with('0');
    let canonical = padded && digits.bytes().all(|byte| byte.is_ascii_digit());
    canonical
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|number| *number > 0)
}

/// Why bytes are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Nothing was ever written here.
    #[error("unwritten space (zeros)")]
    Unwritten,
    /// Fewer bytes than the structure needs.
    #[error("{structure}: {found} bytes, expected at least {expected}")]
    TooShort {
        /// The structure that was read.
        structure: &'static str,
        /// Bytes there are.
        found: usize,
        /// Bytes it needs.
        expected: usize,
    },
    /// A checksum that does not fit the bytes.
    #[error("{structure}: checksum {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// The structure that was read.
        structure: &'static str,
        /// Checksum of the bytes that are there.
        found: u32,
        /// Checksum stored beside them.
        expected: u32,
    },
    /// The file does not start as a file of this kind does.
    #[error("{structure}: starts with {found:02x?}, expected {expected:02x?}")]
    Magic {
        /// The structure that was read.
        structure: &'static str,
        /// First bytes found.
        found: [u8; 8],
        /// First bytes expected.
        expected: [u8; 8],
    },
    /// Written by a later release.
    #[error(
        "{structure}: format version {found}, this build reads up to {supported}; use a newer release"
    )]
    Version {
        /// The structure that was read.
        structure: &'static str,
        /// Version found.
        found: u16,
        /// Latest version this build reads.
        supported: u16,
    },
    /// Written with a feature this build does not know and may not ignore.
    #[error("{structure}: needs unknown features {flags:#010x}; use a newer release")]
    Feature {
        /// The structure that was read.
        structure: &'static str,
        /// The unknown flags.
        flags: u32,
    },
    /// The checksum fits, and yet a field is outside its range; or a length, needed to find what the
    /// checksum covers, is.
    #[error("{structure}: {field} is {found}, expected {expected}")]
    Field {
        /// The structure that was read.
        structure: &'static str,
        /// The field.
        field: &'static str,
        /// Value found.
        found: u64,
        /// Range expected, in words.
        expected: &'static str,
    },
}

impl FormatError {
    /// Whether a newer release is needed, rather than the bytes being damaged.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Feature { .. })
    }
}

/// Whether events may lie at these positions: the first is 1 or more, the one behind the last at most
/// [`POSITION_MAX`].
fn are_positions(base_position: u64, event_count: u64) -> bool {
    let end = base_position.checked_add(event_count);
    base_position > 0 && end.is_some_and(|end| end <= POSITION_MAX)
}

/// Rounds up to the next multiple of [`ALIGNMENT`].
#[inline]
pub const fn align_up(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// CRC-32 of bytes that are kept or copied whole; 0 of none.
pub fn file_checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// As [`file_checksum`], of bytes that come a part at a time.
#[derive(Clone, Debug, Default)]
pub struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of them all.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// Refuses fewer than `expected` bytes.
#[inline]
fn check_len(structure: &'static str, bytes: &[u8], expected: usize) -> Result<(), FormatError> {
    match bytes.len() < expected {
        true => Err(too_short(structure, bytes.len(), expected)),
        false => Ok(()),
    }
}

#[cold]
fn too_short(structure: &'static str, found: usize, expected: usize) -> FormatError {
    FormatError::TooShort {
        structure,
        found,
        expected,
    }
}

/// Refuses a checksum that does not fit.
#[inline]
fn check_crc(structure: &'static str, found: u32, expected: u32) -> Result<(), FormatError> {
    match found == expected {
        true => Ok(()),
        false => Err(wrong_checksum(structure, found, expected)),
    }
}

#[cold]
fn wrong_checksum(structure: &'static str, found: u32, expected: u32) -> FormatError {
    FormatError::Checksum {
        structure,
        found,
        expected,
    }
}

/// Refuses a file that does not start with `expected`.
fn check_magic(
    structure: &'static str,
    bytes: &[u8],
    expected: [u8; 8],
) -> Result<(), FormatError> {
    let found = array_at(bytes, 0);
    if found != expected {
        return Err(FormatError::Magic {
            structure,
            found,
            expected,
        });
    }
    Ok(())
}

/// Refuses a later version and unknown incompatible features, in this order: a later version may
/// give the flags another meaning. Called behind the checksum, so that damage is not taken for either.
fn check_version(
    structure: &'static str,
    version: u16,
    incompatible: u32,
) -> Result<(), FormatError> {
    if version > FORMAT_VERSION {
        return Err(FormatError::Version {
            structure,
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    if version == 0 {
        return Err(FormatError::Field {
            structure,
            field: "format version",
            found: 0,
            expected: "1 or later",
        });
    }
    if incompatible != 0 {
        return Err(FormatError::Feature {
            structure,
            flags: incompatible,
        });
    }
    Ok(())
}

/// Refuses bytes that are not zero where version 1 has nothing: padding, reserved, unused.
#[inline]
fn check_zeros(
    structure: &'static str,
    field: &'static str,
    bytes: &[u8],
) -> Result<(), FormatError> {
    match bytes.iter().find(|byte| **byte != 0) {
        Some(byte) => Err(FormatError::Field {
            structure,
            field,
            found: u64::from(*byte),
            expected: "zeros",
        }),
        None => Ok(()),
    }
}

#[inline]
fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N]
        .try_into()
        .expect("the range has N bytes")
}

#[inline]
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

#[inline]
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

#[inline]
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests;
