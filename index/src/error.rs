//! Why a slice was not accepted as an index.
//!
//! Every file of this crate is derived, so all of these have one cure: throw the file away and build it
//! again from the log. The kinds are kept apart for the report, not for the caller's choice. They hold no
//! path, since the crate knows no files: the caller adds it.

use std::fmt;

/// Why a slice was not accepted as an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the header needs or announces: the file was cut.
    #[error("index: {found} bytes, expected {needed}; rebuild it from the log")]
    TooShort {
        /// Length of the slice in bytes.
        found: u64,
        /// Least length in bytes that could be valid.
        needed: u64,
    },
    /// The slice does not start with the magic of this kind of file.
    #[error("index: magic {found:02x?}, expected {expected:02x?}; rebuild it from the log")]
    NotAnIndex {
        /// First bytes of the slice.
        found: [u8; 8],
        /// Magic of the kind of file asked for.
        expected: [u8; 8],
    },
    /// Written in a format version that this build does not read.
    #[error(
        "index: format version {found}, supported up to {supported}; rebuild it or use a newer build"
    )]
    UnsupportedFormat {
        /// Format version of the file.
        found: u16,
        /// Newest format version this build reads.
        supported: u16,
    },
    /// Written with incompatible features that this build does not know.
    #[error(
        "index: incompatible features {found:#x}, supported {supported:#x}; rebuild it or use a newer build"
    )]
    UnsupportedFeatures {
        /// Incompatible feature flags of the file.
        found: u32,
        /// Incompatible feature flags this build knows.
        supported: u32,
    },
    /// A checksum (CRC-32/ISO-HDLC) does not match: the bytes rotted or were torn.
    #[error(
        "index {section}: checksum {found:#010x}, expected {expected:#010x}; rebuild it from the log"
    )]
    Checksum {
        /// The part that the checksum runs over.
        section: Section,
        /// Checksum stored in the file.
        expected: u32,
        /// Checksum of the bytes as they are.
        found: u32,
    },
    /// A sound file, but derived from another log or segment.
    #[error(
        "index: {field} {found:#x}, expected {expected:#x}; it belongs to another segment, rebuild it"
    )]
    WrongIdentity {
        /// The first field that differs.
        field: IdentityField,
        /// Value asked for; a log id reads as a big-endian number.
        expected: u128,
        /// Value in the file.
        found: u128,
    },
    /// Checksums match, yet the contents contradict themselves: a bug or an attacker wrote them.
    #[error("index: {what}: found {found}, expected {expected}; rebuild it from the log")]
    Malformed {
        /// What breaks a rule of `FORMAT.md`.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The value, or the bound, that the rule asks for.
        expected: u64,
    },
}

/// A part of a file that has a checksum of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// The fixed part at the front.
    Header,
    /// Everything behind the header.
    Body,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Body => "body",
        })
    }
}

/// A field of [`Identity`](crate::Identity) or [`HeadsIdentity`](crate::HeadsIdentity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityField {
    /// Id of the log.
    LogId,
    /// Number of the segment.
    Segment,
    /// Salt of the segment.
    Salt,
    /// Base position of the segment.
    BasePosition,
    /// Count of events in the segment.
    EventCount,
    /// Last segment folded into a heads file.
    Covers,
}

impl fmt::Display for IdentityField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogId => "log id",
            Self::Segment => "segment number",
            Self::Salt => "salt",
            Self::BasePosition => "base position",
            Self::EventCount => "event count",
            Self::Covers => "last segment covered",
        })
    }
}
