//! An event as it is read: borrowed from the log, or owned.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use annals_segments::format::record::{Encoding, Record};
use uuid::Uuid;

use crate::aggregate_id::AggregateId;

/// An event in place: verified, and not copied from a mapped file.
///
/// It borrows from the [`View`](crate::View) it was read through.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub(crate) position: u64,
    pub(crate) topic: &'a str,
    pub(crate) record: Record<'a>,
}

impl<'a> Event<'a> {
    /// Place in the global sequence: 1-based, gapless, in commit order.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When it was stored, microseconds since the Unix epoch; never runs backwards along positions.
    #[inline]
    pub fn time_us(&self) -> u64 {
        self.record.place().time_us
    }

    /// When it was stored.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.time_us())
    }

    /// The aggregate it belongs to, if any.
    #[inline]
    pub fn aggregate_id(&self) -> Option<AggregateId> {
        AggregateId::from_record(self.record.id_kind(), self.record.id())
    }

    /// Whether it belongs to this aggregate; cheaper than comparing [`Event::aggregate_id`].
    #[inline]
    pub fn is_of(&self, aggregate: &AggregateId) -> bool {
        self.record.id_kind() == aggregate.kind() && self.record.id() == aggregate.as_bytes()
    }

    /// Version in its aggregate, if it belongs to one.
    #[inline]
    pub fn version(&self) -> Option<u64> {
        let has_aggregate =
            self.record.id_kind() != annals_segments::format::record::IdKind::Absent;
        has_aggregate.then(|| self.record.place().version)
    }

    /// Stored name of its type.
    #[inline]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its own id.
    #[inline]
    pub fn event_id(&self) -> Uuid {
        Uuid::from_bytes(self.record.event_id())
    }

    /// Its tags, ascending.
    #[inline]
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.record.tags()
    }

    /// Its metadata, ascending by key.
    #[inline]
    pub fn metadata(
        &self,
    ) -> impl ExactSizeIterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        // Written as UTF-8; the lossy reading copies only what somebody else wrote.
        self.record
            .metadata()
            .map(|(key, value)| (String::from_utf8_lossy(key), String::from_utf8_lossy(value)))
    }

    /// How the payload was compressed and encrypted; `None` when it is as given.
    #[inline]
    pub fn encoding(&self) -> Option<Encoding> {
        self.record.encoding()
    }

    /// Keyed digest of the payload before encryption, when one was given.
    pub fn digest(&self) -> Option<u64> {
        self.record.digest()
    }

    /// The payload as stored.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.record.payload()
    }

    /// A copy that outlives the view.
    pub fn to_owned(&self) -> RecordedEvent {
        RecordedEvent {
            position: self.position,
            time_us: self.time_us(),
            aggregate_id: self.aggregate_id(),
            version: self.version(),
            topic: self.topic.to_owned(),
            event_id: self.event_id(),
            tags: self.tags().map(<[u8]>::to_vec).collect(),
            metadata: self
                .metadata()
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
            encoding: self.encoding(),
            digest: self.digest(),
            payload: self.payload().to_vec(),
        }
    }
}

/// A copy of an event; the fields are those of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// See [`Event::position`].
    pub position: u64,
    /// See [`Event::time_us`].
    pub time_us: u64,
    /// See [`Event::aggregate_id`].
    pub aggregate_id: Option<AggregateId>,
    /// See [`Event::version`].
    pub version: Option<u64>,
    /// See [`Event::topic`].
    pub topic: String,
    /// See [`Event::event_id`].
    pub event_id: Uuid,
    /// See [`Event::tags`].
    pub tags: Vec<Vec<u8>>,
    /// See [`Event::metadata`].
    pub metadata: Vec<(String, String)>,
    /// See [`Event::encoding`].
    pub encoding: Option<Encoding>,
    /// See [`Event::digest`].
    pub digest: Option<u64>,
    /// See [`Event::payload`].
    pub payload: Vec<u8>,
}

impl RecordedEvent {
    /// When it was stored.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.time_us)
    }
}
