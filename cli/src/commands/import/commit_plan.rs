//! Which lines can share a commit, and what that commit must expect.
//!
//! The log compares an expected version with the state *before* a commit. A line that is not the first of
//! its aggregate in the commit therefore has its version compared here, with the first one's plus the
//! lines between. Where that cannot be done, because the first one expects nothing, or where the versions do
//! not add up, the commit ends before the line: it then leads the next one, and the log itself compares.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use annals_engine::{AggregateId, Expected};

use crate::commands::import::import_line::ImportLine;

/// The longest commit that a run of lines may start with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommitPlan {
    /// Lines in it, at least one.
    pub(crate) count: usize,
    /// What to demand; each aggregate at most once.
    pub(crate) expected: Vec<(AggregateId, Expected)>,
}

impl CommitPlan {
    /// `lines`: at least one.
    pub(crate) fn of<'a>(lines: impl ExactSizeIterator<Item = &'a ImportLine>) -> Self {
        let mut plan = Self {
            count: lines.len(),
            expected: Vec::new(),
        };
        assert!(plan.count > 0, "a commit has at least one line");
        // The version each aggregate will have after the lines so far; `None` when nobody has said.
        let mut versions: HashMap<&AggregateId, Option<u64>> = HashMap::new();
        for (place, line) in lines.enumerate() {
            let Some(aggregate) = &line.aggregate else {
                continue;
            };
            match (versions.entry(aggregate), line.expected) {
                (Entry::Vacant(entry), None) => {
                    entry.insert(None);
                }
                (Entry::Vacant(entry), Some(expected)) => {
                    entry.insert(Some(version_before(expected).saturating_add(1)));
                    plan.expected.push((aggregate.clone(), expected));
                }
                (Entry::Occupied(mut entry), expected) => {
                    let before = *entry.get();
                    if expected.is_some_and(|expected| before != Some(version_before(expected))) {
                        plan.count = place;
                        return plan;
                    }
                    entry.insert(before.map(|version| version.saturating_add(1)));
                }
            }
        }
        plan
    }
}

/// Versions of an import start at 1, so 0 stands for no events.
fn version_before(expected: Expected) -> u64 {
    match expected {
        Expected::Exactly(version) => version,
        Expected::NoEvents | Expected::Any => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(lines: &[(Option<&str>, Option<u64>)]) -> (usize, Vec<(String, Expected)>) {
        let lines: Vec<ImportLine> = lines
            .iter()
            .map(|&(aggregate, expected)| {
                ImportLine::for_plan(
                    aggregate,
                    expected.map(|version| match version {
                        0 => Expected::NoEvents,
                        version => Expected::Exactly(version),
                    }),
                )
            })
            .collect();
        let plan = CommitPlan::of(lines.iter());
        (
            plan.count,
            plan.expected
                .into_iter()
                .map(|(id, expected)| (id.to_string(), expected))
                .collect(),
        )
    }

    #[test]
    fn later_lines_count_the_earlier_ones() {
        let (count, expected) = plan(&[
            (Some("a"), Some(0)),
            (Some("b"), Some(4)),
            (Some("a"), Some(1)),
            (None, None),
            (Some("b"), None),
            (Some("b"), Some(6)),
        ]);
        assert_eq!(count, 6);
        assert_eq!(
            expected,
            [
                ("a".to_owned(), Expected::NoEvents),
                ("b".to_owned(), Expected::Exactly(4))
            ]
        );
    }

    #[test]
    fn a_version_that_does_not_add_up_leads_the_next_commit() {
        let (count, expected) = plan(&[
            (Some("a"), Some(2)),
            (Some("b"), None),
            (Some("a"), Some(2)),
            (None, None),
        ]);
        assert_eq!(count, 2);
        assert_eq!(expected, [("a".to_owned(), Expected::Exactly(2))]);
    }

    #[test]
    fn an_unknown_base_ends_the_commit() {
        assert_eq!(
            plan(&[(Some("a"), None), (Some("a"), None), (Some("a"), Some(2))]),
            (2, Vec::new())
        );
    }

    #[test]
    fn the_greatest_version_does_not_overflow() {
        let (count, _) = plan(&[(Some("a"), Some(u64::MAX)), (Some("a"), Some(0))]);
        assert_eq!(count, 1);
    }
}
