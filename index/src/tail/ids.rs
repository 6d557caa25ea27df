//! Event ids of the tail: a chained table over 32-bit fingerprints.
//!
//! Three vectors of words, nothing an id: the fingerprint and the next older event of the same bucket by
//! ordinal, and the newest event by bucket. When events outnumber the buckets two to one, the buckets
//! double and every chain is linked anew, in the order of ordinals, so that a chain stays newest first.

use crate::key::IdHash;

/// Fingerprints of event ids, found by hash.
#[derive(Debug)]
pub(super) struct IdTable {
    fingerprints: Vec<u32>,
    older: Vec<u32>,
    newest: Vec<u32>,
}

impl IdTable {
    pub(super) fn new() -> Self {
        Self {
            fingerprints: Vec::new(),
            older: Vec::new(),
            newest: vec![END; BUCKETS_MIN],
        }
    }

    /// Adds the id of the next ordinal.
    pub(super) fn push(&mut self, id: IdHash) {
        if self.fingerprints.len() == 2 * self.newest.len() {
            self.double();
        }
        self.fingerprints.push(id.fingerprint());
        self.older.push(END);
        self.link(self.fingerprints.len() - 1);
    }

    /// Candidates, as ordinals of a segment of which this table knows those from `first` on.
    pub(super) fn candidates(&self, id: IdHash, first: u32) -> IdChain<'_> {
        let fingerprint = id.fingerprint();
        IdChain {
            table: self,
            first,
            fingerprint,
            next: self.newest[self.bucket(fingerprint)],
        }
    }

    /// By ordinal, in this table.
    pub(super) fn fingerprints(&self) -> &[u32] {
        &self.fingerprints
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let words = self.fingerprints.capacity() + self.older.capacity() + self.newest.capacity();
        words * size_of::<u32>()
    }

    fn bucket(&self, fingerprint: u32) -> usize {
        // The count of buckets is a power of two.
        fingerprint as usize & (self.newest.len() - 1)
    }

    fn link(&mut self, ordinal: usize) {
        let bucket = self.bucket(self.fingerprints[ordinal]);
        self.older[ordinal] = std::mem::replace(&mut self.newest[bucket], ordinal as u32);
    }

    fn double(&mut self) {
        self.newest = vec![END; 2 * self.newest.len()];
        (0..self.fingerprints.len()).for_each(|ordinal| self.link(ordinal));
    }
}

/// Ordinals whose ids have one fingerprint, newest first.
#[derive(Clone, Debug)]
pub(crate) struct IdChain<'a> {
    table: &'a IdTable,
    first: u32,
    fingerprint: u32,
    next: u32,
}

impl Iterator for IdChain<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.next != END {
            let ordinal = self.next;
            self.next = self.table.older[ordinal as usize];
            if self.table.fingerprints[ordinal as usize] == self.fingerprint {
                return Some(self.first + ordinal);
            }
        }
        None
    }
}

/// No ordinal reaches it: see `TailIndex::push`.
const END: u32 = u32::MAX;
const BUCKETS_MIN: usize = 64;
const _: () = assert!(BUCKETS_MIN.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_fingerprint_come_newest_first_across_doublings() {
        let mut ids = IdTable::new();
        for n in 0..1000_u64 {
            ids.push(IdHash::from_bits((n % 3) << 32 | n));
        }
        let found: Vec<u32> = ids.candidates(IdHash::from_bits(2 << 32), 0).collect();
        assert_eq!(
            found,
            (0..1000).filter(|n| n % 3 == 2).rev().collect::<Vec<_>>()
        );
        assert_eq!(ids.candidates(IdHash::from_bits(3 << 32), 0).count(), 0);
    }
}
