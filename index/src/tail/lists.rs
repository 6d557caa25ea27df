//! Growing lists of ordinals, packed in one vector.
//!
//! Most keys have one or two ordinals, a few have as many as there are events. A `Vec` a key would cost 24
//! bytes and an allocation each. Here a list is a block of `2^n` words in one vector; a full list moves to
//! a block of twice the size, and its old block waits in a free list for another. So a list stays one
//! slice, costs 8 bytes in its key's entry, and a list of one is no block at all.
//!
//! Invariant: a list of `len >= 2` ordinals owns the block of `len.next_power_of_two()` words at `at`.

/// Where the ordinals of one key are.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    len: u32,
    /// The ordinal itself if `len` is 1, else the first word of the block.
    at: u32,
}

impl List {
    pub(super) fn one(ordinal: u32) -> Self {
        Self {
            len: 1,
            at: ordinal,
        }
    }

    /// A word of it, whichever.
    pub(super) fn any_word(self) -> u32 {
        self.at
    }
}

/// The blocks of all lists of more than one ordinal.
#[derive(Debug)]
pub(super) struct PostingLists {
    words: Vec<u32>,
    /// By class, the binary logarithm of the size: the first free block, whose first word names the next.
    free: [u32; CLASSES],
}

impl PostingLists {
    pub(super) fn new() -> Self {
        Self {
            words: Vec::new(),
            free: [NO_BLOCK; CLASSES],
        }
    }

    /// Appends an ordinal, unless the list ends with it already.
    ///
    /// Amortised O(1): a move doubles the block.
    pub(super) fn append(&mut self, list: &mut List, ordinal: u32) {
        if self.last(*list) == ordinal {
            return;
        }
        if list.len.is_power_of_two() {
            self.grow(list);
        }
        self.words[(list.at + list.len) as usize] = ordinal;
        list.len += 1;
    }

    /// The ordinals of a list.
    pub(super) fn ordinals<'a>(&'a self, list: &'a List) -> &'a [u32] {
        if list.len == 1 {
            std::slice::from_ref(&list.at)
        } else {
            let start = list.at as usize;
            &self.words[start..start + list.len as usize]
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }

    fn last(&self, list: List) -> u32 {
        if list.len == 1 {
            list.at
        } else {
            self.words[(list.at + list.len - 1) as usize]
        }
    }

    /// Moves a full list to a block of twice its length.
    fn grow(&mut self, list: &mut List) {
        let block = self.allocate(list.len.ilog2() + 1);
        if list.len == 1 {
            self.words[block as usize] = list.at;
        } else {
            let start = list.at as usize;
            self.words
                .copy_within(start..start + list.len as usize, block as usize);
            self.release(list.at, list.len.ilog2() as usize);
        }
        list.at = block;
    }

    /// A block of `2^class` words: the smallest free one that is large enough, else a new one.
    ///
    /// A larger block is halved until it fits, so that what a long list left behind serves many short ones.
    fn allocate(&mut self, class: u32) -> u32 {
        let class = class as usize;
        if let Some(found) = (class..CLASSES).find(|&class| self.free[class] != NO_BLOCK) {
            let block = self.free[found];
            self.free[found] = self.words[block as usize];
            for half in class..found {
                self.release(block + (1 << half), half);
            }
            return block;
        }
        let block = self.words.len();
        let end = block + (1_usize << class);
        assert!(
            end < NO_BLOCK as usize,
            "a segment has fewer than 2^31 postings, {end} words are asked for"
        );
        self.words.resize(end, 0);
        block as u32
    }

    fn release(&mut self, block: u32, class: usize) {
        self.words[block as usize] = std::mem::replace(&mut self.free[class], block);
    }
}

/// Blocks have sizes of `2^1..2^32` words.
const CLASSES: usize = u32::BITS as usize;
/// Above every block's place: see `allocate`.
const NO_BLOCK: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_grow_in_turn_keep_their_ordinals() {
        let mut lists = PostingLists::new();
        let mut keys: Vec<List> = (0..40).map(List::one).collect();
        for ordinal in 40..4000_u32 {
            // Uneven: low keys get most, so that blocks of all sizes are freed and taken again.
            let key = (ordinal.wrapping_mul(0x9e37_79b9) >> 16) % (1 + ordinal % 40);
            lists.append(&mut keys[key as usize], ordinal);
            lists.append(&mut keys[key as usize], ordinal);
        }
        let mut all = Vec::new();
        for list in keys {
            let ordinals = lists.ordinals(&list).to_vec();
            assert!(ordinals.is_sorted_by(|a, b| a < b));
            all.extend(ordinals);
        }
        all.sort_unstable();
        assert_eq!(all, (0..4000).collect::<Vec<_>>());
    }

    #[test]
    fn freed_blocks_are_used_again() {
        let mut lists = PostingLists::new();
        let mut first = List::one(0);
        (1..5).for_each(|ordinal| lists.append(&mut first, ordinal));
        let words = lists.words.len();
        let mut second = List::one(5);
        (6..9).for_each(|ordinal| lists.append(&mut second, ordinal));
        assert_eq!(
            lists.words.len(),
            words,
            "the second list fits into what the first one left"
        );
        assert_eq!(lists.ordinals(&first), [0, 1, 2, 3, 4]);
        assert_eq!(lists.ordinals(&second), [5, 6, 7, 8]);
    }
}
