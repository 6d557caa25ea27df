//! The answer to a lookup: ascending ordinals, wherever they lie.
//!
//! A view that is used like a slice, over words in memory (tail) or over little-endian bytes (sealed). It
//! borrows and copies nothing, and every access is checked, so that bytes that lie cost a wrong candidate
//! at most. It does not merge or intersect: that is the reader's plan, not the index's.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

/// Ascending ordinals of the events that may hold a key, each at most once.
#[derive(Clone, Copy)]
pub struct Postings<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    /// The only posting of a key needs no list.
    One(u32),
    Words(&'a [u32]),
    Bytes(&'a [[u8; 4]]),
}

impl<'a> Postings<'a> {
    /// No ordinals at all.
    pub const EMPTY: Self = Self(Form::Words(&[]));

    pub(crate) fn one(ordinal: u32) -> Self {
        Self(Form::One(ordinal))
    }

    pub(crate) fn words(ordinals: &'a [u32]) -> Self {
        Self(Form::Words(ordinals))
    }

    pub(crate) fn bytes(ordinals: &'a [[u8; 4]]) -> Self {
        Self(Form::Bytes(ordinals))
    }

    /// Count of ordinals.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Form::One(_) => 1,
            Form::Words(words) => words.len(),
            Form::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether no event holds the key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ordinal at `index` (0-based), `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u32> {
        match self.0 {
            Form::One(ordinal) => (index == 0).then_some(ordinal),
            Form::Words(words) => words.get(index).copied(),
            Form::Bytes(bytes) => bytes.get(index).copied().map(u32::from_le_bytes),
        }
    }

    /// The least ordinal.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.get(0)
    }

    /// The greatest ordinal.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Index of the first ordinal that is at or above `ordinal`; `len()` when all lie below.
    ///
    /// A binary search.
    #[must_use]
    pub fn lower_bound(&self, ordinal: u32) -> usize {
        match self.0 {
            Form::One(only) => usize::from(only < ordinal),
            Form::Words(words) => words.partition_point(|&word| word < ordinal),
            Form::Bytes(bytes) => bytes.partition_point(|&word| u32::from_le_bytes(word) < ordinal),
        }
    }

    /// The part whose ordinals lie in `ordinals` (start inclusive, end exclusive).
    #[must_use]
    pub fn range(&self, ordinals: Range<u32>) -> Self {
        let indexes = self.lower_bound(ordinals.start)..self.lower_bound(ordinals.end);
        match self.0 {
            Form::One(_) if indexes.is_empty() => Self::EMPTY,
            Form::One(_) => *self,
            // `get`, because an empty range may be reversed, and so may bytes that lie.
            Form::Words(words) => Self(Form::Words(words.get(indexes).unwrap_or_default())),
            Form::Bytes(bytes) => Self(Form::Bytes(bytes.get(indexes).unwrap_or_default())),
        }
    }

    /// Iterates over the ordinals, from either end.
    #[must_use]
    pub fn iter(&self) -> PostingsIter<'a> {
        PostingsIter {
            postings: *self,
            indexes: 0..self.len(),
        }
    }
}

impl Default for Postings<'_> {
    fn default() -> Self {
        Self::EMPTY
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
    fn one_posting_behaves_as_a_list_of_one() {
        let one = Postings::one(7);
        assert_eq!(one.iter().collect::<Vec<_>>(), [7]);
        assert_eq!([6, 7, 8].map(|ordinal| one.lower_bound(ordinal)), [0, 0, 1]);
        assert_eq!(one.range(7..8).last(), Some(7));
        assert!(one.range(0..7).is_empty() && one.range(8..9).is_empty());
    }
}
