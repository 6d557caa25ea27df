//! A log that nothing happens to, used by 16 threads at once: what each of them saw has to fit together.

use annals_engine::Log;
use annals_tests::history::{self, Survives};
use parking_lot::Mutex;

use crate::report::Told;
use crate::work::{self, Work};
use crate::{Counts, Tier, oracle, writer};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    let dir = tempfile::tempdir().expect("a directory for a log");
    let log = dir.path().join("log");
    let work = Work {
        threads: 16,
        followers: 2,
        steps: tier.of(60_000, 1_000_000) / 16,
        buffered: 90,
        aggregates: 4_000,
        segment_len: 8 << 20,
        ..Work::new(work::WRITE, &log, seed)
    };
    let told = Mutex::new(Told::default());
    writer::run_telling(&work, &|line| told.lock().take(line));
    let told = told.into_inner();
    let mut found = told.wrong;
    found.extend(told.failed);
    let history = told.history;
    let answers = history.appends.len() + history.reads.len() + history.notifications.len();
    match Log::open_read_only(&log) {
        Ok(log) => match oracle::stored(&log) {
            Ok(stored) => {
                found.extend(history::violations(&history, &stored, Survives::Process));
            }
            Err(wrong) => found.push(wrong),
        },
        Err(error) => found.push(format!("cannot be opened: {error}")),
    }
    Counts {
        states: answers as u64,
        notes: vec![format!("{} appends", history.appends.len())],
        found,
        ..Counts::default()
    }
}
