//! A crash at any call of a truncation, and of what mends it, leaves it done whole or not at all; versions
//! never start again; what was acknowledged of followers stays.

use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{Batch, Direction, Durability, Error, Expected, Log, Query};
use annals_segments::{Disk, MemoryDisk};
use annals_tests::log_files::{DIR, count};
use annals_tests::sim_disk::{SimDisk, Spared};
use annals_tests::{SeededRandom, event, id, small_log};

use crate::retention::{assert_sound, assert_versions, fill, filled, open, positions};

/// Has every changing call refused from the `calls`-th on. Answers how many are left.
fn crash_after(disk: &SimDisk, calls: u64) -> Arc<AtomicU64> {
    let left = Arc::new(AtomicU64::new(calls));
    let counted = left.clone();
    disk.set_hook(move |step, _| {
        let one_less = |left: u64| left.checked_sub(1);
        let is_over = step.is_change()
            && counted
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_err();
        match is_over {
            true => Err(IoError::other("the crash")),
            false => Ok(()),
        }
    });
    left
}

/// What is left of a disk after a kill, after a power cut, and after one that spares a part.
fn left_of(disk: &SimDisk, random: &SeededRandom) -> [MemoryDisk; 4] {
    [
        disk.memory.fork(),
        disk.power_cut(Spared::Nothing),
        disk.power_cut(Spared::Some(random)),
        disk.power_cut(Spared::Some(random)),
    ]
}

#[test]
fn a_truncation_cut_short_at_any_call_is_done_whole_or_not_at_all() {
    let sound = MemoryDisk::default();
    let log = filled(&sound);
    let head = log.head();
    let _ = log.truncate_before(40).unwrap();
    let before = log.first_position();
    log.set_follower("f", 99).unwrap();
    log.close().unwrap();
    let random = SeededRandom::new(5);
    let mut outcomes = [0, 0];
    for calls in 0.. {
        let disk = SimDisk::over(sound.fork());
        let log = small_log(disk.clone(), 2).open(DIR).unwrap();
        let _ = crash_after(&disk, calls);
        let truncated = log.truncate_before(100);
        let is_uncut = disk.sync_dir(Path::new(DIR)).is_ok();
        let first_positions = match &truncated {
            Ok(truncated) => vec![truncated.first_position],
            Err(_) => Vec::new(),
        };
        let check = |disk: &MemoryDisk| {
            let log = open(disk, 3);
            let first = log.first_position();
            let is_done = first > before;
            let is_told = first_positions.is_empty() || first_positions.contains(&first);
            assert!(is_told, "calls {calls}: {first}");
            assert!(positions(&log).into_iter().eq(first..=head));
            assert_versions(&log);
            assert_sound(&log);
            assert_eq!(log.followers(), [("f".to_owned(), 99)]);
            let segment_count = count(disk, ".seg");
            assert!(
                segment_count as u64 <= log.stats().unwrap().segments + 1,
                "files are left"
            );
            assert!(log.truncate_before(100).unwrap().first_position > before);
            assert_versions(&log);
            is_done
        };
        for left in left_of(&disk, &random) {
            outcomes[usize::from(check(&left.fork()))] += 1;
            // And once more: what the next open does may be cut short too.
            for calls in 0..8 {
                let again = SimDisk::over(left.fork());
                let _ = crash_after(&again, calls);
                let opened = small_log(again.clone(), 4).open(DIR);
                let again_left = again.power_cut(Spared::Some(&random));
                drop(opened);
                let _ = check(&again_left);
            }
        }
        disk.set_hook(|_, _| Err(IoError::other("the crash")));
        if is_uncut {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
}

#[test]
fn a_follower_that_was_acknowledged_survives_a_power_cut() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    fill(&log, 40);
    let random = SeededRandom::new(6);
    for position in 1..30 {
        log.set_follower("f", position).unwrap();
        if position == 10 {
            assert!(log.remove_follower("g").is_ok_and(|removed| !removed));
        }
        for left in left_of(&disk, &random) {
            assert_eq!(open(&left, 2).followers(), [("f".to_owned(), position)]);
        }
    }
    assert!(log.remove_follower("f").unwrap());
    for left in left_of(&disk, &random) {
        assert_eq!(open(&left, 2).followers(), []);
    }
}

#[test]
fn versions_never_start_again_whatever_is_truncated_and_crashes() {
    for seed in 0..25 {
        let run = std::panic::AssertUnwindSafe(|| Run::new(seed).rounds());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Rounds of open, append, truncate, crash over one disk.
struct Run {
    random: SeededRandom,
    /// Payload of every event that was ever shown as durable, by aggregate and version.
    shown: BTreeMap<(String, u64), Vec<u8>>,
    /// Greatest such version of each aggregate.
    versions: BTreeMap<String, u64>,
    /// Least first position there may be, and the greatest.
    first: (u64, u64),
    /// Position of the follower that was acknowledged, and the last that was tried.
    follower: (u64, u64),
    next_payload: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            random: SeededRandom::new(seed),
            shown: BTreeMap::new(),
            versions: BTreeMap::new(),
            first: (1, 1),
            follower: (0, 0),
            next_payload: 0,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn rounds(&mut self) {
        let mut disk = SimDisk::default();
        disk.create_dir(Path::new(DIR)).unwrap();
        for round in 0..8 {
            let _ = crash_after(&disk, 40 + self.below(400));
            let log = match small_log(disk.clone(), round).open(DIR) {
                Ok(log) => Some(log),
                Err(error @ (Error::Corrupt { .. } | Error::UnsupportedFormat { .. })) => {
                    panic!("round {round}: {error}")
                }
                Err(_) => None,
            };
            if let Some(log) = &log {
                self.check(log);
                for _ in 0..self.below(100) {
                    if !self.step(log) {
                        break;
                    }
                }
                self.note_shown(log);
                if self.below(3) == 0 {
                    let _ = log.close();
                }
            }
            let left = match self.below(4) {
                0 => disk.memory.fork(),
                1 => disk.power_cut(Spared::Nothing),
                _ => disk.power_cut(Spared::Some(&self.random)),
            };
            disk.set_hook(|_, _| Err(IoError::other("the crash")));
            drop(log);
            disk = SimDisk::over(left);
        }
    }

    /// Notes what followers see: from now on it may not change.
    fn note_shown(&mut self, log: &Log) {
        for event in log.read(.., &Query::all(), Direction::Forward) {
            let event = event.unwrap();
            let (aggregate, version) = (
                event.aggregate_id.unwrap().to_string(),
                event.version.unwrap(),
            );
            let last = self.versions.entry(aggregate.clone()).or_default();
            *last = version.max(*last);
            let known = self
                .shown
                .entry((aggregate, version))
                .or_insert_with(|| event.payload.clone());
            assert_eq!(*known, event.payload, "a version was given twice");
        }
    }

    fn check(&mut self, log: &Log) {
        let first = log.first_position();
        assert!(
            (self.first.0..=self.first.1).contains(&first),
            "{first}, {:?}",
            self.first
        );
        self.first = (first, first);
        self.note_shown(log);
        for (aggregate, shown) in &self.versions {
            let version = log.version(&id(aggregate)).unwrap();
            assert!(
                version.is_some_and(|version| version >= *shown),
                "{aggregate}: {version:?}, shown {shown}"
            );
            let new =
                Batch::from(event(aggregate, "Was", "x")).expect(id(aggregate), Expected::NoEvents);
            if let Ok(appended) = log.append(new) {
                panic!("{aggregate} had no events, at {appended:?}");
            }
        }
        let follower = log.followers().first().map_or(0, |(_, position)| *position);
        assert!(
            (self.follower.0..=self.follower.1).contains(&follower),
            "{follower}, {:?}",
            self.follower
        );
        self.follower = (follower, follower);
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
    }

    /// One random call; `false` when the disk has crashed under it.
    fn step(&mut self, log: &Log) -> bool {
        match self.below(30) {
            0 => {
                let position = self.below(log.head() + 20);
                // Up to there at most, should it be cut short.
                self.first.1 = self.first.1.max(position.min(log.head() + 1));
                match log.truncate_before(position) {
                    Ok(truncated) => {
                        assert_eq!(truncated.first_position, log.first_position());
                        self.first = (truncated.first_position, truncated.first_position);
                        true
                    }
                    Err(Error::FollowerBehind { position: seen, .. }) => {
                        assert!(seen + 1 < position);
                        true
                    }
                    Err(_) => false,
                }
            }
            1 => {
                let position = log.durable_head();
                self.follower.1 = position.max(self.follower.1);
                let is_set = log.set_follower("f", position).is_ok();
                if is_set {
                    self.follower.0 = position;
                }
                is_set
            }
            _ => {
                self.next_payload += 1;
                let mut payload = vec![b'p'; self.below(6000) as usize];
                payload.extend_from_slice(&self.next_payload.to_le_bytes());
                // Some aggregates are left behind for good.
                let aggregate = format!("a{}", self.next_payload / 40 + self.below(4));
                let durability = match self.below(2) {
                    0 => Durability::Sync,
                    _ => Durability::Buffered,
                };
                let batch = Batch::from(event(&aggregate, "Was", payload));
                let is_appended = log.append(batch.durability(durability)).is_ok();
                if is_appended && durability == Durability::Sync {
                    let version = log.version(&id(&aggregate)).unwrap().unwrap();
                    self.versions.insert(aggregate, version);
                }
                is_appended
            }
        }
    }
}
