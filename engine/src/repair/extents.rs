//! Where a segment is damaged: pure over its bytes, so that a test can spoil any of them.

use std::collections::BTreeSet;
use std::ops::Range;

use annals_segments::format::frame::{FrameHeader, PreambleEntry};
use annals_segments::format::{ALIGNMENT, FormatError};
use annals_segments::{ScanStop, find_later_frame, last_written_byte, scan_frames};

use crate::segment::for_each_whole_frame;

/// A damaged place in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its bytes.
    pub(crate) offsets: Range<usize>,
    /// Positions that may be lost; empty when no event is affected.
    pub(crate) positions: Range<u64>,
    /// What is wrong.
    pub(crate) fault: FormatError,
}

/// The damaged places between `start`, where a frame should be, and the end of `bytes`, ascending. What is sound
/// takes the positions in `positions`: no place leads out of them, and those that nothing sound takes lie in one.
pub(crate) fn damaged_extents(
    bytes: &[u8],
    start: usize,
    salt: u64,
    positions: Range<u64>,
) -> Vec<Extent> {
    let mut extents = Vec::new();
    let Range {
        start: mut next,
        end,
    } = positions;
    let mut from = start.min(bytes.len()).next_multiple_of(ALIGNMENT);
    loop {
        let scan = scan_frames(bytes, from, salt, None, |offset, frame| {
            let base = frame.header.base_position;
            if base > next && base <= end {
                // Whole frames side by side, and positions between them are in neither.
                extents.push(Extent {
                    offsets: offset..offset,
                    positions: next..base,
                    fault: FormatError::Unwritten,
                });
            }
            if base >= next {
                next = frame.header.next_position().min(end).max(next);
            }
        });
        let bad = scan.end.min(bytes.len());
        let later = later_frame(bytes, bad, salt, next);
        let written_end = last_written_byte(bytes, bad).map_or(bad, |last| last + 1);
        let (behind, behind_position) = match &later {
            Some((offset, base)) => (*offset, (*base).clamp(next, end)),
            None => (written_end, end),
        };
        let is_end = later.is_none() && next == end;
        // Zeros up to the end are what has been there only when nothing is expected behind the last frame.
        if is_end && matches!(scan.stop, ScanStop::Footer | ScanStop::EndOfBytes) {
            return extents;
        }
        extents.push(Extent {
            offsets: bad..behind,
            positions: next..behind_position,
            fault: match scan.stop {
                ScanStop::Bad(fault) => fault,
                _ => FormatError::Unwritten,
            },
        });
        next = behind_position;
        match later {
            Some((offset, _)) => from = offset,
            None => return extents,
        }
    }
}

/// Sound frames with an event whose topic nothing sound defines: it can be verified and not be shown. Ascending; frames
/// side by side are one place.
pub(crate) fn nameless_extents(bytes: &[u8], start: usize, salt: u64) -> Vec<Extent> {
    let mut named = BTreeSet::new();
    for_each_whole_frame(bytes, start, salt, |_, frame| {
        for entry in frame.preamble().into_iter().flatten().flatten() {
            if let PreambleEntry::Topic { number, .. } = entry {
                named.insert(number);
            }
        }
    });
    let mut extents: Vec<Extent> = Vec::new();
    for_each_whole_frame(bytes, start, salt, |offset, frame| {
        let mut records = frame.records().filter_map(|(_, record)| record.ok());
        if records.all(|record| named.contains(&record.place().topic)) {
            return;
        }
        let positions = frame.header.base_position..frame.header.next_position();
        let end = offset + frame.as_bytes().len();
        match extents.last_mut() {
            Some(last) if last.offsets.end == offset && last.positions.end == positions.start => {
                last.offsets.end = end;
                last.positions.end = positions.end;
            }
            _ => extents.push(Extent {
                offsets: offset..end,
                positions,
                fault: NAMELESS,
            }),
        }
    });
    extents
}

/// Why an event that verifies is not shown.
const NAMELESS: FormatError = FormatError::Field {
    structure: "record",
    field: "topic",
    found: 0,
    expected: "one that a sound frame of the segment defines",
};

/// The next frame behind the bad one at `bad` whose header verifies: offset and base position. A copy of an older
/// frame inside a payload is passed over: its positions are those of events before.
fn later_frame(bytes: &[u8], bad: usize, salt: u64, next: u64) -> Option<(usize, u64)> {
    // When the header of the bad one can be believed, nothing of it is searched.
    let len = bytes
        .get(bad..)
        .and_then(|rest| FrameHeader::decode(rest, salt).ok())
        .map_or(ALIGNMENT, |header| header.length as usize);
    let mut from = bad.saturating_add(len);
    loop {
        let later = find_later_frame(bytes, from, salt)?;
        if later.base_position >= next {
            return Some((later.offset, later.base_position));
        }
        from = later.offset + ALIGNMENT;
    }
}
