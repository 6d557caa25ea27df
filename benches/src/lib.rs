//! The event that every benchmark uses, so that their figures can be compared.
//!
//! It has the size of an ordinary event of business software: the UUID of an aggregate (16 bytes), a topic of
//! 24 bytes, a payload of 200 bytes of JSON.

use annals_engine::NewEvent;
use annals_segments::format::record::{IdKind, RecordBody};
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
