//! Writers that are killed: whatever one of them was told to be done is there, whenever the kill came.
//!
//! A kill takes no byte that was written, so nothing that was acknowledged may be missing, buffered or not; tracking positions
//! are those of the appends that are there, and snapshots are what was put. Every
//! second time the next writer recovers the log itself, and may be killed while it does.

use std::path::Path;
use std::time::Duration;

use annals_segments::planted::planted;
use annals_tests::SeededRandom;
use annals_tests::history::{History, Survives};

use crate::child::Child;
use crate::report;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    let series = tier.of(100, 1000) / KILLS_OF_A_SERIES;
    let mut counts = lanes(series, |number| one_series(seed * 1_000_003 + number));
    let appends = counts
        .notes
        .iter()
        .filter_map(|note| note.parse::<u64>().ok());
    counts.notes = vec![format!("{} appends told of", appends.sum::<u64>())];
    counts
}

/// One log, killed again and again.
fn one_series(seed: u64) -> Counts {
    let dir = tempfile::tempdir().expect("a directory for a log");
    let log = dir.path().join("log");
    let random = SeededRandom::new(seed);
    let mut counts = Counts::default();
    let mut history = History::default();
    for incarnation in 0..KILLS_OF_A_SERIES {
        let work = Work {
            incarnation,
            threads: 1 + random.next_u64() % 4,
            pread: random.next_u64().is_multiple_of(8),
            segment_len: (64 << 10) << (random.next_u64() % 4),
            ..Work::new(work::WRITE, &log, seed)
        };
        let child = Child::start(&work);
        // Some are hit before they have the log open, most in the midst of their work.
        let delay = match random.next_u64() % 4 {
            0 => random.next_u64() % 8_000,
            _ => random.next_u64() % 60_000,
        };
        std::thread::sleep(Duration::from_micros(delay));
        let ended = child.kill();
        counts.faults += 1;
        counts.found.extend(ended.wrong());
        report::add(&mut history, ended.told.history);
        if random.next_u64().is_multiple_of(2) || incarnation + 1 == KILLS_OF_A_SERIES {
            counts.states += 1;
            counts.found.extend(check(&log, &history));
        }
        if !counts.found.is_empty() {
            counts
                .found
                .push(format!("in series {seed}, kill {incarnation}"));
            keep(dir);
            break;
        }
    }
    counts.notes.push(history.appends.len().to_string());
    counts
}

fn check(log: &Path, history: &History) -> Vec<String> {
    match log.exists() || !history.appends.is_empty() {
        true => oracle::check(log, history, Survives::Process),
        false => Vec::new(),
    }
}

/// Leaves what was found where it can be looked at.
pub(crate) fn keep(dir: tempfile::TempDir) {
    if planted().is_some() {
        return;
    }
    println!("left as it is: {}", dir.keep().display());
}

const KILLS_OF_A_SERIES: u64 = 10;
