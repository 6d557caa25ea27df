//! What one append commits: events of any aggregates, what is expected of those, and a tracking
//! advance, all or nothing.

use std::borrow::Cow;

use annals_segments::format::record::{Encoding, metadata_len};
use annals_segments::format::{
    METADATA_COUNT_MAX, METADATA_KEY_LEN_MAX, METADATA_LEN_MAX, TAG_COUNT_MAX, TAG_LEN_MAX,
    TOPIC_LEN_MAX, TRACKING_NAME_LEN_MAX,
};
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::condition::Clause;
use crate::error::{Error, Limit};
use crate::query::Query;

/// An event to be appended.
///
/// Built by naming topic and payload and adding what else it has; the limits are checked when it is
/// [appended](crate::Log::append), so that building never fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub(crate) aggregate: Option<AggregateId>,
    pub(crate) version: Version,
    pub(crate) topic: Cow<'static, str>,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) tags: Vec<Vec<u8>>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) digest: Option<u64>,
    pub(crate) payload: Vec<u8>,
}

impl NewEvent {
    /// An event of no aggregate, without tags and metadata.
    ///
    /// `topic`: stored name of the event type, 1..=1024 bytes; a literal is not copied. `payload`: any bytes, up to 16 MiB by default.
    pub fn new(topic: impl Into<Cow<'static, str>>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            aggregate: None,
            version: Version::Next,
            topic: topic.into(),
            event_id: None,
            tags: Vec::new(),
            metadata: Vec::new(),
            encoding: None,
            digest: None,
            payload: payload.into(),
        }
    }

    /// The aggregate the event belongs to; it then has a version.
    #[must_use]
    pub fn aggregate(mut self, id: impl Into<AggregateId>) -> Self {
        self.aggregate = Some(id.into());
        self
    }

    /// The event's version in its aggregate; the next one by default. Of no meaning without an aggregate.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The event's own id; the log makes a version 7 UUID when none is given. Give one to every event of a batch
    /// that may have to be [appended again](crate::Log::append): in a batch that leaves any out, ids are stored
    /// as they are and not looked for.
    #[must_use]
    pub fn event_id(mut self, id: Uuid) -> Self {
        self.event_id = Some(id);
        self
    }

    /// Adds a tag, 1..=255 bytes. At most 64 in an event; a tag given twice is one tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Vec<u8>>) -> Self {
        let tag = tag.into();
        if let Err(place) = self.tags.binary_search(&tag) {
            self.tags.insert(place, tag);
        }
        self
    }

    /// Adds tags; see [`NewEvent::tag`].
    #[must_use]
    pub fn tags<T: Into<Vec<u8>>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        tags.into_iter().fold(self, Self::tag)
    }

    /// Adds a metadata entry (correlation id, causation id, user). A key given twice keeps the later value.
    /// Keys have 1..=255 bytes, all entries of an event together at most 65,535.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        match self.metadata.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(place) => self.metadata[place].1 = value.into(),
            Err(place) => self.metadata.insert(place, (key, value.into())),
        }
        self
    }

    /// How the payload was compressed and encrypted, kept beside it for whoever reads it.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// Keyed digest of the payload before encryption, by which a retry is recognised.
    #[must_use]
    pub fn digest(mut self, digest: u64) -> Self {
        self.digest = Some(digest);
        self
    }

    pub(crate) fn check(&self, payload_len_max: usize) -> Result<(), Error> {
        Limit::Topic.check(self.topic.len(), 1, TOPIC_LEN_MAX)?;
        if let Some(id) = &self.aggregate {
            Limit::AggregateId.check(
                id.as_bytes().len(),
                1,
                annals_segments::format::AGGREGATE_ID_LEN_MAX,
            )?;
        }
        if let (Version::Given(version), Some(_)) = (self.version, &self.aggregate) {
            Limit::check_version(version)?;
        }
        Limit::TagCount.check(self.tags.len(), 0, TAG_COUNT_MAX)?;
        for tag in &self.tags {
            Limit::Tag.check(tag.len(), 1, TAG_LEN_MAX)?;
        }
        Limit::MetadataCount.check(self.metadata.len(), 0, METADATA_COUNT_MAX)?;
        for (key, _) in &self.metadata {
            Limit::MetadataKey.check(key.len(), 1, METADATA_KEY_LEN_MAX)?;
        }
        Limit::Metadata.check(metadata_len(&self.metadata), 0, METADATA_LEN_MAX)?;
        Limit::Payload.check(self.payload.len(), 0, payload_len_max)
    }
}

/// The version an event gets in its aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// One more than the last; 1 for the first event of an aggregate.
    #[default]
    Next,
    /// This one. It must be above the aggregate's last; gaps are allowed, and so is a first version of 0.
    Given(u64),
}

/// What a writer believes of an aggregate before its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: any state will do.
    #[default]
    Any,
    /// The aggregate has no events.
    NoEvents,
    /// The aggregate's last event has this version.
    Exactly(u64),
}

/// Events that succeed together, with the conditions under which they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) expected: Vec<(AggregateId, Expected)>,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) tracking: Option<(Box<str>, u64)>,
    pub(crate) durability: Durability,
    pub(crate) ids_may_recur: bool,
}

impl Batch {
    /// An empty batch, durable when acknowledged. To be appended it needs an event or a
    /// [tracking position](Batch::tracking).
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event behind those already there.
    #[must_use]
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Adds an event behind those already there, in place.
    pub fn push(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Demands that the aggregate be in this state before the batch. Every demand has to hold.
    #[must_use]
    pub fn expect(mut self, aggregate: impl Into<AggregateId>, expected: Expected) -> Self {
        self.expected.push((aggregate.into(), expected));
        self
    }

    /// Demands that no event which matches `query` lie behind position `after`: what a decision has read
    /// must still be all there is. 0 means anywhere; a position beyond the head is legal.
    ///
    /// A decision that rests on [`View::read_visible`](crate::View::read_visible) goes on behind that view's
    /// [`head`](crate::View::head), one that rests on [`View::read`](crate::View::read) behind its
    /// [`durable_head`](crate::View::durable_head), up to which that reads. Not the other way round: between the two
    /// lie buffered events that the clause would pass over and the decision has not seen.
    ///
    /// Every clause has to hold, and each has a reach of its own: the boundary of a decision behind the
    /// position it was read at, say, and a uniqueness anywhere. Batches before this one in the same
    /// commit count. In a log that was [truncated](crate::Log::truncate_before) a clause has to start at the last
    /// dropped position or behind it: below, nobody can tell, and the append is refused with
    /// [`Error::Expired`]. Source: <https://dcb.events/specification/>.
    #[must_use]
    pub fn fail_if_match(mut self, query: Query, after: u64) -> Self {
        self.clauses.push(Clause { query, after });
        self
    }

    /// Records, in the same commit, that everything of upstream `name` up to `position` has been processed.
    /// It must be above what is recorded so far.
    #[must_use]
    pub fn tracking(mut self, name: impl Into<Box<str>>, position: u64) -> Self {
        self.tracking = Some((name.into(), position));
        self
    }

    /// What the acknowledgement of this batch means.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Says that ids of its events may be those of others: nothing tells the batch from another with the same events, so
    /// it is stored again as long as nothing is against it. Only where a condition, a version or the tracking position
    /// refuses it is it recognised as one that is there already. For callers who do not make ids of their own.
    #[must_use]
    pub fn ids_may_recur(mut self) -> Self {
        self.ids_may_recur = true;
        self
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn check(&self, payload_len_max: usize) -> Result<(), Error> {
        if let Some((name, _)) = &self.tracking {
            Limit::TrackingName.check(name.len(), 1, TRACKING_NAME_LEN_MAX)?;
        } else {
            Limit::EventCount.check(self.events.len(), 1, u32::MAX as usize)?;
        }
        self.events
            .iter()
            .try_for_each(|event| event.check(payload_len_max))
    }
}

impl From<NewEvent> for Batch {
    fn from(event: NewEvent) -> Self {
        Self::new().event(event)
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The events survive a loss of power, on a device that honours a flush.
    #[default]
    Sync,
    /// The events survive the end of the process, however sudden. A crash of the system may lose the
    /// latest of them, always a suffix.
    Buffered,
}
