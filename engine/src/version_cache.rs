//! Last versions of the aggregates written lately, so that most appends look nothing up.
//!
//! A direct-mapped table: each key has one place, and the newer entry wins it. Only the writer has it, and
//! every event goes through the writer, so what is found is exact; what is not found is looked up in the
//! indexes. It grows with use, up to a bound.

use annals_index::KeyHash;

use crate::aggregate_id::AggregateId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct VersionCache {
    /// A power of two of places, or none yet.
    places: Vec<Option<Entry>>,
    /// Entries written since the table last grew.
    written: usize,
    /// Places that are taken.
    taken: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    key: KeyHash,
    id: AggregateId,
    version: u64,
}

impl VersionCache {
    /// The last version of an aggregate, when it is known.
    pub(crate) fn version(&self, key: KeyHash, id: &AggregateId) -> Option<u64> {
        let entry = self.places.get(self.place(key)?)?.as_ref()?;
        (entry.key == key && entry.id == *id).then_some(entry.version)
    }

    /// Notes the last version of an aggregate.
    pub(crate) fn note(&mut self, key: KeyHash, id: &AggregateId, version: u64) {
        self.grow_when_full();
        let Some(place) = self.place(key) else { return };
        match &mut self.places[place] {
            Some(entry) if entry.key == key && entry.id == *id => entry.version = version,
            other => {
                self.written += 1;
                self.taken += usize::from(other.is_none());
                *other = Some(Entry {
                    key,
                    id: id.clone(),
                    version,
                });
            }
        }
    }

    /// Entries, and bytes of the table without what ids that are text take.
    pub(crate) fn len(&self) -> (usize, usize) {
        (
            self.taken,
            self.places.capacity() * size_of::<Option<Entry>>(),
        )
    }

    fn place(&self, key: KeyHash) -> Option<usize> {
        // The low bits of a key hash are its kind.
        let mask = self.places.len().checked_sub(1)?;
        Some((key.to_bits() >> 2) as usize & mask)
    }

    fn grow_when_full(&mut self) {
        if self.written < self.places.len() || self.places.len() >= PLACES_MAX {
            return;
        }
        let len = (self.places.len() * 4).max(PLACES_MIN);
        let before = std::mem::replace(&mut self.places, vec![None; len]);
        self.written = 0;
        for entry in before.into_iter().flatten() {
            let place = self.place(entry.key).expect("the table has places now");
            self.places[place] = Some(entry);
        }
    }
}

const PLACES_MIN: usize = 256;
/// Some 12 MiB of entries, when so many aggregates are in use.
const PLACES_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use annals_index::KeyKind;

    use super::*;

    #[test]
    fn what_is_known_is_the_last_version_and_of_this_very_aggregate() {
        let mut cache = VersionCache::default();
        let ids: Vec<_> = (0..600_000)
            .map(|number| AggregateId::text(format!("{number}")).unwrap())
            .collect();
        let key =
            |id: &AggregateId| KeyHash::new(7, KeyKind::AggregateText, id.to_string().as_bytes());
        for round in 1..=3 {
            for id in &ids {
                assert!(
                    cache
                        .version(key(id), id)
                        .is_none_or(|version| version == round - 1)
                );
                cache.note(key(id), id, round);
                assert_eq!(cache.version(key(id), id), Some(round));
            }
        }
        let known = ids
            .iter()
            .filter(|id| cache.version(key(id), id).is_some())
            .count();
        assert!(known > PLACES_MAX / 2, "{known} of 600,000");
        assert_eq!(cache.len().0, known);
    }

    #[test]
    fn two_ids_of_one_hash_are_told_apart() {
        let mut cache = VersionCache::default();
        let (one, other) = (
            AggregateId::text("one").unwrap(),
            AggregateId::text("other").unwrap(),
        );
        let key = KeyHash::new(7, KeyKind::AggregateText, b"one");
        cache.note(key, &one, 5);
        assert_eq!(cache.version(key, &other), None);
        cache.note(key, &other, 9);
        assert_eq!(
            (cache.version(key, &one), cache.version(key, &other)),
            (None, Some(9))
        );
    }
}
