//! The segments of a log at one moment, and the lookups that go across them.
//!
//! A set never changes; rolling, sealing and folding make a new one. Going from a key's newest segment
//! to the one before follows the links in the sealed indexes, so that reading a key touches the
//! segments that hold it, and those not yet linked or folded.

use std::ops::Deref;
use std::sync::Arc;

use annals_index::{Heads, KeyHash, KeyIndex, Postings, Previous, SealedIndex};
use annals_segments::{FrozenFile, HeldBytes};

use crate::aggregate_id::AggregateId;
use crate::dropped::Dropped;
use crate::error::Error;
use crate::heads_file::HeadsFile;
use crate::lost_end::LostEnd;
use crate::query::Query;
use crate::segment::{LogIdentity, Segment};

/// Segments ascending by number; the last one is being written, unless the log is read-only.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentSet {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) heads: Option<Arc<HeadsFile>>,
    /// Bytes that had been read into memory when segments were last let go of: no more than what came since
    /// can be held by this set.
    pub(crate) fetched: u64,
    /// What was dropped before the first segment. Heads and links may still name segments of that.
    pub(crate) dropped: Option<Arc<Dropped>>,
    /// What is missing behind the last segment of a log that is only read.
    pub(crate) lost_end: Option<Arc<LostEnd>>,
}

impl SegmentSet {
    /// The heads, when they are sound.
    pub(crate) fn heads(&self) -> Option<&Heads<FrozenFile>> {
        self.heads.as_ref()?.sound()
    }

    /// Bytes of the log in sealed segments.
    pub(crate) fn sealed_len(&self) -> u64 {
        let sealed = self.segments.iter().filter_map(|one| one.sealed_entry());
        sealed.map(|entry| entry.end).sum()
    }

    /// The segment of this number.
    pub(crate) fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        Some(&self.segments[self.place(number)?])
    }

    /// Index in the set of the segment of this number. Segments truncated away are in no set.
    fn place(&self, number: u64) -> Option<usize> {
        let last = self.segments.last()?.number;
        let back = usize::try_from(last.checked_sub(number)?).ok()?;
        // Hardly ever is a number missing in between.
        let guess = self.segments.len().checked_sub(back + 1);
        guess
            .filter(|place| self.segments[*place].number == number)
            .or_else(|| {
                let search = |segment: &Arc<Segment>| segment.number;
                self.segments.binary_search_by_key(&number, search).ok()
            })
    }

    /// First position that is retained; 1 when nothing was dropped.
    pub(crate) fn first_position(&self) -> u64 {
        let first = self.segments.first();
        match &self.dropped {
            Some(dropped) => dropped.first_position,
            None => first.map_or(1, |segment| segment.base_position),
        }
    }

    /// Version of the last event of an aggregate that was dropped; `None` when none was.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when nobody can tell.
    pub(crate) fn dropped_version(&self, id: &AggregateId) -> Result<Option<u64>, Error> {
        match &self.dropped {
            Some(dropped) => dropped.version(id),
            None => Ok(None),
        }
    }

    /// Index in the set of the segment that holds `position`.
    pub(crate) fn place_of(&self, position: u64) -> Option<usize> {
        let after = self
            .segments
            .partition_point(|segment| segment.base_position <= position);
        after.checked_sub(1)
    }

    /// Whether more of its files may have been read into memory than should be held. Maps hold nothing.
    pub(crate) fn is_crowded(&self) -> bool {
        self.held_bytes()
            .is_some_and(|held| held.fetched - self.fetched > held.fetched_max)
    }

    /// The same set with its sealed segments not opened yet. Whoever still looks at the old ones keeps them.
    pub(crate) fn let_go(&self) -> Self {
        let segments = self.segments.iter().map(|segment| segment.let_go());
        Self {
            segments: segments.collect(),
            heads: self.heads.clone(),
            fetched: self.held_bytes().map_or(0, |held| held.fetched),
            dropped: self.dropped.clone(),
            lost_end: self.lost_end.clone(),
        }
    }

    fn held_bytes(&self) -> Option<HeldBytes> {
        self.segments.first()?.directory.disk.held_bytes()
    }

    /// The newest segment below `before` (an index in the set) that may hold `key`, and what it says of the one
    /// before it. `said`: what the segment just above said. `visit` is shown what is found, in the same lookup.
    fn older<'a>(
        &'a self,
        key: KeyHash,
        before: usize,
        said: Previous,
        visit: &mut impl FnMut(usize, Hit<'a, '_>),
    ) -> Result<Option<(usize, Previous)>, Error> {
        let mut look = |place: usize| {
            let segment = &self.segments[place];
            if let Some(index) = segment.sealed_index() {
                let (postings, previous) = index.lookup(key);
                if !postings.is_empty() {
                    visit(place, Hit::Sealed(index, postings));
                }
                return Ok((postings.is_empty(), (place, previous)));
            }
            segment.with_index(|index| {
                let (postings, previous) = index.lookup(key);
                if !postings.is_empty() {
                    visit(place, Hit::Other(postings));
                }
                (postings.is_empty(), (place, previous))
            })
        };
        let mut linked = match said {
            Previous::None => return Ok(None),
            Previous::Segment(number) => Some(self.place_of_number(number, before)),
            Previous::Unknown => None,
        };
        let unlinked = if linked.is_none() { before } else { 0 };
        for place in (0..unlinked).rev() {
            let segment = &self.segments[place];
            if let Some(heads) = self
                .heads()
                .filter(|heads| segment.number <= heads.covers())
            {
                match heads.lookup(key) {
                    None => return Ok(None),
                    Some(head) if head.last_segment <= segment.number => {
                        linked = Some(self.place_of_number(head.last_segment, place + 1));
                        break;
                    }
                    // The key's newest segment lies behind us: from here on only looking helps. This
                    // happens when the index we come from had to be derived anew and has no links.
                    Some(_) => {}
                }
            }
            let (is_absent, found) = look(place)?;
            // With keys lost nobody can say that it is absent, accepted or not: a link that passes over it would go on
            // to when its file is put back.
            if !is_absent || segment.has_gaps() {
                return Ok(Some(found));
            }
        }
        match linked.flatten() {
            Some(place) => Ok(Some(look(place)?.1)),
            None => Ok(None),
        }
    }

    /// Index of segment `number`, when it is below `before`.
    fn place_of_number(&self, number: u64, before: usize) -> Option<usize> {
        self.place(number).filter(|place| *place < before)
    }

    /// Brings what leads to the events of a key into the processor's cache: the segments that are not in the heads
    /// (all, when there are few), and the heads, asked together; then the segments that the heads name. Looked up
    /// one after the other, as the links lead, each would be some waits of its own.
    pub(crate) fn touch(&self, key: KeyHash) {
        let heads = self.heads();
        let newest = &self.segments[self.segments.len().saturating_sub(TOUCHED)..];
        if newest.len() == self.segments.len() {
            std::hint::black_box(touch_all(heads, newest, key));
            return;
        }
        let covers = heads.map_or(0, Heads::covers);
        let covered = newest.partition_point(|segment| segment.number <= covers);
        let mut touched = touch_all(heads, &newest[covered..], key);
        if let Some(head) = heads.and_then(|heads| heads.lookup(key)) {
            let holding = head.segments().filter_map(|number| self.segment(number));
            let holding: Vec<&Segment> = holding.map(AsRef::as_ref).collect();
            touched ^= touch_all(None, &holding, key);
        }
        std::hint::black_box(touched);
    }

    /// The places of the segments that may hold `key`, newest first.
    pub(crate) fn holding(&self, key: KeyHash) -> Holding<'_> {
        let pass: Visit = |_, _| {};
        self.holding_shown(key, pass)
    }

    /// As [`SegmentSet::holding`]; `visit` is shown the place of each and what is found there, as it is found.
    pub(crate) fn holding_shown<'a, F: FnMut(usize, Hit<'a, '_>)>(
        &'a self,
        key: KeyHash,
        visit: F,
    ) -> Holding<'a, F> {
        Holding {
            set: self,
            key,
            before: self.segments.len(),
            said: Previous::Unknown,
            visit,
        }
    }

    /// The places from `first` on that may hold events that match `query`, ascending; `None` when there are
    /// too many to be worth being known. Costs those that do, not those that do not.
    pub(crate) fn matching(
        &self,
        log: &LogIdentity,
        query: &Query,
        first: usize,
    ) -> Result<Option<Vec<usize>>, Error> {
        if query.is_all() {
            return Ok(None);
        }
        let mut matching = Vec::new();
        let mut left = MATCHING_MAX;
        for item in query.items() {
            let topics = item.topics().iter().map(|topic| log.topic(topic));
            let tags = item.tags().iter().map(|tag| log.tag(tag));
            let any_of: Vec<Vec<KeyHash>> = match item.tags() {
                [] => topics.map(|topic| vec![topic]).collect(),
                _ => vec![tags.collect()],
            };
            for all_of in any_of {
                match self.holding_all(&all_of, first, &mut left)? {
                    Some(places) => matching.extend(places),
                    None => return Ok(None),
                }
            }
        }
        matching.sort_unstable();
        matching.dedup();
        Ok(Some(matching))
    }

    /// The places from `first` on that may hold all of these keys, those of the rarest: all are followed in
    /// turns until one ends. `None` when `left` steps do not suffice.
    fn holding_all(
        &self,
        keys: &[KeyHash],
        first: usize,
        left: &mut usize,
    ) -> Result<Option<Vec<usize>>, Error> {
        let mut chains: Vec<(Holding<'_>, Vec<usize>)> = keys
            .iter()
            .map(|key| (self.holding(*key), Vec::new()))
            .collect();
        while *left > 0 {
            for (holding, places) in &mut chains {
                *left = left.saturating_sub(1);
                match holding.next().transpose()? {
                    Some(place) if place >= first => places.push(place),
                    _ => return Ok(Some(std::mem::take(places))),
                }
            }
        }
        Ok(None)
    }

    /// The newest segment below `number` that may hold `key`, by number.
    pub(crate) fn newest_before(&self, key: KeyHash, number: u64) -> Result<Option<u64>, Error> {
        let before = self
            .segments
            .partition_point(|segment| segment.number < number);
        // The heads may know of a newer segment than `number`: then they do not help, and the links do.
        let mut holding = self.holding(key);
        if self.heads().is_none_or(|heads| heads.covers() < number) {
            holding.before = before;
        }
        for place in holding {
            let place = place?;
            if place < before {
                return Ok(Some(self.segments[place].number));
            }
        }
        Ok(None)
    }

    /// Last version of an aggregate among the events up to position `visible`, those that were dropped
    /// included. Events of it that are known to be [lost for good](Error::Quarantined) are counted as one version
    /// each, as if they were there: as far as the index knows, no version is given twice.
    pub(crate) fn last_version(
        &self,
        log: &LogIdentity,
        id: &AggregateId,
        visible: u64,
    ) -> Result<Option<u64>, Error> {
        let key = log
            .aggregate(id.kind(), id.as_bytes())
            .expect("an id has a key");
        if let Some(lost_end) = self.lost_end.as_ref().filter(|end| end.first <= visible) {
            return Err(lost_end.all());
        }
        let mut lost = 0;
        for place in self.holding(key) {
            let segment = &self.segments[place?];
            if let Some(error) = segment.lost_keys() {
                return Err(error);
            }
            // Newest first; collisions and events not visible yet are passed over.
            let mut skipped = 0;
            while let Some(ordinal) = segment.with_index(|index| {
                let postings = index.postings(key);
                postings
                    .len()
                    .checked_sub(skipped + 1)
                    .and_then(|place| postings.get(place))
            })? {
                skipped += 1;
                if segment.base_position + u64::from(ordinal) > visible {
                    continue;
                }
                let event = match segment.event(ordinal) {
                    Err(Error::Quarantined { .. }) => {
                        lost += 1;
                        continue;
                    }
                    event => event?,
                };
                if event.is_of(id) {
                    return Ok(event.version().map(|version| version.saturating_add(lost)));
                }
            }
        }
        let dropped = self.dropped_version(id)?;
        Ok(match lost {
            0 => dropped,
            lost => Some(dropped.unwrap_or(0).saturating_add(lost)),
        })
    }
}

/// Newest segments that are asked for together, as far as the heads do not cover them.
const TOUCHED: usize = 8;
/// Segments that are looked for at most before a query asks each segment in turn.
const MATCHING_MAX: usize = 64;

/// A step of all of them, then the next.
fn touch_all<S: Deref<Target = Segment>>(
    heads: Option<&Heads<FrozenFile>>,
    segments: &[S],
    key: KeyHash,
) -> u8 {
    (0..2).fold(0, |touched, step| {
        let in_heads = heads.map_or(0, |heads| heads.touch(key, step));
        segments.iter().fold(touched ^ in_heads, |sum, segment| {
            sum ^ segment.touch_index(key, step)
        })
    })
}

/// The postings of a key in a segment, and the index that they are in.
pub(crate) enum Hit<'a, 'b> {
    /// In its file: they can be kept as long as the set.
    Sealed(&'a SealedIndex<FrozenFile>, Postings<'a>),
    /// In memory, or opened just now: only while they are shown.
    Other(Postings<'b>),
}

/// Shown the place of a segment, and what is found there.
type Visit = fn(usize, Hit<'_, '_>);

/// See [`SegmentSet::holding`].
#[derive(Debug)]
pub(crate) struct Holding<'a, F = Visit> {
    set: &'a SegmentSet,
    key: KeyHash,
    before: usize,
    said: Previous,
    visit: F,
}

impl<'a, F: FnMut(usize, Hit<'a, '_>)> Iterator for Holding<'a, F> {
    type Item = Result<usize, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self
            .set
            .older(self.key, self.before, self.said, &mut self.visit);
        match found {
            Ok(None) => None,
            Ok(Some((place, said))) => {
                (self.before, self.said) = (place, said);
                Some(Ok(place))
            }
            Err(error) => {
                self.said = Previous::None;
                Some(Err(error))
            }
        }
    }
}
