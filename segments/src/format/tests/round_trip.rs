//! Goal: what is written reads back as it was, at random and at every limit.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::samples::*;
use crate::format::frame::{FRAME_HEADER_LEN, Frame, FrameFields, FrameKind, Preamble};
use crate::format::manifest::{Manifest, SealedSegment};
use crate::format::quarantined::Quarantined;
use crate::format::record::{Encoding, IdKind, Record, record_len, set_event_id};
use crate::format::segment_header::{Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use crate::format::watermark::Watermark;
use crate::format::*;

proptest! {
    #[test]
    fn every_frame_reads_back_as_it_was_written(
        events in vec(event(), 0..5),
        preamble in vec(preamble_entry(), 0..4),
        base_position in 1..crate::format::POSITION_MAX - 5,
        durable_upto: u64,
        time_us: u64,
        salt: u64,
        before in vec(any::<u64>(), 0..3),
    ) {
        let durable_upto = durable_upto % base_position;
        let fields = FrameFields { event_count: events.len() as u32, base_position, durable_upto, time_us };
        let entries = encode_preamble(&preamble);
        // There is no batch of nothing.
        let is_empty = events.is_empty() && entries.is_empty();
        let kind = if is_empty { FrameKind::Close } else { FrameKind::Batch };
        let bytes = encode_frame(kind, &entries, &events, fields, salt);

        // A frame behind other frames in one buffer has the same bytes as one alone.
        let mut group: Vec<u8> = before.iter().flat_map(|word| word.to_le_bytes()).collect();
        let start = group.len();
        append_frame(kind, &entries, &events, fields, salt, &mut group);
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
        for event in &events {
            let (offset, record) = records.next().unwrap();
            let record = record.unwrap();
            prop_assert!(offset.is_multiple_of(ALIGNMENT));
            prop_assert_eq!(record.place().time_us, time_us);
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
        let bytes = event.encode(position, time_us, salt);
        let record = Record::parse(&bytes).unwrap();
        prop_assert_eq!(record.verify(position, salt), Ok(()));
        prop_assert_eq!(record.place().time_us, time_us);
        let other = 1 << flip;
        prop_assert!(record.verify(position ^ other, salt).is_err());
        prop_assert!(record.verify(position, salt ^ other).is_err());
        let mut at_another_time = bytes.clone();
        let trailer = bytes.len() - 20;
        at_another_time[trailer + flip as usize / 8] ^= 1 << (flip % 8);
        let record = Record::parse(&at_another_time).unwrap();
        prop_assert!(record.verify(position, salt).is_err());
    }

    #[test]
    fn every_header_manifest_and_watermark_reads_back(
        log_id: [u8; 16],
        number in 1..=u64::MAX,
        words: [u64; 4],
        compatible: u32,
        counts in vec((0..1_u64 << 40, any::<[u64; 4]>()), 0..6),
        followers in btree_map("\\PC{1,60}", any::<u64>(), 0..5),
    ) {
        let [a, b, c, d] = words;
        let header = SegmentHeader { layout: Layout::Plain, compatible, log_id, number, salt: a, created_us: b };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));

        let watermark = Watermark { log_id, generation: a >> 1, position: b >> 1, segment: c, end: d };
        prop_assert_eq!(Watermark::decode_newest(&watermark_file(&[watermark])), Some(watermark));

        let mut next_position = 1 + (a >> 8);
        let segments = (1 + (b >> 40)..).zip(counts).map(|(number, (event_count, words))| {
            let [end, salt, first_time_us, last_time_us] = words;
            let end = (SEGMENT_HEADER_LEN as u64 / 8 + end % (1 << 28)).min(SEGMENT_LEN_MAX / 8) * 8;
            let base_position = next_position;
            let event_count = event_count % (end / 48 + 1);
            next_position += event_count;
            SealedSegment { number, base_position, event_count, end, salt, first_time_us, last_time_us }
        });
        let segments: Vec<_> = segments.collect();
        let last = segments.last().map_or(0, |segment| segment.number);
        let manifest = Manifest {
            log_id,
            generation: a >> 1,
            first_retained_position: segments.first().map_or(1 + (b >> 8), |first| first.base_position),
            durable_position: c >> 1,
            heads: d % (last + 1),
            quarantined: segments.iter().map(|segment| Quarantined {
                segment: segment.number,
                offset: segment.end,
                length: segment.salt & 0xffff,
                first: segment.base_position,
                next: segment.next_position(),
                checksum: segment.salt as u32,
            }).collect(),
            segments,
            followers: followers.into_iter().map(|(name, position)| (name.into(), position)).collect(),
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
    let mut tracking = Preamble::default();
    tracking.advance_tracking("src", 7);
    let nothing = Preamble::default();
    for (kind, preamble) in [
        (FrameKind::Batch, &tracking),
        (FrameKind::Dictionary, &tracking),
        (FrameKind::Dictionary, &nothing),
        (FrameKind::Close, &nothing),
        (FrameKind::Footer, &nothing),
    ] {
        let bytes = encode_frame(kind, preamble, &[], sample_fields(0), SALT);
        assert_eq!(bytes.len(), FRAME_HEADER_LEN + align_up(preamble.len()));
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
