//! Crashes of the real kernel and the real file systems: what the simulated disk assumes, tried out.
//!
//! One program plays all parts. The parent starts children of itself that write a log and tell it each step over a
//! pipe; it kills them, cuts the power of the file system below them, lets their system calls fail; then it looks at
//! what is left and holds it against what it was told. Nothing is random that a seed could decide, but the kernel's
//! schedule is its own: a run is repeated by its seed, not replayed.
//!
//! What cannot be done on a machine (mounting, tracing) is skipped, loudly, and counted as skipped.
//!
//! `real_kernel planted` lets the harnesses look for bugs that were put in on purpose, in the children and in the parent,
//! when it is built with the feature `planted-bugs`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the part of the world around the log"
)]

mod child;
mod content;
mod cut_files;
mod failed_syncs;
mod fork;
mod full_disk;
mod kills;
mod live;
mod mounts;
mod oracle;
mod power_cuts;
mod processes;
mod reader;
mod report;
mod syscalls;
mod work;
mod writer;

use std::process::ExitCode;
use std::time::Instant;

use annals_tests::ledger;

use work::Work;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// What everyday tests have the time for.
    Quick,
    /// What a release needs.
    Full,
}

impl Tier {
    fn of(self, quick: u64, full: u64) -> u64 {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// What a harness has done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Logs that were opened and checked after something had happened to them.
    pub(crate) states: u64,
    /// What was done to them: kills, cuts, errors.
    pub(crate) faults: u64,
    /// What it was measured in, for whoever reads the result.
    pub(crate) notes: Vec<String>,
    /// Breaches of a promise.
    pub(crate) found: Vec<String>,
    /// Why it could not be run here, if so.
    pub(crate) skipped: Option<String>,
}

impl Counts {
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self {
            skipped: Some(why.into()),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.states += more.states;
        self.faults += more.faults;
        self.notes.extend(more.notes);
        self.found.extend(more.found);
        self.skipped = self.skipped.take().or(more.skipped);
    }
}

/// A harness: its name, what it does, and how.
struct Harness {
    name: &'static str,
    about: &'static str,
    run: fn(Tier, u64) -> Counts,
}

const HARNESSES: [Harness; 8] = [
    Harness {
        name: "kills",
        about: "a writer killed at any moment, in its recovery too",
        run: kills::run,
    },
    Harness {
        name: "syscalls",
        about: "every system call of a writer killed, or failing; needs strace",
        run: syscalls::run,
    },
    Harness {
        name: "failed_syncs",
        about: "syncs that fail for good, and what the page cache then shows; needs root",
        run: failed_syncs::run,
    },
    Harness {
        name: "full_disk",
        about: "a disk that becomes full, and has room again; needs root",
        run: full_disk::run,
    },
    Harness {
        name: "cut_files",
        about: "files cut and replaced under a process that reads",
        run: cut_files::run,
    },
    Harness {
        name: "processes",
        about: "a writer, readers, and others who would write: forked from it, too",
        run: processes::run,
    },
    Harness {
        name: "power_cuts",
        about: "ext4 and XFS shut down under load; needs root",
        run: power_cuts::run,
    },
    Harness {
        name: "history",
        about: "what 16 threads saw of one log, checked",
        run: live::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "child") {
        let work = Work::from_args(&args[1..]).expect("the parent gives a child its work");
        #[cfg(feature = "planted-bugs")]
        child::plant_as_told();
        child_main(&work);
        return ExitCode::SUCCESS;
    }
    match Choice::from_args(&args) {
        Ok(choice) => match choice.what {
            What::Look(tier) => run(&choice, tier),
            #[cfg(feature = "planted-bugs")]
            What::HuntPlanted => hunt_planted(&choice),
        },
        Err(wrong) => {
            eprintln!("real_kernel: {wrong}\n\n{}", usage());
            ExitCode::from(2)
        }
    }
}

fn child_main(work: &Work) {
    match work.role {
        work::WRITE => writer::run(work),
        work::READ => reader::run(work),
        work::FORK => fork::run(work),
        _ => {}
    }
}

/// What the command line asks for.
struct Choice {
    what: What,
    seed: u64,
    harnesses: Vec<&'static Harness>,
}

/// What the chosen harnesses are to do.
enum What {
    Look(Tier),
    #[cfg(feature = "planted-bugs")]
    HuntPlanted,
}

impl Choice {
    fn from_args(args: &[String]) -> Result<Self, String> {
        let mut words = args.iter();
        let what = match words.next().map(String::as_str) {
            Some("quick") => What::Look(Tier::Quick),
            Some("full") => What::Look(Tier::Full),
            #[cfg(feature = "planted-bugs")]
            Some("planted") => What::HuntPlanted,
            #[cfg(not(feature = "planted-bugs"))]
            Some("planted") => {
                return Err("there are bugs only with --features planted-bugs".into());
            }
            _ => return Err("say quick, full or planted".into()),
        };
        let (mut seed, mut harnesses) = (1, Vec::new());
        while let Some(word) = words.next() {
            if word == "--seed" {
                let number = words.next().and_then(|number| number.parse().ok());
                seed = number.ok_or("--seed needs a number")?;
                continue;
            }
            let named = HARNESSES.iter().find(|harness| harness.name == word);
            harnesses.push(named.ok_or_else(|| format!("no harness {word}"))?);
        }
        if harnesses.is_empty() {
            harnesses = HARNESSES.iter().collect();
        }
        Ok(Self {
            what,
            seed,
            harnesses,
        })
    }
}

fn usage() -> String {
    let mut text = "real_kernel quick|full|planted [--seed N] [HARNESS...]\n".to_owned();
    for harness in &HARNESSES {
        text.push_str(&format!("  {:<14} {}\n", harness.name, harness.about));
    }
    text
}

/// Has the chosen harnesses look for the bugs that each has to find. The kernel's schedule may hide one: whoever finds
/// nothing looks again with another seed.
#[cfg(feature = "planted-bugs")]
fn hunt_planted(choice: &Choice) -> ExitCode {
    use annals_tests::planted::{Hunt, hunt};

    let names = choice.harnesses.iter().map(|harness| harness.name);
    hunt("real-kernel", names, ATTEMPTS, |name, attempt| {
        let harness = HARNESSES.iter().find(|harness| harness.name == name);
        let run = harness.expect("it is one of them").run;
        let mut counts = run(Tier::Quick, choice.seed + attempt);
        match (counts.found.is_empty(), counts.skipped.take()) {
            (false, _) => Hunt::Caught(counts.found.swap_remove(0)),
            (true, Some(why)) => Hunt::Skipped(why),
            (true, None) => Hunt::Survived,
        }
    })
}

#[cfg(feature = "planted-bugs")]
const ATTEMPTS: u64 = 3;

fn run(choice: &Choice, tier: Tier) -> ExitCode {
    let mut is_sound = true;
    for harness in &choice.harnesses {
        let start = Instant::now();
        let counts = (harness.run)(tier, choice.seed);
        let seconds = start.elapsed().as_secs_f64();
        if let Some(why) = &counts.skipped {
            println!("SKIPPED {}: {why}", harness.name);
        }
        for found in counts.found.iter().take(12) {
            println!("FOUND {}: {found}", harness.name);
        }
        println!(
            "{}: seed {}, {} faults, {} states checked, {} found, {seconds:.1} s{}",
            harness.name,
            choice.seed,
            counts.faults,
            counts.states,
            counts.found.len(),
            told_once(&counts.notes),
        );
        is_sound &= counts.found.is_empty();
        let told = ledger::record(&ledger::Entry {
            harness: harness.name.into(),
            seeds: choice.seed.to_string(),
            states: counts.states,
            faults: counts.faults,
            found: counts.found.len() as u64,
            seconds,
            skipped: counts.skipped,
            ..ledger::Entry::default()
        });
        if let Err(error) = told {
            println!("the ledger cannot be written: {error}");
            is_sound = false;
        }
    }
    match is_sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Each note once, with how often it was made.
fn told_once(notes: &[String]) -> String {
    let mut counted = std::collections::BTreeMap::<&str, u64>::new();
    for note in notes {
        *counted.entry(note).or_default() += 1;
    }
    let told = counted.into_iter().map(|(note, count)| match count {
        1 => format!("; {note}"),
        _ => format!("; {count} times {note}"),
    });
    told.collect()
}

/// Runs `one` for each number below `count`, on both processors, and adds up what they counted. What a lane
/// finds ends it: what follows would find the same.
pub(crate) fn lanes(count: u64, one: impl Fn(u64) -> Counts + Sync) -> Counts {
    let next = std::sync::atomic::AtomicU64::new(0);
    let lane = || {
        let mut counts = Counts::default();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= count || !counts.found.is_empty() {
                return counts;
            }
            counts.add(one(number));
        }
    };
    let mut counts = Counts::default();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            counts.add(lane.join().expect("a harness does not panic"));
        }
    });
    counts
}

const LANES: usize = 2;

/// The same clock in every process: nanoseconds since the machine started.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
