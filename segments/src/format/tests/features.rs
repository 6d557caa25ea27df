//! Goal: what a later release wrote is refused as such or passed over as it says, and only when it is
//! whole: damage comes first.

use super::samples::*;
use super::second_reading::*;
use crate::format::frame::{FLAG_SKIPPABLE, Frame, FrameKind, Preamble};
use crate::format::manifest::Manifest;
use crate::format::segment_header::{Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::version_table::VersionTable;
use crate::format::*;

#[test]
fn a_later_format_version_is_refused_as_unsupported() {
    for later in [FORMAT_VERSION + 1, u16::MAX] {
        // Whatever else the later version changed: all but magic, version, checksum and length.
        let mut block = vec![0xee; SEGMENT_HEADER_LEN];
        put(&mut block, 0, segment_header::MAGIC);
        put(&mut block, 8, later.to_le_bytes());
        reseal_segment_header(&mut block);
        let error = SegmentHeader::decode(&block).unwrap_err();
        assert!(
            matches!(error, FormatError::Version { found, .. } if found == later),
            "{error}"
        );

        for length in [80_u32, 81, 200, 4000] {
            let mut manifest = vec![0xee; 4000];
            put(&mut manifest, 0, manifest::MAGIC);
            put(&mut manifest, 8, later.to_le_bytes());
            put(&mut manifest, 12, length.to_le_bytes());
            reseal_manifest(&mut manifest);
            let error = Manifest::decode(&manifest).unwrap_err();
            assert!(
                matches!(error, FormatError::Version { found, .. } if found == later),
                "{error}"
            );
        }
    }
}

#[test]
fn there_never_was_a_version_0() {
    let mut block = sample_segment_header().encode();
    put(&mut block, 8, 0_u16.to_le_bytes());
    reseal_segment_header(&mut block);
    let mut manifest = sample_manifest().encode();
    put(&mut manifest, 8, 0_u16.to_le_bytes());
    reseal_manifest(&mut manifest);
    for error in [
        SegmentHeader::decode(&block).unwrap_err(),
        Manifest::decode(&manifest).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                FormatError::Field {
                    field: "format version",
                    ..
                }
            ),
            "{error}"
        );
    }
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
        let error = Manifest::decode(&manifest).unwrap_err();
        // The first three are known, and not those of this manifest.
        assert_eq!(error.is_unsupported(), bit > 2, "{error}");
        let mut table = sample_version_table();
        put(&mut table, 16, (1_u32 << bit).to_le_bytes());
        let error = VersionTable::open(&table).unwrap_err();
        assert!(!error.is_unsupported(), "damage comes first");
        reseal_version_table(&mut table);
        let error = VersionTable::open(&table).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
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
    assert_eq!(check_frame(&unknown_frame(), SALT), Ok(()));
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
fn unknown_flags_of_a_preamble_entry_are_unsupported() {
    // The flags of the topic and of the tracking, and of an entry of unknown kind that may be skipped.
    for (frame, offset) in [
        (full_frame(), 49),
        (full_frame(), 66),
        (unknown_frame(), 49),
    ] {
        for bit in 0..7 {
            let mut bytes = frame.clone();
            bytes[offset] |= 1 << bit;
            assert!(
                !check_frame(&bytes, SALT).unwrap_err().is_unsupported(),
                "damage comes first"
            );
            reseal(&mut bytes, SALT);
            let error = check_frame(&bytes, SALT).unwrap_err();
            assert!(
                matches!(error, FormatError::Feature { structure: "preamble entry", flags } if flags == 1 << bit),
                "{offset} {bit}: {error}"
            );
        }
        let mut bytes = frame;
        bytes[offset] = FLAG_SKIPPABLE;
        reseal(&mut bytes, SALT);
        assert_eq!(check_frame(&bytes, SALT), Ok(()));
    }
}

#[test]
fn unknown_flags_of_a_whole_record_are_unsupported() {
    for bit in 4..8 {
        let mut bytes = full_frame();
        bytes[80 + 8] |= 1 << bit;
        assert!(
            !check_frame(&bytes, SALT).unwrap_err().is_unsupported(),
            "damage comes first"
        );
        reseal(&mut bytes, SALT);
        assert!(check_frame(&bytes, SALT).unwrap_err().is_unsupported());
    }
}
