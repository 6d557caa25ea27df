//! Where events are missing that an index in memory keeps a place for: so that each is told by the file's bytes, at the
//! offset at which the damage begins, and not by the place it has not got.

use annals_index::KeyIndex;
use annals_segments::format::FormatError;
use annals_segments::format::frame::{Frame, FrameKind};
use annals_segments::format::record::peek_padded_len;
use annals_segments::format::segment_header::SEGMENT_HEADER_LEN;
use annals_segments::sync::Mutex;

use super::Segment;

/// The gaps of a segment, as far as they are few.
#[derive(Debug, Default)]
pub(super) struct Gaps(Mutex<Vec<Gap>>);

/// Events side by side that no frame that verifies holds.
#[derive(Clone, Debug)]
struct Gap {
    /// Ordinal of the first.
    first: u32,
    /// Ordinal behind the last.
    next: u32,
    /// Offset of the damaged frame, when its header can be read.
    frame: Option<usize>,
    /// Where the damage begins and what it is, once somebody has looked: that may cost reading a whole frame, and each of
    /// many events is asked for.
    found: Option<(usize, FormatError)>,
}

impl Gaps {
    /// Notes one; `frame`: the frame that holds it, when its header can be read.
    pub(super) fn note(&self, first: u64, next: u64, frame: Option<usize>) {
        let (Ok(first), Ok(next)) = (u32::try_from(first), u32::try_from(next)) else {
            return;
        };
        let mut gaps = self.0.lock();
        let is_known = gaps.iter().any(|gap| gap.first == first);
        if !is_known && gaps.len() < GAPS_MAX {
            gaps.push(Gap {
                first,
                next,
                frame,
                found: None,
            });
        }
    }

    fn around(&self, ordinal: u32) -> Option<Gap> {
        let gaps = self.0.lock();
        let mut around = gaps.iter();
        around
            .find(|gap| (gap.first..gap.next).contains(&ordinal))
            .cloned()
    }

    fn keep(&self, first: u32, found: &(usize, FormatError)) {
        let mut gaps = self.0.lock();
        if let Some(gap) = gaps.iter_mut().find(|gap| gap.first == first) {
            gap.found = Some(found.clone());
        }
    }
}

/// Where the damage begins that has taken the event at `ordinal`, and what stands there; `None` when that is not known.
#[cold]
pub(super) fn damage_around(segment: &Segment, ordinal: u32) -> Option<(usize, FormatError)> {
    let gap = segment.gaps.around(ordinal)?;
    if gap.found.is_some() {
        return gap.found;
    }
    let found = first_fault(segment, &gap)?;
    segment.gaps.keep(gap.first, &found);
    Some(found)
}

fn first_fault(segment: &Segment, gap: &Gap) -> Option<(usize, FormatError)> {
    let mut offset = match gap.frame {
        Some(offset) => offset,
        None => behind_event_before(segment, gap.first)?,
    };
    loop {
        let verified = Frame::parse(segment.read_frame(offset).ok()?, segment.salt())
            .and_then(|frame| frame.verify().map(|()| frame.header));
        match verified {
            Err(fault) => return Some((offset, fault)),
            // Behind the event there may be a dictionary, which is sound.
            Ok(header) if header.kind != Some(FrameKind::Batch) => offset += header.length as usize,
            Ok(_) => return None,
        }
    }
}

/// Offset behind the record of the event before the one at `ordinal`.
fn behind_event_before(segment: &Segment, ordinal: u32) -> Option<usize> {
    let Some(before) = ordinal.checked_sub(1) else {
        return Some(SEGMENT_HEADER_LEN);
    };
    let offset = segment.with_index(|index: &dyn KeyIndex| index.offset(before));
    let offset = offset.ok()?? as usize;
    if offset < SEGMENT_HEADER_LEN {
        return None;
    }
    let len = peek_padded_len(segment.read_record(offset).ok()?)?;
    offset.checked_add(len)
}

/// Gaps that are known of a segment at most.
const GAPS_MAX: usize = 4096;
