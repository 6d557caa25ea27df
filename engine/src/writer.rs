//! The writing end of the log: places batches, writes groups, rolls segments.
//!
//! Only the leader of the moment has it, under a lock. Invariants:
//! - nothing is written to a segment before all of the one before is synced;
//! - a group never spans two segments;
//! - readers see an event only after its frame was written, and one appended with
//!   [`Durability::Sync`] only after it was synced;
//! - after any failed write or sync nothing is written any more: the log is poisoned.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use annals_index::{BuildKeyHasher, GrowingIndex, KeyHash};
use annals_segments::DiskFile;
use annals_segments::format::ALIGNMENT;
use annals_segments::format::frame::{
    FRAME_HEADER_LEN, FrameFields, FrameKind, FrameWriter, Preamble,
};
use annals_segments::format::manifest::SealedSegment;
use annals_segments::format::record::{RecordPlace, place_record};
use annals_segments::format::segment_header::SEGMENT_HEADER_LEN;
use annals_segments::format::watermark::Watermark;
use annals_segments::planted::{Bug, is_planted};

use smallvec::SmallVec;

use crate::aggregate_id::AggregateId;
use crate::batch::{Durability, Expected, Version};
use crate::commit::{Outcome, Submission};
use crate::error::{Error, ExpectedVersion, Limit};
use crate::housekeeping::{Job, PreparedSegment};
use crate::log::{Appended, Inner};
use crate::prepared::PreparedBatch;
use crate::recovery::LOOKED_AT_BEHIND_CLOSE;
use crate::retry::{Search, recognise};
use crate::segment::Segment;
use crate::subscription::Visibility;
use crate::version_cache::VersionCache;

mod group;

use group::{Group, Keyed, Placed, Versions};

/// State of the writing end.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The segment being written.
    pub(crate) segment: Arc<Segment>,
    /// Offset behind the last frame written to it.
    pub(crate) end: usize,
    /// Position of the next event.
    pub(crate) next_position: u64,
    /// Time of the last frame.
    pub(crate) last_time_us: u64,
    /// Time of the segment's first batch; 0 before it.
    pub(crate) first_time_us: u64,
    /// Numbers of the segment's topics.
    topics: HashMap<Box<str>, u32>,
    /// The same by key, for a look that hashes nothing; the name is compared.
    topic_keys: HashMap<KeyHash, u32, BuildKeyHasher>,
    /// Bytes of a dictionary frame's topic entries.
    pub(crate) topics_len: usize,
    /// All tracking positions, those of the group being built included.
    pub(crate) tracking: BTreeMap<Box<str>, u64>,
    /// Bytes written since the dictionary was last repeated.
    pub(crate) since_dictionary: usize,
    /// Offset up to which a checkpoint of the segment was asked for.
    pub(crate) checkpointed: usize,
    /// Bytes written since the last sync.
    pub(crate) unsynced: usize,
    /// Where the log was closed when it was opened, until something behind that is known to be durable.
    pub(crate) closed_end: Option<usize>,
    /// Offset of the dictionary that was written to close the segment.
    closing_dictionary: Option<usize>,
    /// Last versions of the aggregates written lately.
    versions: VersionCache,
    /// The last group, empty: its room is for the next.
    group: Group,
    /// The newest segment that was asked for ahead.
    spare_asked: u64,
    /// Whether a sync of buffered events has been asked for, and at once.
    sync_asked: Option<Job>,
    pub(crate) watermark: Arc<dyn DiskFile>,
    pub(crate) watermark_generation: u64,
}

impl Writer {
    /// A writer at the start of a segment's frames.
    pub(crate) fn new(
        segment: Arc<Segment>,
        next_position: u64,
        last_time_us: u64,
        watermark: Arc<dyn DiskFile>,
        watermark_generation: u64,
    ) -> Self {
        Self {
            segment,
            end: SEGMENT_HEADER_LEN,
            next_position,
            last_time_us,
            first_time_us: 0,
            topics: HashMap::new(),
            topic_keys: HashMap::default(),
            topics_len: 0,
            tracking: BTreeMap::new(),
            since_dictionary: 0,
            checkpointed: SEGMENT_HEADER_LEN,
            unsynced: 0,
            closed_end: None,
            closing_dictionary: None,
            versions: VersionCache::default(),
            group: Group::default(),
            spare_asked: 0,
            sync_asked: None,
            watermark,
            watermark_generation,
        }
    }

    /// Commits the submissions in order and leaves each its outcome.
    pub(crate) fn commit(&mut self, inner: &Inner, submissions: &[Arc<Submission>]) {
        let time_us = self.last_time_us.max(inner.options.clock.now_us());
        let mut group = std::mem::take(&mut self.group);
        for (place, submission) in submissions.iter().enumerate() {
            if let Some(error) = inner.refusal() {
                submission.complete(Err(error));
                continue;
            }
            let batch = submission.take_batch();
            group.has_more = place + 1 < submissions.len();
            if !self.has_room(&group, &batch)
                && let Err(error) = self.make_room(inner, &mut group, &batch)
            {
                submission.complete(Err(error));
                continue;
            }
            let wants_sync = batch.durability == Durability::Sync;
            let outcome = self.decide(inner, &mut group, batch, time_us);
            // A rejection too rests on what was found: it is told only once that is durable.
            group.wants_sync |= wants_sync;
            group.outcomes.push((submission.clone(), outcome));
        }
        self.flush(inner, &mut group);
        group.clear();
        self.group = group;
    }

    /// Goes over to the next segment, unless the batch would not fit there either.
    fn make_room(
        &mut self,
        inner: &Inner,
        group: &mut Group,
        batch: &PreparedBatch,
    ) -> Result<(), Error> {
        let fresh = SEGMENT_HEADER_LEN + 2 * (CLOSING_FRAMES_LEN + self.tracking_len());
        let capacity = self.next_segment_len(inner) as usize;
        let needed = batch.frame_len_max() + batch.preamble_len_max();
        Limit::Batch.check(needed, 0, capacity.saturating_sub(fresh))?;
        self.flush(inner, group);
        match inner.refusal() {
            Some(error) => Err(error),
            None => self.roll(inner),
        }
    }

    /// Bytes of the next segment: the tracking positions, which it starts with, must leave room in it.
    fn next_segment_len(&self, inner: &Inner) -> u64 {
        PreparedSegment::len_for(&inner.options, self.tracking_len())
    }

    /// Whether a batch fits, its topics and a dictionary that may be due included, and behind it what
    /// closes the segment.
    fn has_room(&self, group: &Group, batch: &PreparedBatch) -> bool {
        let end = self.end + group.buffer.len();
        let dictionary = match self.is_dictionary_due(group) {
            true => self.dictionary_len(),
            false => 0,
        };
        let added = dictionary + batch.frame_len_max();
        let closing = CLOSING_FRAMES_LEN + self.dictionary_len() + batch.preamble_len_max();
        // A dictionary that fills a good part of the segment starts anew in the next one.
        let is_crowded = self.topics_len > (self.capacity() / 8).min(DICTIONARY_LEN_MAX);
        !is_crowded && end + added + closing <= self.capacity()
    }

    /// Whether the segment still has room for being closed and sealed after it.
    pub(crate) fn can_close(&self) -> bool {
        self.end + 2 * (CLOSING_FRAMES_LEN + self.dictionary_len()) <= self.capacity()
    }

    fn capacity(&self) -> usize {
        self.segment.file().map_or(0, |file| file.mapped_len())
    }

    /// Bytes of a dictionary frame at most.
    fn dictionary_len(&self) -> usize {
        FRAME_HEADER_LEN + ALIGNMENT + self.topics_len + self.tracking_len()
    }

    fn tracking_len(&self) -> usize {
        tracking_len(&self.tracking)
    }

    /// Checks a batch against the log and the group so far, and places it when nothing is against it and
    /// it is not there already.
    fn decide(
        &mut self,
        inner: &Inner,
        group: &mut Group,
        mut batch: PreparedBatch,
        time_us: u64,
    ) -> Outcome {
        let checked = self.check(inner, group, &mut batch);
        let may_be_repeated = batch.has_given_ids
            && match &checked {
                Ok(_) => batch.own_versions.is_none() && !batch.ids_may_recur,
                Err(error) => error.is_conflict() || error.is_expired(),
            };
        if may_be_repeated {
            if group.holds_id_of(&batch) {
                // What is to be compared must be written to be read.
                self.flush(inner, group);
                if let Some(error) = inner.refusal() {
                    return Err(error);
                }
            }
            // What lies further back the caller has looked for.
            let mut search = Search::window(self.next_position - 1, inner.options.retry_window);
            search.after = batch.searched;
            if let Some(there) = recognise(&inner.view(), &batch, search, |name| {
                self.tracking.get(name).copied()
            })? {
                return Ok(there);
            }
        }
        let versions = checked?;
        Ok(self.place(inner, group, batch, versions, time_us))
    }

    /// The versions that the events of a batch get, or what is against it.
    fn check(
        &self,
        inner: &Inner,
        group: &mut Group,
        batch: &mut PreparedBatch,
    ) -> Result<Versions, Error> {
        if !batch.conditions.is_empty() {
            batch.conditions.check(&inner.view())?;
            for place in group.that_may_match(&batch.conditions) {
                let placed = &group.placed[place];
                batch
                    .conditions
                    .check_batch(&placed.batch, placed.base_position)?;
            }
        }
        let versions = self.versions(inner, group, batch)?;
        self.check_tracking(inner, batch)?;
        Ok(versions)
    }

    /// Encodes the frame of a batch into the group.
    fn place(
        &mut self,
        inner: &Inner,
        group: &mut Group,
        batch: PreparedBatch,
        versions: Versions,
        time_us: u64,
    ) -> Appended {
        self.repeat_dictionary_when_due(inner, group, time_us);

        let mut preamble = Preamble::default();
        let topic_numbers: SmallVec<[u32; 4]> = batch
            .topics
            .iter()
            .map(|(key, topic)| {
                self.topic_number(*key, topic, &mut preamble, &mut group.new_topics)
            })
            .collect();
        if let Some((name, position)) = &batch.tracking {
            preamble.advance_tracking(name, *position);
            self.tracking.insert(name.clone(), *position);
            group.tracking.push((name.clone(), *position));
        }
        let base_position = self.next_position;
        let salt = self.segment.salt();
        let frame = FrameWriter::new(FrameKind::Batch, &preamble, &mut group.buffer);
        let mut start = group.buffer.len();
        let records_offset = self.end + start;
        group.buffer.extend_from_slice(&batch.encoded);
        for (ordinal, record) in batch.records.iter().enumerate() {
            let place = RecordPlace {
                version: versions[ordinal],
                topic: topic_numbers[record.topic],
                time_us,
            };
            let position = base_position + ordinal as u64;
            let bytes = &mut group.buffer[start..start + record.len];
            place_record(bytes, place, record.body_crc, position, salt);
            start += record.len;
        }
        let event_count = batch.records.len() as u32;
        let durable_upto = inner.durable_head();
        frame.finish(
            &mut group.buffer,
            FrameFields {
                event_count,
                base_position,
                durable_upto,
                time_us,
            },
            salt,
        );

        self.next_position += u64::from(event_count);
        self.last_time_us = time_us;
        if self.first_time_us == 0 && event_count > 0 {
            self.first_time_us = time_us;
        }
        for (record, version) in batch.records.iter().zip(versions) {
            if let Some((key, id)) = &record.aggregate {
                self.versions.note(*key, id, version);
                if group.has_more {
                    group.versions.insert(id.clone(), version);
                }
            }
        }
        group.placed.push(Placed {
            batch,
            base_position,
            records_offset,
            time_us,
        });
        Appended {
            first: base_position,
            last: self.next_position - 1,
            time_us,
        }
    }

    /// The version of each event, 0 where it has none, or the conflict.
    fn versions(
        &self,
        inner: &Inner,
        group: &Group,
        batch: &PreparedBatch,
    ) -> Result<Versions, Error> {
        // What the batch itself does; of no use to a batch of one event that expects nothing.
        let mut own: HashMap<Keyed<'_>, Option<u64>, BuildKeyHasher> = HashMap::default();
        let has_own = batch.records.len() > 1 || !batch.expected.is_empty();
        let last = |key: KeyHash, id: &AggregateId| {
            let known = self.versions.version(key, id);
            match known.or_else(|| group.versions.get(id).copied()) {
                Some(version) => Ok(Some(version)),
                None => inner.set().last_version(&inner.log, id, u64::MAX),
            }
        };
        for (key, id, expected) in &batch.expected {
            let found = last(*key, id)?;
            let holds = match expected {
                Expected::Any => true,
                Expected::NoEvents => found.is_none(),
                Expected::Exactly(version) => found == Some(*version),
            };
            if let Some(expected) = ExpectedVersion::of(*expected)
                .filter(|_| !holds && !is_planted(Bug::SkipVersionCheck))
            {
                return Err(Error::VersionConflict {
                    aggregate: id.clone(),
                    expected,
                    found,
                });
            }
            own.insert(Keyed(*key, id), found);
        }
        if batch.records.len() > 1 {
            let aggregates = batch.records.iter();
            self.versions
                .touch(aggregates.filter_map(|record| Some(record.aggregate.as_ref()?.0)));
        }
        let mut versions = Versions::with_capacity(batch.records.len());
        for record in &batch.records {
            let Some((key, id)) = &record.aggregate else {
                versions.push(0);
                continue;
            };
            let found = match own.get(&Keyed(*key, id)).filter(|_| has_own) {
                Some(found) => *found,
                None => last(*key, id)?,
            };
            let version = match record.version {
                Version::Next => match found {
                    None => 1,
                    Some(last) => next_version(last)?,
                },
                Version::Given(version) => version,
            };
            if found.is_some_and(|last| version <= last) {
                let expected = ExpectedVersion::Below(version);
                return Err(Error::VersionConflict {
                    aggregate: id.clone(),
                    expected,
                    found,
                });
            }
            if has_own {
                own.insert(Keyed(*key, id), Some(version));
            }
            versions.push(version);
        }
        Ok(versions)
    }

    fn check_tracking(&self, inner: &Inner, batch: &PreparedBatch) -> Result<(), Error> {
        let Some((name, given)) = &batch.tracking else {
            return Ok(());
        };
        match self.tracking.get(name) {
            Some(found) if given <= found => Err(Error::TrackingConflict {
                name: name.to_string(),
                given: *given,
                found: *found,
            }),
            Some(_) => Ok(()),
            // The whole table is repeated in every segment.
            None => {
                let len = self.tracking_len() + ENTRY_LEN_MAX + name.len();
                Limit::TrackingTable.check(len, 0, (inner.options.segment_len / 8) as usize)
            }
        }
    }

    fn topic_number(
        &mut self,
        key: KeyHash,
        topic: &str,
        preamble: &mut Preamble,
        new_topics: &mut Vec<(u32, Box<str>)>,
    ) -> u32 {
        if let Some(number) = self.topic_keys.get(&key)
            && self.segment.topics().name(*number) == Some(topic)
        {
            return *number;
        }
        if let Some(number) = self.topics.get(topic) {
            self.topic_keys.insert(key, *number);
            return *number;
        }
        let number = self.topics.len() as u32;
        preamble.define_topic(number, topic);
        self.adopt_topic(topic.into(), number);
        new_topics.push((number, topic.into()));
        number
    }

    /// Notes a topic that the segment defines.
    pub(crate) fn adopt_topic(&mut self, topic: Box<str>, number: u32) {
        self.topics_len += ENTRY_LEN_MAX + topic.len();
        self.topics.insert(topic, number);
    }

    fn is_dictionary_due(&self, group: &Group) -> bool {
        let interval = DICTIONARY_INTERVAL.min(self.capacity() / DICTIONARIES_PER_SEGMENT);
        self.since_dictionary + group.buffer.len() >= interval
    }

    fn repeat_dictionary_when_due(&mut self, inner: &Inner, group: &mut Group, time_us: u64) {
        if self.is_dictionary_due(group) {
            let before = group.buffer.len();
            self.encode_closing(inner, &[FrameKind::Dictionary], time_us, &mut group.buffer);
            self.since_dictionary = 0;
            if group.buffer.len() > before {
                group.dictionary = Some(self.end + before);
            }
        }
    }

    /// Appends frames without events: the dictionary with all topics and tracking positions, empty others.
    fn encode_closing(
        &self,
        inner: &Inner,
        kinds: &[FrameKind],
        time_us: u64,
        buffer: &mut Vec<u8>,
    ) {
        for kind in kinds {
            let mut preamble = Preamble::default();
            if *kind == FrameKind::Dictionary {
                let mut topics: Vec<(&str, u32)> = self
                    .topics
                    .iter()
                    .map(|(name, number)| (&**name, *number))
                    .collect();
                topics.sort_unstable_by_key(|(_, number)| *number);
                topics
                    .iter()
                    .for_each(|(name, number)| preamble.define_topic(*number, name));
                self.tracking
                    .iter()
                    .for_each(|(name, position)| preamble.advance_tracking(name, *position));
                if preamble.is_empty() {
                    continue;
                }
            }
            let frame = FrameWriter::new(*kind, &preamble, buffer);
            let fields = FrameFields {
                event_count: 0,
                base_position: self.next_position,
                durable_upto: inner.durable_head(),
                time_us,
            };
            frame.finish(buffer, fields, self.segment.salt());
        }
    }

    /// Writes the group, syncs when one of it wants that, shows it to readers, and tells the outcomes.
    fn flush(&mut self, inner: &Inner, group: &mut Group) {
        if group.outcomes.is_empty() {
            return;
        }
        if inner.is_poisoned() {
            // What was placed is not written any more; what was refused stays refused.
            for (submission, outcome) in group.outcomes.drain(..) {
                let unknown = Error::Indeterminate {
                    reason: "an earlier write or sync failed".into(),
                };
                submission.complete(outcome.and(Err(unknown)));
            }
            return group.clear();
        }
        let first = group.placed.first();
        let first = first.map_or(self.next_position, |first| first.base_position);
        let events = self.next_position - first;
        let span = tracing::debug_span!(
            "group",
            batches = group.placed.len(),
            events,
            bytes = group.buffer.len(),
            sync_us = tracing::field::Empty,
        )
        .entered();
        let written = self.write(inner, &group.buffer).and_then(|()| {
            let waits = group.wants_sync && !is_planted(Bug::AckBeforeSync);
            match waits && self.unsynced > 0 {
                true => self.sync(inner).map(|micros| {
                    span.record("sync_us", micros);
                }),
                false => Ok(()),
            }
        });
        if let Err(error) = written {
            let reason = inner.poison(&self.segment.path, error);
            for (submission, _) in group.outcomes.drain(..) {
                submission.complete(Err(Error::Indeterminate {
                    reason: reason.clone(),
                }));
            }
            return group.clear();
        }
        if !group.placed.is_empty() {
            inner.meter.group(group.placed.len(), events);
            let (entries, bytes) = self.versions.len();
            inner.meter.version_cache(entries, bytes);
            self.publish(inner, group);
        }
        if let Some(offset) = group.dictionary {
            self.ask_for_checkpoint(inner, offset);
        }
        if self.unsynced == 0 || is_planted(Bug::ShowBeforeDurable) {
            inner.set_durable(self.next_position - 1);
        }
        for (submission, outcome) in group.outcomes.drain(..) {
            submission.complete(outcome);
        }
        group.clear();
        if let Err(error) = self.bound_unsynced(inner) {
            inner.poison(&self.segment.path, error);
        }
        self.ask_for_spare(inner);
    }

    /// Has buffered events synced behind the appends, and waits for that only when it falls far behind.
    fn bound_unsynced(&mut self, inner: &Inner) -> io::Result<()> {
        let has_thread = inner.options.background;
        let is_waited_for = || inner.changed(Visibility::Durable).has_waiting();
        let job = match self.unsynced {
            0 => return Ok(()),
            // It comes as soon as it can. Who waits need not be asked, which costs a fence.
            1..BUFFERED_LEN_MAX if self.sync_asked == Some(Job::SyncAwaited) => return Ok(()),
            1..BUFFERED_LEN_MAX if !is_waited_for() => Job::SyncSoon,
            1..BUFFERED_LEN_MAX => Job::SyncAwaited,
            BUFFERED_LEN_MAX..BUFFERED_LEN_LIMIT if has_thread => Job::SyncNow,
            _ => {
                if has_thread {
                    inner.meter.waited_for_device();
                }
                return self.sync_all(inner);
            }
        };
        if self.sync_asked != Some(job) {
            self.sync_asked = Some(job);
            inner.housekeeper.request(job);
        }
        Ok(())
    }

    /// What a sync that runs beside the appends would make durable; `None` when all is.
    pub(crate) fn unsynced_part(&mut self) -> Option<Unsynced> {
        // What is written from here on has to ask again.
        self.sync_asked = None;
        (self.unsynced > 0).then(|| Unsynced {
            segment: self.segment.clone(),
            end: self.end,
            position: self.next_position - 1,
        })
    }

    /// Notes that a sync beside the appends is done.
    pub(crate) fn synced_part(&mut self, inner: &Inner, part: &Unsynced) -> io::Result<()> {
        // A roll, or a sync by a leader, may have been faster.
        let is_news =
            self.segment.number == part.segment.number && inner.durable_head() < part.position;
        if !is_news {
            return Ok(());
        }
        self.unsynced = self.end - part.end;
        self.note_synced(part.end);
        self.write_watermark_at(inner.log.id, part.position, part.end)?;
        inner.set_durable(part.position);
        Ok(())
    }

    fn write(&mut self, inner: &Inner, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if inner.is_poisoned() {
            return Err(io::Error::other("an earlier write or sync failed"));
        }
        let file = self
            .segment
            .file()
            .expect("the segment being written is open");
        let (near, far) = bytes.split_at(self.near_close(bytes.len()));
        file.write(near, self.end)?;
        if !far.is_empty() {
            inner.sync_segment(&self.segment)?;
            self.closed_end = None;
            file.write(far, self.end + near.len())?;
        }
        self.end += bytes.len();
        self.unsynced += bytes.len();
        self.since_dictionary += bytes.len();
        inner.meter.wrote(bytes.len());
        Ok(())
    }

    /// How many of the next `len` bytes may be written at once. The next open looks only so far behind a close:
    /// should a loss of power take what is written there, it must find that something was.
    fn near_close(&self, len: usize) -> usize {
        let looked_at = |closed_end: usize| closed_end + LOOKED_AT_BEHIND_CLOSE - self.end;
        self.closed_end.map_or(len, looked_at).min(len)
    }

    /// Notes that what was written before `end` is durable.
    fn note_synced(&mut self, end: usize) {
        self.closed_end.take_if(|closed_end| *closed_end < end);
    }

    /// Syncs what was written and says so in the watermark. What is durable is shown by the caller. Answers
    /// how long the sync took, in microseconds.
    fn sync(&mut self, inner: &Inner) -> io::Result<u64> {
        if is_planted(Bug::WatermarkBeforeSync) {
            self.write_watermark(inner.log.id)?;
        }
        let micros = inner.sync_segment(&self.segment)?;
        self.unsynced = 0;
        self.note_synced(self.end);
        self.write_watermark(inner.log.id)?;
        Ok(micros)
    }

    /// Says in the watermark that everything written is durable, which it is.
    pub(crate) fn write_watermark(&mut self, log_id: [u8; 16]) -> io::Result<()> {
        self.write_watermark_at(log_id, self.next_position - 1, self.end)
    }

    fn write_watermark_at(
        &mut self,
        log_id: [u8; 16],
        position: u64,
        end: usize,
    ) -> io::Result<()> {
        self.watermark_generation += 1;
        let watermark = Watermark {
            log_id,
            generation: self.watermark_generation,
            position,
            segment: self.segment.number,
            end: end as u64,
        };
        self.watermark
            .write_all_at(&watermark.encode(), watermark.slot_offset())
    }

    /// Syncs everything that is written, buffered events included.
    pub(crate) fn sync_all(&mut self, inner: &Inner) -> io::Result<()> {
        self.sync_asked = None;
        if self.unsynced > 0 {
            self.sync(inner)?;
        }
        inner.set_durable(self.next_position - 1);
        Ok(())
    }

    /// Lets readers see what was written.
    fn publish(&self, inner: &Inner, group: &mut Group) {
        let file = self
            .segment
            .file()
            .expect("the segment being written is open");
        file.publish(self.end);
        for (number, topic) in group.new_topics.drain(..) {
            self.segment.topics().define(number, &topic);
        }
        self.segment.with_tail(|tail| {
            for placed in group
                .placed
                .iter()
                .filter(|placed| placed.batch.keys.len() > 2)
            {
                tail.touch(&placed.batch.keys);
            }
            for Placed {
                batch,
                records_offset,
                time_us,
                ..
            } in group.placed.drain(..)
            {
                let mut offset = records_offset;
                let mut keys = batch.keys.iter().copied();
                for record in &batch.records {
                    let keys = keys.by_ref().take(record.key_count);
                    tail.push(
                        offset as u32,
                        time_us,
                        record.event_id,
                        record.id_hash,
                        keys,
                    );
                    offset += record.len;
                }
            }
        });
        inner.advance_tracking(&mut group.tracking);
        inner.set_visible(self.next_position - 1);
    }

    /// Seals the segment and goes over to the next one.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`] when the next segment cannot be prepared: nothing was written
    /// then. [`Error::Indeterminate`] when sealing failed; the log is then poisoned.
    fn roll(&mut self, inner: &Inner) -> Result<(), Error> {
        let len = self.next_segment_len(inner);
        let next = inner
            .housekeeper
            .take_spare(inner, self.segment.number + 1, len)?;
        let sealed = self.seal(inner).and_then(|()| self.enter(inner, next));
        sealed.map_err(|error| Error::Indeterminate {
            reason: inner.poison(&self.segment.path, error),
        })
    }

    fn seal(&mut self, inner: &Inner) -> io::Result<()> {
        self.write_closing(inner, FrameKind::Footer)?;
        if is_planted(Bug::RollWithoutSync) {
            self.unsynced = 0;
        }
        self.sync_all(inner)?;
        let file = self
            .segment
            .file()
            .expect("the segment being written is open");
        file.publish(self.end);
        self.segment.seal(self.sealed_entry());
        Ok(())
    }

    /// Writes the dictionary and a frame that marks the end. Room for both was set aside; should it be
    /// gone all the same, the log does without them: the end stands in the manifest and the watermark.
    fn write_closing(&mut self, inner: &Inner, mark: FrameKind) -> io::Result<()> {
        for kinds in [&[FrameKind::Dictionary, mark][..], &[mark]] {
            let mut closing = Vec::new();
            self.encode_closing(inner, kinds, self.last_time_us, &mut closing);
            if self.end + closing.len() <= self.capacity() {
                let has_dictionary = kinds.len() > 1 && closing.len() > FRAME_HEADER_LEN;
                self.closing_dictionary = has_dictionary.then_some(self.end);
                return self.write(inner, &closing);
            }
        }
        Ok(())
    }

    /// What the manifest is to say of the segment.
    fn sealed_entry(&self) -> SealedSegment {
        let event_count = self.next_position - self.segment.base_position;
        SealedSegment {
            number: self.segment.number,
            base_position: self.segment.base_position,
            event_count,
            end: self.end as u64,
            salt: self.segment.salt(),
            first_time_us: self.first_time_us,
            last_time_us: if event_count > 0 {
                self.last_time_us
            } else {
                0
            },
        }
    }

    /// Makes a prepared segment the one that is written.
    fn enter(&mut self, inner: &Inner, next: PreparedSegment) -> io::Result<()> {
        let sealed = self.segment.number;
        self.segment = Arc::new(next.into_segment(inner, self.next_position));
        self.end = SEGMENT_HEADER_LEN;
        self.closed_end = None;
        self.first_time_us = 0;
        self.topics.clear();
        self.topic_keys.clear();
        self.topics_len = 0;
        self.since_dictionary = 0;
        self.checkpointed = SEGMENT_HEADER_LEN;
        self.closing_dictionary = None;
        self.write_first_dictionary(inner)?;
        inner.update_set(|set| set.segments.push(self.segment.clone()));
        inner.housekeeper.request(Job::NameSealed);
        inner.housekeeper.request(Job::Sealed(sealed));
        Ok(())
    }

    /// A segment starts with all tracking positions, so that opening the log reads no older one for them.
    /// The next group's sync makes them durable.
    pub(crate) fn write_first_dictionary(&mut self, inner: &Inner) -> io::Result<()> {
        let mut first = Vec::new();
        self.encode_closing(
            inner,
            &[FrameKind::Dictionary],
            self.last_time_us,
            &mut first,
        );
        self.write(inner, &first)
    }

    /// Leaves the segment so that the next open goes on in it without a scan for damage. Writes nothing
    /// when nothing was written since the last close.
    pub(crate) fn close(&mut self, inner: &Inner) -> io::Result<()> {
        self.sync_all(inner)?;
        if self.closed_end != Some(self.end) {
            self.write_closing(inner, FrameKind::Close)?;
            if self.unsynced > 0 {
                self.sync(inner)?;
            }
        }
        self.watermark.sync_data()
    }

    /// Has a checkpoint written that ends at this dictionary, when enough lies behind the one before.
    fn ask_for_checkpoint(&mut self, inner: &Inner, dictionary: usize) {
        let interval = CHECKPOINT_INTERVAL.min(self.capacity() / CHECKPOINTS_PER_SEGMENT);
        if dictionary - self.checkpointed >= interval {
            self.checkpointed = dictionary;
            self.segment.note_dictionary(dictionary);
            inner
                .housekeeper
                .request(Job::Checkpoint(self.segment.number));
        }
    }

    /// Where a checkpoint of what was closed may end, when it saves the next open a good part of its work.
    pub(crate) fn closing_checkpoint(&self) -> Option<usize> {
        let end = self.closing_dictionary?;
        let saved = CLOSING_CHECKPOINT_MIN.min(self.capacity() / 64);
        (end - self.checkpointed >= saved).then_some(end)
    }

    /// Has the next segment prepared once this one is used in earnest.
    fn ask_for_spare(&mut self, inner: &Inner) {
        let next = self.segment.number + 1;
        if self.end >= self.capacity() / 16 && self.spare_asked != next {
            self.spare_asked = next;
            inner.housekeeper.request(Job::PrepareSpare(next));
        }
    }
}

/// The version behind `last`; the greatest number is none.
fn next_version(last: u64) -> Result<u64, Error> {
    let next = last.saturating_add(1);
    Limit::check_version(next)?;
    Ok(next)
}

/// Bytes that tracking positions take in a dictionary, at most.
pub(crate) fn tracking_len(tracking: &BTreeMap<Box<str>, u64>) -> usize {
    tracking.keys().map(|name| ENTRY_LEN_MAX + name.len()).sum()
}

/// Two frames without entries: what marks the end, and one to spare.
const CLOSING_FRAMES_LEN: usize = 2 * FRAME_HEADER_LEN;
/// A dictionary of topics grows no longer than this before the next segment starts with a new one.
const DICTIONARY_LEN_MAX: usize = 32 << 20;
/// Header and number of an entry in a preamble, rounded up.
pub(crate) const ENTRY_LEN_MAX: usize = 16;
/// The dictionary is repeated after this many bytes of frames, or so many times in a small segment.
const DICTIONARY_INTERVAL: usize = 4 << 20;
const DICTIONARIES_PER_SEGMENT: usize = 16;
/// A checkpoint is written after this many bytes of frames, or so many times in a small segment. An open after
/// a crash reads about half as much; each checkpoint costs a pass over the segment so far.
const CHECKPOINT_INTERVAL: usize = 16 << 20;
const CHECKPOINTS_PER_SEGMENT: usize = 4;
/// Who closes a log writes a checkpoint when the next open would otherwise read this much.
const CLOSING_CHECKPOINT_MIN: usize = 1 << 20;
/// Buffered events are synced, behind the appends, after this many bytes.
const BUFFERED_LEN_MAX: usize = 4 << 20;
/// A device that does not keep up makes the appends wait at this many bytes.
const BUFFERED_LEN_LIMIT: usize = 16 << 20;

/// Buffered events that a sync beside the appends is to make durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) segment: Arc<Segment>,
    end: usize,
    position: u64,
}
