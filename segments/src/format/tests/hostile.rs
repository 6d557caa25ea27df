//! Goal: no reader panics, whatever it is given.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::*;
use super::second_reading::*;
use crate::format::frame::{FRAME_HEADER_LEN, Frame, FrameFields, FrameKind};
use crate::format::manifest::{MANIFEST_ENTRY_LEN, MANIFEST_HEADER_LEN, Manifest};
use crate::format::record::{RECORD_LEN_MIN, Record, record_len, walk_records};
use crate::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::watermark::Watermark;
use crate::format::*;

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..600), salt: u64) {
        read_everything(&bytes, salt);
    }

    #[test]
    fn random_bytes_behind_a_magic_never_panic(
        magic in 0..3_usize,
        mut bytes in vec(any::<u8>(), 8..600),
        version in 0..3_u16,
        segment_count in prop_oneof![0..4_u32, Just(SEGMENT_COUNT_JUST_TOO_MANY), any::<u32>()],
        length in proptest::option::of(length_near(400)),
    ) {
        put(&mut bytes, 0, [segment_header::MAGIC, manifest::MAGIC, watermark::MAGIC][magic]);
        bytes.resize(SEGMENT_HEADER_LEN, 0);
        put(&mut bytes, 8, version.to_le_bytes());
        match magic {
            0 => reseal_segment_header(&mut bytes),
            1 => {
                let fitting = segment_count.wrapping_mul(56).wrapping_add(80);
                put(&mut bytes, 12, length.unwrap_or(fitting).to_le_bytes());
                put(&mut bytes, 72, segment_count.to_le_bytes());
                reseal_manifest(&mut bytes);
            }
            _ => {
                let crc = naive_crc(&[&bytes[..56]]);
                put(&mut bytes, 56, crc.to_le_bytes());
            }
        }
        read_everything(&bytes, 0);
    }

    #[test]
    fn records_with_hostile_lengths_never_panic(
        mut bytes in vec(any::<u8>(), RECORD_LEN_MIN..400),
        length in length_near(400),
        flags in 0..16_u8,
        id_len in prop_oneof![Just(0), Just(16), any::<u8>()],
        counts in prop_oneof![Just([0, 0]), Just([1, 0]), Just([0, 1]), Just([255, 255]), any::<[u8; 2]>()],
    ) {
        put(&mut bytes, 8, length.to_le_bytes());
        put(&mut bytes, 12, [flags, id_len, counts[0], counts[1]]);
        read_record(&bytes);
        let len = bytes.len() as u32;
        put(&mut bytes, 8, len.to_le_bytes());
        read_record(&bytes);
    }

    /// The checksums are made to fit again, so that only the checks of the fields stand between the
    /// bytes and the reader.
    #[test]
    fn frames_with_hostile_fields_and_fitting_checksums_never_panic(
        events in vec(event(), 0..4),
        preamble in vec(preamble_entry(), 0..3),
        base_position in prop_oneof![1..100_u64, crate::format::POSITION_MAX - 3..=crate::format::POSITION_MAX],
        spots in vec((0..1000_usize, prop_oneof![Just(0), Just(1), Just(0x7f), Just(0xff), any::<u8>()]), 1..5),
        length in proptest::option::of((0..1000_usize, length_near(600))),
    ) {
        let fields = FrameFields { event_count: 0, base_position, durable_upto: 0, time_us: TIME_US };
        // Written as a close frame, of which the writer asserts nothing about events, then made a batch.
        let mut bytes = encode_frame(FrameKind::Close, &encode_preamble(&preamble), &events, fields, SALT);
        let len = bytes.len();
        bytes[8] = FrameKind::Batch as u8;
        put(&mut bytes, 12, (events.len() as u32).to_le_bytes());
        for (spot, value) in spots {
            // Half of the spots lie in the frame header, where most lengths are.
            let spot = if spot % 2 == 0 { spot % FRAME_HEADER_LEN } else { spot % len };
            bytes[spot] = value;
        }
        if let Some((spot, length)) = length {
            put(&mut bytes, spot % (len / 4) * 4, length.to_le_bytes());
        }
        reseal(&mut bytes, SALT);
        read_everything(&bytes, SALT);
        // A whole frame and zeros behind, as in a prepared segment.
        bytes.resize(len + 200, 0);
        read_everything(&bytes, SALT);
    }

    #[test]
    fn manifests_with_hostile_fields_and_fitting_checksums_never_panic(
        spots in vec((0..MANIFEST_HEADER_LEN + 2 * MANIFEST_ENTRY_LEN, any::<u8>()), 1..6),
    ) {
        let mut bytes = sample_manifest().encode();
        for (spot, value) in spots {
            bytes[spot] = value;
        }
        reseal_manifest(&mut bytes);
        read_everything(&bytes, SALT);
    }
}

/// Lengths around `len`, around the limits, and any.
fn length_near(len: u32) -> impl Strategy<Value = u32> {
    prop_oneof![
        0..len * 2,
        Just(FRAME_LEN_MAX as u32),
        Just(u32::MAX),
        any::<u32>()
    ]
}

/// Calls every reader there is and, where it accepts the bytes, everything it then offers.
fn read_everything(bytes: &[u8], salt: u64) {
    let _ = SegmentHeader::decode(bytes);
    let _ = Manifest::decode(bytes);
    let _ = Watermark::decode_newest(bytes);
    read_record(bytes);
    for (_, record) in walk_records(bytes) {
        if let Ok(record) = record {
            read_record(record.as_bytes());
        }
    }
    if let Ok(frame) = Frame::parse(bytes, salt) {
        let verified = frame.verify().is_ok();
        let _ = frame.header.next_position();
        let entries = frame
            .preamble()
            .map_or(0, |entries| entries.filter(Result::is_ok).count());
        assert!(entries <= bytes.len() / 4);
        for (_, record) in frame.records() {
            assert!(record.is_ok() || !verified);
            if let Ok(record) = record {
                read_record(record.as_bytes());
            }
        }
    }
    for next_position in [None, Some(1)] {
        let scanned = crate::scan_frames(bytes, 0, salt, next_position, |_, frame| {
            frame.verify().expect("only whole frames are shown");
        });
        assert!(scanned.end <= bytes.len());
    }
    let _ = crate::find_later_frame(bytes, 0, salt);
    let _ = crate::last_written_byte(bytes, 0);
}

fn read_record(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let _ = (
        record.place(),
        record.id_kind(),
        record.event_id(),
        record.verify(1, 3),
    );
    let fixed =
        record.id().len() + record.encoding().map_or(0, |_| 12) + record.digest().map_or(0, |_| 8);
    let tags: usize = record.tags().map(|tag| 1 + tag.len()).sum();
    let metadata: usize = record
        .metadata()
        .map(|(key, value)| 3 + key.len() + value.len())
        .sum();
    let len = RECORD_LEN_MIN + fixed + tags + metadata + record.payload().len();
    assert_eq!(len, record_len(record.as_bytes()));
    let whole = align_up(len);
    assert_eq!(whole, record.as_bytes().len(), "the parts are the whole");
}
