//! Goal: each rule of "What is valid" in FORMAT.md that stands behind a checksum refuses what it should.
//!
//! Method: one field put out of its range, and all checksums made to fit again.

use super::samples::*;
use super::second_reading::*;
use crate::format::frame::{FLAG_SKIPPABLE, FRAME_HEADER_LEN, FrameHeader, FrameKind, Preamble};
use crate::format::manifest::{MANIFEST_LEN_MAX, Manifest};
use crate::format::record::{RECORD_LEN_MIN, Record};
use crate::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::*;

#[test]
fn records_in_another_order_or_of_another_time_are_refused() {
    let events = [full_event(), full_event()];
    let preamble = Preamble::default();
    let good = encode_frame(FrameKind::Batch, &preamble, &events, sample_fields(2), SALT);
    assert_eq!(check_frame(&good, SALT), Ok(()));
    for trailer in [48 + 84, 48 + 104 + 84] {
        let mut bytes = good.clone();
        put(&mut bytes, trailer, (TIME_US + 1).to_le_bytes());
        reseal(&mut bytes, SALT);
        let error = check_frame(&bytes, SALT).expect_err("checksums fit, the time does not");
        assert!(matches!(error, FormatError::Field { .. }), "{error}");
    }
    let mut bytes = good.clone();
    bytes[48..].rotate_left(104);
    let error = check_frame(&bytes, SALT).expect_err("another order");
    assert!(matches!(error, FormatError::Checksum { .. }), "{error}");
}

#[test]
fn the_event_count_is_the_number_of_records() {
    for count in [0_u32, 2, u32::MAX] {
        let mut bytes = full_frame();
        put(&mut bytes, 12, count.to_le_bytes());
        reseal(&mut bytes, SALT);
        assert!(
            matches!(check_frame(&bytes, SALT), Err(FormatError::Field { .. })),
            "{count}"
        );
    }
}

#[test]
fn only_a_batch_has_records() {
    for kind in 2..=4 {
        let mut bytes = full_frame();
        bytes[8] = kind;
        reseal(&mut bytes, SALT);
        let error = FrameHeader::decode(&bytes, SALT).unwrap_err();
        assert!(
            matches!(
                error,
                FormatError::Field {
                    field: "event count",
                    ..
                }
            ),
            "{kind}: {error}"
        );
    }
}

#[test]
fn an_aggregate_id_that_does_not_fit_its_kind_is_refused() {
    for (kind, fits) in [
        (0, vec![0]),
        (1, vec![16]),
        (2, (1..=255).collect()),
        (3, vec![]),
    ] {
        for id_len in 0..=u8::MAX {
            let mut record = vec![0; RECORD_LEN_MIN + 256];
            let len = record.len() as u32;
            put(&mut record, 4, len.to_le_bytes());
            put(&mut record, 8, [kind, id_len]);
            assert_eq!(
                Record::parse(&record).is_ok(),
                fits.contains(&id_len),
                "{kind} {id_len}"
            );
        }
    }
}

/// Two records at the last position there is: the second has none, and the sum must not overflow.
#[test]
fn more_records_than_positions_are_refused() {
    let events = [full_event(), full_event()];
    let mut preamble = Preamble::default();
    preamble.advance_tracking("src", 7);
    let mut bytes = encode_frame(FrameKind::Batch, &preamble, &events, sample_fields(2), SALT);
    put(&mut bytes, 16, u64::MAX.to_le_bytes());
    put(&mut bytes, 12, 0_u32.to_le_bytes());
    reseal(&mut bytes, SALT);
    assert!(matches!(
        check_frame(&bytes, SALT),
        Err(FormatError::Field { .. })
    ));
}

#[test]
fn durable_upto_is_below_the_base_position() {
    for (durable_upto, is_valid) in [
        (0, true),
        (41, true),
        (42_u64, false),
        (43, false),
        (u64::MAX, false),
    ] {
        let mut bytes = full_frame();
        put(&mut bytes, 24, durable_upto.to_le_bytes());
        reseal(&mut bytes, SALT);
        match FrameHeader::decode(&bytes, SALT) {
            Ok(header) => assert_eq!((header.durable_upto, true), (durable_upto, is_valid)),
            Err(error) => {
                assert!(!is_valid, "{durable_upto}: {error}");
                assert_field(error, "durable upto");
            }
        }
    }
}

#[test]
fn a_batch_without_events_has_a_preamble() {
    let mut tracking = Preamble::default();
    tracking.advance_tracking("src", 7);
    for (preamble, is_valid) in [(Preamble::default(), false), (tracking, true)] {
        // Written as a dictionary, since no batch of nothing can be written.
        let mut bytes = encode_frame(
            FrameKind::Dictionary,
            &preamble,
            &[],
            sample_fields(0),
            SALT,
        );
        assert_eq!(check_frame(&bytes, SALT), Ok(()));
        bytes[8] = FrameKind::Batch as u8;
        reseal(&mut bytes, SALT);
        match check_frame(&bytes, SALT) {
            Ok(()) => assert!(is_valid),
            Err(error) => {
                assert!(!is_valid, "{error}");
                assert_field(error, "event count");
            }
        }
    }
}

#[test]
fn a_frame_of_unknown_kind_has_everything_in_its_preamble() {
    // The record of a batch; a few zeros; other bytes: behind the preamble nothing is covered.
    let mut with_record = full_frame();
    put(&mut with_record, 12, 0_u32.to_le_bytes());
    let mut with_zeros = unknown_frame();
    with_zeros.extend_from_slice(&[0; 8]);
    let mut with_bytes = unknown_frame();
    with_bytes.extend_from_slice(&[9; 16]);
    for mut bytes in [with_record, with_zeros, with_bytes] {
        let length = bytes.len() as u32;
        put(&mut bytes, 4, length.to_le_bytes());
        put(&mut bytes, 8, [77, FLAG_SKIPPABLE]);
        reseal(&mut bytes, SALT);
        assert_field(
            FrameHeader::decode(&bytes, SALT).unwrap_err(),
            "preamble length",
        );
    }
}

#[test]
fn padding_of_a_frame_of_unknown_kind_that_is_not_zero_is_refused() {
    let mut preamble = Preamble::default();
    preamble.define_topic(0, "t");
    let mut good = encode_frame(
        FrameKind::Dictionary,
        &preamble,
        &[],
        sample_fields(0),
        SALT,
    );
    put(&mut good, 8, [77, FLAG_SKIPPABLE]);
    reseal(&mut good, SALT);
    assert_eq!(check_frame(&good, SALT), Ok(()));
    for offset in FRAME_HEADER_LEN + preamble.len()..good.len() {
        let mut bytes = good.clone();
        bytes[offset] = 1;
        assert_field(check_frame(&bytes, SALT).unwrap_err(), "padding");
    }
}

#[test]
fn reserved_bytes_that_are_not_zero_are_refused_once_the_checksum_fits() {
    type Read = fn(&[u8]) -> Result<(), FormatError>;
    type Reseal = fn(&mut [u8]);
    let frame: (Read, Reseal) = (
        |bytes| check_frame(bytes, SALT),
        |bytes| reseal(bytes, SALT),
    );
    let structures: [(Vec<u8>, _, (Read, Reseal)); 5] = [
        (
            sample_segment_header().encode(),
            11..16,
            (
                |bytes| SegmentHeader::decode(bytes).map(drop),
                reseal_segment_header,
            ),
        ),
        (
            quarantined_manifest().encode(),
            // Of the first damaged place, behind two segments.
            80 + 2 * 56 + 44..80 + 2 * 56 + 48,
            (|bytes| Manifest::decode(bytes).map(drop), reseal_manifest),
        ),
        (full_frame(), 10..12, frame),
        (unknown_frame(), 10..12, frame),
        // The encoding section of the record at 80, behind the id.
        (full_frame(), 80 + 28 + 4 + 1..80 + 28 + 4 + 4, frame),
    ];
    for (good, reserved, (read, reseal)) in structures {
        assert_eq!(read(&good), Ok(()));
        for bit in reserved.start * 8..reserved.end * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] |= 1 << (bit % 8);
            let error = read(&bytes).unwrap_err();
            assert!(
                matches!(error, FormatError::Checksum { .. }),
                "damage comes first: {error}"
            );
            reseal(&mut bytes);
            assert_field(read(&bytes).unwrap_err(), "reserved");
        }
    }
}

#[test]
fn padding_that_is_not_zero_is_refused() {
    let mut preamble = Preamble::default();
    preamble.define_topic(0, "t");
    let good = encode_frame(
        FrameKind::Batch,
        &preamble,
        &[full_event()],
        sample_fields(1),
        SALT,
    );
    let preamble_end = FRAME_HEADER_LEN + preamble.len();
    let padding = (preamble_end..align_up(preamble_end)).chain(good.len() - 27..good.len() - 20);
    for offset in padding {
        let mut bytes = good.clone();
        assert_eq!(bytes[offset], 0);
        bytes[offset] = 1;
        // The padding of a record is under its checksum, that of a preamble is not.
        reseal(&mut bytes, SALT);
        assert_field(check_frame(&bytes, SALT).unwrap_err(), "padding");
    }
}

#[test]
fn a_manifest_with_a_gap_is_refused() {
    let gaps: [fn(&mut Manifest); 5] = [
        |manifest| manifest.segments[1].number = 3,
        |manifest| manifest.segments[1].base_position = 12,
        |manifest| manifest.segments[0].event_count = u64::MAX,
        |manifest| manifest.segments[0].number = 0,
        |manifest| manifest.segments.swap(0, 1),
    ];
    for gap in gaps {
        let mut manifest = sample_manifest();
        gap(&mut manifest);
        assert!(matches!(
            Manifest::decode(&manifest.encode()),
            Err(FormatError::Field { .. })
        ));
    }
}

#[test]
fn a_manifest_field_out_of_its_range_is_refused() {
    type Spoil = fn(&mut Manifest);
    let cases: [(&str, Spoil); 13] = [
        ("first retained position", |manifest| {
            manifest.first_retained_position = 2;
        }),
        ("first retained position", |manifest| {
            manifest.segments.clear();
            manifest.first_retained_position = POSITION_MAX + 1;
        }),
        ("follower", |manifest| {
            let names = (0..=FOLLOWER_COUNT_MAX).map(|number| format!("{number}"));
            manifest.followers = names.map(|name| (name.into(), 1)).collect();
        }),
        ("first retained position", |manifest| {
            manifest.first_retained_position = 0;
        }),
        ("base position", |manifest| {
            manifest.segments[0].base_position = 0;
            manifest.segments[0].event_count = 11;
        }),
        ("end", |manifest| manifest.segments[0].end = 0),
        ("end", |manifest| manifest.segments[1].end = 4088),
        ("end", |manifest| manifest.segments[1].end = 4100),
        ("end", |manifest| {
            manifest.segments[1].end = SEGMENT_LEN_MAX + 8;
        }),
        ("end", |manifest| manifest.segments[0].end = u64::MAX),
        ("heads", |manifest| manifest.heads = 3),
        ("heads", |manifest| manifest.heads = u64::MAX),
        ("heads", |manifest| manifest.segments.clear()),
    ];
    for (field, spoil) in cases {
        let mut manifest = sample_manifest();
        spoil(&mut manifest);
        assert_field(Manifest::decode(&manifest.encode()).unwrap_err(), field);
    }
}

#[test]
fn manifest_fields_at_their_bounds_read_back() {
    let cases: [fn(&mut Manifest); 6] = [
        |manifest| manifest.segments[0].end = SEGMENT_HEADER_LEN as u64,
        |manifest| manifest.segments[0].end = SEGMENT_LEN_MAX,
        |manifest| {
            manifest.heads = 0;
            manifest.segments.clear();
            manifest.first_retained_position = POSITION_MAX;
        },
        |manifest| manifest.heads = 2,
        |manifest| manifest.heads = 0,
        |manifest| {
            manifest.heads = 0;
            manifest.segments.clear();
        },
    ];
    for change in cases {
        let mut manifest = sample_manifest();
        change(&mut manifest);
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

#[test]
fn the_length_of_a_manifest_is_in_its_range_before_it_is_used() {
    let mut bytes = sample_manifest().encode();
    for length in [0, 79, MANIFEST_LEN_MAX as u32 + 1, u32::MAX] {
        put(&mut bytes, 12, length.to_le_bytes());
        assert_field(Manifest::decode(&bytes).unwrap_err(), "length");
    }
    for length in [193, MANIFEST_LEN_MAX as u32] {
        put(&mut bytes, 12, length.to_le_bytes());
        let error = Manifest::decode(&bytes).unwrap_err();
        assert!(matches!(error, FormatError::TooShort { .. }), "{error}");
    }
}

#[test]
fn the_length_of_a_manifest_is_that_of_its_entries() {
    for (length, segment_count) in [
        (192_u32, 1_u32),
        (192, 3),
        (192, u32::MAX),
        (191, 2),
        (193, 2),
        (192, SEGMENT_COUNT_JUST_TOO_MANY),
        (136, 2),
        (80, 2),
    ] {
        let mut bytes = sample_manifest().encode();
        bytes.resize(300, 0);
        put(&mut bytes, 12, length.to_le_bytes());
        put(&mut bytes, 72, segment_count.to_le_bytes());
        reseal_manifest(&mut bytes);
        assert_field(Manifest::decode(&bytes).unwrap_err(), "segment count");
    }
}

#[test]
fn a_damaged_place_that_is_none_of_the_log_is_refused() {
    let good = quarantined_manifest();
    assert_eq!(Manifest::decode(&good.encode()), Ok(good.clone()));
    type Spoil = fn(&mut Manifest);
    let spoils: [(&str, Spoil); 9] = [
        ("damaged place", |manifest| manifest.quarantined.swap(0, 2)),
        ("damaged place", |manifest| {
            manifest.quarantined[2].first = 2
        }),
        ("damaged place", |manifest| {
            manifest.quarantined[2].next = 12
        }),
        ("damaged place", |manifest| {
            manifest.quarantined[0].segment = 2
        }),
        ("damaged place", |manifest| {
            manifest.quarantined[3].segment = 3
        }),
        ("positions", |manifest| manifest.quarantined[0].next = 1),
        ("positions", |manifest| manifest.quarantined[0].first = 0),
        ("offset or length", |manifest| {
            manifest.quarantined[0].length = SEGMENT_LEN_MAX + 1;
        }),
        ("damaged place", |manifest| manifest.segments.clear()),
    ];
    for (field, spoil) in spoils {
        let mut manifest = good.clone();
        spoil(&mut manifest);
        manifest.heads = 0;
        let error = Manifest::decode(&manifest.encode()).expect_err("no damaged place");
        assert_field(error, field);
    }
    // A count that its flag or the length does not go with.
    for (offset, byte) in [(10, 3), (10, 5), (11, 0x20), (16, 2)] {
        let mut bytes = good.encode();
        bytes[offset] = byte;
        reseal_manifest(&mut bytes);
        assert!(Manifest::decode(&bytes).is_err(), "{byte} at {offset}");
    }
}

#[test]
fn a_follower_that_is_no_whole_name_in_its_order_is_refused() {
    let good = truncated_manifest().encode();
    let followers = good.len() - 28;
    let spoils: [fn(&mut [u8]); 6] = [
        |bytes| bytes[8] = 0,
        |bytes| bytes[8] = 3,
        |bytes| bytes[8] = 255,
        |bytes| bytes[9] = 0xff,
        |bytes| bytes[9] = b'z',
        |bytes| bytes[9 + 4 + 8] = 7,
    ];
    for (place, spoil) in spoils.iter().enumerate() {
        let mut bytes = good.clone();
        spoil(&mut bytes[followers..]);
        reseal_manifest(&mut bytes);
        let error = Manifest::decode(&bytes).expect_err("no legal follower");
        assert!(
            matches!(
                error,
                FormatError::Field {
                    field: "follower",
                    ..
                }
            ),
            "{place}: {error}"
        );
    }
}

#[test]
fn the_features_of_a_manifest_are_those_of_what_it_holds() {
    for (manifest, flags) in [(sample_manifest(), 0_u32), (truncated_manifest(), 1)] {
        for flags in (0..4).filter(|other| *other != flags && *other != 3) {
            let mut bytes = manifest.encode();
            put(&mut bytes, 16, flags.to_le_bytes());
            reseal_manifest(&mut bytes);
            assert!(Manifest::decode(&bytes).is_err(), "{flags}");
        }
    }
}

#[test]
fn a_shorter_manifest_over_a_longer_one_reads_back() {
    let longer = sample_manifest().encode();
    let mut shorter = sample_manifest();
    shorter.segments.pop();
    let mut file = shorter.encode();
    file.extend_from_slice(&longer[file.len()..]);
    assert_eq!(Manifest::decode(&file), Ok(shorter));
}

#[test]
fn lengths_past_the_limits_are_refused_before_anything_is_allocated() {
    let mut record = full_event().encode(42, TIME_US, SALT);
    for length in [0_u32, 47, FRAME_LEN_MAX as u32 + 1, u32::MAX] {
        put(&mut record, 4, length.to_le_bytes());
        assert!(matches!(
            Record::parse(&record),
            Err(FormatError::Field {
                field: "length",
                ..
            })
        ));
    }
    for length in [0_u32, 40, 47, 49, FRAME_LEN_MAX as u32 + 8, u32::MAX] {
        let mut frame = full_frame();
        put(&mut frame, 4, length.to_le_bytes());
        reseal_header(&mut frame, SALT);
        assert!(matches!(
            FrameHeader::decode(&frame, SALT),
            Err(FormatError::Field {
                field: "length",
                ..
            })
        ));
    }
    let mut manifest = sample_manifest().encode();
    put(&mut manifest, 72, SEGMENT_COUNT_JUST_TOO_MANY.to_le_bytes());
    reseal_manifest(&mut manifest);
    assert_field(Manifest::decode(&manifest).unwrap_err(), "segment count");
}

fn assert_field(error: FormatError, expected: &str) {
    match error {
        FormatError::Field { field, .. } => assert_eq!(field, expected),
        other => panic!("{other}, expected a refusal of {expected}"),
    }
}
