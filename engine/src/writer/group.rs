//! A group of commits while it is put together: what was placed, and what the batches behind have to know of it.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use annals_index::{BuildKeyHasher, KeyHash};
use smallvec::SmallVec;

use crate::aggregate_id::AggregateId;
use crate::commit::{Outcome, Submission};
use crate::condition::Conditions;
use crate::prepared::PreparedBatch;

/// Batches placed but not written yet.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) buffer: Vec<u8>,
    pub(super) placed: Vec<Placed>,
    pub(super) outcomes: Vec<(Arc<Submission>, Outcome)>,
    /// Last versions that the group has given. What the cache forgets the indexes do not know yet.
    pub(super) versions: HashMap<AggregateId, u64>,
    /// Whether batches follow in this group, which have to know what this one does.
    pub(super) has_more: bool,
    /// Ids and keys of the first of the placed batches, for those behind that ask.
    ids: HashSet<[u8; 16]>,
    ids_noted: usize,
    keys: HashMap<KeyHash, SmallVec<[u32; 4]>, BuildKeyHasher>,
    keys_noted: usize,
    /// Topics that the group defines.
    pub(super) new_topics: Vec<(u32, Box<str>)>,
    pub(super) tracking: Vec<(Box<str>, u64)>,
    /// Offset in the segment of the dictionary that was repeated, if it was.
    pub(super) dictionary: Option<usize>,
    pub(super) wants_sync: bool,
}

/// An aggregate id that hashes as its key does.
#[derive(PartialEq, Eq)]
pub(super) struct Keyed<'a>(pub(super) KeyHash, pub(super) &'a AggregateId);

impl Hash for Keyed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The version of each event of a batch, 0 where it has none.
pub(super) type Versions = SmallVec<[u64; 4]>;

/// A batch that lies in the group's buffer.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) batch: PreparedBatch,
    /// Position of its first event.
    pub(super) base_position: u64,
    /// Offset of its first record in the segment.
    pub(super) records_offset: usize,
    pub(super) time_us: u64,
}

impl Group {
    /// Empties it and keeps its room, unless that is rarely needed.
    pub(super) fn clear(&mut self) {
        if self.buffer.capacity() > SPARE_BUFFER_MAX {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.placed.clear();
        self.outcomes.clear();
        self.versions.clear();
        self.ids.clear();
        self.keys.clear();
        (self.ids_noted, self.keys_noted) = (0, 0);
        self.new_topics.clear();
        self.tracking.clear();
        self.dictionary = None;
        self.wants_sync = false;
    }

    /// Whether an event of the group has the id of one of the batch.
    pub(super) fn holds_id_of(&mut self, batch: &PreparedBatch) -> bool {
        for placed in &self.placed[self.ids_noted..] {
            let records = placed.batch.records.iter();
            self.ids.extend(records.map(|record| record.event_id));
        }
        self.ids_noted = self.placed.len();
        let mut records = batch.records.iter();
        records.any(|record| self.ids.contains(&record.event_id))
    }

    /// The batches of the group that may match the conditions, in order.
    pub(super) fn that_may_match(&mut self, conditions: &Conditions) -> SmallVec<[usize; 4]> {
        for (place, placed) in self.placed.iter().enumerate().skip(self.keys_noted) {
            for key in &placed.batch.keys {
                let places = self.keys.entry(*key).or_default();
                if places.last() != Some(&(place as u32)) {
                    places.push(place as u32);
                }
            }
        }
        self.keys_noted = self.placed.len();
        let Some(keys) = conditions.keys() else {
            return (0..self.placed.len()).collect();
        };
        let found = keys.iter().filter_map(|key| self.keys.get(key)).flatten();
        let mut places: SmallVec<[usize; 4]> = found.map(|place| *place as usize).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// A buffer beyond this is given back: groups are rarely that large.
const SPARE_BUFFER_MAX: usize = 1 << 20;
