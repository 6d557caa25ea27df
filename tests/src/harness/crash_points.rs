//! T1: a crash at every call that changes the disk, with every choice of what survives it, and a second one inside
//! the recovery.
//!
//! A workload runs once on a disk that keeps what it was before each change. From each of these instants states are
//! made: all subsets of what was pending when there are few, samples when there are many, each write torn in each way,
//! out of order and in order. Each is opened, judged by the [`History`], appended to, and cut off again.

use std::collections::HashSet;

use annals_engine::Error;

use super::driver::{DIR, Driver, Phase, Stop};
use super::workloads::Workload;
use super::{Tally, Trouble, guarded};
use crate::invariants::{Breach, End, Found, History, Kept, breach, keep, not_opened};
use crate::sim_disk::{Image, PendingOp, SimDisk, Snapshot, Spared, Tear};
use crate::{SeededRandom, event, small_log};

/// How much is tried at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// All subsets when no more operations than this are pending.
    pub exhaustive_max: usize,
    /// Random choices else, and besides.
    pub samples: u64,
    /// Of the newest writes, how many are torn in each way.
    pub torn: usize,
}

impl Effort {
    /// For every day.
    pub const QUICK: Self = Self {
        exhaustive_max: 2,
        samples: 2,
        torn: 1,
    };
    /// For a release.
    pub const FULL: Self = Self {
        exhaustive_max: 12,
        samples: 12,
        torn: 4,
    };
}

/// Runs a workload and tries every crash. Adds to `tally` what was tried.
///
/// # Errors
/// The first promise that was broken, and how to see it again.
pub fn run(
    workload: Workload,
    seed: u64,
    effort: Effort,
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let phases = record(workload, seed)?;
    for (number, phase) in phases.iter().enumerate() {
        let mut seen = HashSet::new();
        for (place, snapshot) in phase.snapshots.iter().enumerate() {
            let at = phase.start + place as u64;
            let instant = Instant {
                history: &phase.history,
                snapshot,
                at,
                seed,
                seen: &mut seen,
            };
            instant
                .try_all(effort, tally)
                .map_err(|(breach, spared)| Trouble {
                    breach,
                    again: format!(
                        "crash-points {} seed {seed}, phase {number}, before change {at}, {spared}",
                        workload.name
                    ),
                })?;
        }
    }
    Ok(())
}

/// The run of a workload without any fault.
pub(super) fn record(workload: Workload, seed: u64) -> Result<Vec<Phase>, Trouble> {
    let mut driver = Driver::new(seed);
    driver.record();
    let random = SeededRandom::new(seed);
    let trouble = |breach| Trouble {
        breach,
        again: format!("{} seed {seed}, without any fault", workload.name),
    };
    match (workload.run)(&mut driver, &random) {
        Ok(()) => Ok(driver.finish()),
        Err(Stop::Breach(breach)) => Err(trouble(breach)),
        Err(Stop::Failed(error)) => Err(trouble(breach(
            "I8",
            format!("a call fails on a sound disk: {error}"),
        ))),
    }
}

/// An instant of a run, and the states tried from it.
struct Instant<'a> {
    history: &'a History,
    snapshot: &'a Snapshot,
    at: u64,
    seed: u64,
    /// States that were judged under the same demands.
    seen: &'a mut HashSet<(u64, usize)>,
}

type Tried = Result<(), (Breach, String)>;

impl Instant<'_> {
    fn try_all(mut self, effort: Effort, tally: &mut Tally) -> Tried {
        let snapshot = self.snapshot;
        let pending = snapshot.pending();
        self.try_kill(tally)?;
        self.try_one(Spared::Nothing, tally)?;
        self.try_one(Spared::Everything, tally)?;
        let random = SeededRandom::new(self.seed ^ self.at << 20);
        if pending.len() <= effort.exhaustive_max {
            for bits in 0..1u64 << pending.len() {
                self.try_one(Spared::Subset(bits), tally)?;
            }
        } else {
            for _ in 0..effort.samples {
                self.try_one(Spared::Subset(random.next_u64()), tally)?;
            }
        }
        let is_torn = |op: &PendingOp| matches!(op, PendingOp::Write(..) | PendingOp::Rename(..));
        let torn = (0..pending.len())
            .rev()
            .filter(|place| is_torn(pending[*place]));
        for place in torn.take(effort.torn) {
            for tear in Tear::ALL {
                self.try_one(Spared::TornAt(place, tear, random.next_u64()), tally)?;
                self.try_one(Spared::TornFrom(place, tear, random.next_u64()), tally)?;
            }
        }
        for _ in 0..effort.samples {
            if pending.is_empty() {
                break;
            }
            let seed = random.next_u64();
            let spared = || SeededRandom::new(seed);
            self.try_one(Spared::Some(&spared()), tally)?;
        }
        Ok(())
    }

    /// The process ends, and the next one goes on over the same cache.
    fn try_kill(&mut self, tally: &mut Tally) -> Tried {
        let disk = SimDisk::restarted_at(self.snapshot.clone());
        tally.states += 1;
        let case = Case {
            history: self.history,
            at: self.at,
            end: End::Kill,
            seed: self.seed ^ self.at,
        };
        guarded(|| case.judge(&disk, true))
            .map(drop)
            .map_err(|breach| (breach, "a kill".to_owned()))
    }

    fn try_one(&mut self, spared: Spared<'_>, tally: &mut Tally) -> Tried {
        let image = self.snapshot.power_cut(spared);
        let fingerprint = image.fingerprint();
        if !self.seen.insert((fingerprint, self.history.least(self.at))) {
            tally.repeated += 1;
            return Ok(());
        }
        tally.states += 1;
        let case = Case {
            history: self.history,
            at: self.at,
            end: End::PowerCut,
            seed: fingerprint,
        };
        let is_second = fingerprint.is_multiple_of(8);
        let judged = guarded(|| match is_second {
            false => case
                .judge(&SimDisk::of(&image), fingerprint.is_multiple_of(4))
                .map(drop),
            true => case.judge_crash_inside_recovery(&image, tally),
        });
        judged.map_err(|breach| (breach, format!("{spared:?}, second crash: {is_second}")))
    }
}

/// A state that something has left, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What was handed over and heard of.
    pub history: &'a History,
    /// When the end came.
    pub at: u64,
    /// What end.
    pub end: End,
    /// Of the log that is opened.
    pub seed: u64,
}

impl Case<'_> {
    /// Opens the state and judges it; then appends, cuts the power, and opens again.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn judge(&self, disk: &SimDisk, with_reader: bool) -> Kept<Found> {
        let shown = match with_reader {
            true => self.read_only(disk)?,
            false => 0,
        };
        let calls = disk.call_count();
        let log = self.open(disk)?;
        let calls = disk.call_count() - calls;
        keep!("I10", calls <= CALLS_MAX, "{calls} calls to open");
        let found = self.history.check(&log, self.at, self.end)?;
        keep!(
            "I4",
            found.head >= shown,
            "head {}, a reader was shown {shown}",
            found.head
        );
        self.history.check_copies(self.at, found.head, |dir| {
            small_log(disk.clone(), self.seed).open_read_only(dir)
        })?;
        if !self.seed.is_multiple_of(4) {
            let _ = disk.end(None);
            return Ok(found);
        }
        let appended = log.append(event("after", "After", "acknowledged"));
        let appended =
            appended.map_err(|error| breach("I8", format!("takes no append: {error}")))?;
        keep!(
            "I2",
            appended.first == found.head + 1,
            "{appended:?} behind head {}",
            found.head
        );
        let left = disk.snapshot().power_cut(Spared::Nothing);
        let _ = disk.end(None);
        drop(log);
        let again = SimDisk::of(&left);
        let log = self.open(&again)?;
        keep!(
            "I6",
            log.head() == found.head + 1,
            "head {} behind {} and one more",
            log.head(),
            found.head
        );
        let last = log
            .read(
                log.head()..,
                &annals_engine::Query::all(),
                annals_engine::Direction::Forward,
            )
            .next();
        let is_there = matches!(last, Some(Ok(last)) if *last.payload == *b"acknowledged");
        keep!(
            "I1",
            is_there,
            "what was acknowledged after the recovery is not there"
        );
        let _ = again.end(None);
        Ok(found)
    }

    /// Crashes again at some call of the recovery, and judges what that leaves.
    fn judge_crash_inside_recovery(&self, image: &Image, tally: &mut Tally) -> Kept {
        let disk = SimDisk::of(image);
        disk.record();
        let log = self.open(&disk)?;
        let found = self.history.check(&log, self.at, self.end)?;
        let snapshots = disk.recorded();
        let _ = disk.end(None);
        drop(log);
        let random = SeededRandom::new(self.seed);
        for _ in 0..2 {
            let inside = random.next_u64() as usize % snapshots.len();
            let cut = match random.next_u64() % 4 {
                0 => snapshots[inside].power_cut(Spared::Nothing),
                1 => snapshots[inside].power_cut(Spared::Everything),
                _ => snapshots[inside].power_cut(Spared::Some(&random)),
            };
            tally.states += 1;
            tally.double += 1;
            let second = self.judge(&SimDisk::of(&cut), false);
            let again = second.map_err(|breach| Breach {
                what: format!(
                    "{}; in a recovery cut short before its change {inside}",
                    breach.what
                ),
                ..breach
            })?;
            // What the first one showed it had made durable; cut short, it had shown nothing.
            if inside + 1 == snapshots.len() {
                keep!(
                    "I6",
                    again == found,
                    "recovered {again:?}, before {found:?}"
                );
            }
        }
        Ok(())
    }

    fn open(&self, disk: &SimDisk) -> Kept<annals_engine::Log> {
        small_log(disk.clone(), self.seed)
            .open(DIR)
            .map_err(|error| not_opened(&error))
    }

    /// What a reader is shown before anything is recovered; 0 when there is no log yet.
    fn read_only(&self, disk: &SimDisk) -> Kept<u64> {
        match small_log(disk.clone(), self.seed).open_read_only(DIR) {
            Ok(log) => self.history.check_read_only(&log, self.at),
            Err(Error::NotALog { .. }) => Ok(0),
            Err(error) => Err(not_opened(&error)),
        }
    }
}

/// Calls of the disk that an open of so small a log may make.
const CALLS_MAX: u64 = 1_000;
