//! Looks for bugs, one after the other, and what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use annals_segments::planted::plant;

use super::bugs_of;
use crate::ledger::{Entry, record};

/// What came of one look for a bug.
#[derive(Clone, Debug)]
pub enum Hunt {
    /// It was found; the first that was told of it.
    Caught(String),
    /// Nothing was found.
    Survived,
    /// The harness cannot be run here, and why. That is no catch, and no survival.
    Skipped(String),
}

/// Has each harness look for each bug that is its own, `attempts` times at most, and tells what came of it. `run`: one
/// look of a harness, told which of the attempts it is; a panic in it is a catch. The bug is planted in this process
/// then; what other processes it starts it has to tell itself.
///
/// Fails when a bug survives.
pub fn hunt<'a>(
    kind: &str,
    harnesses: impl IntoIterator<Item = &'a str>,
    attempts: u64,
    mut run: impl FnMut(&str, u64) -> Hunt,
) -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the ledger says how long it took; nothing depends on it"
    )]
    let start = Instant::now();
    let mut entry = Entry {
        harness: "planted".into(),
        seeds: kind.into(),
        ..Entry::default()
    };
    for harness in harnesses {
        for bug in bugs_of(harness) {
            plant(Some(*bug));
            let mut hunt = Hunt::Survived;
            for attempt in 0..attempts {
                let look = catch_unwind(AssertUnwindSafe(|| run(harness, attempt)));
                hunt = look.unwrap_or_else(|_| Hunt::Caught("a panic".into()));
                if !matches!(hunt, Hunt::Survived) {
                    break;
                }
            }
            plant(None);
            let told = match hunt {
                Hunt::Caught(told) => {
                    (entry.planted, entry.caught) = (entry.planted + 1, entry.caught + 1);
                    told.chars().take(120).collect()
                }
                Hunt::Survived => {
                    entry.planted += 1;
                    "SURVIVES".to_owned()
                }
                Hunt::Skipped(why) => {
                    let told = format!("SKIPPED: {why}");
                    let skipped = entry.skipped.get_or_insert_default();
                    let sep = if skipped.is_empty() { "" } else { "; " };
                    skipped.push_str(&format!("{sep}{bug:?} by {harness}: {why}"));
                    told
                }
            };
            println!("{bug:?}: {harness}: {told}");
        }
    }
    entry.seconds = start.elapsed().as_secs_f64();
    let survivors = entry.planted - entry.caught;
    println!(
        "{} planted bugs looked for, {survivors} of them survive; {:.1} s",
        entry.planted, entry.seconds
    );
    let is_recorded = record(&entry)
        .inspect_err(|error| println!("the ledger cannot be written: {error}"))
        .is_ok();
    match is_recorded && survivors == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
