//! An event as the key-value engines store it: under its position, and its position under aggregate and version.
//!
//! Big-endian keys, so that their order as bytes is their order as numbers.

use crate::engine::{NewEvent, Seen};

/// `event` as a value: aggregate, version, length of the topic, topic, payload.
pub(crate) fn encode(event: &NewEvent, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(&event.aggregate);
    bytes.extend_from_slice(&event.version.to_be_bytes());
    bytes.push(event.topic.len() as u8);
    bytes.extend_from_slice(event.topic.as_bytes());
    bytes.extend_from_slice(&event.payload);
}

/// The event in a value; `None` when it is none.
pub(crate) fn decode(position: u64, bytes: &[u8]) -> Option<Seen<'_>> {
    let (aggregate, rest) = bytes.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (topic_len, rest) = rest.split_first()?;
    let (topic, payload) = rest.split_at_checked(usize::from(*topic_len))?;
    Some(Seen {
        position,
        aggregate: *aggregate,
        version: u64::from_be_bytes(*version),
        topic: std::str::from_utf8(topic).ok()?,
        payload,
    })
}

/// Key of an event by aggregate and version.
pub(crate) fn version_key(aggregate: [u8; 16], version: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&aggregate);
    key[16..].copy_from_slice(&version.to_be_bytes());
    key
}
