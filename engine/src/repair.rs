//! Repair: going on with a log whose acknowledged data is damaged, once somebody has decided so.
//!
//! Nothing is mended and nothing is thrown away. What is damaged is listed in the manifest, so that the log opens for
//! writing; its bytes stay in the segment, and a copy of them goes into a file of its own. The positions stay those of
//! the events that had them: whoever reads there is told [`Error::Quarantined`]. Should the file come back from a backup,
//! the events are there again, since what verifies is always shown.
//!
//! - Damage in a sealed segment: a list entry, and that is all.
//! - Damage in front of acknowledged data in the segment being written: all segments that the manifest does not name are
//!   named there, as sealed, damage included; writing goes on in a fresh one. Whole frames at the end that no
//!   witness proves stay, in a copy of the segment that is synced before the manifest names it. It is named up to where the
//!   watermark says that it went, under its own salt, or, when nothing is left of its header, under that of the file that
//!   may come back, and then as far as its frames go at their word: the watermark may be behind them.
//! - Sound frames whose topic only damage defined: on the list too, since nobody can show their events.
//! - A damaged table of last versions: an empty one takes its place.
//! - A copy of the manifest, indexes, heads, the watermark: made anew, with nothing given up.
//!
//! Order: quarantine files, table, segment, then both manifests, each synced. What lies before the manifest changes no
//! answer, so a crash leaves a log that is as damaged as it was, or repaired. Doing it again finds the same damage,
//! writes files of the same names, and the same list.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_index::KeyHash;
use annals_segments::format::frame::Frame;
use annals_segments::format::manifest::{MANIFEST_LEN_MAX, Manifest, SealedSegment};
use annals_segments::format::quarantined::Quarantined;
use annals_segments::format::record::RECORD_LEN_MIN;
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::version_table::{VersionTableIdentity, encode_version_table};
use annals_segments::format::watermark::Watermark;
use annals_segments::format::{
    ALIGNMENT, FormatError, MANIFEST_FILES, QUARANTINE_PREFIX, QUARANTINED_COUNT_MAX,
    SEGMENT_LEN_MAX, WATERMARK_FILE, align_up, file_checksum, parse_heads_file_name,
    parse_index_file_name, segment_file_name, versions_file_name,
};
use annals_segments::{DiskLock, OpenMode, last_written_byte, write_finished};

use crate::aggregate_id::AggregateId;
use crate::directory::{Directory, corrupt};
use crate::error::Error;
use crate::log::{Inner, Log};
use crate::options::LogOptions;
use crate::recovery::{check_place, damage_of, damage_of_tail, open_to_repair, take_lock};
use crate::report::{Damage, RecoveryReport, VerifyReport};
use crate::segment::{Segment, UNKNOWN_SALT, for_each_whole_frame, salt_in_header};
use crate::view::View;

mod extents;
mod headless;

pub(crate) use extents::{Extent, damaged_extents, nameless_extents};
use headless::{Chain, chain};

/// A log that is looked at to be repaired. Nobody else writes to it as long as this lives.
#[derive(Debug)]
#[must_use = "nothing is repaired until it is run"]
pub struct Repair {
    plan: RepairPlan,
    steps: Steps,
    directory: Directory,
    options: LogOptions,
    lock: Box<dyn DiskLock>,
}

/// What a repair would do, and why.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairPlan {
    /// What a verification of everything says.
    pub verified: VerifyReport,
    /// Damage that would be quarantined, and has not been yet.
    pub losses: Vec<Loss>,
    /// Damaged places that were quarantined before and are still damaged.
    pub kept: u64,
    /// Damaged places that were quarantined before and can be read again: they come off the list.
    pub healed: u64,
    /// Files that are not as they should be and can be made anew from the log: indexes, heads, a copy of the manifest, the
    /// watermark. To run the repair does it, and nothing is given up by it.
    pub derived: Vec<PathBuf>,
    /// Why the log cannot be opened for writing as it is; `None` when it can.
    pub refused: Option<Damage>,
    /// Whether aggregates may get versions again that they had: no index knows whose the lost events were, or
    /// [`forgets_dropped`](RepairPlan::forgets_dropped).
    pub forgets_versions: bool,
    /// Whether the table of last versions of dropped aggregates would be replaced by an empty one: an aggregate all of
    /// whose events were dropped may then get its versions again.
    pub forgets_dropped: bool,
    /// Whether positions may be given again: of the segment being written not even the header is left, and what stands
    /// behind the part that was known to be durable cannot be told apart.
    pub forgets_positions: bool,
}

impl RepairPlan {
    /// Whether there is anything to decide. Places that [healed](RepairPlan::healed) need nothing: to run the repair takes
    /// them off the list, and that is all.
    pub fn is_needed(&self) -> bool {
        !self.losses.is_empty() || self.refused.is_some()
    }
}

/// Damage that costs events, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The segment.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Damaged bytes that are there to be kept.
    pub bytes: u64,
    /// First position that cannot be read.
    pub first: u64,
    /// Last position that cannot be read; below `first` when no event is affected.
    pub last: u64,
    /// Events from the first to the last that cannot be read.
    pub events: u64,
    /// What was found.
    pub what: String,
    /// Aggregates of events that cannot be read, as far as an index knows; at most 100.
    pub aggregates: Vec<AggregateId>,
    /// Topics of events that cannot be read, as far as an index knows; at most 100.
    pub topics: Vec<String>,
    /// Whether an index knows of all of them, so that no other aggregate or topic is affected.
    pub is_known: bool,
    /// The file that keeps the bytes, or would; `None` when there are none.
    pub quarantine: Option<PathBuf>,
}

/// What a repair did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// What was quarantined.
    pub losses: Vec<Loss>,
    /// How the log was found when it was opened for writing afterwards, and closed again.
    pub recovery: RecoveryReport,
}

/// What is written.
#[derive(Debug, Default)]
struct Steps {
    /// Names and bytes of the files that keep what is damaged.
    kept: Vec<(String, Vec<u8>)>,
    table: Option<(String, Vec<u8>)>,
    /// Derived files that are removed, so that an open makes them anew.
    removed: Vec<PathBuf>,
    segment: Option<(String, Vec<u8>)>,
    manifest: Option<Manifest>,
}

impl Repair {
    /// Takes the lock, reads every byte, and finds out what is to be done.
    pub(crate) fn open(
        dir: &Path,
        options: LogOptions,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let options = options.background(false).create(false);
        let directory = Directory::new(options.disk.clone(), dir.to_owned());
        check_place(&directory, false)?;
        directory.check_no_backup()?;
        let lock = take_lock(&directory)?;
        let inner = open_to_repair(&directory, &options)?;
        let mut look = Look {
            inner: &inner,
            view: inner.view(),
            plan: RepairPlan {
                verified: crate::verify::verify(&inner, progress)?,
                ..RepairPlan::default()
            },
            steps: Steps::default(),
            quarantined: Vec::new(),
        };
        look.look(&options)?;
        let Look { plan, steps, .. } = look;
        Ok(Self {
            plan,
            steps,
            directory,
            options,
            lock,
        })
    }

    /// What would be done.
    pub fn plan(&self) -> &RepairPlan {
        &self.plan
    }

    /// Does it, and opens the log for writing once. Safe to be cut short at any point: the log is then as damaged as it
    /// was, or repaired.
    ///
    /// # Errors
    /// [`Error::Io`]: run it again. [`Error::Corrupt`] when the log is damaged in a way that cannot be gone around.
    pub fn run(self) -> Result<Repaired, Error> {
        let Self {
            plan,
            steps,
            directory,
            options,
            lock,
        } = self;
        let write = |name: &str, bytes: &[u8]| {
            write_finished(&*directory.disk, &directory.path, name, bytes)
                .map_err(Error::io(directory.file(name), "write the file"))
        };
        let files = steps.kept.iter().chain(&steps.table).chain(&steps.segment);
        for (name, bytes) in files {
            write(name, bytes)?;
        }
        if let Some(mut manifest) = steps.manifest {
            // Both: the other copy would bring the damage back.
            for _ in MANIFEST_FILES {
                manifest.generation += 1;
                directory
                    .write_manifest(&manifest)
                    .map_err(Error::io(&directory.path, "write the manifest"))?;
            }
        }
        for path in steps.removed {
            let removed = directory.disk.remove(&path);
            removed.map_err(Error::io(path, "remove the derived file"))?;
        }
        drop(lock);
        let log = Log::open_with(&directory.path, options)?;
        let recovery = log.recovery().clone();
        log.close()?;
        Ok(Repaired {
            losses: plan.losses,
            recovery,
        })
    }
}

/// A look at a damaged log, under way.
struct Look<'a> {
    inner: &'a Arc<Inner>,
    view: View,
    plan: RepairPlan,
    steps: Steps,
    quarantined: Vec<Quarantined>,
}

impl Look<'_> {
    fn look(&mut self, options: &LogOptions) -> Result<(), Error> {
        let directory = &self.inner.directory;
        let before = self.inner.manifest.lock().clone();
        let mut manifest = before.clone();
        self.check_table(&mut manifest);
        for (entry, named) in before.segments.iter().zip(&mut manifest.segments) {
            let segment = self.look_at(entry)?;
            // It has come back, and need not be asked again.
            named.salt = segment.salt();
        }
        let tail = damage_of_tail(directory, options)?;
        if tail.is_some() {
            self.seal_tail(&mut manifest)?;
        }
        let listing = directory.list()?;
        let is_missing = |entry: &&SealedSegment| {
            let len = listing.segment_len(entry.number);
            let accepted = before.quarantined_in(entry.number).last();
            len < entry.end && accepted.is_none_or(|last| last.offset > len)
        };
        self.plan.refused = match (&self.plan.refused, before.segments.iter().find(is_missing)) {
            (Some(refused), _) => Some(refused.clone()),
            (None, Some(entry)) => {
                let path = directory.segment(entry.number);
                let lost = self.plan.losses.iter().find(|loss| loss.path == path);
                lost.map(|loss| Damage {
                    path,
                    offset: loss.offset,
                    first: loss.first,
                    last: loss.last,
                    what: loss.what.clone(),
                })
            }
            (None, None) => tail.as_ref().map(|error| self.as_lost(damage_of(error))),
        };
        let damages = self.plan.verified.damages.iter();
        for (path, kind) in damages.filter_map(|damage| Some((&damage.path, derived(damage)?))) {
            if !self.plan.derived.contains(path) {
                self.plan.derived.push(path.clone());
                match kind {
                    Derived::Removed => self.steps.removed.push(path.clone()),
                    Derived::Overwritten => {}
                }
            }
        }
        manifest.quarantined = merged(std::mem::take(&mut self.quarantined));
        let is_still = |old: &&Quarantined| {
            let mut now = manifest.quarantined.iter();
            now.any(|now| {
                now.segment == old.segment && now.first <= old.first && old.next <= now.next
            })
        };
        let kept = before.quarantined.iter().filter(is_still).count();
        self.plan.kept = kept as u64;
        self.plan.healed = (before.quarantined.len() - kept) as u64;
        if self.plan.is_needed() || self.plan.healed > 0 || !self.plan.derived.is_empty() {
            self.keep_manifests()?;
            // Whole frames that no witness proves are proven by the copy of them that is synced, and by nothing else: left
            // where they are, the open writes them anew.
            let durable = match tail.is_some() {
                true => self.view.durable_head(),
                false => self.proven()?,
            };
            manifest.durable_position = manifest.durable_position.max(durable);
            self.steps.manifest = Some(manifest);
        }
        Ok(())
    }

    /// A damage as the losses tell it: what keeps a log from being opened is found before all of it is known.
    fn as_lost(&self, damage: Damage) -> Damage {
        let mut losses = self.plan.losses.iter();
        let loss = losses.find(|loss| {
            let is_met = loss.first <= damage.last && damage.first <= loss.last;
            loss.path == damage.path && (loss.offset == damage.offset || is_met)
        });
        match loss {
            Some(loss) => Damage {
                path: damage.path,
                offset: loss.offset,
                first: loss.first,
                last: loss.last,
                what: loss.what.clone(),
            },
            None => damage,
        }
    }

    /// A damaged table of last versions: nobody can tell them any more.
    fn check_table(&mut self, manifest: &mut Manifest) {
        let Some(dropped) = &self.view.set.dropped else {
            return;
        };
        let Some(error) = dropped.damage() else {
            return;
        };
        self.plan.refused = Some(damage_of(&error));
        self.plan.forgets_versions = true;
        self.plan.forgets_dropped = true;
        let first_retained_position = dropped.first_position;
        let first_segment = self.view.set.segments.first();
        let last_segment = first_segment.map_or(dropped.last_segment, |first| first.number - 1);
        manifest.first_retained_position = first_retained_position;
        let name = versions_file_name(first_retained_position);
        self.keep_file(&name, SEGMENT_LEN_MAX);
        let identity = VersionTableIdentity {
            log_id: self.inner.log.id,
            last_segment,
            first_retained_position,
        };
        let bytes = encode_version_table(identity, [].into_iter());
        self.steps.table = Some((name, bytes));
    }

    /// Keeps what is left of the manifests that cannot be read, before they are overwritten.
    fn keep_manifests(&mut self) -> Result<(), Error> {
        for name in MANIFEST_FILES {
            let path = self.inner.directory.file(name);
            let file = self.inner.directory.disk.open(&path, OpenMode::Read);
            let bytes = file.and_then(|file| file.read_up_to(MANIFEST_LEN_MAX));
            if bytes.is_ok_and(|bytes| Manifest::decode(&bytes).is_err()) {
                self.keep_file(name, MANIFEST_LEN_MAX);
            }
        }
        Ok(())
    }

    /// Keeps a copy of a file that is replaced, as far as it can be read.
    fn keep_file(&mut self, name: &str, len_max: u64) {
        let directory = &self.inner.directory;
        let file = directory.disk.open(&directory.file(name), OpenMode::Read);
        if let Ok(bytes) = file.and_then(|file| file.read_up_to(len_max))
            && !bytes.is_empty()
        {
            let checksum = file_checksum(&bytes);
            let kept = format!("{QUARANTINE_PREFIX}{name}-{checksum:08x}");
            self.steps.kept.push((kept, bytes));
        }
    }

    /// Notes the damage of a segment that is sealed, or will be.
    fn look_at(&mut self, entry: &SealedSegment) -> Result<Segment, Error> {
        let directory = &self.inner.directory;
        // As it will be read: what the index knows, and where the file ends.
        let segment = Segment::sealed(directory, &self.inner.log, *entry, &[]);
        let read = match segment.bytes() {
            Err(Error::Corrupt { .. }) => &[],
            bytes => bytes?,
        };
        let is_short = (read.len() as u64) < entry.end;
        let salt = segment.salt();
        if salt == UNKNOWN_SALT || read.is_empty() {
            self.lose_all(entry, &segment)?;
            return Ok(segment);
        }
        let positions = entry.base_position..entry.next_position();
        let bytes = read;
        let mut extents = damaged_extents(bytes, SEGMENT_HEADER_LEN, salt, positions);
        if !extents.is_empty() {
            extents.extend(nameless_extents(bytes, SEGMENT_HEADER_LEN, salt));
            extents.sort_by_key(|extent| (extent.positions.start, extent.offsets.start));
        }
        if is_short && extents.is_empty() {
            // No event is missing, and yet the file is not what it was.
            extents.push(Extent {
                offsets: bytes.len()..bytes.len(),
                positions: entry.next_position()..entry.next_position(),
                fault: too_short(bytes.len(), entry.end as usize),
            });
        }
        let header = SegmentHeader::decode(bytes).ok();
        if header.is_none_or(|header| header.number != entry.number || header.salt != salt) {
            // What it says stands in the manifest too.
            let base = entry.base_position;
            let fault = SegmentHeader::decode(bytes).err();
            let header = Extent {
                offsets: 0..SEGMENT_HEADER_LEN.min(bytes.len()),
                positions: base..base,
                fault: fault.unwrap_or(FormatError::Unwritten),
            };
            extents.insert(0, header);
        }
        for extent in extents {
            let kept = bytes.get(extent.offsets.clone()).unwrap_or_default();
            self.lose(&segment, extent, kept);
        }
        Ok(segment)
    }

    /// Notes that a segment is missing, or that nothing in it can be read.
    fn lose_all(&mut self, entry: &SealedSegment, segment: &Segment) -> Result<(), Error> {
        let directory = &self.inner.directory;
        let path = directory.segment(entry.number);
        let file = directory.disk.open(&path, OpenMode::Read);
        let mut bytes = match file.and_then(|file| file.read_up_to(SEGMENT_LEN_MAX)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(path, "read the segment")(error)),
        };
        let fault = match last_written_byte(&bytes, 0) {
            None => too_short(0, entry.end as usize),
            Some(_) => match SegmentHeader::decode(&bytes) {
                Ok(header) if segment.salt() == UNKNOWN_SALT => FormatError::Field {
                    structure: "segment",
                    field: "salt",
                    found: header.salt,
                    expected: "that of the file that was lost; this one has not the events of the manifest",
                },
                Ok(_) => FormatError::Unwritten,
                Err(error) => error,
            },
        };
        bytes.truncate(last_written_byte(&bytes, 0).map_or(0, |last| last + 1));
        let extent = Extent {
            offsets: 0..bytes.len(),
            positions: entry.base_position..entry.next_position(),
            fault,
        };
        self.lose(segment, extent, &bytes);
        Ok(())
    }

    fn lose(&mut self, segment: &Segment, extent: Extent, bytes: &[u8]) {
        let number = segment.number;
        let Extent {
            offsets,
            positions,
            fault,
        } = extent;
        let quarantined = Quarantined {
            segment: number,
            offset: offsets.start as u64,
            length: bytes.len() as u64,
            first: positions.start,
            next: positions.end,
            checksum: file_checksum(bytes),
        };
        let directory = self.inner.directory.clone();
        let is_known_already = {
            let manifest = self.inner.manifest.lock();
            manifest.quarantined_in(number).contains(&quarantined)
        };
        self.quarantined.push(quarantined);
        let name = quarantined.file_name();
        let is_there = name.as_ref().is_some_and(|name| {
            let file = directory.disk.open(&directory.file(name), OpenMode::Read);
            file.is_ok()
        });
        if is_known_already && (name.is_none() || is_there) {
            return;
        }
        if let Some(name) = &name {
            self.steps.kept.push((name.clone(), bytes.to_vec()));
        }
        if is_known_already {
            return;
        }
        let lost = lost_ordinals(segment, &positions);
        let Affected {
            aggregates,
            topics,
            is_known,
            are_counted,
        } = self.affected(segment, &lost);
        self.plan.forgets_versions |= !are_counted;
        let span = span_of(segment, &lost, positions.start);
        self.plan.losses.push(Loss {
            path: directory.segment(number),
            offset: quarantined.offset,
            bytes: quarantined.length,
            first: span.start,
            last: span.end.saturating_sub(1),
            events: lost.len() as u64,
            what: fault.to_string(),
            aggregates,
            topics,
            is_known,
            quarantine: name.map(|name| directory.file(&name)),
        });
    }

    /// Aggregates and topics of these events, by the index. The index has hashes: events that can be read and have the
    /// same give them their names.
    fn affected(&self, segment: &Segment, lost: &BTreeSet<u32>) -> Affected {
        let mut keys: Vec<KeyHash> = Vec::new();
        let mut known: BTreeSet<u32> = BTreeSet::new();
        let visited = segment.for_each_key(|key| keys.push(key));
        keys.retain(|key| {
            let held = segment.with_index(|index| {
                let held = index.postings(*key);
                held.iter()
                    .filter(|ordinal| lost.contains(ordinal))
                    .collect::<Vec<_>>()
            });
            let held = held.unwrap_or_default();
            known.extend(&held);
            !held.is_empty()
        });
        let (mut aggregates, mut topics) = (Vec::new(), Vec::new());
        let are_counted = lost.is_empty() || (visited.is_ok() && known.len() == lost.len());
        let mut is_known = are_counted;
        for key in keys {
            match self.name_of(key) {
                Some(Name::Aggregate(id)) if aggregates.len() < NAMES_MAX => aggregates.push(id),
                Some(Name::Topic(topic)) if topics.len() < NAMES_MAX => topics.push(topic),
                Some(Name::Tag) => {}
                _ => is_known = false,
            }
        }
        Affected {
            aggregates,
            topics,
            is_known,
            are_counted,
        }
    }

    /// What a key stands for, by an event that has it and can be read.
    fn name_of(&self, key: KeyHash) -> Option<Name> {
        let log = &self.inner.log;
        for place in self.view.set.holding(key) {
            let segment = &self.view.set.segments[place.ok()?];
            let held = segment.with_index(|index| index.postings(key).iter().collect::<Vec<_>>());
            for ordinal in held.ok()?.into_iter().take(EVENTS_ASKED_MAX) {
                let Ok(event) = segment.event(ordinal) else {
                    continue;
                };
                if log.topic(event.topic()) == key {
                    return Some(Name::Topic(event.topic().to_owned()));
                }
                let id = event.aggregate_id();
                let id = id.filter(|id| log.aggregate(id.kind(), id.as_bytes()) == Some(key));
                if let Some(id) = id {
                    return Some(Name::Aggregate(id));
                }
                if !key.kind().is_aggregate() && event.tags().any(|tag| log.tag(tag) == key) {
                    return Some(Name::Tag);
                }
            }
        }
        None
    }

    /// Names every segment behind those that the manifest names, up to the last that holds anything.
    fn seal_tail(&mut self, manifest: &mut Manifest) -> Result<(), Error> {
        let directory = &self.inner.directory;
        let last_named = manifest.segments.last().map(|last| last.number);
        let dropped = self.view.set.dropped.as_ref();
        let dropped = dropped.map_or(0, |dropped| dropped.last_segment);
        let last_named = last_named.unwrap_or(dropped);
        let mut next = manifest.segments.last().map_or(
            manifest.first_retained_position,
            SealedSegment::next_position,
        );
        let head = self.view.durable_head();
        let mut last_number = last_named;
        for (number, len) in directory.list()?.segments {
            if number > last_named && self.holds_anything(number, len)? {
                last_number = last_number.max(number);
            }
        }
        let set = &self.view.set;
        let watermark = directory.read_watermark()?;
        let watermark = watermark.filter(|watermark| watermark.log_id == self.inner.log.id);
        let is_head_there = set
            .segments
            .last()
            .is_some_and(|last| last.next_position().is_ok_and(|next| next > head));
        if let Some(watermark) = watermark
            && !is_head_there
            && watermark.segment <= last_number + SEGMENTS_MISSING_MAX
        {
            last_number = last_number.max(watermark.segment);
        }
        if last_number == last_named && head >= next {
            last_number += 1;
        }
        let mut entries: Vec<(SealedSegment, Option<Arc<Segment>>)> = Vec::new();
        let mut unknown = None;
        for number in last_named + 1..=last_number {
            let segment = set.segment(number).cloned();
            let later = set.segments.iter().find(|segment| segment.number > number);
            let until = match (&segment, later) {
                // What follows takes what is missing in between.
                (Some(segment), Some(_)) => segment.next_position()?,
                (_, None) if number == last_number => head + 1,
                (Some(segment), None) => segment.next_position()?,
                (None, Some(later)) => later.base_position,
                (None, None) => next,
            };
            let behind = later.map(|later| later.base_position);
            let headless = match segment {
                Some(_) => None,
                None => self.headless(number, next, behind, watermark.as_ref())?,
            };
            // What was acknowledged may be more than the witnesses know of.
            let until = headless.map_or(until, |(chain, _)| chain.next.max(until));
            let mut entry = sealed_entry(number, segment.as_deref(), next, until.max(next))?;
            if let Some((chain, is_whole)) = headless {
                entry.end = entry.end.max(chain.end as u64);
                if !is_whole {
                    unknown = Some(directory.segment(number));
                }
            }
            if entry.salt == UNKNOWN_SALT {
                let salt = salt_in_header(directory, &self.inner.log, number);
                entry.salt = salt.unwrap_or(UNKNOWN_SALT);
            }
            if let Some(end) = watermark.and_then(|watermark| end_in(&watermark, number)) {
                // Whatever is left of it: as much as there was, should the file come back.
                entry.end = entry.end.max(end);
            }
            next = entry.next_position();
            entries.push((entry, segment));
        }
        for (entry, _) in &entries {
            let _ = self.look_at(entry)?;
        }
        if let Some(path) = unknown {
            self.plan.forgets_positions = true;
            self.plan.forgets_versions = true;
            let losses = self.plan.losses.iter_mut();
            losses
                .filter(|loss| loss.path == path)
                .for_each(|loss| loss.is_known = false);
        }
        if let Some((entry, Some(segment))) = entries.last() {
            // After a sync that failed, whole frames may be in the page cache only: in a new file they are synced.
            let bytes = segment.bytes()?;
            let end = bytes.len().min(entry.end as usize);
            let unproven = frames_behind(&bytes[..end], entry.salt, self.proven()?);
            if unproven {
                let whole = directory.disk.open(&segment.path, OpenMode::Read);
                let whole = whole.and_then(|file| file.read_up_to(SEGMENT_LEN_MAX));
                let mut whole = whole.map_err(Error::io(&segment.path, "read the segment"))?;
                whole.truncate(entry.end as usize);
                self.steps.segment = Some((segment_file_name(entry.number), whole));
            }
        }
        manifest
            .segments
            .extend(entries.iter().map(|(entry, _)| *entry));
        Ok(())
    }

    /// How far the frames go of a segment that has lost its header, from position `next` on and up to position `behind`, at
    /// which the one behind it starts; and whether nothing else was ever written behind what the watermark accounts for.
    /// `None` when there is no such file.
    fn headless(
        &self,
        number: u64,
        next: u64,
        behind: Option<u64>,
        watermark: Option<&Watermark>,
    ) -> Result<Option<(Chain, bool)>, Error> {
        let path = self.inner.directory.segment(number);
        let file = self.inner.directory.disk.open(&path, OpenMode::Read);
        let bytes = match file.and_then(|file| file.read_up_to(SEGMENT_LEN_MAX)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(Error::io(&path, "read the segment"))?,
        };
        let known = watermark.and_then(|watermark| {
            let end = end_in(watermark, number)?;
            Some((end as usize, next.max(watermark.position + 1)))
        });
        let (start, next) = known.unwrap_or((SEGMENT_HEADER_LEN, next));
        let chain = chain(&bytes, start, next, behind.unwrap_or(u64::MAX));
        let written = last_written_byte(&bytes, SEGMENT_HEADER_LEN.min(bytes.len()));
        let is_whole = behind.is_some() || written.is_none_or(|last| last < chain.end);
        Ok(Some((chain, is_whole)))
    }

    /// Last position that the watermark or the manifest says was durable.
    fn proven(&self) -> Result<u64, Error> {
        let watermark = self.inner.directory.read_watermark()?;
        let watermark = watermark.filter(|watermark| watermark.log_id == self.inner.log.id);
        let by_watermark = watermark.map_or(0, |watermark| watermark.position);
        Ok(by_watermark.max(self.inner.manifest.lock().durable_position))
    }

    /// Whether a segment is more than one that was prepared.
    fn holds_anything(&self, number: u64, len: u64) -> Result<bool, Error> {
        let path = self.inner.directory.segment(number);
        let look = || {
            let file = self.inner.directory.disk.open(&path, OpenMode::Read)?;
            let mut header = vec![0; SEGMENT_HEADER_LEN.min(len as usize)];
            file.read_exact_at(&mut header, 0)?;
            let is_headed = match SegmentHeader::decode(&header) {
                Ok(header) => header.number == number && header.log_id == self.inner.log.id,
                Err(_) => last_written_byte(&header, 0).is_none(),
            };
            let start = SEGMENT_HEADER_LEN as u64;
            Ok(!is_headed || file.written_end(start)? > start)
        };
        look().map_err(Error::io(&path, "read the segment"))
    }
}

/// Whose events are lost.
struct Affected {
    aggregates: Vec<AggregateId>,
    topics: Vec<String>,
    /// Whether these are all.
    is_known: bool,
    /// Whether the index has the keys of each, so that no version is given again.
    are_counted: bool,
}

/// How a derived file is made anew.
enum Derived {
    /// By the next open, when it is not there.
    Removed,
    /// By what is written in any case.
    Overwritten,
}

/// How the damaged file is made anew; `None` when nothing else has what was in it.
fn derived(damage: &Damage) -> Option<Derived> {
    let name = damage.path.file_name()?.to_str()?;
    let is_index = parse_index_file_name(name).is_some() || parse_heads_file_name(name).is_some();
    let is_witness = name == WATERMARK_FILE || MANIFEST_FILES.contains(&name);
    match (is_index, is_witness) {
        (true, _) => Some(Derived::Removed),
        (_, true) => Some(Derived::Overwritten),
        _ => None,
    }
}

/// A name that a key may stand for.
enum Name {
    Aggregate(AggregateId),
    Topic(String),
    Tag,
}

/// Ordinals of the events at these positions that cannot be read.
fn lost_ordinals(segment: &Segment, positions: &Range<u64>) -> BTreeSet<u32> {
    let base = segment.base_position;
    let ordinals = positions
        .clone()
        .filter_map(|position| u32::try_from(position - base).ok());
    ordinals
        .filter(|ordinal| segment.event(*ordinal).is_err())
        .collect()
}

/// From the first to the last of these positions that cannot be read; empty, at the first of them, when all can.
pub(crate) fn lost_positions(segment: &Segment, positions: &Range<u64>) -> Range<u64> {
    span_of(segment, &lost_ordinals(segment, positions), positions.start)
}

fn span_of(segment: &Segment, lost: &BTreeSet<u32>, otherwise: u64) -> Range<u64> {
    let position = |ordinal: &u32| segment.base_position + u64::from(*ordinal);
    match (lost.first(), lost.last()) {
        (Some(first), Some(last)) => position(first)..position(last) + 1,
        _ => otherwise..otherwise,
    }
}

/// What the manifest is to say of a segment that ends damaged, with the positions up to `until`.
fn sealed_entry(
    number: u64,
    segment: Option<&Segment>,
    base_position: u64,
    until: u64,
) -> Result<SealedSegment, Error> {
    let event_count = until - base_position;
    let mut entry = SealedSegment {
        number,
        base_position,
        event_count,
        end: SEGMENT_HEADER_LEN as u64,
        salt: UNKNOWN_SALT,
        first_time_us: 0,
        last_time_us: 0,
    };
    if let Some(segment) = segment {
        let bytes = segment.bytes()?;
        entry.salt = segment.salt();
        entry.end = bytes.len() as u64;
        for_each_whole_frame(bytes, SEGMENT_HEADER_LEN, segment.salt(), |_, frame| {
            if frame.header.event_count > 0 {
                if entry.first_time_us == 0 {
                    entry.first_time_us = frame.header.time_us;
                }
                entry.last_time_us = entry.last_time_us.max(frame.header.time_us);
            }
        });
        if segment.next_position()? < until {
            entry.end = end_of_damage(segment, bytes.len(), until)?;
        }
    }
    // As many events as are missing would have taken so many bytes at least.
    let least = event_count.saturating_mul(LEAST_EVENT_LEN) + SEGMENT_HEADER_LEN as u64;
    entry.end = entry.end.max(least.next_multiple_of(ALIGNMENT as u64));
    if entry.end > SEGMENT_LEN_MAX {
        let path = segment.map_or_else(PathBuf::new, |segment| segment.path.clone());
        let fault = too_short(0, usize::MAX);
        return Err(corrupt(&path, 0, base_position, until - 1, fault));
    }
    Ok(entry)
}

/// Where the durable part of segment `number` ends by the watermark, when the log ends in that segment.
fn end_in(watermark: &Watermark, number: u64) -> Option<u64> {
    let is_end = watermark.segment == number
        && watermark.end <= SEGMENT_LEN_MAX
        && watermark.end.is_multiple_of(ALIGNMENT as u64);
    is_end.then_some(watermark.end)
}

/// Where the damaged bytes behind the last whole frame of a segment end: before a frame that is void, since it lies
/// behind position `until`.
fn end_of_damage(segment: &Segment, from: usize, until: u64) -> Result<u64, Error> {
    let file = segment.directory.disk.open(&segment.path, OpenMode::Read);
    let bytes = file.and_then(|file| file.read_up_to(SEGMENT_LEN_MAX));
    let bytes = bytes.map_err(Error::io(&segment.path, "read the segment"))?;
    let written = last_written_byte(&bytes, from).map_or(from, |last| last + 1);
    let mut end = align_up(written);
    for_each_whole_frame(&bytes, from, segment.salt(), |offset, frame: Frame<'_>| {
        if frame.header.base_position >= until {
            end = end.min(offset);
        }
    });
    Ok(end as u64)
}

/// Whether a whole frame holds an event behind position `proven`.
fn frames_behind(bytes: &[u8], salt: u64, proven: u64) -> bool {
    let mut is_behind = false;
    for_each_whole_frame(bytes, SEGMENT_HEADER_LEN, salt, |_, frame| {
        is_behind |= frame.header.event_count > 0 && frame.header.next_position() - 1 > proven;
    });
    is_behind
}

/// The same places, side by side ones of a segment as one when there are more than a manifest takes.
fn merged(mut places: Vec<Quarantined>) -> Vec<Quarantined> {
    places.sort_unstable_by_key(|place| (place.segment, place.first, place.offset));
    if places.len() > QUARANTINED_COUNT_MAX {
        places.dedup_by(|later, before| {
            let is_same = later.segment == before.segment;
            if is_same {
                before.next = before.next.max(later.next);
            }
            is_same
        });
        places.truncate(QUARANTINED_COUNT_MAX);
    }
    places
}

fn too_short(found: usize, expected: usize) -> FormatError {
    FormatError::TooShort {
        structure: "segment",
        found,
        expected,
    }
}

/// Names that a loss tells, of either kind.
const NAMES_MAX: usize = 100;
/// Events of a segment that are asked for the name of a key.
const EVENTS_ASKED_MAX: usize = 64;
/// Bytes that an event takes at least.
const LEAST_EVENT_LEN: u64 = RECORD_LEN_MIN as u64;
/// Segments that may be missing behind the last one there.
const SEGMENTS_MISSING_MAX: u64 = 16;
