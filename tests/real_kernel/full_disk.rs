//! A disk that is full: file systems in memory of 1 to 16 MiB, filled, read, given room again.
//!
//! No room is no failure: appends are refused with nothing written, reads go on, and once there is room appends go on
//! too. Nothing is ever stored through a map, so no signal comes.

use std::fs::File;
use std::time::{Duration, Instant};

use annals_tests::history::{History, Outcome, Survives};

use crate::child::Child;
use crate::failed_syncs::wait_for;
use crate::mounts::{self, Mount};
use crate::report::{self, Told};
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    if let Some(why) = mounts::refusal() {
        return Counts::skipped(why);
    }
    lanes(tier.of(4, 20), |number| {
        let mib = [1, 2, 4, 8, 16][number as usize % 5];
        scenario(mib, number, seed).unwrap_or_else(|error| Counts {
            found: vec![format!("{mib} MiB cannot be set up: {error}")],
            ..Counts::default()
        })
    })
}

fn scenario(mib: u64, number: u64, seed: u64) -> Result<Counts, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mount = Mount::memory(&dir.path().join("mounted"), mib << 20)?;
    let log = mount.path.join("log");
    let filler = mount.path.join("filler");
    let zeros = vec![0; (mib << 19) as usize];
    std::fs::write(&filler, &zeros).map_err(|error| error.to_string())?;
    let work = Work {
        segment_len: (64 << 10) << (number % 3),
        pread: number % 4 < 2,
        threads: 1 + number % 3,
        buffered: 80,
        ..Work::new(work::WRITE, &log, seed * 1_000_003 + number)
    };
    let mut counts = Counts::default();
    let mut history = History::default();
    let mut child = Child::start(&work);
    wait_for(&mut child, is_full);
    counts.faults += 1;
    if !child.told(is_full) {
        counts.found.push(format!(
            "{mib} MiB never became full: {:?}",
            child.told(|told| told.failed.clone())
        ));
    }
    std::thread::sleep(Duration::from_millis(20));
    let reads = child.told(|told| told.history.reads.len());
    let appends = child.told(acknowledged);
    std::fs::remove_file(&filler).map_err(|error| error.to_string())?;
    wait_for(&mut child, |told| acknowledged(told) > appends + 10);
    if child.told(acknowledged) <= appends {
        counts.found.push(format!(
            "there is room, and no append goes on: {:?}",
            child.told(|told| told.failed.last().cloned())
        ));
    }
    wait_for(&mut child, |told| told.history.reads.len() > reads);
    if child.told(|told| told.history.reads.len()) <= reads {
        counts.found.push("no read goes on".into());
    }
    // Until it is full again.
    let before = child.told(|told| told.failed.len());
    wait_for(&mut child, |told| told.failed.len() > before);
    let ended = child.kill();
    counts.found.extend(ended.wrong());
    let unknown = ended
        .told
        .history
        .appends
        .iter()
        .find(|append| append.ended.is_some() && append.outcome == Outcome::Unknown);
    if let Some(unknown) = unknown {
        counts.found.push(format!(
            "a full disk made an outcome unknown: {unknown:?}: {:?}",
            ended.told.failed
        ));
    }
    report::add(&mut history, ended.told.history);

    // The next one finds no room at all: it opens and can be read, or says that it cannot be opened.
    let hog = mount.path.join("hog");
    if let Ok(file) = File::create(&hog) {
        while std::io::Write::write_all(&mut &file, &[1; 4096]).is_ok() {}
    }
    child = Child::start(&Work {
        incarnation: 1,
        steps: 30,
        ..work
    });
    let start = Instant::now();
    while !child.has_ended() && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let ended = child.kill();
    counts.found.extend(ended.wrong());
    report::add(&mut history, ended.told.history);
    std::fs::remove_file(&hog).map_err(|error| error.to_string())?;
    // Room for the next segment.
    counts.states += 1;
    let room = mount
        .path
        .parent()
        .expect("a mount lies somewhere")
        .join("copy");
    copy(&log, &room).map_err(|error| error.to_string())?;
    counts
        .found
        .extend(oracle::check(&room, &history, Survives::Process));
    if !counts.found.is_empty() {
        counts.found.push(format!("{mib} MiB, scenario {number}"));
    }
    Ok(counts)
}

fn is_full(told: &Told) -> bool {
    told.failed.iter().any(|what| what.contains("no room"))
}

fn acknowledged(told: &Told) -> usize {
    let appends = told.history.appends.iter();
    appends
        .filter(|append| matches!(append.outcome, Outcome::Acknowledged(..)))
        .count()
}

/// Copies a log of which no process has anything open.
pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
