//! The header block of a segment file: written once, before the segment's first frame, never again.
//!
//! The block takes the first [`SEGMENT_HEADER_LEN`] bytes, far more than its fields, so that no later
//! write shares a sector or a page with it. The base position is not here: a segment is prepared
//! before it is known which position it will start at; the first frame carries it.

use super::{
    FORMAT_VERSION, FormatError, array_at, check_crc, check_len, check_magic, check_version,
    check_zeros, put, u16_at, u32_at, u64_at,
};

/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"ANNALSEG";

const MAGIC_OFFSET: usize = 0;
const VERSION_OFFSET: usize = MAGIC_OFFSET + size_of_val(&MAGIC);
const LAYOUT_OFFSET: usize = VERSION_OFFSET + size_of::<u16>();
const RESERVED_OFFSET: usize = LAYOUT_OFFSET + size_of::<u8>();
const INCOMPATIBLE_OFFSET: usize = RESERVED_OFFSET + 5;
const COMPATIBLE_OFFSET: usize = INCOMPATIBLE_OFFSET + size_of::<u32>();
const LOG_ID_OFFSET: usize = COMPATIBLE_OFFSET + size_of::<u32>();
const NUMBER_OFFSET: usize = LOG_ID_OFFSET + 16;
const SALT_OFFSET: usize = NUMBER_OFFSET + size_of::<u64>();
const CREATED_OFFSET: usize = SALT_OFFSET + size_of::<u64>();
const CRC_OFFSET: usize = CREATED_OFFSET + size_of::<u64>();
const FIELDS_LEN: usize = CRC_OFFSET + size_of::<u32>();

/// Bytes of the header block: fields, then zeros. The first frame starts here.
pub const SEGMENT_HEADER_LEN: usize = 4096;

const _: () = assert!(INCOMPATIBLE_OFFSET == 16, "fields stay naturally aligned");
const _: () = assert!(
    VERSION_OFFSET == 8 && CRC_OFFSET == 64 && SEGMENT_HEADER_LEN == 4096,
    "frozen for all format versions: a build checks the checksum before it knows the version"
);
const _: () = assert!(
    FIELDS_LEN <= 512,
    "the fields lie in one sector, so that they are written whole or not"
);
const _: () = assert!(SEGMENT_HEADER_LEN.is_multiple_of(super::ALIGNMENT));

/// How records lie in a segment. Persisted: values are never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layout {
    /// Frames in commit order.
    Plain = 1,
    /// Reserved: re-packed by aggregate, compressed. No build writes it yet.
    Packed = 2,
}

/// Compatible flag: the segment starts with frames that recovery copied from the one before.
pub const FLAG_RECOVERED: u32 = 1;

/// The fields of a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// How records lie in the segment.
    pub layout: Layout,
    /// Flags that a reader may ignore: [`FLAG_RECOVERED`].
    pub compatible: u32,
    /// The log that the segment belongs to.
    pub log_id: [u8; 16],
    /// Number of the segment in its log, from 1.
    pub number: u64,
    /// Random; every checksum in the segment runs over it, so that bytes of another segment never verify.
    pub salt: u64,
    /// When the segment was prepared, microseconds since the epoch.
    pub created_us: u64,
}

impl SegmentHeader {
    /// The whole header block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_LEN];
        put(&mut block, MAGIC_OFFSET, MAGIC);
        put(&mut block, VERSION_OFFSET, FORMAT_VERSION.to_le_bytes());
        block[LAYOUT_OFFSET] = self.layout as u8;
        put(&mut block, COMPATIBLE_OFFSET, self.compatible.to_le_bytes());
        put(&mut block, LOG_ID_OFFSET, self.log_id);
        put(&mut block, NUMBER_OFFSET, self.number.to_le_bytes());
        put(&mut block, SALT_OFFSET, self.salt.to_le_bytes());
        put(&mut block, CREATED_OFFSET, self.created_us.to_le_bytes());
        let crc = crc32fast::hash(&block[..CRC_OFFSET]);
        put(&mut block, CRC_OFFSET, crc.to_le_bytes());
        block
    }

    /// Reads a header block, or any slice that starts with one.
    ///
    /// Order of the checks: all zeros (prepared, never headed), magic, checksum, version, features,
    /// reserved bytes, fields. The place of the checksum is frozen for all versions, so that a damaged
    /// version reads as damage and a later one, whole, as unsupported.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        check_len(STRUCTURE, bytes, SEGMENT_HEADER_LEN)?;
        let block = &bytes[..SEGMENT_HEADER_LEN];
        if block.iter().all(|byte| *byte == 0) {
            return Err(FormatError::Unwritten);
        }
        check_magic(STRUCTURE, block, MAGIC)?;
        check_crc(
            STRUCTURE,
            crc32fast::hash(&block[..CRC_OFFSET]),
            u32_at(block, CRC_OFFSET),
        )?;
        check_version(
            STRUCTURE,
            u16_at(block, VERSION_OFFSET),
            u32_at(block, INCOMPATIBLE_OFFSET),
        )?;
        check_zeros(
            STRUCTURE,
            "reserved",
            &block[RESERVED_OFFSET..INCOMPATIBLE_OFFSET],
        )?;
        check_zeros(STRUCTURE, "padding", &block[FIELDS_LEN..])?;
        let layout = match block[LAYOUT_OFFSET] {
            1 => Layout::Plain,
            2 => {
                return Err(FormatError::Feature {
                    structure: STRUCTURE,
                    flags: 2,
                });
            }
            other => return Err(field("layout", u64::from(other), "1 (plain)")),
        };
        let number = u64_at(block, NUMBER_OFFSET);
        if number == 0 {
            return Err(field("number", number, "1 or more"));
        }
        Ok(Self {
            layout,
            compatible: u32_at(block, COMPATIBLE_OFFSET),
            log_id: array_at(block, LOG_ID_OFFSET),
            number,
            salt: u64_at(block, SALT_OFFSET),
            created_us: u64_at(block, CREATED_OFFSET),
        })
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

const STRUCTURE: &str = "segment header";
