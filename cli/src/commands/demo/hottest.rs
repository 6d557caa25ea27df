//! A projection over the whole log: how often each file was changed.

use std::cmp::Reverse;
use std::collections::HashMap;

use annals_engine::{AggregateId, Event};

use crate::commands::demo::file_change::{DAY_OF_WORK, MERGED};

/// Counts of every file, fed by the events of the log in their order.
#[derive(Debug, Default)]
pub(crate) struct Hottest {
    files: HashMap<AggregateId, Heat>,
}

/// How busy a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heat {
    /// Everything but merges.
    pub(crate) changes: u64,
    pub(crate) merges: u64,
}

impl Hottest {
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        if event.topic() != DAY_OF_WORK
            && let Some(file) = event.aggregate_id()
        {
            self.count(file, event.topic());
        }
    }

    /// The files with the most changes, most first; those with as many in the order of their names.
    pub(crate) fn top(self, count: usize) -> Vec<(AggregateId, Heat)> {
        let mut files: Vec<(AggregateId, Heat)> = self.files.into_iter().collect();
        files.sort_by(|(one, one_heat), (other, other_heat)| {
            (Reverse(one_heat.changes), one).cmp(&(Reverse(other_heat.changes), other))
        });
        files.truncate(count);
        files
    }

    fn count(&mut self, file: AggregateId, topic: &str) {
        let heat = self.files.entry(file).or_default();
        match topic {
            MERGED => heat.merges += 1,
            _ => heat.changes += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::file_change::MODIFIED;

    #[test]
    fn merges_do_not_make_a_file_hotter() {
        let id = |name: &str| AggregateId::text(name).unwrap();
        let mut hottest = Hottest::default();
        for (file, topic) in [
            ("b", MODIFIED),
            ("a", MODIFIED),
            ("c", MERGED),
            ("c", MERGED),
            ("c", MERGED),
            ("d", MODIFIED),
            ("d", MODIFIED),
        ] {
            hottest.count(id(file), topic);
        }
        let heat = |changes, merges| Heat { changes, merges };
        assert_eq!(
            hottest.top(3),
            [
                (id("d"), heat(2, 0)),
                (id("a"), heat(1, 0)),
                (id("b"), heat(1, 0))
            ]
        );
    }
}
