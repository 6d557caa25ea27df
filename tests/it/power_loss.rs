//! A power cut at any call, failed syncs that forget pages, restarts in between: what was acknowledged as
//! durable is there, whole and in its place.
//!
//! The disk loses every page and every name that no sync has covered, or a random part of them. Named
//! tests hold one race or one failed sync each; the runs by seed go through all calls.

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Error, Log, Query};
use annals_segments::{Disk, OpenMode};
use annals_tests::log_files::{DIR, FIRST_SEGMENT, SECOND_SEGMENT, content, exists, written_len};
use annals_tests::sim_disk::{SimDisk, Spared, Step};
use annals_tests::{SeededRandom, event, small_log};

fn new_disk() -> SimDisk {
    SimDisk::default()
}

fn buffered(len: usize) -> Batch {
    Batch::from(event("a", "Was", vec![1; len])).durability(Durability::Buffered)
}

/// Head of the log, after every event was read without an error.
#[track_caller]
fn readable_head(log: &Log) -> u64 {
    let mut last = 0;
    for event in log.read(.., &Query::all(), Direction::Forward) {
        let event =
            event.unwrap_or_else(|error| panic!("behind {last} of {}: {error}", log.head()));
        assert_eq!(event.position, last + 1);
        last = event.position;
    }
    assert_eq!(last, log.head());
    last
}

/// Those of this thread. Housekeeping syncs, too, for a checkpoint, and would fail first if it came to it.
fn refuse_syncs_of_the_first_segment(disk: &SimDisk) {
    let own = std::thread::current().id();
    disk.set_hook(move |step, path| {
        let is_own = std::thread::current().id() == own;
        match step {
            Step::Sync if is_own && path.ends_with(FIRST_SEGMENT) => Err(ErrorKind::Other.into()),
            _ => Ok(()),
        }
    });
}

/// A log whose first segment is nearly full of buffered events, with the next one prepared.
fn log_before_its_first_roll(disk: &SimDisk) -> Log {
    let log = small_log(disk.clone(), 1)
        .background(true)
        .buffered_sync_after(Duration::from_secs(100))
        .open(DIR)
        .unwrap();
    for _ in 0..12 {
        let _ = log.append(buffered(3000)).unwrap();
    }
    wait_until(|| exists(&disk.memory, SECOND_SEGMENT));
    log
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_failed_sync_of_the_seal_is_an_unknown_outcome_and_then_a_refusal() {
    let disk = new_disk();
    let log = log_before_its_first_roll(&disk);
    refuse_syncs_of_the_first_segment(&disk);
    let error = (0..20).find_map(|_| log.append(buffered(3000)).err());
    assert!(
        matches!(error, Some(Error::Indeterminate { .. })),
        "{error:?}"
    );
    assert!(matches!(
        log.append(buffered(1)),
        Err(Error::Poisoned { .. })
    ));
}

#[test]
fn a_sync_beside_one_that_fails_acknowledges_nothing() {
    let disk = new_disk();
    let log = small_log(disk.clone(), 1)
        .segment_len(1 << 20)
        .background(true)
        .buffered_sync_after(Duration::from_millis(30))
        .open(DIR)
        .unwrap();
    let [is_behind, is_leading, is_armed] =
        std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
    let (behind, leading, armed) = (is_behind.clone(), is_leading.clone(), is_armed.clone());
    disk.set_hook(move |step, path| {
        if !path.ends_with(FIRST_SEGMENT) {
            return Ok(());
        }
        if step == Step::Sync && std::thread::current().name() == Some("annals-sync") {
            // It fails only once the leader is on its way to a sync of its own.
            behind.store(true, Ordering::SeqCst);
            wait_until(|| leading.load(Ordering::SeqCst));
            return Err(ErrorKind::Other.into());
        }
        if step == Step::Write && armed.load(Ordering::SeqCst) {
            leading.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    for _ in 0..4 {
        let _ = log.append(buffered(5000)).unwrap();
    }
    wait_until(|| is_behind.load(Ordering::SeqCst));
    is_armed.store(true, Ordering::SeqCst);
    let outcome = log.append(event("a", "Sync", "beside"));
    assert!(
        matches!(outcome, Err(Error::Indeterminate { .. })),
        "{outcome:?}"
    );
    assert_eq!(log.durable_head(), 0);
    disk.clear_hook();
    let left = small_log(disk.power_cut(Spared::Nothing), 2);
    assert_eq!(readable_head(&left.open(DIR).unwrap()), 0);
}

#[test]
fn a_close_whose_sync_failed_is_not_gone_on_behind() {
    let disk = new_disk();
    let log = small_log(disk.clone(), 1).segment_len(1 << 20);
    let log = log.open(DIR).unwrap();
    for number in 0..20 {
        // Topics long enough for the closing dictionary to fill pages of its own.
        let topic = format!("{number}{}", "t".repeat(1000));
        let _ = log.append(event("a", &topic, "x")).unwrap();
    }
    refuse_syncs_of_the_first_segment(&disk);
    assert!(matches!(log.close(), Err(Error::Indeterminate { .. })));
    disk.clear_hook();
    drop(log);
    let log = small_log(disk.clone(), 2).segment_len(1 << 20);
    let log = log.open(DIR).unwrap();
    for _ in 0..5 {
        let _ = log.append(event("a", "After", "acknowledged")).unwrap();
    }
    let left = small_log(disk.power_cut(Spared::Nothing), 3);
    assert_eq!(readable_head(&left.open(DIR).unwrap()), 25);
}

#[test]
fn a_footer_whose_sync_failed_proves_nothing_before_it() {
    let disk = new_disk();
    let log = log_before_its_first_roll(&disk);
    refuse_syncs_of_the_first_segment(&disk);
    while log.append(buffered(3000)).is_ok() {}
    disk.clear_hook();
    drop(log);
    let log = small_log(disk.clone(), 2).open(DIR).unwrap();
    let last = log.append(event("a", "Sync", "acknowledged")).unwrap().last;
    let left = small_log(disk.power_cut(Spared::Nothing), 3);
    assert_eq!(readable_head(&left.open(DIR).unwrap()), last);
}

#[test]
fn a_prepared_segment_whose_name_was_never_synced_is_named_before_it_is_used() {
    let disk = new_disk();
    let log = log_before_its_first_roll(&disk);
    let again = SimDisk::over(disk.memory.fork());
    drop(log);
    // The process was killed between the sync of the new segment and that of the directory.
    again.forget_name(&Path::new(DIR).join(SECOND_SEGMENT));
    let log = small_log(again.clone(), 2).open(DIR).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        last = log.append(event("a", "Was", "x")).unwrap().last;
    }
    let left = small_log(again.power_cut(Spared::Nothing), 3);
    assert_eq!(readable_head(&left.open(DIR).unwrap()), last);
}

#[test]
fn power_cuts_at_any_call_keep_every_acknowledged_batch() {
    run_seeds(Crashes::PowerCuts);
}

#[test]
fn restarts_over_lost_pages_before_a_power_cut_keep_every_acknowledged_batch() {
    run_seeds(Crashes::RestartsToo);
}

/// What ends the rounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crashes {
    /// A power cut, or a kill after which everything reaches the disk.
    PowerCuts,
    /// These, or a kill after which the next process goes on over the same page cache.
    RestartsToo,
}

#[test]
fn what_a_power_cut_leaves_far_behind_a_close_never_comes_back() {
    const LEN: usize = 64 << 10;
    let segment = Path::new(DIR).join(FIRST_SEGMENT);
    let open = |disk: &SimDisk, seed| {
        let options = small_log(disk.clone(), seed).segment_len(16 << 20);
        options.open(DIR).unwrap()
    };
    let disk = new_disk();
    let log = open(&disk, 1);
    let _ = log.append(buffered(LEN)).unwrap();
    log.close().unwrap();
    let closed_len = written_len(&disk.memory, FIRST_SEGMENT);
    drop(log);
    let log = open(&disk, 2);
    for _ in 0..40 {
        let _ = log.append(buffered(LEN)).unwrap();
    }
    // Of what no sync has covered, the first part is lost, and what lies behind it has reached the disk.
    let left = disk.power_cut(Spared::Nothing);
    let seen = content(&disk.memory, FIRST_SEGMENT);
    let spared = (closed_len + (1 << 20)).next_multiple_of(4096);
    let file = left.open(&segment, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&seen[spared..], spared as u64).unwrap();
    let disk = SimDisk::over(left);
    let log = open(&disk, 3);
    let found = readable_head(&log);
    // The same again, up to the middle of what was left.
    for _ in 0..25 {
        let _ = log.append(buffered(LEN)).unwrap();
    }
    let log = open(&disk.restarted(), 4);
    assert_eq!(readable_head(&log), found + 25);
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

/// Runs the seeds of `ANNALS_SEEDS=FROM..TO`, or a few and those that once failed, and names the one that
/// fails.
fn run_seeds(crashes: Crashes) {
    let given = std::env::var("ANNALS_SEEDS").ok();
    let seeds: Vec<u64> = match given.as_deref().map(|seeds| seeds.split_once("..")) {
        None => SEEDS_USUALLY.chain(SEEDS_THAT_FAILED).collect(),
        Some(Some((from, to))) => (from.parse().unwrap()..to.parse().unwrap()).collect(),
        Some(None) => panic!("ANNALS_SEEDS is {given:?}, expected FROM..TO"),
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| Run::new(seed).rounds(crashes));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!(
                "{crashes:?}: seed {seed}; again: ANNALS_SEEDS={seed}..{}",
                seed + 1
            );
            std::panic::resume_unwind(panic);
        }
    }
}

/// Rounds of open, append, crash over one disk. Checked at each open: everything acknowledged is there,
/// everything there is what was submitted, `verify` finds nothing.
struct Run {
    seed: u64,
    random: SeededRandom,
    /// Payload of every event handed to the log, in order.
    submitted: Vec<Vec<u8>>,
    acknowledged: u64,
    /// Tracking position acknowledged, and the last submitted.
    tracked: u64,
    tracking_submitted: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: SeededRandom::new(seed),
            submitted: Vec::new(),
            acknowledged: 0,
            tracked: 0,
            tracking_submitted: 0,
        }
    }

    fn rounds(&mut self, crashes: Crashes) {
        let mut disk = new_disk();
        disk.create_dir(Path::new(DIR)).unwrap();
        for round in 0..ROUNDS {
            let calls_left = AtomicU64::new(self.below(CALLS_MAX));
            disk.set_hook(move |step, _| {
                let one_less = |left: u64| left.checked_sub(1);
                let is_over = step.is_change()
                    && calls_left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                        .is_err();
                match is_over {
                    true => Err(IoError::other("the crash")),
                    false => Ok(()),
                }
            });
            let log = self.round(&disk, round);
            let left = self.crash(&disk, crashes);
            // Only now: what the end of this process tries, the crash has prevented.
            disk.set_hook(|_, _| Err(IoError::other("the crash")));
            drop(log);
            disk = left;
        }
    }

    fn crash(&self, disk: &SimDisk, crashes: Crashes) -> SimDisk {
        match (crashes, self.below(4)) {
            (Crashes::RestartsToo, 0 | 1) => disk.restarted(),
            (Crashes::PowerCuts, 0) => SimDisk::over(disk.memory.fork()),
            (Crashes::PowerCuts, 1) => SimDisk::over(disk.power_cut(Spared::Nothing)),
            _ => SimDisk::over(disk.power_cut(Spared::Some(&self.random))),
        }
    }

    /// Opens, checks and appends until the crash, or until enough is appended.
    fn round(&mut self, disk: &SimDisk, round: u64) -> Option<Log> {
        // Salts that are the same in each round make old frames look like new ones, if anything does.
        let seed = match self.seed.is_multiple_of(3) {
            true => self.seed,
            false => self.seed * 100 + round,
        };
        let log = match small_log(disk.clone(), seed).open(DIR) {
            Ok(log) => log,
            Err(error @ (Error::Corrupt { .. } | Error::UnsupportedFormat { .. })) => {
                panic!("round {round}, acknowledged {}: {error}", self.acknowledged)
            }
            Err(_) => return None,
        };
        self.check(&log);
        for _ in 0..self.below(60) {
            if !self.append(&log) {
                return Some(log);
            }
        }
        if self.below(3) == 0 && log.close().is_ok() {
            self.acknowledge_all();
        }
        Some(log)
    }

    fn check(&mut self, log: &Log) {
        let head = readable_head(log);
        assert!(
            head >= self.acknowledged,
            "head {head}, acknowledged {}",
            self.acknowledged
        );
        assert!(head <= self.submitted.len() as u64, "head {head}");
        self.submitted.truncate(head as usize);
        let events = log.read(.., &Query::all(), Direction::Forward);
        for (event, payload) in events.zip(&self.submitted) {
            let event = event.unwrap();
            assert_eq!(&event.payload, payload, "position {}", event.position);
        }
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
        let tracked = log.tracking("t").unwrap_or(0);
        assert!(
            (self.tracked..=self.tracking_submitted).contains(&tracked),
            "tracking {tracked}, acknowledged {}",
            self.tracked
        );
        // What an open shows is durable.
        self.tracking_submitted = tracked;
        self.acknowledge_all();
    }

    /// Appends a random batch; `false` when the log took it no more.
    fn append(&mut self, log: &Log) -> bool {
        let mut batch = Batch::new();
        let event_count = self.below(3);
        for _ in 0..event_count {
            let payload = vec![self.below(255) as u8; self.below(6000) as usize];
            self.submitted.push(payload.clone());
            let aggregate = format!("a{}", self.below(4));
            let topic = format!("T{}", self.below(20));
            batch.push(event(&aggregate, &topic, payload));
        }
        if event_count == 0 || self.below(3) == 0 {
            self.tracking_submitted += 1;
            batch = batch.tracking("t", self.tracking_submitted);
        }
        let is_durable = self.below(2) == 0;
        if !is_durable {
            batch = batch.durability(Durability::Buffered);
        }
        if log.append(batch).is_err() {
            return false;
        }
        if is_durable {
            self.acknowledge_all();
        }
        assert!(!is_durable || log.durable_head() == self.acknowledged);
        self.acknowledged = self.acknowledged.max(log.durable_head());
        true
    }

    fn acknowledge_all(&mut self) {
        self.acknowledged = self.submitted.len() as u64;
        self.tracked = self.tracking_submitted;
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }
}

const SEEDS_USUALLY: std::ops::Range<u64> = 0..50;
/// Of restarts: closing frames or headers that were in the page cache only, recoveries cut short.
const SEEDS_THAT_FAILED: [u64; 9] = [65, 99, 117, 493, 562, 1089, 1605, 2537, 6913];
const ROUNDS: u64 = 8;
/// A crash comes before this many changing calls, or not at all.
const CALLS_MAX: u64 = 400;
