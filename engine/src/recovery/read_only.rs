//! Opening for reading: no lock is kept, nothing is written, nothing is believed that is not proven.
//!
//! Beside a live writer the watermark bounds what is looked at, so that no byte is read that is still
//! being written. Without one, events are shown up to the last that a witness proves. Damage does not
//! keep a log from being opened: it is reported, and each damaged event answers with an error in its place.

use std::path::Path;
use std::sync::Arc;

use annals_segments::format::frame::FrameKind;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::{OpenMode, SegmentFile};

use super::{
    MISSING_SEGMENT, OUT_OF_ORDER, Opening, check_place, missing, open_whole, read_tracking,
    scan_segment,
};
use crate::directory::{Directory, corrupt};
use crate::error::Error;
use crate::housekeeping;
use crate::log::{Inner, Opened};
use crate::options::LogOptions;
use crate::report::{Damage, RecoveryOutcome};
use crate::segment::{Segment, for_each_whole_frame};
use crate::segment_set::SegmentSet;

/// Opens a log for reading.
pub(crate) fn open_read_only(dir: &Path, options: LogOptions) -> Result<Arc<Inner>, Error> {
    let directory = Directory {
        disk: options.disk.clone(),
        path: dir.to_owned(),
    };
    check_place(&directory, false)?;
    let in_use = is_in_use(&directory);
    // The watermark before the listing: everything it covers is then in a file that is listed.
    let watermark = directory.read_watermark()?;
    let listing = directory.list()?;
    let manifest = directory.read_manifest()?;
    let mut opening = Opening::new(directory, options, listing, manifest)?;
    let watermark = watermark.filter(|watermark| watermark.log_id == opening.log.id);
    // `Opening` may have read a later one, beyond what was listed.
    opening.durable = watermark
        .map_or(0, |watermark| watermark.position)
        .max(opening.manifest.durable_position);

    let mut set = SegmentSet::default();
    for entry in &opening.manifest.segments {
        if let Some(error) = missing(&opening.directory, &opening.listing, entry) {
            opening.report.damages.push(damage_of(&error));
        }
        set.segments.push(Arc::new(Segment::sealed(
            &opening.directory,
            &opening.log,
            *entry,
        )));
    }
    let bound = watermark.filter(|_| in_use != Some(false));
    let mut tail = Vec::new();
    for number in opening.tail_numbers() {
        let end = match bound {
            Some(bound) if bound.segment < number => continue,
            Some(bound) if bound.segment == number => Some(bound.end),
            _ => None,
        };
        match Readable::open(&opening, number, end) {
            Ok(found) => tail.extend(found),
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Err(error) => opening.report.damages.push(damage_of(&error)),
        }
    }
    let is_closed = tail.last().is_some_and(|segment| segment.is_closed);
    for segment in &tail {
        opening.durable = opening.durable.max(segment.durable);
    }
    let last = tail
        .last()
        .map_or(opening.next_position(), |segment| segment.next_position);
    // What is proven and not there is damage, told when it is read: never a log that is silently shorter.
    let head = if is_closed {
        opening.durable.max(last - 1)
    } else {
        opening.durable
    };
    let mut next = opening.next_position();
    let has_start = opening.has_manifest || !opening.manifest.segments.is_empty();
    for (place, readable) in tail.iter().enumerate() {
        let void_from = tail
            .get(place + 1)
            .map_or(u64::MAX, |later| later.base_position)
            .min(head + 1);
        if place == 0 && !has_start {
            next = readable.base_position;
        }
        let segment = readable.load(&mut opening, &mut next, void_from)?;
        set.segments.push(Arc::new(segment));
    }
    if next <= head {
        let path = set
            .segments
            .last()
            .map_or(opening.directory.path.clone(), |segment| {
                segment.path.clone()
            });
        let lost = corrupt(&path, 0, next, head, MISSING_SEGMENT);
        opening.report.damages.push(damage_of(&lost));
    }
    if tail.is_empty() {
        opening.read_tracking_of_sealed()?;
    }
    set.heads = match opening.manifest.heads {
        0 => None,
        covers => housekeeping::open_heads(&opening.directory, &opening.log, covers).map(Arc::new),
    };
    opening.report.outcome = match in_use {
        _ if !opening.report.damages.is_empty() => RecoveryOutcome::Damaged,
        Some(true) => RecoveryOutcome::InUse,
        _ if is_closed || tail.is_empty() => RecoveryOutcome::Clean,
        _ => RecoveryOutcome::NeedsRecovery,
    };
    Ok(Arc::new(Inner::new(Opened {
        directory: opening.directory,
        log: opening.log,
        options: opening.options,
        recovery: opening.report,
        writer: None,
        manifest: opening.manifest,
        set,
        tracking: opening.tracking,
        head,
        lock: None,
    })))
}

/// A segment of the tail, to be read.
struct Readable {
    header: SegmentHeader,
    /// Position of the first whole frame.
    base_position: u64,
    /// Position behind the last whole frame, damage before it or not.
    next_position: u64,
    durable: u64,
    /// Offset behind the last whole frame.
    end: usize,
    is_closed: bool,
}

impl Readable {
    /// Looks at the bytes up to `end`, or all of them; `None` when there is no whole frame.
    fn open(opening: &Opening, number: u64, end: Option<u64>) -> Result<Option<Self>, Error> {
        let path = opening.directory.segment(number);
        let file = match end {
            None => open_whole(&opening.directory, number, OpenMode::Read)?,
            Some(end) => SegmentFile::open(&*opening.directory.disk, &path, OpenMode::Read, end)
                .map_err(Error::io(&path, "open the segment"))?,
        };
        let Some(scanned) = scan_segment(opening.log.id, &path, number, file.bytes())? else {
            return Ok(None);
        };
        let mut readable = Self {
            header: scanned.header,
            base_position: 0,
            next_position: 0,
            durable: scanned.durable,
            end: 0,
            is_closed: false,
        };
        for_each_whole_frame(
            file.bytes(),
            SEGMENT_HEADER_LEN,
            scanned.header.salt,
            |offset, frame| {
                if readable.base_position == 0 {
                    readable.base_position = frame.header.base_position;
                }
                readable.next_position = readable.next_position.max(frame.header.next_position());
                readable.end = offset + frame.as_bytes().len();
                readable.is_closed = frame.header.kind == Some(FrameKind::Close);
            },
        );
        Ok((readable.base_position > 0).then_some(readable))
    }

    /// The segment with the events below position `void_from`. Damaged events keep their place; they
    /// are reported. `next`: position behind the segment before, moved behind this one.
    fn load(
        &self,
        opening: &mut Opening,
        next: &mut u64,
        void_from: u64,
    ) -> Result<Segment, Error> {
        let path = opening.directory.segment(self.header.number);
        let file = SegmentFile::open(
            &*opening.directory.disk,
            &path,
            OpenMode::Read,
            self.end as u64,
        )
        .map_err(Error::io(&path, "open the segment"))?;
        // What is missing before the first whole frame belongs here: the segment before ended in order.
        let base_position = (*next).min(self.base_position);
        let segment = Segment::tail(
            &opening.directory,
            &opening.log,
            &self.header,
            base_position,
            file,
        );
        let Opening {
            report,
            tracking,
            last_time_us,
            ..
        } = opening;
        let mut expected = *next;
        let mut expected_offset = SEGMENT_HEADER_LEN;
        segment.with_tail(|tail| {
            let Ok(bytes) = segment.bytes() else { return };
            for_each_whole_frame(
                bytes,
                SEGMENT_HEADER_LEN,
                segment.salt(),
                |offset, frame| {
                    let base = frame.header.base_position;
                    let is_void = frame.header.next_position() > void_from || base < expected;
                    if is_void {
                        return;
                    }
                    if base > expected {
                        let source = annals_segments::format::frame::Frame::parse(
                            &bytes[expected_offset..],
                            segment.salt(),
                        )
                        .and_then(|frame| frame.verify())
                        .err()
                        .unwrap_or(OUT_OF_ORDER);
                        report.damages.push(damage_of(&corrupt(
                            &path,
                            expected_offset,
                            expected,
                            base - 1,
                            source,
                        )));
                    }
                    segment.index_frame(tail, offset, &frame, bytes.len());
                    read_tracking(tracking, &frame);
                    *last_time_us = (*last_time_us).max(frame.header.time_us);
                    expected = frame.header.next_position();
                    expected_offset = offset + frame.as_bytes().len();
                },
            );
        });
        *next = expected.max(*next);
        Ok(segment)
    }
}

/// Whether a process has the log open for writing; `None` when that cannot be told. Asking takes the
/// lock for an instant.
fn is_in_use(directory: &Directory) -> Option<bool> {
    directory
        .disk
        .try_lock(&directory.lock())
        .ok()
        .map(|lock| lock.is_none())
}

/// The damage that an error reports.
fn damage_of(error: &Error) -> Damage {
    match error {
        Error::Corrupt {
            path,
            offset,
            first,
            last,
            fault,
        } => Damage {
            path: path.clone(),
            offset: *offset,
            first: *first,
            last: *last,
            what: fault.to_string(),
        },
        other => Damage {
            path: Default::default(),
            offset: 0,
            first: 1,
            last: 0,
            what: other.to_string(),
        },
    }
}
