//! Reading an aggregate: its records across segments, looked up some at a time so that their cache misses
//! overlap.

use std::ops::Range;

use annals_index::{KeyHash, KeyIndex, Postings, SealedIndex};
use annals_segments::FrozenFile;
use annals_segments::format::record::{peek_distance, record_len};

use super::View;
use crate::aggregate_id::AggregateId;
use crate::error::Error;
use crate::event::Event;
use crate::query::Direction;
use crate::segment::Segment;
use crate::segment_set::Hit;

/// The events of one aggregate, some records ahead at a time.
#[derive(Clone, Debug)]
pub(super) struct AggregateCursor {
    id: AggregateId,
    key: KeyHash,
    versions: Range<u64>,
    direction: Direction,
    /// Segments not looked at yet, the next one last.
    places: Vec<usize>,
    /// The segment that is being looked at.
    segment: Option<PostingsLeft>,
    /// Records looked up ahead, in the order in which they are shown.
    ahead: Vec<RecordPlace>,
    /// How many of them have been shown.
    shown: usize,
}

#[inline]
fn touch_start(bytes: &[u8], offset: usize) -> u8 {
    bytes.get(offset).copied().unwrap_or(0)
}

/// The frame header of a record that has been touched, and its cache lines, of which most have few.
#[inline]
fn touch_rest(bytes: &[u8], offset: usize) -> u8 {
    let Some(record) = bytes.get(offset..) else {
        return 0;
    };
    let Some(distance) = peek_distance(record) else {
        return 0;
    };
    let len = record_len(record).min(TOUCHED_LEN_MAX);
    let body = record.iter().take(len);
    let lines = body.step_by(CACHE_LINE).fold(0, |sum, byte| sum ^ byte);
    lines ^ touch_start(record, len) ^ touch_start(bytes, offset.wrapping_sub(distance))
}

/// The records of a key, newest first, as long as they are few.
struct Found<'v> {
    view: &'v View,
    /// Those in index files are filled in once all are known.
    records: Vec<RecordPlace>,
    in_files: Vec<InFile<'v>>,
    /// Whether these are all.
    is_whole: bool,
}

/// Records of one segment, and what the index file knows of them.
struct InFile<'v> {
    index: &'v SealedIndex<FrozenFile>,
    postings: Postings<'v>,
    /// The newest of them among the records.
    first: usize,
}

impl<'v> Found<'v> {
    fn new(view: &'v View, is_whole: bool) -> Self {
        Self {
            view,
            records: Vec::new(),
            in_files: Vec::new(),
            is_whole,
        }
    }

    fn add(&mut self, place: usize, hit: Hit<'v, '_>) {
        let (Hit::Sealed(_, postings) | Hit::Other(_, postings)) = hit;
        self.is_whole &= self.records.len() + postings.len() <= LOOK_AHEAD;
        if !self.is_whole {
            return;
        }
        match hit {
            Hit::Sealed(index, postings) => {
                let first = self.records.len();
                self.in_files.push(InFile {
                    index,
                    postings,
                    first,
                });
                let unknown = RecordPlace {
                    place: place as u32,
                    ordinal: 0,
                    offset: 0,
                };
                self.records.resize(first + postings.len(), unknown);
            }
            Hit::Other(index, postings) => {
                let newest_first = (0..postings.len()).rev();
                self.records.extend(
                    newest_first
                        .filter_map(|posting| record_place(index, postings, place, posting)),
                );
            }
        }
    }

    /// All records. The postings of all segments are asked for before the offsets of any, so that the waits of one
    /// segment are those of all.
    fn into_records(mut self) -> Vec<RecordPlace> {
        for InFile {
            postings, first, ..
        } in &self.in_files
        {
            for (record, ordinal) in self.records[*first..].iter_mut().zip(postings.iter().rev()) {
                record.ordinal = ordinal;
            }
        }
        for InFile {
            index,
            postings,
            first,
        } in &self.in_files
        {
            for record in &mut self.records[*first..][..postings.len()] {
                record.offset = index.offset(record.ordinal).unwrap_or(0);
            }
        }
        let view = self.view;
        self.records
            .retain(|record| record.position(view) <= view.visible);
        self.records
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
struct RecordPlace {
    /// Index of the segment in the set.
    place: u32,
    ordinal: u32,
    offset: u32,
}

impl RecordPlace {
    #[inline]
    fn segment(self, view: &View) -> &Segment {
        &view.set.segments[self.place as usize]
    }

    fn position(self, view: &View) -> u64 {
        self.segment(view).base_position + u64::from(self.ordinal)
    }

    #[inline]
    fn event(self, view: &View) -> Result<Event<'_>, Error> {
        self.segment(view)
            .event_at(self.offset as usize, self.ordinal)
    }
}

impl AggregateCursor {
    /// Finds the segments that hold the aggregate.
    pub(super) fn new(
        view: &View,
        id: &AggregateId,
        versions: Range<u64>,
        direction: Direction,
    ) -> Result<Self, Error> {
        let key = view
            .log
            .aggregate(id.kind(), id.as_bytes())
            .expect("an id has a key");
        view.set.touch(key);
        // Most aggregates are small and read whole: then the lookups that find their segments find their
        // records too.
        let mut found = Found::new(view, versions == (0..u64::MAX));
        let holding = view
            .set
            .holding_shown(key, |place, hit| found.add(place, hit));
        let mut places = holding.collect::<Result<Vec<usize>, Error>>()?;
        let is_lost = |place: &usize| view.set.segments[*place].lost_keys().is_some();
        let mut ahead = Vec::new();
        if found.is_whole && !places.iter().any(is_lost) {
            places.clear();
            ahead = found.into_records();
        }
        // Newest first. Segments are taken from the end, records from the start.
        match direction {
            Direction::Forward => ahead.reverse(),
            Direction::Backward => places.reverse(),
        }
        let cursor = Self {
            id: id.clone(),
            key,
            versions,
            direction,
            places,
            segment: None,
            ahead,
            shown: 0,
        };
        cursor.touch(view);
        Ok(cursor)
    }

    #[inline]
    pub(super) fn next<'v>(&mut self, view: &'v View) -> Option<Result<Event<'v>, Error>> {
        loop {
            let Some(next) = self.ahead.get(self.shown) else {
                match self.look_ahead(view) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            };
            self.shown += 1;
            let event = match next.event(view) {
                Ok(event) => event,
                Err(error) => return Some(Err(error)),
            };
            let Some(version) = event.version().filter(|_| event.is_of(&self.id)) else {
                continue;
            };
            if self.versions.contains(&version) {
                return Some(Ok(event));
            }
            // Versions ascend with positions: nothing further on can be in range again.
            let is_past = match self.direction {
                Direction::Forward => version >= self.versions.end,
                Direction::Backward => version < self.versions.start,
            };
            if is_past {
                self.places.clear();
                self.segment = None;
                self.ahead.clear();
            }
        }
    }

    /// Looks up the next records, enough to have their cache misses overlap. Answers whether there are any.
    fn look_ahead(&mut self, view: &View) -> Result<bool, Error> {
        self.ahead.clear();
        self.shown = 0;
        while self.ahead.len() < LOOK_AHEAD {
            if let Some(segment) = &mut self.segment {
                let taken = segment.take(self.direction, LOOK_AHEAD_MAX);
                if segment.left.is_empty() {
                    self.segment = None;
                }
                self.look_up(view, taken)?;
            } else if let Some(place) = self.places.pop() {
                let left = self.postings_in_range(view, place)?;
                self.segment =
                    Some(PostingsLeft { place, left }).filter(|segment| !segment.left.is_empty());
                // What was found is shown behind the error.
                if let Some(error) = view.set.segments[place].lost_keys() {
                    return Err(error);
                }
            } else {
                break;
            }
        }
        self.touch(view);
        Ok(!self.ahead.is_empty())
    }

    /// Reading an event waits for its record and then for its frame header, some 100 ns each when they are not
    /// in the cache. Asked for together, they arrive together.
    fn touch(&self, view: &View) {
        let window = &self.ahead[..self.ahead.len().min(LOOK_AHEAD)];
        let mut bytes: (u32, &[u8]) = (u32::MAX, &[]);
        let mut sum = 0;
        for touch in [touch_start, touch_rest] {
            for record in window {
                if record.place != bytes.0 {
                    let resident = record.segment(view).resident_bytes();
                    bytes = (record.place, resident.unwrap_or_default());
                }
                sum ^= touch(bytes.1, record.offset as usize);
            }
        }
        std::hint::black_box(sum);
    }

    /// Appends the places of these postings to what is looked up, in the order in which they are shown.
    fn look_up(&mut self, view: &View, taken: PostingsLeft) -> Result<(), Error> {
        let before = self.ahead.len();
        let PostingsLeft { place, left } = taken;
        view.set.segments[place].with_index(|index| {
            let postings = index.postings(self.key);
            self.ahead
                .extend(left.filter_map(|posting| record_place(index, postings, place, posting)));
        })?;
        if self.direction == Direction::Backward {
            self.ahead[before..].reverse();
        }
        Ok(())
    }

    /// The postings of one segment that are visible and may be in the range of versions: by bisection.
    fn postings_in_range(&self, view: &View, place: usize) -> Result<Range<usize>, Error> {
        let segment = &view.set.segments[place];
        let visible = view.ordinals_in(place, &(0..view.visible.saturating_add(1)));
        let mut left =
            segment.with_index(|index| 0..index.postings(self.key).lower_bound(visible.end))?;
        // A collision or damage has no version to compare: it is kept, and the walk passes over it.
        let version = |posting: usize| {
            let record = segment
                .with_index(|index| record_place(index, index.postings(self.key), place, posting))
                .ok()??;
            let event = record.event(view).ok()?;
            event.version().filter(|_| event.is_of(&self.id))
        };
        if self.direction == Direction::Forward && self.versions.start > 0 {
            left.start = partition_point(left.clone(), |posting| {
                version(posting).is_some_and(|version| version < self.versions.start)
            });
        }
        if self.direction == Direction::Backward && self.versions.end < u64::MAX {
            left.end = partition_point(left.clone(), |posting| {
                version(posting).is_none_or(|version| version < self.versions.end)
            });
        }
        Ok(left)
    }
}

/// Postings of a segment, by their index in the list of the key.
#[derive(Clone, Debug)]
struct PostingsLeft {
    place: usize,
    left: Range<usize>,
}

impl PostingsLeft {
    /// Takes up to `count` off the end that is shown next.
    fn take(&mut self, direction: Direction, count: usize) -> Self {
        let count = count.min(self.left.len());
        let left = match direction {
            Direction::Forward => self.left.start..self.left.start + count,
            Direction::Backward => self.left.end - count..self.left.end,
        };
        match direction {
            Direction::Forward => self.left.start = left.end,
            Direction::Backward => self.left.end = left.start,
        }
        Self {
            place: self.place,
            left,
        }
    }
}

fn record_place(
    index: &dyn KeyIndex,
    postings: Postings<'_>,
    place: usize,
    posting: usize,
) -> Option<RecordPlace> {
    let ordinal = postings.get(posting)?;
    let offset = index.offset(ordinal).unwrap_or(0);
    Some(RecordPlace {
        place: place as u32,
        ordinal,
        offset,
    })
}

/// The first in `range` for which `is_before` does not hold, when those for which it does come first.
fn partition_point(mut range: Range<usize>, is_before: impl Fn(usize) -> bool) -> usize {
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        match is_before(middle) {
            true => range.start = middle + 1,
            false => range.end = middle,
        }
    }
    range.start
}

/// Records that are looked up at a time, at least, as long as there are more.
const LOOK_AHEAD: usize = 32;
/// And at most, of one segment.
const LOOK_AHEAD_MAX: usize = 256;
const CACHE_LINE: usize = 64;
/// Beyond this a record is read at the speed of the memory.
const TOUCHED_LEN_MAX: usize = 512;
