//! What is looked up: keys and event ids, each known by a seeded hash.
//!
//! The seed belongs to the log, not to a segment: [`fold_heads`](crate::fold_heads) merges the keys of
//! many segments by their hashes. It should be random, so that nobody can choose keys that collide.
//! Collisions are possible and harmless: callers verify every hit against the record.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a key names.
///
/// The values are persisted in the low two bits of every [`KeyHash`]: never renumber them. All four are
/// taken, so a fifth kind is a new format version. (Zero is a value here and not "unwritten": index files
/// hold no unwritten entries, they are dense.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// An aggregate id that is a UUID, by its 16 bytes.
    AggregateUuid = 0,
    /// An aggregate id that is text.
    AggregateText = 1,
    /// A tag.
    Tag = 2,
    /// A topic, the stored name of an event type.
    Topic = 3,
}

impl KeyKind {
    /// Whether the key is an aggregate, which has versions; tags and topics have none.
    #[must_use]
    pub fn is_aggregate(self) -> bool {
        matches!(self, Self::AggregateUuid | Self::AggregateText)
    }
}

/// Fingerprint of a key: the upper 62 bits of its seeded XXH3-64, and its [`KeyKind`] in the low two.
///
/// So the same bytes under two kinds never compare equal. The order is that of the bits, which is the
/// order of every persisted table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Hashes `bytes` under the seed of the log.
    #[must_use]
    pub fn new(seed: u64, kind: KeyKind, bytes: &[u8]) -> Self {
        Self(xxh3_64_with_seed(bytes, seed) & !KIND_MASK | kind as u64)
    }

    /// The kind of the key.
    #[must_use]
    #[inline]
    pub fn kind(self) -> KeyKind {
        match self.0 & KIND_MASK {
            0 => KeyKind::AggregateUuid,
            1 => KeyKind::AggregateText,
            2 => KeyKind::Tag,
            _ => KeyKind::Topic,
        }
    }

    /// The fingerprint as it is persisted.
    #[must_use]
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The reverse of [`to_bits`](Self::to_bits). Every pattern is valid.
    #[must_use]
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Fingerprint of an event id: its seeded XXH3-64. Only the upper 32 bits take part in lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(u64);

impl IdHash {
    /// Hashes an event id under the seed of the log.
    #[must_use]
    pub fn new(seed: u64, event_id: &[u8; 16]) -> Self {
        Self(xxh3_64_with_seed(event_id, seed))
    }

    /// The fingerprint.
    #[must_use]
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The reverse of [`to_bits`](Self::to_bits). Every pattern is valid.
    #[must_use]
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The part of the fingerprint that the tail keeps: its upper 32 bits.
    #[inline]
    pub(crate) fn fingerprint(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Hashes a [`KeyHash`] to itself: it is a hash already.
///
/// Half a turn, because `HashMap` picks the place by the low bits, where the kind stands: unturned, a map
/// of aggregates alone would start every search in a quarter of its places.
#[derive(Debug, Default)]
pub struct KeyHasher(u64);

/// For maps whose keys are hashes already.
pub type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, bits: u64) {
        self.0 = bits.rotate_left(32);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a KeyHash hashes itself as one u64");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

const KIND_MASK: u64 = 0b11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_its_bits_and_parts_equal_bytes() {
        let kinds = [
            KeyKind::AggregateUuid,
            KeyKind::AggregateText,
            KeyKind::Tag,
            KeyKind::Topic,
        ];
        let keys = kinds.map(|kind| KeyHash::new(5, kind, b"same bytes"));
        for (key, kind) in keys.into_iter().zip(kinds) {
            assert_eq!(key.kind(), kind);
            assert_eq!(KeyHash::from_bits(key.to_bits()), key);
            assert_eq!(keys.iter().filter(|&&other| other == key).count(), 1);
        }
    }

    #[test]
    fn the_seed_changes_every_hash() {
        assert_ne!(
            KeyHash::new(1, KeyKind::Tag, b"t"),
            KeyHash::new(2, KeyKind::Tag, b"t")
        );
        assert_ne!(IdHash::new(1, &[0; 16]), IdHash::new(2, &[0; 16]));
    }
}
