//! A batch as the caller's thread hands it to the leader: encoded, checksummed, its keys hashed.
//!
//! All work that grows with the size of the events is done here, outside any lock; what is left for the
//! leader is to place each record: some 50 bytes of checksum and a copy.

use std::borrow::Cow;

use annals_index::{IdHash, KeyHash};
use annals_segments::format::align_up;
use annals_segments::format::frame::FRAME_HEADER_LEN;
use annals_segments::format::record::{self, IdKind, RECORD_LEN_MIN, RecordBody, metadata_len};
use annals_segments::{Clock, Random};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::batch::{Batch, Durability, Expected, NewEvent, Version};
use crate::condition::Conditions;
use crate::error::{Error, Limit};
use crate::options::LogOptions;
use crate::retry::own_versions;
use crate::segment::LogIdentity;

/// See the module.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    /// The records one behind the other, padded; the leader's part is zero.
    pub(crate) encoded: Vec<u8>,
    pub(crate) records: SmallVec<[PreparedRecord; 1]>,
    /// The keys of all records, one behind the other.
    pub(crate) keys: SmallVec<[KeyHash; 4]>,
    /// Different topics and their keys, in order of first use.
    pub(crate) topics: SmallVec<[(KeyHash, Cow<'static, str>); 1]>,
    pub(crate) expected: Vec<(KeyHash, AggregateId, Expected)>,
    pub(crate) conditions: Conditions,
    pub(crate) tracking: Option<(Box<str>, u64)>,
    pub(crate) durability: Durability,
    /// Whether the caller gave the ids of all events, so that a repetition can be recognised.
    pub(crate) has_given_ids: bool,
    /// Whether it is a new one as long as nothing is against it.
    pub(crate) ids_may_recur: bool,
    /// The versions of its events when they follow from the batch itself: they say whether it is a new one.
    /// Told only where ids are given.
    pub(crate) own_versions: Option<Vec<u64>>,
    /// No event of the batch lies up to here.
    pub(crate) searched: u64,
}

/// One record of a prepared batch.
#[derive(Debug)]
pub(crate) struct PreparedRecord {
    /// Padded length.
    pub(crate) len: usize,
    pub(crate) body_crc: u32,
    /// Index in `PreparedBatch::topics`.
    pub(crate) topic: usize,
    pub(crate) aggregate: Option<(KeyHash, AggregateId)>,
    pub(crate) version: Version,
    pub(crate) event_id: [u8; 16],
    pub(crate) id_hash: IdHash,
    /// How many of `PreparedBatch::keys` are this record's.
    pub(crate) key_count: usize,
}

impl PreparedBatch {
    /// Checks the limits and does everything that needs no place in the log.
    pub(crate) fn new(
        batch: Batch,
        log: &LogIdentity,
        options: &LogOptions,
    ) -> Result<Self, Error> {
        batch.check(options.payload_len_max)?;
        let Batch {
            events,
            expected,
            clauses,
            tracking,
            durability,
            ids_may_recur,
        } = batch;
        let mut prepared = Self {
            encoded: Vec::with_capacity(events.iter().map(room_for).sum()),
            records: SmallVec::with_capacity(events.len()),
            keys: SmallVec::with_capacity(events.len() * 2),
            topics: SmallVec::new(),
            expected: expected
                .into_iter()
                .map(|(id, expected)| (key_of(log, &id), id, expected))
                .collect(),
            conditions: Conditions::new(clauses, log),
            tracking,
            durability,
            has_given_ids: !events.is_empty()
                && events.iter().all(|event| event.event_id.is_some()),
            ids_may_recur,
            own_versions: None,
            searched: 0,
        };
        let mut new_ids = NewIds::new(&*options.clock, &*options.random);
        for event in events {
            let event_id = event.event_id.unwrap_or_else(|| new_ids.next());
            let id_bytes = event
                .aggregate
                .as_ref()
                .map_or(&[][..], AggregateId::as_bytes);
            let id_kind = event
                .aggregate
                .as_ref()
                .map_or(IdKind::Absent, AggregateId::kind);
            let body = RecordBody {
                id_kind,
                id: id_bytes,
                event_id: *event_id.as_bytes(),
                encoding: event.encoding,
                digest: event.digest,
                tags: &event.tags,
                metadata: &event.metadata,
                payload: &event.payload,
            };
            let batch_len = FRAME_HEADER_LEN + prepared.encoded.len() + body.record_len();
            Limit::Batch.check(batch_len, 0, options.frame_len_max())?;
            let start = prepared.encoded.len();
            body.encode(&mut prepared.encoded);
            let keys_before = prepared.keys.len();
            prepared.keys.extend(log.aggregate(id_kind, id_bytes));
            let topic = log.topic(&event.topic);
            prepared.keys.push(topic);
            prepared
                .keys
                .extend(event.tags.iter().map(|tag| log.tag(tag)));
            let topic = prepared.topic_index(topic, event.topic);
            let aggregate = event.aggregate.map(|id| (prepared.keys[keys_before], id));
            prepared.records.push(PreparedRecord {
                len: prepared.encoded.len() - start,
                body_crc: record::body_crc(&prepared.encoded[start..]),
                topic,
                aggregate,
                version: event.version,
                event_id: *event_id.as_bytes(),
                id_hash: log.id_hash(event_id.as_bytes()),
                key_count: prepared.keys.len() - keys_before,
            });
        }
        Limit::Batch.check(prepared.frame_len_max(), 0, options.frame_len_max())?;
        if prepared.has_given_ids {
            prepared.own_versions = own_versions(&prepared.records, &prepared.expected);
        }
        Ok(prepared)
    }

    fn topic_index(&mut self, key: KeyHash, topic: Cow<'static, str>) -> usize {
        // Batches use few topics: a search from the newest beats a map.
        let is_same =
            |(other, name): &(KeyHash, Cow<'static, str>)| *other == key && *name == topic;
        match self.topics.iter().rposition(is_same) {
            Some(index) => index,
            None => {
                self.topics.push((key, topic));
                self.topics.len() - 1
            }
        }
    }

    /// Bytes of the frame at most, when every topic has to be defined in it.
    pub(crate) fn frame_len_max(&self) -> usize {
        FRAME_HEADER_LEN + self.preamble_len_max() + self.encoded.len()
    }

    /// Bytes of the preamble at most.
    pub(crate) fn preamble_len_max(&self) -> usize {
        const ENTRY: usize = 16;
        let topics: usize = self
            .topics
            .iter()
            .map(|(_, topic)| ENTRY + topic.len())
            .sum();
        let tracking = self
            .tracking
            .as_ref()
            .map_or(0, |(name, _)| ENTRY + name.len());
        align_up(topics + tracking)
    }
}

/// Bytes of an event's record, nearly: what is not foreseen here costs a reallocation.
fn room_for(event: &NewEvent) -> usize {
    let tags: usize = event.tags.iter().map(|tag| 1 + tag.len()).sum();
    RECORD_LEN_MIN + 48 + event.payload.len() + tags + metadata_len(&event.metadata)
}

fn key_of(log: &LogIdentity, id: &AggregateId) -> KeyHash {
    log.aggregate(id.kind(), id.as_bytes())
        .expect("an id has a key")
}

/// Version 7 UUIDs: the time in their first six bytes keeps ids of one period in few segments. One look at the
/// clock serves a batch, one draw of randomness many events.
struct NewIds<'a> {
    clock: &'a dyn Clock,
    random: &'a dyn Random,
    millis: Option<u64>,
    drawn: SmallVec<[[u8; RANDOM_LEN]; 1]>,
}

impl<'a> NewIds<'a> {
    fn new(clock: &'a dyn Clock, random: &'a dyn Random) -> Self {
        Self {
            clock,
            random,
            millis: None,
            drawn: SmallVec::new(),
        }
    }

    fn next(&mut self) -> Uuid {
        let clock = self.clock;
        let is_first = self.millis.is_none();
        let millis = *self.millis.get_or_insert_with(|| clock.now_us() / 1000);
        if self.drawn.is_empty() {
            // Most batches are of one event.
            let count = if is_first { 1 } else { DRAWN_AT_ONCE };
            self.drawn.resize(count, [0; RANDOM_LEN]);
            self.random.fill(self.drawn.as_flattened_mut());
        }
        let random = self.drawn.pop().unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Random bytes of a version 7 UUID.
const RANDOM_LEN: usize = 10;
const DRAWN_AT_ONCE: usize = 64;
