//! Sealed index: lookups in the bytes of an `.idx` file, as read or as mapped.
//!
//! Nothing is decoded up front but the header; a lookup reads the few words it needs where they lie.
//!
//! - [`SealedIndex::open`] checks the header and that every section lies inside the slice: O(1).
//! - [`SealedIndex::verify`] checks the body, all of it: O(bytes). **Verify once before first use.**
//!
//! Invariant: every access is checked against the slice, so that bytes that lie (rotten, hostile, or
//! changed behind a map) never panic, loop long or allocate; they answer "absent" or a wrong candidate.

use std::fmt;
use std::ops::Range;

use crate::directory;
use crate::error::Error;
use crate::format::{
    KEY_ENTRY_SIZE, KeyEntry, SAMPLE_INTERVAL, SAMPLE_SIZE, SEALED_HEADER_SIZE, Sample,
    SealedHeader, SealedLayout, check_body, entry_key, expect_at_least, expect_at_most,
    expect_equal, only_ordinal,
};
use crate::{IdCandidates, IdHash, IdTimes, Identity, KeyHash, KeyIndex, Postings, Previous};

/// The index of one immutable segment, over the bytes of its file.
pub struct SealedIndex<B> {
    bytes: B,
    header: SealedHeader,
    layout: SealedLayout,
}

impl<B: AsRef<[u8]>> SealedIndex<B> {
    /// Opens the index in `bytes`, the whole file and nothing else.
    ///
    /// Checks the header and the bounds of all sections, but not the body: call
    /// [`verify`](Self::verify) once before the first lookup counts.
    ///
    /// # Errors
    /// All kinds of [`Error`]; [`Error::WrongIdentity`] when the index is sound but was derived from
    /// another segment than `expected`.
    pub fn open(bytes: B, expected: &Identity) -> Result<Self, Error> {
        let file = bytes.as_ref();
        let header = SealedHeader::decode(file)?;
        let layout = SealedLayout::of(&header, file.len())?;
        header.identity.check(expected)?;
        Ok(Self {
            bytes,
            header,
            layout,
        })
    }

    /// As [`SealedIndex::open`], of the first events of a segment: how many, the index says itself.
    ///
    /// # Errors
    /// As [`SealedIndex::open`].
    pub fn open_front(bytes: B, expected: &Identity) -> Result<Self, Error> {
        let event_count = SealedHeader::decode(bytes.as_ref())?.identity.event_count;
        Self::open(
            bytes,
            &Identity {
                event_count,
                ..*expected
            },
        )
    }

    /// Checks the checksum of the body and that its sections agree with each other.
    ///
    /// Reads every byte once; allocates less than the file is long.
    ///
    /// # Errors
    /// [`Error::Checksum`] for bytes that changed, [`Error::Malformed`] for a file that was written wrong.
    pub fn verify(&self) -> Result<(), Error> {
        self.verify_checksum()?;
        self.check_keys()?;
        self.check_ids()?;
        self.check_samples()
    }

    /// Checks the checksum of the body alone: that the bytes are those that were written.
    ///
    /// # Errors
    /// [`Error::Checksum`] for bytes that changed.
    pub fn verify_checksum(&self) -> Result<(), Error> {
        check_body(
            self.bytes.as_ref(),
            SEALED_HEADER_SIZE,
            self.header.body_crc,
        )
    }

    /// The segment that the index was derived from.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.header.identity
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_len(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Count of distinct keys.
    #[must_use]
    pub fn key_count(&self) -> u32 {
        self.header.key_count
    }

    /// All keys, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = KeyHash> + ExactSizeIterator + '_ {
        self.key_entries().iter().map(entry_key)
    }

    /// Key and last ordinal of each entry in turn; the last ordinal is `None` where the entry is broken.
    pub(crate) fn last_ordinals(&self) -> impl Iterator<Item = (KeyHash, Option<u32>)> + '_ {
        self.key_entries().iter().map(|bytes| {
            let last = self.ordinals(bytes).and_then(|ordinals| ordinals.last());
            (entry_key(bytes), last)
        })
    }

    /// Brings what a lookup of `key` reads first into the processor's cache. Whoever is about to ask several
    /// indexes asks all of them for `step` 0, then all for 1: so the waits for memory overlap.
    #[must_use = "a value that is not used is not waited for either"]
    pub fn touch(&self, key: KeyHash, step: u8) -> u8 {
        let directory = self.section(&self.layout.key_directory);
        directory::touch(
            directory,
            self.header.key_directory_bits,
            self.key_entries(),
            key,
            step,
        )
    }

    /// Time of the last sample; 0 without events.
    pub(crate) fn last_sample_us(&self) -> u64 {
        let last = self.samples().last().map(Sample::decode);
        last.map_or(0, |sample| sample.time_us)
    }

    fn find(&self, key: KeyHash) -> Option<&[u8; KEY_ENTRY_SIZE]> {
        let directory = self.section(&self.layout.key_directory);
        directory::find(
            directory,
            self.header.key_directory_bits,
            self.key_entries(),
            key,
        )
    }

    /// The ordinals of an entry, `None` if it points outside.
    fn ordinals<'a>(&'a self, bytes: &'a [u8; KEY_ENTRY_SIZE]) -> Option<Postings<'a>> {
        let entry = KeyEntry::decode(bytes);
        if entry.count == 1 {
            return (entry.start < self.len()).then(|| Postings::bytes(only_ordinal(bytes)));
        }
        let start = entry.start as usize;
        let postings = self.section(&self.layout.postings);
        postings
            .get(start..start.checked_add(entry.count as usize)?)
            .map(Postings::bytes)
    }

    fn key_entries(&self) -> &[[u8; KEY_ENTRY_SIZE]] {
        self.section(&self.layout.key_entries)
    }

    fn samples(&self) -> &[[u8; SAMPLE_SIZE]] {
        self.section(&self.layout.samples)
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

    /// Rules 13 to 16 of `FORMAT.md`.
    fn check_keys(&self) -> Result<(), Error> {
        let starts = directory::starts(
            self.header.key_directory_bits,
            self.keys().map(KeyHash::to_bits),
        );
        check_directory(
            "key directory",
            self.section(&self.layout.key_directory),
            &starts,
        )?;

        check_keys_ascend(self.keys())?;
        let mut next_posting = 0_u64;
        for bytes in self.key_entries() {
            let entry = KeyEntry::decode(bytes);
            if entry.count != 1 {
                expect_at_least("postings of a key", entry.count, 1)?;
                expect_equal(
                    "first posting of a key",
                    u64::from(entry.start),
                    next_posting,
                )?;
                next_posting += u64::from(entry.count);
            }
            if let Previous::Segment(segment) = entry.previous {
                expect_at_most(
                    "previous segment",
                    segment,
                    self.header.identity.segment - 1,
                )?;
            }
            let postings = self.ordinals(bytes).ok_or(Error::Malformed {
                what: "start of a key",
                found: entry.start.into(),
                expected: if entry.count == 1 {
                    self.len()
                } else {
                    self.header.posting_count
                }
                .into(),
            })?;
            self.check_ascending("ordinal of a key", postings)?;
        }
        expect_equal(
            "postings in use",
            next_posting,
            self.header.posting_count.into(),
        )
    }

    /// Rule 17 of `FORMAT.md`. Whether an id stands in its right bucket cannot be told: no hash is stored.
    fn check_ids(&self) -> Result<(), Error> {
        let directory: &[[u8; 4]] = self.section(&self.layout.id_directory);
        let ids = self.section(&self.layout.ids);
        let mut start = 0;
        for (index, &word) in directory.iter().enumerate() {
            let end = u32::from_le_bytes(word);
            expect_at_least("id directory", end, start)?;
            expect_at_most("id directory", end, if index == 0 { 0 } else { self.len() })?;
            let bucket = ids.get(start as usize..end as usize).unwrap_or_default();
            self.check_ascending("ordinal of an id", Postings::bytes(bucket))?;
            start = end;
        }
        expect_equal("end of the id directory", start, self.len())
    }

    /// Rule 18 of `FORMAT.md`.
    fn check_samples(&self) -> Result<(), Error> {
        let mut least_time_us = 0;
        for (index, bytes) in (0_u32..).zip(self.samples()) {
            let sample = Sample::decode(bytes);
            expect_equal(
                "ordinal of a time sample",
                sample.ordinal,
                index * SAMPLE_INTERVAL,
            )?;
            expect_at_least("time of a time sample", sample.time_us, least_time_us)?;
            least_time_us = sample.time_us;
        }
        Ok(())
    }

    fn check_ascending(&self, what: &'static str, ordinals: Postings<'_>) -> Result<(), Error> {
        let mut least = 0;
        for ordinal in ordinals {
            expect_at_least(what, u64::from(ordinal), least)?;
            least = u64::from(ordinal) + 1;
        }
        expect_at_most(what, least, self.len().into())
    }
}

impl<B: AsRef<[u8]>> KeyIndex for SealedIndex<B> {
    fn len(&self) -> u32 {
        self.header.identity.event_count
    }

    fn postings(&self, key: KeyHash) -> Postings<'_> {
        self.find(key)
            .and_then(|entry| self.ordinals(entry))
            .unwrap_or_default()
    }

    fn previous_segment(&self, key: KeyHash) -> Previous {
        self.lookup(key).1
    }

    fn lookup(&self, key: KeyHash) -> (Postings<'_>, Previous) {
        let Some(entry) = self.find(key) else {
            return (Postings::EMPTY, Previous::Unknown);
        };
        let previous = match KeyEntry::decode(entry).previous {
            // Only ever downwards, so that following it ends even through files that lie.
            Previous::Segment(segment) if segment >= self.header.identity.segment => {
                Previous::Unknown
            }
            previous => previous,
        };
        (self.ordinals(entry).unwrap_or_default(), previous)
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        let offsets = self.section(&self.layout.offsets);
        offsets
            .get(ordinal as usize)
            .copied()
            .map(u32::from_le_bytes)
    }

    fn id_candidates(&self, id: IdHash) -> IdCandidates<'_> {
        let directory = self.section(&self.layout.id_directory);
        let ids = self.section(&self.layout.ids);
        let bucket = directory::bucket(directory, self.header.id_directory_bits, id.to_bits())
            .and_then(|bucket| ids.get(bucket));
        IdCandidates::bucket(bucket.unwrap_or_default())
    }

    fn id_times(&self) -> IdTimes {
        self.header.id_times
    }

    fn time_floor(&self, time_us: u64) -> u32 {
        let samples = self.samples();
        let later = samples.partition_point(|bytes| Sample::decode(bytes).time_us < time_us);
        let floor = later
            .checked_sub(1)
            .and_then(|index| samples.get(index))
            .map(Sample::decode);
        // Past the end is a lie, and no event may be skipped for it: scan from the start.
        floor
            .filter(|sample| sample.ordinal < self.len())
            .map_or(0, |sample| sample.ordinal)
    }
}

impl<B> fmt::Debug for SealedIndex<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedIndex")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Keys ascend, and none comes twice.
pub(crate) fn check_keys_ascend(keys: impl Iterator<Item = KeyHash>) -> Result<(), Error> {
    let mut last = None;
    for key in keys {
        if let Some(last) = last
            && key <= last
        {
            return Err(Error::Malformed {
                what: "key out of order",
                found: key.to_bits(),
                expected: last.to_bits(),
            });
        }
        last = Some(key);
    }
    Ok(())
}

/// Compares a directory with the one that its entries would have.
pub(crate) fn check_directory(
    what: &'static str,
    found: &[[u8; 4]],
    expected: &[u32],
) -> Result<(), Error> {
    for (&found, &expected) in found.iter().zip(expected) {
        expect_equal(what, u32::from_le_bytes(found), expected)?;
    }
    Ok(())
}
