//! Goal: bytes on disk never change by accident, and no bytes make a reader panic or show what was
//! never written.
//!
//! Method: golden bytes typed by hand, their checksums made by another implementation (Python's
//! `zlib.crc32` over the ranges FORMAT.md names); round trips of random values; every single flipped
//! bit; and hostile bytes, raw as well as with all checksums made to fit again ([`reseal`]), so that
//! the checks behind the checksums are reached. `reseal` and its naive CRC are a second reading of
//! FORMAT.md: they spell the byte offsets of that text and share nothing with the code under test.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::frame::{
    FLAG_SKIPPABLE, FRAME_HEADER_LEN, Frame, FrameFields, FrameHeader, FrameKind, FrameWriter,
    Preamble, PreambleEntry,
};
use super::manifest::{MANIFEST_ENTRY_LEN, MANIFEST_HEADER_LEN, Manifest, SealedSegment};
use super::record::{
    Encoding, IdKind, RECORD_HEADER_LEN, Record, RecordBody, RecordPlace, body_crc, place_record,
    record_len, set_event_id, walk_records,
};
use super::segment_header::{FLAG_RECOVERED, Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use super::watermark::{WATERMARK_FILE_LEN, WATERMARK_LEN, WATERMARK_SLOT_LEN, Watermark};
use super::*;

const SALT: u64 = 0x0123_4567_89ab_cdef;
const TIME_US: u64 = 1_700_000_000_000_000;
const LOG_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const EVENT_ID: [u8; 16] = [
    0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
];
const FORMAT_MD: &str = include_str!("../../FORMAT.md");

// ---- Golden bytes: when one of these fails the format changed. Raise the version, keep the old
// ---- reader, add a fixture; never edit the bytes to fit.

#[test]
fn golden_segment_header() {
    let golden = hex("
        41 4e 4e 41 4c 53 45 47  01 00  01  00 00 00 00 00
        00 00 00 00  01 00 00 00
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        03 00 00 00 00 00 00 00  ef cd ab 89 67 45 23 01
        00 40 1e 18 24 0a 06 00  4b 92 87 3e");
    let block = sample_segment_header().encode();
    assert_eq!(block.len(), 4096);
    assert_eq!(block[..golden.len()], golden);
    assert!(block[golden.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(SegmentHeader::decode(&block), Ok(sample_segment_header()));
}

#[test]
fn golden_frame_with_topic_tracking_and_a_record_with_everything() {
    let golden = hex("
        57 44 24 fe  b8 00 00 00  01 00 00 00  01 00 00 00
        2a 00 00 00 00 00 00 00  29 00 00 00 00 00 00 00
        00 40 1e 18 24 0a 06 00  20 00 00 00  4e 08 97 db

        01 00 0d 00  00 00 00 00  44 6f 67 2e 4e 61 6d 65 64
        02 00 0b 00  07 00 00 00 00 00 00 00  73 72 63

        f9 79 db 23  61 00 00 00  05 00 00 00 00 00 00 00
        00 00 00 00  50 00 00 00  00 00 00 00  0e 04 02 02
        e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 ea eb ec ed ee ef
        66 69 64 6f
        01 00 00 00  02 00 00 00  2c 01 00 00
        88 77 66 55 44 33 22 11
        01 61  02 62 63
        01 01 00 6b 76  04 03 00 75 73 65 72 61 6e 6e
        de ad be ef 99
        00 00 00 00 00 00 00");
    let frame = full_frame();
    assert_eq!(frame, golden);

    let frame = Frame::parse(&frame, SALT).unwrap();
    frame.verify().unwrap();
    assert_eq!(frame.header.kind, Some(FrameKind::Batch));
    assert_eq!(frame.header.next_position(), 43);
    let entries: Vec<_> = frame.preamble().unwrap().map(Result::unwrap).collect();
    let topic = PreambleEntry::Topic {
        number: 0,
        name: "Dog.Named",
    };
    let tracking = PreambleEntry::Tracking {
        name: "src",
        position: 7,
    };
    assert_eq!(entries, [topic, tracking]);
    let (offset, record) = frame.records().next().unwrap();
    assert_eq!(offset, 80);
    assert_event(&record.unwrap(), &full_event());
}

#[test]
fn golden_record_without_aggregate() {
    let golden = hex("
        ff 8c b5 b7  32 00 00 00  00 00 00 00 00 00 00 00
        03 00 00 00  30 00 00 00  00 00 00 00  00 00 00 00
        e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 ea eb ec ed ee ef
        68 69  00 00 00 00 00 00");
    let event = Event {
        topic: 3,
        payload: b"hi".to_vec(),
        ..Event::default()
    };
    let record = event.encode(48, 0, 9, TIME_US, SALT);
    assert_eq!(record, golden);
    let record = Record::parse(&record).unwrap();
    record.verify(9, TIME_US, SALT).unwrap();
    assert_event(&record, &event);
}

#[test]
fn golden_manifest() {
    let golden = hex("
        41 4e 4e 41 4c 4d 41 4e  01 00 00 00 00 00 00 00
        00 00 00 00  00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        06 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00
        0c 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00
        02 00 00 00  61 fd e2 1d

        01 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00
        0a 00 00 00 00 00 00 00  00 20 00 00 00 00 00 00
        ef cd ab 89 67 45 23 01  00 40 1e 18 24 0a 06 00
        09 40 1e 18 24 0a 06 00

        02 00 00 00 00 00 00 00  0b 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00  30 10 00 00 00 00 00 00
        f0 cd ab 89 67 45 23 01  00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00");
    assert_eq!(sample_manifest().encode(), golden);
    assert_eq!(Manifest::decode(&golden), Ok(sample_manifest()));
}

#[test]
fn golden_watermark() {
    let golden = hex("
        41 4e 4e 41 4c 57 4d 4b
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        07 00 00 00 00 00 00 00  2a 00 00 00 00 00 00 00
        03 00 00 00 00 00 00 00  b8 10 00 00 00 00 00 00
        ae e8 91 a7");
    let watermark = sample_watermark();
    assert_eq!(watermark.encode().as_slice(), golden);
    assert_eq!(
        watermark.slot_offset(),
        512,
        "odd generations lie in the second slot"
    );
    assert_eq!(
        Watermark::decode_newest(&watermark_file(&[watermark])),
        Some(watermark)
    );
}

#[test]
fn golden_names_and_numbers() {
    assert_eq!(FORMAT_VERSION, 1);
    assert_eq!(
        [SEGMENT_HEADER_LEN, FRAME_HEADER_LEN, RECORD_HEADER_LEN],
        [4096, 48, 48]
    );
    assert_eq!([MANIFEST_HEADER_LEN, MANIFEST_ENTRY_LEN], [80, 56]);
    assert_eq!(
        [WATERMARK_LEN, WATERMARK_SLOT_LEN, WATERMARK_FILE_LEN],
        [60, 512, 1024]
    );
    let kinds = [
        FrameKind::Batch,
        FrameKind::Dictionary,
        FrameKind::Close,
        FrameKind::Footer,
    ];
    assert_eq!(kinds.map(|kind| kind as u8), [1, 2, 3, 4]);
    assert_eq!(
        [IdKind::Absent, IdKind::Uuid, IdKind::Text].map(|kind| kind as u8),
        [0, 1, 2]
    );
    assert_eq!(
        [Layout::Plain, Layout::Packed].map(|layout| layout as u8),
        [1, 2]
    );
    assert_eq!([FLAG_RECOVERED, u32::from(FLAG_SKIPPABLE)], [1, 128]);
}

// ---- FORMAT.md and the code say the same.

#[test]
fn the_checksum_is_crc_32_iso_hdlc() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    assert_eq!(naive_crc(&[b"123456789"]), 0xcbf4_3926);
}

#[test]
fn every_checksum_covers_exactly_what_format_md_names() {
    let block = sample_segment_header().encode();
    assert_eq!(u32_at(&block, 64), naive_crc(&[&block[..64]]));

    let frame = full_frame();
    let salt = SALT.to_le_bytes();
    assert_eq!(u32_at(&frame, 0), naive_crc(&[&frame[4..48], &salt]));
    assert_eq!(u32_at(&frame, 44), naive_crc(&[&frame[48..48 + 32], &salt]));
    let record = &frame[80..80 + 97];
    let (position, time) = (42_u64.to_le_bytes(), TIME_US.to_le_bytes());
    let covered: [&[u8]; 5] = [&record[28..], &record[4..28], &position, &time, &salt];
    assert_eq!(u32_at(record, 0), naive_crc(&covered));

    let manifest = sample_manifest().encode();
    assert_eq!(
        u32_at(&manifest, 76),
        naive_crc(&[&manifest[..76], &manifest[80..]])
    );
    let watermark = sample_watermark().encode();
    assert_eq!(u32_at(&watermark, 56), naive_crc(&[&watermark[..56]]));
}

#[test]
fn the_worked_example_is_what_the_encoder_writes() {
    let event = Event {
        version: 1,
        id_kind: IdKind::Text,
        id: b"fido".to_vec(),
        tags: vec![b"dog".to_vec()],
        metadata: vec![("user".into(), "ann".into())],
        payload: br#"{"name":"Fido"}"#.to_vec(),
        ..Event::default()
    };
    let mut preamble = Preamble::default();
    preamble.define_topic(0, "Dog.Registered");
    let fields = FrameFields {
        event_count: 1,
        base_position: 1,
        durable_upto: 0,
        time_us: TIME_US,
    };
    let frame = encode_frame(FrameKind::Batch, &preamble, &[event], fields, SALT);

    let section = FORMAT_MD
        .split("## Worked example")
        .nth(1)
        .expect("FORMAT.md has the section");
    let dump = section
        .split("```")
        .nth(1)
        .expect("the section has a fence");
    let mut documented = Vec::new();
    for line in dump.lines().filter(|line| line.contains(';')) {
        let (offset, bytes) = line.split(';').next().unwrap().split_once("  ").unwrap();
        let expected = SEGMENT_HEADER_LEN + documented.len();
        assert_eq!(usize::from_str_radix(offset, 16), Ok(expected), "{line}");
        documented.extend(hex(bytes));
    }
    assert_eq!(documented, frame);
}

#[test]
fn every_limit_in_format_md_is_the_constant() {
    let limits: [(&str, u64); 13] = [
        ("TOPIC_LEN_MAX", TOPIC_LEN_MAX as u64),
        ("AGGREGATE_ID_LEN_MAX", AGGREGATE_ID_LEN_MAX as u64),
        ("TAG_COUNT_MAX", TAG_COUNT_MAX as u64),
        ("TAG_LEN_MAX", TAG_LEN_MAX as u64),
        ("METADATA_COUNT_MAX", METADATA_COUNT_MAX as u64),
        ("METADATA_KEY_LEN_MAX", METADATA_KEY_LEN_MAX as u64),
        ("METADATA_LEN_MAX", METADATA_LEN_MAX as u64),
        ("TRACKING_NAME_LEN_MAX", TRACKING_NAME_LEN_MAX as u64),
        ("FRAME_LEN_MAX", FRAME_LEN_MAX as u64),
        ("SEGMENT_LEN_MIN", SEGMENT_LEN_MIN),
        ("SEGMENT_LEN_MAX", SEGMENT_LEN_MAX),
        ("SEGMENT_COUNT_MAX", manifest::SEGMENT_COUNT_MAX as u64),
        ("MANIFEST_LEN_MAX", manifest::MANIFEST_LEN_MAX),
    ];
    for (name, value) in limits {
        let start = format!("| `{name}` |");
        let row = FORMAT_MD.lines().find(|line| line.starts_with(&start));
        let cell = row
            .unwrap_or_else(|| panic!("{name} has no row"))
            .split('|')
            .nth(2)
            .unwrap();
        assert_eq!(cell.trim().replace(',', "").parse(), Ok(value), "{name}");
    }
}

// ---- Round trips.

proptest! {
    #[test]
    fn every_frame_reads_back_as_it_was_written(
        events in vec(event(), 0..5),
        preamble in vec(preamble_entry(), 0..4),
        base_position in 1..u64::MAX - 5,
        durable_upto: u64,
        time_us: u64,
        salt: u64,
        before in vec(any::<u64>(), 0..3),
    ) {
        let fields = FrameFields { event_count: events.len() as u32, base_position, durable_upto, time_us };
        let entries = encode_preamble(&preamble);
        let bytes = encode_frame(FrameKind::Batch, &entries, &events, fields, salt);

        // A frame behind other frames in one buffer has the same bytes as one alone.
        let mut group: Vec<u8> = before.iter().flat_map(|word| word.to_le_bytes()).collect();
        let start = group.len();
        append_frame(FrameKind::Batch, &entries, &events, fields, salt, &mut group);
        prop_assert_eq!(&group[start..], &bytes[..]);

        let frame = Frame::parse(&bytes, salt).unwrap();
        prop_assert_eq!(frame.verify(), Ok(()));
        prop_assert_eq!(frame.as_bytes(), &bytes[..]);
        prop_assert_eq!(frame.header.length as usize, bytes.len());
        prop_assert_eq!(frame.header.event_count as usize, events.len());
        prop_assert_eq!(frame.header.base_position, base_position);
        prop_assert_eq!(frame.header.durable_upto, durable_upto);
        prop_assert_eq!(frame.header.time_us, time_us);
        let read: Vec<_> = frame.preamble().unwrap().map(|entry| owned(entry.unwrap())).collect();
        prop_assert_eq!(read, preamble);
        let mut records = frame.records();
        for (ordinal, event) in events.iter().enumerate() {
            let (offset, record) = records.next().unwrap();
            let record = record.unwrap();
            prop_assert!(offset.is_multiple_of(ALIGNMENT));
            prop_assert_eq!(record.place().distance as usize, offset);
            prop_assert_eq!(record.place().ordinal as usize, ordinal);
            assert_event(&record, event);
        }
        prop_assert!(records.next().is_none());
    }

    #[test]
    fn every_record_is_verified_alone_and_only_in_its_place(
        event in event(),
        position in 1..u64::MAX,
        time_us: u64,
        salt: u64,
        flip in 0..64_u32,
    ) {
        let bytes = event.encode(4096, 7, position, time_us, salt);
        let record = Record::parse(&bytes).unwrap();
        prop_assert_eq!(record.verify(position, time_us, salt), Ok(()));
        let other = 1 << flip;
        prop_assert!(record.verify(position ^ other, time_us, salt).is_err());
        prop_assert!(record.verify(position, time_us ^ other, salt).is_err());
        prop_assert!(record.verify(position, time_us, salt ^ other).is_err());
    }

    #[test]
    fn every_header_manifest_and_watermark_reads_back(
        log_id: [u8; 16],
        number in 1..=u64::MAX,
        words: [u64; 4],
        compatible: u32,
        counts in vec((0..1_u64 << 40, any::<[u64; 4]>()), 0..6),
    ) {
        let [a, b, c, d] = words;
        let header = SegmentHeader { layout: Layout::Plain, compatible, log_id, number, salt: a, created_us: b };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));

        let watermark = Watermark { log_id, generation: a, position: b, segment: c, end: d };
        prop_assert_eq!(Watermark::decode_newest(&watermark_file(&[watermark])), Some(watermark));

        let mut next_position = 1 + (a >> 8);
        let segments = (1 + (b >> 8)..).zip(counts).map(|(number, (event_count, words))| {
            let [end, salt, first_time_us, last_time_us] = words;
            let base_position = next_position;
            next_position += event_count;
            SealedSegment { number, base_position, event_count, end, salt, first_time_us, last_time_us }
        });
        let manifest = Manifest {
            log_id,
            generation: a,
            first_retained_position: b,
            durable_position: c,
            heads: d,
            segments: segments.collect(),
        };
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

#[test]
fn a_record_at_every_limit_reads_back() {
    let event = Event {
        version: u64::MAX,
        topic: u32::MAX,
        id_kind: IdKind::Text,
        id: vec![b'i'; AGGREGATE_ID_LEN_MAX],
        encoding: Some(Encoding {
            codec: u8::MAX,
            key_id: u32::MAX,
            plain_len: u32::MAX,
        }),
        digest: Some(u64::MAX),
        tags: (0..TAG_COUNT_MAX as u8)
            .map(|tag| vec![tag; TAG_LEN_MAX])
            .collect(),
        metadata: vec![(
            "k".repeat(METADATA_KEY_LEN_MAX),
            "v".repeat(METADATA_LEN_MAX - METADATA_KEY_LEN_MAX - 3),
        )],
        payload: vec![7; 100_000],
        ..Event::default()
    };
    let many: Vec<_> = (0..METADATA_COUNT_MAX)
        .map(|key| (format!("{key:03}"), String::new()))
        .collect();
    let events = [
        event.clone(),
        Event {
            metadata: many,
            ..event
        },
    ];
    let mut preamble = Preamble::default();
    preamble.define_topic(u32::MAX, &"t".repeat(TOPIC_LEN_MAX));
    preamble.advance_tracking(&"n".repeat(TRACKING_NAME_LEN_MAX), u64::MAX);
    let bytes = encode_frame(FrameKind::Batch, &preamble, &events, sample_fields(2), SALT);
    let frame = Frame::parse(&bytes, SALT).unwrap();
    frame.verify().unwrap();
    for ((_, record), event) in frame.records().zip(&events) {
        assert_event(&record.unwrap(), event);
    }
}

#[test]
fn an_event_id_set_after_encoding_is_the_one_that_is_read() {
    let mut bytes = Vec::new();
    full_event().body().encode(&mut bytes);
    set_event_id(&mut bytes, [9; 16]);
    assert_eq!(record_len(&bytes), 97);
    assert_eq!(Record::parse(&bytes).unwrap().event_id(), [9; 16]);
}

#[test]
fn frames_without_events_read_back() {
    for kind in [
        FrameKind::Batch,
        FrameKind::Dictionary,
        FrameKind::Close,
        FrameKind::Footer,
    ] {
        let bytes = encode_frame(kind, &Preamble::default(), &[], sample_fields(0), SALT);
        assert_eq!(bytes.len(), FRAME_HEADER_LEN);
        let frame = Frame::parse(&bytes, SALT).unwrap();
        frame.verify().unwrap();
        assert_eq!(frame.header.kind, Some(kind));
        assert_eq!(frame.header.next_position(), 42);
    }
}

#[test]
fn a_preamble_can_be_emptied_and_used_again() {
    let mut preamble = Preamble::default();
    preamble.define_topic(1, "old");
    assert_eq!((preamble.len(), preamble.is_empty()), (11, false));
    preamble.clear();
    assert!(preamble.is_empty());
}

// ---- Damage.

#[test]
fn every_flipped_bit_of_a_segment_header_is_noticed() {
    let block = sample_segment_header().encode();
    for_every_flipped_bit(&block, |bytes, bit| {
        assert!(SegmentHeader::decode(bytes).is_err(), "bit {bit}");
    });
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed_as_damage() {
    for_every_flipped_bit(&full_frame(), |bytes, bit| {
        let error = check_frame(bytes, SALT).expect_err("damage");
        assert!(
            !error.is_unsupported(),
            "bit {bit} is no later release: {error}"
        );
    });
}

#[test]
fn every_flipped_bit_of_a_manifest_is_noticed() {
    for_every_flipped_bit(&sample_manifest().encode(), |bytes, bit| {
        assert!(Manifest::decode(bytes).is_err(), "bit {bit}");
    });
}

#[test]
fn every_flipped_bit_of_a_watermark_leaves_the_other_slot() {
    let newer = sample_watermark();
    let older = Watermark {
        generation: newer.generation - 1,
        position: 40,
        ..newer
    };
    let slot = newer.slot_offset() as usize;
    for_every_flipped_bit(&watermark_file(&[older, newer]), |bytes, bit| {
        let in_newer = (slot..slot + WATERMARK_LEN).contains(&(bit / 8));
        let expected = if in_newer { older } else { newer };
        assert_eq!(Watermark::decode_newest(bytes), Some(expected), "bit {bit}");
    });
}

#[test]
fn a_watermark_file_of_any_length_shows_a_whole_slot_or_none() {
    let newer = sample_watermark();
    let older = Watermark {
        generation: newer.generation - 1,
        ..newer
    };
    let file = watermark_file(&[older, newer]);
    for len in 0..=file.len() {
        let expected = match len {
            _ if len >= WATERMARK_SLOT_LEN + WATERMARK_LEN => Some(newer),
            _ if len >= WATERMARK_LEN => Some(older),
            _ => None,
        };
        assert_eq!(
            Watermark::decode_newest(&file[..len]),
            expected,
            "{len} bytes"
        );
    }
}

#[test]
fn every_cut_structure_is_refused() {
    let header = sample_segment_header().encode();
    assert!((0..header.len()).all(|len| SegmentHeader::decode(&header[..len]).is_err()));
    let frame = full_frame();
    assert!((0..frame.len()).all(|len| check_frame(&frame[..len], SALT).is_err()));
    let manifest = sample_manifest().encode();
    assert!((0..manifest.len()).all(|len| Manifest::decode(&manifest[..len]).is_err()));
    let record = &frame[80..80 + 97];
    assert!((0..record.len()).all(|len| Record::parse(&record[..len]).is_err()));
}

#[test]
fn zeros_are_unwritten_space() {
    let zeros = vec![0; SEGMENT_HEADER_LEN];
    assert_eq!(SegmentHeader::decode(&zeros), Err(FormatError::Unwritten));
    assert_eq!(
        FrameHeader::decode(&zeros, SALT),
        Err(FormatError::Unwritten)
    );
    assert_eq!(FrameHeader::decode(&zeros, 0), Err(FormatError::Unwritten));
    assert!(Manifest::decode(&zeros).is_err());
    assert_eq!(Watermark::decode_newest(&zeros), None);
    assert!(Record::parse(&zeros).is_err());
}

#[test]
fn a_frame_of_another_segment_never_verifies() {
    let frame = full_frame();
    for bit in 0..64 {
        let other = SALT ^ (1 << bit);
        assert!(matches!(
            Frame::parse(&frame, other),
            Err(FormatError::Checksum { .. })
        ));
        // Nor do its parts, under a header that was made to fit.
        let mut resealed = frame.clone();
        reseal_header(&mut resealed, other);
        assert!(check_frame(&resealed, other).is_err());
        let preamble_crc = naive_crc(&[&resealed[48..80], &other.to_le_bytes()]);
        put(&mut resealed, 44, preamble_crc.to_le_bytes());
        reseal_header(&mut resealed, other);
        assert!(matches!(
            check_frame(&resealed, other),
            Err(FormatError::Checksum {
                structure: "record",
                ..
            })
        ));
    }
}

#[test]
fn a_frame_moved_to_another_position_or_time_never_verifies() {
    for offset in [16, 32] {
        for bit in 0..48 {
            let mut frame = full_frame();
            let field = u64_at(&frame, offset) ^ (1 << bit);
            put(&mut frame, offset, field.to_le_bytes());
            reseal_header(&mut frame, SALT);
            let error = check_frame(&frame, SALT).expect_err("the record is bound to its place");
            assert!(
                matches!(
                    error,
                    FormatError::Checksum { .. } | FormatError::Field { .. }
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn records_in_another_order_or_distance_are_refused() {
    let events = [full_event(), full_event()];
    let preamble = Preamble::default();
    let good = encode_frame(FrameKind::Batch, &preamble, &events, sample_fields(2), SALT);
    assert_eq!(check_frame(&good, SALT), Ok(()));
    for (offset, value) in [(48 + 20, 56_u32), (48 + 24, 1), (48 + 104 + 24, 0)] {
        let mut bytes = good.clone();
        put(&mut bytes, offset, value.to_le_bytes());
        reseal(&mut bytes, SALT);
        let error = check_frame(&bytes, SALT).expect_err("checksums fit, the place does not");
        assert!(matches!(error, FormatError::Field { .. }), "{error}");
    }
}

#[test]
fn the_event_count_is_the_number_of_records() {
    let bytes = encode_frame(
        FrameKind::Batch,
        &Preamble::default(),
        &[full_event()],
        sample_fields(1),
        SALT,
    );
    for count in [0_u32, 2, u32::MAX] {
        let mut bytes = bytes.clone();
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
            let mut record = vec![0; RECORD_HEADER_LEN + 255];
            let len = record.len() as u32;
            put(&mut record, 4, len.to_le_bytes());
            put(&mut record, 28, [kind, id_len]);
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
    let mut bytes = encode_frame(
        FrameKind::Batch,
        &Preamble::default(),
        &events,
        sample_fields(2),
        SALT,
    );
    put(&mut bytes, 16, u64::MAX.to_le_bytes());
    put(&mut bytes, 12, 0_u32.to_le_bytes());
    reseal(&mut bytes, SALT);
    assert!(matches!(
        check_frame(&bytes, SALT),
        Err(FormatError::Field { .. })
    ));
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
    let padding = (preamble_end..align_up(preamble_end)).chain(good.len() - 7..good.len());
    for offset in padding {
        let mut bytes = good.clone();
        assert_eq!(bytes[offset], 0);
        bytes[offset] = 1;
        assert!(matches!(
            check_frame(&bytes, SALT),
            Err(FormatError::Field {
                field: "padding",
                ..
            })
        ));
    }
}

// ---- Versions and features.

#[test]
fn a_later_format_version_is_refused_as_unsupported() {
    for later in [FORMAT_VERSION + 1, u16::MAX] {
        // Whatever else the later version changed, its checksum included.
        let mut block = sample_segment_header().encode();
        put(&mut block, 8, later.to_le_bytes());
        assert!(SegmentHeader::decode(&block).unwrap_err().is_unsupported());
        let mut manifest = sample_manifest().encode();
        put(&mut manifest, 8, later.to_le_bytes());
        assert!(Manifest::decode(&manifest).unwrap_err().is_unsupported());
    }
    let mut block = sample_segment_header().encode();
    put(&mut block, 8, 0_u16.to_le_bytes());
    assert!(
        !SegmentHeader::decode(&block).unwrap_err().is_unsupported(),
        "there never was a version 0"
    );
}

#[test]
fn an_unknown_incompatible_flag_is_refused_as_unsupported() {
    for bit in 0..32 {
        let mut block = sample_segment_header().encode();
        put(&mut block, 16, (1_u32 << bit).to_le_bytes());
        assert!(
            !SegmentHeader::decode(&block).unwrap_err().is_unsupported(),
            "damage comes first"
        );
        reseal_segment_header(&mut block);
        assert!(SegmentHeader::decode(&block).unwrap_err().is_unsupported());
        let mut manifest = sample_manifest().encode();
        put(&mut manifest, 16, (1_u32 << bit).to_le_bytes());
        assert!(
            !Manifest::decode(&manifest).unwrap_err().is_unsupported(),
            "damage comes first"
        );
        reseal_manifest(&mut manifest);
        assert!(Manifest::decode(&manifest).unwrap_err().is_unsupported());
    }
}

#[test]
fn unknown_compatible_flags_are_ignored() {
    let mut block = sample_segment_header().encode();
    put(&mut block, 20, u32::MAX.to_le_bytes());
    reseal_segment_header(&mut block);
    let compatible = u32::MAX;
    assert_eq!(
        SegmentHeader::decode(&block),
        Ok(SegmentHeader {
            compatible,
            ..sample_segment_header()
        })
    );
    let mut manifest = sample_manifest().encode();
    put(&mut manifest, 20, u32::MAX.to_le_bytes());
    reseal_manifest(&mut manifest);
    assert_eq!(Manifest::decode(&manifest), Ok(sample_manifest()));
}

#[test]
fn the_packed_layout_is_unsupported_and_no_other_is_known() {
    let mut block = sample_segment_header().encode();
    for layout in 0..=u8::MAX {
        block[10] = layout;
        reseal_segment_header(&mut block);
        match SegmentHeader::decode(&block) {
            Ok(header) => assert_eq!((header.layout, layout), (Layout::Plain, 1)),
            Err(error) => assert_eq!(error.is_unsupported(), layout == 2, "{layout}: {error}"),
        }
    }
}

#[test]
fn an_unknown_frame_kind_is_skipped_when_it_says_so_and_unsupported_otherwise() {
    for kind in (0..=u8::MAX).filter(|kind| !(1..=4).contains(kind)) {
        let mut bytes = encode_frame(
            FrameKind::Dictionary,
            &Preamble::default(),
            &[],
            sample_fields(0),
            SALT,
        );
        bytes[8] = kind;
        reseal(&mut bytes, SALT);
        assert!(Frame::parse(&bytes, SALT).unwrap_err().is_unsupported());
        bytes[9] = FLAG_SKIPPABLE;
        reseal(&mut bytes, SALT);
        let frame = Frame::parse(&bytes, SALT).unwrap();
        frame.verify().unwrap();
        assert_eq!(frame.header.kind, None);
        assert_eq!(frame.records().count(), 0);
    }
}

#[test]
fn unknown_flags_of_a_frame_are_unsupported() {
    for bit in 0..7 {
        let mut bytes = full_frame();
        bytes[9] = FLAG_SKIPPABLE | 1 << bit;
        reseal(&mut bytes, SALT);
        assert!(Frame::parse(&bytes, SALT).unwrap_err().is_unsupported());
    }
}

#[test]
fn an_unknown_preamble_entry_is_skipped_when_it_says_so_and_unsupported_otherwise() {
    let mut bytes = full_frame();
    bytes[48] = 77;
    reseal(&mut bytes, SALT);
    assert!(check_frame(&bytes, SALT).unwrap_err().is_unsupported());
    bytes[49] = FLAG_SKIPPABLE;
    reseal(&mut bytes, SALT);
    let frame = Frame::parse(&bytes, SALT).unwrap();
    frame.verify().unwrap();
    let entries: Vec<_> = frame
        .preamble()
        .unwrap()
        .map(|entry| owned(entry.unwrap()))
        .collect();
    assert_eq!(entries, [Entry::Tracking("src".into(), 7)]);
}

#[test]
fn unknown_flags_of_a_whole_record_are_unsupported() {
    for bit in 4..8 {
        let mut bytes = full_frame();
        bytes[80 + 28] |= 1 << bit;
        assert!(
            !check_frame(&bytes, SALT).unwrap_err().is_unsupported(),
            "damage comes first"
        );
        reseal(&mut bytes, SALT);
        assert!(check_frame(&bytes, SALT).unwrap_err().is_unsupported());
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
fn a_shorter_manifest_over_a_longer_one_reads_back() {
    let longer = sample_manifest().encode();
    let mut shorter = sample_manifest();
    shorter.segments.pop();
    let mut file = shorter.encode();
    file.extend_from_slice(&longer[file.len()..]);
    assert_eq!(Manifest::decode(&file), Ok(shorter));
}

// ---- Hostile bytes: no reader panics, whatever it is given.

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
    ) {
        put(&mut bytes, 0, [segment_header::MAGIC, manifest::MAGIC, watermark::MAGIC][magic]);
        bytes.resize(SEGMENT_HEADER_LEN, 0);
        put(&mut bytes, 8, version.to_le_bytes());
        match magic {
            0 => reseal_segment_header(&mut bytes),
            1 => {
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
        mut bytes in vec(any::<u8>(), RECORD_HEADER_LEN..400),
        length in length_near(400),
        flags in 0..16_u8,
        id_len in prop_oneof![Just(0), Just(16), any::<u8>()],
        counts in prop_oneof![Just([0, 0]), Just([1, 0]), Just([0, 1]), Just([255, 255]), any::<[u8; 2]>()],
    ) {
        put(&mut bytes, 4, length.to_le_bytes());
        put(&mut bytes, 28, [flags, id_len, counts[0], counts[1]]);
        read_record(&bytes);
        let len = bytes.len() as u32;
        put(&mut bytes, 4, len.to_le_bytes());
        read_record(&bytes);
    }

    /// The checksums are made to fit again, so that only the checks of the fields stand between the
    /// bytes and the reader.
    #[test]
    fn frames_with_hostile_fields_and_fitting_checksums_never_panic(
        events in vec(event(), 0..4),
        preamble in vec(preamble_entry(), 0..3),
        base_position in prop_oneof![1..100_u64, u64::MAX - 3..=u64::MAX - 1],
        spots in vec((0..1000_usize, prop_oneof![Just(0), Just(1), Just(0x7f), Just(0xff), any::<u8>()]), 1..5),
        length in proptest::option::of((0..1000_usize, length_near(600))),
    ) {
        let fields = FrameFields { event_count: 0, base_position, durable_upto: 0, time_us: TIME_US };
        let mut bytes = encode_frame(FrameKind::Batch, &encode_preamble(&preamble), &events, fields, SALT);
        let len = bytes.len();
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

#[test]
fn lengths_past_the_limits_are_refused_before_anything_is_allocated() {
    let mut record = full_event().encode(80, 0, 42, TIME_US, SALT);
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
    assert!(matches!(
        Manifest::decode(&manifest),
        Err(FormatError::Field { .. })
    ));
}

// ---- What the encoder refuses: it would write bytes that no reader accepts.

#[test]
#[should_panic(expected = "a UUID of 4 bytes")]
fn a_uuid_of_other_than_16_bytes_is_never_written() {
    let id_kind = IdKind::Uuid;
    Event {
        id_kind,
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}

#[test]
#[should_panic(expected = "256 tags")]
fn more_tags_than_a_byte_counts_are_never_written() {
    let tags = vec![vec![1]; 256];
    Event {
        tags,
        ..full_event()
    }
    .body()
    .encode(&mut Vec::new());
}

#[test]
#[should_panic(expected = "positions start at 1")]
fn position_0_is_never_written() {
    let fields = FrameFields {
        base_position: 0,
        ..sample_fields(0)
    };
    let _ = encode_frame(FrameKind::Close, &Preamble::default(), &[], fields, SALT);
}

#[test]
#[should_panic(expected = "a topic of 1025 bytes")]
fn a_topic_past_its_limit_is_never_written() {
    Preamble::default().define_topic(0, &"t".repeat(TOPIC_LEN_MAX + 1));
}

#[test]
#[should_panic(expected = "a tracking name of 0 bytes")]
fn an_empty_tracking_name_is_never_written() {
    Preamble::default().advance_tracking("", 1);
}

// ---- File names.

#[test]
fn file_names_read_back_and_sort_as_their_numbers() {
    let numbers = [
        1,
        2,
        9,
        10,
        99,
        12_345,
        999_999_999,
        1_000_000_000,
        9_999_999_999,
    ];
    for (name, parse) in [
        (
            segment_file_name as fn(u64) -> String,
            parse_segment_file_name as fn(&str) -> Option<u64>,
        ),
        (index_file_name, parse_index_file_name),
        (heads_file_name, parse_heads_file_name),
    ] {
        let names = numbers.map(name);
        assert!(names.is_sorted(), "{names:?}");
        for (name, number) in names.iter().zip(numbers) {
            assert_eq!(parse(name), Some(number), "{name}");
        }
        assert_eq!(
            parse(&name(u64::MAX)),
            Some(u64::MAX),
            "longer names stay legal"
        );
        assert_eq!(parse(&name(0)), None, "segments count from 1");
    }
    assert_eq!(segment_file_name(1), "0000000001.seg");
    assert_eq!(index_file_name(1), "0000000001.idx");
    assert_eq!(heads_file_name(1), "heads-0000000001");
    assert_eq!(quarantine_file_name(1, 4096), "quarantine-0000000001-4096");
}

#[test]
fn only_canonical_names_are_ours() {
    let strangers = [
        "1.seg",
        "000000001.seg",
        "00000000001.seg",
        "0000000001.seg.tmp",
        "0000000001.SEG",
        "0000000001",
        "+000000001.seg",
        "000000000a.seg",
        "0000000001.idx",
        ".seg",
        "",
        "\u{661}000000001.seg",
        "99999999999999999999.seg",
        "18446744073709551616.seg",
    ];
    for name in strangers {
        assert_eq!(parse_segment_file_name(name), None, "{name:?}");
    }
    assert_eq!(parse_heads_file_name("heads-0000000001.tmp"), None);
    assert_eq!(parse_heads_file_name("heads-00000000001"), None);
    assert_eq!(parse_index_file_name("0000000001.seg"), None);
}

// ---- Samples.

fn sample_segment_header() -> SegmentHeader {
    SegmentHeader {
        layout: Layout::Plain,
        compatible: FLAG_RECOVERED,
        log_id: LOG_ID,
        number: 3,
        salt: SALT,
        created_us: TIME_US,
    }
}

fn sample_manifest() -> Manifest {
    let first = SealedSegment {
        number: 1,
        base_position: 1,
        event_count: 10,
        end: 8192,
        salt: SALT,
        first_time_us: TIME_US,
        last_time_us: TIME_US + 9,
    };
    let empty = SealedSegment {
        number: 2,
        base_position: 11,
        event_count: 0,
        end: 4144,
        salt: SALT + 1,
        first_time_us: 0,
        last_time_us: 0,
    };
    Manifest {
        log_id: LOG_ID,
        generation: 6,
        first_retained_position: 1,
        durable_position: 12,
        heads: 1,
        segments: vec![first, empty],
    }
}

fn sample_watermark() -> Watermark {
    Watermark {
        log_id: LOG_ID,
        generation: 7,
        position: 42,
        segment: 3,
        end: 4280,
    }
}

fn watermark_file(slots: &[Watermark]) -> Vec<u8> {
    let mut file = vec![0; WATERMARK_FILE_LEN];
    for watermark in slots {
        put(
            &mut file,
            watermark.slot_offset() as usize,
            watermark.encode(),
        );
    }
    file
}

fn sample_fields(event_count: u32) -> FrameFields {
    FrameFields {
        event_count,
        base_position: 42,
        durable_upto: 41,
        time_us: TIME_US,
    }
}

fn full_event() -> Event {
    Event {
        version: 5,
        id_kind: IdKind::Text,
        id: b"fido".to_vec(),
        encoding: Some(Encoding {
            codec: 1,
            key_id: 2,
            plain_len: 300,
        }),
        digest: Some(0x1122_3344_5566_7788),
        tags: vec![b"a".to_vec(), b"bc".to_vec()],
        metadata: vec![("k".into(), "v".into()), ("user".into(), "ann".into())],
        payload: vec![0xde, 0xad, 0xbe, 0xef, 0x99],
        ..Event::default()
    }
}

fn full_frame() -> Vec<u8> {
    let mut preamble = Preamble::default();
    preamble.define_topic(0, "Dog.Named");
    preamble.advance_tracking("src", 7);
    encode_frame(
        FrameKind::Batch,
        &preamble,
        &[full_event()],
        sample_fields(1),
        SALT,
    )
}

/// All that a record says, owned.
#[derive(Clone, Debug)]
struct Event {
    version: u64,
    topic: u32,
    id_kind: IdKind,
    id: Vec<u8>,
    event_id: [u8; 16],
    encoding: Option<Encoding>,
    digest: Option<u64>,
    tags: Vec<Vec<u8>>,
    metadata: Vec<(String, String)>,
    payload: Vec<u8>,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            version: 0,
            topic: 0,
            id_kind: IdKind::Absent,
            id: Vec::new(),
            event_id: EVENT_ID,
            encoding: None,
            digest: None,
            tags: Vec::new(),
            metadata: Vec::new(),
            payload: Vec::new(),
        }
    }
}

impl Event {
    fn body(&self) -> RecordBody<'_> {
        RecordBody {
            id_kind: self.id_kind,
            id: &self.id,
            event_id: self.event_id,
            encoding: self.encoding,
            digest: self.digest,
            tags: &self.tags,
            metadata: &self.metadata,
            payload: &self.payload,
        }
    }

    fn encode(
        &self,
        distance: u32,
        ordinal: u32,
        position: u64,
        time_us: u64,
        salt: u64,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        self.body().encode(&mut out);
        let place = RecordPlace {
            version: self.version,
            topic: self.topic,
            distance,
            ordinal,
        };
        let crc = body_crc(&out);
        place_record(&mut out, place, crc, position, time_us, salt);
        out
    }
}

fn assert_event(record: &Record<'_>, event: &Event) {
    assert_eq!(record.place().version, event.version);
    assert_eq!(record.place().topic, event.topic);
    assert_eq!(record.id_kind(), event.id_kind);
    assert_eq!(record.id(), event.id);
    assert_eq!(record.event_id(), event.event_id);
    assert_eq!(record.encoding(), event.encoding);
    assert_eq!(record.digest(), event.digest);
    assert!(record.tags().eq(event.tags.iter().map(Vec::as_slice)));
    assert_eq!(record.tags().len(), event.tags.len());
    let metadata = event
        .metadata
        .iter()
        .map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    assert!(record.metadata().eq(metadata));
    assert_eq!(record.payload(), event.payload);
    assert_eq!(record.as_bytes().len(), event.body().record_len());
}

fn encode_frame(
    kind: FrameKind,
    preamble: &Preamble,
    events: &[Event],
    fields: FrameFields,
    salt: u64,
) -> Vec<u8> {
    let mut out = Vec::new();
    append_frame(kind, preamble, events, fields, salt, &mut out);
    out
}

fn append_frame(
    kind: FrameKind,
    preamble: &Preamble,
    events: &[Event],
    fields: FrameFields,
    salt: u64,
    out: &mut Vec<u8>,
) {
    let writer = FrameWriter::new(kind, preamble, out);
    for (ordinal, event) in (0..).zip(events) {
        let distance = (out.len() - writer.start()) as u32;
        // Hostile frames reach past the last position.
        let position = fields.base_position.wrapping_add(u64::from(ordinal));
        out.extend(event.encode(distance, ordinal, position, fields.time_us, salt));
    }
    writer.finish(out, fields, salt);
}

/// A preamble entry, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Topic(u32, String),
    Tracking(String, u64),
}

fn owned(entry: PreambleEntry<'_>) -> Entry {
    match entry {
        PreambleEntry::Topic { number, name } => Entry::Topic(number, name.into()),
        PreambleEntry::Tracking { name, position } => Entry::Tracking(name.into(), position),
    }
}

fn encode_preamble(entries: &[Entry]) -> Preamble {
    let mut preamble = Preamble::default();
    for entry in entries {
        match entry {
            Entry::Topic(number, name) => preamble.define_topic(*number, name),
            Entry::Tracking(name, position) => preamble.advance_tracking(name, *position),
        }
    }
    preamble
}

// ---- Generators.

const SEGMENT_COUNT_JUST_TOO_MANY: u32 = manifest::SEGMENT_COUNT_MAX as u32 + 1;

fn preamble_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (any::<u32>(), "\\PC{1,40}").prop_map(|(number, name)| Entry::Topic(number, name)),
        ("\\PC{1,40}", any::<u64>()).prop_map(|(name, position)| Entry::Tracking(name, position)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let id = prop_oneof![
        Just((IdKind::Absent, Vec::new())),
        any::<[u8; 16]>().prop_map(|id| (IdKind::Uuid, id.to_vec())),
        "\\PC{1,60}".prop_map(|id| (IdKind::Text, id.into_bytes())),
    ];
    let encoding =
        (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(codec, key_id, plain_len)| Encoding {
            codec,
            key_id,
            plain_len,
        });
    let place = (any::<u64>(), any::<u32>());
    let tags = btree_set(vec(any::<u8>(), 1..20), 0..5);
    let metadata = btree_map("\\PC{1,10}", "\\PC{0,20}", 0..4);
    let options = (
        proptest::option::of(encoding),
        proptest::option::of(any::<u64>()),
    );
    (
        place,
        id,
        any::<[u8; 16]>(),
        options,
        tags,
        metadata,
        vec(any::<u8>(), 0..120),
    )
        .prop_map(
            |(
                (version, topic),
                (id_kind, id),
                event_id,
                (encoding, digest),
                tags,
                metadata,
                payload,
            )| Event {
                version,
                topic,
                id_kind,
                id,
                event_id,
                encoding,
                digest,
                tags: tags.into_iter().collect(),
                metadata: metadata.into_iter().collect(),
                payload,
            },
        )
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

// ---- Readers.

fn check_frame(bytes: &[u8], salt: u64) -> Result<(), FormatError> {
    Frame::parse(bytes, salt)?.verify()
}

fn for_every_flipped_bit(bytes: &[u8], mut check: impl FnMut(&[u8], usize)) {
    let mut bytes = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(&bytes, bit);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
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
        record.verify(1, 2, 3),
    );
    let fixed =
        record.id().len() + record.encoding().map_or(0, |_| 12) + record.digest().map_or(0, |_| 8);
    let tags: usize = record.tags().map(|tag| 1 + tag.len()).sum();
    let metadata: usize = record
        .metadata()
        .map(|(key, value)| 3 + key.len() + value.len())
        .sum();
    let len = RECORD_HEADER_LEN + fixed + tags + metadata + record.payload().len();
    assert_eq!(len, record.as_bytes().len(), "the parts are the whole");
}

// ---- A second, independent reading of FORMAT.md: bit by bit, and by its byte offsets.

fn naive_crc(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// Makes every checksum of the frame at the start of `bytes` fit what stands there.
fn reseal(bytes: &mut [u8], salt: u64) {
    let (base_position, time_us) = (u64_at(bytes, 16), u64_at(bytes, 32));
    let preamble_end = FRAME_HEADER_LEN.saturating_add(u32_at(bytes, 40) as usize);
    if let Some(preamble) = bytes.get(FRAME_HEADER_LEN..preamble_end) {
        let crc = naive_crc(&[preamble, &salt.to_le_bytes()]);
        put(bytes, 44, crc.to_le_bytes());
    }
    let mut start = align_up(preamble_end);
    let mut position = base_position;
    while bytes.len().saturating_sub(start) >= RECORD_HEADER_LEN {
        let record = &mut bytes[start..];
        let len = u32_at(record, 4) as usize;
        if len < RECORD_HEADER_LEN || len > record.len() {
            break;
        }
        let bound = [position, time_us, salt].map(u64::to_le_bytes);
        let crc = naive_crc(&[&record[28..len], &record[4..28], bound.as_flattened()]);
        put(record, 0, crc.to_le_bytes());
        start += align_up(len);
        position = position.wrapping_add(1);
    }
    reseal_header(bytes, salt);
}

fn reseal_header(frame: &mut [u8], salt: u64) {
    let crc = naive_crc(&[&frame[4..48], &salt.to_le_bytes()]);
    put(frame, 0, crc.to_le_bytes());
}

fn reseal_segment_header(block: &mut [u8]) {
    let crc = naive_crc(&[&block[..64]]);
    put(block, 64, crc.to_le_bytes());
}

/// Does nothing when the bytes end before the entries they promise.
fn reseal_manifest(bytes: &mut [u8]) {
    let len = MANIFEST_HEADER_LEN + u32_at(bytes, 72) as usize * MANIFEST_ENTRY_LEN;
    if let Some(entries) = bytes.get(MANIFEST_HEADER_LEN..len) {
        let crc = naive_crc(&[&bytes[..76], entries]);
        put(bytes, 76, crc.to_le_bytes());
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}
