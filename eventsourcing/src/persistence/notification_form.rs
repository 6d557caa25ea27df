//! Notifications as other programs read them: fields by name, bytes in Base64.
//!
//! What comes in is checked as an event to be stored is: nobody vouches for the sender.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use uuid::Uuid;

use super::{Encoding, Notification, Origin, StoredEvent};
use crate::domain::{AggregateId, Metadata};

/// A notification, field by field. What is absent is left out.
#[derive(serde::Serialize, serde::Deserialize)]
struct Form<'a> {
    position: u64,
    time_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregate_id: Option<Cow<'a, AggregateId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    topic: Cow<'a, str>,
    event_id: Uuid,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Base64<'a>>,
    #[serde(default, skip_serializing_if = "is_empty")]
    metadata: Cow<'a, Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<u64>,
    payload: Base64<'a>,
}

fn is_empty(metadata: &Metadata) -> bool {
    metadata.is_empty()
}

impl Serialize for Notification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = &self.event;
        let form = Form {
            position: self.position,
            time_us: self.time_us,
            aggregate_id: event.aggregate_id().map(Cow::Borrowed),
            version: event.version(),
            topic: Cow::Borrowed(&event.topic),
            event_id: event.event_id,
            tags: event.tags.iter().map(|tag| Base64::of(tag)).collect(),
            metadata: Cow::Borrowed(&event.metadata),
            encoding: event.encoding,
            digest: event.digest,
            payload: Base64::of(&event.payload),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Notification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        let origin = match (form.aggregate_id, form.version) {
            (Some(id), Some(version)) => Some(Origin {
                aggregate_id: id.into_owned(),
                version,
            }),
            (None, None) => None,
            _ => {
                return Err(D::Error::custom(
                    "an aggregate_id and a version, or neither",
                ));
            }
        };
        let event = StoredEvent {
            origin,
            topic: form.topic.into_owned(),
            event_id: form.event_id,
            tags: form.tags.into_iter().map(Base64::into_bytes).collect(),
            metadata: form.metadata.into_owned(),
            encoding: form.encoding,
            digest: form.digest,
            payload: form.payload.into_bytes(),
        };
        event.check().map_err(D::Error::custom)?;
        Ok(Self {
            position: form.position,
            time_us: form.time_us,
            event,
        })
    }
}

/// Bytes, written as text.
struct Base64<'a>(Cow<'a, [u8]>);

impl<'a> Base64<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(Self(Cow::Owned(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn full() -> Notification {
        let event = StoredEvent {
            tags: vec![vec![0, 255]],
            metadata: Metadata::from([("user".into(), "ann".into())]),
            encoding: Some(Encoding {
                codec: 3,
                key_id: 4,
                plain_len: 5,
            }),
            digest: Some(u64::MAX),
            ..StoredEvent::new(Uuid::from_u128(7), "box.moved", vec![1, 2, 3])
                .of(Uuid::from_u128(9), 2)
        };
        Notification {
            position: 11,
            time_us: 12,
            event,
        }
    }

    #[test]
    fn the_form_is_this() {
        let form = serde_json::to_value(full()).unwrap();
        let expected = json!({
            "position": 11,
            "time_us": 12,
            "aggregate_id": {"uuid": "00000000-0000-0000-0000-000000000009"},
            "version": 2,
            "topic": "box.moved",
            "event_id": "00000000-0000-0000-0000-000000000007",
            "tags": ["AP8="],
            "metadata": {"user": "ann"},
            "encoding": {"codec": 3, "key_id": 4, "plain_len": 5},
            "digest": u64::MAX,
            "payload": "AQID",
        });
        assert_eq!(form, expected);
    }

    #[test]
    fn what_goes_out_comes_in_again() {
        let bare = Notification {
            event: StoredEvent::new(Uuid::nil(), "t", ""),
            ..full()
        };
        for notification in [full(), bare] {
            let text = serde_json::to_string(&notification).unwrap();
            let back: Notification = serde_json::from_str(&text).unwrap();
            assert_eq!(back, notification);
        }
    }

    #[test]
    fn what_no_recorder_would_take_is_refused() {
        for (field, value) in [
            ("payload", json!("not base64!")),
            ("topic", json!("")),
            ("version", json!(null)),
            ("aggregate_id", json!({"text": ""})),
            ("tags", json!([""])),
            ("position", json!(-1)),
        ] {
            let mut form = serde_json::to_value(full()).unwrap();
            form[field] = value;
            assert!(
                serde_json::from_value::<Notification>(form).is_err(),
                "{field}"
            );
        }
    }
}
