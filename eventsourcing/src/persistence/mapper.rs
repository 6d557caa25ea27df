//! From a domain event to a stored one and back.
//!
//! On the way out: encode, compress, encrypt; on the way in the reverse. What happens to the bytes stands in
//! `payload.rs`; how a type becomes bytes, here.

mod state;

use std::any::{TypeId, type_name};
use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::UnitDeserializer;
use serde_json::Value;
use uuid::Uuid;

use super::content::{Content, read_content};
use super::metadata_scope::stamp_scope;
use super::payload::{Payload, PayloadKind, Payloads};
use super::schema::{SCHEMA_VERSION_KEY, Schema, stamp, upcast};
#[cfg(feature = "messagepack")]
use super::transcoder::{MessagePackTranscoder, messagepack_end};
use super::{
    AggregateRecorder, Compressor, JsonTranscoder, Notification, PersistenceError, StoredEvent,
    TranscodeError, Transcoder,
};
use crate::domain::{
    AggregateId, DomainEvent, Event, FIRST_SCHEMA_VERSION, event_type_of, topic_of, topics_of,
};

/// Turns domain events into stored ones and back. Clones share what it is made of.
///
/// ```
/// use annals::{Mapper, Zlib, Zstd};
///
/// // Written with zstd from now on; what was written plain, or with zlib, is still read.
/// let mapper = Mapper::json().compressor(Zstd::new().level(9));
/// # let _ = mapper.decompressor(Zlib::new());
/// ```
#[derive(Clone, Debug)]
pub struct Mapper {
    format: Format,
    payloads: Payloads,
    #[cfg(feature = "hash-chain")]
    is_chained: bool,
    unknown_events: UnknownEvents,
}

/// What becomes of stored events whose topic the event type does not have: those of a later program, or of a kind that
/// was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownEvents {
    /// Reading answers [`PersistenceError::UnknownTopic`].
    #[default]
    Error,
    /// They are passed over: an aggregate counts their versions and its state stays as it is. Its first event must be
    /// known all the same. Decisions are made without what those events said; choose it where that does no harm.
    Skip,
}

/// JSON is called directly, other formats as objects: asking serde through objects costs about 230 ns for
/// a small event that serde_json reads in 70. Another built-in format gets a variant of its own.
#[derive(Clone, Debug)]
enum Format {
    Json,
    #[cfg(feature = "messagepack")]
    MessagePack,
    Other(Arc<dyn Transcoder>),
}

impl Format {
    fn of<T: Transcoder + 'static>(transcoder: T) -> Self {
        match TypeId::of::<T>() {
            json if json == TypeId::of::<JsonTranscoder>() => Self::Json,
            #[cfg(feature = "messagepack")]
            found if found == TypeId::of::<MessagePackTranscoder>() => Self::MessagePack,
            _ => Self::Other(Arc::new(transcoder)),
        }
    }

    fn encode<E: Event>(&self, event: &E) -> Result<Vec<u8>, TranscodeError> {
        match self {
            Self::Json => Ok(serde_json::to_vec(&Content(event))?),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => Ok(rmp_serde::to_vec_named(&Content(event))?),
            Self::Other(transcoder) => transcoder.encode(&Content(event)),
        }
    }

    fn decode<E: Event>(&self, topic: &str, payload: &[u8]) -> Result<E, TranscodeError> {
        match self {
            Self::Json => {
                let mut json = serde_json::Deserializer::from_slice(payload);
                let event = read_content(topic, &mut json)?;
                json.end()?;
                Ok(event)
            }
            #[cfg(feature = "messagepack")]
            Self::MessagePack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
                let event = read_content(topic, &mut reader)?;
                messagepack_end(&mut reader)?;
                Ok(event)
            }
            Self::Other(transcoder) => {
                let mut event = None;
                transcoder.decode(payload, &mut |content| {
                    event = Some(read_content(topic, content)?);
                    Ok(())
                })?;
                event.ok_or_else(|| "the transcoder read nothing".into())
            }
        }
    }

    /// Content of an older schema version, which has no type any more, or a state.
    fn decode_any<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, TranscodeError> {
        match self {
            Self::Json => Ok(serde_json::from_slice(payload)?),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
                let value = T::deserialize(&mut reader)?;
                messagepack_end(&mut reader)?;
                Ok(value)
            }
            Self::Other(transcoder) => {
                let mut value = None;
                transcoder.decode(payload, &mut |content| {
                    value = Some(T::deserialize(content)?);
                    Ok(())
                })?;
                value.ok_or_else(|| "the transcoder read nothing".into())
            }
        }
    }
}

/// Values that are no events.
impl Format {
    fn encode_value<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, TranscodeError> {
        match self {
            Self::Json => Ok(serde_json::to_vec(value)?),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => Ok(rmp_serde::to_vec_named(value)?),
            Self::Other(transcoder) => transcoder.encode(value),
        }
    }
}

impl Default for Mapper {
    fn default() -> Self {
        Self::json()
    }
}

impl Mapper {
    /// A mapper with this format of payloads.
    pub fn new(transcoder: impl Transcoder + 'static) -> Self {
        Self {
            format: Format::of(transcoder),
            payloads: Payloads::default(),
            #[cfg(feature = "hash-chain")]
            is_chained: false,
            unknown_events: UnknownEvents::default(),
        }
    }

    /// A mapper with payloads in JSON, neither compressed nor encrypted: the default.
    pub fn json() -> Self {
        Self::new(JsonTranscoder)
    }

    /// A mapper with payloads in [MessagePack](MessagePackTranscoder), neither compressed nor encrypted.
    #[cfg(feature = "messagepack")]
    pub fn messagepack() -> Self {
        Self::new(MessagePackTranscoder)
    }

    /// Compresses payloads from now on. Payloads that do not get smaller stay as they are. What others have compressed
    /// stays readable as long as they are built in, or were given here or to [`Mapper::decompressor`].
    ///
    /// # Panics
    /// When [`Compressor::number`] is not 1..=15.
    #[must_use]
    pub fn compressor(self, compressor: impl Compressor + 'static) -> Self {
        let payloads = self.payloads.compressor(Arc::new(compressor));
        Self { payloads, ..self }
    }

    /// Reads what this compressor has made, too. Not needed for zlib, and zstd without a dictionary.
    ///
    /// # Panics
    /// As [`Mapper::compressor`].
    #[must_use]
    pub fn decompressor(self, compressor: impl Compressor + 'static) -> Self {
        let payloads = self.payloads.decompressor(Arc::new(compressor));
        Self { payloads, ..self }
    }

    /// Never compresses events of this topic.
    #[must_use]
    pub fn uncompressed(self, topic: impl Into<String>) -> Self {
        let payloads = self.payloads.uncompressed(topic.into());
        Self { payloads, ..self }
    }

    /// Encrypts payloads from now on, all of them. What was stored before stays readable, and so does what the keys of the
    /// ring have sealed; a payload that was changed, or put in the place of another one, is
    /// [refused](PersistenceError::Decrypt).
    ///
    /// Topics, tags, metadata, ids, versions, times and lengths stay as they are: events are found by them.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn cipher(self, encryption: impl Into<super::Encryption>) -> Self {
        let payloads = self.payloads.sealer(Arc::new(encryption.into()));
        Self { payloads, ..self }
    }

    /// Refuses payloads that are not encrypted, once there are none any more: who can write to the store could put one
    /// in the place of one that is.
    #[must_use]
    pub fn only_encrypted(self) -> Self {
        let payloads = self.payloads.only_encrypted();
        Self { payloads, ..self }
    }

    /// Destroys the [own key](crate::Encryption::key_per_aggregate) of an aggregate, and with it the content of all its events and
    /// snapshots, wherever copies of them are; answers whether there was one. Erasing again does nothing.
    ///
    /// From then on its events cannot be read or added to: [`PersistenceError::KeyErased`]. Whoever goes over many
    /// aggregates goes on behind it. An event type with a unit variant named [`ERASED_TOPIC`](crate::ERASED_TOPIC) gets that
    /// in the place of each of them:
    ///
    /// ```
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// enum Patient {
    ///     Admitted { name: String },
    ///     #[serde(rename = "$erased")]
    ///     Erased,
    /// }
    /// # impl annals::Event for Patient {}
    /// # assert!(annals::topics_of::<Patient>().contains(annals::ERASED_TOPIC));
    /// ```
    ///
    /// [Caches](crate::ApplicationBuilder::cache) of applications with this mapper or a clone of it begin anew. What else
    /// programs have in memory stays there: aggregates in the hand, and, in other processes, caches and the keys they have
    /// used. Topics, tags and metadata are not erased, nor what was stored before aggregates had keys of their own, nor what
    /// programs have made of events elsewhere: rows of views, say.
    ///
    /// # Errors
    /// [`PersistenceError::KeyStore`], also when there is none. Then it may or may not be erased; erase again.
    pub fn erase_key(&self, aggregate: &AggregateId) -> Result<bool, PersistenceError> {
        match self.payloads.keys() {
            Some(keys) => keys.erase_key(aggregate),
            None => Err(PersistenceError::KeyStore {
                aggregate_id: Some(aggregate.clone()),
                source: "this mapper does not encrypt, expected one with a key for each aggregate"
                    .into(),
            }),
        }
    }

    /// Whether [keys of aggregates](Mapper::erase_key) can be erased: then what is made of their events may not be kept
    /// under another key.
    pub(crate) fn has_own_keys(&self) -> bool {
        self.payloads.keys().is_some_and(|keys| keys.has_own_keys())
    }

    /// How often a key was [erased](Mapper::erase_key): what was read before may hold what is gone.
    pub(crate) fn erasures(&self) -> u64 {
        self.payloads.keys().map_or(0, |keys| keys.erasures())
    }

    /// Brings all aggregates' own keys under the newest key of the ring, so that older ones can be retired; answers how
    /// many were not. May be stopped and started again at any time, while everything goes on.
    ///
    /// # Errors
    /// [`PersistenceError::KeyStore`].
    pub fn rewrap_keys(&self) -> Result<u64, PersistenceError> {
        self.payloads
            .keys()
            .map_or(Ok(0), |keys| keys.rewrap_keys())
    }

    /// Gives each event of an aggregate a hash over itself and the one before, from now on: it shows when history is changed,
    /// by [`Application::verify_chain`](crate::Application::verify_chain). Costs one read of the aggregate's last event a
    /// save, and about 80 bytes an event.
    ///
    /// Every program that saves events of an aggregate has to do so, or the chain ends there, as broken.
    #[cfg(feature = "hash-chain")]
    #[must_use]
    pub fn hash_chain(self) -> Self {
        let is_chained = true;
        Self { is_chained, ..self }
    }

    /// Whether [`Mapper::link`] reads the recorder.
    #[cfg(feature = "async")]
    pub(crate) fn is_chained(&self) -> bool {
        #[cfg(feature = "hash-chain")]
        return self.is_chained;
        #[cfg(not(feature = "hash-chain"))]
        false
    }

    /// The last step before events are stored in `recorder` together, in this order: it links them into the [hash
    /// chains](Mapper::hash_chain) of their aggregates, if they have any. An [`Application`](crate::Application) does so by itself; for those
    /// who hand events to recorders.
    ///
    /// # Errors
    /// As [`AggregateRecorder::select_events`].
    pub fn link(
        &self,
        recorder: &dyn AggregateRecorder,
        events: &mut [StoredEvent],
    ) -> Result<(), PersistenceError> {
        #[cfg(feature = "hash-chain")]
        if self.is_chained {
            return super::hash_chain::link(recorder, events);
        }
        let _ = (recorder, events);
        Ok(())
    }

    /// Reads payloads that the Python library has stored, which are those that say nothing of themselves. What is stored anew
    /// is marked, so that the two are not mistaken for each other.
    #[cfg(all(feature = "compression", feature = "encryption"))]
    #[must_use]
    pub fn python(self, python: super::PythonPayloads) -> Self {
        let payloads = self.payloads.foreign(Arc::new(python));
        Self { payloads, ..self }
    }

    /// Greatest length in bytes to which a payload is inflated, and that is compressed or encrypted. Default
    /// [`PAYLOAD_LEN_MAX`](crate::PAYLOAD_LEN_MAX): what claims to be longer is an error, not an allocation.
    #[must_use]
    pub fn payload_len_max(self, bytes: usize) -> Self {
        let payloads = self.payloads.len_max(bytes);
        Self { payloads, ..self }
    }

    /// What becomes of stored events of unknown topics when aggregates are loaded. Default [`UnknownEvents::Error`].
    #[must_use]
    pub fn unknown_events(mut self, policy: UnknownEvents) -> Self {
        self.unknown_events = policy;
        self
    }

    /// The stored form of an event of an aggregate. `event_id` is used if the event has none yet; then it also gets the
    /// metadata of the [scope](crate::MetadataScope).
    ///
    /// # Errors
    /// [`PersistenceError::NoTopic`], [`PersistenceError::Encode`]; [`PersistenceError::TooLarge`],
    /// [`PersistenceError::Seal`], [`PersistenceError::KeyErased`] and [`PersistenceError::KeyStore`] from compressor and
    /// cipher.
    pub fn to_stored<E: Event>(
        &self,
        event: &DomainEvent<E>,
        event_id: Uuid,
    ) -> Result<StoredEvent, PersistenceError> {
        let event_id = event.event_id.unwrap_or(event_id);
        let mut stored = self
            .encode_unsealed(&event.event, event_id)?
            .of(event.aggregate_id.clone(), event.version);
        if !event.metadata.is_empty() {
            let schema = std::mem::replace(&mut stored.metadata, event.metadata.clone());
            stored.metadata.remove(SCHEMA_VERSION_KEY);
            stored.metadata.extend(schema);
        }
        if event.event_id.is_none() {
            stamp_scope(&mut stored.metadata);
        }
        self.seal(PayloadKind::Event, &mut stored)?;
        Ok(stored)
    }

    /// The event of an aggregate that was stored.
    ///
    /// # Errors
    /// [`PersistenceError::NoAggregate`], and as [`Mapper::decode`].
    pub fn to_domain<E: Event>(
        &self,
        notification: Notification,
    ) -> Result<DomainEvent<E>, PersistenceError> {
        let event = self.decode(&notification.event)?;
        as_domain(notification, event)
    }

    /// As [`Mapper::to_domain`]; `None` where [`Mapper::decode_known`] answers that.
    ///
    /// # Errors
    /// As [`Mapper::to_domain`].
    pub(crate) fn to_domain_known<E: Event>(
        &self,
        notification: Notification,
    ) -> Result<Option<DomainEvent<E>>, PersistenceError> {
        let event = self.decode_known(&notification.event)?;
        event
            .map(|event| as_domain(notification, event))
            .transpose()
    }

    /// The stored form of an event that belongs to no aggregate, with the metadata of the
    /// [scope](crate::MetadataScope).
    ///
    /// An encrypted payload is bound to that: giving the event to an aggregate afterwards makes it unreadable.
    ///
    /// # Errors
    /// As [`Mapper::to_stored`].
    pub fn encode<E: Event>(
        &self,
        event: &E,
        event_id: Uuid,
    ) -> Result<StoredEvent, PersistenceError> {
        let mut stored = self.encode_unsealed(event, event_id)?;
        stamp_scope(&mut stored.metadata);
        self.seal(PayloadKind::Event, &mut stored)?;
        Ok(stored)
    }

    /// The stored form of an event whose aggregate, id or tags are to follow, and [`Mapper::seal`] behind them.
    pub(crate) fn encode_unsealed<E: Event>(
        &self,
        event: &E,
        event_id: Uuid,
    ) -> Result<StoredEvent, PersistenceError> {
        // What would not be read again is refused before it is written.
        let unreadable = || PersistenceError::NoTopic {
            type_name: type_name::<E>(),
        };
        let topic = topic_of(event).ok_or_else(unreadable)?;
        let version = match event_type_of::<E>(topic) {
            Some(event_type) => event_type.schema_version(),
            None if topics_of::<E>().contains(topic) => FIRST_SCHEMA_VERSION,
            None => return Err(unreadable()),
        };
        let payload = self
            .format
            .encode(event)
            .map_err(|source| PersistenceError::Encode { topic, source })?;
        let mut stored = StoredEvent::new(event_id, topic, payload);
        stamp(&mut stored.metadata, version);
        stored.tags = event.tags().into_iter().map(String::into_bytes).collect();
        Ok(stored)
    }

    /// The content of a stored event, whether it belongs to an aggregate or not, as today's schema version has it.
    ///
    /// # Errors
    /// [`PersistenceError::UnknownTopic`], [`PersistenceError::Decode`]; [`PersistenceError::UnknownEncoding`],
    /// [`PersistenceError::Inflate`], [`PersistenceError::Decrypt`], [`PersistenceError::NotEncrypted`],
    /// [`PersistenceError::KeyErased`] and [`PersistenceError::KeyStore`] from compressor and cipher; of schema versions [`PersistenceError::NewerSchema`],
    /// [`PersistenceError::MissingUpcaster`], [`PersistenceError::Upcast`], [`PersistenceError::SchemaVersion`].
    pub fn decode<E: Event>(&self, stored: &StoredEvent) -> Result<E, PersistenceError> {
        self.decode_as(PayloadKind::Event, stored)
    }

    /// As [`Mapper::decode`], of an event, or of what was made of one to be kept as a snapshot.
    pub(crate) fn decode_as<E: Event>(
        &self,
        kind: PayloadKind,
        stored: &StoredEvent,
    ) -> Result<E, PersistenceError> {
        let payload = match self.open(Payload::of(kind, stored)) {
            Err(PersistenceError::KeyErased { .. }) if topics_of::<E>().contains(ERASED_TOPIC) => {
                return erased();
            }
            opened => opened?,
        };
        let topic = topic_by_serde::<E>(&stored.topic);
        let decoded = match Schema::of::<E>(topic, &stored.metadata)? {
            Schema::Current => self.format.decode(topic, &payload),
            Schema::Old { from, event_type } => {
                let to = event_type.schema_version();
                match self.format.decode_any::<Value>(&payload) {
                    Ok(old) => upcast(topic, old, from, to, event_type.upcasters())
                        .map(|content| read_content(topic, content).map_err(Into::into))?,
                    Err(source) => Err(source),
                }
            }
        };
        decoded.map_err(|source| {
            let (topic, expected) = (stored.topic.clone(), topics_of::<E>());
            match expected.contains(&topic) {
                true => PersistenceError::Decode { topic, source },
                false => PersistenceError::UnknownTopic { topic, expected },
            }
        })
    }

    /// As [`Mapper::decode`]; `None` when the topic is unknown and the [policy](Mapper::unknown_events) is to skip those.
    ///
    /// # Errors
    /// As [`Mapper::decode`].
    pub fn decode_known<E: Event>(
        &self,
        stored: &StoredEvent,
    ) -> Result<Option<E>, PersistenceError> {
        match (self.decode(stored), self.unknown_events) {
            (Err(PersistenceError::UnknownTopic { .. }), UnknownEvents::Skip) => Ok(None),
            (decoded, _) => decoded.map(Some),
        }
    }

    /// It, for events that are not sealed yet.
    pub(crate) fn without_seal(&self) -> Self {
        Self {
            payloads: Payloads::default(),
            ..self.clone()
        }
    }

    /// Compresses and encrypts the payload of `stored`, which is plain and has its aggregate, topic and id already.
    pub(crate) fn seal(
        &self,
        kind: PayloadKind,
        stored: &mut StoredEvent,
    ) -> Result<(), PersistenceError> {
        self.payloads.seal(kind, stored)
    }

    /// The plain payload: the reverse of [`Mapper::seal`].
    pub(crate) fn open<'a>(&self, payload: Payload<'a>) -> Result<Cow<'a, [u8]>, PersistenceError> {
        self.payloads.open(payload)
    }
}

/// A decoded event in its place.
fn as_domain<E>(notification: Notification, event: E) -> Result<DomainEvent<E>, PersistenceError> {
    let Notification {
        time_us,
        event: stored,
        ..
    } = notification;
    let mut metadata = stored.metadata;
    metadata.remove(SCHEMA_VERSION_KEY);
    let Some(origin) = stored.origin else {
        return Err(PersistenceError::NoAggregate {
            topic: stored.topic,
        });
    };
    Ok(DomainEvent {
        aggregate_id: origin.aggregate_id,
        version: origin.version,
        event_id: Some(stored.event_id),
        time_us: Some(time_us),
        metadata,
        event,
    })
}

/// The name under which serde reads this topic. It knows older names of variants, but none of a struct.
fn topic_by_serde<E: Event>(topic: &str) -> &str {
    match E::TYPES {
        [alone] if alone.names().any(|name| name == topic) => alone.topic(),
        _ => topic,
    }
}

/// What stands in the place of an event whose content is gone for good.
fn erased<E: Event>() -> Result<E, PersistenceError> {
    let nothing = UnitDeserializer::<serde::de::value::Error>::new();
    read_content(ERASED_TOPIC, nothing).map_err(|source| PersistenceError::Decode {
        topic: ERASED_TOPIC.to_owned(),
        source: source.into(),
    })
}

/// Name of the unit variant that an event type may have for events whose key was [erased](Mapper::erase_key).
pub const ERASED_TOPIC: &str = "$erased";

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::domain::Metadata;
    use crate::persistence::Encoding;
    use crate::persistence::transcoder::Outside;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Moved {
        #[serde(rename = "box.moved")]
        To { place: String },
    }

    impl Event for Moved {
        fn tags(&self) -> Vec<String> {
            let Self::To { place } = self;
            vec![format!("place:{place}")]
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        A { a: u8 },
    }

    impl Event for Tagged {}

    fn moved() -> DomainEvent<Moved> {
        DomainEvent {
            aggregate_id: AggregateId::text("box").unwrap(),
            version: 3,
            event_id: Some(Uuid::from_u128(7)),
            time_us: Some(9),
            metadata: Metadata::from([("user".to_owned(), "ann".to_owned())]),
            event: Moved::To {
                place: "attic".into(),
            },
        }
    }

    fn notification(event: StoredEvent) -> Notification {
        Notification {
            position: 1,
            time_us: 9,
            event,
        }
    }

    #[test]
    fn an_event_survives_the_way_out_and_back() {
        for mapper in [Mapper::json(), Mapper::new(Outside(JsonTranscoder))] {
            let stored = mapper.to_stored(&moved(), Uuid::from_u128(8)).unwrap();
            assert_eq!(stored.topic, "box.moved");
            assert_eq!(stored.payload, br#"{"place":"attic"}"#);
            assert_eq!(stored.tags, [b"place:attic"]);
            assert_eq!(
                mapper.to_domain::<Moved>(notification(stored)).unwrap(),
                moved()
            );
        }
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn messagepack_names_the_fields_and_gives_the_event_back() {
        for mapper in [
            Mapper::messagepack(),
            Mapper::new(Outside(MessagePackTranscoder)),
        ] {
            let stored = mapper.to_stored(&moved(), Uuid::from_u128(8)).unwrap();
            assert_eq!(stored.payload, b"\x81\xa5place\xa5attic");
            for (payload, is_event) in [
                (stored.payload.clone(), true),
                ([&stored.payload[..], b"\xc0"].concat(), false),
                (stored.payload[..8].to_vec(), false),
                (b"\x81\xa5place\x01".to_vec(), false),
                (Vec::new(), false),
                // Says that it is four thousand million long, and deep.
                (b"\x81\xa5place\xdb\xff\xff\xff\xff".to_vec(), false),
                (vec![0x91; 100_000], false),
            ] {
                let read = mapper.decode::<Moved>(&StoredEvent::new(
                    Uuid::nil(),
                    "box.moved",
                    payload.clone(),
                ));
                match is_event {
                    true => assert_eq!(read.unwrap(), moved().event),
                    false => assert!(
                        matches!(read, Err(PersistenceError::Decode { .. })),
                        "{payload:?}: {read:?}"
                    ),
                }
            }
            assert_eq!(
                mapper.to_domain::<Moved>(notification(stored)).unwrap(),
                moved()
            );
        }
    }

    #[test]
    fn an_unknown_topic_says_what_is_known() {
        let stored = StoredEvent::new(Uuid::nil(), "box.burnt", "{}");
        let error = Mapper::default().decode::<Moved>(&stored).unwrap_err();
        assert!(
            matches!(&error, PersistenceError::UnknownTopic { topic, .. } if topic == "box.burnt")
        );
        assert!(
            error.to_string().contains(r#"expected one of "box.moved""#),
            "{error}"
        );
    }

    #[test]
    fn unknown_topics_are_skipped_by_choice_only() {
        let unknown = StoredEvent::new(Uuid::nil(), "box.burnt", "{}");
        let broken = StoredEvent::new(Uuid::nil(), "box.moved", "{}");
        let skipping = Mapper::default().unknown_events(UnknownEvents::Skip);
        assert_eq!(skipping.decode_known::<Moved>(&unknown).unwrap(), None);
        assert!(skipping.decode_known::<Moved>(&broken).is_err());
        assert!(skipping.decode::<Moved>(&unknown).is_err());
        assert!(Mapper::default().decode_known::<Moved>(&unknown).is_err());
    }

    #[test]
    fn the_schema_version_is_no_metadata_of_the_events_own() {
        let mut event = moved();
        event.metadata.insert("$version".to_owned(), "9".to_owned());
        let stored = Mapper::default().to_stored(&event, Uuid::nil()).unwrap();
        assert_eq!(stored.metadata, moved().metadata);
    }

    #[test]
    fn a_payload_of_another_shape_is_no_event() {
        for payload in ["", "{}", r#"{"place":1}"#, r#"{"place":"x"} {}"#, "\u{0}"] {
            let stored = StoredEvent::new(Uuid::nil(), "box.moved", payload);
            let error = Mapper::default().decode::<Moved>(&stored).unwrap_err();
            assert!(
                matches!(error, PersistenceError::Decode { .. }),
                "{payload:?}: {error:?}"
            );
        }
    }

    #[test]
    fn an_event_type_without_names_is_refused_before_it_is_stored() {
        let error = Mapper::default()
            .encode(&Tagged::A { a: 1 }, Uuid::nil())
            .unwrap_err();
        assert!(matches!(error, PersistenceError::NoTopic { .. }));
    }

    #[test]
    fn a_payload_sealed_by_others_is_refused() {
        let mut stored = StoredEvent::new(Uuid::nil(), "box.moved", r#"{"place":"x"}"#);
        stored.encoding = Some(Encoding {
            codec: 15,
            key_id: 2,
            plain_len: 3,
        });
        let error = Mapper::default().decode::<Moved>(&stored).unwrap_err();
        assert!(matches!(
            error,
            PersistenceError::UnknownEncoding {
                codec: 15,
                key_id: 2,
                ..
            }
        ));
    }

    #[test]
    fn an_event_of_no_aggregate_is_none_of_an_aggregate() {
        let stored = StoredEvent::new(Uuid::nil(), "box.moved", r#"{"place":"x"}"#);
        let error = Mapper::default()
            .to_domain::<Moved>(notification(stored))
            .unwrap_err();
        assert!(matches!(error, PersistenceError::NoAggregate { .. }));
    }
}
