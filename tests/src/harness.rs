//! The harnesses that put logs through crashes, faults and rot, and count what they tried.
//!
//! Each has a quick tier among the everyday tests and a full one for a release, and leaves its counts in the
//! [ledger]. All judge by the same [invariants](crate::invariants).

use std::fmt;

use crate::invariants::Breach;

pub mod crash_points;
pub mod driver;
pub mod workloads;

/// What a harness has tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States or cases judged.
    pub states: u64,
    /// Of these, those with a second crash inside a recovery.
    pub double: u64,
    /// Faults that struck.
    pub faults: u64,
    /// States not judged, since the same had been judged under the same demands.
    pub repeated: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            states: self.states + other.states,
            double: self.double + other.double,
            faults: self.faults + other.faults,
            repeated: self.repeated + other.repeated,
        }
    }
}

/// A promise that was broken, and how to see it again.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The promise.
    pub breach: Breach,
    /// What was done.
    pub again: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n  again: {}", self.breach, self.again)
    }
}
