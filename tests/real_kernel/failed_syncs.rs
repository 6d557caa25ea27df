//! Syncs that fail for good: a file system in an image whose own disk, a small one in memory, becomes full.
//!
//! The pages that could not be written are clean afterwards, a second sync succeeds, and what the system shows until it
//! forgets is not on the disk. So the log must take nothing more, whatever the error was; and what the next open shows
//! must be written anew first. It is opened once while the disk is still full, or once there is room again, and looked
//! at when the page cache has been lost.
//!
//! ext4 without a journal breaks its word here, without any log: of a file whose blocks were reserved ahead it loses
//! what an earlier sync, which succeeded, had covered (seen on Linux 6.18, in every second run). Nothing above it can
//! mend that. What is promised then is that the loss is told and nothing else is shown in its place; it is counted.
//!
//! In half of the scenarios the system writes everything back while the disk is full, which it else does when it has the
//! time. Then the watermark of the child that was killed could not be written either, and the close of the next process
//! is told so.
//!
//! Source: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use annals_tests::history::{History, Outcome, Survives};

use crate::child::{Child, Ended};
use crate::mounts::{self, Kind, Mount};
use crate::report;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    if let Some(why) = mounts::refusal() {
        return Counts::skipped(why);
    }
    lanes(tier.of(3, 12), |number| {
        let kind = [Kind::PlainExt4, Kind::Xfs, Kind::Ext4][number as usize % 3];
        let is_freed_first = number / 3 % 2 == 0;
        let is_written_back = number / 6 % 2 == 1;
        let seed = seed * 1_000_003 + number;
        scenario(kind, is_freed_first, is_written_back, seed).unwrap_or_else(|error| Counts {
            found: vec![format!("{kind:?} cannot be set up: {error}")],
            ..Counts::default()
        })
    })
}

fn scenario(
    kind: Kind,
    is_freed_first: bool,
    is_written_back: bool,
    seed: u64,
) -> Result<Counts, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let device = Mount::memory(&dir.path().join("device"), DEVICE_LEN)?;
    let image = device.path.join("image");
    let mount = Mount::image(&dir.path().join("mounted"), &image, kind, IMAGE_LEN)?;
    let log = mount.path.join("log");
    let mut counts = Counts::default();
    let mut history = History::default();
    let work = |incarnation| Work {
        incarnation,
        segment_len: 4 << 20,
        ..Work::new(work::WRITE, &log, seed)
    };

    // Behind a kill the next segment is made of blocks that nobody has written yet, so the device has no room for them.
    let mut first = Child::start(&work(0));
    wait_for(&mut first, |told| !told.history.appends.is_empty());
    let mut take = |ended: Ended, counts: &mut Counts| {
        counts.found.extend(ended.wrong());
        report::add(&mut history, ended.told.history);
    };
    take(first.kill(), &mut counts);
    let mut second = Child::start(&work(1));
    wait_for(&mut second, |told| told.opened.is_some());
    let filler = device.path.join("filler");
    fill(&filler).map_err(|error| error.to_string())?;
    let start = Instant::now();
    while !second.has_ended() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let failed = second.told(|told| told.failed.clone());
    let has_failed = !failed.is_empty();
    take(second.kill(), &mut counts);
    counts.faults += 1;
    counts.found.extend(goes_on(&history));
    counts.notes.push(match failed.first() {
        Some(failed) => format!("{kind:?}: {}", error_of(failed)),
        None => format!("{kind:?}: nothing failed"),
    });
    if !has_failed {
        counts
            .found
            .push("the disk is full, and nothing has failed".into());
    }

    if !is_freed_first {
        let work = Work {
            steps: 20,
            ..work(2)
        };
        let ended = Child::start(&work).end();
        report::add(&mut history, ended.told.history);
        counts.found.extend(goes_on(&history));
    }
    if is_written_back {
        // What the system does by itself some seconds later, so on a loaded machine now and then. It fails, of course.
        let sync = Command::new("sync").arg("-f").arg(&log).output();
        sync.map_err(|error| error.to_string())?;
    }
    std::fs::remove_file(&filler).map_err(|error| error.to_string())?;
    let (late, mut with_cache): (Vec<_>, Vec<_>) = check(&log, &history)
        .into_iter()
        .partition(|what| is_late(what));
    counts.states += 1;
    if !late.is_empty() {
        counts.notes.push(format!("{kind:?}: {LATE}"));
        with_cache.extend(check(&log, &history));
        counts.states += 1;
    }
    // A journal that could not be written has the file system refuse everything until it is mounted again.
    let is_refused = |what: &String| what.contains("cannot be written");
    counts
        .found
        .extend(with_cache.into_iter().filter(|what| !is_refused(what)));
    // What is only in the page cache is gone now.
    mount.remount()?;
    counts.states += 1;
    let without = check(&log, &history).into_iter();
    let is_told = |what: &String| kind == Kind::PlainExt4 && what.contains("damaged at");
    let (told, found): (Vec<_>, Vec<_>) = without.partition(is_told);
    counts.notes.extend(told.into_iter().map(|_| LIED.into()));
    let found = found.into_iter();
    counts
        .found
        .extend(found.map(|what| format!("without the page cache: {what}")));
    if !counts.found.is_empty() {
        counts
            .found
            .push(format!("{kind:?}, freed first: {is_freed_first}, {seed}"));
    }
    Ok(counts)
}

/// Whether a close was told of what an earlier process could not write. That one wrote its watermark, which a log syncs
/// only when it is closed, and was killed; the system tried to write the page while there was no room, and tells whoever
/// syncs the file next, once. So the first close fails although all is well by then, and the next one must not.
fn is_late(what: &str) -> bool {
    what.contains("cannot be closed") && what.contains(NO_ROOM)
}

/// What the system said, without the path.
fn error_of(failed: &str) -> &str {
    failed
        .split_once(".seg: ")
        .map_or(failed, |(_, error)| error)
}

/// Whatever was acknowledged although it began after a failure.
fn goes_on(history: &History) -> Option<String> {
    let of_writer = |number: u64| number >> 40;
    let failed = history
        .appends
        .iter()
        .find(|append| append.outcome == Outcome::Unknown && append.ended.is_some())?;
    let late = history.appends.iter().find(|append| {
        of_writer(append.number) == of_writer(failed.number)
            && matches!(append.outcome, Outcome::Acknowledged(..))
            && Some(append.begun) > failed.ended
    })?;
    Some(format!("acknowledged after a failure: {late:?}"))
}

fn check(log: &Path, history: &History) -> Vec<String> {
    oracle::check(log, history, Survives::Power)
}

/// Waits for what the child tells, or for its end.
pub(crate) fn wait_for(child: &mut Child, is_told: impl Fn(&report::Told) -> bool) {
    let start = Instant::now();
    while !child.told(|told| is_told(told)) && !child.has_ended() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a file until there is no room.
fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for len in [1 << 20, 4 << 10] {
        let zeros = vec![7; len];
        while file.write_all(&zeros).is_ok() {}
    }
    Ok(())
}

const LATE: &str = "the close was told of a page that the process before could not write";
/// ENOSPC in words.
const NO_ROOM: &str = "No space left on device";
const LIED: &str = "ext4 without a journal lost what it had synced, and that was told";
/// As long as a loaded machine may take: whoever waits in vain tells of a breach.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const DEVICE_LEN: u64 = 160 << 20;
/// More than the device has.
const IMAGE_LEN: u64 = 640 << 20;
