//! Events of an aggregate, each with a hash over itself and the one before.
//!
//! The hash stands in the metadata, under [`HASH_KEY`], and covers everything that a recorder gives back of an event: its
//! aggregate, version, topic, id, tags, the other metadata, and the payload as it is stored. So a chain is verified
//! without any key, and still verifies when the aggregate's key has been erased.
//!
//! It tells that an event was changed, exchanged, put in or taken out by somebody who cannot compute hashes, and by
//! somebody who can, if the [head](HashChain::head) was kept elsewhere: who may write to the store may write another
//! chain, and cut this one short. Source: Haber and Stornetta, "How to Time-Stamp a Digital Document", 1991.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::payload::push_id;
use super::{AggregateRecorder, PersistenceError, SelectEvents, StoredEvent};
use crate::domain::AggregateId;

/// What [`Application::verify_chain`](crate::Application::verify_chain) has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashChain {
    /// Events with a hash that is right.
    pub verified: u64,
    /// Events before the first one that has a hash: they are older than the chain, and nothing is known of them.
    pub unchained: u64,
    /// Version of the last event; `None` when there is none.
    pub last_version: Option<u64>,
    /// Hash of the last event, which vouches for all of the chain; `None` when none has one.
    pub head: Option<ChainHash>,
}

/// A SHA-256 over an event and those before it. Shown in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of an event behind one with the hash `before`, or behind none that has one.
    fn of(before: Option<Self>, event: &StoredEvent) -> Self {
        let mut bytes = LABEL.to_vec();
        let push = |bytes: &mut Vec<u8>, part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        match before {
            None => bytes.push(0),
            Some(Self(hash)) => {
                bytes.push(1);
                bytes.extend_from_slice(&hash);
            }
        }
        push_id(&mut bytes, event.aggregate_id());
        bytes.extend_from_slice(&event.version().unwrap_or(0).to_le_bytes());
        push(&mut bytes, event.topic.as_bytes());
        push(&mut bytes, event.event_id.as_bytes());
        // As recorders give them back.
        let mut tags: Vec<&[u8]> = event.tags.iter().map(Vec::as_slice).collect();
        tags.sort_unstable();
        tags.dedup();
        bytes.extend_from_slice(&(tags.len() as u64).to_le_bytes());
        tags.into_iter().for_each(|tag| push(&mut bytes, tag));
        let metadata = event.metadata.iter().filter(|(key, _)| *key != HASH_KEY);
        bytes.extend_from_slice(&(metadata.clone().count() as u64).to_le_bytes());
        for (key, value) in metadata {
            push(&mut bytes, key.as_bytes());
            push(&mut bytes, value.as_bytes());
        }
        match event.encoding {
            None => bytes.push(0),
            Some(encoding) => {
                bytes.extend_from_slice(&[1, encoding.codec]);
                bytes.extend_from_slice(&encoding.key_id.to_le_bytes());
                bytes.extend_from_slice(&encoding.plain_len.to_le_bytes());
            }
        }
        match event.digest {
            None => bytes.push(0),
            Some(digest) => {
                bytes.push(1);
                bytes.extend_from_slice(&digest.to_le_bytes());
            }
        }
        push(&mut bytes, &event.payload);
        Self(Sha256::digest(&bytes).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        // In one spelling only.
        Some(Self(hash)).filter(|hash| hash.to_string() == text)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChainHash({self})")
    }
}

/// Puts hashes into events that are about to be stored, in this order, sealed as they will be. Events of no aggregate
/// stay as they are.
pub(super) fn link(
    recorder: &dyn AggregateRecorder,
    events: &mut [StoredEvent],
) -> Result<(), PersistenceError> {
    let mut heads: HashMap<AggregateId, Option<ChainHash>> = HashMap::new();
    for event in events {
        let Some(origin) = &event.origin else {
            continue;
        };
        let head = match heads.get_mut(&origin.aggregate_id) {
            Some(head) => head,
            None => {
                let before = hash_before(recorder, &origin.aggregate_id, origin.version)?;
                heads.entry(origin.aggregate_id.clone()).or_insert(before)
            }
        };
        let hash = ChainHash::of(*head, event);
        event.metadata.insert(HASH_KEY.to_owned(), hash.to_string());
        *head = Some(hash);
    }
    Ok(())
}

/// The hash of the last stored event below `version`. That it is still the last one when the new event is stored is
/// seen to by the recorder, which refuses the version otherwise.
fn hash_before(
    recorder: &dyn AggregateRecorder,
    aggregate: &AggregateId,
    version: u64,
) -> Result<Option<ChainHash>, PersistenceError> {
    let Some(last) = version.checked_sub(1) else {
        return Ok(None);
    };
    let select = SelectEvents::all().lte(last).desc().limit(1);
    let found = recorder.select_events(aggregate, select)?;
    Ok(found.first().and_then(|before| stated(&before.event)))
}

/// Reads all events of an aggregate and checks their hashes.
pub(crate) fn verify(
    recorder: &dyn AggregateRecorder,
    aggregate: &AggregateId,
) -> Result<HashChain, PersistenceError> {
    let mut chain = HashChain {
        verified: 0,
        unchained: 0,
        last_version: None,
        head: None,
    };
    loop {
        let mut select = SelectEvents::all().limit(PAGE_LEN);
        if let Some(last) = chain.last_version {
            select = select.gt(last);
        }
        let page = recorder.select_events(aggregate, select)?;
        for notification in &page {
            chain.add(&notification.event)?;
        }
        if page.len() < PAGE_LEN {
            return Ok(chain);
        }
    }
}

impl HashChain {
    fn add(&mut self, event: &StoredEvent) -> Result<(), PersistenceError> {
        let is_unchained = self.head.is_none() && !event.metadata.contains_key(HASH_KEY);
        if is_unchained {
            self.unchained += 1;
        } else {
            let expected = ChainHash::of(self.head, event);
            if stated(event) != Some(expected) {
                return Err(broken(event, expected));
            }
            self.head = Some(expected);
            self.verified += 1;
        }
        self.last_version = event.version();
        Ok(())
    }
}

fn broken(event: &StoredEvent, expected: ChainHash) -> PersistenceError {
    match &event.origin {
        Some(origin) => PersistenceError::BrokenChain {
            aggregate_id: origin.aggregate_id.clone(),
            version: origin.version,
            found: event
                .metadata
                .get(HASH_KEY)
                .map(|found| found.as_str().into()),
            expected: expected.to_string().into(),
        },
        None => PersistenceError::NoAggregate {
            topic: event.topic.clone(),
        },
    }
}

fn stated(event: &StoredEvent) -> Option<ChainHash> {
    ChainHash::parse(event.metadata.get(HASH_KEY)?)
}

/// Metadata key of an event's place in its [hash chain](crate::Mapper::hash_chain): 64 hexadecimal digits.
pub const HASH_KEY: &str = "$hash";

/// Names what is hashed, and its format. To be changed with it.
const LABEL: &[u8] = b"annals hash chain 1";

const PAGE_LEN: usize = 1_000;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::persistence::Encoding;

    fn event(version: u64) -> StoredEvent {
        let mut event = StoredEvent::new(Uuid::from_u128(version.into()), "Happened", "x")
            .of(AggregateId::text("a").unwrap(), version);
        event.tags = vec![b"t:1".to_vec(), b"t:2".to_vec()];
        event.metadata.insert("user".into(), "ann".into());
        event.encoding = Some(Encoding {
            codec: 1,
            key_id: 2,
            plain_len: 3,
        });
        event.digest = Some(4);
        event
    }

    /// Bytes that change mean that no chain verifies any more.
    #[test]
    fn the_hash_is_what_it_has_always_been() {
        let first = ChainHash::of(None, &event(1));
        assert_eq!(first.to_string(), FIRST);
        assert_eq!(ChainHash::parse(FIRST), Some(first));
        assert_eq!(ChainHash::of(Some(first), &event(2)).to_string(), SECOND);
    }

    const FIRST: &str = "c99ce6fc7b7db905a1a40ba5a8189882cb523a2ae67b7611a44f05c570009811";
    const SECOND: &str = "e00d9254fc9f869bd6acb7c0bbacc6acd8b21933b901b3e52d6d95ab8359c81b";

    #[test]
    fn whatever_changes_changes_the_hash() {
        let own = |change: fn(&mut StoredEvent)| {
            let mut event = event(1);
            change(&mut event);
            ChainHash::of(None, &event)
        };
        let sound = own(|_| ());
        let changes: [fn(&mut StoredEvent); 13] = [
            |event| *event = event.clone().of(AggregateId::text("b").unwrap(), 1),
            |event| *event = event.clone().of(Uuid::from_u128(1), 1),
            |event| *event = event.clone().of(AggregateId::text("a").unwrap(), 2),
            |event| event.topic.push('x'),
            |event| event.event_id = Uuid::from_u128(9),
            |event| event.tags = vec![b"t:1t:2".to_vec()],
            |event| event.tags.clear(),
            |event| drop(event.metadata.insert("user".into(), "eve".into())),
            |event| drop(event.metadata.remove("user")),
            |event| event.encoding = None,
            |event| event.digest = None,
            |event| event.payload = b"y".to_vec(),
            |event| event.payload.clear(),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            assert_ne!(own(change), sound, "change {place}");
        }
        assert_ne!(ChainHash::of(Some(sound), &event(1)), sound);
        // As recorders give them back.
        assert_eq!(own(|event| event.tags.reverse()), sound);
        assert_eq!(
            own(|event| drop(event.metadata.insert(HASH_KEY.into(), "x".into()))),
            sound
        );
    }

    #[test]
    fn a_hash_has_one_spelling() {
        for text in [
            "",
            "00",
            &"0".repeat(63),
            &"A".repeat(64),
            &"+1".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(ChainHash::parse(text), None, "{text}");
        }
    }
}
