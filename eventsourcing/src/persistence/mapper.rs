//! From a domain event to a stored one and back.
//!
//! On the way out: encode, (compress, encrypt); on the way in the reverse. Compressor and cipher are not
//! built yet; their place is [`StoredEvent::encoding`] and the two functions `seal` and `open` below.

mod state;

use std::any::{TypeId, type_name};
use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::content::{Content, read_content};
use super::schema::{SCHEMA_VERSION_KEY, Schema, stamp, upcast};
use super::{
    Encoding, JsonTranscoder, Notification, PersistenceError, StoredEvent, TranscodeError,
    Transcoder,
};
use crate::domain::{DomainEvent, Event, FIRST_SCHEMA_VERSION, event_type_of, topic_of, topics_of};

/// Turns domain events into stored ones and back. Clones share the transcoder.
#[derive(Clone, Debug)]
pub struct Mapper {
    format: Format,
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
    Other(Arc<dyn Transcoder>),
}

impl Format {
    fn of<T: Transcoder + 'static>(transcoder: T) -> Self {
        match TypeId::of::<T>() == TypeId::of::<JsonTranscoder>() {
            true => Self::Json,
            false => Self::Other(Arc::new(transcoder)),
        }
    }

    fn encode<E: Event>(&self, event: &E) -> Result<Vec<u8>, TranscodeError> {
        match self {
            Self::Json => Ok(serde_json::to_vec(&Content(event))?),
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
            Self::Other(transcoder) => transcoder.encode(value),
        }
    }
}

impl Default for Mapper {
    fn default() -> Self {
        Self::new(JsonTranscoder)
    }
}

impl Mapper {
    /// A mapper with this format of payloads.
    pub fn new(transcoder: impl Transcoder + 'static) -> Self {
        Self {
            format: Format::of(transcoder),
            unknown_events: UnknownEvents::default(),
        }
    }

    /// What becomes of stored events of unknown topics when aggregates are loaded. Default [`UnknownEvents::Error`].
    #[must_use]
    pub fn unknown_events(mut self, policy: UnknownEvents) -> Self {
        self.unknown_events = policy;
        self
    }

    /// The stored form of an event of an aggregate. `event_id` is used if the event has none yet.
    ///
    /// # Errors
    /// [`PersistenceError::NoTopic`], [`PersistenceError::Encode`].
    pub fn to_stored<E: Event>(
        &self,
        event: &DomainEvent<E>,
        event_id: Uuid,
    ) -> Result<StoredEvent, PersistenceError> {
        let mut stored = self.encode(&event.event, event.event_id.unwrap_or(event_id))?;
        if !event.metadata.is_empty() {
            let schema = std::mem::replace(&mut stored.metadata, event.metadata.clone());
            stored.metadata.remove(SCHEMA_VERSION_KEY);
            stored.metadata.extend(schema);
        }
        Ok(stored.of(event.aggregate_id.clone(), event.version))
    }

    /// The event of an aggregate that was stored.
    ///
    /// # Errors
    /// [`PersistenceError::NoAggregate`], and as [`Mapper::decode`].
    pub fn to_domain<E: Event>(
        &self,
        notification: Notification,
    ) -> Result<DomainEvent<E>, PersistenceError> {
        let Notification {
            time_us,
            event: stored,
            ..
        } = notification;
        let event = self.decode(&stored)?;
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

    /// The stored form of an event that belongs to no aggregate.
    ///
    /// # Errors
    /// As [`Mapper::to_stored`].
    pub fn encode<E: Event>(
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
        let (payload, encoding) = seal(payload);
        let mut stored = StoredEvent::new(event_id, topic, payload);
        stamp(&mut stored.metadata, version);
        stored.encoding = encoding;
        stored.tags = event.tags().into_iter().map(String::into_bytes).collect();
        Ok(stored)
    }

    /// The content of a stored event, whether it belongs to an aggregate or not, as today's schema version has it.
    ///
    /// # Errors
    /// [`PersistenceError::UnknownTopic`], [`PersistenceError::UnknownEncoding`],
    /// [`PersistenceError::Decode`]; of schema versions [`PersistenceError::NewerSchema`],
    /// [`PersistenceError::MissingUpcaster`], [`PersistenceError::Upcast`], [`PersistenceError::SchemaVersion`].
    pub fn decode<E: Event>(&self, stored: &StoredEvent) -> Result<E, PersistenceError> {
        let payload = open(stored)?;
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
}

/// The name under which serde reads this topic. It knows older names of variants, but none of a struct.
fn topic_by_serde<E: Event>(topic: &str) -> &str {
    match E::TYPES {
        [alone] if alone.names().any(|name| name == topic) => alone.topic(),
        _ => topic,
    }
}

/// Where compression and encryption come in.
fn seal(plain: Vec<u8>) -> (Vec<u8>, Option<Encoding>) {
    (plain, None)
}

/// Where decryption and decompression come in.
fn open(stored: &StoredEvent) -> Result<Cow<'_, [u8]>, PersistenceError> {
    match stored.encoding {
        None
        | Some(Encoding {
            codec: 0,
            key_id: 0,
            ..
        }) => Ok(Cow::Borrowed(&stored.payload)),
        Some(Encoding { codec, key_id, .. }) => Err(PersistenceError::UnknownEncoding {
            topic: stored.topic.clone(),
            codec,
            key_id,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::domain::{AggregateId, Metadata};
    use crate::persistence::ReadContent;

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

    /// JSON by the way of objects, as a transcoder from outside goes.
    #[derive(Debug)]
    struct Foreign;

    impl Transcoder for Foreign {
        fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, TranscodeError> {
            JsonTranscoder.encode(value)
        }

        fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError> {
            JsonTranscoder.decode(payload, read)
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
        for mapper in [Mapper::default(), Mapper::new(Foreign)] {
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
            codec: 1,
            key_id: 2,
            plain_len: 3,
        });
        let error = Mapper::default().decode::<Moved>(&stored).unwrap_err();
        assert!(matches!(
            error,
            PersistenceError::UnknownEncoding {
                codec: 1,
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
