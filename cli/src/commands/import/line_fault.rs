//! What is wrong with a line that was refused, in the words of whoever wrote the line.
//!
//! The JSON reader stops at the first thing it cannot use, and says so in its own words, without the name of the
//! field. So a refused line is looked at again, slowly, for the faults that are made most.

use std::fmt;

use annals_engine::Error;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::commands::import::line_reader::LINE_LEN_MAX;
use crate::figures::grouped;

/// Why a line was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// A field is missing, unknown or given twice; the JSON reader names it.
    #[error("{reason}; `annals help import` lists the fields")]
    Fields { reason: String },

    #[error("{field}: {found}, expected {expected}")]
    Field {
        field: String,
        found: String,
        expected: &'static str,
    },

    /// Said apart, because a reader of structs would take the values of an array for its fields.
    #[error(
        "a JSON array, expected an object; write one event a line, without brackets around them"
    )]
    Array,

    #[error("{found}, expected a JSON object; `annals help import` shows one")]
    NoObject { found: String },

    #[error("no valid JSON: {reason}; expected one object, whole, on one line")]
    NoJson { reason: String },

    #[error(
        "starts with a byte order mark, expected plain UTF-8; remove the mark (of a file: tail -c +4 FILE)"
    )]
    ByteOrderMark,

    #[error("byte 0x{byte:02x} in column {column} is no UTF-8; convert the input (iconv -t UTF-8)")]
    NoUtf8 { byte: u8, column: usize },

    #[error("expected_version without aggregate_id; add the aggregate_id, or leave both out")]
    ExpectedOfNothing,

    #[error(
        "event_id {found:?} is no UUID, expected one like 0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b9a01; correct it or leave it out"
    )]
    EventId { found: String },

    #[error("longer than {} bytes; store the content elsewhere and a reference here", grouped(LINE_LEN_MAX as u64))]
    TooLong,

    #[error("{0}")]
    Log(#[from] Error),
}

/// Finds the fault in a line that the JSON reader refused with `error`.
pub(crate) fn of(text: &[u8], error: &serde_json::Error) -> LineError {
    if text.starts_with(b"\xef\xbb\xbf") {
        return LineError::ByteOrderMark;
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(bad) => {
            let at = bad.valid_up_to();
            return LineError::NoUtf8 {
                byte: text[at],
                column: at + 1,
            };
        }
    };
    if !text.trim_ascii_start().starts_with('{') {
        let found = match serde_json::from_str(text) {
            Ok(value) => in_words(value),
            Err(_) => format!("no JSON ({})", excerpt(text)),
        };
        return LineError::NoObject { found };
    }
    let fields = match serde_json::from_str::<RawFields<'_>>(text) {
        Ok(RawFields(fields)) => fields,
        Err(error) => {
            return LineError::NoJson {
                reason: reason(&error),
            };
        }
    };
    let wrong_field = fields.iter().find_map(|(name, value)| check(name, value));
    wrong_field.unwrap_or_else(|| LineError::Fields {
        reason: reason(error),
    })
}

/// What is wrong with the value of a field, if anything is.
fn check(name: &str, value: &RawValue) -> Option<LineError> {
    let may_be_null = name != "topic";
    if may_be_null && value.get() == "null" {
        return None;
    }
    let wrong = |value, expected| Some(wrong(name.to_owned(), value, expected));
    match name {
        "aggregate_id" | "topic" if !is::<String>(value) => wrong(value, A_TEXT),
        "event_id" if !is::<String>(value) => wrong(value, "a UUID in a text"),
        "expected_version" if !is::<u64>(value) => wrong(value, "a whole number from 0 on"),
        "tags" => match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(tags) => tags
                .iter()
                .position(|tag| !is::<String>(tag))
                .map(|place| self::wrong(format!("tags, item {}", place + 1), tags[place], A_TEXT)),
            Err(_) => wrong(value, "a list of texts"),
        },
        "metadata" => match serde_json::from_str::<RawFields<'_>>(value.get()) {
            Ok(RawFields(entries)) => entries
                .iter()
                .find(|(_, entry)| !is::<String>(entry))
                .map(|(key, entry)| self::wrong(format!("metadata, {key:?}"), entry, A_TEXT)),
            Err(_) => wrong(value, "an object of texts"),
        },
        _ => None,
    }
}

fn is<'a, T: Deserialize<'a>>(value: &'a RawValue) -> bool {
    serde_json::from_str::<T>(value.get()).is_ok()
}

fn wrong(field: String, found: &RawValue, expected: &'static str) -> LineError {
    // A text where one is expected: only an escape can be wrong with it.
    let is_bad_text = expected == A_TEXT && found.get().starts_with('"');
    LineError::Field {
        field,
        found: in_words(found),
        expected: if is_bad_text {
            "a text whose \\u escapes are characters"
        } else {
            expected
        },
    }
}

/// A JSON value as it is spoken of.
fn in_words(value: &RawValue) -> String {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'"') => format!("the text {}", excerpt(text)),
        Some(b't' | b'f' | b'n') => text.to_owned(),
        _ => format!("the number {}", excerpt(text)),
    }
}

/// The start of a text.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_LEN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What the JSON reader said, with the column alone: it counts lines of a text that is one line.
fn reason(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let Some(reason) = said.strip_suffix(&place) else {
        return said;
    };
    let reason = if error.is_eof() {
        reason.replacen("EOF while parsing", "the line ends within", 1)
    } else {
        reason.to_owned()
    };
    format!("{reason} (column {})", error.column())
}

/// An object with its values as they stand, in its order, doubles and all.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(RawFieldsVisitor)
    }
}

struct RawFieldsVisitor;

impl<'de> Visitor<'de> for RawFieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(RawFields(fields))
    }
}

const A_TEXT: &str = "a text";

/// Characters of foreign text in a message.
const EXCERPT_LEN: usize = 40;

#[cfg(test)]
mod tests {
    use crate::commands::import::import_line::parse;

    #[track_caller]
    fn assert_fault(text: impl AsRef<[u8]>, expected: &str) {
        let fault = parse(7, text.as_ref()).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{fault}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_field() {
        let with = |field: &str| format!(r#"{{"topic":"T","payload":1,{field}}}"#);
        assert_fault(
            r#"{"topic":7,"payload":1}"#,
            "topic: the number 7, expected a text",
        );
        assert_fault(
            r#"{"topic":null,"payload":1}"#,
            "topic: null, expected a text",
        );
        for (field, expected) in [
            (
                r#""aggregate_id":{"a":1}"#,
                "aggregate_id: an object, expected a text",
            ),
            (
                r#""aggregate_id":"\ud800""#,
                r#"aggregate_id: the text "\ud800", expected a text whose \u escapes are characters"#,
            ),
            (
                r#""expected_version":-1"#,
                "expected_version: the number -1, expected a whole number from 0 on",
            ),
            (
                r#""expected_version":"1""#,
                "expected_version: the text \"1\", expected a whole number",
            ),
            (
                r#""expected_version":1.5"#,
                "expected_version: the number 1.5, expected",
            ),
            (
                r#""tags":"t""#,
                "tags: the text \"t\", expected a list of texts",
            ),
            (
                r#""tags":["a",true]"#,
                "tags, item 2: true, expected a text",
            ),
            (
                r#""metadata":[]"#,
                "metadata: an array, expected an object of texts",
            ),
            (
                r#""metadata":{"a":"1","b":2}"#,
                "metadata, \"b\": the number 2, expected a text",
            ),
            (
                r#""event_id":7"#,
                "event_id: the number 7, expected a UUID in a text",
            ),
        ] {
            assert_fault(with(field), expected);
        }
    }

    #[test]
    fn what_is_no_object_is_said() {
        assert_fault("17", "the number 17, expected a JSON object");
        assert_fault("not json", "no JSON (not json), expected a JSON object");
        let long = "é".repeat(50);
        assert_fault(&long, &format!("no JSON ({}...), expected", "é".repeat(40)));
    }

    #[test]
    fn broken_json_is_said_with_its_column() {
        assert_fault(
            r#"{"topic":"T","payload":{"a":}}"#,
            "no valid JSON: expected value (column 29); expected one object",
        );
        assert_fault(
            "{",
            "no valid JSON: the line ends within an object (column 1)",
        );
        assert_fault(
            r#"{"topic":"T","payload":1} x"#,
            "no valid JSON: trailing characters (column 27)",
        );
    }

    #[test]
    fn other_encodings_are_told_apart() {
        assert_fault(
            b"\xef\xbb\xbf{\"topic\":\"T\",\"payload\":1}",
            "starts with a byte order mark",
        );
        assert_fault(b"\xff\xfe{\0", "byte 0xff in column 1 is no UTF-8");
        assert_fault(
            b"{\"topic\":\"\xff\",\"payload\":1}",
            "byte 0xff in column 11",
        );
        assert_fault(
            b"{\"topic\":\"T\",\"payload\":\"\xff\"}",
            "byte 0xff in column 25",
        );
    }
}
