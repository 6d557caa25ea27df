//! A map that knows in what order its entries were used.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Entries by key, and by when they were last used.
///
/// Of our own, not a crate for caches: entries are taken out while they are in use and put back, so that what such a
/// crate is good at (many readers of one entry at once) never happens, and which entry goes is to be exact.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// When, counted in uses, each key was used last: the first is the one to go.
    uses: BTreeMap<u64, K>,
    next_use: u64,
}

#[derive(Debug)]
struct Entry<V> {
    used: u64,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            uses: BTreeMap::new(),
            next_use: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry, which counts as a use.
    pub(super) fn touch(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        let key = self
            .uses
            .remove(&entry.used)
            .expect("each entry has its last use");
        entry.used = self.next_use;
        self.uses.insert(self.next_use, key);
        self.next_use += 1;
        Some(&mut entry.value)
    }

    /// The entry, which counts for nothing.
    pub(super) fn peek(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Puts in a new entry as the one used last. Answers what was there under the key.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        let used = self.next_use;
        self.next_use += 1;
        self.uses.insert(used, key.clone());
        self.entries.insert(key, Entry { used, value });
        before
    }

    /// Takes out the values for which `is_to_go` holds; it may change those that stay.
    pub(super) fn take_all(&mut self, mut is_to_go: impl FnMut(&mut V) -> bool) -> Vec<V> {
        let to_go = self.entries.iter_mut();
        let to_go = to_go.filter_map(|(key, entry)| is_to_go(&mut entry.value).then_some(key));
        let to_go: Vec<K> = to_go.cloned().collect();
        to_go.iter().filter_map(|key| self.remove(key)).collect()
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.uses.remove(&entry.used);
        Some(entry.value)
    }

    /// Takes out the entry that has not been used for longest.
    pub(super) fn pop_oldest(&mut self) -> Option<V> {
        let (_, key) = self.uses.pop_first()?;
        self.entries.remove(&key).map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_longest_goes_first() {
        let mut lru = Lru::new();
        for number in 0..4 {
            assert_eq!(lru.insert(number, number), None);
        }
        assert_eq!(lru.touch(&0), Some(&mut 0));
        assert_eq!(lru.peek(&1), Some(&mut 1));
        assert_eq!(lru.insert(2, 22), Some(2));
        assert_eq!(lru.remove(&9), None);
        let order: Vec<_> = std::iter::from_fn(|| lru.pop_oldest()).collect();
        assert_eq!(order, [1, 3, 0, 22]);
        assert_eq!((lru.len(), lru.uses.len()), (0, 0));
    }

    #[test]
    fn what_was_removed_leaves_nothing() {
        let mut lru = Lru::new();
        lru.insert("a", 1);
        lru.insert("b", 2);
        assert_eq!(lru.remove(&"a"), Some(1));
        assert_eq!((lru.len(), lru.uses.len()), (1, 1));
        assert_eq!(lru.touch(&"a"), None);
        assert_eq!(lru.pop_oldest(), Some(2));
        assert_eq!(lru.pop_oldest(), None);
    }
}
