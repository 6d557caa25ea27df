//! Goal: bytes other than those written are noticed, and taken for damage, not for a later release.
//!
//! Method: every flipped bit, every cut, and whole structures moved to where they do not belong.

use super::samples::*;
use super::second_reading::*;
use crate::format::frame::{Frame, FrameHeader};
use crate::format::manifest::Manifest;
use crate::format::record::{Record, verify_unparsed};
use crate::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::watermark::{WATERMARK_LEN, WATERMARK_SLOT_LEN, Watermark};
use crate::format::*;

#[test]
fn every_flipped_bit_of_a_segment_header_is_noticed_as_damage() {
    let block = sample_segment_header().encode();
    for_every_flipped_bit(&block, |bytes, bit| {
        let error = SegmentHeader::decode(bytes).expect_err("damage");
        assert!(
            !error.is_unsupported(),
            "bit {bit} is no later release: {error}"
        );
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

/// Without its frame: padding and time too, which only the frame compares with what they have to be.
#[test]
fn every_flipped_bit_of_a_record_is_noticed_by_itself() {
    let record = full_event().encode(42, TIME_US, SALT);
    for_every_flipped_bit(&record, |bytes, bit| {
        let error = Record::read(bytes, 42, SALT).expect_err("damage");
        assert!(
            !error.is_unsupported(),
            "bit {bit} is no later release: {error}"
        );
    });
}

/// The binding is a constant for one place, so that there the guarantees of the CRC hold: here that a burst
/// of up to 32 bits never goes unnoticed.
#[test]
fn every_burst_in_the_body_of_a_record_is_a_wrong_checksum() {
    let good = full_event().encode(42, TIME_US, SALT);
    let lens = 4..8;
    for start in 8 * 8..8 * (good.len() - 4) {
        for burst in [0x8000_0001_u32, 0xffff_ffff, 0x8765_4321, 3] {
            let mut bytes = good.clone();
            for bit in (0..32).filter(|bit| burst >> bit & 1 == 1) {
                bytes[(start + bit) / 8] ^= 1 << ((start + bit) % 8);
            }
            assert_eq!(bytes[lens.clone()], good[lens.clone()]);
            let verified = verify_unparsed(&bytes, 42, SALT);
            assert!(verified.is_err(), "{burst:#x} at bit {start}");
        }
    }
}

/// Also with bytes of a longer copy behind, which a length that grew would reach into.
#[test]
fn every_flipped_bit_of_a_manifest_is_noticed_as_damage() {
    let manifest = quarantined_manifest().encode();
    for rest in [0, 100_000] {
        for bit in 0..manifest.len() * 8 {
            let mut bytes = manifest.clone();
            bytes.resize(manifest.len() + rest, 0x55);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::decode(&bytes).expect_err("damage");
            assert!(
                !error.is_unsupported(),
                "bit {bit} is no later release: {error}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_a_frame_of_unknown_kind_is_noticed_as_damage() {
    for_every_flipped_bit(&unknown_frame(), |bytes, bit| {
        let error = check_frame(bytes, SALT).expect_err("damage");
        assert!(
            !error.is_unsupported(),
            "bit {bit} is no later release: {error}"
        );
    });
}

#[test]
fn a_flipped_bit_of_a_version_is_a_wrong_checksum() {
    for bit in 0..16 {
        let flipped = (FORMAT_VERSION ^ 1 << bit).to_le_bytes();
        let mut block = sample_segment_header().encode();
        put(&mut block, 8, flipped);
        let error = SegmentHeader::decode(&block).unwrap_err();
        assert!(matches!(error, FormatError::Checksum { .. }), "{error}");
        let mut manifest = sample_manifest().encode();
        put(&mut manifest, 8, flipped);
        let error = Manifest::decode(&manifest).unwrap_err();
        assert!(matches!(error, FormatError::Checksum { .. }), "{error}");
    }
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
    let record = &frame[80..80 + 104];
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
            put(&mut frame, 24, 0_u64.to_le_bytes());
            let field = u64_at(&frame, offset) ^ (1 << bit);
            put(&mut frame, offset, field.to_le_bytes());
            reseal_header(&mut frame, SALT);
            let error = check_frame(&frame, SALT).expect_err("the record is bound to its place");
            // Its position enters its checksum; its time it states itself.
            match offset {
                16 => assert!(matches!(error, FormatError::Checksum { .. }), "{error}"),
                _ => assert!(matches!(error, FormatError::Field { .. }), "{error}"),
            }
        }
    }
}
