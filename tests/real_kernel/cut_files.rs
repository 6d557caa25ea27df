//! Files that another program cuts or replaces under a process that reads the log.
//!
//! Under [`ReadIo::Pread`](annals_engine::ReadIo::Pread) whatever is cut is an error, never a signal. Mapped, that is
//! promised of what is replaced by a rename or removed; whoever cuts a mapped file in place ends its readers by
//! SIGBUS or has them miss what an index cannot tell any more, as is documented, and the harness counts how many end.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_tests::SeededRandom;

use crate::child::Child;
use crate::failed_syncs::wait_for;
use crate::full_disk::copy;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    let dir = tempfile::tempdir().expect("a directory for a log");
    let log = dir.path().join("log");
    let writer = Work {
        steps: 600,
        segment_len: 128 << 10,
        ..Work::new(work::WRITE, &log, seed)
    };
    let ended = Child::start(&writer).end();
    let mut counts = lanes(tier.of(10, 60), |number| {
        let copied = dir.path().join(format!("copy-{number}"));
        copy(&log, &copied).expect("a log can be copied");
        scenario(&copied, number, seed)
    });
    counts.found.extend(ended.wrong());
    let signals = counts.notes.iter().filter(|note| *note == SIGNAL).count();
    counts.notes = vec![format!(
        "{signals} mapped readers of files cut in place ended by SIGBUS, as documented"
    )];
    counts
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Cut,
    CutToNothing,
    Replace,
    Remove,
}

fn scenario(log: &Path, number: u64, seed: u64) -> Counts {
    let random = SeededRandom::new(seed * 1_000_003 + number);
    let pread = number.is_multiple_of(2);
    let deed =
        [Deed::Cut, Deed::CutToNothing, Deed::Replace, Deed::Remove][number as usize / 2 % 4];
    let work = Work {
        pread,
        incarnation: 1,
        ..Work::new(work::READ, log, number)
    };
    let mut counts = Counts::default();
    let mut child = Child::start(&work);
    wait_for(&mut child, |told| {
        told.history.reads.len() > random.next_u64() as usize % 60
    });
    for path in files(log) {
        if random.next_u64().is_multiple_of(2) {
            counts.faults += 1;
            act(deed, &path, &random).expect("a file can be changed");
        }
    }
    let reads = child.told(|told| told.history.reads.len() + told.failed.len() + told.wrong.len());
    wait_for(&mut child, |told| {
        told.history.reads.len() + told.failed.len() + told.wrong.len() > reads + 100
    });
    std::thread::sleep(Duration::from_millis(5));
    let ended = child.kill();
    counts.states += 1;
    let is_in_place = matches!(deed, Deed::Cut | Deed::CutToNothing);
    match ended.status.signal() {
        Some(SIGBUS) if !pread && is_in_place => counts.notes.push(SIGNAL.into()),
        // An index that is cut within its last page reads as zeros there: keys in it are not found any more.
        _ if !pread && is_in_place => {}
        _ => {
            // Errors are what is asked for; wrong answers are not.
            let is_error = |what: &String| {
                ["reading", "following", "refreshing"]
                    .iter()
                    .any(|word| what.starts_with(word))
            };
            counts
                .found
                .extend(ended.wrong().into_iter().filter(|what| !is_error(what)));
        }
    }
    if !counts.found.is_empty() {
        counts.found.push(format!(
            "{deed:?}, read by pread: {pread}, scenario {number}"
        ));
    }
    counts
}

fn files(log: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(log).expect("the log can be listed");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let is_one = |path: &PathBuf| path.is_file() && !path.ends_with("LOCK");
    let mut files: Vec<PathBuf> = paths.filter(is_one).collect();
    files.sort();
    files
}

fn act(deed: Deed, path: &Path, random: &SeededRandom) -> std::io::Result<()> {
    let len = fs::metadata(path)?.len();
    let cut = |len| OpenOptions::new().write(true).open(path)?.set_len(len);
    match deed {
        Deed::Cut => cut(random.next_u64() % len.max(1)),
        Deed::CutToNothing => cut(0),
        Deed::Remove => fs::remove_file(path),
        Deed::Replace => {
            let other = path.with_extension("other");
            fs::write(&other, vec![random.next_u64() as u8; (len / 2) as usize])?;
            fs::rename(other, path)
        }
    }
}

const SIGBUS: i32 = 7;
const SIGNAL: &str = "signal";
