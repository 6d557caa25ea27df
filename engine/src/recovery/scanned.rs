//! A segment of the tail, read whole: its frames, where they stop and why, and what they witness.

use std::collections::BTreeMap;
use std::path::Path;

use annals_segments::format::frame::{
    FRAME_HEADER_LEN, Frame, FrameHeader, FrameKind, PreambleEntry,
};
use annals_segments::format::manifest::SealedSegment;
use annals_segments::format::quarantined::Quarantined;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::{ALIGNMENT, FormatError, SEGMENT_LEN_MAX, SEGMENT_NUMBER_MAX};
use annals_segments::{
    OpenMode, ScanStop, SegmentFile, find_later_frame, last_written_byte, scan_frames,
};

use crate::checkpoint::Front;
use crate::directory::{Directory, Listing, corrupt};
use crate::error::Error;

/// A segment of the tail, read whole.
pub(super) struct Scanned {
    pub(super) header: SegmentHeader,
    /// The first events, which a checkpoint vouches for; what follows says nothing of their frames.
    pub(super) front: Option<Front>,
    pub(super) frames: Vec<FrameAt>,
    /// Offset behind the last whole frame.
    pub(super) end: usize,
    pub(super) stop: ScanStop,
    /// Up to here there is no frame but those that hold nothing of their own, damaged or not.
    pub(super) no_batch_until: usize,
    /// Bytes behind `end` up to the last that is not zero.
    pub(super) torn: usize,
    /// Greatest `durable_upto` of any frame, also of those behind a bad one.
    pub(super) durable: u64,
    pub(super) file_len: u64,
}

/// Where a frame lies and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameAt {
    pub(super) offset: usize,
    /// Offset behind it.
    pub(super) end: usize,
    pub(super) kind: Option<FrameKind>,
    pub(super) base_position: u64,
    pub(super) event_count: u32,
    pub(super) time_us: u64,
    /// Whether it may say more than its events: topics, tracking positions.
    pub(super) has_preamble: bool,
}

impl FrameAt {
    pub(super) fn next_position(&self) -> u64 {
        self.base_position + u64::from(self.event_count)
    }

    pub(super) fn is_batch(&self) -> bool {
        self.kind == Some(FrameKind::Batch)
    }
}

impl Scanned {
    /// Whether there is no frame.
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_none() && self.frames.is_empty()
    }

    /// Offset of the first frame that was read.
    pub(super) fn start(&self) -> usize {
        self.front
            .as_ref()
            .map_or(SEGMENT_HEADER_LEN, |front| front.end)
    }

    /// Position of the first frame; `None` without frames.
    pub(super) fn base_position(&self) -> Option<u64> {
        match &self.front {
            Some(front) => Some(front.index.identity().base_position),
            None => self.frames.first().map(|frame| frame.base_position),
        }
    }

    /// Position behind the last event.
    pub(super) fn next_position(&self) -> Option<u64> {
        let last = self.frames.last().map(FrameAt::next_position);
        last.or(self.front.as_ref().map(Front::next_position))
    }

    /// Forgets the frames from `first` on.
    pub(super) fn cut_frames(&mut self, first: usize) {
        if let Some(frame) = self.frames.get(first) {
            self.end = frame.offset;
            self.frames.truncate(first);
        }
    }

    /// What the manifest is to say of it. `base_position`: where it starts when it has no frame.
    pub(super) fn sealed_entry(&self, base_position: u64) -> SealedSegment {
        let base_position = self.base_position().unwrap_or(base_position);
        let next_position = self.next_position().unwrap_or(base_position);
        let mut times = self
            .frames
            .iter()
            .filter(|frame| frame.event_count > 0)
            .map(|frame| frame.time_us);
        let (first_time_us, last_time_us) = match &self.front {
            Some(front) => (front.first_time_us, front.last_time_us),
            None => {
                let first = times.next().unwrap_or(0);
                (first, first)
            }
        };
        SealedSegment {
            number: self.header.number,
            base_position,
            event_count: next_position - base_position,
            end: self.end as u64,
            salt: self.header.salt,
            first_time_us,
            last_time_us: times.next_back().unwrap_or(last_time_us),
        }
    }

    /// Whether the last frame says that the log was closed, and nothing lies behind it.
    pub(super) fn is_closed(&self) -> bool {
        let closed = self
            .frames
            .last()
            .is_some_and(|frame| frame.kind == Some(FrameKind::Close));
        closed && self.torn == 0 && matches!(self.stop, ScanStop::Unwritten | ScanStop::EndOfBytes)
    }
}

/// Opens a segment with all of its bytes to be read: while nobody writes to it.
pub(super) fn open_whole(
    directory: &Directory,
    number: u64,
    mode: OpenMode,
) -> Result<SegmentFile, Error> {
    let path = directory.segment(number);
    let disk = &*directory.disk;
    let len = disk.open(&path, OpenMode::Read).and_then(|file| file.len());
    let file = len.and_then(|len| SegmentFile::open(disk, &path, mode, len));
    file.map_err(Error::io(path, "open the segment"))
}

/// The bytes of a segment that was [opened whole](open_whole).
pub(super) fn all_bytes<'a>(file: &'a SegmentFile, path: &Path) -> Result<&'a [u8], Error> {
    file.bytes().map_err(Error::io(path, "read the segment"))
}

/// A frame that the scan has verified, read again: the disk may answer something else now.
pub(super) fn frame_again<'a>(
    path: &Path,
    bytes: &'a [u8],
    salt: u64,
    frame: &FrameAt,
) -> Result<Frame<'a>, Error> {
    let whole = bytes
        .get(frame.offset..)
        .map(|rest| Frame::parse(rest, salt));
    match whole {
        Some(Ok(whole)) if whole.header.base_position == frame.base_position => Ok(whole),
        _ => Err(changed(path, frame)),
    }
}

/// A frame that the scan has verified is another now.
pub(super) fn changed(path: &Path, frame: &FrameAt) -> Error {
    let first = frame.base_position;
    let last = frame.next_position().max(first + 1) - 1;
    corrupt(path, frame.offset, first, last, CHANGED)
}

/// Reads a segment into memory, up to `end`: while somebody may write to it.
pub(super) fn read_owned(directory: &Directory, number: u64, end: u64) -> Result<Vec<u8>, Error> {
    let path = directory.segment(number);
    let read = directory
        .disk
        .open(&path, OpenMode::Read)
        .and_then(|file| file.read_up_to(end.min(SEGMENT_LEN_MAX)));
    read.map_err(Error::io(path, "read the segment"))
}

/// What is known of a segment before it is scanned.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its first events.
    pub(super) front: Option<Front>,
    /// Whether nothing can lie behind its frames, since the log was closed before it.
    pub(super) is_closed: bool,
    /// Where the watermark says that the log ends, when it does in this segment.
    pub(super) end: Option<u64>,
}

/// Checks the header of a segment; `None` when it was never finished preparing: no header, and nothing behind
/// it.
pub(super) fn check_header(
    log_id: [u8; 16],
    path: &Path,
    number: u64,
    bytes: &[u8],
) -> Result<Option<SegmentHeader>, Error> {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(source) if source.is_unsupported() => {
            return Err(Error::UnsupportedFormat {
                path: path.to_owned(),
                fault: source,
            });
        }
        Err(_) if last_written_byte(bytes, SEGMENT_HEADER_LEN.min(bytes.len())).is_none() => {
            return Ok(None);
        }
        Err(source) => return Err(corrupt(path, 0, 1, u64::MAX, source)),
    };
    if header.log_id != log_id {
        let source = FormatError::Field {
            structure: "segment header",
            field: "log id",
            found: u64::from(header.log_id[0]),
            expected: "the id in the manifest: this file belongs to another log",
        };
        return Err(corrupt(path, 0, 1, u64::MAX, source));
    }
    if number > SEGMENT_NUMBER_MAX || bytes.len() as u64 > SEGMENT_LEN_MAX {
        let source = FormatError::Field {
            structure: "segment",
            field: "length or number",
            found: (bytes.len() as u64).max(number),
            expected: "within the limits of the format",
        };
        return Err(corrupt(path, 0, 1, u64::MAX, source));
    }
    if header.number != number {
        let source = FormatError::Field {
            structure: "segment header",
            field: "number",
            found: header.number,
            expected: "the number in its file name",
        };
        return Err(corrupt(path, 0, 1, u64::MAX, source));
    }
    Ok(Some(header))
}

/// Scans the frames of a segment. `written_end`: the end of what is not zero behind an offset, if that can be
/// told faster than by looking at it here.
pub(super) fn scan_segment(
    header: SegmentHeader,
    bytes: &[u8],
    known: Known,
    written_end: impl FnOnce(usize) -> Option<usize>,
) -> Scanned {
    let file_len = bytes.len() as u64;
    let mut frames: Vec<FrameAt> = Vec::new();
    let mut durable = 0;
    let front = known.front;
    let scan = scan_frames(
        bytes,
        front.as_ref().map_or(SEGMENT_HEADER_LEN, |front| front.end),
        header.salt,
        None,
        |offset, frame| {
            durable = durable.max(frame.header.durable_upto);
            frames.push(FrameAt {
                offset,
                end: offset + frame.header.length as usize,
                kind: frame.header.kind,
                base_position: frame.header.base_position,
                event_count: frame.header.event_count,
                time_us: frame.header.time_us,
                has_preamble: frame.header.has_preamble(),
            });
        },
    );
    // What was written behind a proven close and not lost begins near it: the writer sees to that.
    let is_close = frames
        .last()
        .is_some_and(|frame| frame.kind == Some(FrameKind::Close));
    let is_closed = known.is_closed || (is_close && known.end == Some(scan.end as u64));
    let near = scan.end.saturating_add(LOOKED_AT_BEHIND_CLOSE);
    let is_clean =
        is_closed && last_written_byte(&bytes[..near.min(bytes.len())], scan.end).is_none();
    let written = match is_clean {
        true => Some(scan.end),
        false => written_end(scan.end),
    };
    let written = &bytes[..written.map_or(bytes.len(), |end| end.clamp(scan.end, bytes.len()))];
    let torn = last_written_byte(written, scan.end).map_or(0, |last| last + 1 - scan.end);
    let mut from = scan.end;
    // A header may end in zeros that are its own.
    let search_end = (scan.end + torn + FRAME_HEADER_LEN).min(bytes.len());
    while let Some(later) = find_later_frame(&bytes[..search_end], from, header.salt) {
        durable = durable.max(later.durable_upto);
        from = later.offset + ALIGNMENT;
    }
    let mut no_batch_until = scan.end;
    while let Some(rest) = bytes.get(no_batch_until..)
        && let Ok(header) = FrameHeader::decode(rest, header.salt)
        && header.kind.is_some_and(|kind| kind != FrameKind::Batch)
    {
        no_batch_until += header.length as usize;
    }
    Scanned {
        header,
        front,
        frames,
        end: scan.end,
        no_batch_until,
        stop: scan.stop,
        torn,
        durable,
        file_len,
    }
}

/// The log id in the first segment whose header can be read.
pub(super) fn first_readable_log_id(
    directory: &Directory,
    listing: &Listing,
) -> Result<Option<[u8; 16]>, Error> {
    for (number, _) in &listing.segments {
        let file = open_whole(directory, *number, OpenMode::Read)?;
        match SegmentHeader::decode(all_bytes(&file, &directory.segment(*number))?) {
            Ok(header) => return Ok(Some(header.log_id)),
            Err(source) if source.is_unsupported() => {
                return Err(Error::UnsupportedFormat {
                    path: directory.segment(*number),
                    fault: source,
                });
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// What is missing of a segment that the manifest names, and is not quarantined.
pub(super) fn missing(
    directory: &Directory,
    listing: &Listing,
    entry: &SealedSegment,
    quarantined: &[Quarantined],
) -> Option<Error> {
    let len = listing.segment_len(entry.number);
    let last = quarantined.last().filter(|last| last.offset <= len);
    let is_accepted = last.is_some_and(|last| last.next == entry.next_position());
    (len < entry.end && !is_accepted).then(|| {
        let source = FormatError::TooShort {
            structure: "segment",
            found: len as usize,
            expected: entry.end as usize,
        };
        let last = entry.next_position().saturating_sub(1);
        corrupt(
            &directory.segment(entry.number),
            len as usize,
            entry.base_position,
            last,
            source,
        )
    })
}

/// Takes over the tracking positions of a frame.
pub(crate) fn read_tracking(tracking: &mut BTreeMap<Box<str>, u64>, frame: &Frame<'_>) {
    for entry in frame.preamble().into_iter().flatten().flatten() {
        if let PreambleEntry::Tracking { name, position } = entry {
            tracking.insert(name.into(), position);
        }
    }
}

/// Why the scan of a segment stopped, as an error.
pub(super) fn bad_stop(segment: &Scanned) -> FormatError {
    match &segment.stop {
        ScanStop::Bad(source) => source.clone(),
        _ => FormatError::Unwritten,
    }
}

/// Bytes that are checked to be zero behind a close that is proven. The writer lets nothing lie further behind
/// it as long as these may still be lost.
pub(crate) const LOOKED_AT_BEHIND_CLOSE: usize = 1 << 20;

/// What is read a second time and is not what was verified.
pub(super) const CHANGED: FormatError = FormatError::Field {
    structure: "segment",
    field: "frame",
    found: 0,
    expected: "the one that was there a moment ago: the disk answers now this, now that",
};

pub(super) const MISSING_SEGMENT: FormatError = FormatError::TooShort {
    structure: "segment",
    found: 0,
    expected: 1,
};
pub(crate) const OUT_OF_ORDER: FormatError = FormatError::Field {
    structure: "segment",
    field: "base position",
    found: 0,
    expected: "the position behind the segment before",
};
