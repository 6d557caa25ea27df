//! The watermark: how far the log is known durable, in two slots that are overwritten in turn.
//!
//! It is written after every sync of the log and before the acknowledgement, but synced itself only
//! at idle, roll and close. So it is exact for other processes on the running system, and after a
//! crash of the system a lower bound.

use super::{
    FormatError, GENERATION_MAX, POSITION_MAX, array_at, check_crc, check_len, check_magic, put,
    u32_at, u64_at,
};

/// First bytes of every slot.
pub const MAGIC: [u8; 8] = *b"ANNALWMK";

const MAGIC_OFFSET: usize = 0;
const LOG_ID_OFFSET: usize = MAGIC_OFFSET + size_of_val(&MAGIC);
const GENERATION_OFFSET: usize = LOG_ID_OFFSET + 16;
const POSITION_OFFSET: usize = GENERATION_OFFSET + size_of::<u64>();
const SEGMENT_OFFSET: usize = POSITION_OFFSET + size_of::<u64>();
const END_OFFSET: usize = SEGMENT_OFFSET + size_of::<u64>();
const CRC_OFFSET: usize = END_OFFSET + size_of::<u64>();

/// Bytes of one slot that are written; the rest of the slot stays zero.
pub const WATERMARK_LEN: usize = CRC_OFFSET + size_of::<u32>();
/// Bytes from one slot to the next: one sector, so that writing one cannot tear the other.
pub const WATERMARK_SLOT_LEN: usize = 512;
/// Slots in the file.
pub const WATERMARK_SLOTS: usize = 2;
/// Bytes of the whole file.
pub const WATERMARK_FILE_LEN: usize = WATERMARK_SLOT_LEN * WATERMARK_SLOTS;

const _: () = assert!(WATERMARK_LEN <= WATERMARK_SLOT_LEN);

/// One reading of the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The log it belongs to.
    pub log_id: [u8; 16],
    /// Counts writings; the higher of the two slots counts.
    pub generation: u64,
    /// Every event up to this position is durable; 0 for none.
    pub position: u64,
    /// The segment that holds the end of the durable part.
    pub segment: u64,
    /// Offset behind the last durable frame of that segment.
    pub end: u64,
}

impl Watermark {
    /// The bytes of one slot.
    pub fn encode(&self) -> [u8; WATERMARK_LEN] {
        let mut slot = [0; WATERMARK_LEN];
        put(&mut slot, MAGIC_OFFSET, MAGIC);
        put(&mut slot, LOG_ID_OFFSET, self.log_id);
        put(&mut slot, GENERATION_OFFSET, self.generation.to_le_bytes());
        put(&mut slot, POSITION_OFFSET, self.position.to_le_bytes());
        put(&mut slot, SEGMENT_OFFSET, self.segment.to_le_bytes());
        put(&mut slot, END_OFFSET, self.end.to_le_bytes());
        let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
        put(&mut slot, CRC_OFFSET, crc.to_le_bytes());
        slot
    }

    /// Where the slot of this generation starts in the file.
    pub fn slot_offset(&self) -> u64 {
        (self.generation % WATERMARK_SLOTS as u64) * WATERMARK_SLOT_LEN as u64
    }

    fn decode_slot(slot: &[u8]) -> Result<Self, FormatError> {
        check_len(STRUCTURE, slot, WATERMARK_LEN)?;
        check_magic(STRUCTURE, slot, MAGIC)?;
        check_crc(
            STRUCTURE,
            crc32fast::hash(&slot[..CRC_OFFSET]),
            u32_at(slot, CRC_OFFSET),
        )?;
        let watermark = Self {
            log_id: array_at(slot, LOG_ID_OFFSET),
            generation: u64_at(slot, GENERATION_OFFSET),
            position: u64_at(slot, POSITION_OFFSET),
            segment: u64_at(slot, SEGMENT_OFFSET),
            end: u64_at(slot, END_OFFSET),
        };
        watermark.check_ranges()?;
        Ok(watermark)
    }

    fn check_ranges(&self) -> Result<(), FormatError> {
        let field = |field, found| FormatError::Field {
            structure: STRUCTURE,
            field,
            found,
            expected: "within the limits of the format",
        };
        if self.generation > GENERATION_MAX {
            return Err(field("generation", self.generation));
        }
        if self.position >= POSITION_MAX {
            return Err(field("position", self.position));
        }
        Ok(())
    }

    /// The newest valid slot of a watermark file, `None` when neither is valid: it is a witness, and
    /// one that cannot be read says nothing.
    pub fn decode_newest(file: &[u8]) -> Option<Self> {
        file.chunks(WATERMARK_SLOT_LEN)
            .take(WATERMARK_SLOTS)
            .filter_map(|slot| Self::decode_slot(slot).ok())
            .max_by_key(|watermark| watermark.generation)
    }
}

const STRUCTURE: &str = "watermark";
