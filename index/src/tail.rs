//! Tail index: in memory, for the segment being written.
//!
//! Append only, so an answer once given stays a prefix of every later answer; whoever shares a tail between
//! a writer and readers may cut postings at the ordinal it has published. When the segment is sealed,
//! [`TailIndex::encode`] turns the tail into the bytes of a [`SealedIndex`](crate::SealedIndex); they
//! depend on nothing but what was pushed.
//!
//! Memory: 19 to 39 bytes a key in its map (16, a control byte, and the slack of a table), 4 to 8 for each
//! posting of a key with several, and 14 to 28 bytes an event for offset and id. 200,000 events of 90,000
//! aggregates and 10 topics take under 60 bytes an event in all; a test holds it there.

mod ids;
mod lists;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

pub(crate) use ids::IdChain;

use crate::directory;
use crate::format::{
    BASE_POSITION_MAX, IDS_PER_BUCKET, KEYS_PER_BUCKET, KeyEntry, SAMPLE_INTERVAL,
    SEALED_HEADER_SIZE, SEGMENT_NUMBER_MAX, Sample, SealedHeader, SealedLayout, checksum,
};
use crate::key::BuildKeyHasher;
use crate::{IdCandidates, IdHash, IdTimes, Identity, KeyHash, KeyIndex, Postings, Previous};
use ids::IdTable;
use lists::{List, PostingLists};

/// The growing index of the segment being written.
pub struct TailIndex {
    identity: Identity,
    offsets: Vec<u32>,
    keys: HashMap<KeyHash, List, BuildKeyHasher>,
    lists: PostingLists,
    ids: IdTable,
    id_times: IdTimes,
    /// Of every `SAMPLE_INTERVAL`th event, the greatest time up to it.
    sample_times_us: Vec<u64>,
    last_time_us: u64,
}

impl TailIndex {
    /// An empty index of the segment `identity`, whose event count is ignored.
    ///
    /// # Panics
    /// If the segment number is not in `1..=SEGMENT_NUMBER_MAX`, or the base position so great that
    /// positions could overflow: the sealed form could not be opened again.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        assert!(
            (1..=SEGMENT_NUMBER_MAX).contains(&identity.segment),
            "no index can name segment {}",
            identity.segment
        );
        assert!(
            identity.base_position <= BASE_POSITION_MAX,
            "positions overflow from base {}",
            identity.base_position
        );
        Self {
            identity,
            offsets: Vec::new(),
            keys: HashMap::default(),
            lists: PostingLists::new(),
            ids: IdTable::new(),
            id_times: IdTimes::default(),
            sample_times_us: Vec::new(),
            last_time_us: 0,
        }
    }

    /// Adds the next event; its ordinal is [`len()`](KeyIndex::len) before the call.
    ///
    /// `offset`: byte offset of the record in its segment. `time_us`: microseconds since the epoch.
    /// `keys` may repeat: an event counts once for each key.
    ///
    /// # Panics
    /// At `u32::MAX` events or 2^31 postings, which no segment reaches whose offsets fit a `u32`.
    pub fn push(
        &mut self,
        offset: u32,
        time_us: u64,
        event_id: [u8; 16],
        id: IdHash,
        keys: impl IntoIterator<Item = KeyHash>,
    ) {
        let ordinal = self.len();
        assert!(
            ordinal < u32::MAX,
            "the segment is full at {ordinal} events"
        );
        for key in keys {
            match self.keys.entry(key) {
                Entry::Occupied(mut list) => self.lists.append(list.get_mut(), ordinal),
                Entry::Vacant(place) => {
                    place.insert(List::one(ordinal));
                }
            }
        }
        self.offsets.push(offset);
        self.ids.push(id);
        self.id_times.add(&event_id);
        // Times do not run backwards, but a rebuild takes them from a file. The greatest so far keeps the
        // samples sorted whatever it says, and a scan start too early at worst.
        self.last_time_us = self.last_time_us.max(time_us);
        if ordinal.is_multiple_of(SAMPLE_INTERVAL) {
            self.sample_times_us.push(self.last_time_us);
        }
    }

    /// The segment, with the count of events so far: what the sealed form is opened with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            event_count: self.len(),
            ..self.identity
        }
    }

    /// Count of distinct keys.
    #[must_use]
    pub fn key_count(&self) -> u32 {
        self.keys.len() as u32
    }

    /// The distinct keys, in no particular order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = KeyHash> + '_ {
        self.keys.keys().copied()
    }

    /// Estimate of the memory in use on the heap, in bytes: what is reserved, slack included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // The standard map fills up to 7/8 of a power of two of places, a control byte each.
        let map_places = (self.keys.capacity() * 8).div_ceil(7);
        map_places * (size_of::<(KeyHash, List)>() + 1)
            + self.offsets.capacity() * size_of::<u32>()
            + self.sample_times_us.capacity() * size_of::<u64>()
            + self.lists.heap_bytes()
            + self.ids.heap_bytes()
    }

    /// The sealed form: the bytes of an `.idx` file.
    ///
    /// `previous` is asked once for every key, in ascending order, for the newest older segment that holds
    /// it: an `Option<u64>`, or a [`Previous`] where the caller may not know.
    ///
    /// # Panics
    /// If `previous` names a segment that is not older than this one.
    #[must_use]
    pub fn encode<P: Into<Previous>>(&self, mut previous: impl FnMut(KeyHash) -> P) -> Vec<u8> {
        let mut keys: Vec<(KeyHash, List)> =
            self.keys.iter().map(|(&key, &list)| (key, list)).collect();
        keys.sort_unstable_by_key(|&(key, _)| key);
        let posting_count: u64 = keys
            .iter()
            .map(|(_, list)| u64::from(stored_postings(*list)))
            .sum();
        let mut header = SealedHeader {
            identity: self.identity(),
            key_count: self.key_count(),
            posting_count: u32::try_from(posting_count)
                .expect("lists hold fewer than 2^31 postings"),
            key_directory_bits: directory::bits_for(self.key_count(), KEYS_PER_BUCKET),
            id_directory_bits: directory::bits_for(self.len(), IDS_PER_BUCKET),
            id_times: self.id_times,
            body_crc: 0,
            body_len: 0,
        };

        let mut file = vec![0; SEALED_HEADER_SIZE];
        push_words(&mut file, self.offsets.iter().copied());
        let key_hashes = keys.iter().map(|(key, _)| key.to_bits());
        push_words(
            &mut file,
            directory::starts(header.key_directory_bits, key_hashes),
        );
        let mut next_posting = 0;
        for &(key, list) in &keys {
            let only = if list.len() == 1 {
                self.lists.postings(list).first()
            } else {
                None
            };
            let entry = KeyEntry {
                key,
                start: only.unwrap_or(next_posting),
                count: list.len(),
                previous: self.older(previous(key).into()),
            };
            file.extend_from_slice(&entry.encode());
            next_posting += stored_postings(list);
        }
        for &(_, list) in keys.iter().filter(|(_, list)| list.len() > 1) {
            push_words(&mut file, self.lists.postings(list));
        }
        let (id_starts, ids) = self.ids.sorted(header.id_directory_bits);
        push_words(&mut file, id_starts);
        push_words(&mut file, ids);
        for sample in self.samples() {
            file.extend_from_slice(&sample.encode());
        }

        header.body_len = (file.len() - SEALED_HEADER_SIZE) as u64;
        header.body_crc = checksum(&file[SEALED_HEADER_SIZE..]);
        file[..SEALED_HEADER_SIZE].copy_from_slice(&header.encode());
        SealedLayout::of(&header, file.len())
            .expect("the sections were written as the header lays them out");
        file
    }

    fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        (0_u32..)
            .zip(&self.sample_times_us)
            .map(|(index, &time_us)| Sample {
                time_us,
                ordinal: index * SAMPLE_INTERVAL,
            })
    }

    fn older(&self, previous: Previous) -> Previous {
        if let Previous::Segment(segment) = previous {
            assert!(
                (1..self.identity.segment).contains(&segment),
                "segment {segment} is not older than {}",
                self.identity.segment
            );
        }
        previous
    }
}

impl KeyIndex for TailIndex {
    fn len(&self) -> u32 {
        self.offsets.len() as u32
    }

    fn postings(&self, key: KeyHash) -> Postings<'_> {
        self.keys
            .get(&key)
            .map_or(Postings::EMPTY, |&list| self.lists.postings(list))
    }

    fn previous_segment(&self, _: KeyHash) -> Previous {
        Previous::Unknown
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        self.offsets.get(ordinal as usize).copied()
    }

    fn id_candidates(&self, id: IdHash) -> IdCandidates<'_> {
        IdCandidates::chain(self.ids.candidates(id))
    }

    fn id_times(&self) -> IdTimes {
        self.id_times
    }

    fn time_floor(&self, time_us: u64) -> u32 {
        let later = self
            .sample_times_us
            .partition_point(|&sample_us| sample_us < time_us);
        later.saturating_sub(1) as u32 * SAMPLE_INTERVAL
    }
}

impl fmt::Debug for TailIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailIndex")
            .field("identity", &self.identity())
            .field("key_count", &self.key_count())
            .field("heap_bytes", &self.heap_bytes())
            .finish_non_exhaustive()
    }
}

/// Words of a list in the section of postings: an only ordinal stands in the key's entry.
fn stored_postings(list: List) -> u32 {
    if list.len() == 1 { 0 } else { list.len() }
}

fn push_words(file: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    file.extend(words.into_iter().flat_map(u32::to_le_bytes));
}
