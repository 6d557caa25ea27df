//! Opening for reading: no lock is kept, nothing is written, nothing is believed that is not proven.
//!
//! Files that may still be written are read into memory of our own before they are looked at; through the
//! map only what is shown is touched, and that nobody writes or cuts any more. Beside a live writer the watermark
//! bounds what is looked at. Without one, events are shown up to the last that a witness proves. Damage
//! does not keep a log from being opened: it is reported, and each damaged event answers with an error in
//! its place.

use std::path::Path;
use std::sync::Arc;

use annals_segments::format::frame::{Frame, FrameKind};
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::watermark::Watermark;
use annals_segments::format::{FormatError, SEGMENT_LEN_MAX};
use annals_segments::{ScanStop, SegmentFile, last_written_byte};

use super::{
    Known, OUT_OF_ORDER, Opening, bad_stop, check_header, check_place, missing, read_owned,
    read_tracking, scan_segment,
};
use crate::directory::{Directory, Listing, corrupt};
use crate::dropped::Dropped;
use crate::error::Error;
use crate::follow::Follower;
use crate::heads_file::HeadsFile;
use crate::log::{Inner, Opened};
use crate::lost_end::LostEnd;
use crate::options::LogOptions;
use crate::report::{Damage, RecoveryOutcome};
use crate::segment::{Segment, Whole, for_each_frame, for_each_whole_frame};
use crate::segment_set::SegmentSet;

/// Opens a log for reading.
pub(crate) fn open_read_only(dir: &Path, options: LogOptions) -> Result<Arc<Inner>, Error> {
    let directory = Directory::new(options.disk.clone(), dir.to_owned());
    check_place(&directory, false)?;
    let in_use = is_in_use(&directory);
    open_at(&directory, &options, in_use, Unproven::Hidden)
}

/// Whether whole frames at the end that no witness proves are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unproven {
    Hidden,
    /// Those that follow what is proven without a gap.
    Shown,
}

/// Opens a log for reading by whoever has its lock and is about to repair it: with the whole frames that no witness
/// proves.
pub(crate) fn open_to_repair(
    directory: &Directory,
    options: &LogOptions,
) -> Result<Arc<Inner>, Error> {
    open_at(directory, options, Some(false), Unproven::Shown)
}

fn open_at(
    directory: &Directory,
    options: &LogOptions,
    in_use: Option<bool>,
    unproven: Unproven,
) -> Result<Arc<Inner>, Error> {
    let (mut opening, watermark) = read_directory(directory, options)?;

    let mut set = SegmentSet::default();
    if let Some(error) = opening.dropped.as_ref().and_then(Dropped::damage) {
        opening.report.damages.push(damage_of(&error));
    }
    for entry in &opening.manifest.segments {
        let quarantined = opening.manifest.quarantined_in(entry.number);
        if let Some(error) = missing(&opening.directory, &opening.listing, entry, quarantined) {
            opening.report.damages.push(damage_of(&error));
        }
        set.segments.push(Arc::new(Segment::sealed(
            &opening.directory,
            &opening.log,
            *entry,
            quarantined,
        )));
    }
    let bound = watermark.filter(|_| in_use != Some(false));
    let mut tail: Vec<Readable> = Vec::new();
    let mut unreadable = Vec::new();
    for number in opening.tail_numbers() {
        let end = match bound {
            Some(bound) if bound.segment < number => continue,
            Some(bound) if bound.segment == number => Some(bound.end),
            _ => None,
        };
        match Readable::read(&opening, number, end) {
            Ok(found) => tail.extend(found),
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Err(error) => unreadable.push((number, error)),
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
    let head = match unproven {
        _ if is_closed => opening.durable.max(last - 1),
        Unproven::Hidden => opening.durable,
        Unproven::Shown => tail
            .iter()
            .fold(opening.durable, |head, segment| segment.head_behind(head)),
    };
    for (number, error) in &unreadable {
        let before = tail.iter().rfind(|one| one.header.number < *number);
        let later = tail.iter().find(|one| one.header.number > *number);
        let first = before.map_or(opening.next_position(), |before| before.next_position);
        let behind = later.map_or(head + 1, |later| later.base_position);
        let path = opening.directory.segment(*number);
        let damage = damage_of(error);
        opening.report.damages.push(Damage {
            path,
            first,
            last: behind.max(first) - 1,
            ..damage
        });
    }
    let mut next = opening.next_position();
    let has_start = opening.has_manifest || opening.manifest.first_retained_position > 1;
    for (place, readable) in tail.iter().enumerate() {
        let later = tail
            .get(place + 1)
            .map_or(u64::MAX, |later| later.base_position);
        if place == 0 && !has_start {
            next = readable.base_position;
        }
        let segment = readable.load(&mut opening, &mut next, later.min(head + 1))?;
        set.segments.push(Arc::new(segment));
    }
    if next <= head {
        let lost_end = opening.lost_end(tail.last(), &unreadable, next, head);
        let is_told = opening.report.damages.iter().any(|damage| {
            damage.path == lost_end.path && damage.first <= next && head <= damage.last
        });
        if !is_told {
            opening.report.damages.push(damage_of(&lost_end.all()));
        }
        set.lost_end = Some(Arc::new(lost_end));
    }
    if tail.is_empty() {
        opening.read_tracking_of_sealed()?;
    }
    set.heads = match opening.manifest.heads {
        0 => None,
        covers => {
            let log_len = set.sealed_len();
            HeadsFile::open(&opening.directory, &opening.log, covers, log_len).map(Arc::new)
        }
    };
    set.dropped = opening.dropped.take().map(|mut dropped| {
        // With the manifests lost, and no table, what is there says where the log starts.
        let first = set.segments.first().filter(|_| !has_start);
        dropped.first_position = first.map_or(dropped.first_position, |first| first.base_position);
        Arc::new(dropped)
    });
    opening.report.outcome = match in_use {
        _ if !opening.report.damages.is_empty() => RecoveryOutcome::Damaged,
        Some(true) => RecoveryOutcome::InUse,
        _ if is_closed || tail.is_empty() => RecoveryOutcome::Clean,
        _ => RecoveryOutcome::NeedsRecovery,
    };
    let inner = Arc::new(Inner::new(Opened {
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
    }));
    Follower::start(&inner, watermark)?;
    Ok(inner)
}

impl Opening {
    /// Where the positions from `first` to `last` should stand, of which nothing can be read. `tail`: the last segment
    /// that can be; `unreadable`: those of which not even the header can.
    fn lost_end(
        &self,
        tail: Option<&Readable>,
        unreadable: &[(u64, Error)],
        first: u64,
        last: u64,
    ) -> LostEnd {
        let watermark = self.watermark.map_or(0, |watermark| watermark.segment);
        let last_number = tail.map_or(self.last_named(), |tail| tail.header.number);
        if let Some(tail) = tail
            && (tail.is_bad || watermark <= last_number)
        {
            return LostEnd {
                path: self.directory.segment(last_number),
                offset: tail.end,
                first,
                last,
                fault: tail.fault.clone(),
            };
        }
        let number = last_number + 1;
        let path = self.directory.segment(number);
        let of_header = unreadable.iter().find_map(|(of, error)| match error {
            Error::Corrupt { offset, fault, .. } if *of == number => Some((*offset, fault)),
            _ => None,
        });
        let len = self.listing.segment_len(number);
        let (offset, fault) = match of_header {
            Some((offset, fault)) => (offset as usize, fault.clone()),
            None if len > SEGMENT_HEADER_LEN as u64 => (SEGMENT_HEADER_LEN, FormatError::Unwritten),
            None => {
                let end = self
                    .watermark
                    .filter(|watermark| watermark.segment == number);
                let expected = end.map_or(SEGMENT_HEADER_LEN, |end| end.end as usize);
                let fault = FormatError::TooShort {
                    structure: "segment",
                    found: len as usize,
                    expected: expected.max(len as usize + 1),
                };
                (len as usize, fault)
            }
        };
        LostEnd {
            path,
            offset,
            first,
            last,
            fault,
        }
    }
}

/// Manifest, watermark and listing that fit each other, also while a writer replaces them.
fn read_directory(
    directory: &Directory,
    options: &LogOptions,
) -> Result<(Opening, Option<Watermark>), Error> {
    let mut attempts = 0;
    loop {
        // The manifest before the watermark: what it says is durable, the watermark says too. The
        // manifest again at the end: what it names was there when the directory was listed.
        let manifest = directory.read_manifest()?;
        let watermark = directory.read_watermark()?;
        let listing = directory.list()?;
        let again = directory.read_manifest()?;
        attempts += 1;
        if manifest != again && attempts < READ_ATTEMPTS {
            continue;
        }
        if manifest.is_none() && holds_no_finished_segment(directory, &listing)? {
            return Err(Error::NotALog {
                path: directory.path.clone(),
                found: "a log that has no segments".into(),
                expected: "at least one; open it for writing once",
            });
        }
        let mut listing = listing;
        if directory.read_backup()?.is_some() {
            // What a later backup has brought before it was cut short is no part of this one.
            let named = manifest
                .as_ref()
                .and_then(|manifest| manifest.segments.last());
            let named = named.map_or(0, |last| last.number);
            listing.segments.retain(|(number, _)| *number <= named);
        }
        let mut opening = Opening::new(directory.clone(), options.clone(), listing, manifest)?;
        let is_table_damaged = opening.dropped.as_ref().is_some_and(Dropped::is_damaged);
        if is_table_damaged && attempts < READ_ATTEMPTS && directory.read_manifest()? != again {
            // A truncation has replaced the table meanwhile.
            continue;
        }
        let watermark = watermark.filter(|watermark| watermark.log_id == opening.log.id);
        // `Opening` may have read a later one.
        opening.watermark = watermark;
        opening.durable = watermark
            .map_or(0, |watermark| watermark.position)
            .max(opening.manifest.durable_position);
        return Ok((opening, watermark));
    }
}

/// Whether there is nothing yet that says whose log this is: its first writer is just making it.
fn holds_no_finished_segment(directory: &Directory, listing: &Listing) -> Result<bool, Error> {
    for (number, _) in &listing.segments {
        let bytes = read_owned(directory, *number, SEGMENT_LEN_MAX)?;
        let is_unfinished = SegmentHeader::decode(&bytes).is_err()
            && last_written_byte(&bytes, SEGMENT_HEADER_LEN.min(bytes.len())).is_none();
        if !is_unfinished {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A segment of the tail, read into memory.
struct Readable {
    bytes: Vec<u8>,
    header: SegmentHeader,
    /// Position of the first whole frame.
    base_position: u64,
    /// Position behind the last whole frame, damage before it or not.
    next_position: u64,
    durable: u64,
    /// Offset behind the last whole frame before any damage.
    end: usize,
    /// What stands behind it.
    fault: FormatError,
    /// Whether that is more than space that is not written yet.
    is_bad: bool,
    is_closed: bool,
    /// Whether something is missing there that the watermark says was durable.
    is_short: bool,
}

impl Readable {
    /// Reads the bytes up to `end`, or all of them; `None` when there is no whole frame.
    fn read(opening: &Opening, number: u64, end: Option<u64>) -> Result<Option<Self>, Error> {
        // A log that was closed ends where its watermark says, and the rest need not be read.
        let closed_end = opening
            .watermark
            .filter(|watermark| watermark.segment == number);
        if let Some(watermark) = closed_end.filter(|_| end.is_none())
            && let Some(readable) = Self::read_up_to(opening, number, watermark.end)?
            && readable.is_closed
            && readable.end == watermark.end as usize
        {
            return Ok(Some(readable));
        }
        Self::read_up_to(opening, number, end.unwrap_or(SEGMENT_LEN_MAX))
    }

    fn read_up_to(opening: &Opening, number: u64, end: u64) -> Result<Option<Self>, Error> {
        let path = opening.directory.segment(number);
        let bytes = read_owned(&opening.directory, number, end)?;
        let Some(header) = check_header(opening.log.id, &path, number, &bytes)? else {
            return Ok(None);
        };
        let scanned = scan_segment(header, &bytes, Known::default(), |_| None);
        let (mut base_position, mut next_position, mut is_closed) = (None, 0, false);
        for_each_whole_frame(
            &bytes,
            SEGMENT_HEADER_LEN,
            scanned.header.salt,
            |_, frame| {
                base_position.get_or_insert(frame.header.base_position);
                next_position = frame.header.next_position().max(next_position);
                is_closed = frame.header.kind == Some(FrameKind::Close);
            },
        );
        let is_short = opening.watermark.is_some_and(|watermark| {
            watermark.segment == number && watermark.end > scanned.no_batch_until as u64
        });
        Ok(base_position.map(|base_position| Self {
            bytes,
            header: scanned.header,
            base_position,
            next_position,
            durable: scanned.durable,
            end: scanned.end,
            fault: bad_stop(&scanned),
            is_bad: matches!(scanned.stop, ScanStop::Bad(_)),
            is_closed: is_closed && !is_short,
            is_short,
        }))
    }

    /// The last position behind `head` that whole frames reach without a gap.
    fn head_behind(&self, head: u64) -> u64 {
        let mut next = head + 1;
        for_each_whole_frame(
            &self.bytes,
            SEGMENT_HEADER_LEN,
            self.header.salt,
            |_, frame| {
                if frame.header.base_position == next {
                    next = frame.header.next_position();
                }
            },
        );
        next - 1
    }

    /// Whether a frame is shown: it lies behind the events before it, and below position `void_from`.
    fn is_shown(frame: &Frame<'_>, expected: u64, void_from: u64) -> bool {
        frame.header.next_position() <= void_from && frame.header.base_position >= expected
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
        let salt = self.header.salt;
        let (mut expected, mut end) = (*next, SEGMENT_HEADER_LEN);
        for_each_whole_frame(&self.bytes, SEGMENT_HEADER_LEN, salt, |offset, frame| {
            if Self::is_shown(&frame, expected, void_from) {
                expected = frame.header.next_position();
                end = offset + frame.as_bytes().len();
            }
        });
        let file = SegmentFile::open_growing(&*opening.directory.disk, &path, end as u64)
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
        let (mut expected, mut expected_offset) = (*next, SEGMENT_HEADER_LEN);
        segment.with_tail(|tail| {
            for_each_frame(
                &self.bytes[..end],
                SEGMENT_HEADER_LEN,
                salt,
                |offset, frame, whole| {
                    if !Self::is_shown(&frame, expected, void_from) {
                        return;
                    }
                    let base = frame.header.base_position;
                    if base > expected {
                        let fault = fault_at(&self.bytes[expected_offset..], salt);
                        report.damages.push(damage_of(&corrupt(
                            &path,
                            expected_offset,
                            expected,
                            base - 1,
                            fault,
                        )));
                    }
                    if whole == Whole::No {
                        // What is sound in it is shown.
                        let lost = segment.index_part(tail, offset, &frame, end);
                        let first = lost.map_or(base, |lost| lost.first.max(base));
                        let last = lost.map_or(first - 1, |lost| lost.last);
                        let fault = fault_at(&self.bytes[offset..], salt);
                        let partly = corrupt(&path, offset, first, last, fault);
                        report.damages.push(damage_of(&partly));
                        segment.note_lost(lost);
                        expected = frame.header.next_position();
                        expected_offset = offset + frame.as_bytes().len();
                        return;
                    }
                    segment.note_lost(segment.index_frame(tail, offset, &frame, end));
                    read_tracking(tracking, &frame);
                    *last_time_us = (*last_time_us).max(frame.header.time_us);
                    expected = frame.header.next_position();
                    expected_offset = offset + frame.as_bytes().len();
                },
            );
        });
        *next = expected.max(*next);
        if self.is_short && *next >= void_from {
            // No event is missing; a tracking position may be.
            let missing = corrupt(&path, self.end, *next, *next - 1, self.fault.clone());
            report.damages.push(damage_of(&missing));
        }
        Ok(segment)
    }
}

/// What is wrong with the frame at the start of `bytes`.
fn fault_at(bytes: &[u8], salt: u64) -> FormatError {
    let verified = Frame::parse(bytes, salt).and_then(|frame| frame.verify());
    verified.err().unwrap_or(OUT_OF_ORDER)
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
pub(crate) fn damage_of(error: &Error) -> Damage {
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

/// How often a directory is read again when its manifest changed meanwhile. It changes once a segment.
const READ_ATTEMPTS: u32 = 100;
