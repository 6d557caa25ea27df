//! Tail index: in memory, for the segment being written.
//!
//! Append only, so an answer once given stays a prefix of every later answer; whoever shares a tail between
//! a writer and readers may cut postings at the ordinal it has published. [`TailIndex::encode`] turns the
//! tail into the bytes of a [`SealedIndex`](crate::SealedIndex); they depend on nothing but what was pushed.
//!
//! A tail may go on behind a sealed index of the first events of its segment: it then answers for both.
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

use crate::columns::Columns;
use crate::format::{BASE_POSITION_MAX, SAMPLE_INTERVAL, SEGMENT_NUMBER_MAX};
use crate::key::BuildKeyHasher;
use crate::sealed_form::{Parts, sealed_form};
use crate::{
    GrowingIndex, IdCandidates, IdHash, IdTimes, Identity, KeyHash, KeyIndex, Postings, Previous,
    SealedIndex,
};
use ids::IdTable;
use lists::{List, PostingLists};

/// The growing index of the segment being written.
pub struct TailIndex {
    identity: Identity,
    /// The first events of the segment.
    front: Option<Box<SealedIndex<FrontBytes>>>,
    /// Count of those.
    first: u32,
    columns: Columns,
    keys: HashMap<KeyHash, List, BuildKeyHasher>,
    lists: PostingLists,
    ids: IdTable,
}

/// The bytes of a sealed index that a tail goes on behind, as read or as mapped.
pub struct FrontBytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl FrontBytes {
    /// Bytes that stay what they are.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

impl AsRef<[u8]> for FrontBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for FrontBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontBytes").finish_non_exhaustive()
    }
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
            front: None,
            first: 0,
            columns: Columns::default(),
            keys: HashMap::default(),
            lists: PostingLists::new(),
            ids: IdTable::new(),
        }
    }

    /// An index that knows the events of `front`, the first of its segment, and goes on behind them.
    ///
    /// # Panics
    /// As [`TailIndex::new`].
    #[must_use]
    pub fn behind(front: SealedIndex<FrontBytes>) -> Self {
        let mut tail = Self::new(front.identity());
        tail.first = front.len();
        tail.columns.last_time_us = front.last_sample_us();
        tail.front = Some(Box::new(front));
        tail
    }

    /// Brings what is known of these keys into the processor's cache, before events that hold them are added. Each
    /// is a wait for memory; asked for in a row, they are waited for together.
    pub fn touch(&self, keys: &[KeyHash]) {
        let lists = keys.iter().filter_map(|key| self.keys.get(key));
        std::hint::black_box(lists.fold(0, |sum, list| sum ^ list.any_word()));
    }

    /// As [`SealedIndex::touch`].
    #[must_use = "a value that is not used is not waited for either"]
    pub fn touch_step(&self, key: KeyHash, step: u8) -> u8 {
        let front = self.front.as_ref();
        let in_front = front.map_or(0, |front| front.touch(key, step));
        match (step, self.keys.get(&key)) {
            (0, Some(list)) => in_front ^ list.any_word() as u8,
            _ => in_front,
        }
    }

    /// Whether it goes on behind a sealed index.
    #[must_use]
    pub fn has_front(&self) -> bool {
        self.front.is_some()
    }

    /// The segment, with the count of events so far: what the sealed form is opened with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            event_count: self.len(),
            ..self.identity
        }
    }

    /// Count of keys; one of both parts counts twice.
    #[must_use]
    pub fn key_count(&self) -> u32 {
        self.keys.len() as u32 + self.front.as_ref().map_or(0, |front| front.key_count())
    }

    /// The keys, in no particular order; one of both parts comes twice.
    pub fn keys(&self) -> impl Iterator<Item = KeyHash> + '_ {
        let front = self.front.iter().flat_map(|front| front.keys());
        front.chain(self.keys.keys().copied())
    }

    /// Estimate of the memory in use on the heap, in bytes: what is reserved, slack included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // The standard map fills up to 7/8 of a power of two of places, a control byte each.
        let map_places = (self.keys.capacity() * 8).div_ceil(7);
        map_places * (size_of::<(KeyHash, List)>() + 1)
            + self.columns.offsets.capacity() * size_of::<u32>()
            + self.columns.sample_times_us.capacity() * size_of::<u64>()
            + self.lists.heap_bytes()
            + self.ids.heap_bytes()
    }

    /// The sealed form: the bytes of an `.idx` file. See [`SealedBuilder`](crate::SealedBuilder) for who has no
    /// tail.
    ///
    /// `previous` is asked once for every key, in ascending order, for the newest older segment that holds
    /// it: an `Option<u64>`, or a [`Previous`] where the caller may not know.
    ///
    /// # Panics
    /// If `previous` names a segment that is not older than this one, or the tail goes on behind a sealed
    /// index, which does not keep the ids that would have to be sorted anew.
    #[must_use]
    pub fn encode<P: Into<Previous>>(&self, mut previous: impl FnMut(KeyHash) -> P) -> Vec<u8> {
        assert!(
            self.front.is_none(),
            "a tail behind a sealed part is built anew"
        );
        let mut keys: Vec<(KeyHash, List)> =
            self.keys.iter().map(|(&key, &list)| (key, list)).collect();
        keys.sort_unstable_by_key(|&(key, _)| key);
        let parts = Parts {
            identity: self.identity(),
            columns: &self.columns,
            id_fingerprints: self.ids.fingerprints(),
        };
        let keys = keys
            .iter()
            .map(|(key, list)| (*key, Postings::words(self.lists.ordinals(list))));
        sealed_form(&parts, keys, |key| previous(key).into())
    }
}

impl GrowingIndex for TailIndex {
    fn next_ordinal(&self) -> u32 {
        self.len()
    }

    fn push(
        &mut self,
        offset: u32,
        time_us: u64,
        event_id: [u8; 16],
        id: IdHash,
        keys: impl IntoIterator<Item = KeyHash>,
    ) {
        let ordinal = self.next_ordinal();
        self.columns.push(ordinal, offset, time_us, &event_id);
        for key in keys {
            match self.keys.entry(key) {
                Entry::Occupied(mut list) => self.lists.append(list.get_mut(), ordinal),
                Entry::Vacant(place) => {
                    place.insert(List::one(ordinal));
                }
            }
        }
        self.ids.push(id);
    }
}

impl KeyIndex for TailIndex {
    fn len(&self) -> u32 {
        self.first + self.columns.offsets.len() as u32
    }

    fn postings(&self, key: KeyHash) -> Postings<'_> {
        let front = match &self.front {
            Some(front) => front.postings(key),
            None => Postings::EMPTY,
        };
        match self.keys.get(&key) {
            Some(list) => front.then(self.lists.ordinals(list)),
            None => front,
        }
    }

    fn previous_segment(&self, _: KeyHash) -> Previous {
        Previous::Unknown
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        match ordinal.checked_sub(self.first) {
            Some(place) => self.columns.offsets.get(place as usize).copied(),
            None => self.front.as_ref()?.offset(ordinal),
        }
    }

    fn id_candidates(&self, id: IdHash) -> IdCandidates<'_> {
        let front = match &self.front {
            Some(front) => front.id_candidates(id),
            None => IdCandidates::bucket(&[]),
        };
        front.behind(self.ids.candidates(id, self.first))
    }

    fn id_times(&self) -> IdTimes {
        match &self.front {
            Some(front) => front.id_times().and(self.columns.id_times),
            None => self.columns.id_times,
        }
    }

    fn time_floor(&self, time_us: u64) -> u32 {
        let later = self
            .columns
            .sample_times_us
            .partition_point(|&sample_us| sample_us < time_us);
        match (later.checked_sub(1), &self.front) {
            (Some(place), _) => {
                (self.first.div_ceil(SAMPLE_INTERVAL) + place as u32) * SAMPLE_INTERVAL
            }
            (None, Some(front)) => front.time_floor(time_us),
            (None, None) => 0,
        }
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
