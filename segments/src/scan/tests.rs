//! Goal: a scan shows whole frames in their place and nothing else, whatever a crash or a disk did.
//!
//! Method: one small segment of three frames, cut at every byte, zeroed from every byte, with every
//! bit flipped, and with its frames moved, repeated and replaced by those of another segment.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::format::frame::{FrameFields, FrameWriter, Preamble};
use crate::format::record::{IdKind, RecordBody, RecordPlace, body_crc, place_record};
use crate::format::segment_header::{Layout, SEGMENT_HEADER_LEN, SegmentHeader};

const SALT: u64 = 0x5a17;

#[test]
fn a_whole_segment_is_read_to_its_end() {
    let segment = Segment::sample();
    let (frames, scanned) = scan(&segment.bytes, SALT);
    assert_eq!(frames, segment.frames());
    assert_eq!(
        scanned,
        ScanEnd {
            end: segment.bytes.len(),
            stop: ScanStop::EndOfBytes
        }
    );
}

#[test]
fn every_flipped_bit_of_a_segment_header_is_refused_and_of_a_frame_ends_the_scan_before_it() {
    let segment = Segment::sample();
    let frames = segment.frames();
    let mut bytes = segment.bytes.clone();
    for bit in 0..bytes.len() * 8 {
        let byte = bit / 8;
        bytes[byte] ^= 1 << (bit % 8);
        if byte < SEGMENT_HEADER_LEN {
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        } else {
            let whole = segment.ends.iter().take_while(|end| **end <= byte).count();
            let (found, scanned) = scan(&bytes, SALT);
            assert_eq!(found, frames[..whole], "bit {bit}");
            assert!(
                matches!(scanned.stop, ScanStop::Bad(_)),
                "bit {bit}: {:?}",
                scanned.stop
            );
            assert_eq!(scanned.end, frames[whole].0);
        }
        bytes[byte] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_segment_cut_at_any_byte_keeps_exactly_the_whole_frames_before() {
    let segment = Segment::sample();
    for cut in 0..=segment.bytes.len() {
        let bytes = &segment.bytes[..cut];
        assert_eq!(
            SegmentHeader::decode(bytes).is_ok(),
            cut >= SEGMENT_HEADER_LEN
        );
        if cut < SEGMENT_HEADER_LEN {
            continue;
        }
        let whole = segment.ends.iter().take_while(|end| **end <= cut).count();
        let (found, scanned) = scan(bytes, SALT);
        assert_eq!(found, segment.frames()[..whole], "cut at {cut}");
        let between_frames = cut == scanned.end;
        assert_eq!(
            scanned.stop == ScanStop::EndOfBytes,
            between_frames,
            "cut at {cut}"
        );
        assert_eq!(
            matches!(scanned.stop, ScanStop::Bad(_)),
            !between_frames,
            "cut at {cut}"
        );
    }
}

/// A write into prepared zeros that a crash cut short.
#[test]
fn a_segment_zeroed_from_any_byte_keeps_exactly_the_whole_frames_before() {
    let segment = Segment::sample();
    for cut in SEGMENT_HEADER_LEN..=segment.bytes.len() {
        let mut bytes = segment.bytes[..cut].to_vec();
        bytes.resize(segment.bytes.len() + 512, 0);
        // The padding of a frame is zero already: a frame that lost nothing else lost nothing.
        let intact = |end: &&usize| bytes[..**end] == segment.bytes[..**end];
        let whole = segment.ends.iter().take_while(intact).count();
        let (found, scanned) = scan(&bytes, SALT);
        assert_eq!(found, segment.frames()[..whole], "zeros from {cut}");
        let torn = last_written_byte(&bytes, scanned.end).is_some();
        assert_eq!(
            matches!(scanned.stop, ScanStop::Bad(_)),
            torn,
            "zeros from {cut}"
        );
        assert_eq!(
            scanned.stop == ScanStop::Unwritten,
            !torn,
            "zeros from {cut}"
        );
    }
}

/// A crash may lose any sector of the last write, the first one too.
#[test]
fn a_frame_whose_first_bytes_never_arrived_looks_unwritten_and_leaves_a_trace() {
    let segment = Segment::sample();
    let mut bytes = segment.bytes.clone();
    let (last, _) = segment.frames()[2];
    bytes[last..last + FRAME_HEADER_LEN].fill(0);
    let (found, scanned) = scan(&bytes, SALT);
    assert_eq!(found.len(), 2);
    assert_eq!(
        scanned,
        ScanEnd {
            end: last,
            stop: ScanStop::Unwritten
        }
    );
    assert!(last_written_byte(&bytes, last).is_some());
}

#[test]
fn few_zeros_at_the_end_are_no_frame_and_other_bytes_there_are_bad() {
    let segment = Segment::sample();
    for len in 0..FRAME_HEADER_LEN {
        let mut bytes = segment.bytes.clone();
        bytes.resize(segment.bytes.len() + len, 0);
        assert_eq!(scan(&bytes, SALT).1.stop, ScanStop::EndOfBytes);
        if let Some(last) = bytes[segment.bytes.len()..].last_mut() {
            *last = 1;
            assert!(matches!(
                scan(&bytes, SALT).1.stop,
                ScanStop::Bad(FormatError::TooShort { .. })
            ));
        }
    }
}

#[test]
fn a_scan_from_behind_the_end_finds_the_end() {
    let segment = Segment::sample();
    let start = align_up(segment.bytes.len() + 8);
    let scanned = scan_frames(&segment.bytes, start, SALT, None, |_, _| {
        panic!("no frame is here")
    });
    assert_eq!(
        scanned,
        ScanEnd {
            end: start,
            stop: ScanStop::EndOfBytes
        }
    );
}

#[test]
fn a_scan_goes_on_where_an_earlier_one_stopped() {
    let segment = Segment::sample();
    let mut found = Vec::new();
    let visit = |offset, frame: Frame<'_>| found.push((offset, frame.as_bytes().to_vec()));
    let scanned = scan_frames(&segment.bytes, segment.ends[0], SALT, Some(3), visit);
    assert_eq!(found, segment.frames()[1..]);
    assert_eq!(scanned.end, segment.bytes.len());

    let scanned = scan_frames(&segment.bytes, segment.ends[0], SALT, Some(4), |_, _| {});
    assert_eq!(scanned.end, segment.ends[0]);
    assert!(matches!(
        scanned.stop,
        ScanStop::Bad(FormatError::Field {
            field: "base position",
            ..
        })
    ));
}

#[test]
fn a_frame_left_out_repeated_or_out_of_order_ends_the_scan() {
    let segment = Segment::sample();
    for order in [&[0, 2][..], &[0, 0], &[0, 1, 0], &[0, 1, 1], &[0, 2, 1]] {
        let mut bytes = segment.bytes[..SEGMENT_HEADER_LEN].to_vec();
        for frame in order {
            bytes.extend_from_slice(&segment.frames()[*frame].1);
        }
        let in_order = order
            .iter()
            .enumerate()
            .take_while(|(index, frame)| *index == **frame)
            .count();
        let (found, scanned) = scan(&bytes, SALT);
        assert_eq!(found, segment.frames()[..in_order], "{order:?}");
        assert!(
            matches!(scanned.stop, ScanStop::Bad(FormatError::Field { .. })),
            "{order:?}"
        );
    }
}

#[test]
fn a_frame_of_another_segment_ends_the_scan() {
    let segment = Segment::sample();
    let other = Segment::new(SALT + 1, &[2, 1, 1]);
    let mut bytes = segment.bytes.clone();
    let (start, end) = (segment.ends[0], segment.ends[1]);
    bytes[start..end].copy_from_slice(&other.bytes[start..end]);
    let (found, scanned) = scan(&bytes, SALT);
    assert_eq!(found, segment.frames()[..1]);
    assert!(matches!(
        scanned.stop,
        ScanStop::Bad(FormatError::Checksum { .. })
    ));
}

#[test]
fn nothing_behind_a_footer_is_read() {
    let mut segment = Segment::sample();
    segment.push(FrameKind::Close, 0);
    segment.push(FrameKind::Batch, 1);
    segment.push(FrameKind::Footer, 0);
    let sealed = segment.bytes.len();
    segment.push(FrameKind::Batch, 1);
    let (found, scanned) = scan(&segment.bytes, SALT);
    assert_eq!(found.len(), 6, "a close frame may have frames behind it");
    assert_eq!(
        scanned,
        ScanEnd {
            end: sealed,
            stop: ScanStop::Footer
        }
    );
}

#[test]
fn the_search_behind_a_bad_frame_finds_the_next_one_and_says_whether_it_is_whole() {
    let segment = Segment::sample();
    let (second, third) = (segment.ends[0], segment.ends[1]);
    let mut bytes = segment.bytes.clone();
    bytes.resize(bytes.len() + 4096, 0);
    bytes[second] ^= 1;
    let expected = LaterFrame {
        offset: third,
        base_position: 4,
        durable_upto: 3,
        is_whole: true,
    };
    for from in [second, second + 1, second + 8, third] {
        assert_eq!(
            find_later_frame(&bytes, from, SALT),
            Some(expected),
            "from {from}"
        );
    }
    bytes[segment.ends[2] - 8] ^= 1;
    let torn = LaterFrame {
        is_whole: false,
        ..expected
    };
    assert_eq!(find_later_frame(&bytes, second, SALT), Some(torn));
    assert_eq!(find_later_frame(&bytes, third + 1, SALT), None);
    assert_eq!(find_later_frame(&bytes, second, SALT + 1), None);
    assert_eq!(find_later_frame(&bytes, bytes.len() + 100, SALT), None);
}

/// The frames of a segment may travel inside a payload of the same segment: a reader of the log
/// that stores what it read. They are found, and cannot prove more than was durable before.
#[test]
fn a_frame_inside_a_payload_proves_nothing_about_the_frame_around_it() {
    let inner = Segment::sample();
    let (_, copy) = &inner.frames()[2];
    let mut segment = inner.clone();
    segment.push_payload(FrameKind::Batch, std::slice::from_ref(copy));
    let outer = inner.bytes.len();
    assert_eq!(scan(&segment.bytes, SALT).0.len(), 4);
    let mut bytes = segment.bytes.clone();
    bytes[outer] ^= 1;
    if let Some(found) = find_later_frame(&bytes, outer, SALT) {
        assert!(
            found.durable_upto < 5,
            "the outer frame starts at position 5"
        );
    }
}

#[test]
fn the_last_written_byte_is_found() {
    assert_eq!(last_written_byte(&[0, 3, 0, 5, 0], 0), Some(3));
    assert_eq!(last_written_byte(&[0, 3, 0, 5, 0], 3), Some(3));
    assert_eq!(last_written_byte(&[0, 3, 0, 5, 0], 4), None);
    assert_eq!(last_written_byte(&[0, 3], 2), None);
    assert_eq!(last_written_byte(&[0, 3], 3), None);
}

proptest! {
    #[test]
    fn any_damage_leaves_a_prefix_of_the_frames(
        damage in vec((0..1000_usize, any::<u8>()), 1..20),
        zeros in 0..200_usize,
    ) {
        let segment = Segment::sample();
        let mut bytes = segment.bytes.clone();
        bytes.resize(bytes.len() + zeros, 0);
        let len = bytes.len() - SEGMENT_HEADER_LEN;
        for (offset, byte) in damage {
            bytes[SEGMENT_HEADER_LEN + offset % len] = byte;
        }
        let intact = |end: &&usize| bytes[..**end] == segment.bytes[..**end];
        let whole = segment.ends.iter().take_while(intact).count();
        let (found, _) = scan(&bytes, SALT);
        prop_assert_eq!(found, &segment.frames()[..whole]);
    }

    #[test]
    fn random_bytes_hold_no_frame(bytes in vec(any::<u8>(), 1..2000), start in 0..100_usize, salt: u64) {
        let scanned = scan_frames(&bytes, start * ALIGNMENT, salt, None, |_, _| panic!("a frame by chance"));
        prop_assert_eq!(scanned.end, start * ALIGNMENT);
        prop_assert_eq!(find_later_frame(&bytes, start, salt), None);
    }
}

fn scan(bytes: &[u8], salt: u64) -> (Vec<(usize, Vec<u8>)>, ScanEnd) {
    let mut found = Vec::new();
    let scanned = scan_frames(bytes, SEGMENT_HEADER_LEN, salt, None, |offset, frame| {
        found.push((offset, frame.as_bytes().to_vec()));
    });
    (found, scanned)
}

/// A segment under construction, and where each of its frames ends.
#[derive(Clone)]
struct Segment {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    salt: u64,
    next_position: u64,
}

impl Segment {
    /// Three batches, positions 1..=2, 3 and 4.
    fn sample() -> Self {
        Self::new(SALT, &[2, 1, 1])
    }

    fn new(salt: u64, batches: &[usize]) -> Self {
        let header = SegmentHeader {
            layout: Layout::Plain,
            compatible: 0,
            log_id: [7; 16],
            number: 1,
            salt,
            created_us: 1,
        };
        let mut segment = Self {
            bytes: header.encode(),
            ends: Vec::new(),
            salt,
            next_position: 1,
        };
        for event_count in batches {
            segment.push(FrameKind::Batch, *event_count);
        }
        segment
    }

    fn push(&mut self, kind: FrameKind, event_count: usize) {
        self.push_payload(kind, &vec![b"payload".to_vec(); event_count]);
    }

    fn push_payload(&mut self, kind: FrameKind, payloads: &[Vec<u8>]) {
        let mut preamble = Preamble::default();
        if self.ends.is_empty() {
            preamble.define_topic(0, "Happened");
        }
        let fields = FrameFields {
            event_count: payloads.len() as u32,
            base_position: self.next_position,
            durable_upto: self.next_position - 1,
            time_us: 1_000_000 + self.next_position,
        };
        let writer = FrameWriter::new(kind, &preamble, &mut self.bytes);
        for payload in payloads {
            let start = self.bytes.len();
            let body = RecordBody {
                id_kind: IdKind::Text,
                id: b"dog",
                event_id: [8; 16],
                encoding: None,
                digest: None,
                tags: &[b"tag".to_vec()],
                metadata: &[("key".into(), "value".into())],
                payload,
            };
            body.encode(&mut self.bytes);
            let record = &mut self.bytes[start..];
            let place = RecordPlace {
                version: self.next_position,
                topic: 0,
                time_us: fields.time_us,
            };
            let crc = body_crc(record);
            place_record(record, place, crc, self.next_position, self.salt);
            self.next_position += 1;
        }
        writer.finish(&mut self.bytes, fields, self.salt);
        self.ends.push(self.bytes.len());
    }

    fn frames(&self) -> Vec<(usize, Vec<u8>)> {
        let starts = std::iter::once(SEGMENT_HEADER_LEN).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| (start, self.bytes[start..*end].to_vec()))
            .collect()
    }
}
