//! Last versions of the aggregates written lately, so that most appends look nothing up.
//!
//! A table of pairs of places: a new entry takes the first place of its pair, what was there moves to the second,
//! and what was there is forgotten. Only the writer has it, and every event goes through the writer, so what is
//! found is exact; what is not found is looked up in the indexes. It grows with use, up to a bound.

use annals_index::KeyHash;

use crate::aggregate_id::AggregateId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct VersionCache {
    /// A power of two of pairs, or none yet.
    places: Vec<[Option<Entry>; 2]>,
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
        let pair = self.places.get(self.pair(key)?)?;
        let is_it = |entry: &&Entry| entry.key == key && entry.id == *id;
        let found = pair.iter().flatten().find(is_it);
        found.map(|entry| entry.version)
    }

    /// Brings the places of these keys into the processor's cache. Each is a wait for memory; asked for in a row,
    /// they are waited for together.
    pub(crate) fn touch(&self, keys: impl Iterator<Item = KeyHash>) {
        let places = keys.filter_map(|key| self.places.get(self.pair(key)?)?[0].as_ref());
        std::hint::black_box(places.fold(0, |sum, entry| sum ^ entry.version));
    }

    /// Notes the last version of an aggregate.
    pub(crate) fn note(&mut self, key: KeyHash, id: &AggregateId, version: u64) {
        self.grow_when_full();
        let Some(pair) = self.pair(key) else { return };
        let is_it = |entry: &&mut Entry| entry.key == key && entry.id == *id;
        match self.places[pair].iter_mut().flatten().find(is_it) {
            Some(entry) => entry.version = version,
            None => {
                self.written += 1;
                let id = id.clone();
                self.insert(pair, Entry { key, id, version });
            }
        }
    }

    fn insert(&mut self, pair: usize, entry: Entry) {
        let [first, second] = &mut self.places[pair];
        let forgotten = std::mem::replace(second, first.replace(entry));
        self.taken += usize::from(forgotten.is_none());
    }

    /// Entries, and bytes of the table without what ids that are text take.
    pub(crate) fn len(&self) -> (usize, usize) {
        (
            self.taken,
            self.places.capacity() * size_of::<[Option<Entry>; 2]>(),
        )
    }

    fn pair(&self, key: KeyHash) -> Option<usize> {
        // The low bits of a key hash are its kind.
        let mask = self.places.len().checked_sub(1)?;
        Some((key.to_bits() >> 2) as usize & mask)
    }

    fn grow_when_full(&mut self) {
        if self.written < self.places.len() || self.places.len() >= PAIRS_MAX {
            return;
        }
        let len = (self.places.len() * 4).max(PAIRS_MIN);
        let before = std::mem::replace(&mut self.places, vec![[None, None]; len]);
        (self.written, self.taken) = (0, 0);
        // The second of a pair is the older one.
        for entry in before
            .into_iter()
            .flat_map(|[first, second]| [second, first])
            .flatten()
        {
            let pair = self.pair(entry.key).expect("the table has places now");
            self.insert(pair, entry);
        }
    }
}

const PAIRS_MIN: usize = 128;
/// Some 10 MiB of entries, when so many aggregates are in use.
const PAIRS_MAX: usize = 1 << 17;

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
        assert!(known > PAIRS_MAX, "{known} of 600,000");
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
            (Some(5), Some(9))
        );
    }
}
