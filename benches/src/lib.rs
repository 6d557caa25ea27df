//! The event that every benchmark uses, so that their figures can be compared, and frames and indexes of it.
//!
//! It has the size of an ordinary event of business software: the UUID of an aggregate (16 bytes), a topic of
//! 24 bytes, a payload of 200 bytes of JSON.

use annals_engine::NewEvent;
use annals_index::{GrowingIndex, IdHash, Identity, KeyHash, KeyKind, TailIndex};
use annals_segments::format::frame::{FrameFields, FrameKind, FrameWriter, Preamble};
use annals_segments::format::record::{
    IdKind, RecordBody, RecordPlace, body_crc, place_record, set_event_id,
};
use uuid::Uuid;

/// Stored name of the event's type: 24 bytes.
pub const TOPIC: &str = "sales.order.LineWasAdded";

/// Bytes that an event carries: id, version, topic, payload.
pub const EVENT_LEN: u64 = (16 + 8 + TOPIC.len() + PAYLOAD_LEN) as u64;

const PAYLOAD_LEN: usize = 200;
const _: () = assert!(TOPIC.len() == 24);

/// A payload of 200 bytes of JSON.
pub fn payload() -> Vec<u8> {
    const START: &str =
        r#"{"order":"o-20260417-000381","line":3,"article":"a-77120","quantity":2,"note":""#;
    let mut payload = START.as_bytes().to_vec();
    payload.resize(PAYLOAD_LEN - 2, b'n');
    payload.extend_from_slice(b"\"}");
    payload
}

/// Id of the aggregate of this number; neighbours are far apart, as random ids are.
pub fn aggregate(number: u64) -> Uuid {
    Uuid::from_u64_pair(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number)
}

/// An event to append to the aggregate of this number.
pub fn event(number: u64) -> NewEvent {
    NewEvent::new(TOPIC, payload()).aggregate(aggregate(number))
}

/// The same event as a record, borrowed from its parts.
pub fn record<'a>(aggregate: &'a Uuid, payload: &'a [u8]) -> RecordBody<'a> {
    RecordBody {
        id_kind: IdKind::Uuid,
        id: aggregate.as_bytes(),
        event_id: [7; 16],
        encoding: None,
        digest: None,
        tags: &[],
        metadata: &[],
        payload,
    }
}

/// Salt of the segment that frames and indexes belong to.
pub const SALT: u64 = 42;
/// When everything happens: microseconds since the Unix epoch.
pub const TIME_US: u64 = 1_700_000_000_000_000;

/// Encodes and places a batch, as the caller's thread and the leader do between them.
pub fn encode_frame(events: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut preamble = Preamble::default();
    preamble.define_topic(0, TOPIC);
    let frame = FrameWriter::new(FrameKind::Batch, &preamble, out);
    for ordinal in 0..events {
        let start = out.len();
        let id = aggregate(u64::from(ordinal));
        record(&id, payload).encode(out);
        let encoded = &mut out[start..];
        set_event_id(encoded, [ordinal as u8; 16]);
        let crc = body_crc(encoded);
        let place = RecordPlace {
            version: 1,
            topic: 0,
            time_us: TIME_US,
        };
        place_record(encoded, place, crc, 1 + u64::from(ordinal), SALT);
    }
    let fields = FrameFields {
        event_count: events,
        base_position: 1,
        durable_upto: 0,
        time_us: TIME_US,
    };
    frame.finish(out, fields, SALT);
}

/// Seed of the hashes of keys.
pub const SEED: u64 = 99;
/// Keys of [`tail_index`].
pub const KEY_COUNT: u64 = 80_000;
/// Events of each key.
pub const EVENTS_OF_KEY: u64 = 3;

/// Key of the aggregate of this number; [`tail_index`] has those below [`KEY_COUNT`].
pub fn key(number: u64) -> KeyHash {
    KeyHash::new(SEED, KeyKind::AggregateUuid, aggregate(number).as_bytes())
}

/// The index of a segment full of events, as it is while the segment is written.
pub fn tail_index() -> TailIndex {
    let mut tail = TailIndex::new(Identity {
        log_id: [1; 16],
        segment: 1,
        salt: SALT,
        base_position: 1,
        event_count: 0,
    });
    for number in 0..KEY_COUNT * EVENTS_OF_KEY {
        let id = u128::from(number).to_le_bytes();
        let offset = 4096 + 300 * number as u32;
        let keys = [key(number % KEY_COUNT)];
        tail.push(offset, TIME_US + number, id, IdHash::new(SEED, &id), keys);
    }
    tail
}
