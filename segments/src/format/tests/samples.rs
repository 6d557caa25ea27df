//! Sample structures, generators of random ones, and the few readers that several tests share.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::second_reading::reseal;
use crate::format::frame::{
    FLAG_SKIPPABLE, Frame, FrameFields, FrameKind, FrameWriter, Preamble, PreambleEntry,
};
use crate::format::manifest::{Manifest, SEGMENT_COUNT_MAX, SealedSegment};
use crate::format::quarantined::Quarantined;
use crate::format::record::{
    Encoding, IdKind, Record, RecordBody, RecordPlace, body_crc, place_record, record_len,
};
use crate::format::segment_header::{FLAG_RECOVERED, Layout, SegmentHeader};
use crate::format::version_table::{VersionTableIdentity, encode_version_table};
use crate::format::watermark::{WATERMARK_FILE_LEN, Watermark};
use crate::format::*;

pub(super) const SALT: u64 = 0x0123_4567_89ab_cdef;
pub(super) const TIME_US: u64 = 1_700_000_000_000_000;
pub(super) const LOG_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub(super) const EVENT_ID: [u8; 16] = [
    0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
];

pub(super) fn sample_segment_header() -> SegmentHeader {
    SegmentHeader {
        layout: Layout::Plain,
        compatible: FLAG_RECOVERED,
        log_id: LOG_ID,
        number: 3,
        salt: SALT,
        created_us: TIME_US,
    }
}

pub(super) fn sample_manifest() -> Manifest {
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
        quarantined: Vec::new(),
        followers: BTreeMap::new(),
    }
}

/// The manifest of a log that was truncated and has followers.
pub(super) fn truncated_manifest() -> Manifest {
    Manifest {
        first_retained_position: 41,
        durable_position: 50,
        heads: 0,
        segments: vec![SealedSegment {
            number: 4,
            base_position: 41,
            ..sample_manifest().segments[0]
        }],
        followers: BTreeMap::from([("mail".into(), 45), ("search".into(), 0)]),
        ..sample_manifest()
    }
}

/// The manifest of a log with damage that somebody has decided to go on without.
pub(super) fn quarantined_manifest() -> Manifest {
    let damage = |segment, first, next| Quarantined {
        segment,
        offset: 4096,
        length: 160,
        first,
        next,
        checksum: 7,
    };
    Manifest {
        quarantined: vec![
            damage(1, 2, 3),
            damage(1, 3, 3),
            damage(1, 4, 11),
            damage(2, 11, 11),
        ],
        followers: BTreeMap::from([("mail".into(), 5)]),
        ..sample_manifest()
    }
}

pub(super) fn sample_version_table() -> Vec<u8> {
    let uuid: [u8; 16] = std::array::from_fn(|place| 0xe0 + place as u8);
    let identity = VersionTableIdentity {
        log_id: LOG_ID,
        last_segment: 3,
        first_retained_position: 41,
    };
    let entries = [(IdKind::Uuid, &uuid[..], 7), (IdKind::Text, b"dog-1", 3)];
    encode_version_table(identity, entries.into_iter())
}

pub(super) fn sample_watermark() -> Watermark {
    Watermark {
        log_id: LOG_ID,
        generation: 7,
        position: 42,
        segment: 3,
        end: 4280,
    }
}

pub(super) fn watermark_file(slots: &[Watermark]) -> Vec<u8> {
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

pub(super) fn sample_fields(event_count: u32) -> FrameFields {
    FrameFields {
        event_count,
        base_position: 42,
        durable_upto: 41,
        time_us: TIME_US,
    }
}

pub(super) fn full_event() -> Event {
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

pub(super) fn full_frame() -> Vec<u8> {
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

/// A whole frame of a kind nobody knows, with an entry of a kind nobody knows: both may be skipped.
pub(super) fn unknown_frame() -> Vec<u8> {
    let mut preamble = Preamble::default();
    preamble.define_topic(0, "Dog.Named");
    preamble.advance_tracking("src", 7);
    let mut bytes = encode_frame(
        FrameKind::Dictionary,
        &preamble,
        &[],
        sample_fields(0),
        SALT,
    );
    put(&mut bytes, 8, [77, FLAG_SKIPPABLE]);
    put(&mut bytes, 48, [78, FLAG_SKIPPABLE]);
    reseal(&mut bytes, SALT);
    bytes
}

/// All that a record says, owned.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) topic: u32,
    pub(super) id_kind: IdKind,
    pub(super) id: Vec<u8>,
    pub(super) event_id: [u8; 16],
    pub(super) encoding: Option<Encoding>,
    pub(super) digest: Option<u64>,
    pub(super) tags: Vec<Vec<u8>>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) payload: Vec<u8>,
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
    pub(super) fn body(&self) -> RecordBody<'_> {
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

    pub(super) fn encode(&self, position: u64, time_us: u64, salt: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.body().encode(&mut out);
        let place = RecordPlace {
            version: self.version,
            topic: self.topic,
            time_us,
        };
        let crc = body_crc(&out);
        place_record(&mut out, place, crc, position, salt);
        out
    }
}

pub(super) fn assert_event(record: &Record<'_>, event: &Event) {
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
    let len = event.body().record_len();
    assert_eq!(record_len(record.as_bytes()), len);
    assert_eq!(record.as_bytes().len(), align_up(len));
}

pub(super) fn encode_frame(
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

pub(super) fn append_frame(
    kind: FrameKind,
    preamble: &Preamble,
    events: &[Event],
    fields: FrameFields,
    salt: u64,
    out: &mut Vec<u8>,
) {
    let writer = FrameWriter::new(kind, preamble, out);
    for (ordinal, event) in (0_u64..).zip(events) {
        // Hostile frames reach past the last position.
        let position = fields.base_position.wrapping_add(ordinal);
        out.extend(event.encode(position, fields.time_us, salt));
    }
    writer.finish(out, fields, salt);
}

/// A preamble entry, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Topic(u32, String),
    Tracking(String, u64),
}

pub(super) fn owned(entry: PreambleEntry<'_>) -> Entry {
    match entry {
        PreambleEntry::Topic { number, name } => Entry::Topic(number, name.into()),
        PreambleEntry::Tracking { name, position } => Entry::Tracking(name.into(), position),
    }
}

pub(super) fn encode_preamble(entries: &[Entry]) -> Preamble {
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

pub(super) const SEGMENT_COUNT_JUST_TOO_MANY: u32 = SEGMENT_COUNT_MAX as u32 + 1;

pub(super) fn preamble_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (any::<u32>(), "\\PC{1,40}").prop_map(|(number, name)| Entry::Topic(number, name)),
        ("\\PC{1,40}", any::<u64>()).prop_map(|(name, position)| Entry::Tracking(name, position)),
    ]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
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

// ---- Readers.

pub(super) fn check_frame(bytes: &[u8], salt: u64) -> Result<(), FormatError> {
    Frame::parse(bytes, salt)?.verify()
}

pub(super) fn for_every_flipped_bit(bytes: &[u8], mut check: impl FnMut(&[u8], usize)) {
    let mut bytes = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(&bytes, bit);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}
