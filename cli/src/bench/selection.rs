//! Which workloads are run.

use crate::bench::error::BenchError;

/// Every workload, in the order in which they are run.
pub const WORKLOADS: [&str; 30] = [
    "W1",
    "W2.16",
    "W2.64",
    "W2.submit",
    "W3a",
    "W3b",
    "W4",
    "W4hot",
    "W5",
    "W5.topic",
    "W5.tag",
    "W6killed",
    "W6killed_buffered",
    "W6clean",
    "W7bytes",
    "W7heap",
    "W8",
    "W9.1",
    "W9.8",
    "WC",
    "W10.W7bytes",
    "W10.W7heap",
    "W10.W4",
    "W10.scattered",
    "W10.W1",
    "W10.W3a",
    "W10.W6killed",
    "W10.W6killed_buffered",
    "W10.W6clean",
    "W10.new_version_check",
];

/// A choice of [`WORKLOADS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<&'static str>);

impl Selection {
    /// Every workload.
    pub fn all() -> Self {
        Self(WORKLOADS.to_vec())
    }

    /// Those that are named. A name stands for itself and what follows it behind a dot (`W5` for `W5.tag` too),
    /// and one that is none for all that begin with it (`W6` for `W6clean`, and never `W1` for `W10`).
    ///
    /// # Errors
    /// [`BenchError::UnknownWorkload`] for the first name that stands for none.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, BenchError> {
        let mut chosen = Vec::new();
        for name in names {
            let before = chosen.len();
            chosen.extend(WORKLOADS.iter().filter(|known| stands_for(name, known)));
            if chosen.len() == before {
                let name = name.to_owned();
                return Err(BenchError::UnknownWorkload { name });
            }
        }
        Ok(Self(chosen))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }

    /// Whether a workload is among them.
    pub fn contains(&self, workload: &str) -> bool {
        self.0.contains(&workload)
    }
}

fn stands_for(name: &str, known: &str) -> bool {
    // All names begin with one letter, which says nothing.
    let Some(rest) = known.strip_prefix(name).filter(|_| name.len() > 1) else {
        return false;
    };
    let is_whole = rest.is_empty() || rest.starts_with('.');
    let is_start =
        !WORKLOADS.contains(&name) && !rest.starts_with(|next: char| next.is_ascii_digit());
    is_whole || is_start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Vec<&'static str> {
        Selection::of(names.iter().copied())
            .unwrap()
            .names()
            .collect()
    }

    #[test]
    fn a_name_stands_for_itself_and_a_part_for_all_of_it() {
        assert_eq!(chosen(&["W1"]), ["W1"]);
        assert_eq!(chosen(&["W4"]), ["W4"]);
        assert_eq!(
            chosen(&["W6"]),
            ["W6killed", "W6killed_buffered", "W6clean"]
        );
        assert_eq!(chosen(&["W10"]).len(), 10);
        assert_eq!(chosen(&["W10.W6killed"]), ["W10.W6killed"]);
        assert_eq!(chosen(&["W2"]), ["W2.16", "W2.64", "W2.submit"]);
        assert_eq!(
            chosen(&["W3", "W5"]),
            ["W3a", "W3b", "W5", "W5.topic", "W5.tag"]
        );
    }

    #[test]
    fn what_stands_for_nothing_is_refused_with_what_there_is() {
        for name in ["W", "w1", "", "W2.6", "W11"] {
            let error = Selection::of(["W1", name]);
            let error = error.expect_err(name).to_string();
            assert!(error.contains("W2.submit"), "{error}");
        }
    }
}
