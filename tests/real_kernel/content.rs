//! The events of all children: each is a function of its name, so that whoever reads one can tell whether it is
//! what was appended.

use annals_engine::{AggregateId, NewEvent, RecordedEvent};
use annals_tests::history::{EventName, Stored};
use uuid::Uuid;

/// The event of this name.
pub(crate) fn event((number, ordinal): EventName, aggregate: u32) -> NewEvent {
    let name = (number, ordinal);
    NewEvent::new(topic(name), payload(name))
        .aggregate(aggregate_id(aggregate))
        .event_id(Uuid::from_u128(
            u128::from(number) << 32 | u128::from(ordinal),
        ))
        .tag(format!("tag:{}", number % 8))
}

pub(crate) fn aggregate_id(aggregate: u32) -> AggregateId {
    annals_tests::id(&format!("aggregate-{aggregate}"))
}

/// The upstream that a thread of a writer has read, as it were: each of its appends, `number`, says in the same commit that
/// it has come there. Threads of later writers go on where it was.
pub(crate) fn tracking(number: u64) -> (String, u64) {
    (tracking_name(number >> 32 & 0xff), number + 1)
}

pub(crate) fn tracking_name(thread: u64) -> String {
    format!("upstream-{thread}")
}

/// The snapshot of an aggregate at a version.
pub(crate) fn snapshot(aggregate: u32, version: u64) -> String {
    format!("{aggregate} at {version}")
}

/// The name of an event that was read.
///
/// # Errors
/// When it is not what was appended under that name.
pub(crate) fn stored(event: &RecordedEvent) -> Result<Stored, String> {
    let id = event.event_id.as_u128();
    let name = ((id >> 32) as u64, id as u32);
    let is_same = event.topic == topic(name) && event.payload == payload(name);
    let aggregate = event.aggregate_id.as_ref().map(ToString::to_string);
    let aggregate = aggregate.and_then(|id| id.strip_prefix("aggregate-")?.parse().ok());
    match (aggregate, event.version) {
        (Some(aggregate), Some(version)) if is_same => Ok(Stored {
            position: event.position,
            name,
            aggregate,
            version,
        }),
        _ => Err(format!("other content than was appended: {event:?}")),
    }
}

fn topic(name: EventName) -> &'static str {
    ["Happened", "Registered", "Renamed", "Moved", "Closed"][mixed(name) as usize % 5]
}

fn payload(name: EventName) -> Vec<u8> {
    let mut mixed = mixed(name);
    let len = match mixed % 32 {
        0 => 4000 + mixed % 5000,
        1..8 => mixed % 1500,
        _ => mixed % 200,
    };
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        mixed = mixed.wrapping_mul(0xd129_0d3b_3c21_8a17).rotate_left(29);
        bytes.extend_from_slice(&mixed.to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

fn mixed((number, ordinal): EventName) -> u64 {
    annals_tests::history::fingerprint([(number, ordinal)])
}
