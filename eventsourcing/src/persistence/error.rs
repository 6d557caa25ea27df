//! What can go wrong between a domain event and its bytes in a store.
//!
//! The kinds are those of what a caller does: decide again, fix the call, reopen, restore. What the
//! store itself said is the `source`.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::InflateError;
use crate::domain::{AggregateId, Topics};

/// What a recorder or mapper answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistenceError {
    /// Somebody else has stored an event of this aggregate, or the version comes twice in one insert.
    /// Nothing was stored.
    #[error(
        "aggregate {aggregate_id}: version {version} cannot be added, the last is {last}, expected a later \
         version; load the aggregate again and decide again",
        last = OrNone(*last)
    )]
    VersionConflict {
        /// The aggregate.
        aggregate_id: AggregateId,
        /// Version of the event that was refused.
        version: u64,
        /// Last version before it; `None` when the store does not tell.
        last: Option<u64>,
    },

    /// An event of this id is stored already, and it is not the same insert made again: other events are missing, or
    /// something else was stored under the id. Nothing was stored.
    #[error(
        "event {event_id} {what} (position {position}); load again and decide again, which gives new events new ids"
    )]
    RetryConflict {
        /// The event.
        event_id: Uuid,
        /// Position of it, or of another of its insert.
        position: u64,
        /// The difference.
        what: &'static str,
    },

    /// A tracking position is not above the one recorded. Nothing was stored.
    #[error(
        "tracking of {name:?}: position {position} is not above the recorded {recorded}; \
         it has been processed already, skip it"
    )]
    TrackingConflict {
        /// The upstream.
        name: String,
        /// Position given.
        position: u64,
        /// Position recorded.
        recorded: u64,
    },

    /// There is no dead letter at this position: it has been resolved already, or never was one. Nothing was stored.
    #[error(
        "no dead letter of {name:?} at position {position}; list them again, it may have been resolved"
    )]
    NoDeadLetter {
        /// The upstream.
        name: String,
        /// Position given.
        position: u64,
    },

    /// Something has happened that a decision said must not have. Nothing was stored.
    #[error(
        "condition {condition} (from 0) failed: {count} matching events, the first at position {first}, expected none \
         behind position {after}; read again and decide again",
        count = positions.len(), first = OrNone(positions.first().copied())
    )]
    ConditionConflict {
        /// Which of the conditions, from 0.
        condition: usize,
        /// Behind which position it looked.
        after: u64,
        /// Positions of events that match, ascending; the first few when there are many.
        positions: Vec<u64>,
        /// The last position of the store at that moment.
        head: u64,
    },

    /// A conditional append without events.
    #[error("an append of no events, expected at least one; read instead, or leave it out")]
    NoEvents,

    /// Something is longer or more than any recorder takes. Nothing was stored.
    #[error("{limit}: {found}, expected {min}..={max}; change it to fit", min = limit.range().0, max = limit.range().1)]
    Limit {
        /// What is out of range.
        limit: Limit,
        /// Its size.
        found: u64,
    },

    /// A payload, or all events of one insert together, are larger than this store takes. Nothing was stored.
    #[error(
        "the events are larger than the store takes; save fewer at once, or keep large content elsewhere"
    )]
    TooLarge {
        /// What the store said: found and expected.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// An event type whose serde form has no stored name for this event.
    #[error(
        "{type_name}: its serde form names no topic it would read again; make it an enum without `tag` and \
         `untagged`, or a struct"
    )]
    NoTopic {
        /// The event type.
        type_name: &'static str,
    },

    /// A stored event is of a type the program does not know.
    #[error(
        "stored topic {topic:?} is unknown, expected one of {expected}; add a variant of that name, \
         an `alias`, or a unit variant marked `other`"
    )]
    UnknownTopic {
        /// Topic found.
        topic: String,
        /// Topics the event type reads.
        expected: Topics,
    },

    /// An event cannot be turned into bytes. Nothing was stored.
    #[error("event {topic:?}: cannot be encoded; its fields must be what the transcoder can write")]
    Encode {
        /// Its topic.
        topic: &'static str,
        /// What the transcoder said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// A stored payload does not have the shape of its event type.
    #[error(
        "stored event {topic:?}: its payload does not have the fields expected; \
         give new fields a `default`, and keep the types of old ones"
    )]
    Decode {
        /// Its topic.
        topic: String,
        /// What the transcoder said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// A stored event is of a later schema version than the program knows.
    #[error(
        "stored event {topic:?}: schema version {found}, expected at most {expected}; a later program wrote it, update \
         this one"
    )]
    NewerSchema {
        /// Its topic.
        topic: String,
        /// Its schema version.
        found: u32,
        /// The one the program writes.
        expected: u32,
    },

    /// Between the schema version of a stored event and today's a step is missing.
    #[error(
        "stored event {topic:?}: schema version {found}, expected {expected}, and no upcaster leads on from {from}; add \
         `upcast({from} = …)`"
    )]
    MissingUpcaster {
        /// Its topic.
        topic: String,
        /// The version from which nothing leads on.
        from: u32,
        /// Its schema version.
        found: u32,
        /// The one the program writes.
        expected: u32,
    },

    /// An upcaster does not take what is stored.
    #[error(
        "stored event {topic:?}: its content is none that the upcaster from schema version {from} takes; let that one \
         read whatever was stored"
    )]
    Upcast {
        /// Its topic.
        topic: String,
        /// The version the upcaster reads.
        from: u32,
        /// What it said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The schema version of a stored event is no number.
    #[error(
        "stored event {topic:?}: schema version {found:?}, expected a whole number from 1; nothing but the library may \
         write `$version` into metadata"
    )]
    SchemaVersion {
        /// Its topic.
        topic: String,
        /// What is written there.
        found: String,
    },

    /// An event cannot be compressed or encrypted. Nothing was stored.
    #[error("event {topic:?}: cannot be compressed or encrypted; see the cause")]
    Seal {
        /// Its topic.
        topic: String,
        /// What the compressor or cipher said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// A compressed payload cannot be made as it was.
    #[error(
        "stored event {topic:?} ({event_id}): its payload cannot be inflated; give the dictionary it was compressed with, raise \
         `payload_len_max`, or restore it from a backup"
    )]
    Inflate {
        /// Its topic.
        topic: String,
        /// Its id.
        event_id: Uuid,
        /// What is wrong with it.
        source: InflateError,
    },

    /// The hash of an event does not fit to the event and those before it: history was changed there.
    #[error(
        "aggregate {aggregate_id}: hash of version {version} is {found}, expected {expected}; history was changed there, compare \
         it with a backup",
        found = found.as_deref().unwrap_or("missing")
    )]
    BrokenChain {
        /// The aggregate.
        aggregate_id: AggregateId,
        /// Version of the first event that does not fit.
        version: u64,
        /// What stands there; `None` when there is nothing.
        found: Option<Box<str>>,
        /// What should stand there.
        expected: Box<str>,
    },

    /// An encrypted payload cannot be decrypted.
    #[error("stored event {topic:?} ({event_id}): its payload cannot be decrypted; see the cause")]
    Decrypt {
        /// Its topic.
        topic: String,
        /// Its id.
        event_id: Uuid,
        /// What is wrong with it, or with the keys.
        source: DecryptError,
    },

    /// A payload is not encrypted, and this mapper reads [only those that
    /// are](crate::Mapper::only_encrypted).
    #[error(
        "stored event {topic:?} ({event_id}): its payload is plain, expected an encrypted one; somebody else wrote it, \
         or it is older than the encryption"
    )]
    NotEncrypted {
        /// Its topic.
        topic: String,
        /// Its id.
        event_id: Uuid,
    },

    /// The aggregate's own key [was erased](crate::Mapper::erase_key): what its events held is gone for good. Nothing
    /// was stored.
    #[error("aggregate {aggregate_id}: its key was erased, its content is gone; leave it out")]
    KeyErased {
        /// The aggregate.
        aggregate_id: AggregateId,
    },

    /// The store of aggregates' own keys failed. No event was stored.
    #[error("keys of aggregates: {of} cannot be had; see the cause, and try again", of = KeyOf(aggregate_id))]
    KeyStore {
        /// The aggregate; `None` when it is about all of them.
        aggregate_id: Option<AggregateId>,
        /// What the store said, or what is wrong with the key it gave.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// A stored payload is compressed or encrypted in a way this mapper does not know.
    #[error(
        "stored event {topic:?}: codec {codec} with key {key_id}, expected one that this mapper is configured for; \
         configure the compressor and cipher it was stored with"
    )]
    UnknownEncoding {
        /// Its topic.
        topic: String,
        /// See [`Encoding::codec`](crate::Encoding::codec).
        codec: u8,
        /// See [`Encoding::key_id`](crate::Encoding::key_id).
        key_id: u32,
    },

    /// What is asked for lies, or may lie, below the first position that the store has kept: the oldest events were
    /// dropped from it. Nothing was stored.
    #[error(
        "events below position {first} have been dropped, and the answer rests on them; start at position {first}, or \
         from a snapshot"
    )]
    Expired {
        /// First position that is retained.
        first: u64,
    },

    /// An event that belongs to no aggregate was read as one of an aggregate.
    #[error(
        "stored event {topic:?}: belongs to no aggregate, expected one; read it as a notification"
    )]
    NoAggregate {
        /// Its topic.
        topic: String,
    },

    /// A position was not reached in time.
    #[error(
        "tracking of {name:?}: at {reached} after {timeout:?}, expected {position}; \
         wait longer, or see what keeps the follower",
        reached = OrNone(*reached)
    )]
    WaitTimeout {
        /// The upstream.
        name: String,
        /// Position waited for.
        position: u64,
        /// Position reached; `None` when nothing is recorded.
        reached: Option<u64>,
        /// How long was waited.
        timeout: Duration,
    },

    /// More was submitted than the store takes before the first of it is done. Nothing of this was stored.
    #[error("as much as may be is under way; await some of it, and submit this again")]
    Busy,

    /// The recorder has been closed.
    #[error("the store is closed; open it again")]
    Closed,

    /// The store failed while storing: the events may or may not have survived.
    #[error(
        "unknown whether the events were stored; open the store again and look them up by their ids"
    )]
    Indeterminate {
        /// What the store said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// Stored data is damaged.
    #[error("stored data is damaged; restore it from a backup, the rest stays readable")]
    Damaged {
        /// What the store found, and where.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The store refused. Nothing was stored.
    #[error("the store cannot {doing}; its own message says why and what to do")]
    Store {
        /// The step.
        doing: &'static str,
        /// What the store said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl PersistenceError {
    /// Whether something else is stored by now than was decided on: load again, decide again, save again. Not so when it
    /// [has been processed](PersistenceError::is_processed).
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::VersionConflict { .. }
                | Self::ConditionConflict { .. }
                | Self::RetryConflict { .. }
        )
    }

    /// Whether a follower has processed this position before: to decide again would do it twice. Skip it.
    pub fn is_processed(&self) -> bool {
        matches!(self, Self::TrackingConflict { .. })
    }

    /// Whether the answer rests on events that were dropped from the store.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }

    /// Whether the recorder has been closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

/// Why a payload cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// Its key is not there.
    #[error("sealed with key {key_id}, expected one of {known:?}; add that key to the ring")]
    UnknownKey {
        /// Id of the key.
        key_id: u32,
        /// Ids of those that are there.
        known: Box<[u32]>,
    },

    /// The key of that id is another one: nothing is damaged. (Of an aggregate with its own key: another key than the
    /// one in the store, or the payload of another aggregate.)
    #[error(
        "sealed with another key than the one here as {key_id}; give the one it was sealed with"
    )]
    WrongKey {
        /// Id of the key.
        key_id: u32,
    },

    /// The key is right, and the payload, or something that it is bound to, is not what was sealed: damaged, forged,
    /// or put in the place of another one.
    #[error("does not verify, it or its place was changed; restore it from a backup")]
    Changed,

    /// The aggregate has a key of its own, which the store of such keys does not have.
    #[error("the aggregate's own key is not in the key store; restore the key store")]
    NoKeyOfAggregate,

    /// The aggregate has a key of its own, and this mapper has no store of such keys.
    #[error("aggregates have keys of their own, expected a key store; give it to the mapper")]
    NoKeyStore,
}

/// What can be too long, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "Display says each in words")]
pub enum Limit {
    Topic,
    Tags,
    Tag,
    Metadata,
    MetadataKey,
    TrackingName,
    Version,
}

impl Limit {
    pub(crate) fn check(self, found: u64) -> Result<(), PersistenceError> {
        let (min, max) = self.range();
        match (min..=max).contains(&found) {
            true => Ok(()),
            false => Err(PersistenceError::Limit { limit: self, found }),
        }
    }

    /// Least and greatest size, both allowed.
    pub fn range(self) -> (u64, u64) {
        match self {
            Self::Topic => (1, 1024),
            Self::Tags => (0, 64),
            Self::Metadata => (0, 255),
            // Databases count in signed integers.
            Self::Version => (0, i64::MAX as u64),
            Self::Tag | Self::MetadataKey | Self::TrackingName => (1, 255),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Topic => "bytes of a topic",
            Self::Tags => "tags of an event",
            Self::Tag => "bytes of a tag",
            Self::Metadata => "metadata entries of an event",
            Self::MetadataKey => "bytes of a metadata key",
            Self::TrackingName => "bytes of a tracking name",
            Self::Version => "version of an event",
        })
    }
}

struct KeyOf<'a>(&'a Option<AggregateId>);

impl fmt::Display for KeyOf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(aggregate) => write!(formatter, "that of {aggregate}"),
            None => formatter.write_str("their list"),
        }
    }
}

struct OrNone(Option<u64>);

impl fmt::Display for OrNone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(formatter),
            None => formatter.write_str("none"),
        }
    }
}
