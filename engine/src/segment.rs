//! One segment as the engine reads it: file, topics, index, and an event at an ordinal.
//!
//! Sealed segments are opened at first use, so that opening a log costs its tail and not its history.
//! Nothing here writes to a segment; the writer does.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use annals_index::{
    FrontBytes, GrowingIndex, IdHash, IdTimes, Identity, KeyHash, KeyIndex, KeyKind, SealedBuilder,
    SealedIndex, TailIndex,
};
use annals_segments::format::FormatError;
use annals_segments::format::frame::{
    FRAME_HEADER_LEN, Frame, FrameHeader, FrameKind, PreambleEntry,
};
use annals_segments::format::manifest::SealedSegment;
use annals_segments::format::quarantined::Quarantined;
use annals_segments::format::record::{
    IdKind, RECORD_FRONT_LEN, RECORD_LEN_MIN, Record, peek_padded_len,
};
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::sync::RwLock;
use annals_segments::{FrozenFile, OpenMode, SegmentFile, find_later_frame, scan_frames};

use crate::checkpoint::Front;
use crate::directory::{Directory, corrupt};
use crate::error::Error;
use crate::event::Event;
use crate::topics::Topics;

mod gaps;
mod salt;

use gaps::{Gaps, damage_around};
use salt::returned_salt;
pub(crate) use salt::{NOT_KNOWN, UNKNOWN_SALT, is_same_salt, salt_in_header};

/// What every segment of a log shares.
#[derive(Clone, Debug)]
pub(crate) struct LogIdentity {
    pub(crate) id: [u8; 16],
    /// Seed of the key hashes: from the log's random id, so that nobody can choose colliding keys.
    pub(crate) seed: u64,
}

impl LogIdentity {
    pub(crate) fn new(id: [u8; 16]) -> Self {
        let (seed, _) = id.split_first_chunk().expect("16 bytes hold 8");
        Self {
            id,
            seed: u64::from_le_bytes(*seed),
        }
    }

    pub(crate) fn id_hash(&self, event_id: &[u8; 16]) -> IdHash {
        IdHash::new(self.seed, event_id)
    }

    pub(crate) fn tag(&self, tag: &[u8]) -> KeyHash {
        KeyHash::new(self.seed, KeyKind::Tag, tag)
    }

    #[inline]
    pub(crate) fn topic(&self, topic: &str) -> KeyHash {
        KeyHash::new(self.seed, KeyKind::Topic, topic.as_bytes())
    }

    pub(crate) fn aggregate(&self, kind: IdKind, id: &[u8]) -> Option<KeyHash> {
        let kind = match kind {
            IdKind::Absent => return None,
            IdKind::Uuid => KeyKind::AggregateUuid,
            IdKind::Text => KeyKind::AggregateText,
        };
        Some(KeyHash::new(self.seed, kind, id))
    }

    /// Every key of an event: its aggregate, its topic, its tags.
    pub(crate) fn keys<'a>(
        &'a self,
        record: &Record<'a>,
        topic: &str,
    ) -> impl Iterator<Item = KeyHash> + 'a {
        let tags = record.tags().map(|tag| self.tag(tag));
        self.aggregate(record.id_kind(), record.id())
            .into_iter()
            .chain([self.topic(topic)])
            .chain(tags)
    }
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Position of its first event.
    pub(crate) base_position: u64,
    pub(crate) path: PathBuf,
    pub(crate) directory: Directory,
    log: LogIdentity,
    /// What the manifest says of it, once it is sealed.
    sealed: OnceLock<SealedSegment>,
    file: OnceLock<SegmentFile>,
    salt: u64,
    topics: Topics,
    /// Topics of a segment opened lazily are gathered at first use.
    topics_gathered: OnceLock<()>,
    /// The index from its file, read without a lock. Once it is there the one in memory is not asked again.
    sealed_index: OnceLock<SealedIndex<FrozenFile>>,
    /// The index while there is no file of it.
    tail_index: RwLock<Option<TailIndex>>,
    /// Offset of the newest dictionary that a checkpoint may end at; 0 when there is none.
    checkpoint_end: AtomicUsize,
    /// Which ids a sealed segment may hold, once asked.
    id_times: OnceLock<IdTimes>,
    /// Positions of events that damage has taken from an index in memory: it holds no key of theirs.
    lost: OnceLock<Lost>,
    /// Where they are missing.
    gaps: Gaps,
    /// Whether there are such events, those included whose loss was accepted.
    has_gaps: AtomicBool,
    /// Whether its index file was found to be one that cannot be made, because of damage.
    is_unindexable: AtomicBool,
    /// Damage in it that somebody has decided to go on without.
    quarantined: Arc<[Quarantined]>,
}

/// Positions of damaged events, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Segment {
    /// A segment that is being written, or was found without an entry in the manifest.
    pub(crate) fn tail(
        directory: &Directory,
        log: &LogIdentity,
        header: &SegmentHeader,
        base_position: u64,
        file: SegmentFile,
    ) -> Self {
        let segment = Self::new(directory, log, header.number, base_position, header.salt);
        segment.file.set(file).expect("just made");
        segment.topics_gathered.set(()).expect("just made");
        *segment.tail_index.write() = Some(TailIndex::new(segment.first_identity()));
        segment
    }

    /// Has the index go on behind the first events, before any is added.
    pub(crate) fn start_behind(&self, front: SealedIndex<FrontBytes>) {
        *self.tail_index.write() = Some(TailIndex::behind(front));
    }

    /// Notes that a dictionary starts at `offset`, to which everything is published.
    pub(crate) fn note_dictionary(&self, offset: usize) {
        self.checkpoint_end.store(offset, Ordering::Release);
    }

    /// Where a checkpoint may end.
    pub(crate) fn checkpoint_end(&self) -> Option<usize> {
        Some(self.checkpoint_end.load(Ordering::Acquire)).filter(|end| *end > 0)
    }

    /// A sealed segment; nothing is opened yet. `quarantined`: what the manifest lists of it.
    pub(crate) fn sealed(
        directory: &Directory,
        log: &LogIdentity,
        entry: SealedSegment,
        quarantined: &[Quarantined],
    ) -> Self {
        let salt = match entry.salt {
            UNKNOWN_SALT => returned_salt(directory, log, &entry).unwrap_or(UNKNOWN_SALT),
            salt => salt,
        };
        Self::sealed_with(directory, log, entry, salt, quarantined)
    }

    fn sealed_with(
        directory: &Directory,
        log: &LogIdentity,
        entry: SealedSegment,
        salt: u64,
        quarantined: &[Quarantined],
    ) -> Self {
        let mut segment = Self::new(directory, log, entry.number, entry.base_position, salt);
        segment.quarantined = quarantined.into();
        segment.sealed.set(entry).expect("just made");
        segment
    }

    /// This segment, or the same one with nothing of it in memory, when it can be opened again as it is.
    pub(crate) fn let_go(self: &Arc<Self>) -> Arc<Self> {
        let Some(entry) = self.sealed.get() else {
            return self.clone();
        };
        let is_opened = self.file.get().is_some_and(SegmentFile::is_finished);
        // An index in memory is either one that is still to be written, or was costly to derive.
        if !is_opened || self.tail_index.read().is_some() {
            return self.clone();
        }
        Arc::new(Self::sealed_with(
            &self.directory,
            &self.log,
            *entry,
            self.salt,
            &self.quarantined,
        ))
    }

    /// The damage in it that somebody has decided to go on without.
    pub(crate) fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// Whether the loss of all of these positions was accepted; both inclusive.
    pub(crate) fn is_accepted(&self, first: u64, last: u64) -> bool {
        is_accepted(&self.quarantined, first, last)
    }

    /// The error about the event at `position`: damage that was accepted has a name of its own.
    #[cold]
    fn told(&self, error: Error, position: u64) -> Error {
        let accepted = self
            .quarantined
            .iter()
            .find(|damage| damage.covers(position));
        match (error, accepted) {
            (Error::Corrupt { .. }, Some(damage)) => Error::Quarantined {
                path: self.path.clone(),
                first: position,
                last: position,
                quarantine: damage.file_name().map(|name| self.directory.file(&name)),
            },
            (error, _) => error,
        }
    }

    fn new(
        directory: &Directory,
        log: &LogIdentity,
        number: u64,
        base_position: u64,
        salt: u64,
    ) -> Self {
        Self {
            number,
            base_position,
            path: directory.segment(number),
            directory: directory.clone(),
            log: log.clone(),
            sealed: OnceLock::new(),
            file: OnceLock::new(),
            salt,
            topics: Topics::default(),
            topics_gathered: OnceLock::new(),
            sealed_index: OnceLock::new(),
            tail_index: RwLock::new(None),
            checkpoint_end: AtomicUsize::new(0),
            id_times: OnceLock::new(),
            lost: OnceLock::new(),
            gaps: Gaps::default(),
            has_gaps: AtomicBool::new(false),
            is_unindexable: AtomicBool::new(false),
            quarantined: Arc::default(),
        }
    }

    #[inline]
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// What the manifest says, or will say, of it; `None` while it is written.
    #[inline]
    pub(crate) fn sealed_entry(&self) -> Option<&SealedSegment> {
        self.sealed.get()
    }

    /// Notes that nothing will be added any more.
    pub(crate) fn seal(&self, entry: SealedSegment) {
        self.sealed.set(entry).expect("a segment is sealed once");
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Position behind its last event, as far as the index in memory or the manifest knows.
    pub(crate) fn next_position(&self) -> Result<u64, Error> {
        match self.sealed.get() {
            Some(entry) => Ok(entry.next_position()),
            None => Ok(self.base_position + u64::from(self.with_index(|index| index.len())?)),
        }
    }

    /// The file, opened at first use when the segment is sealed.
    #[inline]
    pub(crate) fn file(&self) -> Result<&SegmentFile, Error> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let entry = self
            .sealed
            .get()
            .expect("a segment without a file is a sealed one");
        let disk = &*self.directory.disk;
        let open = |end| SegmentFile::open(disk, &self.path, OpenMode::Read, end);
        let opened = open(entry.end).or_else(|error| match error.kind() {
            // What is left of it can be read; the events behind answer for themselves.
            std::io::ErrorKind::UnexpectedEof => {
                open(disk.open(&self.path, OpenMode::Read)?.len()?.min(entry.end))
            }
            _ => Err(error),
        });
        let file = opened.map_err(|source| match (source.kind(), self.dropped_by_now()) {
            (std::io::ErrorKind::NotFound, Some(first)) => Error::Expired { first },
            // Both are missing data, not a disk in a bad mood: the manifest vouched for these bytes.
            (std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound, _) => {
                Error::Corrupt {
                    path: self.path.clone(),
                    offset: 0,
                    first: entry.base_position,
                    last: entry.next_position().saturating_sub(1),
                    fault: FormatError::TooShort {
                        structure: "segment",
                        found: 0,
                        expected: entry.end as usize,
                    },
                }
            }
            _ => Error::io(&self.path, "open the segment")(source),
        })?;
        Ok(self.file.get_or_init(|| file))
    }

    /// The first retained position, when another process has dropped this segment since the log was opened
    /// for reading.
    fn dropped_by_now(&self) -> Option<u64> {
        let manifest = self.directory.read_manifest().ok().flatten()?;
        let first = manifest.first_retained_position;
        (first > self.base_position).then_some(first)
    }

    /// The published bytes, all of them: for who looks at all.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<&[u8], Error> {
        self.read(0..usize::MAX)
    }

    /// The published bytes in `range`, as far as there are any.
    #[inline]
    pub(crate) fn read(&self, range: Range<usize>) -> Result<&[u8], Error> {
        let bytes = self.file()?.bytes_in(range);
        bytes.map_err(Error::io(&self.path, "read the segment"))
    }

    /// The frame whose header starts at `offset`, or what there is of it, and what lies behind it when that
    /// costs no reading.
    #[inline]
    pub(crate) fn read_frame(&self, offset: usize) -> Result<&[u8], Error> {
        if let Some(bytes) = self.file()?.resident_bytes() {
            return Ok(bytes.get(offset..).unwrap_or_default());
        }
        let header = self.read(offset..offset.saturating_add(FRAME_HEADER_LEN))?;
        let len = FrameHeader::decode(header, self.salt).map_or(0, |header| header.length as usize);
        self.read(offset..offset.saturating_add(len.max(FRAME_HEADER_LEN)))
    }

    /// The record that starts at `offset`, or what there is of it, and what lies behind it when that costs no
    /// reading.
    #[inline]
    pub(crate) fn read_record(&self, offset: usize) -> Result<&[u8], Error> {
        if let Some(bytes) = self.file()?.resident_bytes() {
            return Ok(bytes.get(offset..).unwrap_or_default());
        }
        let front = self.read(offset..offset.saturating_add(RECORD_FRONT_LEN))?;
        match peek_padded_len(front) {
            Some(len) => self.read(offset..offset.saturating_add(len)),
            None => Ok(front),
        }
    }

    /// Answers from the index, opening or rebuilding it at first use.
    #[inline]
    pub(crate) fn with_index<R>(&self, ask: impl FnOnce(&dyn KeyIndex) -> R) -> Result<R, Error> {
        if let Some(sealed) = self.sealed_index.get() {
            return Ok(ask(sealed));
        }
        let tail = self.tail_index.read();
        if let Some(tail) = &*tail {
            return Ok(ask(tail));
        }
        drop(tail);
        // Another thread may have been faster, or have put a file in the place of the tail just now.
        if self.sealed_index.get().is_none() {
            match self.open_index() {
                Some(sealed) => drop(self.sealed_index.set(sealed)),
                None => {
                    let derived = self.derive_index()?;
                    let mut tail = self.tail_index.write();
                    if self.sealed_index.get().is_none() {
                        tail.get_or_insert(derived);
                    }
                }
            }
        }
        match self.sealed_index.get() {
            Some(sealed) => Ok(ask(sealed)),
            None => self.with_index(ask),
        }
    }

    /// The index in its file, once it has been opened.
    #[inline]
    pub(crate) fn sealed_index(&self) -> Option<&SealedIndex<FrozenFile>> {
        self.sealed_index.get()
    }

    /// A step of [`SealedIndex::touch`], when the index is open.
    #[inline]
    pub(crate) fn touch_index(&self, key: KeyHash, step: u8) -> u8 {
        if let Some(sealed) = self.sealed_index.get() {
            return sealed.touch(key, step);
        }
        let tail = self.tail_index.try_read();
        let tail = tail.as_ref().and_then(|tail| tail.as_ref());
        tail.map_or(0, |tail| tail.touch_step(key, step))
    }

    /// Whether the segment may hold an event with this id, by the times in version 7 ids.
    pub(crate) fn may_hold_id(&self, event_id: &[u8; 16]) -> Result<bool, Error> {
        if let Some(times) = self.id_times.get() {
            return Ok(times.may_hold(event_id) || self.lost.get().is_some());
        }
        // Asked first: what is read after it was sealed is all there will be.
        let is_sealed = self.sealed.get().is_some();
        let times = self.with_index(|index| index.id_times())?;
        if is_sealed {
            self.id_times.get_or_init(|| times);
        }
        Ok(times.may_hold(event_id) || self.lost.get().is_some())
    }

    /// Visits every key of the segment.
    pub(crate) fn for_each_key(&self, mut visit: impl FnMut(KeyHash)) -> Result<(), Error> {
        self.with_index(|_| ())?;
        if self.sealed_index.get().is_none()
            && let Some(tail) = &*self.tail_index.read()
        {
            tail.keys().for_each(&mut visit);
            return Ok(());
        }
        // Put in the place of the tail just now, or before.
        let sealed = self.sealed_index.get().into_iter();
        sealed.flat_map(SealedIndex::keys).for_each(visit);
        Ok(())
    }

    /// Bytes of the index: in memory, estimated, and mapped.
    pub(crate) fn index_bytes(&self) -> (usize, usize) {
        let tail = self.tail_index.read();
        let sealed = self.sealed_index.get();
        (
            tail.as_ref().map_or(0, TailIndex::heap_bytes),
            sealed.map_or(0, SealedIndex::file_len),
        )
    }

    /// Adds the next event to the index of the segment being written.
    pub(crate) fn with_tail(&self, add: impl FnOnce(&mut TailIndex)) {
        let mut tail = self.tail_index.write();
        add(tail.as_mut().expect("events are added to a tail index"));
    }

    /// The sealed form of the index, when its file is there and sound.
    pub(crate) fn open_index(&self) -> Option<SealedIndex<FrozenFile>> {
        let path = self.directory.index(self.number);
        let len_max = derived_len_max(self.sealed.get()?.end);
        let file = FrozenFile::open(&*self.directory.disk, &path, len_max).ok()?;
        let opened = SealedIndex::open(file, &self.identity()?);
        let verified = opened.and_then(|index| match is_planted(Bug::TrustTornIndex) {
            true => Ok(index),
            false => index.verify_checksum().map(|()| index),
        });
        verified
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "index not usable"))
            .ok()
    }

    /// The bytes of the index file, when it has to be derived: from memory, or from the frames.
    pub(crate) fn encode_index(
        &self,
        mut previous: impl FnMut(KeyHash) -> Option<u64>,
    ) -> Result<Option<Vec<u8>>, Error> {
        if self.sealed_index.get().is_some() || self.is_unindexable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match &*self.tail_index.read() {
            // An index without the keys of damaged events must not outlive this process: the file may be restored.
            Some(_) if self.has_gaps() => return Ok(None),
            Some(tail) if !tail.has_front() => return Ok(Some(tail.encode(&mut previous))),
            _ => {}
        }
        let entry = self.sealed.get().expect("only a sealed segment has a file");
        let builder = self.build_index(entry.end as usize)?;
        let whole = builder.filter(|builder| u64::from(builder.len()) == entry.event_count);
        if whole.is_none() {
            self.note_unindexable();
        }
        Ok(whole.map(|builder| builder.encode(previous)))
    }

    /// Notes that damage keeps its index file from being made: nobody need try again before the log is opened again.
    pub(crate) fn note_unindexable(&self) {
        self.is_unindexable.store(true, Ordering::Relaxed);
    }

    /// The index of the frames before offset `end`, without lookups; `None` when one of them is damaged.
    pub(crate) fn build_index(&self, end: usize) -> Result<Option<SealedBuilder>, Error> {
        let mut builder = SealedBuilder::new(self.first_identity());
        let bytes = self.bytes()?;
        let Some(bytes) = bytes.get(..end) else {
            return Ok(None);
        };
        let mut lost = None;
        let scan = scan_frames(
            bytes,
            SEGMENT_HEADER_LEN,
            self.salt,
            None,
            |offset, frame| {
                lost = lost.or(self.index_frame(&mut builder, offset, &frame, bytes.len()));
            },
        );
        Ok((scan.end == end && lost.is_none()).then_some(builder))
    }

    /// Goes over from the index in memory to the mapped one.
    pub(crate) fn use_sealed_index(&self, sealed: SealedIndex<FrozenFile>) {
        // In this order: who finds no tail finds the file.
        drop(self.sealed_index.set(sealed));
        *self.tail_index.write() = None;
    }

    /// Whether its index takes memory, which that of a sealed segment need not.
    pub(crate) fn has_index_in_memory(&self) -> bool {
        self.tail_index.read().is_some()
    }

    /// Goes over to the index file that another process has written. Answers whether it is still to come.
    pub(crate) fn adopt_index(&self) -> bool {
        let path = self.directory.index(self.number);
        match self.directory.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            _ => {
                // One made before some events were damaged knows more than what is in memory, and what is
                // lost has been told already: it stays as it is.
                if self.has_index_in_memory()
                    && !self.has_gaps()
                    && let Some(sealed) = self.open_index()
                {
                    self.use_sealed_index(sealed);
                }
                false
            }
        }
    }

    fn identity(&self) -> Option<Identity> {
        let entry = self.sealed.get()?;
        Some(Identity {
            event_count: u32::try_from(entry.event_count).ok()?,
            ..self.first_identity()
        })
    }

    /// The identity of an index without events yet.
    fn first_identity(&self) -> Identity {
        Identity {
            log_id: self.log.id,
            segment: self.number,
            salt: self.salt,
            base_position: self.base_position,
            event_count: 0,
        }
    }

    /// Derives the index of a sealed segment from its frames. A damaged event keeps its ordinal, so
    /// that those behind it keep theirs; it has no keys.
    pub(crate) fn derive_index(&self) -> Result<TailIndex, Error> {
        let entry = self
            .sealed
            .get()
            .expect("only a sealed segment has an index to derive");
        let last = entry.next_position().saturating_sub(1);
        let bytes = match self.bytes() {
            // All of it is missing, and nobody expects it.
            Err(Error::Corrupt { .. }) if self.is_accepted(entry.base_position, last) => &[],
            bytes => bytes?,
        };
        let front = Front::open(
            &self.directory,
            &self.log,
            self.number,
            self.salt,
            bytes,
            last,
        );
        let (mut tail, start) = match front {
            Some(front) => (TailIndex::behind(front.index), front.end),
            None => (TailIndex::new(self.first_identity()), SEGMENT_HEADER_LEN),
        };
        for_each_frame(
            bytes,
            start,
            self.salt,
            |offset, frame, whole| match whole {
                Whole::Yes => {
                    self.note_lost(self.index_frame(&mut tail, offset, &frame, bytes.len()))
                }
                Whole::No => {
                    self.note_lost(self.index_part(&mut tail, offset, &frame, bytes.len()))
                }
            },
        );
        // As many as the manifest says, whose checksum vouches for it; the file may be short.
        let lost = self.pad_index(&mut tail, entry.event_count, entry.end as usize, None);
        self.note_lost(lost);
        self.topics_gathered.get_or_init(|| ());
        Ok(tail)
    }

    /// Adds the events of a verified frame at `offset` to an index of this segment, of whose file
    /// `bytes_len` bytes are looked at. Events that are missing before it keep their place; a frame that
    /// is not behind those already there belongs elsewhere, and only its topics are taken.
    pub(crate) fn index_frame(
        &self,
        tail: &mut impl GrowingIndex,
        offset: usize,
        frame: &Frame<'_>,
        bytes_len: usize,
    ) -> Option<Lost> {
        define_topics(&self.topics, frame);
        let before = frame.header.base_position.checked_sub(self.base_position)?;
        let lost = self.pad_index(tail, before, bytes_len, None);
        if u64::from(tail.next_ordinal()) != before {
            return lost;
        }
        for (in_frame, record) in frame.records() {
            let Ok(record) = record else { return lost };
            let topic = self.topics.name(record.place().topic).unwrap_or_default();
            let event_id = record.event_id();
            let keys = self.log.keys(&record, topic);
            let id = self.log.id_hash(&event_id);
            tail.push(
                (offset + in_frame) as u32,
                frame.header.time_us,
                event_id,
                id,
                keys,
            );
        }
        lost
    }

    /// Adds the events of a frame whose header is sound and not all of its records are: those that verify. The others
    /// keep their place, and are answered.
    pub(crate) fn index_part(
        &self,
        tail: &mut impl GrowingIndex,
        offset: usize,
        frame: &Frame<'_>,
        bytes_len: usize,
    ) -> Option<Lost> {
        define_topics(&self.topics, frame);
        let FrameHeader {
            base_position,
            time_us,
            event_count,
            ..
        } = frame.header;
        let before = base_position.checked_sub(self.base_position)?;
        let mut lost = self.pad_index(tail, before, bytes_len, None);
        if u64::from(tail.next_ordinal()) != before {
            return lost;
        }
        for ((in_frame, record), position) in frame.records().zip(base_position..) {
            let Ok(record) = record else { break };
            // Its position is under its checksum: a record that verifies is in its place.
            let verified = record.verify(position, self.salt).is_ok();
            let topic = self.topics.name(record.place().topic);
            let Some(topic) = topic.filter(|_| verified) else {
                continue;
            };
            let behind = position - self.base_position;
            lost = joined(lost, self.pad_index(tail, behind, bytes_len, Some(offset)));
            let event_id = record.event_id();
            tail.push(
                (offset + in_frame) as u32,
                time_us,
                event_id,
                self.log.id_hash(&event_id),
                self.log.keys(&record, topic),
            );
        }
        let end = before + u64::from(event_count);
        joined(lost, self.pad_index(tail, end, bytes_len, Some(offset)))
    }

    /// Keeps the place of events that are lost, up to `len` events in all; `frame`: the offset of the frame that they
    /// are in, when its header can be read. Answers their positions, when there are any.
    fn pad_index(
        &self,
        tail: &mut impl GrowingIndex,
        len: u64,
        bytes_len: usize,
        frame: Option<usize>,
    ) -> Option<Lost> {
        // No more than there can be, whatever damaged bytes say.
        let len = len.min((bytes_len / RECORD_LEN_MIN) as u64);
        let before = u64::from(tail.next_ordinal());
        while u64::from(tail.next_ordinal()) < len {
            tail.push(0, 0, [0; 16], IdHash::new(0, &[0; 16]), []);
        }
        (before < len).then(|| {
            self.gaps.note(before, len, frame);
            Lost {
                first: self.base_position + before,
                last: self.base_position + len - 1,
            }
        })
    }

    /// Notes that the index in use has no keys of these events.
    pub(crate) fn note_lost(&self, lost: Option<Lost>) {
        let Some(lost) = lost else { return };
        self.has_gaps.store(true, Ordering::Release);
        if !self.is_accepted(lost.first, lost.last) {
            self.lost.get_or_init(|| lost);
        }
    }

    /// Whether the index in use lacks the keys of damaged events, those included whose loss was accepted.
    pub(crate) fn has_gaps(&self) -> bool {
        self.has_gaps.load(Ordering::Acquire)
    }

    /// The error that a lookup by key has to answer beside what it finds: events are damaged whose keys
    /// nobody knows, and nobody has decided to go on without them. With the index file in use there is none,
    /// since it was made before the damage.
    #[inline]
    pub(crate) fn lost_keys(&self) -> Option<Error> {
        let Lost { first, last } = *self.lost.get()?;
        Some(corrupt(&self.path, 0, first, last, LOST))
    }

    /// Learns the topics of a segment that was opened lazily: from the dictionary it was sealed with, or
    /// from all of its frames when a crash kept it from having one.
    #[inline]
    fn gather_topics(&self) -> Result<(), Error> {
        if self.topics_gathered.get().is_some() {
            return Ok(());
        }
        let last = self.with_index(|index| index.offset(index.len().checked_sub(1)?))?;
        let behind = match last.map(|offset| offset as usize) {
            None => None,
            Some(offset) => {
                let front = self.read(offset..offset.saturating_add(RECORD_FRONT_LEN))?;
                peek_padded_len(front).and_then(|len| offset.checked_add(len))
            }
        };
        let mut last_kinds = [None; 2];
        if let Some(behind) = behind {
            scan_frames(
                self.read(behind..usize::MAX)?,
                0,
                self.salt,
                None,
                |_, frame| {
                    define_topics(&self.topics, &frame);
                    last_kinds = [last_kinds[1], frame.header.kind];
                },
            );
        }
        if last_kinds != [Some(FrameKind::Dictionary), Some(FrameKind::Footer)] {
            for_each_whole_frame(self.bytes()?, SEGMENT_HEADER_LEN, self.salt, |_, frame| {
                define_topics(&self.topics, &frame);
            });
        }
        self.topics_gathered.get_or_init(|| ());
        Ok(())
    }

    /// The event at `ordinal`, verified.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record does not verify, [`Error::Quarantined`] when that was accepted.
    pub(crate) fn event(&self, ordinal: u32) -> Result<Event<'_>, Error> {
        let offset = self
            .with_index(|index| index.offset(ordinal))
            .map_err(|error| self.told(error, self.base_position + u64::from(ordinal)))?;
        // Offset 0 lies in the header block: it stands for an event whose frame is damaged.
        let offset = offset.unwrap_or(0) as usize;
        self.event_at(offset, ordinal)
    }

    /// The event whose record starts at `offset`, verified.
    #[inline]
    pub(crate) fn event_at(&self, offset: usize, ordinal: u32) -> Result<Event<'_>, Error> {
        let position = self.base_position + u64::from(ordinal);
        self.event_there(offset, position)
            .map_err(|error| self.told(error, position))
    }

    #[inline]
    fn event_there(&self, offset: usize, position: u64) -> Result<Event<'_>, Error> {
        let bytes = self.read_record(offset)?;
        let is_damaged = offset < SEGMENT_HEADER_LEN;
        if is_damaged
            && let Ok(ordinal) = u32::try_from(position - self.base_position)
            && let Some((offset, fault)) = damage_around(self, ordinal)
        {
            return Err(self.corrupt(offset, position, fault));
        }
        let bytes = if is_damaged { &[] } else { bytes };
        let record = Record::read(bytes, position, self.salt)
            .map_err(|source| self.corrupt(offset, position, source))?;
        let topic = self.topic(record.place().topic, offset, position)?;
        Ok(Event {
            position,
            topic,
            record,
        })
    }

    /// The published bytes of a mapped file.
    #[inline]
    pub(crate) fn resident_bytes(&self) -> Option<&[u8]> {
        self.file().ok()?.resident_bytes()
    }

    /// The name of a topic, as a record of this segment numbers it.
    #[inline]
    pub(crate) fn topic(&self, number: u32, offset: usize, position: u64) -> Result<&str, Error> {
        self.gather_topics()?;
        self.topics.name(number).ok_or_else(|| {
            let source = FormatError::Field {
                structure: "record",
                field: "topic",
                found: u64::from(number),
                expected: "one that the segment defines",
            };
            self.corrupt(offset, position, source)
        })
    }

    pub(crate) fn corrupt(&self, offset: usize, position: u64, source: FormatError) -> Error {
        corrupt(&self.path, offset, position, position, source)
    }
}

/// Bytes that an index of so many bytes of log can have: a tag of two bytes has the dearest place in it, and that takes
/// less than 32 times as much. What is longer is none of ours, and is not read.
pub(crate) fn derived_len_max(log_len: u64) -> u64 {
    log_len.saturating_mul(32).saturating_add(1 << 20)
}

/// Whether these places of one segment, ascending, take all of these positions; both inclusive.
pub(crate) fn is_accepted(quarantined: &[Quarantined], first: u64, last: u64) -> bool {
    let mut next = first;
    for damage in quarantined {
        if damage.covers(next) {
            next = damage.next;
        }
    }
    first <= last && next > last
}

/// Stands for an event that no frame can be found for.
const LOST: FormatError = FormatError::TooShort {
    structure: "frame",
    found: 0,
    expected: FRAME_HEADER_LEN,
};

/// The one range that takes both: lookups tell it as one.
fn joined(one: Option<Lost>, other: Option<Lost>) -> Option<Lost> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Lost {
            first: one.first.min(other.first),
            last: one.last.max(other.last),
        }),
        (one, other) => one.or(other),
    }
}

/// Walks the whole frames of a segment, going on behind damage.
pub(crate) fn for_each_whole_frame<'a>(
    bytes: &'a [u8],
    start: usize,
    salt: u64,
    mut visit: impl FnMut(usize, Frame<'a>),
) {
    for_each_frame(bytes, start, salt, |offset, frame, whole| {
        if whole == Whole::Yes {
            visit(offset, frame);
        }
    });
}

/// Whether all of a frame verifies, or only its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Yes,
    No,
}

/// Walks the frames of a segment whose header verifies, going on behind damage.
pub(crate) fn for_each_frame<'a>(
    bytes: &'a [u8],
    start: usize,
    salt: u64,
    mut visit: impl FnMut(usize, Frame<'a>, Whole),
) {
    let mut start = start;
    loop {
        let scan = scan_frames(bytes, start, salt, None, |offset, frame| {
            visit(offset, frame, Whole::Yes);
        });
        let bad = bytes.get(scan.end..).unwrap_or_default();
        // Its header says where it ends: what is inside, a copy of another frame maybe, is not searched.
        let len = match Frame::parse(bad, salt) {
            Ok(frame) => {
                visit(scan.end, frame, Whole::No);
                frame.as_bytes().len()
            }
            Err(_) => annals_segments::format::ALIGNMENT,
        };
        match find_later_frame(bytes, scan.end + len, salt) {
            // Not whole: go on behind its header, or the search would find it again.
            Some(later) => start = later.offset,
            None => return,
        }
    }
}

/// Defines the topics of a frame.
pub(crate) fn define_topics(topics: &Topics, frame: &Frame<'_>) {
    let Ok(entries) = frame.preamble() else {
        return;
    };
    for entry in entries.flatten() {
        if let PreambleEntry::Topic { number, name } = entry {
            topics.define(number, name);
        }
    }
}
