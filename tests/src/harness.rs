//! The harnesses that put logs through crashes, faults and rot, and count what they tried.
//!
//! Each has a quick tier among the everyday tests and a full one for a release, and leaves its counts in the
//! [ledger](crate::ledger). All judge by the same [invariants](crate::invariants).

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::invariants::{Breach, Kept, breach};

pub mod crash_points;
pub mod driver;
pub mod io_faults;
pub mod rot;
pub mod runner;
pub mod simulation;
pub mod wake_ups;
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

/// Runs a case; a panic in it is a breach too.
///
/// # Errors
/// That of the case, or I11.
pub fn guarded<T>(case: impl FnOnce() -> Kept<T>) -> Kept<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_GUARDED.get() {
                let place = panic.location().map(ToString::to_string);
                PLACE.set(place.unwrap_or_default());
            } else {
                before(panic);
            }
        }));
    });
    let was_guarded = IS_GUARDED.replace(true);
    let ran = catch_unwind(AssertUnwindSafe(case));
    IS_GUARDED.set(was_guarded);
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(breach(
            "I11",
            format!("a panic at {}: {}", PLACE.take(), text.unwrap_or_default()),
        ))
    })
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: Cell<String> = const { Cell::new(String::new()) };
}
