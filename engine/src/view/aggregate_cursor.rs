//! Reading an aggregate: its records across segments, looked up some at a time so that their cache misses
//! overlap.

use std::ops::Range;

use annals_index::{KeyHash, KeyIndex, Postings, SealedIndex};
use annals_segments::FrozenFile;

use super::{Reading, View};
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

/// The records of a key, newest first, as long as they are few.
struct Found<'v> {
    view: &'v View,
    /// Those in index files are filled in once all are known.
    records: Vec<RecordPlace>,
    in_files: Vec<InFile<'v>>,
    /// Those in indexes in memory too, which are asked for their offsets again.
    in_memory: Vec<Range<usize>>,
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
            in_memory: Vec::new(),
            is_whole,
        }
    }

    fn add(&mut self, place: usize, hit: Hit<'v, '_>) {
        let (Hit::Sealed(_, postings) | Hit::Other(postings)) = hit;
        self.is_whole &= self.records.len() + postings.len() <= LOOK_AHEAD;
        if !self.is_whole {
            return;
        }
        let first = self.records.len();
        let place = |ordinal| RecordPlace {
            place: place as u32,
            ordinal,
            offset: 0,
            touched_len: 0,
        };
        match hit {
            Hit::Sealed(index, postings) => {
                self.in_files.push(InFile {
                    index,
                    postings,
                    first,
                });
                self.records.resize(first + postings.len(), place(0));
            }
            Hit::Other(postings) => {
                self.records.extend(postings.iter().rev().map(place));
                self.in_memory.push(first..self.records.len());
            }
        }
    }

    /// All records. The postings of all segments are asked for before the offsets of any, so that the waits of one
    /// segment are those of all.
    fn into_records(mut self) -> Result<Vec<RecordPlace>, Error> {
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
                *record = RecordPlace::of(*index, record.place, record.ordinal);
            }
        }
        let view = self.view;
        for range in self.in_memory {
            let records = &mut self.records[range];
            let Some(first) = records.first() else {
                continue;
            };
            first.segment(view).with_index(|index| {
                for record in records {
                    *record = RecordPlace::of(index, record.place, record.ordinal);
                }
            })?;
        }
        self.records
            .retain(|record| record.position(view) <= view.visible);
        Ok(self.records)
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
struct RecordPlace {
    /// Index of the segment in the set.
    place: u32,
    ordinal: u32,
    offset: u32,
    /// Bytes from there on that are worth being asked for ahead.
    touched_len: u16,
}

impl RecordPlace {
    #[inline]
    fn of(index: &(impl KeyIndex + ?Sized), place: u32, ordinal: u32) -> Self {
        let offset = index.offset(ordinal).unwrap_or(0);
        // Of the last one the end is not known.
        let next = index.offset(ordinal.saturating_add(1)).unwrap_or(u32::MAX);
        let touched_len = next.saturating_sub(offset).min(TOUCHED_LEN_MAX);
        Self {
            place,
            ordinal,
            offset,
            touched_len: touched_len as u16,
        }
    }

    #[inline]
    fn segment(self, view: &View) -> &Segment {
        &view.set.segments[self.place as usize]
    }

    fn position(self, view: &View) -> u64 {
        self.segment(view).base_position + u64::from(self.ordinal)
    }

    #[inline]
    fn event<'v>(
        self,
        view: &'v View,
        reading: &mut Option<Reading<'v>>,
    ) -> Result<Event<'v>, Error> {
        let reading = Reading::of(view, self.place as usize, reading);
        let position = reading.segment.base_position + u64::from(self.ordinal);
        match reading.event(self.offset as usize, position) {
            Some(event) => Ok(event),
            // Read from the file, or damaged: then it is told how.
            None => reading.segment.event_at(self.offset as usize, self.ordinal),
        }
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
            ahead = found.into_records()?;
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
    pub(super) fn next<'v>(
        &mut self,
        view: &'v View,
        reading: &mut Option<Reading<'v>>,
    ) -> Option<Result<Event<'v>, Error>> {
        loop {
            let Some(next) = self.ahead.get(self.shown) else {
                match self.look_ahead(view) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            };
            self.shown += 1;
            let event = match next.event(view, reading) {
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

    /// Reading an event waits for its record, some 100 ns when it is not in the cache. The cache lines of all are
    /// asked for together, as far as the offsets of the events behind them tell where they end.
    fn touch(&self, view: &View) {
        let mut bytes: (u32, &[u8]) = (u32::MAX, &[]);
        let mut sum = 0;
        for record in &self.ahead[..self.ahead.len().min(LOOK_AHEAD)] {
            if record.place != bytes.0 {
                let resident = record.segment(view).resident_bytes();
                bytes = (record.place, resident.unwrap_or_default());
            }
            let offset = record.offset as usize;
            let len = usize::from(record.touched_len);
            let lines = bytes.1.get(offset..).unwrap_or_default();
            let lines = lines[..len.min(lines.len())].iter().step_by(CACHE_LINE);
            sum ^= lines.fold(0, |sum, byte| sum ^ byte);
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
            let event = record.event(view, &mut None).ok()?;
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
    Some(RecordPlace::of(index, place as u32, ordinal))
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
const TOUCHED_LEN_MAX: u32 = 512;
