//! Which snapshots are still of use: of each aggregate the greatest versions, each as stored last, and none
//! from before it was deleted.

use std::collections::BTreeMap;

use crate::aggregate_id::AggregateId;
use crate::event::Event;
use crate::snapshots::head_of;

/// See the module.
#[derive(Debug)]
pub(crate) struct LiveSnapshots {
    /// Of one aggregate at most.
    kept: usize,
    /// Positions by aggregate and version.
    positions: BTreeMap<AggregateId, BTreeMap<u64, u64>>,
}

impl LiveSnapshots {
    /// `kept`: how many of one aggregate.
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            kept,
            positions: BTreeMap::new(),
        }
    }

    /// Takes the next event of the store into account.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        let Some(aggregate) = event.aggregate_id() else {
            return;
        };
        let Some(head) = head_of(event) else {
            self.positions.remove(&aggregate);
            return;
        };
        let positions = self.positions.entry(aggregate).or_default();
        positions.insert(head.version, event.position());
        if positions.len() > self.kept {
            positions.pop_first();
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.positions
            .values()
            .map(|positions| positions.len() as u64)
            .sum()
    }

    /// Aggregate, version and position of each, by aggregate and then by version.
    pub(crate) fn into_ascending(self) -> impl Iterator<Item = (AggregateId, u64, u64)> {
        self.positions
            .into_iter()
            .flat_map(|(aggregate, positions)| {
                positions
                    .into_iter()
                    .map(move |(version, position)| (aggregate.clone(), version, position))
            })
    }
}
