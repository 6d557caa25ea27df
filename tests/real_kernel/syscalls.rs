//! Every system call of a writer, one after the other: killed at it, or told that it failed.
//!
//! The writer does the same in every run, so the calls can be counted first. `strace` then kills it at the n-th of a
//! kind, or has that one answer an error, once or from then on, or answer that it was done when it was not. This finds
//! what goes past the `Disk` trait, and what the standard library does with errors.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use annals_tests::history::Survives;

use crate::child::Child;
use crate::work::{self, Work};
use crate::{Counts, Tier, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    if let Err(error) = Command::new("strace").arg("-V").output() {
        return Counts::skipped(format!("strace: {error}"));
    }
    let dir = tempfile::tempdir().expect("a directory for logs");
    let counted = match calls(&dir.path().join("counted"), work::WRITE, seed) {
        Ok(counted) if !counted.is_empty() => counted,
        other => return Counts::skipped(format!("strace cannot trace here: {other:?}")),
    };
    let nothing = calls(&dir.path().join("nothing"), work::NOTHING, seed).unwrap_or_default();
    let mut trials = Vec::new();
    for (call, count) in &counted {
        let first = nothing.get(call).copied().unwrap_or(0) + 1;
        for (fault, is_for_it) in FAULTS {
            if is_for_it(call) {
                trials.extend((first..=*count).map(|number| (call.clone(), number, fault)));
            }
        }
    }
    let all = trials.len() as u64;
    let wanted = tier.of(60, 2000).min(all);
    // Spread over all of them; the seed decides where it begins.
    let place = |number: u64| ((number * all / wanted + seed) % all) as usize;
    let mut counts = lanes(wanted, |number| {
        let (call, at, fault) = &trials[place(number)];
        trial(
            &dir.path().join(format!("log-{number}")),
            call,
            *at,
            fault,
            seed,
        )
    });
    counts.notes.push(format!(
        "{wanted} of {all} trials, of {} calls",
        counted.len()
    ));
    counts
}

/// A writer that is the same in every run: one thread, and nothing in the background.
fn work_in(dir: &Path, role: &'static str, seed: u64) -> Work {
    Work {
        threads: 1,
        followers: 0,
        steps: 30,
        segment_len: 64 << 10,
        background: false,
        ..Work::new(role, dir, seed)
    }
}

/// How often the writer makes each call, on its main thread and the one that writes.
fn calls(dir: &Path, role: &'static str, seed: u64) -> Result<BTreeMap<String, u64>, String> {
    let file = dir.with_extension("calls");
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        &file.to_string_lossy(),
        "-e",
        &format!("trace={CALLS}"),
    ];
    let ended = Child::start_under(&work_in(dir, role, seed), &words.map(str::to_owned)).end();
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

fn trial(dir: &Path, call: &str, at: u64, fault: &str, seed: u64) -> Counts {
    let (fault, and_later) = match fault.strip_suffix('+') {
        Some(fault) => (fault, "+"),
        None => (fault, ""),
    };
    let inject = format!("inject={call}:{fault}:when={at}{and_later}");
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &inject,
    ];
    let ended =
        Child::start_under(&work_in(dir, work::WRITE, seed), &words.map(str::to_owned)).end();
    let mut counts = Counts {
        faults: 1,
        states: 1,
        ..Counts::default()
    };
    counts.found.extend(ended.wrong());
    let history = ended.told.history;
    if dir.exists() || !history.appends.is_empty() {
        let found = oracle::check(dir, &history, Survives::Process);
        // A write that never was is a lie of the disk: it may cost events, and has to be told.
        let is_told = |what: &String| what.contains("damaged at") || what.contains("restore");
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
