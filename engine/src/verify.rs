//! Checking everything: every byte of the log, every order it promises, and each derived file against it.

use std::collections::HashMap;
use std::path::Path;

use annals_index::{Identity, KeyHash, KeyIndex, Previous, SealedIndex, TailIndex};
use annals_segments::format::frame::Frame;
use annals_segments::format::manifest::{MANIFEST_LEN_MAX, Manifest};
use annals_segments::format::quarantined::Quarantined;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::{FormatError, MANIFEST_FILES, WATERMARK_FILE, file_checksum};
use annals_segments::{FrozenFile, OpenMode, ScanStop, find_later_frame, scan_frames};

use crate::aggregate_id::AggregateId;
use crate::dropped::Dropped;
use crate::error::Error;
use crate::log::Inner;
use crate::repair::nameless_extents;
use crate::report::{Damage, VerifyReport};
use crate::segment::{NOT_KNOWN, Segment, UNKNOWN_SALT, derived_len_max};
use crate::view::View;

pub(crate) fn verify(
    inner: &Inner,
    mut progress: impl FnMut(u64, u64),
) -> Result<VerifyReport, Error> {
    let mut view = inner.view();
    let mut check = Check {
        inner,
        report: VerifyReport::default(),
        versions: HashMap::new(),
        keys: HashMap::new(),
        heads_know_more: false,
        next_position: view.first_position(),
        last_time_us: 0,
    };
    check.version_table(&view);
    let total = view
        .set
        .segments
        .iter()
        .map(|segment| segment_len(segment))
        .sum();
    for place in 0..view.set.segments.len() {
        progress(check.report.bytes, total);
        check.segment(&view, place)?;
        view.let_go();
    }
    check.heads(&view);
    check.manifests()?;
    progress(check.report.bytes, total);
    check.add_what_opening_found();
    check.tell_quarantined_apart(&view);
    let all = (view.head() + 1).saturating_sub(view.first_position());
    check.report.lost = all.saturating_sub(check.report.events);
    Ok(check.report)
}

/// Bytes of a segment that belong to the log.
fn segment_len(segment: &Segment) -> u64 {
    match segment.sealed_entry() {
        Some(entry) => entry.end,
        None => segment.file().map_or(0, |file| file.published() as u64),
    }
}

struct Check<'a> {
    inner: &'a Inner,
    report: VerifyReport,
    /// Last version of each aggregate.
    versions: HashMap<AggregateId, u64>,
    /// Where each key was met last.
    keys: HashMap<KeyHash, Met>,
    /// Whether one of these segments is damaged: then the heads know more than what can be derived.
    heads_know_more: bool,
    next_position: u64,
    last_time_us: u64,
}

/// Where a key was met last.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    /// Number of the newest segment that holds it.
    segment: u64,
    /// Its last position in the segments that the heads cover; 0 when there is none.
    covered: u64,
}

impl Check<'_> {
    fn segment(&mut self, view: &View, place: usize) -> Result<(), Error> {
        let segment = &view.set.segments[place];
        self.report.segments += 1;
        self.report.bytes += segment_len(segment);
        let base = segment.base_position;
        if base != self.next_position {
            let what = format!("starts at position {base}, expected {}", self.next_position);
            self.damage(
                &segment.path,
                0,
                self.next_position.min(base),
                self.next_position.max(base) - 1,
                what,
            );
        }
        let next = view.set.segments.get(place + 1);
        // Asked once: it may be sealed while it is read here.
        let sealed = segment.sealed_entry();
        let end_position = match (sealed, next) {
            (Some(entry), _) => entry.next_position(),
            // Sealed, in a log whose manifests are gone.
            (None, Some(next)) => next.base_position,
            // What is lost behind it was found when the log was opened, and is told so.
            (None, None) => {
                let lost_end = view.set.lost_end.as_ref();
                lost_end.map_or(view.head() + 1, |lost_end| lost_end.first)
            }
        };
        let damages_before = self.report.damages.len();
        self.next_position = base;
        let bytes = match segment.bytes() {
            Ok(bytes) => bytes,
            Err(Error::Corrupt { fault, .. }) => {
                self.heads_know_more = true;
                self.damage(
                    &segment.path,
                    0,
                    base,
                    end_position.saturating_sub(1),
                    fault.to_string(),
                );
                self.next_position = end_position;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match SegmentHeader::decode(bytes) {
            Ok(header) if header.number == segment.number && header.salt == segment.salt() => {}
            Ok(_) if segment.salt() == UNKNOWN_SALT => {
                self.damage(&segment.path, 0, 1, 0, NOT_KNOWN.into())
            }
            // What has to be known of it stands in the manifest too: no event is affected.
            Ok(_) => self.damage(
                &segment.path,
                0,
                1,
                0,
                "the header of another segment".into(),
            ),
            Err(error) => self.damage(&segment.path, 0, 1, 0, error.to_string()),
        }
        let identity = Identity {
            log_id: self.inner.log.id,
            segment: segment.number,
            salt: segment.salt(),
            base_position: base,
            event_count: 0,
        };
        let mut derived = TailIndex::new(identity);
        self.frames(segment, bytes, end_position, &mut derived);
        if self.next_position < end_position {
            let what = format!(
                "ends at position {}, expected {}",
                self.next_position - 1,
                end_position - 1
            );
            self.damage(
                &segment.path,
                bytes.len() as u64,
                self.next_position,
                end_position - 1,
                what,
            );
            self.next_position = end_position;
        }
        if self.report.damages.len() > damages_before {
            for extent in nameless_extents(bytes, SEGMENT_HEADER_LEN, segment.salt()) {
                let (offset, positions) = (extent.offsets.start as u64, extent.positions);
                let what = extent.fault.to_string();
                self.damage(
                    &segment.path,
                    offset,
                    positions.start,
                    positions.end - 1,
                    what,
                );
            }
        }
        let covers = view.set.heads().map_or(0, |heads| heads.covers());
        // Over a damaged log the index file knows more than what can be derived.
        let is_sound = self.report.damages.len() == damages_before;
        self.heads_know_more |= !is_sound && segment.number <= covers;
        if let Some(entry) = sealed {
            let identity = Identity {
                event_count: u32::try_from(entry.event_count).unwrap_or(u32::MAX),
                ..identity
            };
            self.index(view, segment, &identity, &derived, is_sound);
        }
        for key in derived.keys() {
            let met = self.keys.entry(key).or_default();
            met.segment = segment.number;
            if segment.number <= covers {
                met.covered = base + u64::from(derived.postings(key).last().unwrap_or(0));
            }
        }
        Ok(())
    }

    /// The table of last versions, read again: retained versions have to be above those dropped.
    fn version_table(&mut self, view: &View) {
        let Some(first) = view
            .set
            .dropped
            .as_ref()
            .map(|dropped| dropped.first_position)
        else {
            return;
        };
        let directory = &self.inner.directory;
        match Dropped::open(directory, &self.inner.log, first) {
            Ok(dropped) => {
                if let Some(Error::Corrupt { path, fault, .. }) = dropped.damage() {
                    self.damage(&path, 0, 1, 0, fault.to_string());
                }
                self.versions.extend(dropped.versions());
            }
            Err(error) => self.damage(&directory.path, 0, 1, 0, error.to_string()),
        }
    }

    /// Walks the frames and goes on behind each that is damaged.
    fn frames(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        end_position: u64,
        derived: &mut TailIndex,
    ) {
        let mut start = SEGMENT_HEADER_LEN;
        loop {
            let scan = scan_frames(bytes, start, segment.salt(), None, |offset, frame| {
                if frame.header.base_position > self.next_position {
                    // The damage before it has been reported already.
                    self.next_position = frame.header.base_position;
                }
                if frame.header.next_position() > end_position {
                    return;
                }
                self.frame(segment, offset, &frame);
                segment.index_frame(derived, offset, &frame, bytes.len());
            });
            if let Some(frame) = self.readable(segment, bytes, scan.end, end_position)
                && let ScanStop::Bad(fault) = &scan.stop
            {
                self.part(segment, scan.end, &frame, fault);
                segment.index_part(derived, scan.end, &frame, bytes.len());
                start = scan.end + frame.as_bytes().len();
                continue;
            }
            let later = find_later_frame(bytes, scan.end + 8, segment.salt());
            let source = match (&scan.stop, later) {
                (ScanStop::Footer | ScanStop::EndOfBytes, None) => return,
                (ScanStop::Unwritten, None) if segment.sealed_entry().is_none() => return,
                (ScanStop::Bad(error), _) => error.clone(),
                _ => FormatError::Unwritten,
            };
            let behind = later.map_or(end_position, |later| later.base_position.min(end_position));
            let last = behind.saturating_sub(1);
            self.damage(
                &segment.path,
                scan.end as u64,
                self.next_position,
                last,
                source.to_string(),
            );
            match later {
                Some(later) => start = later.offset,
                None => {
                    self.next_position = self.next_position.max(end_position);
                    return;
                }
            }
        }
    }

    /// The frame at `offset`, of which not everything verifies, when its header does and it lies where it should: what
    /// is sound in it can be read.
    fn readable<'a>(
        &self,
        segment: &Segment,
        bytes: &'a [u8],
        offset: usize,
        end_position: u64,
    ) -> Option<Frame<'a>> {
        let frame = Frame::parse(bytes.get(offset..)?, segment.salt()).ok()?;
        let header = frame.header;
        let fits = header.event_count > 0
            && header.base_position == self.next_position
            && header.next_position() <= end_position;
        fits.then_some(frame)
    }

    /// Such a frame: the events in it that can be read are as good as any, the others are lost.
    fn part(&mut self, segment: &Segment, offset: usize, frame: &Frame<'_>, fault: &FormatError) {
        let (first, next) = (frame.header.base_position, frame.header.next_position());
        let mut lost = Vec::new();
        for position in first..next {
            let ordinal = u32::try_from(position - segment.base_position).unwrap_or(u32::MAX);
            match segment.event(ordinal) {
                Ok(event) => {
                    self.report.events += 1;
                    if let (Some(id), Some(version)) = (event.aggregate_id(), event.version()) {
                        self.version(segment, offset, position, id, version);
                    }
                }
                Err(_) => lost.push(position),
            }
        }
        let runs: Vec<_> = lost.chunk_by(|before, next| before + 1 == *next).collect();
        for run in &runs {
            let (first, last) = (run[0], run[run.len() - 1]);
            self.damage(&segment.path, offset as u64, first, last, fault.to_string());
        }
        if runs.is_empty() {
            self.damage(
                &segment.path,
                offset as u64,
                first,
                first - 1,
                fault.to_string(),
            );
        }
        self.next_position = next;
    }

    /// An event of an aggregate: its version is above all before.
    fn version(
        &mut self,
        segment: &Segment,
        at: usize,
        position: u64,
        id: AggregateId,
        version: u64,
    ) {
        if let Some(before) = self
            .versions
            .insert(id.clone(), version)
            .filter(|before| *before >= version)
        {
            let what = format!("version {version} of aggregate {id}, expected one above {before}");
            self.damage(&segment.path, at as u64, position, position, what);
        }
    }

    /// A frame whose checksums are right: its place, its time, and the versions in it.
    fn frame(&mut self, segment: &Segment, offset: usize, frame: &Frame<'_>) {
        let header = frame.header;
        let (first, last) = (header.base_position, header.next_position() - 1);
        if first != self.next_position {
            let what = format!("frame at position {first}, expected {}", self.next_position);
            self.damage(&segment.path, offset as u64, first, last, what);
        }
        if header.time_us < self.last_time_us {
            let what = format!(
                "time {} runs backwards, expected {} or later",
                header.time_us, self.last_time_us
            );
            self.damage(&segment.path, offset as u64, first, last, what);
        }
        self.last_time_us = self.last_time_us.max(header.time_us);
        for (position, (in_frame, record)) in (first..).zip(frame.records()) {
            let Ok(record) = record else { continue };
            self.report.events += 1;
            let Some(id) = AggregateId::from_record(record.id_kind(), record.id()) else {
                continue;
            };
            let version = record.place().version;
            self.version(segment, offset + in_frame, position, id, version);
        }
        self.next_position = header.next_position();
    }

    /// The index file of a sealed segment says what its log says, and its links pass over no event.
    fn index(
        &mut self,
        view: &View,
        segment: &Segment,
        identity: &Identity,
        derived: &TailIndex,
        is_sound: bool,
    ) {
        let path = self.inner.directory.index(segment.number);
        let len_max = derived_len_max(segment_len(segment));
        let file = match FrozenFile::open(&*self.inner.directory.disk, &path, len_max) {
            Ok(file) => file,
            // A missing index is derived at the next open; the log is no worse for it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.damage(&path, 0, 1, 0, error.to_string()),
        };
        let opened =
            SealedIndex::open(file, identity).and_then(|index| index.verify().map(|()| index));
        let index = match opened {
            Ok(index) => index,
            Err(error) => {
                return self.damage(
                    &path,
                    0,
                    1,
                    0,
                    format!("{error}; delete the file, it is derived anew when the log is opened for writing"),
                );
            }
        };
        if !is_sound {
            return;
        }
        let base = segment.base_position;
        if let Some(ordinal) =
            (0..derived.len()).find(|ordinal| index.offset(*ordinal) != derived.offset(*ordinal))
        {
            let position = base + u64::from(ordinal);
            self.damage(
                &path,
                0,
                1,
                0,
                format!("wrong offset for position {position}"),
            );
        }
        let differs = |key: &KeyHash| {
            !index
                .postings(*key)
                .iter()
                .eq(derived.postings(*key).iter())
        };
        if index.key_count() != derived.key_count() || derived.keys().any(|key| differs(&key)) {
            self.damage(&path, 0, 1, 0, "the keys are not those of the log".into());
        }
        // One that names a segment without the key costs a look at it, and that is all.
        let passed_over = derived.keys().find_map(|key| {
            let met = self.keys.get(&key)?.segment;
            let leads = match index.previous_segment(key) {
                Previous::Unknown => true,
                Previous::None => false,
                Previous::Segment(number) => met <= number && view.set.segment(number).is_some(),
            };
            (!leads).then_some(met)
        });
        if let Some(met) = passed_over {
            let what = format!(
                "a link passes over events in segment {met}; delete the file, it is derived anew when the log is opened \
                 for writing"
            );
            self.damage(&path, 0, 1, 0, what);
        }
    }

    fn heads(&mut self, view: &View) {
        let Some(heads) = view.set.heads() else {
            let manifest = self.inner.manifest.lock();
            let named = manifest.heads;
            // They may have been made since the view was.
            let is_in_use = self.inner.set().heads().is_some();
            drop(manifest);
            let path = self.inner.directory.heads(named);
            let is_there = named > 0
                && !is_in_use
                && self
                    .inner
                    .directory
                    .disk
                    .open(&path, OpenMode::Read)
                    .is_ok();
            if is_there {
                self.damage(
                    &path,
                    0,
                    1,
                    0,
                    "not usable; delete the file, it is derived anew when the log is opened for writing".into(),
                );
            }
            return;
        };
        let path = self.inner.directory.heads(heads.covers());
        let truncated = view.first_position() > 1;
        let covered = self.keys.iter().filter(|(_, met)| met.covered > 0);
        let is_wrong = |(key, met): (&KeyHash, &Met)| {
            heads
                .lookup(*key)
                .is_none_or(|head| match self.heads_know_more {
                    true => head.last_position < met.covered,
                    false => head.last_position != met.covered,
                })
        };
        let count_differs =
            !truncated && !self.heads_know_more && heads.len() as usize != covered.clone().count();
        if count_differs || covered.clone().any(is_wrong) {
            self.damage(&path, 0, 1, 0, "the heads are not those of the log".into());
        }
    }

    fn manifests(&mut self) -> Result<(), Error> {
        // Not while one is being overwritten.
        let inner = self.inner;
        if inner.directory.read_backup()?.is_some() {
            // It has the manifest in its list.
            for (path, what) in crate::backup::damaged_files(&inner.directory)? {
                self.damage(&path, 0, 1, 0, what);
            }
            return Ok(());
        }
        let _manifest = inner.manifest.lock();
        let watermark = inner.directory.file(WATERMARK_FILE);
        let opened = inner.directory.disk.open(&watermark, OpenMode::Read);
        let is_gone = opened.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        // Made before the first event, under a name that is durable before it: no crash takes it.
        if is_gone && self.next_position > 1 {
            let what = "missing: without it nothing tells whether events are gone from the end of the log; written anew \
                        when the log is opened for writing";
            self.damage(&watermark, 0, 1, 0, what.into());
        }
        let mut missing = 0;
        for name in MANIFEST_FILES {
            let path = inner.directory.file(name);
            let Ok(file) = inner.directory.disk.open(&path, OpenMode::Read) else {
                missing += 1;
                continue;
            };
            let bytes = file
                .read_all(MANIFEST_LEN_MAX)
                .map_err(Error::io(&path, "read the manifest"))?;
            self.report.bytes += bytes.len() as u64;
            if let Err(error) = Manifest::decode(&bytes) {
                self.damage(&path, 0, 1, 0, error.to_string());
            }
        }
        if missing == MANIFEST_FILES.len() {
            let path = inner.directory.file(MANIFEST_FILES[0]);
            let what = "no manifest; open the log for writing to write it anew";
            self.damage(&path, 0, 1, 0, what.into());
        }
        Ok(())
    }

    /// What was damaged when the log was opened and has not been met since: files that are missing whole.
    fn add_what_opening_found(&mut self) {
        let Check { inner, report, .. } = self;
        for damage in &inner.recovery.damages {
            let is_met = report.damages.iter().any(|met| {
                let covers = met.first <= damage.first && damage.last <= met.last;
                let is_there = met.offset == damage.offset;
                met.path == damage.path && (covers || is_there || damage.first > damage.last)
            });
            if !is_met {
                report.damages.push(damage.clone());
            }
        }
    }

    /// What somebody has decided to go on without is no news.
    fn tell_quarantined_apart(&mut self, view: &View) {
        let is_quarantined = |damage: &Damage| {
            let segments = view.set.segments.iter();
            let mut damaged = segments.filter(|segment| segment.path == damage.path);
            damaged.any(|segment| match damage.first <= damage.last {
                true => segment.is_accepted(damage.first, damage.last),
                false => {
                    // One place may be several frames, of which only the first is told at its offset.
                    let mut places = segment.quarantined().iter();
                    places.any(|place| {
                        let bytes = place.offset..place.offset + place.length.max(1);
                        bytes.contains(&damage.offset) && is_as_quarantined(segment, place)
                    })
                }
            })
        };
        let damages = std::mem::take(&mut self.report.damages);
        (self.report.quarantined, self.report.damages) =
            damages.into_iter().partition(is_quarantined);
    }

    fn damage(&mut self, path: &Path, offset: u64, first: u64, last: u64, what: String) {
        self.report.damages.push(Damage {
            path: path.to_owned(),
            offset,
            first,
            last,
            what,
        });
    }
}

/// Whether a place is still what somebody has decided to go on without. Otherwise its file has been put back, and damage
/// in that is damage of its own.
fn is_as_quarantined(segment: &Segment, place: &Quarantined) -> bool {
    let is_unreadable = |position: u64| {
        let ordinal = position.checked_sub(segment.base_position);
        let ordinal = ordinal.and_then(|ordinal| u32::try_from(ordinal).ok());
        ordinal.is_none_or(|ordinal| segment.event(ordinal).is_err())
    };
    let are_bytes_same = || {
        let end = place.offset.saturating_add(place.length);
        let bytes = segment.read(place.offset as usize..end as usize);
        bytes.is_ok_and(|bytes| !bytes.is_empty() && file_checksum(bytes) == place.checksum)
    };
    (place.first..place.next).all(is_unreadable) || are_bytes_same()
}
