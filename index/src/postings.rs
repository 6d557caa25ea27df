//! The answer to a lookup: ascending ordinals, wherever they lie.
//!
//! A view that is used like a slice, over words in memory (tail) or over little-endian bytes (sealed). It
//! borrows and copies nothing, and every access is checked, so that bytes that lie cost a wrong candidate
//! at most. It does not merge or intersect: that is the reader's plan, not the index's.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

/// Ascending ordinals of the events that may hold a key, each at most once.
///
/// Words of a sealed part, then words of a tail behind it; either may be empty.
#[derive(Clone, Copy, Default)]
pub struct Postings<'a> {
    sealed: &'a [[u8; 4]],
    tail: &'a [u32],
}

impl<'a> Postings<'a> {
    /// No ordinals at all.
    pub const EMPTY: Self = Self::words(&[]);

    #[inline]
    pub(crate) const fn words(tail: &'a [u32]) -> Self {
        Self { sealed: &[], tail }
    }

    #[inline]
    pub(crate) const fn bytes(sealed: &'a [[u8; 4]]) -> Self {
        Self { sealed, tail: &[] }
    }

    /// These, and behind them those of a tail, all of which are greater.
    #[inline]
    pub(crate) fn then(self, tail: &'a [u32]) -> Self {
        Self { tail, ..self }
    }

    /// Count of ordinals.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.sealed.len() + self.tail.len()
    }

    /// Whether no event holds the key.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ordinal at `index` (0-based), `None` past the end.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<u32> {
        match self.sealed.get(index) {
            Some(word) => Some(u32::from_le_bytes(*word)),
            None => self
                .tail
                .get(index.checked_sub(self.sealed.len())?)
                .copied(),
        }
    }

    /// The least ordinal.
    #[must_use]
    #[inline]
    pub fn first(&self) -> Option<u32> {
        self.get(0)
    }

    /// The greatest ordinal.
    #[must_use]
    #[inline]
    pub fn last(&self) -> Option<u32> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Index of the first ordinal that is at or above `ordinal`; `len()` when all lie below.
    ///
    /// A binary search.
    #[must_use]
    #[inline]
    pub fn lower_bound(&self, ordinal: u32) -> usize {
        let sealed = self
            .sealed
            .partition_point(|&word| u32::from_le_bytes(word) < ordinal);
        if sealed < self.sealed.len() {
            return sealed;
        }
        sealed + self.tail.partition_point(|&word| word < ordinal)
    }

    /// The part whose ordinals lie in `ordinals` (start inclusive, end exclusive).
    #[must_use]
    #[inline]
    pub fn range(&self, ordinals: Range<u32>) -> Self {
        let (start, end) = (
            self.lower_bound(ordinals.start),
            self.lower_bound(ordinals.end),
        );
        let cut = |index: usize| index.min(self.sealed.len());
        let behind = |index: usize| index - cut(index);
        // `get`, because an empty range may be reversed, and so may bytes that lie.
        Self {
            sealed: self.sealed.get(cut(start)..cut(end)).unwrap_or_default(),
            tail: self
                .tail
                .get(behind(start)..behind(end))
                .unwrap_or_default(),
        }
    }

    /// Iterates over the ordinals, from either end.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> PostingsIter<'a> {
        PostingsIter {
            postings: *self,
            indexes: 0..self.len(),
        }
    }
}

impl fmt::Debug for Postings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Postings<'a> {
    type Item = u32;
    type IntoIter = PostingsIter<'a>;

    fn into_iter(self) -> PostingsIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Postings`].
#[derive(Clone, Debug)]
pub struct PostingsIter<'a> {
    postings: Postings<'a>,
    indexes: Range<usize>,
}

impl Iterator for PostingsIter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.postings.get(self.indexes.next()?)
    }

    fn nth(&mut self, n: usize) -> Option<u32> {
        self.postings.get(self.indexes.nth(n)?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indexes.size_hint()
    }
}

impl DoubleEndedIterator for PostingsIter<'_> {
    fn next_back(&mut self) -> Option<u32> {
        self.postings.get(self.indexes.next_back()?)
    }

    fn nth_back(&mut self, n: usize) -> Option<u32> {
        self.postings.get(self.indexes.nth_back(n)?)
    }
}

impl ExactSizeIterator for PostingsIter<'_> {}
impl FusedIterator for PostingsIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [[u8; 4]; 3] = [[2, 0, 0, 0], [5, 0, 0, 0], [0, 1, 0, 0]];

    #[test]
    fn words_and_bytes_answer_alike() {
        let (words, bytes) = (Postings::words(&[2, 5, 256]), Postings::bytes(&BYTES));
        for postings in [words, bytes] {
            assert_eq!(postings.iter().collect::<Vec<_>>(), [2, 5, 256]);
            assert_eq!(postings.iter().rev().collect::<Vec<_>>(), [256, 5, 2]);
            assert_eq!(
                [postings.first(), postings.last(), postings.get(3)],
                [Some(2), Some(256), None]
            );
            assert_eq!(
                [0, 2, 3, 256, 257].map(|ordinal| postings.lower_bound(ordinal)),
                [0, 0, 1, 2, 3]
            );
            assert_eq!(postings.range(3..256).iter().collect::<Vec<_>>(), [5]);
            #[expect(
                clippy::reversed_empty_ranges,
                reason = "a reversed range is what is tested"
            )]
            let reversed = postings.range(256..3);
            assert!(reversed.is_empty());
        }
    }

    #[test]
    fn a_tail_behind_a_sealed_part_goes_on_with_it() {
        let joined = Postings::bytes(&BYTES).then(&[300, 400]);
        let all = [2, 5, 256, 300, 400];
        assert_eq!(joined.iter().collect::<Vec<_>>(), all);
        assert_eq!((joined.last(), joined.get(5)), (Some(400), None));
        for from in 0..410 {
            assert_eq!(
                joined.lower_bound(from),
                all.iter().filter(|&&ordinal| ordinal < from).count()
            );
            for to in [0, 5, 256, 257, 300, 301, 401] {
                let expected = all.iter().copied().filter(|one| (from..to).contains(one));
                let found = joined.range(from..to);
                assert_eq!(
                    found.iter().collect::<Vec<_>>(),
                    expected.collect::<Vec<_>>()
                );
            }
        }
    }
}
