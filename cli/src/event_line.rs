//! An event as one line of JSON.
//!
//! - The fields are always the same and in the same order.
//! - A payload that is JSON is written as it was stored, byte for byte: numbers keep their digits, strings
//!   their escapes, objects their order and doubles. Only line breaks are left out, which in valid JSON stand
//!   nowhere but between tokens.
//! - Anything else is base64, under another name, so that no reader mistakes one for the other.

use std::io::{self, Write};

use annals_engine::Event;
use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::value::RawValue;

/// Writes the object, without a line end.
pub(crate) fn write_event(out: &mut impl Write, event: &Event<'_>) -> io::Result<()> {
    write!(out, "{{\"position\":{},\"aggregate_id\":", event.position())?;
    match event.aggregate_id() {
        Some(id) => write_text(out, &id.to_string())?,
        None => out.write_all(b"null")?,
    }
    match event.version() {
        Some(version) => write!(out, ",\"version\":{version},\"topic\":")?,
        None => out.write_all(b",\"version\":null,\"topic\":")?,
    }
    write_text(out, event.topic())?;
    write!(out, ",\"event_id\":\"{}\",\"time\":", event.event_id())?;
    write_time(out, event.time_us())?;
    out.write_all(b",\"tags\":")?;
    write_tags(out, event.tags())?;
    out.write_all(b",\"metadata\":")?;
    write_metadata(out, event.metadata())?;
    // What was compressed or encrypted is no JSON, even when its bytes happen to spell some.
    write_payload(out, event.payload(), event.encoding().is_none())?;
    out.write_all(b"}")
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

/// RFC 3339 in UTC with microseconds; null for a time beyond the year 9999.
fn write_time(out: &mut impl Write, time_us: u64) -> io::Result<()> {
    match i64::try_from(time_us)
        .ok()
        .and_then(|us| Timestamp::from_microsecond(us).ok())
    {
        Some(time) => write!(out, "\"{time:.6}\""),
        None => out.write_all(b"null"),
    }
}

fn write_tags<'a>(out: &mut impl Write, tags: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut separator: &[u8] = b"[";
    for tag in tags {
        out.write_all(separator)?;
        match std::str::from_utf8(tag) {
            Ok(text) => write_text(out, text)?,
            Err(_) => write!(out, "{{\"base64\":\"{}\"}}", STANDARD.encode(tag))?,
        }
        separator = b",";
    }
    if separator == b"[" {
        out.write_all(b"[")?;
    }
    out.write_all(b"]")
}

fn write_metadata(
    out: &mut impl Write,
    entries: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> io::Result<()> {
    let mut separator: &[u8] = b"{";
    for (key, value) in entries {
        out.write_all(separator)?;
        write_text(out, key.as_ref())?;
        out.write_all(b":")?;
        write_text(out, value.as_ref())?;
        separator = b",";
    }
    if separator == b"{" {
        out.write_all(b"{")?;
    }
    out.write_all(b"}")
}

/// The last field, with the comma before it. `plain`: the payload is as its writer gave it.
fn write_payload(out: &mut impl Write, payload: &[u8], plain: bool) -> io::Result<()> {
    // A raw value checks the grammar without building anything, and without a limit of depth.
    if plain && serde_json::from_slice::<&RawValue>(payload).is_ok() {
        out.write_all(b",\"payload\":")?;
        // Valid JSON has no bare line break inside a string, so none of these is content.
        for piece in payload.split(|byte| matches!(byte, b'\n' | b'\r')) {
            out.write_all(piece)?;
        }
        Ok(())
    } else {
        write!(
            out,
            ",\"payload_base64\":\"{}\"",
            Base64Display::new(payload, &STANDARD)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_payload(&mut out, bytes, true).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_keeps_every_byte() {
        for text in [
            r#"{"b":1.0,"a":1e400,"a":-0,"s":"\u00e9\ud800 é \\n"}"#,
            "[1 , 2\t]",
            "null",
            "\"\"",
            "12345678901234567890123.10",
        ] {
            assert_eq!(payload(text.as_bytes()), format!(",\"payload\":{text}"));
        }
    }

    #[test]
    fn line_breaks_between_tokens_are_left_out() {
        assert_eq!(
            payload(b"{\r\n  \"a\" : \"x\\n\"\n}\n"),
            r#","payload":{  "a" : "x\n"}"#
        );
    }

    #[test]
    fn deep_json_is_still_json() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(
            payload(deep.as_bytes()).len(),
            ",\"payload\":".len() + deep.len()
        );
    }

    #[test]
    fn what_is_no_json_is_base64() {
        for bytes in [
            &b""[..],
            b"hello",
            b"{\"a\":1",
            b"1 2",
            b"\"\xff\"",
            b"\"a\nb\"",
            b"{}\0",
            b"\n",
        ] {
            let expected = format!(",\"payload_base64\":\"{}\"", STANDARD.encode(bytes));
            assert_eq!(payload(bytes), expected);
        }
    }

    #[test]
    fn an_encoded_payload_is_base64_even_when_it_spells_json() {
        let mut out = Vec::new();
        write_payload(&mut out, b"17", false).unwrap();
        assert_eq!(out, b",\"payload_base64\":\"MTc=\"");
    }

    #[test]
    fn tags_that_are_no_text_say_so() {
        let mut out = Vec::new();
        write_tags(&mut out, [&b"a\"b"[..], b"\xff\x00"].into_iter()).unwrap();
        assert_eq!(out, br#"["a\"b",{"base64":"/wA="}]"#);
        out.clear();
        write_tags(&mut out, std::iter::empty()).unwrap();
        assert_eq!(out, b"[]");
    }

    #[test]
    fn metadata_is_an_object_of_texts() {
        let mut out = Vec::new();
        write_metadata(&mut out, [("k", "v"), ("\n", "")].into_iter()).unwrap();
        assert_eq!(out, br#"{"k":"v","\n":""}"#);
        out.clear();
        write_metadata(&mut out, std::iter::empty::<(&str, &str)>()).unwrap();
        assert_eq!(out, b"{}");
    }

    #[test]
    fn time_has_microseconds_always() {
        let mut out = Vec::new();
        write_time(&mut out, 1_700_000_000_000_000).unwrap();
        assert_eq!(out, b"\"2023-11-14T22:13:20.000000Z\"");
        out.clear();
        write_time(&mut out, u64::MAX).unwrap();
        assert_eq!(out, b"null");
    }
}
