//! Frames whose checksums nobody can compute, since the salt is gone with the header of their segment: only as far as
//! their headers say, at their word, where they end and which positions they take. Enough to give none of these again.

use annals_segments::format::SEGMENT_LEN_MAX;
use annals_segments::format::frame::{FRAME_HEADER_LEN, FrameHeader};
use annals_segments::format::record::RECORD_LEN_MIN;

/// Where frames that follow each other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Offset behind the last of them.
    pub(super) end: usize,
    /// Position behind the last of them.
    pub(super) next: u64,
}

/// The frames from offset `start` on, of which the first starts at position `next` or behind it, and each of the others
/// where the one before ends; up to position `until`.
pub(super) fn chain(bytes: &[u8], start: usize, next: u64, until: u64) -> Chain {
    let first = next;
    let mut chain = Chain { end: start, next };
    while let Some(header) = bytes
        .get(chain.end..)
        .and_then(FrameHeader::decode_unverified)
    {
        let (length, count) = (header.length as usize, header.event_count as usize);
        let base = header.base_position;
        let is_next = base == chain.next || (chain.end == start && base > chain.next);
        let fits = length <= bytes.len() - chain.end
            && count <= (length - FRAME_HEADER_LEN) / RECORD_LEN_MIN
            && header.next_position().saturating_sub(first) <= POSITIONS_MAX;
        if !is_next || !fits || base >= until || header.next_position() > until {
            break;
        }
        chain = Chain {
            end: chain.end + length,
            next: header.next_position(),
        };
    }
    chain
}

/// Positions that a segment takes at most.
const POSITIONS_MAX: u64 = SEGMENT_LEN_MAX / RECORD_LEN_MIN as u64 / 2;
