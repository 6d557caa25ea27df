//! Damage that somebody has decided to go on without, as the manifest lists it.
//!
//! Nothing is changed in the segment, and no position is given again. The entry says which positions may
//! answer with an error for good, and which file keeps a copy of the bytes.

use super::{
    FormatError, POSITION_MAX, SEGMENT_LEN_MAX, check_zeros, put, quarantined_file_name, u32_at,
    u64_at,
};

const SEGMENT_OFFSET: usize = 0;
const OFFSET_OFFSET: usize = SEGMENT_OFFSET + size_of::<u64>();
const LENGTH_OFFSET: usize = OFFSET_OFFSET + size_of::<u64>();
const FIRST_OFFSET: usize = LENGTH_OFFSET + size_of::<u64>();
const NEXT_OFFSET: usize = FIRST_OFFSET + size_of::<u64>();
const CHECKSUM_OFFSET: usize = NEXT_OFFSET + size_of::<u64>();
const RESERVED_OFFSET: usize = CHECKSUM_OFFSET + size_of::<u32>();
/// Bytes of one entry.
pub const QUARANTINED_LEN: usize = RESERVED_OFFSET + 4;

/// One damaged place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Number of the segment.
    pub segment: u64,
    /// Where in its file the damage starts; where the file ends when the rest of it is missing.
    pub offset: u64,
    /// Bytes that are kept in a file of their own; 0 when there were none.
    pub length: u64,
    /// First position that may be lost.
    pub first: u64,
    /// The position behind the last that may be; `first` when no event is affected.
    pub next: u64,
    /// CRC-32 of the bytes that are kept.
    pub checksum: u32,
}

impl Quarantined {
    /// Name of the file that keeps the bytes; `None` when there were none. The checksum is part of it, so that
    /// other bytes of the same place never take its name.
    pub fn file_name(&self) -> Option<String> {
        (self.length > 0).then(|| quarantined_file_name(self.segment, self.offset, self.checksum))
    }

    /// Whether the event at `position` may be lost by it.
    pub fn covers(&self, position: u64) -> bool {
        (self.first..self.next).contains(&position)
    }

    pub(super) fn encode(&self, entry: &mut [u8]) {
        put(entry, SEGMENT_OFFSET, self.segment.to_le_bytes());
        put(entry, OFFSET_OFFSET, self.offset.to_le_bytes());
        put(entry, LENGTH_OFFSET, self.length.to_le_bytes());
        put(entry, FIRST_OFFSET, self.first.to_le_bytes());
        put(entry, NEXT_OFFSET, self.next.to_le_bytes());
        put(entry, CHECKSUM_OFFSET, self.checksum.to_le_bytes());
    }

    pub(super) fn decode(entry: &[u8]) -> Result<Self, FormatError> {
        check_zeros(
            STRUCTURE,
            "reserved",
            &entry[RESERVED_OFFSET..QUARANTINED_LEN],
        )?;
        let quarantined = Self {
            segment: u64_at(entry, SEGMENT_OFFSET),
            offset: u64_at(entry, OFFSET_OFFSET),
            length: u64_at(entry, LENGTH_OFFSET),
            first: u64_at(entry, FIRST_OFFSET),
            next: u64_at(entry, NEXT_OFFSET),
            checksum: u32_at(entry, CHECKSUM_OFFSET),
        };
        let Self {
            offset,
            length,
            first,
            next,
            ..
        } = quarantined;
        if offset > SEGMENT_LEN_MAX || length > SEGMENT_LEN_MAX {
            return Err(field(
                "offset or length",
                offset.max(length),
                "at most 2^31",
            ));
        }
        if first == 0 || next < first || next > POSITION_MAX {
            return Err(field("positions", first, "1 or more, in order, up to 2^63"));
        }
        Ok(quarantined)
    }
}

fn field(field: &'static str, found: u64, expected: &'static str) -> FormatError {
    FormatError::Field {
        structure: STRUCTURE,
        field,
        found,
        expected,
    }
}

const STRUCTURE: &str = "quarantine entry";
