//! Schema versions of stored events: where they are written down, and the way from old content to new.
//!
//! The version stands in the metadata under [`SCHEMA_VERSION_KEY`], and only from 2 on: events that never changed carry
//! nothing.

use serde_json::Value;

use super::PersistenceError;
use crate::domain::{
    Event, EventType, FIRST_SCHEMA_VERSION, Metadata, Upcaster, event_type_of, is_versioned,
};

/// How a stored event becomes one of today.
pub(super) enum Schema {
    /// It has today's shape, or none that we know.
    Current,
    /// Its content has to be upcast.
    Old {
        from: u32,
        event_type: &'static EventType,
    },
}

impl Schema {
    pub(super) fn of<E: Event>(topic: &str, metadata: &Metadata) -> Result<Self, PersistenceError> {
        let found = stored_version(topic, metadata)?;
        // Most events: of a type that never changed.
        if found == FIRST_SCHEMA_VERSION && !is_versioned::<E>() {
            return Ok(Self::Current);
        }
        let event_type = match event_type_of::<E>(topic) {
            Some(event_type) => event_type,
            // Known to serde alone, of the first version, or unknown: reading it tells.
            None if found == FIRST_SCHEMA_VERSION
                || !crate::domain::topics_of::<E>().contains(topic) =>
            {
                return Ok(Self::Current);
            }
            None => return Err(newer(topic, found, FIRST_SCHEMA_VERSION)),
        };
        let expected = event_type.schema_version();
        match found {
            _ if found == expected => Ok(Self::Current),
            _ if found > expected => Err(newer(topic, found, expected)),
            from => Ok(Self::Old { from, event_type }),
        }
    }
}

/// Writes the schema version of new events of this type.
pub(super) fn stamp(metadata: &mut Metadata, version: u32) {
    if version > FIRST_SCHEMA_VERSION {
        metadata.insert(SCHEMA_VERSION_KEY.to_owned(), version.to_string());
    } else if !metadata.is_empty() {
        metadata.remove(SCHEMA_VERSION_KEY);
    }
}

/// Runs the steps from schema version `from` to version `to`.
pub(crate) fn upcast(
    topic: &str,
    mut content: Value,
    from: u32,
    to: u32,
    upcasters: &[Upcaster],
) -> Result<Value, PersistenceError> {
    for version in from..to {
        let step = upcasters
            .iter()
            .find(|step| step.from() == version)
            .ok_or_else(|| PersistenceError::MissingUpcaster {
                topic: topic.to_owned(),
                from: version,
                found: from,
                expected: to,
            })?;
        content = step
            .upcast(content)
            .map_err(|source| PersistenceError::Upcast {
                topic: topic.to_owned(),
                from: version,
                source,
            })?;
    }
    Ok(content)
}

fn stored_version(topic: &str, metadata: &Metadata) -> Result<u32, PersistenceError> {
    if metadata.is_empty() {
        return Ok(FIRST_SCHEMA_VERSION);
    }
    match metadata.get(SCHEMA_VERSION_KEY) {
        None => Ok(FIRST_SCHEMA_VERSION),
        Some(text) => match text.parse() {
            Ok(version) if version >= FIRST_SCHEMA_VERSION => Ok(version),
            _ => Err(PersistenceError::SchemaVersion {
                topic: topic.to_owned(),
                found: text.clone(),
            }),
        },
    }
}

fn newer(topic: &str, found: u32, expected: u32) -> PersistenceError {
    PersistenceError::NewerSchema {
        topic: topic.to_owned(),
        found,
        expected,
    }
}

/// Key of the schema version in the metadata of a stored event. The library writes it and takes it out again.
pub(super) const SCHEMA_VERSION_KEY: &str = "$version";

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::persistence::transcoder::Outside;
    use crate::persistence::{JsonTranscoder, Mapper, StoredEvent};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Taught {
        #[serde(rename = "dog.taught", alias = "Trick")]
        Trick {
            trick: String,
            days: u32,
        },
        Nothing,
    }

    /// Version 1 was `{"name": …}`, version 2 `{"trick": …}`.
    #[derive(Deserialize)]
    struct One {
        name: String,
    }

    #[derive(Serialize)]
    struct Two {
        trick: String,
    }

    impl Event for Taught {
        const TYPES: &'static [EventType] = &[
            EventType::new("dog.taught").aliases(&["Trick"]).version(
                3,
                &[
                    Upcaster::new(1, |old| {
                        Upcaster::typed(old, |One { name }| Two { trick: name })
                    }),
                    Upcaster::new(2, |old| Ok(json!({ "trick": old["trick"], "days": 1 }))),
                ],
            ),
            EventType::new("Nothing"),
        ];
    }

    fn stored(topic: &str, version: Option<&str>, payload: &str) -> StoredEvent {
        let mut stored = StoredEvent::new(Uuid::nil(), topic, payload);
        let version = version.map(|version| (SCHEMA_VERSION_KEY.to_owned(), version.to_owned()));
        stored.metadata.extend(version);
        stored
    }

    fn taught(trick: &str, days: u32) -> Taught {
        Taught::Trick {
            trick: trick.to_owned(),
            days,
        }
    }

    #[test]
    fn every_older_version_is_read_as_todays_through_all_steps_between() {
        for mapper in [Mapper::default(), Mapper::new(Outside(JsonTranscoder))] {
            for (topic, version, payload) in [
                ("dog.taught", None, r#"{"name":"sit"}"#),
                ("Trick", Some("1"), r#"{"name":"sit"}"#),
                ("dog.taught", Some("2"), r#"{"trick":"sit"}"#),
                ("Trick", Some("3"), r#"{"trick":"sit","days":1}"#),
            ] {
                let decoded = mapper.decode::<Taught>(&stored(topic, version, payload));
                assert_eq!(decoded.unwrap(), taught("sit", 1), "{topic} {version:?}");
            }
        }
    }

    #[test]
    fn the_version_is_written_from_the_second_on() {
        let mapper = Mapper::default();
        let new = mapper.encode(&taught("sit", 2), Uuid::nil()).unwrap();
        assert_eq!(
            new.metadata,
            Metadata::from([("$version".to_owned(), "3".to_owned())])
        );
        assert_eq!(mapper.decode::<Taught>(&new).unwrap(), taught("sit", 2));
        let new = mapper.encode(&Taught::Nothing, Uuid::nil()).unwrap();
        assert!(new.metadata.is_empty());
    }

    #[test]
    fn an_event_of_a_later_program_is_refused_not_misread() {
        for (topic, expected) in [("dog.taught", 3), ("Nothing", 1)] {
            let error = Mapper::default()
                .decode::<Taught>(&stored(topic, Some("4"), "{}"))
                .unwrap_err();
            assert!(
                matches!(error, PersistenceError::NewerSchema { found: 4, expected: e, .. } if e == expected),
                "{error:?}"
            );
        }
        let error = Mapper::default()
            .decode::<Taught>(&stored("dog.lost", Some("4"), "{}"))
            .unwrap_err();
        assert!(matches!(error, PersistenceError::UnknownTopic { .. }));
    }

    #[test]
    fn a_version_that_is_no_number_is_told() {
        for version in ["", "0", "-1", "two", "1.0", "4294967296"] {
            let error = Mapper::default()
                .decode::<Taught>(&stored("dog.taught", Some(version), "{}"))
                .unwrap_err();
            assert!(
                matches!(&error, PersistenceError::SchemaVersion { found, .. } if found == version),
                "{error:?}"
            );
        }
    }

    #[test]
    fn content_that_no_step_takes_is_told_with_its_version() {
        let error = Mapper::default()
            .decode::<Taught>(&stored("dog.taught", None, r#"{"nome":"sit"}"#))
            .unwrap_err();
        assert!(
            matches!(error, PersistenceError::Upcast { from: 1, .. }),
            "{error:?}"
        );
        let error = Mapper::default()
            .decode::<Taught>(&stored("dog.taught", Some("2"), r#"{"trick":7}"#))
            .unwrap_err();
        assert!(
            matches!(error, PersistenceError::Decode { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn a_missing_step_is_named() {
        const STEPS: &[Upcaster] = &[Upcaster::new(1, Ok), Upcaster::new(3, Ok)];
        let error = upcast("dog.taught", json!({}), 1, 4, STEPS).unwrap_err();
        assert!(
            matches!(
                error,
                PersistenceError::MissingUpcaster {
                    from: 2,
                    found: 1,
                    expected: 4,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
