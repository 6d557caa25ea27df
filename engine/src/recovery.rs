//! Opening: finding out what survived, and proving it before anything is acknowledged again.
//!
//! Sealed segments are believed at the manifest's word and opened at first use. Only the segments behind
//! them, the tail, are read. The last of these is told apart:
//!
//! - closed in an orderly way: appending goes on in it;
//! - anything else: never appended to again. What a witness proves durable stays; whole frames that no
//!   witness proves are written anew into the next segment and synced (after a failed sync the page
//!   cache may show frames that the disk does not have); what is no whole frame was never acknowledged,
//!   is kept in a quarantine file and dropped;
//! - a missing or bad frame that a witness says was durable: acknowledged data is damaged. Nothing is
//!   changed and writing is refused.
//!
//! Witnesses: `durable_upto` of any valid frame, also of those found behind a bad one; the manifest; the
//! watermark. Residual doubt: damage to the very last group, when the system crashed before its
//! watermark reached the disk, cannot be told from a torn write.
//!
//! Source: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018, for the
//! ambiguity; Rebello et al., ATC 2020, for why the tail is written anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use annals_segments::format::frame::{FRAME_HEADER_LEN, Frame, FrameHeader, FrameKind};
use annals_segments::format::manifest::{Manifest, SealedSegment};
use annals_segments::format::segment_header::{FLAG_RECOVERED, SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::watermark::Watermark;
use annals_segments::format::{SEGMENT_LEN_MAX, quarantine_file_name};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::{Disk, DiskLock, OpenMode, SegmentFile, last_written_byte};

use crate::checkpoint::{self, Front};
use crate::directory::{Directory, Listing, corrupt};
use crate::dropped::Dropped;
use crate::error::Error;
use crate::heads_file::HeadsFile;
use crate::housekeeping::{Housekeeper, Job, PreparedSegment, first_manifest};
use crate::log::{Inner, Opened};
use crate::options::LogOptions;
use crate::report::{RecoveryOutcome, RecoveryReport, TornTail};
use crate::retention::leftovers;
use crate::segment::{LogIdentity, Segment, define_topics, for_each_whole_frame};
use crate::segment_set::SegmentSet;
use crate::topics::Topics;
use crate::writer::Writer;

mod admission;
mod read_only;
mod rewrite;
mod scanned;

pub(crate) use admission::{check_place, take_lock};
pub(crate) use read_only::{damage_of, open_read_only, open_to_repair};
use rewrite::UnprovenFrame;
use scanned::{
    CHANGED, FrameAt, Known, MISSING_SEGMENT, Scanned, all_bytes, bad_stop, changed, check_header,
    first_readable_log_id, frame_again, missing, open_whole, read_owned, scan_segment,
};
pub(crate) use scanned::{LOOKED_AT_BEHIND_CLOSE, OUT_OF_ORDER, read_tracking};

/// Opens a log for writing.
pub(crate) fn open(dir: &Path, options: LogOptions) -> Result<Arc<Inner>, Error> {
    let directory = Directory::new(options.disk.clone(), dir.to_owned());
    check_place(&directory, options.create)?;
    directory.check_no_backup()?;
    let lock = take_lock(&directory)?;
    let listing = directory.list()?;
    let manifest = directory.read_manifest()?;
    let opening = Opening::new(directory, options, listing, manifest)?;
    opening.open(lock)
}

/// An open under way.
struct Opening {
    directory: Directory,
    options: LogOptions,
    log: LogIdentity,
    listing: Listing,
    manifest: Manifest,
    /// Whether a valid manifest was found.
    has_manifest: bool,
    /// What was truncated away.
    dropped: Option<Dropped>,
    /// How many segments it names.
    named: usize,
    /// Segments that were never finished preparing, as it seems. Removed once no witness says otherwise.
    unfinished: Vec<u64>,
    report: RecoveryReport,
    /// Every event up to here was durable, by any witness.
    durable: u64,
    /// The watermark, a witness for frames without events too.
    watermark: Option<Watermark>,
    tracking: BTreeMap<Box<str>, u64>,
    last_time_us: u64,
    /// Whether nothing is to be changed: somebody only asks whether the log can be opened.
    is_dry: bool,
}

/// What keeps the segments that the manifest does not name from being opened for writing, if anything does.
/// Changes nothing. Whoever asks has the lock.
///
/// # Errors
/// All but [`Error::Corrupt`], which is the answer.
pub(crate) fn damage_of_tail(
    directory: &Directory,
    options: &LogOptions,
) -> Result<Option<Error>, Error> {
    let listing = directory.list()?;
    let manifest = directory.read_manifest()?;
    let mut opening = Opening::new(directory.clone(), options.clone(), listing, manifest)?;
    opening.is_dry = true;
    let checked = opening
        .scan_tail()
        .and_then(|mut tail| opening.check_order(&mut tail));
    match checked {
        Ok(()) => Ok(None),
        Err(error @ Error::Corrupt { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

impl Opening {
    fn new(
        directory: Directory,
        options: LogOptions,
        listing: Listing,
        manifest: Option<Manifest>,
    ) -> Result<Self, Error> {
        let has_manifest = manifest.is_some();
        let log_id = match &manifest {
            Some(manifest) => manifest.log_id,
            None => match first_readable_log_id(&directory, &listing)? {
                Some(log_id) => log_id,
                None => {
                    let mut log_id = [0; 16];
                    options.random.fill(&mut log_id);
                    log_id
                }
            },
        };
        let log = LogIdentity::new(log_id);
        let dropped = Dropped::find(&directory, &log, manifest.as_ref(), &listing)?;
        let mut manifest = manifest.unwrap_or_else(|| first_manifest(&log));
        if let Some(dropped) = &dropped {
            manifest.first_retained_position = dropped.first_position;
        }
        let watermark = directory
            .read_watermark()?
            .filter(|watermark| watermark.log_id == log_id);
        let durable = manifest
            .durable_position
            .max(watermark.map_or(0, |watermark| watermark.position));
        let times = manifest.segments.iter().map(|segment| segment.last_time_us);
        let last_time_us = times.max().unwrap_or(0);
        let named = manifest.segments.len();
        Ok(Self {
            directory,
            options,
            log,
            listing,
            manifest,
            has_manifest,
            dropped,
            named,
            unfinished: Vec::new(),
            report: RecoveryReport::default(),
            durable,
            watermark,
            tracking: BTreeMap::new(),
            last_time_us,
            is_dry: false,
        })
    }

    /// Number of the last segment that is sealed or was dropped; 0 when there is none.
    fn last_named(&self) -> u64 {
        let dropped = self
            .dropped
            .as_ref()
            .map_or(0, |dropped| dropped.last_segment);
        let sealed = self.manifest.segments.last();
        sealed.map_or(dropped, |sealed| sealed.number)
    }

    /// The segments that the manifest does not name, ascending.
    fn tail_numbers(&self) -> Vec<u64> {
        let named = self.last_named();
        self.listing
            .segments
            .iter()
            .map(|(number, _)| *number)
            .filter(|number| *number > named)
            .collect()
    }

    fn next_position(&self) -> u64 {
        self.manifest.segments.last().map_or(
            self.manifest.first_retained_position,
            SealedSegment::next_position,
        )
    }

    fn open(mut self, lock: Box<dyn DiskLock>) -> Result<Arc<Inner>, Error> {
        self.dropped.as_ref().map_or(Ok(()), Dropped::check)?;
        for name in &self.listing.temporary {
            let path = self.directory.file(name);
            self.directory
                .disk
                .remove(&path)
                .map_err(Error::io(path, "remove the unfinished file"))?;
        }
        self.check_sealed()?;
        let mut tail = self.scan_tail()?;
        let is_new = !self.has_manifest && tail.iter().all(Scanned::is_empty);
        self.check_order(&mut tail)?;
        for number in std::mem::take(&mut self.unfinished) {
            self.remove_unfinished(number)?;
        }
        let spare = self.take_spare(&mut tail)?;

        let active = tail.pop();
        for segment in tail {
            let entry = segment.sealed_entry(self.next_position());
            self.manifest.segments.push(entry);
        }
        // The tracking positions of the last sealed segment stand again in the segment behind it, unless
        // the log ended just there.
        if active.is_none() {
            self.read_tracking_of_sealed()?;
        }
        self.report.outcome = match &active {
            None if is_new => RecoveryOutcome::Created,
            Some(segment) if self.is_closed(segment) => RecoveryOutcome::Clean,
            _ => RecoveryOutcome::Recovered,
        };
        let place = match active {
            None => Place::Fresh {
                spare,
                copies: Vec::new(),
            },
            Some(mut segment) if self.is_closed(&segment) => {
                let entry = segment.sealed_entry(self.next_position());
                let writer = Box::new(self.continue_in(&mut segment)?);
                if writer.can_close() {
                    Place::Continue { writer, spare }
                } else {
                    // Full but for the room that sealing took: the next segment it is.
                    self.seal(entry, &segment)?;
                    Place::Fresh {
                        spare,
                        copies: Vec::new(),
                    }
                }
            }
            Some(segment) => {
                let copies = self.leave_unclean(segment)?;
                Place::Fresh { spare, copies }
            }
        };
        self.finish(place, lock, is_new)
    }

    /// Whether a frame of segment `number` was synced, by any witness.
    fn is_proven(&self, number: u64, frame: &FrameAt) -> bool {
        let by_watermark = self.watermark.is_some_and(|watermark| {
            watermark.segment > number
                || (watermark.segment == number && frame.end as u64 <= watermark.end)
        });
        by_watermark
            || is_planted(Bug::TrustUnprovenTail)
            || (frame.event_count > 0 && frame.next_position() - 1 <= self.durable)
    }

    /// Whether the log was closed, and the close itself reached the disk. A close frame alone proves
    /// nothing: when its sync failed, it may be in the page cache only.
    fn is_closed(&self, segment: &Scanned) -> bool {
        let witnessed = self.watermark.is_some_and(|watermark| {
            watermark.segment == segment.header.number && watermark.end == segment.end as u64
        });
        segment.is_closed() && witnessed
    }

    /// Every segment that the manifest names is there and long enough, but for what somebody has decided to go on
    /// without.
    fn check_sealed(&self) -> Result<(), Error> {
        for entry in &self.manifest.segments {
            let quarantined = self.manifest.quarantined_in(entry.number);
            if let Some(damage) = missing(&self.directory, &self.listing, entry, quarantined) {
                return Err(damage);
            }
        }
        Ok(())
    }

    /// Reads the segments that the manifest does not name.
    fn scan_tail(&mut self) -> Result<Vec<Scanned>, Error> {
        let last_named = self.last_named();
        let mut expected = (last_named > 0).then_some(last_named + 1);
        let mut tail: Vec<Scanned> = Vec::new();
        let numbers = self.tail_numbers();
        let mut spare = match numbers[..] {
            [_, .., last] if self.options.background && !self.ends_in_close() => {
                self.look_at_spare(last)
            }
            _ => None,
        };
        for number in numbers.iter().copied() {
            let is_behind_close = tail.last().is_some_and(|before| self.is_closed(before));
            let looked_at = spare.take_if(|_| Some(&number) == numbers.last());
            let scanned = self.scan(number, is_behind_close, looked_at);
            match scanned.map_err(|error| self.narrowed(error, &tail))? {
                Some(scanned) => {
                    if let Some(expected) = expected.filter(|expected| *expected != number) {
                        // A whole file is gone. What it held is not known; what follows is.
                        let next = tail
                            .last()
                            .and_then(Scanned::next_position)
                            .unwrap_or(self.next_position());
                        let behind = scanned.base_position().unwrap_or(self.durable + 1);
                        let last = behind.max(next) - 1;
                        let path = self.directory.segment(expected);
                        return Err(corrupt(&path, 0, next, last, MISSING_SEGMENT));
                    }
                    expected = Some(number + 1);
                    tail.push(scanned);
                }
                None => self.unfinished.push(number),
            }
        }
        for segment in &tail {
            self.durable = self.durable.max(segment.durable);
            self.report.scanned_bytes += (segment.end - segment.start()) as u64;
            let times = segment.frames.iter().map(|frame| frame.time_us);
            self.last_time_us = times.fold(self.last_time_us, u64::max);
        }
        Ok(tail)
    }

    /// The error about a segment of which nothing can be read: it costs nothing that stands in those before, `tail`.
    fn narrowed(&self, error: Error, tail: &[Scanned]) -> Error {
        match error {
            Error::Corrupt {
                path,
                offset,
                first: 1,
                last: u64::MAX,
                fault,
            } => {
                let next = tail.iter().rev().find_map(Scanned::next_position);
                Error::Corrupt {
                    path,
                    offset,
                    first: next.unwrap_or(self.next_position()),
                    last: u64::MAX,
                    fault,
                }
            }
            error => error,
        }
    }

    /// Reads one segment; `None` when it was never finished preparing.
    /// `looked_at`: who tells where what is not zero ends behind its header.
    fn scan(
        &self,
        number: u64,
        is_closed: bool,
        looked_at: Option<JoinHandle<Option<usize>>>,
    ) -> Result<Option<Scanned>, Error> {
        let path = self.directory.segment(number);
        let file = open_whole(&self.directory, number, OpenMode::ReadWrite)?;
        let bytes = all_bytes(&file, &path)?;
        let Some(header) = check_header(self.log.id, &path, number, bytes)? else {
            return Ok(None);
        };
        // Who looks for damage reads all of it.
        let is_believed = !self.is_dry && self.listing.checkpoints.contains(&number);
        let front = match is_believed && self.is_newest(number)? {
            true => Front::open(
                &self.directory,
                &self.log,
                number,
                header.salt,
                bytes,
                self.durable,
            ),
            false => None,
        };
        let ends_here = self
            .watermark
            .filter(|watermark| watermark.segment == number);
        let known = Known {
            front,
            is_closed,
            end: ends_here.map(|watermark| watermark.end),
        };
        let written_end = |offset| match looked_at {
            Some(spare) if offset == SEGMENT_HEADER_LEN => spare.join().unwrap_or(None),
            _ => written_end(&*self.directory.disk, &path, offset),
        };
        Ok(Some(scan_segment(header, bytes, known, written_end)))
    }

    /// Has another thread look whether segment `number`, probably a spare, is all zeros: megabytes that say
    /// nothing, while the frames are scanned here. `None` when there is no thread to be had.
    fn look_at_spare(&self, number: u64) -> Option<JoinHandle<Option<usize>>> {
        let disk = self.directory.disk.clone();
        let path = self.directory.segment(number);
        let look = move || written_end(&*disk, &path, SEGMENT_HEADER_LEN);
        std::thread::Builder::new().spawn(look).ok()
    }

    /// Whether a close frame stands where the watermark says that the log ends. A look, not a proof.
    fn ends_in_close(&self) -> bool {
        let Some(watermark) = self.watermark else {
            return false;
        };
        let look = || -> std::io::Result<bool> {
            let path = self.directory.segment(watermark.segment);
            let file = self.directory.disk.open(&path, OpenMode::Read)?;
            let mut header = [0; SEGMENT_HEADER_LEN];
            let mut frame = [0; FRAME_HEADER_LEN];
            file.read_exact_at(&mut header, 0)?;
            file.read_exact_at(
                &mut frame,
                watermark.end.saturating_sub(FRAME_HEADER_LEN as u64),
            )?;
            let salt = SegmentHeader::decode(&header).map_or(0, |header| header.salt);
            let last = FrameHeader::decode(&frame, salt);
            Ok(last.is_ok_and(|last| last.kind == Some(FrameKind::Close)))
        };
        look().unwrap_or(false)
    }

    /// Whether no later segment has a frame. What was written anew there may make frames here void, which a
    /// checkpoint knows nothing of.
    fn is_newest(&self, number: u64) -> Result<bool, Error> {
        let later = self
            .tail_numbers()
            .into_iter()
            .filter(|later| *later > number);
        for later in later {
            let end = (SEGMENT_HEADER_LEN + FRAME_HEADER_LEN) as u64;
            let bytes = read_owned(&self.directory, later, end)?;
            if last_written_byte(&bytes, SEGMENT_HEADER_LEN.min(bytes.len())).is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks that the tail's segments follow each other, and settles those that overlap.
    fn check_order(&mut self, tail: &mut Vec<Scanned>) -> Result<(), Error> {
        let mut next = self.next_position();
        let mut place = 0;
        while place < tail.len() {
            let path = self.directory.segment(tail[place].header.number);
            let Some(base) = tail[place].base_position() else {
                let later = tail[place + 1..].iter().find_map(Scanned::base_position);
                match later {
                    None => self.check_nothing_lost(&path, &tail[place], next)?,
                    // A recovery found nothing in it that was proven, and went on in the next one. What
                    // may be left of it, torn or not, stands there too.
                    Some(later) if later == next => {}
                    Some(later) => {
                        let last = later.max(next + 1) - 1;
                        let stop = bad_stop(&tail[place]);
                        return Err(corrupt(&path, SEGMENT_HEADER_LEN, next, last, stop));
                    }
                }
                place += 1;
                continue;
            };
            if base != next {
                let (first, last) = (next.min(base), base.max(next) - 1);
                return Err(corrupt(
                    &path,
                    SEGMENT_HEADER_LEN,
                    first,
                    last,
                    OUT_OF_ORDER,
                ));
            }
            let end = tail[place].next_position().unwrap_or(base);
            if let Some(later_base) = tail.get(place + 1).and_then(Scanned::base_position) {
                let later = &tail[place + 1];
                if later_base > end {
                    let stop = bad_stop(&tail[place]);
                    return Err(corrupt(&path, tail[place].end, end, later_base - 1, stop));
                }
                // The watermark is written behind the manifests, and those behind a whole recovery.
                let later_number = later.header.number;
                let was_used = self
                    .watermark
                    .is_some_and(|watermark| watermark.segment >= later_number);
                let is_redone = !was_used
                    && later.header.compatible & FLAG_RECOVERED != 0
                    && later
                        .next_position()
                        .is_none_or(|later_end| later_end <= end)
                    && tail[place + 2..].iter().all(Scanned::is_empty);
                if is_redone && self.is_dry {
                    return Ok(());
                }
                if is_redone {
                    // A recovery that was cut short: everything in it is still here.
                    let numbers: Vec<u64> = tail[place + 1..]
                        .iter()
                        .map(|segment| segment.header.number)
                        .collect();
                    tail.truncate(place + 1);
                    numbers
                        .into_iter()
                        .rev()
                        .try_for_each(|number| self.remove_segment(number))?;
                    continue;
                }
                // The later segment took over these frames; here they are void. So are those without
                // events at its start: it begins with what they hold, and they may be in the page cache
                // only.
                let first_void = tail[place].frames.iter().position(|frame| {
                    frame.next_position() > later_base
                        || (frame.base_position >= later_base && frame.event_count == 0)
                });
                let first_void = first_void.unwrap_or(tail[place].frames.len());
                tail[place].cut_frames(first_void);
                next = later_base;
            } else {
                self.check_nothing_lost(&path, &tail[place], end)?;
                next = end;
            }
            place += 1;
        }
        self.check_end(tail)
    }

    /// A witness may speak of a segment that is not there at all, or has lost its header and all else.
    fn check_end(&self, tail: &[Scanned]) -> Result<(), Error> {
        let mut ends = tail.iter().rev().filter_map(Scanned::next_position);
        let next = ends.next().unwrap_or(self.next_position());
        let last_number = tail
            .last()
            .map_or(self.last_named(), |last| last.header.number);
        let is_missing = self.watermark.is_some_and(|watermark| {
            watermark.segment > last_number && watermark.end > SEGMENT_HEADER_LEN as u64
        });
        if (self.durable >= next || is_missing) && !is_planted(Bug::IgnoreWitnesses) {
            let path = self.directory.segment(last_number + 1);
            let last = self.durable.max(next);
            return Err(corrupt(&path, 0, next, last, MISSING_SEGMENT));
        }
        Ok(())
    }

    /// The end of the log: what a witness says was durable must be there. Frames that only mark a close
    /// or repeat the dictionary may be missing: they hold nothing of their own.
    fn check_nothing_lost(&self, path: &Path, segment: &Scanned, next: u64) -> Result<(), Error> {
        let is_short = self.watermark.is_some_and(|watermark| {
            watermark.segment == segment.header.number
                && watermark.end > segment.no_batch_until as u64
        });
        if (self.durable >= next || is_short) && !is_planted(Bug::IgnoreWitnesses) {
            let last = self.durable.max(next - 1);
            return Err(corrupt(path, segment.end, next, last, bad_stop(segment)));
        }
        Ok(())
    }

    /// Takes the empty segment at the end off the tail, ready to be used, or removes it.
    fn take_spare(&mut self, tail: &mut Vec<Scanned>) -> Result<Option<Spare>, Error> {
        let mut spare = None;
        while tail.last().is_some_and(Scanned::is_empty) {
            let segment = tail.pop().expect("there is a last one");
            let number = segment.header.number;
            let before = tail.last().map(|before| before.header.number);
            let is_usable = number == before.unwrap_or(self.last_named()) + 1
                && segment.torn == 0
                && segment.header.compatible & FLAG_RECOVERED == 0
                && segment.file_len == self.options.segment_len
                && tail.last().is_none_or(|before| !before.is_empty());
            if is_usable {
                spare = Some(Spare {
                    path: self.directory.segment(number),
                    header: segment.header,
                });
            } else {
                self.remove_segment(number)?;
            }
        }
        Ok(spare)
    }

    /// Writes the header of a spare anew, with these flags: when the sync of the process that prepared it failed,
    /// it may be in the page cache only.
    fn prove(&self, spare: Spare, compatible: u32) -> Result<PreparedSegment, Error> {
        let header = SegmentHeader {
            compatible,
            ..spare.header
        };
        let prove = || {
            let disk = &*self.directory.disk;
            let file = SegmentFile::open(disk, &spare.path, OpenMode::ReadWrite, 0)?;
            file.write(&header.encode(), 0)?;
            file.sync()?;
            file.publish(SEGMENT_HEADER_LEN);
            Ok(file)
        };
        let file = prove().map_err(Error::io(&spare.path, "prove the prepared segment"))?;
        Ok(PreparedSegment { header, file })
    }

    /// Removes a segment that was never finished preparing, if the disk says so twice: no file goes for one
    /// answer that was wrong.
    fn remove_unfinished(&self, number: u64) -> Result<(), Error> {
        let path = self.directory.segment(number);
        let bytes = read_owned(&self.directory, number, SEGMENT_LEN_MAX)?;
        match check_header(self.log.id, &path, number, &bytes)? {
            None => self.remove_segment(number),
            Some(_) => {
                let next = self.next_position();
                Err(corrupt(&path, 0, next, next, CHANGED))
            }
        }
    }

    fn remove_segment(&self, number: u64) -> Result<(), Error> {
        let path = self.directory.segment(number);
        self.directory
            .disk
            .remove(&path)
            .map_err(Error::io(path, "remove the empty segment"))?;
        self.directory.sync()
    }

    /// The tracking positions at the end of the sealed segments, when no later frame repeats them.
    fn read_tracking_of_sealed(&mut self) -> Result<(), Error> {
        let has_frames = |entry: &&SealedSegment| entry.end > SEGMENT_HEADER_LEN as u64;
        // What damage has taken from the last one may stand in those before: as far as is known then.
        let mut read = Vec::new();
        for entry in self.manifest.segments.iter().rev().filter(has_frames) {
            read.push(entry);
            if self.manifest.quarantined_in(entry.number).is_empty() {
                break;
            }
        }
        for entry in read.into_iter().rev() {
            let quarantined = self.manifest.quarantined_in(entry.number);
            let segment = Segment::sealed(&self.directory, &self.log, *entry, quarantined);
            let bytes = match segment.bytes() {
                Err(error) if error.is_corrupt() && !quarantined.is_empty() => continue,
                bytes => bytes?,
            };
            for_each_whole_frame(bytes, SEGMENT_HEADER_LEN, segment.salt(), |_, frame| {
                read_tracking(&mut self.tracking, &frame);
                // The manifest tells times of events only.
                self.last_time_us = self.last_time_us.max(frame.header.time_us);
            });
        }
        Ok(())
    }

    /// Notes the segment as sealed where its frames end.
    fn seal(&mut self, entry: SealedSegment, segment: &Scanned) -> Result<(), Error> {
        self.manifest.segments.push(entry);
        let number = segment.header.number;
        let file = open_whole(&self.directory, number, OpenMode::Read)?;
        let path = self.directory.segment(number);
        let bytes = all_bytes(&file, &path)?;
        for frame in segment.frames.iter().filter(|frame| frame.has_preamble) {
            let whole = frame_again(&path, bytes, segment.header.salt, frame)?;
            read_tracking(&mut self.tracking, &whole);
        }
        Ok(())
    }

    /// Leaves a segment that was not closed: quarantines what is torn, seals it behind its last proven
    /// frame, and returns the whole batches that no witness proves.
    fn leave_unclean(&mut self, mut segment: Scanned) -> Result<Vec<UnprovenFrame>, Error> {
        let number = segment.header.number;
        let path = self.directory.segment(number);
        let file = open_whole(&self.directory, number, OpenMode::Read)?;
        let bytes = all_bytes(&file, &path)?;
        if segment.torn > 0 {
            let torn = &bytes[segment.end..segment.end + segment.torn];
            self.report.torn = Some(self.quarantine(number, segment.end, torn)?);
        }
        // Behind the last proven frame, not before the first unproven batch: a dictionary between the
        // two is no more proven than the batch.
        let proven = segment
            .frames
            .iter()
            .rposition(|frame| self.is_proven(number, frame));
        let first = proven.map_or(0, |last| last + 1);
        let base_position = segment.frames.get(first).map(|frame| frame.base_position);
        let topics = match segment.frames[first..].iter().any(FrameAt::is_batch) {
            true => topics_of(bytes, &segment.frames, segment.header.salt),
            false => Vec::new(),
        };
        let topics = Arc::new(topics);
        let mut copies = Vec::new();
        for frame in segment.frames[first..]
            .iter()
            .filter(|frame| frame.is_batch())
        {
            let whole = frame_again(&path, bytes, segment.header.salt, frame)?;
            let copy = UnprovenFrame {
                bytes: whole.as_bytes().to_vec(),
                salt: segment.header.salt,
                topics: topics.clone(),
            };
            // The copy gets checksums of its own: they must not be those of bytes that have changed since the scan.
            copy.verify().map_err(|_| changed(&path, frame))?;
            copies.push(copy);
            self.report.rewritten_events += u64::from(frame.event_count);
        }
        if is_planted(Bug::RecoverOneLess) {
            copies.pop();
        }
        // A dictionary before the first of them holds what was durable before it was written. It may be
        // all that is left of that: frames that it repeats are void in the segment before.
        let mut repeated = BTreeMap::new();
        for frame in segment.frames[first..]
            .iter()
            .take_while(|frame| !frame.is_batch())
        {
            let whole = frame_again(&path, bytes, segment.header.salt, frame)?;
            read_tracking(&mut repeated, &whole);
        }
        segment.cut_frames(first);
        drop(file);
        if segment.is_empty() {
            // Nothing in it is proven: the copies are all there is, and they start where it started.
            let base_position = base_position.unwrap_or(self.next_position());
            self.manifest
                .segments
                .push(segment.sealed_entry(base_position));
            self.read_tracking_of_sealed()?;
        } else {
            self.seal(segment.sealed_entry(self.next_position()), &segment)?;
        }
        self.tracking.extend(repeated);
        tracing::warn!(
            path = %path.display(),
            torn_bytes = segment.torn,
            rewritten_events = self.report.rewritten_events,
            "the log was not closed; its tail has been scanned"
        );
        Ok(copies)
    }

    /// Keeps bytes that are dropped from the log.
    fn quarantine(&self, number: u64, offset: usize, bytes: &[u8]) -> Result<TornTail, Error> {
        let name = quarantine_file_name(number, offset as u64);
        let quarantine = self.directory.file(&name);
        annals_segments::write_finished(&*self.directory.disk, &self.directory.path, &name, bytes)
            .map_err(Error::io(&quarantine, "write the quarantine file"))?;
        Ok(TornTail {
            path: self.directory.segment(number),
            offset: offset as u64,
            bytes: bytes.len() as u64,
            quarantine: Some(quarantine),
        })
    }

    /// Makes the place to write to, proves it, and puts the log together.
    fn finish(
        mut self,
        place: Place,
        lock: Box<dyn DiskLock>,
        is_new: bool,
    ) -> Result<Arc<Inner>, Error> {
        let (mut writer, kept_spare) = match place {
            Place::Continue { writer, spare } => {
                let kept = spare.map(|spare| self.prove(spare, 0)).transpose()?;
                (*writer, kept)
            }
            Place::Fresh { spare, copies } => (self.start_fresh(spare, &copies)?, None),
        };
        // Names found here may never have been made durable by the process that made them.
        self.directory.sync()?;
        let leftovers = self.leftovers();
        self.write_manifests(is_new, !leftovers.is_empty(), &writer)?;
        for name in leftovers {
            let path = self.directory.file(&name);
            let removed = self.directory.disk.remove(&path);
            removed.map_err(Error::io(path, "remove the dropped file"))?;
        }
        // Behind the manifest: before it, a redone recovery would take the watermark's word for frames
        // that only the removed copy had on the disk.
        writer
            .write_watermark(self.log.id)
            .map_err(Error::io(&self.directory.path, "write the watermark"))?;
        if is_new
            && let Some(parent) = self
                .directory
                .path
                .parent()
                .filter(|parent| *parent != Path::new(""))
        {
            // The process that made the directory may have been killed before it synced the parent.
            self.directory
                .disk
                .sync_dir(parent)
                .map_err(Error::io(parent, "sync the directory"))?;
        }
        let mut set = SegmentSet::default();
        for entry in &self.manifest.segments {
            let quarantined = self.manifest.quarantined_in(entry.number);
            let segment = Segment::sealed(&self.directory, &self.log, *entry, quarantined);
            set.segments.push(Arc::new(segment));
        }
        set.segments.push(writer.segment.clone());
        set.heads = match self.manifest.heads {
            0 => None,
            covers => {
                let log_len = set.sealed_len();
                HeadsFile::open(&self.directory, &self.log, covers, log_len).map(Arc::new)
            }
        };
        set.dropped = self.dropped.map(Arc::new);
        writer.tracking.clone_from(&self.tracking);
        let head = writer.next_position - 1;
        for number in &self.listing.checkpoints {
            // What a crash has left beside an index.
            if *number != writer.segment.number && self.listing.has_index(*number) {
                checkpoint::remove(&self.directory, *number);
            }
        }
        let (mut unindexed, mut unfinished) = (Vec::new(), Vec::new());
        for entry in &self.manifest.segments {
            let has_index = self.listing.has_index(entry.number);
            if !has_index {
                unindexed.push(entry.number);
            }
            if !has_index || self.listing.segment_len(entry.number) > entry.end {
                unfinished.push(entry.number);
            }
        }
        self.report.rebuilt_indexes = unindexed;
        let inner = Arc::new(Inner::new(Opened {
            directory: self.directory,
            log: self.log,
            options: self.options,
            recovery: self.report,
            writer: Some(writer),
            manifest: self.manifest,
            set,
            tracking: self.tracking,
            head,
            lock: Some(lock),
        }));
        if let Some(spare) = kept_spare {
            inner.housekeeper.keep_spare(spare);
        }
        if inner.options.background {
            Housekeeper::start(&inner);
        }
        for number in unfinished {
            inner.housekeeper.request(Job::Finish(number));
        }
        inner.housekeeper.run_inline(&inner);
        Ok(inner)
    }

    /// A manifest that names every sealed segment, in both copies after a recovery: losing one of them
    /// must not bring the frames back that were written anew.
    ///
    /// And before the files of a truncation that was cut short are removed: the older copy may name them.
    fn write_manifests(
        &mut self,
        is_new: bool,
        has_leftovers: bool,
        writer: &Writer,
    ) -> Result<(), Error> {
        let copies = match self.report.outcome {
            // A closed segment without room to go on in has just been sealed, and is cut next.
            RecoveryOutcome::Clean if self.has_manifest => {
                usize::from(has_leftovers || self.manifest.segments.len() > self.named)
            }
            _ if is_new => 1,
            _ => 2,
        };
        for _ in 0..copies {
            self.manifest.generation += 1;
            self.manifest.durable_position = writer.next_position - 1;
            let written = self.directory.write_manifest(&self.manifest);
            written.map_err(Error::io(&self.directory.path, "write the manifest"))?;
        }
        Ok(())
    }

    /// What a truncation that was cut short has left.
    fn leftovers(&self) -> Vec<String> {
        let last_segment = self
            .dropped
            .as_ref()
            .map_or(0, |dropped| dropped.last_segment);
        leftovers(&self.listing, &self.manifest, last_segment)
    }
}

/// An empty segment behind the others, found ready to be used.
struct Spare {
    path: PathBuf,
    header: SegmentHeader,
}

/// Where the writer goes on.
enum Place {
    /// In a segment that was closed.
    Continue {
        writer: Box<Writer>,
        spare: Option<Spare>,
    },
    /// In the next one, starting with copies of unproven frames.
    Fresh {
        spare: Option<Spare>,
        copies: Vec<UnprovenFrame>,
    },
}

/// The end of what is not zero behind `offset`; `None` when it cannot be told.
fn written_end(disk: &dyn Disk, path: &Path, offset: usize) -> Option<usize> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let end = file.written_end(offset as u64).ok()?;
    usize::try_from(end).ok()
}

/// The topics that these frames of a segment define, all of them verified, by number. They are dense up to the
/// first that damage has taken.
fn topics_of(bytes: &[u8], frames: &[FrameAt], salt: u64) -> Vec<Box<str>> {
    let topics = Topics::default();
    for at in frames.iter().filter(|frame| frame.has_preamble) {
        if let Ok(frame) = Frame::parse(&bytes[at.offset..], salt) {
            define_topics(&topics, &frame);
        }
    }
    (0..)
        .map_while(|number| topics.name(number).map(Into::into))
        .collect()
}
