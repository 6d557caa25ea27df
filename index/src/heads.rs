//! Heads: one table over many sealed segments, from a key to the newest place that holds it.
//!
//! A version check or the start of a backward read is one probe here, at ten segments or ten thousand; a
//! key that is absent is in none of the segments covered. From the head, the entry of each sealed index
//! names the previous segment, so that reading a key touches exactly the segments that hold it.
//!
//! As with a [`SealedIndex`](crate::SealedIndex): [`Heads::open`] checks the header, [`Heads::verify`] the
//! body, once before first use, and bytes that lie answer "absent" or a wrong candidate.

mod fold;

use std::fmt;
use std::ops::Range;

pub use fold::fold_heads;

use crate::directory;
use crate::error::Error;
use crate::format::{
    HEAD_ENTRY_SIZE, HEADS_HEADER_SIZE, HeadsHeader, HeadsLayout, check_body, decode_head,
    entry_key, expect_at_least, expect_at_most, expect_equal,
};
use crate::sealed::{check_directory, check_keys_ascend};
use crate::{HeadsIdentity, KeyHash};

/// The newest event that holds a key, over the segments that a [`Heads`] covers.
///
/// To verify, as every answer: two keys of one hash share a head, the newer one's. If the record at
/// `last_position` does not hold the key, walk the segments back from `last_segment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of that event in its aggregate; 0 for tags and topics, which have none.
    pub last_version: u64,
    /// Position of that event, 1-based.
    pub last_position: u64,
    /// Number of the segment that holds it.
    pub last_segment: u64,
    /// Which of the 32 segments before that one hold the key too, bit 0 the one just before: what a reader may ask
    /// for ahead, instead of one after the other as the sealed indexes name them.
    pub earlier: u32,
}

impl Head {
    /// Numbers of the segments that are told to hold the key, the newest first.
    pub fn segments(&self) -> impl Iterator<Item = u64> + use<> {
        let Self {
            last_segment,
            earlier,
            ..
        } = *self;
        let before = (1..=u64::from(u32::BITS)).filter(move |back| earlier >> (back - 1) & 1 == 1);
        let before = before.map_while(move |back| last_segment.checked_sub(back));
        [last_segment].into_iter().chain(before)
    }

    /// The `earlier` of a head in `segment`, when this is the newest before it.
    fn earlier_from(&self, segment: u64) -> u32 {
        // A broken run may not ascend: nothing is told then.
        let back = segment.saturating_sub(self.last_segment);
        let behind = u32::try_from(back).unwrap_or(u32::MAX);
        let last = behind.checked_sub(1).and_then(|bit| 1_u32.checked_shl(bit));
        self.earlier.checked_shl(behind).unwrap_or(0) | last.unwrap_or(0)
    }
}

/// A table of heads over the bytes of its file.
pub struct Heads<B> {
    bytes: B,
    header: HeadsHeader,
    layout: HeadsLayout,
}

impl<B: AsRef<[u8]>> Heads<B> {
    /// Opens the table in `bytes`, the whole file and nothing else.
    ///
    /// Checks the header and the bounds of all sections, but not the body: call
    /// [`verify`](Self::verify) once before the first lookup counts.
    ///
    /// # Errors
    /// All kinds of [`Error`]; [`Error::WrongIdentity`] for a table of another log or another reach.
    pub fn open(bytes: B, expected: &HeadsIdentity) -> Result<Self, Error> {
        let file = bytes.as_ref();
        let header = HeadsHeader::decode(file)?;
        let layout = HeadsLayout::of(&header, file.len())?;
        header.identity.check(expected)?;
        Ok(Self {
            bytes,
            header,
            layout,
        })
    }

    /// Checks the checksum of the body alone: that the bytes are those that were written.
    ///
    /// # Errors
    /// [`Error::Checksum`] for bytes that changed.
    pub fn verify_checksum(&self) -> Result<(), Error> {
        check_body(self.bytes.as_ref(), HEADS_HEADER_SIZE, self.header.body_crc)
    }

    /// Checks the checksum of the body and that its sections agree with each other.
    ///
    /// Reads every byte once; allocates less than the file is long.
    ///
    /// # Errors
    /// [`Error::Checksum`] for bytes that changed, [`Error::Malformed`] for a file that was written wrong.
    pub fn verify(&self) -> Result<(), Error> {
        self.verify_checksum()?;
        let keys = || self.entries().iter().map(entry_key);
        let starts = directory::starts(self.header.directory_bits, keys().map(KeyHash::to_bits));
        check_directory(
            "key directory",
            self.section(&self.layout.directory),
            &starts,
        )?;
        check_keys_ascend(keys())?;
        for (_, head) in self.iter() {
            expect_at_least("segment of a head", head.last_segment, 1_u64)?;
            expect_at_most("segment of a head", head.last_segment, self.covers())?;
            let below = head.last_segment.min(33) as u32 - 1;
            let outside = head.earlier.checked_shr(below).unwrap_or(0);
            expect_equal("earlier segments of a head below the first", outside, 0)?;
        }
        Ok(())
    }

    /// The newest event that may hold `key`; `None` when no segment covered holds it.
    #[must_use]
    pub fn lookup(&self, key: KeyHash) -> Option<Head> {
        let directory = self.section(&self.layout.directory);
        let entry = directory::find(directory, self.header.directory_bits, self.entries(), key)?;
        let head = decode_head(entry);
        (1..=self.covers())
            .contains(&head.last_segment)
            .then_some(head)
    }

    /// As [`SealedIndex::touch`](crate::SealedIndex::touch).
    #[must_use = "a value that is not used is not waited for either"]
    pub fn touch(&self, key: KeyHash, step: u8) -> u8 {
        let directory = self.section(&self.layout.directory);
        directory::touch(
            directory,
            self.header.directory_bits,
            self.entries(),
            key,
            step,
        )
    }

    /// All keys and their heads, ascending by key.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (KeyHash, Head)> + ExactSizeIterator + '_ {
        self.entries()
            .iter()
            .map(|entry| (entry_key(entry), decode_head(entry)))
    }

    /// Number of the last segment folded in, inclusive; 0 when none is.
    #[must_use]
    pub fn covers(&self) -> u64 {
        self.header.identity.covers
    }

    /// The log and the reach of the table.
    #[must_use]
    pub fn identity(&self) -> HeadsIdentity {
        self.header.identity
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_len(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Count of distinct keys.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.header.key_count
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entries(&self) -> &[[u8; HEAD_ENTRY_SIZE]] {
        self.section(&self.layout.entries)
    }

    fn section<const N: usize>(&self, range: &Range<usize>) -> &[[u8; N]] {
        // `get`, although `open` checked the bounds: nothing obliges `B` to return the same slice again.
        self.bytes
            .as_ref()
            .get(range.clone())
            .unwrap_or_default()
            .as_chunks()
            .0
    }
}

impl<B> fmt::Debug for Heads<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
