//! Conditional appends: nothing that matches a query may exist behind a position.
//!
//! The search is shared out: the caller's thread looks at everything up to the head it finds, outside any
//! lock, and the leader only at what came after: the events committed meanwhile, and the batches before it
//! in the same group. So a condition over a million matches does not hold up the appends of others.
//!
//! Source: <https://dcb.events/specification/>, the append condition.

use annals_index::KeyHash;
use annals_segments::format::record::walk_records;

use crate::error::Error;
use crate::prepared::PreparedBatch;
use crate::query::{Direction, Query};
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
    /// Nothing up to here is in conflict.
    checked: u64,
}

impl Conditions {
    pub(crate) fn new(clauses: Vec<Clause>) -> Self {
        Self {
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
        for (number, clause) in self.clauses.iter().enumerate() {
            let positions = clause.after.max(self.checked).saturating_add(1)..;
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
    pub(crate) fn keys(&self, log: &LogIdentity) -> Option<Vec<KeyHash>> {
        let mut keys = Vec::new();
        for clause in &self.clauses {
            if clause.query.is_all() {
                return None;
            }
            for item in clause.query.items() {
                match item.tags().first() {
                    Some(tag) => keys.push(log.tag(tag)),
                    None => keys.extend(item.topics().iter().map(|topic| log.topic(topic))),
                }
            }
        }
        Some(keys)
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
