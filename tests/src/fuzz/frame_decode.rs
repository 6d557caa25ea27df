//! Frames and records out of any bytes: nothing panics, and what verifies is what would be written.

use std::hint::black_box;

use annals_segments::format::frame::Frame;
use annals_segments::format::record::{
    Record, RecordBody, body_crc, metadata_len, place_record, walk_records,
};
use annals_segments::format::{METADATA_KEY_LEN_MAX, METADATA_LEN_MAX, TAG_COUNT_MAX, TAG_LEN_MAX};
use annals_segments::{find_later_frame, last_written_byte, scan_frames};

use super::hostile::FrameSequence;
use super::input::Input;

/// One byte of choice; then 8 bytes of salt and bytes as they are, or a description of frames.
pub fn frame_decode(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.u8().is_multiple_of(2) {
        let salt = input.u64();
        decode(input.rest(), salt);
    } else {
        let mut frames = FrameSequence::new(input.u64());
        let mut out = Vec::new();
        while !input.is_empty() && out.len() < 1 << 16 {
            frames.push(&mut input, &mut out);
        }
        decode(&out, frames.salt);
    }
}

fn decode(bytes: &[u8], salt: u64) {
    let scan = scan_frames(bytes, 0, salt, None, |offset, frame| {
        assert_eq!(frame.verify(), Ok(()), "shown at {offset} and not whole");
        read_frame(&frame, salt, true);
    });
    assert!(scan.end <= bytes.len(), "{} of {}", scan.end, bytes.len());
    black_box(last_written_byte(bytes, scan.end));
    let mut from = 0;
    while let Some(later) = find_later_frame(bytes, from, salt) {
        assert!(
            later.offset >= from,
            "found {} from {from} on",
            later.offset
        );
        if let Ok(frame) = Frame::parse(&bytes[later.offset..], salt) {
            assert_eq!(frame.verify().is_ok(), later.is_whole);
            read_frame(&frame, salt, later.is_whole);
        }
        from = later.offset + 8;
    }
    for (_, record) in walk_records(bytes) {
        if let Ok(record) = record {
            read_record(&record);
        }
    }
    if let Ok(record) = Record::parse(bytes) {
        read_record(&record);
        black_box(record.verify(1, salt).is_ok());
    }
}

fn read_frame(frame: &Frame<'_>, salt: u64, is_whole: bool) {
    if let Ok(entries) = frame.preamble() {
        black_box(entries.count());
    }
    let header = frame.header;
    for ((_, record), ordinal) in frame.records().zip(0_u64..) {
        let Ok(record) = record else {
            assert!(!is_whole, "a whole frame with a broken record");
            return;
        };
        read_record(&record);
        if is_whole {
            let position = header.base_position + ordinal;
            assert_eq!(record.verify(position, salt), Ok(()));
            check_rewritten(&record, position, salt);
        }
    }
}

fn read_record(record: &Record<'_>) {
    let tags: usize = record.tags().map(<[u8]>::len).sum();
    let metadata: usize = record
        .metadata()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let parts = record.id().len() + tags + metadata + record.payload().len();
    assert!(parts < record.as_bytes().len());
    black_box((record.place(), record.id_kind(), record.event_id()));
    black_box((record.encoding(), record.digest()));
}

/// A verified record within the limits of the writer, written again, has the very same bytes.
fn check_rewritten(record: &Record<'_>, position: u64, salt: u64) {
    let tags: Vec<Vec<u8>> = record.tags().map(<[u8]>::to_vec).collect();
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let metadata: Result<Vec<_>, _> = record
        .metadata()
        .map(|(key, value)| Ok::<_, std::string::FromUtf8Error>((utf8(key)?, utf8(value)?)))
        .collect();
    let Ok(metadata) = metadata else { return };
    let is_writable = tags.len() <= TAG_COUNT_MAX
        && tags
            .iter()
            .all(|tag| (1..=TAG_LEN_MAX).contains(&tag.len()))
        && tags.is_sorted_by(|before, after| before < after)
        && metadata_len(&metadata) <= METADATA_LEN_MAX
        && metadata
            .iter()
            .all(|(key, _)| (1..=METADATA_KEY_LEN_MAX).contains(&key.len()))
        && metadata.is_sorted_by(|before, after| before.0 < after.0);
    if !is_writable {
        return;
    }
    let body = RecordBody {
        id_kind: record.id_kind(),
        id: record.id(),
        event_id: record.event_id(),
        encoding: record.encoding(),
        digest: record.digest(),
        tags: &tags,
        metadata: &metadata,
        payload: record.payload(),
    };
    let mut out = Vec::new();
    body.encode(&mut out);
    let crc = body_crc(&out);
    place_record(&mut out, record.place(), crc, position, salt);
    assert_eq!(out, record.as_bytes());
}

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let described = |rest: &[u8]| [&[1; 9], rest].concat();
    let mut frames = FrameSequence::new(7);
    let mut raw = [&[0][..], &7_u64.to_le_bytes()].concat();
    let mut input = Input::new(&[0; 0]);
    let mut out = Vec::new();
    frames.push(&mut input, &mut out);
    raw.extend_from_slice(&out);
    vec![
        ("raw-honest", raw),
        ("described-zeros", described(&[0; 64])),
        ("described-ones", described(&[1; 200])),
        (
            "described-kinds",
            described(&(0..=255).collect::<Vec<u8>>()),
        ),
        ("described-rare", described(&[239; 160])),
    ]
}
