//! Many processes on one log: a writer, three readers, and others who would write too.
//!
//! The writer is stopped and goes on, is killed and followed by another, all under the same readers; the last one forks.
//! Nobody else gets the log while a writer lives, stopped or not, nor does what it forks; the readers miss nothing, see
//! nothing twice, and nothing that was not durable.

use std::path::Path;
use std::time::Duration;

use annals_engine::{Error, Log};
use annals_tests::SeededRandom;
use annals_tests::history::{History, Survives};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::Child;
use crate::failed_syncs::wait_for;
use crate::report;
use crate::work::{self, Work};
use crate::{Counts, Tier, fork, lanes, oracle};

pub(crate) fn run(tier: Tier, seed: u64) -> Counts {
    lanes(tier.of(6, 50), |number| cycle(seed * 1_000_003 + number))
}

fn cycle(seed: u64) -> Counts {
    let dir = tempfile::tempdir().expect("a directory for a log");
    let log = dir.path().join("log");
    let random = SeededRandom::new(seed);
    let mut counts = Counts::default();
    let mut history = History::default();
    let work = |role, incarnation| Work {
        incarnation,
        segment_len: (64 << 10) << (seed % 4),
        ..Work::new(role, &log, seed)
    };
    let readers: Vec<Child> = (10..13)
        .map(|reader| {
            Child::start(&Work {
                pread: reader == 12,
                ..work(work::READ, reader)
            })
        })
        .collect();
    for incarnation in 0..3 {
        let mut writer = Child::start(&work(work::WRITE, incarnation));
        wait_for(&mut writer, |told| told.history.appends.len() > 5);
        if writer.told(|told| told.opened.is_none()) {
            counts
                .found
                .push("a writer does not get a log that nobody has".into());
        }
        counts.found.extend(check_locked(&log, "a writer"));
        let pause = Duration::from_micros(5_000 + random.next_u64() % 30_000);
        signal(&writer, Signal::STOP);
        counts.faults += 1;
        std::thread::sleep(pause);
        counts.found.extend(check_locked(&log, "a stopped writer"));
        signal(&writer, Signal::CONT);
        std::thread::sleep(pause);
        let ended = writer.kill();
        counts.faults += 1;
        counts.found.extend(ended.wrong());
        report::add(&mut history, ended.told.history);
    }
    let mut forking = Child::start(&Work {
        steps: 15,
        ..work(work::FORK, 3)
    });
    wait_for(&mut forking, |told| told.is_done);
    if !forking.told(|told| told.is_done) {
        counts
            .found
            .push("a writer that forks gets no further".into());
    }
    counts
        .found
        .extend(check_locked(&log, "a writer that has forked"));
    let ended = forking.kill();
    counts.faults += fork::FORKS + 1;
    counts.found.extend(ended.wrong());
    report::add(&mut history, ended.told.history);
    for reader in readers {
        let ended = reader.kill();
        counts.found.extend(ended.wrong());
        counts.found.extend(ended.told.failed);
        if ended.told.history.notifications.is_empty() {
            counts.found.push("a reader was shown nothing".into());
        }
        report::add(&mut history, ended.told.history);
    }
    counts.states += 1;
    counts
        .found
        .extend(oracle::check(&log, &history, Survives::Process));
    if !counts.found.is_empty() {
        counts.found.push(format!("cycle {seed}"));
    }
    counts
}

fn check_locked(log: &Path, by: &str) -> Option<String> {
    match Log::open(log) {
        Err(Error::Locked { .. }) => None,
        other => Some(format!("the log of {by}, opened once more: {other:?}")),
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a child has a number");
    // Should it have ended by itself, its end says why.
    let _ = kill_process(pid, signal);
}
