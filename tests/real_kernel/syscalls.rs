//! Every system call of a writer, one after the other: killed at it, or told that it failed.
//!
//! The writer does the same in every run, so the calls can be counted first. `strace` then kills it at the n-th of a
//! kind, or has that one answer an error, once or from then on, or answer that it was done when it was not. This finds
//! what goes past the `Disk` trait, and what the standard library does with errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_tests::history::{History, Survives};

use crate::child::Child;
use crate::full_disk::copy;
use crate::report;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    if let Err(error) = Command::new("strace").arg("-V").output() {
        return Counts::skipped(format!("strace: {error}"));
    }
    let dir = tempfile::tempdir().expect("a directory for logs");
    let steps = tier.of(30, 100);
    let fresh = Scene {
        steps,
        seed,
        left: None,
    };
    let killed = fresh.killed(&dir.path().join("left"));
    let mut counts = Counts::default();
    for (name, scene) in [("a new log", fresh), ("a recovery", killed)] {
        let base = dir.path().join(name.replace(' ', "-"));
        let trials = match scene.trials(&base) {
            Ok(trials) if !trials.is_empty() => trials,
            other => return Counts::skipped(format!("strace cannot trace here: {other:?}")),
        };
        let all = trials.len() as u64;
        let wanted = tier.of(30, 1200).min(all);
        // Spread over all of them; the seed decides where it begins.
        let place = |number: u64| ((number * all / wanted + seed) % all) as usize;
        counts.add(lanes(wanted, |number| {
            let (call, at, fault) = &trials[place(number)];
            scene.trial(&base.with_extension(number.to_string()), call, *at, fault)
        }));
        counts
            .notes
            .push(format!("{name}: {wanted} of {all} trials"));
    }
    counts
}

/// What a writer finds and does, the same in every run.
struct Scene {
    steps: u64,
    seed: u64,
    /// A log that another has left, and what that one told.
    left: Option<(PathBuf, History)>,
}

/// A call, which one of its kind, and what befalls it.
type Trial = (String, u64, &'static str);

impl Scene {
    /// One thread, and nothing in the background.
    fn work(&self, dir: &Path, role: &'static str) -> Work {
        Work {
            incarnation: u64::from(self.left.is_some()),
            threads: 1,
            followers: 0,
            steps: self.steps,
            segment_len: 64 << 10,
            background: false,
            ..Work::new(role, dir, self.seed)
        }
    }

    /// The scene that a writer of this one leaves when it is killed.
    fn killed(&self, dir: &Path) -> Self {
        let words = strace("fdatasync:signal=SIGKILL:when=14", "fdatasync");
        let ended = Child::start_under(&self.work(dir, work::WRITE), &words).end();
        Self {
            left: Some((dir.to_owned(), ended.told.history)),
            ..*self
        }
    }

    fn prepare(&self, dir: &Path) {
        if let Some((left, _)) = &self.left {
            copy(left, dir).expect("a log can be copied");
        }
    }

    fn trials(&self, dir: &Path) -> Result<Vec<Trial>, String> {
        self.prepare(dir);
        let counted = calls(&self.work(dir, work::WRITE))?;
        let nothing = calls(&self.work(dir, work::NOTHING))?;
        let mut trials = Vec::new();
        for (call, count) in counted {
            let first = nothing.get(&call).copied().unwrap_or(0) + 1;
            for (fault, is_for_it) in FAULTS {
                if is_for_it(&call) {
                    trials.extend((first..=count).map(|number| (call.clone(), number, fault)));
                }
            }
        }
        Ok(trials)
    }

    fn trial(&self, dir: &Path, call: &str, at: u64, fault: &str) -> Counts {
        let (fault, and_later) = match fault.strip_suffix('+') {
            Some(fault) => (fault, "+"),
            None => (fault, ""),
        };
        self.prepare(dir);
        let inject = format!("{call}:{fault}:when={at}{and_later}");
        let ended = Child::start_under(&self.work(dir, work::WRITE), &strace(&inject, call)).end();
        let mut counts = Counts {
            faults: 1,
            states: 1,
            ..Counts::default()
        };
        counts.found.extend(ended.wrong());
        let mut history = ended.told.history;
        if let Some((_, before)) = &self.left {
            report::add(&mut history, before.clone());
        }
        if dir.exists() || !history.appends.is_empty() {
            let found = oracle::check(dir, &history, Survives::Process);
            // A write that never was is a lie of the disk: it may cost events, and has to be told.
            let is_told =
                |what: &String| what.contains("damaged at") || what.starts_with("verified: Ok");
            match fault.starts_with("retval") && found.first().is_some_and(is_told) {
                true => counts.notes.push("a lost write was told".into()),
                false => counts.found.extend(found),
            }
        }
        if counts.found.is_empty() {
            let _ = std::fs::remove_dir_all(dir);
        } else {
            counts.found.push(inject);
        }
        counts
    }
}

fn strace(inject: &str, call: &str) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e"];
    let rest = [
        format!("trace={call}"),
        "-e".into(),
        format!("inject={inject}"),
    ];
    words.into_iter().map(str::to_owned).chain(rest).collect()
}

/// How often the child makes each call, on the thread that makes it most.
fn calls(work: &Work) -> Result<BTreeMap<String, u64>, String> {
    let file = work.dir.with_extension("calls");
    let words = ["strace", "-f", "-qq", "-o", &file.to_string_lossy(), "-e"];
    let words = words.into_iter().map(str::to_owned);
    let words: Vec<String> = words.chain([format!("trace={CALLS}")]).collect();
    let ended = Child::start_under(work, &words).end();
    let wrong = ended.wrong();
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    // Counted for each thread apart, as strace does when it injects.
    let mut counted: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(call)) = (words.next(), words.next()) else {
            continue;
        };
        if let Some((call, _)) = call.split_once('(') {
            *counted
                .entry((call.to_owned(), thread.to_owned()))
                .or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in counted {
        let before = most.entry(call).or_default();
        *before = count.max(*before);
    }
    Ok(most)
}

/// What is traced: all that the log asks of a file system. What it tells its parent goes through `write`.
const CALLS: &str = "openat,pwrite64,pread64,fdatasync,fsync,ftruncate,fallocate,rename,unlink,mkdir,mmap,\
                     getdents64,flock,statx,fstat,close";

/// A fault, and of which calls it is asked.
type Fault = (&'static str, fn(&str) -> bool);

const FAULTS: [Fault; 7] = [
    ("signal=SIGKILL", |_| true),
    ("error=EIO", |call| call != "mmap" && call != "close"),
    ("error=EIO+", |call| {
        ["pwrite64", "fdatasync", "fsync", "openat", "rename"].contains(&call)
    }),
    ("error=ENOSPC", |call| {
        [
            "openat",
            "pwrite64",
            "fdatasync",
            "fsync",
            "fallocate",
            "mkdir",
            "rename",
            "ftruncate",
        ]
        .contains(&call)
    }),
    ("error=EINTR", |call| {
        [
            "openat",
            "pwrite64",
            "pread64",
            "fdatasync",
            "fsync",
            "ftruncate",
        ]
        .contains(&call)
    }),
    ("error=ENOMEM", |call| call == "mmap"),
    ("retval=7", |call| call == "pwrite64"),
];
