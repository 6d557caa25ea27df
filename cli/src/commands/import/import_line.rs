//! One line of an import: its fields, checked, and the event it becomes.

use std::fmt;

use annals_engine::{AggregateId, Expected, NewEvent};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::commands::import::line_fault::{self, LineError};

/// A good line, not yet stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImportLine {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) aggregate: Option<AggregateId>,
    /// Only ever with an aggregate.
    pub(crate) expected: Option<Expected>,
    /// Taken once it goes into a commit that is not tried with fewer lines again.
    event: Option<NewEvent>,
}

impl ImportLine {
    /// Whether the line demands a version of this aggregate.
    pub(crate) fn expects(&self, aggregate: &AggregateId) -> bool {
        self.expected.is_some() && self.aggregate.as_ref() == Some(aggregate)
    }

    pub(crate) fn event(&self) -> NewEvent {
        self.event
            .clone()
            .expect("a line is asked for its event only while it has it")
    }

    pub(crate) fn take_event(&mut self) -> NewEvent {
        self.event
            .take()
            .expect("a line is asked for its event only while it has it")
    }

    #[cfg(test)]
    pub(crate) fn for_plan(aggregate: Option<&str>, expected: Option<Expected>) -> Self {
        let aggregate = aggregate.map(|id| AggregateId::parse(id).unwrap());
        Self {
            number: 1,
            aggregate,
            expected,
            event: None,
        }
    }
}

/// Reads one line. `number`: its place in the input.
pub(crate) fn parse(number: u64, text: &[u8]) -> Result<ImportLine, LineError> {
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(LineError::Array);
    }
    let fields: Fields<'_> =
        serde_json::from_slice(text).map_err(|error| line_fault::of(text, &error))?;
    let aggregate = fields
        .aggregate_id
        .as_deref()
        .map(AggregateId::parse)
        .transpose()?;
    let expected = match (fields.expected_version, &aggregate) {
        (None, _) => None,
        (Some(_), None) => return Err(LineError::ExpectedOfNothing),
        (Some(0), _) => Some(Expected::NoEvents),
        (Some(version), _) => Some(Expected::Exactly(version)),
    };

    let mut event = NewEvent::new(fields.topic, fields.payload.get())
        .tags(fields.tags.into_iter().map(String::into_bytes));
    if let Some(id) = &aggregate {
        event = event.aggregate(id.clone());
    }
    if let Some(found) = fields.event_id {
        let id = Uuid::try_parse(&found).map_err(|_| LineError::EventId { found })?;
        event = event.event_id(id);
    }
    for (key, value) in fields.metadata.0 {
        event = event.metadata(key, value);
    }
    Ok(ImportLine {
        number,
        aggregate,
        expected,
        event: Some(event),
    })
}

/// The fields as they stand in the line. Null counts as left out, as `annals cat` prints it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Fields<'a> {
    aggregate_id: Option<String>,
    topic: String,
    /// The exact source text, whatever value it spells.
    #[serde(borrow)]
    payload: &'a RawValue,
    expected_version: Option<u64>,
    #[serde(default, deserialize_with = "null_as_default")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    metadata: Metadata,
    event_id: Option<String>,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An object of texts. A key given twice is an error: one of the values would be lost.
#[derive(Debug, Default)]
struct Metadata(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut entries: Vec<(String, String)> = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.push((key, value));
        }
        entries.sort();
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(de::Error::custom(format_args!(
                "duplicate metadata key {:?}",
                pair[0].0
            ))),
            None => Ok(Metadata(entries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> ImportLine {
        parse(7, text.as_bytes()).unwrap()
    }

    fn reason(text: &str) -> String {
        parse(7, text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_field_reaches_the_event() {
        let read = line(
            r#"{"aggregate_id":"dog-1","topic":"T","payload":{"n": 1.0},"expected_version":3,
                "tags":["b","a","b"],"metadata":{"user":"u","correlation_id":"c"},
                "event_id":"0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b9a01"}"#,
        );
        let id = AggregateId::text("dog-1").unwrap();
        let event = NewEvent::new("T", br#"{"n": 1.0}"#.as_slice())
            .aggregate(id.clone())
            .tag("a")
            .tag("b")
            .metadata("correlation_id", "c")
            .metadata("user", "u")
            .event_id(Uuid::try_parse("0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b9a01").unwrap());
        assert!(read.expects(&id));
        assert_eq!(
            read,
            ImportLine {
                number: 7,
                aggregate: Some(id),
                expected: Some(Expected::Exactly(3)),
                event: Some(event)
            }
        );
    }

    #[test]
    fn a_payload_keeps_its_exact_text() {
        for payload in [
            r#"{"b" : 1e400, "a":"\u00e9é"}"#,
            "null",
            "-0.10",
            r#""\ud800""#,
            "[ ]",
            "true",
        ] {
            let read = line(&format!(r#"  {{"topic":"T","payload":  {payload} }} "#));
            assert_eq!(read.event(), NewEvent::new("T", payload));
        }
    }

    #[test]
    fn a_uuid_becomes_one_and_other_text_stays_text() {
        let spelled = "0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b9a01";
        let read = line(&format!(
            r#"{{"aggregate_id":"{spelled}","topic":"T","payload":1}}"#
        ));
        assert_eq!(
            read.aggregate,
            Some(AggregateId::Uuid(Uuid::try_parse(spelled).unwrap()))
        );
        // Another spelling would not come back as it was given.
        let upper = spelled.to_uppercase();
        let read = line(&format!(
            r#"{{"aggregate_id":"{upper}","topic":"T","payload":1}}"#
        ));
        assert_eq!(read.aggregate, Some(AggregateId::text(upper).unwrap()));
    }

    #[test]
    fn version_zero_means_no_events_yet() {
        let read = line(r#"{"aggregate_id":"a","topic":"T","payload":1,"expected_version":0}"#);
        assert_eq!(read.expected, Some(Expected::NoEvents));
    }

    #[test]
    fn null_is_as_good_as_left_out() {
        let nulls = r#"{"aggregate_id":null,"topic":"T","payload":1,"expected_version":null,"tags":null,
            "metadata":null,"event_id":null}"#;
        assert_eq!(line(nulls), line(r#"{"topic":"T","payload":1}"#));
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let cases = [
            (r#"{"payload":1}"#, "missing field `topic`"),
            (r#"{"topic":"T"}"#, "missing field `payload`"),
            (
                r#"{"topic":"T","payload":1,"colour":"red"}"#,
                "unknown field `colour`",
            ),
            (
                r#"{"topic":"T","payload":1,"topic":"U"}"#,
                "duplicate field `topic`",
            ),
            (
                r#"{"topic":"T","payload":1,"metadata":{"a":"1","a":"2"}}"#,
                "duplicate metadata key \"a\"",
            ),
            (
                r#"{"topic":"T","payload":1,"expected_version":0}"#,
                "expected_version without aggregate_id",
            ),
            (
                r#"{"topic":"T","payload":1,"event_id":"x"}"#,
                "event_id \"x\" is no UUID",
            ),
            (
                r#"{"aggregate_id":"","topic":"T","payload":1}"#,
                "bytes of an aggregate id: 0, expected 1..=255",
            ),
            ("[]", "a JSON array, expected an object"),
        ];
        for (text, expected) in cases {
            let found = reason(text);
            assert!(found.contains(expected), "{text}: {found}");
        }
        assert!(parse(1, b"{\"topic\":\"\xff\",\"payload\":1}").is_err());
        assert!(parse(1, b"{\"topic\":\"T\",\"payload\":\"\xff\"}").is_err());
    }
}
