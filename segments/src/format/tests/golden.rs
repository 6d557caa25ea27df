//! Goal: the layout is locked, and FORMAT.md and the code say the same.
//!
//! When golden bytes fail the format changed. Raise the version, keep the old reader, add a fixture;
//! never edit the bytes to fit.

use super::samples::*;
use super::second_reading::{naive_binding, naive_crc};
use crate::format::frame::{
    FLAG_SKIPPABLE, FRAME_HEADER_LEN, Frame, FrameFields, FrameKind, Preamble, PreambleEntry,
};
use crate::format::manifest::{MANIFEST_ENTRY_LEN, MANIFEST_HEADER_LEN, Manifest};
use crate::format::record::{IdKind, RECORD_FRONT_LEN, RECORD_LEN_MIN, Record};
use crate::format::segment_header::{FLAG_RECOVERED, Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::snapshot::SnapshotHead;
use crate::format::version_table::{VERSION_TABLE_HEADER_LEN, VersionTable, VersionTableIdentity};
use crate::format::watermark::{WATERMARK_FILE_LEN, WATERMARK_LEN, WATERMARK_SLOT_LEN, Watermark};
use crate::format::*;

const FORMAT_MD: &str = include_str!("../../../FORMAT.md");

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

        e6 ae 58 ce  61 00 00 00  0e 04 02 02
        e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 ea eb ec ed ee ef
        66 69 64 6f
        01 00 00 00  02 00 00 00  2c 01 00 00
        88 77 66 55 44 33 22 11
        01 61  02 62 63
        01 01 00 6b 76  04 03 00 75 73 65 72 61 6e 6e
        de ad be ef 99
        00 00 00 00 00 00 00
        00 40 1e 18 24 0a 06 00  05 00 00 00 00 00 00 00  00 00 00 00");
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
        48 13 f0 18  32 00 00 00  00 00 00 00
        e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 ea eb ec ed ee ef
        68 69  00 00 00 00 00 00
        00 40 1e 18 24 0a 06 00  00 00 00 00 00 00 00 00  03 00 00 00");
    let event = Event {
        topic: 3,
        payload: b"hi".to_vec(),
        ..Event::default()
    };
    let record = event.encode(9, TIME_US, SALT);
    assert_eq!(record, golden);
    let record = Record::parse(&record).unwrap();
    record.verify(9, SALT).unwrap();
    assert_event(&record, &event);
}

#[test]
fn golden_manifest() {
    let golden = hex("
        41 4e 4e 41 4c 4d 41 4e  01 00  00 00  c0 00 00 00
        00 00 00 00  00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        06 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00
        0c 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00
        02 00 00 00  81 0c f6 f8

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
fn golden_manifest_of_a_truncated_log_with_followers() {
    let golden = hex("
        41 4e 4e 41 4c 4d 41 4e  01 00  00 00  a4 00 00 00
        03 00 00 00  00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        06 00 00 00 00 00 00 00  29 00 00 00 00 00 00 00
        32 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
        01 00 00 00  11 eb 96 34

        04 00 00 00 00 00 00 00  29 00 00 00 00 00 00 00
        0a 00 00 00 00 00 00 00  00 20 00 00 00 00 00 00
        ef cd ab 89 67 45 23 01  00 40 1e 18 24 0a 06 00
        09 40 1e 18 24 0a 06 00

        2d 00 00 00 00 00 00 00  04  6d 61 69 6c
        00 00 00 00 00 00 00 00  06  73 65 61 72 63 68");
    assert_eq!(truncated_manifest().encode(), golden);
    assert_eq!(Manifest::decode(&golden), Ok(truncated_manifest()));
}

#[test]
fn a_damaged_place_has_golden_bytes() {
    let bytes = quarantined_manifest().encode();
    let golden = hex("
        01 00 00 00 00 00 00 00  00 10 00 00 00 00 00 00
        a0 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00
        03 00 00 00 00 00 00 00  07 00 00 00 00 00 00 00
    ");
    assert_eq!(bytes[80 + 2 * 56..][..48], golden);
    assert_eq!(bytes[10..12], [4, 0]);
    assert_eq!(bytes[16..20], [6, 0, 0, 0]);
}

#[test]
fn golden_version_table() {
    let golden = hex("
        41 4e 4e 41 4c 56 45 52  01 00  00 00  02 00 00 00
        00 00 00 00  00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
        03 00 00 00 00 00 00 00  29 00 00 00 00 00 00 00
        37 00 00 00 00 00 00 00  c7 69 4e dd  78 eb b7 50

        00 00 00 00 00 00 00 00  19 00 00 00 00 00 00 00

        07 00 00 00 00 00 00 00  01
        e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 ea eb ec ed ee ef
        03 00 00 00 00 00 00 00  02  64 6f 67 2d 31");
    assert_eq!(sample_version_table(), golden);
    let table = VersionTable::open(&golden).unwrap();
    let identity = VersionTableIdentity {
        log_id: LOG_ID,
        last_segment: 3,
        first_retained_position: 41,
    };
    assert_eq!((table.identity(), table.len()), (identity, 2));
    assert_eq!(table.version(IdKind::Text, b"dog-1"), Some(3));
}

#[test]
fn golden_snapshot_head() {
    let golden = hex("2a 00 00 00 00 00 00 00  07 00 00 00 00 00 00 00");
    let head = SnapshotHead {
        version: 42,
        before: 7,
    };
    assert_eq!(head.encode().as_slice(), golden);
    let stored = [&golden[..], b"state"].concat();
    assert_eq!(SnapshotHead::decode(&stored), Some((head, &b"state"[..])));
    assert_eq!(SnapshotHead::decode(&golden[..15]), None);
    assert_eq!(snapshot::DELETION_TAG, b"deletion");
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
    assert_eq!([SEGMENT_HEADER_LEN, FRAME_HEADER_LEN], [4096, 48]);
    assert_eq!([RECORD_FRONT_LEN, RECORD_LEN_MIN], [28, 48]);
    assert_eq!([MANIFEST_HEADER_LEN, MANIFEST_ENTRY_LEN], [80, 56]);
    assert_eq!(VERSION_TABLE_HEADER_LEN, 72);
    assert_eq!([manifest::FLAG_TRUNCATED, manifest::FLAG_FOLLOWERS], [1, 2]);
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
    let record = &frame[80..80 + 104];
    let binding = naive_binding(42, SALT);
    assert_eq!(u32_at(record, 0), naive_crc(&[&record[4..]]) ^ binding);

    let manifest = sample_manifest().encode();
    assert_eq!(
        u32_at(&manifest, 76),
        naive_crc(&[&manifest[..76], &manifest[80..]])
    );
    let table = sample_version_table();
    assert_eq!(u32_at(&table, 64), naive_crc(&[&table[72..]]));
    assert_eq!(u32_at(&table, 68), naive_crc(&[&table[..68]]));
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
    let limits: [(&str, u64); 15] = [
        ("TOPIC_LEN_MAX", TOPIC_LEN_MAX as u64),
        ("AGGREGATE_ID_LEN_MAX", AGGREGATE_ID_LEN_MAX as u64),
        ("TAG_COUNT_MAX", TAG_COUNT_MAX as u64),
        ("TAG_LEN_MAX", TAG_LEN_MAX as u64),
        ("METADATA_COUNT_MAX", METADATA_COUNT_MAX as u64),
        ("METADATA_KEY_LEN_MAX", METADATA_KEY_LEN_MAX as u64),
        ("METADATA_LEN_MAX", METADATA_LEN_MAX as u64),
        ("TRACKING_NAME_LEN_MAX", TRACKING_NAME_LEN_MAX as u64),
        ("FOLLOWER_NAME_LEN_MAX", FOLLOWER_NAME_LEN_MAX as u64),
        ("FOLLOWER_COUNT_MAX", FOLLOWER_COUNT_MAX as u64),
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
