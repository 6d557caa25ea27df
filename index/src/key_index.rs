//! The interface that the tail and a sealed index share, so that readers need not know which one they ask.

use crate::{IdCandidates, IdHash, IdTimes, KeyHash, Postings};

/// Lookups in the index of one segment. Object-safe.
///
/// Answers are candidates to verify against the records: hashes collide, and a sealed index over bytes
/// that were never [verified](crate::SealedIndex::verify) may answer wrongly, though never out of bounds.
pub trait KeyIndex {
    /// Count of events; ordinals are `0..len()`.
    fn len(&self) -> u32;

    /// Whether the segment holds no event.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ascending ordinals of the events that hold `key`; empty when none does.
    fn postings(&self, key: KeyHash) -> Postings<'_>;

    /// The newest older segment that holds `key`, as far as this index knows.
    ///
    /// [`Previous::Unknown`] when this segment does not hold `key`, and always in the tail.
    fn previous_segment(&self, key: KeyHash) -> Previous;

    /// Both of these at once.
    fn lookup(&self, key: KeyHash) -> (Postings<'_>, Previous) {
        (self.postings(key), self.previous_segment(key))
    }

    /// Byte offset of an event's record in its segment, `None` at and past `len()`.
    fn offset(&self, ordinal: u32) -> Option<u32>;

    /// Ordinals of the events that may hold an event id, newest first.
    fn id_candidates(&self, id: IdHash) -> IdCandidates<'_>;

    /// Which event ids the segment may hold at all.
    fn id_times(&self) -> IdTimes;

    /// Where to start a scan for events at or after `time_us` (microseconds since the epoch): the greatest
    /// sampled ordinal whose time is before it, else 0.
    ///
    /// Every event before the answer is older than `time_us`; at most
    /// [`SAMPLE_INTERVAL`](crate::SAMPLE_INTERVAL) events from it on are.
    fn time_floor(&self, time_us: u64) -> u32;
}

/// What events are added to, in the order of their ordinals.
pub trait GrowingIndex {
    /// The ordinal of the next event.
    fn next_ordinal(&self) -> u32;

    /// Adds the next event.
    ///
    /// `offset`: byte offset of the record in its segment. `time_us`: microseconds since the epoch.
    /// `keys` may repeat: an event counts once for each key.
    ///
    /// # Panics
    /// At `u32::MAX` events, which no segment reaches whose offsets fit a `u32`.
    fn push(
        &mut self,
        offset: u32,
        time_us: u64,
        event_id: [u8; 16],
        id: IdHash,
        keys: impl IntoIterator<Item = KeyHash>,
    );
}

/// The newest segment before this one that holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// No older segment holds the key.
    None,
    /// The number of that segment, always below the number of the segment asked.
    Segment(u64),
    /// This index does not know: ask the heads or the older segments.
    Unknown,
}

/// `None` means that no older segment holds the key, for certain.
impl From<Option<u64>> for Previous {
    fn from(segment: Option<u64>) -> Self {
        segment.map_or(Self::None, Self::Segment)
    }
}
