//! Runs a harness over many seeds on all processors, and tells how far it is.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Tally, Trouble, crash_points, io_faults, rot, simulation, wake_ups, workloads};
use crate::SeededRandom;
use crate::ledger::Entry;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Seconds, for every day.
    Quick,
    /// Minutes, for a release.
    Full,
}

/// A harness: what it does with one unit of work, and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Harness {
    /// Its name on the command line and in the ledger.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Units of work for each seed.
    pub units: u64,
    /// Seeds of the two tiers.
    pub seeds: fn(Tier) -> Range<u64>,
    /// Does unit of this number with this seed.
    pub run: fn(Tier, u64, u64, &mut Tally) -> Result<(), Trouble>,
}

/// All of them.
pub const ALL: &[Harness] = &[
    Harness {
        name: "crash-points",
        about: "a crash at every call of every workload, and again inside the recovery",
        units: workloads::ALL.len() as u64,
        seeds: |tier| if tier == Tier::Quick { 1..2 } else { 1..9 },
        run: |tier, unit, seed, tally| {
            let effort = match tier {
                Tier::Quick => crash_points::Effort::QUICK,
                Tier::Full => crash_points::Effort::FULL,
            };
            crash_points::run(workloads::ALL[unit as usize], seed, effort, tally)
        },
    },
    Harness {
        name: "io-faults",
        about: "each call fails once or from then on, with each error it may have",
        units: workloads::ALL.len() as u64,
        seeds: |tier| if tier == Tier::Quick { 1..2 } else { 1..8 },
        run: |tier, unit, seed, tally| {
            let effort = match tier {
                Tier::Quick => io_faults::Effort::QUICK,
                Tier::Full => io_faults::Effort::FULL,
            };
            io_faults::run(workloads::ALL[unit as usize], seed, effort, tally)
        },
    },
    Harness {
        name: "rot",
        about: "each bit of sample stores flipped, bytes and sectors spoilt, files cut and gone",
        units: ROT_FILES * ROT_PARTS,
        // One seed is all of it; in the quick tier a seed chooses which places.
        seeds: |_| 1..2,
        run: |tier, unit, seed, tally| {
            let stride = if tier == Tier::Quick { 397 } else { 1 };
            let start = SeededRandom::new(seed).next_u64() % stride;
            let (file, part) = (unit / ROT_PARTS, unit % ROT_PARTS);
            match rot::file(file) {
                Some((sample, file)) => rot::run(
                    sample,
                    file,
                    stride * ROT_PARTS,
                    start + part * stride,
                    tally,
                ),
                None => Ok(()),
            }
        },
    },
    Harness {
        name: "simulation",
        about: "long runs of anything, over a disk that fails and processes that end",
        units: 1,
        seeds: |tier| if tier == Tier::Quick { 1..41 } else { 1..4_001 },
        run: |tier, _, seed, tally| {
            let steps = if tier == Tier::Quick { 150 } else { 400 };
            simulation::run(seed, steps, tally)
        },
    },
    Harness {
        name: "wake-ups",
        about: "who waits for an event is woken by it",
        units: 1,
        seeds: |tier| if tier == Tier::Quick { 1..3 } else { 1..41 },
        run: |_, _, seed, tally| {
            // A bug is planted to be found: that need not take as long as a loaded machine may.
            let patience = if cfg!(feature = "planted-bugs") {
                2
            } else {
                60
            };
            wake_ups::run(seed, 300, Duration::from_secs(patience), tally)
        },
    },
];

/// At least as many as the samples have files; the work on each is cut in parts.
const ROT_FILES: u64 = 40;
const ROT_PARTS: u64 = 8;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was tried.
    pub tally: Tally,
    /// Promises found broken.
    pub troubles: Vec<Trouble>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Harness {
    /// The harness of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|harness| harness.name == name)
    }

    /// Runs all units of these seeds on `threads` threads, until the first few troubles. `progress`: whether to say
    /// on standard error how far it is.
    pub fn run_all(
        &self,
        tier: Tier,
        seeds: Range<u64>,
        threads: usize,
        progress: bool,
    ) -> Outcome {
        #[expect(
            clippy::disallowed_methods,
            reason = "people are told how long it took; nothing depends on it"
        )]
        let start = Instant::now();
        let total = (seeds.end - seeds.start) * self.units;
        let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_over = AtomicBool::new(false);
        let state = Mutex::new((Tally::default(), Vec::new()));
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return;
                }
                let (seed, unit) = (seeds.start + number / self.units, number % self.units);
                let mut tally = Tally::default();
                let ran = (self.run)(tier, unit, seed, &mut tally);
                let mut state = state.lock();
                state.0 = state.0.plus(tally);
                if let Err(trouble) = ran {
                    state.1.push(trouble);
                    is_over.fetch_or(state.1.len() >= TROUBLES_MAX, Ordering::Relaxed);
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if progress {
                    self.tell(done, total, &state.0, state.1.len(), start.elapsed());
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        if progress && std::io::stderr().is_terminal() {
            eprintln!();
        }
        let (tally, troubles) = state.into_inner();
        Outcome {
            tally,
            troubles,
            elapsed: start.elapsed(),
        }
    }

    /// What the ledger is to say of a run with these seeds.
    pub fn entry(&self, seeds: &Range<u64>, outcome: &Outcome) -> Entry {
        let Outcome {
            tally,
            troubles,
            elapsed,
        } = outcome;
        Entry {
            harness: self.name.into(),
            seeds: format!("{}..{}", seeds.start, seeds.end),
            states: tally.states,
            double_crashes: tally.double,
            faults: tally.faults,
            found: troubles.len() as u64,
            seconds: elapsed.as_secs_f64(),
            ..Entry::default()
        }
    }

    fn tell(&self, done: u64, total: u64, tally: &Tally, troubles: usize, elapsed: Duration) {
        let mut out = std::io::stderr().lock();
        let is_terminal = out.is_terminal();
        // Where nobody looks on, a line now and then.
        if !is_terminal && done != total && !done.is_multiple_of((total / 10).max(1)) {
            return;
        }
        let (start, end) = if is_terminal { ("\r", "") } else { ("", "\n") };
        let _ = write!(
            out,
            "{start}{}: {done} of {total} units, {} states, {} faults, {troubles} found, {:.0} s{end}",
            self.name,
            tally.states,
            tally.faults,
            elapsed.as_secs_f64()
        );
        let _ = out.flush();
    }
}

/// After so many there is enough to look at.
const TROUBLES_MAX: usize = 8;
