//! The recovery scan: pure over a slice, so that a test can cut it at every byte and flip every bit.
//!
//! It finds whole frames and says where and why it stopped. Whether a stop is the normal end, a torn
//! tail or rot is decided above, from witnesses this module does not have.

use crate::format::FormatError;
use crate::format::frame::{FRAME_HEADER_LEN, Frame, FrameKind};
use crate::format::{ALIGNMENT, align_up};

/// Where a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanEnd {
    /// Offset behind the last whole frame.
    pub end: usize,
    /// Why it went no further.
    pub stop: ScanStop,
}

/// Why a scan went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanStop {
    /// The slice ends exactly behind a frame, or with too few zeros for another header.
    EndOfBytes,
    /// A zeroed frame header: nothing was written here. Bytes behind it may still be anything.
    Unwritten,
    /// A footer: the segment is sealed.
    Footer,
    /// Something is there that is no whole frame, or not the frame that belongs here.
    Bad(FormatError),
}

/// Walks the frames of a segment from `start` and shows each whole, verified one to `visit`.
///
/// `start`: offset of a frame, [`SEGMENT_HEADER_LEN`](crate::format::segment_header::SEGMENT_HEADER_LEN)
/// for the first. `next_position`: position the first frame must have as its base; `None` accepts any.
/// Each later frame must continue where the one before ended: a valid frame in another place is `Bad`.
pub fn scan_frames<'a>(
    bytes: &'a [u8],
    start: usize,
    salt: u64,
    mut next_position: Option<u64>,
    mut visit: impl FnMut(usize, Frame<'a>),
) -> ScanEnd {
    assert!(
        start.is_multiple_of(ALIGNMENT),
        "frames start at multiples of 8, not at {start}"
    );
    let mut end = start;
    loop {
        if bytes.len().saturating_sub(end) < FRAME_HEADER_LEN {
            return ScanEnd {
                end,
                stop: short_rest(bytes.get(end..).unwrap_or_default()),
            };
        }
        let frame = match Frame::parse(&bytes[end..], salt) {
            Ok(frame) => frame,
            Err(FormatError::Unwritten) => {
                return ScanEnd {
                    end,
                    stop: ScanStop::Unwritten,
                };
            }
            Err(error) => {
                return ScanEnd {
                    end,
                    stop: ScanStop::Bad(error),
                };
            }
        };
        let header = frame.header;
        if let Some(expected) = next_position
            && header.base_position != expected
        {
            let error = FormatError::Field {
                structure: "frame",
                field: "base position",
                found: header.base_position,
                expected: "the position behind the frame before",
            };
            return ScanEnd {
                end,
                stop: ScanStop::Bad(error),
            };
        }
        if let Err(error) = frame.verify() {
            return ScanEnd {
                end,
                stop: ScanStop::Bad(error),
            };
        }
        next_position = Some(header.next_position());
        visit(end, frame);
        end += header.length as usize;
        if header.kind == Some(FrameKind::Footer) {
            return ScanEnd {
                end,
                stop: ScanStop::Footer,
            };
        }
    }
}

/// Fewer bytes than a header: fine when zero or none, a cut frame otherwise.
fn short_rest(rest: &[u8]) -> ScanStop {
    match rest.iter().all(|byte| *byte == 0) {
        true => ScanStop::EndOfBytes,
        false => ScanStop::Bad(FormatError::TooShort {
            structure: "frame",
            found: rest.len(),
            expected: FRAME_HEADER_LEN,
        }),
    }
}

/// A frame header found by searching behind a bad frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaterFrame {
    /// Offset of the frame.
    pub offset: usize,
    /// Position of its first event.
    pub base_position: u64,
    /// Every event up to this position was durable when the frame was written.
    pub durable_upto: u64,
    /// Whether the whole frame verifies, not its header alone.
    pub is_whole: bool,
}

/// Searches for the next frame header that verifies, at or behind `from`, in steps of 8 bytes.
///
/// A hit by chance needs a 32-bit checksum over the segment's own salt to fit: 2^-32 a step.
pub fn find_later_frame(bytes: &[u8], from: usize, salt: u64) -> Option<LaterFrame> {
    let mut offset = align_up(from);
    while offset + FRAME_HEADER_LEN <= bytes.len() {
        // Most of what is searched is zeros: skip them a word at a time before trying a checksum.
        if bytes[offset..offset + ALIGNMENT] == [0; ALIGNMENT] {
            offset += ALIGNMENT;
            continue;
        }
        if let Ok(header) = crate::format::frame::FrameHeader::decode(&bytes[offset..], salt) {
            let is_whole =
                Frame::parse(&bytes[offset..], salt).is_ok_and(|frame| frame.verify().is_ok());
            return Some(LaterFrame {
                offset,
                base_position: header.base_position,
                durable_upto: header.durable_upto,
                is_whole,
            });
        }
        offset += ALIGNMENT;
    }
    None
}

/// Offset of the last byte that is not zero, at or behind `from`.
pub fn last_written_byte(bytes: &[u8], from: usize) -> Option<usize> {
    let mut end = bytes.len();
    // What is prepared and not written yet are megabytes of zeros: looked at a page at a time.
    for page in bytes.get(from..)?.rchunks(PAGE_LEN) {
        end -= page.len();
        if !is_zero(page) {
            return page
                .iter()
                .rposition(|byte| *byte != 0)
                .map(|place| end + place);
        }
    }
    None
}

/// Whether all bytes are zero. Without an early way out, so that it is done many bytes at a time.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

const PAGE_LEN: usize = 4096;

#[cfg(test)]
mod tests;
