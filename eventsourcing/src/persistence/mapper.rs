//! From a domain event to a stored one and back.
//!
//! On the way out: encode, (compress, encrypt); on the way in the reverse. Compressor and cipher are not
//! built yet; their place is [`StoredEvent::encoding`] and the two functions `seal` and `open` below.

use std::any::{TypeId, type_name};
use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use super::content::{Content, read_content};
use super::{
    Encoding, JsonTranscoder, Notification, PersistenceError, StoredEvent, TranscodeError,
    Transcoder,
};
use crate::domain::{DomainEvent, Event, topic_of, topics_of};

/// Turns domain events into stored ones and back. Clones share the transcoder.
#[derive(Clone, Debug)]
pub struct Mapper {
    format: Format,
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
        }
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
        stored.metadata.clone_from(&event.metadata);
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
            metadata: stored.metadata,
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
        let topic = topic_of(event)
            .filter(|topic| topics_of::<E>().contains(topic))
            .ok_or(PersistenceError::NoTopic {
                type_name: type_name::<E>(),
            })?;
        let payload = self
            .format
            .encode(event)
            .map_err(|source| PersistenceError::Encode { topic, source })?;
        let (payload, encoding) = seal(payload);
        let mut stored = StoredEvent::new(event_id, topic, payload);
        stored.encoding = encoding;
        stored.tags = event.tags().into_iter().map(String::into_bytes).collect();
        Ok(stored)
    }

    /// The content of a stored event, whether it belongs to an aggregate or not.
    ///
    /// # Errors
    /// [`PersistenceError::UnknownTopic`], [`PersistenceError::UnknownEncoding`],
    /// [`PersistenceError::Decode`].
    pub fn decode<E: Event>(&self, stored: &StoredEvent) -> Result<E, PersistenceError> {
        let payload = open(stored)?;
        self.format
            .decode(&stored.topic, &payload)
            .map_err(|source| {
                let (topic, expected) = (stored.topic.clone(), topics_of::<E>());
                match expected.contains(&topic) {
                    true => PersistenceError::Decode { topic, source },
                    false => PersistenceError::UnknownTopic { topic, expected },
                }
            })
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
