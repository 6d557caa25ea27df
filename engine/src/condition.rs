//! Conditional appends: nothing that matches a query may exist behind a position.
//!
//! The search is shared out: the caller's thread looks at everything up to the head it finds, outside any
//! lock, and the leader only at what came after: the events committed meanwhile, and the batches before it
//! in the same group. So a condition over a million matches does not hold up the appends of others.
//!
//! Source: <https://dcb.events/specification/>, the append condition.

use annals_index::{KeyHash, KeyIndex};
use annals_segments::format::record::walk_records;
use smallvec::SmallVec;

use crate::error::Error;
use crate::prepared::PreparedBatch;
use crate::query::{Direction, Query, QueryItem};
use crate::segment::LogIdentity;
use crate::view::View;

/// One clause of a batch: no event that matches `query` may lie behind position `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    pub(crate) query: Query,
    pub(crate) after: u64,
}

/// The clauses of a batch and how far they have been checked.
#[derive(Debug)]
pub(crate) struct Conditions {
    clauses: Vec<Clause>,
    /// The keys of each clause's query.
    keys: Vec<QueryKeys>,
    /// Nothing up to here is in conflict.
    checked: u64,
}

/// The keys of a query, hashed in the caller's thread.
#[derive(Debug)]
struct QueryKeys {
    /// Whether events without these keys may match.
    is_all: bool,
    items: SmallVec<[ItemKeys; 1]>,
}

/// An event that matches holds all of the tags, and one of the topics, if there are any.
#[derive(Debug)]
struct ItemKeys {
    tags: SmallVec<[KeyHash; 2]>,
    topics: SmallVec<[KeyHash; 1]>,
}

impl QueryKeys {
    fn of(query: &Query, log: &LogIdentity) -> Self {
        let keys_of = |item: &QueryItem| ItemKeys {
            tags: item.tags().iter().map(|tag| log.tag(tag)).collect(),
            topics: item.topics().iter().map(|topic| log.topic(topic)).collect(),
        };
        Self {
            is_all: query.is_all(),
            items: query.items().iter().map(keys_of).collect(),
        }
    }
}

impl ItemKeys {
    /// Whether an event from `ordinal` on may hold what is asked for.
    fn may_lie_behind(&self, index: &dyn KeyIndex, ordinal: u32) -> bool {
        let is_behind = |key: &KeyHash| index.postings(*key).last() >= Some(ordinal);
        self.tags.iter().all(is_behind)
            && (self.topics.is_empty() || self.topics.iter().any(is_behind))
    }
}

impl Conditions {
    pub(crate) fn new(clauses: Vec<Clause>, log: &LogIdentity) -> Self {
        let keys = clauses
            .iter()
            .map(|clause| QueryKeys::of(&clause.query, log));
        Self {
            keys: keys.collect(),
            clauses,
            checked: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// Checks what `view` shows behind what has been checked before.
    ///
    /// # Errors
    /// [`Error::ConditionConflict`] for the first clause that fails; [`Error::Corrupt`] and [`Error::Io`]
    /// when it cannot be told whether one does.
    pub(crate) fn check(&mut self, view: &View) -> Result<(), Error> {
        for (number, (clause, keys)) in self.clauses.iter().zip(&self.keys).enumerate() {
            let first = clause.after.max(self.checked).saturating_add(1);
            if !may_match(view, keys, first)? {
                continue;
            }
            let positions = first..;
            let mut found = Vec::new();
            for event in view.read_visible(positions, &clause.query, Direction::Forward) {
                found.push(event?.position());
                if found.len() == POSITIONS_MAX {
                    break;
                }
            }
            conflict(number, found, view.head())?;
        }
        self.checked = self.checked.max(view.head());
        Ok(())
    }

    /// Keys of which an event must hold one to match any clause; `None` when events without keys may.
    pub(crate) fn keys(&self) -> Option<SmallVec<[KeyHash; 4]>> {
        let mut all = SmallVec::new();
        for keys in &self.keys {
            if keys.is_all {
                return None;
            }
            for item in &keys.items {
                match item.tags.first() {
                    Some(tag) => all.push(*tag),
                    None => all.extend(item.topics.iter().copied()),
                }
            }
        }
        Some(all)
    }

    /// Checks a batch of the same group, whose events will lie from `first` on, and nobody sees yet.
    pub(crate) fn check_batch(&self, batch: &PreparedBatch, first: u64) -> Result<(), Error> {
        for (number, clause) in self.clauses.iter().enumerate() {
            let records = walk_records(&batch.encoded)
                .zip(&batch.records)
                .zip(first..);
            let found = records.filter_map(|(((_, record), prepared), position)| {
                let record = record.expect("the batch has been encoded by this process");
                let matches = clause
                    .query
                    .matches_parts(&batch.topics[prepared.topic].1, || record.tags());
                (position > clause.after && matches).then_some(position)
            });
            conflict(
                number,
                found.take(POSITIONS_MAX).collect(),
                first - 1 + batch.records.len() as u64,
            )?;
        }
        Ok(())
    }
}

/// Whether an event from `first` on may match: a quick look where only the newest events are left to be looked
/// at, as for a leader.
fn may_match(view: &View, keys: &QueryKeys, first: u64) -> Result<bool, Error> {
    if first > view.head() {
        return Ok(false);
    }
    let newest = view.set.segments.last();
    let newest = newest.filter(|segment| segment.base_position <= first && !keys.is_all);
    let Some(segment) = newest.filter(|segment| segment.lost_keys().is_none()) else {
        return Ok(true);
    };
    let ordinal = u32::try_from(first - segment.base_position).unwrap_or(u32::MAX);
    segment.with_index(|index| {
        let mut items = keys.items.iter();
        items.any(|item| item.may_lie_behind(index, ordinal))
    })
}

fn conflict(clause: usize, positions: Vec<u64>, head: u64) -> Result<(), Error> {
    match positions.is_empty() {
        true => Ok(()),
        false => Err(Error::ConditionConflict {
            clause,
            positions,
            head,
        }),
    }
}

/// Positions that an error tells: enough to show, whatever the number of matches.
const POSITIONS_MAX: usize = 16;
