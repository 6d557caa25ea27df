//! Reads: what was visible at one moment, by position, by aggregate, by query, by event id.
//!
//! A view pins the segments that were there when it was made, so its events stay readable as long as
//! it lives, whatever is appended, rolled or truncated meanwhile. Everything it shows has been verified
//! against its checksum on this very read.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::SystemTime;

use annals_index::KeyHash;
use annals_segments::format::FormatError;
use annals_segments::format::frame::{Frame, FrameKind};
use annals_segments::format::record::Record;
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::error::Error;
use crate::event::{Event, RecordedEvent};
use crate::lost_end::LostEnd;
use crate::query::{Direction, Query};
use crate::retry::Search;
use crate::segment::{LogIdentity, Segment};
use crate::segment_set::SegmentSet;

mod aggregate_cursor;

use aggregate_cursor::AggregateCursor;

/// The log at one moment.
#[derive(Clone)]
pub struct View {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) log: LogIdentity,
    pub(crate) visible: u64,
    pub(crate) durable: u64,
}

impl fmt::Debug for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("View")
            .field("head", &self.visible)
            .field("durable_head", &self.durable)
            .finish_non_exhaustive()
    }
}

impl View {
    /// Last position that [`View::read_aggregate`], [`View::get`] and [`View::version`] see, buffered events too; 0
    /// when there are no events.
    pub fn head(&self) -> u64 {
        self.visible
    }

    /// Last position that survives a loss of power, and that [`View::read`] sees; never above [`View::head`].
    pub fn durable_head(&self) -> u64 {
        self.durable
    }

    /// The events in `positions` that match `query`, up to the durable head.
    ///
    /// Reading everything walks the segments; a query goes through the indexes and costs its matches.
    /// Each item is an event or the error that stands in its place; an error does not end the iteration.
    /// A range without a start begins at [`View::first_position`]. One that starts below it has
    /// [`Error::Expired`] in the place of what was truncated away: first when forward, last when backward.
    pub fn read(
        &self,
        positions: impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
    ) -> EventsIn<'_> {
        let cursor = Cursor::by_position(self, &positions, query, direction, self.durable);
        EventsIn::new(self, cursor)
    }

    /// As [`View::read`], up to the [head](View::head): [buffered](crate::Durability::Buffered) events too. For
    /// decisions, whose batch then says [`fail_if_match(query, view.head())`](crate::Batch::fail_if_match).
    pub fn read_visible(
        &self,
        positions: impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
    ) -> EventsIn<'_> {
        let cursor = Cursor::by_position(self, &positions, query, direction, self.visible);
        EventsIn::new(self, cursor)
    }

    /// The events of one aggregate with a version in `versions`, ascending by version when forward.
    ///
    /// Sees [buffered](crate::Durability::Buffered) events too. An unknown aggregate has no events. When events
    /// of these versions were truncated away, [`Error::Expired`] stands in their place: first when forward,
    /// last when backward; the event next to it has the first version that is left. So who has the state of
    /// the aggregate at some version, and reads on from the next one, meets no error as long as that one is there.
    pub fn read_aggregate(
        &self,
        id: &AggregateId,
        versions: impl RangeBounds<u64>,
        direction: Direction,
    ) -> EventsIn<'_> {
        EventsIn::new(self, Cursor::by_aggregate(self, id, &versions, direction))
    }

    /// The event with this id, a buffered one too, the newest when several have it; `None` too when it was
    /// truncated away.
    pub fn get(&self, event_id: Uuid) -> Result<Option<Event<'_>>, Error> {
        self.find(event_id, Search::EVERYWHERE)
    }

    /// The event with this id, in the part of the log that `search` names.
    pub(crate) fn find(&self, event_id: Uuid, search: Search) -> Result<Option<Event<'_>>, Error> {
        let id_hash = self.log.id_hash(event_id.as_bytes());
        let oldest = match event_id.get_version() {
            Some(uuid::Version::SortRand) => 0,
            _ => search.oldest,
        };
        let start = oldest.max(search.after.saturating_add(1));
        let mut lost = self.lost_end(search.after, u64::MAX).map(LostEnd::all);
        let mut end = u64::MAX;
        for segment in self.set.segments.iter().rev() {
            if end <= start {
                break;
            }
            end = segment.base_position;
            if !segment.may_hold_id(event_id.as_bytes())? {
                continue;
            }
            let candidates: Vec<u32> =
                segment.with_index(|index| index.id_candidates(id_hash).collect())?;
            lost = lost.or_else(|| segment.lost_keys());
            for ordinal in candidates {
                let position = segment.base_position + u64::from(ordinal);
                if position > self.visible || position < start {
                    continue;
                }
                match segment.event(ordinal) {
                    Ok(event) if event.event_id() == event_id => return Ok(Some(event)),
                    Ok(_) => {}
                    // Damage elsewhere in the bucket says nothing about this id.
                    Err(error) if error.is_corrupt() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        lost.map_or(Ok(None), Err)
    }

    /// Last version of an aggregate, `None` when it has no events and never had any: one whose events were all
    /// truncated away keeps its version.
    pub fn version(&self, id: &AggregateId) -> Result<Option<u64>, Error> {
        self.set.last_version(&self.log, id, self.visible)
    }

    /// The first retained position whose event was stored at or after `time`, up to the durable head; `None`
    /// when all are older. Looks at one segment's samples of times and at most 1,024 events.
    ///
    /// # Errors
    /// [`Error::Io`] when what has to be read cannot be; damaged events are passed over.
    pub fn position_at(&self, time: SystemTime) -> Result<Option<u64>, Error> {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let time_us = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        for (place, segment) in self.set.segments.iter().enumerate() {
            if segment
                .sealed_entry()
                .is_some_and(|entry| entry.last_time_us < time_us)
            {
                continue;
            }
            let shown = self.ordinals_in(place, &(0..self.durable.saturating_add(1)));
            let floor = segment.with_index(|index| index.time_floor(time_us))?;
            for ordinal in floor.max(shown.start)..shown.end {
                match segment.event(ordinal) {
                    Ok(event) if event.time_us() >= time_us => return Ok(Some(event.position)),
                    Err(error) if !error.is_corrupt() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Lets go of what has been read into memory when that is too much. Nobody borrows from this view.
    pub(crate) fn let_go(&mut self) {
        if self.set.is_crowded() {
            self.set = Arc::new(self.set.let_go());
        }
    }

    /// First position that is there; 1 unless the log was truncated.
    pub fn first_position(&self) -> u64 {
        self.set.first_position()
    }

    /// What is missing at the end of the log, if any of it lies behind position `after` and below `end`.
    fn lost_end(&self, after: u64, end: u64) -> Option<&LostEnd> {
        let lost_end = self.set.lost_end.as_deref();
        lost_end.filter(|lost| lost.last > after && lost.first < end)
    }

    /// Ordinals of a segment that lie in `positions`.
    fn ordinals_in(&self, place: usize, positions: &Range<u64>) -> Range<u32> {
        let base = self.set.segments[place].base_position;
        let end = self
            .set
            .segments
            .get(place + 1)
            .map_or(u64::MAX, |next| next.base_position)
            .min(positions.end);
        let start = positions.start.max(base);
        let ordinal =
            |position: u64| u32::try_from(position.saturating_sub(base)).unwrap_or(u32::MAX);
        ordinal(start)..ordinal(end.max(start))
    }
}

/// Iterator over the events of a [`View`], borrowed from it.
#[derive(Clone, Debug)]
pub struct EventsIn<'v> {
    view: &'v View,
    cursor: Cursor,
    reading: Option<Reading<'v>>,
}

impl<'v> EventsIn<'v> {
    fn new(view: &'v View, cursor: Cursor) -> Self {
        Self {
            view,
            cursor,
            reading: None,
        }
    }
}

impl<'v> Iterator for EventsIn<'v> {
    type Item = Result<Event<'v>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.view, &mut self.reading)
    }
}

/// The segment that a walk is in, and what need not be asked of it again for every event.
#[derive(Clone, Copy, Debug)]
struct Reading<'v> {
    place: usize,
    segment: &'v Segment,
    /// Its published bytes when the file is mapped, else those read last.
    bytes: &'v [u8],
    /// Where in the segment they start.
    start: usize,
    /// The topic met last.
    topic: (u32, &'v str),
}

impl<'v> Reading<'v> {
    fn new(view: &'v View, place: usize) -> Self {
        let segment: &Segment = &view.set.segments[place];
        // No topic is empty, so this one is not taken for any.
        Self {
            place,
            segment,
            bytes: segment.resident_bytes().unwrap_or_default(),
            start: 0,
            topic: (0, ""),
        }
    }

    /// The one of the segment at `place`: that of the last event, most often.
    #[inline]
    fn of<'r>(view: &'v View, place: usize, last: &'r mut Option<Self>) -> &'r mut Self {
        if last.is_none_or(|reading| reading.place != place) {
            *last = None;
        }
        last.get_or_insert_with(|| Self::new(view, place))
    }

    /// The event whose record starts at `offset`, when it is mapped and sound.
    #[inline]
    fn event(&mut self, offset: usize, position: u64) -> Option<Event<'v>> {
        // Offset 0 stands for an event whose frame is damaged.
        let bytes = self.bytes.get(offset..).filter(|_| offset > 0)?;
        let record = Record::parse(bytes).ok()?;
        record.verify(position, self.segment.salt()).ok()?;
        let topic = self.topic(record.place().topic, offset, position)?;
        Some(Event {
            position,
            topic,
            record,
        })
    }

    /// The frame at `offset`, and maybe what lies behind.
    fn frame_at(&mut self, offset: usize) -> Option<&'v [u8]> {
        if self.segment.resident_bytes().is_none() {
            self.bytes = self.segment.read_frame(offset).ok()?;
            self.start = offset;
        }
        self.bytes.get(offset - self.start..)
    }

    /// The record at `offset`, and maybe what lies behind.
    fn record_at(&mut self, offset: usize) -> Option<&'v [u8]> {
        let is_there = (self.start..self.start + self.bytes.len()).contains(&offset);
        if !is_there {
            self.bytes = self.segment.read_record(offset).ok()?;
            self.start = offset;
        }
        self.bytes.get(offset - self.start..)
    }

    #[inline]
    fn topic(&mut self, number: u32, offset: usize, position: u64) -> Option<&'v str> {
        if self.topic.0 != number || self.topic.1.is_empty() {
            self.topic = (number, self.segment.topic(number, offset, position).ok()?);
        }
        Some(self.topic.1)
    }
}

/// Iterator over events that owns its [`View`] and copies each event out.
#[derive(Clone, Debug)]
pub struct Events {
    view: View,
    cursor: Cursor,
}

impl Events {
    pub(crate) fn by_position(
        view: View,
        positions: &impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
    ) -> Self {
        let head = view.durable;
        Self::up_to(view, head, positions, query, direction)
    }

    /// As [`Events::by_position`], up to `head`, which the view shows.
    pub(crate) fn up_to(
        view: View,
        head: u64,
        positions: &impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
    ) -> Self {
        let cursor = Cursor::by_position(&view, positions, query, direction, head);
        Self { view, cursor }
    }

    pub(crate) fn by_aggregate(
        view: View,
        id: &AggregateId,
        versions: &impl RangeBounds<u64>,
        direction: Direction,
    ) -> Self {
        let cursor = Cursor::by_aggregate(&view, id, versions, direction);
        Self { view, cursor }
    }

    /// The view that is read.
    pub fn view(&self) -> &View {
        &self.view
    }
}

impl Iterator for Events {
    type Item = Result<RecordedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.view.let_go();
        self.cursor
            .next(&self.view, &mut None)
            .map(|event| event.map(|event| event.to_owned()))
    }
}

/// Where a read stands, apart from the view that it reads, so that either may own the other.
#[derive(Clone, Debug)]
enum Cursor {
    Walk(Walk),
    Query(QueryCursor),
    Aggregate(AggregateCursor),
    /// One error, then nothing.
    Failed(Arc<parking_lot::Mutex<Option<Error>>>),
    /// One error in the place of what was dropped, before or behind what is retained.
    Partly(Box<Partly>),
}

impl Cursor {
    fn by_position(
        view: &View,
        positions: &impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
        head: u64,
    ) -> Self {
        let is_from_start = positions.start_bound() == Bound::Unbounded;
        let mut positions = to_range(positions);
        let first = view.set.first_position();
        if !is_from_start && positions.start.max(1) < first && positions.start < positions.end {
            let retained = (Bound::Unbounded, Bound::Excluded(positions.end));
            let rest = Self::by_position(view, &retained, query, direction, head);
            return Self::partly(Missing::Positions, rest, direction);
        }
        positions.start = positions.start.max(first).max(1);
        positions.end = positions
            .end
            .min(head.saturating_add(1))
            .max(positions.start);
        if query.is_all() {
            return Self::Walk(Walk {
                positions,
                direction,
                frame: None,
            });
        }
        let is_end_lost = view.lost_end(positions.start - 1, positions.end).is_some();
        let found = Self::Query(QueryCursor {
            query: query.clone(),
            positions,
            direction,
            pending: Vec::new(),
            place: None,
            matching: None,
        });
        match is_end_lost {
            true => Self::partly(Missing::End, found, direction),
            false => found,
        }
    }

    fn by_aggregate(
        view: &View,
        id: &AggregateId,
        versions: &impl RangeBounds<u64>,
        direction: Direction,
    ) -> Self {
        let versions = to_range(versions);
        let is_missing = match view.set.dropped_version(id) {
            Ok(Some(dropped)) => versions.start <= dropped && !versions.is_empty(),
            Ok(None) => false,
            // Nobody can tell: it is said, and what is retained is shown.
            Err(_) => true,
        };
        let mut retained = Self::by_retained_aggregate(view, id, versions, direction);
        if view.lost_end(0, view.visible.saturating_add(1)).is_some() {
            retained = Self::partly(Missing::End, retained, direction);
        }
        match is_missing {
            true => Self::partly(Missing::Versions, retained, direction),
            false => retained,
        }
    }

    fn partly(missing: Missing, rest: Self, direction: Direction) -> Self {
        Self::Partly(Box::new(Partly {
            missing: Some(missing),
            rest,
            comes_first: (direction == Direction::Backward) == matches!(missing, Missing::End),
        }))
    }

    fn by_retained_aggregate(
        view: &View,
        id: &AggregateId,
        versions: Range<u64>,
        direction: Direction,
    ) -> Self {
        match AggregateCursor::new(view, id, versions, direction) {
            Ok(cursor) => Self::Aggregate(cursor),
            Err(error) => Self::Failed(Arc::new(parking_lot::Mutex::new(Some(error)))),
        }
    }

    fn next<'v>(
        &mut self,
        view: &'v View,
        reading: &mut Option<Reading<'v>>,
    ) -> Option<Result<Event<'v>, Error>> {
        match self {
            Self::Walk(walk) => walk.next(view, reading),
            Self::Query(query) => query.next(view),
            Self::Aggregate(aggregate) => aggregate.next(view, reading),
            Self::Failed(error) => error.lock().take().map(Err),
            Self::Partly(partly) => partly.next(view, reading),
        }
    }
}

/// What is missing of the range that is read.
#[derive(Clone, Copy, Debug)]
enum Missing {
    /// It was dropped.
    Positions,
    /// It was dropped.
    Versions,
    /// The end of the log is lost: whatever was in it, it may belong here.
    End,
}

/// What is left of a read, and an error that stands for the rest.
#[derive(Clone, Debug)]
struct Partly {
    /// Until it is told.
    missing: Option<Missing>,
    rest: Cursor,
    /// Whether it lies before the rest, in the direction of the read.
    comes_first: bool,
}

impl Partly {
    fn next<'v>(
        &mut self,
        view: &'v View,
        reading: &mut Option<Reading<'v>>,
    ) -> Option<Result<Event<'v>, Error>> {
        let missing = &mut self.missing;
        let mut tell = || {
            let missing = missing.take()?;
            if matches!(missing, Missing::End) {
                return Some(Err(view.set.lost_end.as_ref()?.all()));
            }
            let dropped = view.set.dropped.as_ref()?;
            let expired = Error::Expired {
                first: dropped.first_position,
            };
            Some(Err(match missing {
                // When nobody can tell which versions were dropped, that is the error.
                Missing::Versions => dropped.damage().unwrap_or(expired),
                _ => expired,
            }))
        };
        match self.comes_first {
            true => tell().or_else(|| self.rest.next(view, reading)),
            false => self.rest.next(view, reading).or_else(tell),
        }
    }
}

/// Every event, frame after frame.
#[derive(Clone, Debug)]
struct Walk {
    /// What is left.
    positions: Range<u64>,
    direction: Direction,
    /// The frame that holds the next event of a forward walk.
    frame: Option<WalkFrame>,
}

#[derive(Clone, Copy, Debug)]
struct WalkFrame {
    place: usize,
    /// Offset of the next record, or of the next frame when none is left in this one.
    offset: usize,
    /// Records of the frame not shown yet; `None` when the walk has entered in its middle and does not know.
    left: Option<u32>,
}

impl Walk {
    fn next<'v>(
        &mut self,
        view: &'v View,
        reading: &mut Option<Reading<'v>>,
    ) -> Option<Result<Event<'v>, Error>> {
        if self.positions.is_empty() {
            return None;
        }
        match self.direction {
            Direction::Backward => {
                self.positions.end -= 1;
                Some(event_at(view, self.positions.end))
            }
            Direction::Forward => {
                let position = self.positions.start;
                self.positions.start += 1;
                Some(
                    self.next_in_frame(view, position, reading)
                        .unwrap_or_else(|| self.find(view, position)),
                )
            }
        }
    }

    /// The event at `position` when the walk stands before it and the bytes are sound.
    #[inline]
    fn next_in_frame<'v>(
        &mut self,
        view: &'v View,
        position: u64,
        reading: &mut Option<Reading<'v>>,
    ) -> Option<Result<Event<'v>, Error>> {
        let mut at = self.frame.take()?;
        let reading = Reading::of(view, at.place, reading);
        let salt = reading.segment.salt();
        if at.left.is_none() {
            // Then the index knows whether the next record lies right here, or a frame does.
            let ordinal = u32::try_from(position - reading.segment.base_position).ok()?;
            let offset = reading.segment.with_index(|index| index.offset(ordinal));
            if offset.ok()?? as usize != at.offset {
                at.left = Some(0);
            }
        }
        while at.left == Some(0) {
            let frame = Frame::parse(reading.frame_at(at.offset)?, salt).ok()?;
            if frame.header.kind != Some(FrameKind::Batch) || frame.header.event_count == 0 {
                at.offset += frame.header.length as usize;
                continue;
            }
            if frame.header.base_position != position {
                return None;
            }
            at.left = Some(frame.header.event_count);
            at.offset += frame.records_start();
        }
        let record = Record::parse(reading.record_at(at.offset)?).ok()?;
        record.verify(position, salt).ok()?;
        let topic = reading.topic(record.place().topic, at.offset, position)?;
        at.offset += record.as_bytes().len();
        at.left = at.left.map(|left| left - 1);
        self.frame = Some(at);
        Some(Ok(Event {
            position,
            topic,
            record,
        }))
    }

    /// The event at `position` through the index: at the start, at the next segment, and behind damage.
    fn find<'v>(&mut self, view: &'v View, position: u64) -> Result<Event<'v>, Error> {
        let event = event_at(view, position)?;
        let place = view
            .set
            .place_of(position)
            .expect("the event has just been found");
        let segment = &view.set.segments[place];
        let ordinal = (position - segment.base_position) as u32;
        let offset = segment
            .with_index(|index| index.offset(ordinal))?
            .unwrap_or(0) as usize;
        self.frame = Some(WalkFrame {
            place,
            offset: offset + event.record.as_bytes().len(),
            left: None,
        });
        Ok(event)
    }
}

/// The events that match a query, a segment at a time through the index.
#[derive(Clone, Debug)]
struct QueryCursor {
    query: Query,
    positions: Range<u64>,
    direction: Direction,
    /// Candidates of the segment at `place`, the next one last.
    pending: Vec<u32>,
    place: Option<usize>,
    /// The only segments that may match, ascending, when that is known.
    matching: Option<Vec<usize>>,
}

impl QueryCursor {
    fn next<'v>(&mut self, view: &'v View) -> Option<Result<Event<'v>, Error>> {
        loop {
            if let (Some(place), Some(ordinal)) = (self.place, self.pending.pop()) {
                match view.set.segments[place].event(ordinal) {
                    Ok(event) if self.query.matches(&event) => return Some(Ok(event)),
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            } else {
                let place = self.next_place(view)?;
                self.place = Some(place);
                if let Err(error) = self.collect(view, place) {
                    return Some(Err(error));
                }
            }
        }
    }

    fn next_place(&mut self, view: &View) -> Option<usize> {
        if self.positions.is_empty() {
            return None;
        }
        let set = &view.set;
        let first = set.place_of(self.positions.start)?;
        let last = set.place_of(self.positions.end - 1)?;
        // The way to the segments that hold a key leads from the newest one down: worth it when many lie
        // in the range, and none above.
        let is_wide = last + 1 == set.segments.len() && last - first >= WIDE;
        if self.place.is_none() && is_wide {
            // Should it fail, the segments are asked one by one, and tell why.
            self.matching = set.matching(&view.log, &self.query, first).ok().flatten();
        }
        let (start, end) = match (self.place, self.direction) {
            (None, _) => (first, last + 1),
            (Some(place), Direction::Forward) => (place + 1, last + 1),
            (Some(place), Direction::Backward) => (first, place),
        };
        let place = match (&self.matching, self.direction) {
            (None, Direction::Forward) => Some(start),
            (None, Direction::Backward) => end.checked_sub(1),
            (Some(matching), Direction::Forward) => {
                let next = matching.partition_point(|place| *place < start);
                matching.get(next).copied()
            }
            (Some(matching), Direction::Backward) => {
                let next = matching.partition_point(|place| *place < end);
                next.checked_sub(1).map(|next| matching[next])
            }
        };
        place.filter(|place| (start..end).contains(place))
    }

    /// The ordinals of one segment that may match: for each item those that hold all of its tags and one
    /// of its topics.
    fn collect(&mut self, view: &View, place: usize) -> Result<(), Error> {
        let ordinals = view.ordinals_in(place, &self.positions);
        let segment = &view.set.segments[place];
        let mut matching: Vec<u32> = Vec::new();
        for item in self.query.items() {
            let topics: Vec<KeyHash> = item
                .topics()
                .iter()
                .map(|topic| view.log.topic(topic))
                .collect();
            let tags: Vec<KeyHash> = item.tags().iter().map(|tag| view.log.tag(tag)).collect();
            segment.with_index(|index| {
                let postings = |key: &KeyHash| index.postings(*key).range(ordinals.clone());
                let mut tag_lists: Vec<_> = tags.iter().map(postings).collect();
                // The rarest tag is walked, the others are asked.
                tag_lists.sort_unstable_by_key(annals_index::Postings::len);
                let topic_lists: Vec<_> = topics.iter().map(postings).collect();
                let holds = |list: &annals_index::Postings<'_>, ordinal| {
                    list.get(list.lower_bound(ordinal)) == Some(ordinal)
                };
                if let Some((rarest, others)) = tag_lists.split_first() {
                    matching.extend(rarest.iter().filter(|ordinal| {
                        others.iter().all(|list| holds(list, *ordinal))
                            && (topics.is_empty()
                                || topic_lists.iter().any(|list| holds(list, *ordinal)))
                    }));
                } else {
                    topic_lists
                        .iter()
                        .for_each(|list| matching.extend(list.iter()));
                }
            })?;
        }
        matching.sort_unstable();
        matching.dedup();
        if self.direction == Direction::Forward {
            matching.reverse();
        }
        self.pending = matching;
        // What was found is shown behind the error.
        segment.lost_keys().map_or(Ok(()), Err)
    }
}

/// Segments beyond which a query looks for those that hold its keys first.
const WIDE: usize = 8;

fn event_at(view: &View, position: u64) -> Result<Event<'_>, Error> {
    let lost = || {
        let at_end = view.set.lost_end.as_ref().and_then(|end| end.at(position));
        at_end.unwrap_or_else(|| Error::Corrupt {
            path: view
                .set
                .segments
                .first()
                .map(|segment| segment.path.clone())
                .unwrap_or_default(),
            offset: 0,
            first: position,
            last: position,
            fault: FormatError::Unwritten,
        })
    };
    let place = view.set.place_of(position).ok_or_else(lost)?;
    let segment = &view.set.segments[place];
    let ordinal = u32::try_from(position - segment.base_position).map_err(|_| lost())?;
    segment.event(ordinal).map_err(|error| {
        let at_end = view.set.lost_end.as_ref().and_then(|end| end.at(position));
        at_end.filter(|_| error.is_corrupt()).unwrap_or(error)
    })
}

/// Half-open; an end that reaches the greatest number is the greatest number.
fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
