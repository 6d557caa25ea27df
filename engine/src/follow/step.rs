//! One step of following: what the writer has made durable since the last one becomes visible.
//!
//! Order is everything. The watermark is read before the manifest, since a writer that moves it into another
//! segment after a recovery has named the ones before in the manifest; only whole, verified frames that
//! continue what is there are taken, and never one behind the watermark or the end of a sealed segment. All
//! of them are in the indexes before the head moves, and it moves only when segments and positions fit each
//! other and the watermark. What a step that failed has added stays out of sight behind the head.
//!
//! What is durable is never rewritten, so a follower keeps its segments across the end of a writer and the
//! recovery of the next. A segment of which nothing was shown may be another file then: it is told by its salt.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use annals_segments::format::frame::{FRAME_HEADER_LEN, FrameHeader};
use annals_segments::format::manifest::{Manifest, SealedSegment};
use annals_segments::format::quarantined::Quarantined;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::watermark::Watermark;
use annals_segments::format::{FormatError, MANIFEST_FILES, WATERMARK_FILE};
use annals_segments::{DiskFile, OpenMode, ScanStop, SegmentFile, scan_frames};

use crate::directory::corrupt;
use crate::dropped::Dropped;
use crate::error::Error;
use crate::heads_file::HeadsFile;
use crate::log::Inner;
use crate::recovery::{OUT_OF_ORDER, read_tracking};
use crate::segment::{Segment, for_each_whole_frame, is_same_salt};
use crate::segment_set::SegmentSet;

/// Where following stands.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The watermark that everything shown goes back to.
    watermark: Option<Watermark>,
    /// First bytes of the manifests at the last look into them.
    stamps: [Vec<u8>; MANIFEST_FILES.len()],
    /// The file that frames were last read from.
    open: Option<OpenSegment>,
    /// Tracking positions in frames that are not shown yet.
    tracking: BTreeMap<Box<str>, u64>,
    /// Sealed segments whose index is in memory, or may come to be, until its file is there.
    waiting: Vec<Arc<Segment>>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct OpenSegment {
    salt: u64,
    number: u64,
    file: Arc<dyn DiskFile>,
}

/// How far the frames of a segment are to be taken.
#[derive(Clone, Copy, Debug)]
struct Goal {
    /// Offset behind the last of them.
    end: u64,
    /// Position of the last event up to there.
    position: u64,
}

impl From<&Watermark> for Goal {
    fn from(watermark: &Watermark) -> Self {
        Self {
            end: watermark.end,
            position: watermark.position,
        }
    }
}

impl From<&SealedSegment> for Goal {
    fn from(entry: &SealedSegment) -> Self {
        Self {
            end: entry.end,
            position: entry.next_position().saturating_sub(1),
        }
    }
}

impl Step {
    pub(super) fn behind(watermark: Option<Watermark>) -> Self {
        Self {
            watermark,
            ..Self::default()
        }
    }

    /// Looks for news and shows it. Answers whether there was any.
    pub(super) fn take(&mut self, inner: &Inner) -> Result<bool, Error> {
        let watermark = self.read_watermark(inner)?;
        // What is read of the log from here on is not older than what the watermark vouches for.
        fence(Ordering::Acquire);
        let stamps = inner.directory.manifest_stamps()?;
        let is_news = watermark != self.watermark;
        let is_sealed = stamps != self.stamps;
        if is_news && !is_sealed && self.extend(inner, watermark.as_ref()) {
            self.watermark = watermark;
        } else if is_news || is_sealed {
            let moved = watermark.as_ref().filter(|_| is_news);
            self.go_over(inner, moved)
                .inspect_err(|_| self.open = None)?;
            (self.watermark, self.stamps) = (watermark, stamps);
        }
        self.waiting.retain(|segment| segment.adopt_index());
        Ok(is_news || is_sealed)
    }

    /// The watermark as it is now; `None` as long as none was there that can be read.
    fn read_watermark(&self, inner: &Inner) -> Result<Option<Watermark>, Error> {
        let found = inner.directory.read_watermark()?;
        match found.filter(|watermark| watermark.log_id == inner.log.id) {
            Some(found) => match self.watermark {
                Some(seen) if found.generation < seen.generation => {
                    Err(replaced(inner, "an earlier state of it"))
                }
                _ => Ok(Some(found)),
            },
            None => {
                // Whose the directory is, the manifest says.
                read_manifest(inner)?;
                if self.watermark.is_none() {
                    return Ok(None);
                }
                let path = inner.directory.file(WATERMARK_FILE);
                Err(Error::io(path, "read the watermark")(
                    io::ErrorKind::NotFound.into(),
                ))
            }
        }
    }

    /// The usual case: the segment being written has grown. Answers whether that is all there is to it.
    fn extend(&mut self, inner: &Inner, watermark: Option<&Watermark>) -> bool {
        let set = inner.set();
        let (Some(watermark), Some(last)) = (watermark, set.segments.last()) else {
            return false;
        };
        if last.number != watermark.segment || last.sealed_entry().is_some() {
            return false;
        }
        let grown = self
            .grow(inner, last, Some(watermark.into()))
            .and_then(|()| last.next_position());
        // What does not fit here may in the light of the manifest; if not, the error is met there again.
        if grown.is_ok_and(|next| next.checked_sub(1) == Some(watermark.position)) {
            self.show(inner, watermark.position);
            return true;
        }
        self.open = None;
        false
    }

    /// Goes over to the segments that the manifest and the watermark name now. `moved`: the watermark,
    /// when it is news.
    fn go_over(&mut self, inner: &Inner, moved: Option<&Watermark>) -> Result<(), Error> {
        let manifest = read_manifest(inner)?;
        let old = inner.set();
        let mut set = SegmentSet {
            segments: Vec::with_capacity(manifest.segments.len() + 1),
            heads: old.heads.clone(),
            fetched: old.fetched,
            dropped: dropped(inner, &old, &manifest)?,
            lost_end: None,
        };
        for entry in &manifest.segments {
            let quarantined = manifest.quarantined_in(entry.number);
            let segment = self.named(inner, &old, entry, quarantined)?;
            set.segments.push(segment);
        }
        let named = manifest.segments.last().map_or(0, |last| last.number);
        match moved {
            None => {
                let unnamed = old
                    .segments
                    .iter()
                    .filter(|segment| segment.number > named && segment.sealed_entry().is_none());
                set.segments.extend(unnamed.cloned());
            }
            Some(watermark) => {
                let dropped = set.dropped.as_ref();
                let before = named.max(dropped.map_or(0, |dropped| dropped.last_segment));
                let first = match before {
                    // Nothing is sealed yet, or the table cannot be read that would say what was dropped.
                    0 => inner
                        .directory
                        .list()?
                        .segments
                        .first()
                        .map_or(1, |(first, _)| *first),
                    before => before + 1,
                };
                for number in first..=watermark.segment {
                    let goal = (number == watermark.segment).then(|| watermark.into());
                    let segment = self.unnamed(inner, &old, number, goal)?;
                    // One that was dropped may lie there until its file goes.
                    if goal.is_some() || segment.next_position()? > manifest.first_retained_position
                    {
                        set.segments.push(segment);
                    }
                }
            }
        }
        let head = check_fit(inner, &manifest, &set, moved)?;
        if moved.is_none() {
            // Nothing has come in its place.
            set.lost_end = old.lost_end.clone();
        }
        self.read_tracking_of_last(&old, &set)?;

        if manifest.heads == 0 {
            set.heads = None;
        } else if manifest.heads != inner.manifest.lock().heads || set.heads.is_none() {
            // A table that is gone again already is followed by another.
            let newer = HeadsFile::open(
                &inner.directory,
                &inner.log,
                manifest.heads,
                set.sealed_len(),
            );
            set.heads = newer.map(Arc::new).or(set.heads);
        }
        let newest = set.segments.len().saturating_sub(INDEXES_LATE_MAX);
        self.waiting = set
            .segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.sealed_entry().is_some())
            // Asked before its file is there, the index of one not opened yet is derived in memory too.
            .filter(|(place, segment)| *place >= newest || segment.has_index_in_memory())
            .map(|(_, segment)| segment.clone())
            .collect();
        // Both in one: whoever finds heads named and not in use takes them for damaged.
        let mut named = inner.manifest.lock();
        *named = manifest;
        inner.update_set(|shown| *shown = set);
        drop(named);
        self.show(inner, head);
        Ok(())
    }

    /// A segment that the manifest names: the one there is, once it is complete, or one opened at first use.
    fn named(
        &mut self,
        inner: &Inner,
        old: &SegmentSet,
        entry: &SealedSegment,
        quarantined: &[Quarantined],
    ) -> Result<Arc<Segment>, Error> {
        let at_first_use = || {
            let (directory, log) = (&inner.directory, &inner.log);
            Arc::new(Segment::sealed(directory, log, *entry, quarantined))
        };
        let Some(segment) = old.segment(entry.number) else {
            return Ok(at_first_use());
        };
        // A repair writes down what an entry did not know.
        let is_named = |known: &SealedSegment| {
            let salt = entry.salt;
            is_same_salt(segment.salt(), salt) && SealedSegment { salt, ..*known } == *entry
        };
        match segment.sealed_entry() {
            Some(known) if known == entry && segment.quarantined() == quarantined => {
                return Ok(segment.clone());
            }
            // Repaired meanwhile, or healed.
            Some(known) if is_named(known) => return Ok(at_first_use()),
            Some(_) => return Err(replaced(inner, "another segment of this number")),
            None if !quarantined.is_empty() => return Ok(at_first_use()),
            None => {}
        }
        let fits = segment.salt() == entry.salt
            && segment.base_position == entry.base_position
            && segment.file()?.published() as u64 <= entry.end;
        // What is damaged behind the head is told where it is read, as in every sealed segment.
        if fits
            && self.grow(inner, segment, Some(entry.into())).is_ok()
            && segment.next_position()? == entry.next_position()
        {
            segment.seal(*entry);
            return Ok(segment.clone());
        }
        Ok(at_first_use())
    }

    /// A segment that the manifest does not name: up to the goal when it is the one being written, else up
    /// to its last frame.
    fn unnamed(
        &mut self,
        inner: &Inner,
        old: &SegmentSet,
        number: u64,
        goal: Option<Goal>,
    ) -> Result<Arc<Segment>, Error> {
        let is_last = old.segments.last().map(|last| last.number) == Some(number);
        if let Some(segment) = old
            .segment(number)
            .filter(|found| found.sealed_entry().is_none())
        {
            // All of it was there when the one behind it was begun.
            if !is_last && goal.is_none() {
                return Ok(segment.clone());
            }
            self.open = None;
            if self.attach(inner, number)?.salt == segment.salt() {
                self.grow(inner, segment, goal)?;
                return Ok(segment.clone());
            }
        }
        let segment = self.enter(inner, old, number, goal)?;
        self.grow(inner, &segment, goal)?;
        Ok(Arc::new(segment))
    }

    /// Opens a segment at its start.
    fn enter(
        &mut self,
        inner: &Inner,
        old: &SegmentSet,
        number: u64,
        goal: Option<Goal>,
    ) -> Result<Segment, Error> {
        let path = inner.directory.segment(number);
        let opened = self.attach(inner, number)?;
        let (salt, file) = (opened.salt, opened.file.clone());
        let (header, first) = read_header(&*file).map_err(Error::io(&path, "read the segment"))?;
        let header = header.map_err(|fault| corrupt(&path, 0, 1, u64::MAX, fault))?;
        let base_position = match goal {
            // Nothing in it is durable but its header.
            Some(goal) if goal.end <= SEGMENT_HEADER_LEN as u64 => goal.position.saturating_add(1),
            _ => {
                let next = old
                    .segments
                    .last()
                    .map_or(Ok(1), |last| last.next_position())?;
                let first = FrameHeader::decode(&first, salt)
                    .map_err(|fault| corrupt(&path, SEGMENT_HEADER_LEN, next, u64::MAX, fault))?;
                first.base_position
            }
        };
        let mapped =
            SegmentFile::open_growing(&*inner.directory.disk, &path, SEGMENT_HEADER_LEN as u64)
                .map_err(Error::io(&path, "open the segment"))?;
        Ok(Segment::tail(
            &inner.directory,
            &inner.log,
            &header,
            base_position,
            mapped,
        ))
    }

    /// The file of a segment, which belongs to this log.
    fn attach(&mut self, inner: &Inner, number: u64) -> Result<&OpenSegment, Error> {
        if self.open.as_ref().is_none_or(|open| open.number != number) {
            self.open = None;
            let path = inner.directory.segment(number);
            let file = inner.directory.disk.open(&path, OpenMode::Read);
            let file = file.map_err(Error::io(&path, "open the segment"))?;
            let (header, _) = read_header(&*file).map_err(Error::io(&path, "read the segment"))?;
            let header = header.map_err(|fault| corrupt(&path, 0, 1, u64::MAX, fault))?;
            if header.log_id != inner.log.id || header.number != number {
                return Err(replaced(inner, "a segment of another log"));
            }
            self.open = Some(OpenSegment {
                salt: header.salt,
                number,
                file,
            });
        }
        Ok(self.open.as_ref().expect("opened just above"))
    }

    /// Takes the frames behind the published end of a segment into its index, up to the goal; without one,
    /// as far as they are whole.
    ///
    /// They are read into memory of our own and verified there: nothing is published that is not sound.
    fn grow(&mut self, inner: &Inner, segment: &Segment, goal: Option<Goal>) -> Result<(), Error> {
        let published = segment.file()?;
        let reached = |goal: Goal| goal.end <= published.published() as u64;
        if goal.is_some_and(reached) {
            return Ok(());
        }
        let opened = self.attach(inner, segment.number)?;
        let file = opened.file.clone();
        let salt = segment.salt();
        if opened.salt != salt {
            return Err(replaced(inner, "another segment of this number"));
        }
        let mut next = segment.next_position()?;
        let limit = match goal {
            Some(goal) => goal.end,
            // The zeros behind it may be gone since it was mapped.
            None => file
                .len()
                .map_err(Error::io(&segment.path, "read the segment"))?,
        };
        let limit = limit.min(published.mapped_len() as u64) as usize;
        let mut wanted = CHUNK_LEN;
        let mut fault = FormatError::Unwritten;
        while published.published() < limit {
            let start = published.published();
            let len = wanted.min(limit - start);
            self.buffer.resize(len, 0);
            file.read_exact_at(&mut self.buffer, start as u64)
                .map_err(Error::io(&segment.path, "read the segment"))?;
            let tracking = &mut self.tracking;
            let scan = scan_frames(&self.buffer, 0, salt, Some(next), |offset, frame| {
                segment.with_tail(|tail| {
                    segment.index_frame(tail, start + offset, &frame, limit);
                });
                read_tracking(tracking, &frame);
                next = frame.header.next_position();
            });
            published.publish(start + scan.end);
            if scan.stop == ScanStop::Footer {
                break;
            }
            if scan.end == 0 {
                let first = FrameHeader::decode(&self.buffer, salt);
                let whole = first.map_or(0, |header| header.length as usize);
                if whole <= len || whole > limit - start {
                    if let ScanStop::Bad(found) = scan.stop {
                        fault = found;
                    }
                    break;
                }
                wanted = whole;
            }
        }
        self.buffer.truncate(CHUNK_LEN);
        self.buffer.shrink_to(CHUNK_LEN);
        let end = published.published();
        match goal {
            Some(goal) if end as u64 != goal.end => {
                let last = goal.position.max(next - 1);
                Err(corrupt(&segment.path, end, next, last, fault))
            }
            _ => Ok(()),
        }
    }

    /// The last segment repeats all tracking positions; one that was not read frame by frame is now.
    fn read_tracking_of_last(&mut self, old: &SegmentSet, set: &SegmentSet) -> Result<(), Error> {
        let Some(last) = set.segments.last() else {
            return Ok(());
        };
        let is_known = old
            .segment(last.number)
            .is_some_and(|known| Arc::ptr_eq(known, last));
        if is_known || last.sealed_entry().is_none() {
            return Ok(());
        }
        let bytes = last.bytes()?;
        for_each_whole_frame(bytes, SEGMENT_HEADER_LEN, last.salt(), |_, frame| {
            read_tracking(&mut self.tracking, &frame);
        });
        Ok(())
    }

    /// Lets readers see everything up to `head`.
    fn show(&mut self, inner: &Inner, head: u64) {
        let mut tracking = std::mem::take(&mut self.tracking).into_iter().collect();
        inner.advance_tracking(&mut tracking);
        inner.set_visible(head);
        inner.set_durable(head);
    }
}

/// Checks that the segments follow each other, behind what is shown, up to where the watermark says. Answers
/// the position of the last event.
fn check_fit(
    inner: &Inner,
    manifest: &Manifest,
    set: &SegmentSet,
    moved: Option<&Watermark>,
) -> Result<u64, Error> {
    let shown = inner.durable_head();
    let named = manifest.segments.last().map_or(0, |last| last.number);
    // Older segments may have been dropped before they were seen.
    let first = (shown + 1).max(manifest.first_retained_position);
    let mut next = set.first_position().min(first);
    for segment in &set.segments {
        let base = segment.base_position;
        if base != next {
            let (first, last) = (next.min(base), next.max(base) - 1);
            return Err(corrupt(
                &segment.path,
                SEGMENT_HEADER_LEN,
                first,
                last,
                OUT_OF_ORDER,
            ));
        }
        next = segment.next_position()?;
    }
    let head = next.saturating_sub(1);
    let Some(watermark) = moved else {
        // The end of a log that is damaged there is lower than what was proven and so is shown.
        return Ok(head.max(shown));
    };
    if head < shown || watermark.position < shown {
        return Err(replaced(inner, "an earlier state of it"));
    }
    let fits = match watermark.segment <= named {
        true => watermark.position <= head,
        false => watermark.position == head,
    };
    match fits {
        true => Ok(head),
        false => {
            let path = inner.directory.segment(watermark.segment);
            let last = watermark.position.max(head);
            let offset = watermark.end as usize;
            Err(corrupt(&path, offset, next, last, OUT_OF_ORDER))
        }
    }
}

/// What was dropped, by the manifest.
fn dropped(
    inner: &Inner,
    old: &SegmentSet,
    manifest: &Manifest,
) -> Result<Option<Arc<Dropped>>, Error> {
    let known = old.dropped.as_ref();
    if manifest.first_retained_position <= known.map_or(1, |known| known.first_position) {
        return Ok(known.cloned());
    }
    let dropped = Dropped::named(&inner.directory, &inner.log, manifest)?;
    match dropped.check() {
        // The next truncation has replaced the table meanwhile.
        Err(error) if read_manifest(inner)?.generation != manifest.generation => Err(error),
        // That of a log opened now would be no better: whoever asks it is told.
        _ => Ok(Some(Arc::new(dropped))),
    }
}

/// The newest manifest there is, or that was seen.
fn read_manifest(inner: &Inner) -> Result<Manifest, Error> {
    let known = inner.manifest.lock().clone();
    match inner.directory.read_manifest()? {
        Some(found) if found.log_id != inner.log.id => Err(replaced(inner, "another log")),
        // One copy may just be being overwritten.
        Some(found) if found.generation >= known.generation => Ok(found),
        Some(_) => Ok(known),
        None if known.generation == 0 => Ok(known),
        None => {
            let path = inner.directory.file(MANIFEST_FILES[0]);
            let source = io::ErrorKind::NotFound.into();
            Err(Error::io(path, "read the manifest")(source))
        }
    }
}

/// The header of a segment, and the bytes of its first frame header, or fewer.
fn read_header(file: &dyn DiskFile) -> io::Result<(Result<SegmentHeader, FormatError>, Vec<u8>)> {
    let bytes = file.read_up_to((SEGMENT_HEADER_LEN + FRAME_HEADER_LEN) as u64)?;
    let first = bytes.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    Ok((SegmentHeader::decode(&bytes), first.to_vec()))
}

fn replaced(inner: &Inner, found: &'static str) -> Error {
    Error::Replaced {
        dir: inner.directory.path.clone(),
        found,
    }
}

/// Index files are written within so many segments after their own.
const INDEXES_LATE_MAX: usize = 16;
/// Bytes that are read at a time.
const CHUNK_LEN: usize = 1 << 20;
