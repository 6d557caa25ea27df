//! Encrypted payloads, changed in whatever way: what is read is what was sealed there, or there is an error.

use std::sync::OnceLock;

use annals::{
    AggregateId, Encoding, Encryption, Event, KeyRing, Mapper, MemoryKeyStore, Origin,
    PersistenceError, SecretKey, StoredEvent, Zstd,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::input::Input;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Noted(String);

impl Event for Noted {}

/// Which event; then what is changed about it, one thing after the other.
pub fn aead_open(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Sealed { mapper, events } = sealed();
    let (sound, _) = &events[usize::from(input.u8()) % events.len()];
    let mut changed = sound.clone();
    while !input.is_empty() {
        change(&mut input, &mut changed, events);
    }
    match mapper.decode::<Noted>(&changed) {
        // The same event may have been sealed with another key, too: that is no change.
        Ok(found) => assert!(
            events
                .iter()
                .any(|(sealed, content)| is_same(sealed, &changed) && found == *content),
            "what was changed was opened: {changed:?}"
        ),
        Err(error) => {
            assert!(!is_same(sound, &changed), "{error:?}");
            assert!(
                matches!(
                    error,
                    PersistenceError::Decrypt { .. }
                        | PersistenceError::NotEncrypted { .. }
                        | PersistenceError::UnknownEncoding { .. }
                        | PersistenceError::KeyErased { .. }
                ),
                "{error:?}"
            );
        }
    }
}

/// Whether all that a payload is bound to is the same, and the payload itself.
fn is_same(one: &StoredEvent, other: &StoredEvent) -> bool {
    let bound = |stored: &StoredEvent| {
        let StoredEvent {
            origin,
            topic,
            event_id,
            encoding,
            payload,
            ..
        } = stored.clone();
        (origin, topic, event_id, encoding, payload)
    };
    bound(one) == bound(other)
}

fn change(input: &mut Input<'_>, stored: &mut StoredEvent, events: &[(StoredEvent, Noted)]) {
    let other = |input: &mut Input<'_>| &events[usize::from(input.u8()) % events.len()].0;
    match input.below(11) {
        0 => {
            let place = usize::from(input.u16()) % stored.payload.len().max(1);
            if let Some(byte) = stored.payload.get_mut(place) {
                *byte ^= input.u8();
            }
        }
        1 => stored.payload.truncate(usize::from(input.u16())),
        2 => stored.payload.extend_from_slice(input.bytes(20)),
        3 => stored.payload.clone_from(&other(input).payload),
        4 => stored.origin.clone_from(&other(input).origin),
        5 => {
            let id = String::from_utf8_lossy(input.bytes(8)).into_owned();
            stored.origin = AggregateId::text(id).ok().map(|aggregate_id| Origin {
                aggregate_id,
                version: input.number(),
            });
        }
        6 => stored.topic = String::from_utf8_lossy(input.bytes(8)).into_owned(),
        7 => stored.event_id = Uuid::from_u128(u128::from(input.u8())),
        8 => stored.encoding = other(input).encoding,
        9 => {
            stored.encoding = Some(Encoding {
                codec: input.u8(),
                key_id: input.one_of(&[0, 1, 2, 3, u32::MAX]),
                plain_len: u32::try_from(input.number()).unwrap_or(u32::MAX),
            });
        }
        _ => stored.encoding = None,
    }
}

struct Sealed {
    mapper: Mapper,
    events: Vec<(StoredEvent, Noted)>,
}

/// Events sealed with keys of the ring, old and new, and with keys of their aggregates, one of which is erased.
fn sealed() -> &'static Sealed {
    static SEALED: OnceLock<Sealed> = OnceLock::new();
    SEALED.get_or_init(|| {
        let key = |byte| SecretKey::new([byte; 32]);
        let ring = KeyRing::new(1, key(1)).expect("1 is an id");
        let of_ring = Mapper::json().compressor(Zstd::new()).cipher(ring.clone());
        let own = Encryption::new(ring.clone()).key_per_aggregate(MemoryKeyStore::new());
        let mapper = Mapper::json().compressor(Zstd::new()).cipher(own);
        let mut events = Vec::new();
        let mut seal = |mapper: &Mapper, id: &str, version: u64, text: String| {
            let event = annals::DomainEvent {
                aggregate_id: AggregateId::text(id).expect("it is short"),
                version,
                event_id: Some(Uuid::from_u128(u128::from(version))),
                time_us: None,
                metadata: annals::Metadata::new(),
                event: Noted(text),
            };
            let stored = mapper
                .to_stored(&event, Uuid::nil())
                .expect("keys are there");
            events.push((stored, event.event));
        };
        for (mapper, is_new) in [(&of_ring, false), (&of_ring, true), (&mapper, true)] {
            if is_new {
                // Taken the second time.
                let _ = ring.rotate(2, key(2));
            }
            seal(mapper, "ann", 1, "short".to_owned());
            seal(mapper, "ann", 2, "long ".repeat(40));
            seal(mapper, "bob", 1, String::new());
        }
        seal(&mapper, "eve", 1, "to be erased".to_owned());
        let eve = events.pop().expect("it was just sealed").0;
        let erased = eve.aggregate_id().expect("it has one");
        mapper.erase_key(erased).expect("memory does not fail");
        Sealed {
            mapper: mapper.only_encrypted(),
            events,
        }
    })
}

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("sound", vec![0]),
        ("sound-own-key", vec![7]),
        ("flipped", vec![1, 0, 30, 0, 1]),
        ("check-flipped", vec![7, 0, 3, 0, 8]),
        ("cut", vec![4, 1, 20, 0]),
        ("continued", vec![4, 2, 3, 1, 2, 3]),
        ("payload-of-another", vec![0, 3, 1]),
        ("payload-of-another-key", vec![0, 3, 3]),
        ("moved-to-another", vec![6, 4, 8]),
        ("moved-to-an-erased-one", vec![6, 5, 3, b'e', b'v', b'e', 1]),
        ("another-topic", vec![2, 6, 2, b'N', b'o']),
        ("another-id", vec![2, 7, 9]),
        ("another-encoding", vec![1, 8, 4]),
        ("another-length", vec![1, 9, 17, 1, 3]),
        ("said-to-be-plain", vec![1, 9, 0, 0, 80]),
        ("stripped", vec![1, 10]),
    ]
}
