//! A process killed at any of its disk calls, and again at any call of the recovery that follows.
//!
//! Before each call that changes the disk, its state is forked and opened as the next process would.
//! Killed processes lose no written byte, so what is checked here is order and completeness of the
//! steps; lost and torn writes are another fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{Batch, Direction, Durability, Log, Query, RecordedEvent};
use annals_segments::MemoryDisk;
use annals_tests::sim_disk::SimDisk;
use annals_tests::{SeededRandom, event, small_log};
use parking_lot::Mutex;

const DIR: &str = "/log";

fn all(log: &Log) -> Vec<RecordedEvent> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(Result::unwrap)
        .collect()
}

/// What the parent of a killed process knows.
#[derive(Default)]
struct Known {
    /// Events acknowledged so far.
    acknowledged: AtomicU64,
    /// Tracking position acknowledged so far.
    tracked: AtomicU64,
    /// Payload of every event handed to the log, by the order in which it was.
    submitted: Mutex<Vec<Vec<u8>>>,
    /// Last version of each aggregate submitted.
    states: AtomicU64,
}

impl Known {
    /// Opens what was left behind and checks it.
    fn check(&self, left: MemoryDisk, seed: u64) -> Log {
        self.states.fetch_add(1, Ordering::Relaxed);
        let (acknowledged, tracked) = (
            self.acknowledged.load(Ordering::SeqCst),
            self.tracked.load(Ordering::SeqCst),
        );
        let log = small_log(left, seed)
            .open(DIR)
            .unwrap_or_else(|error| panic!("acknowledged {acknowledged}: {error}"));
        let events = all(&log);
        assert!(
            events.len() as u64 >= acknowledged,
            "{} of {acknowledged} events",
            events.len()
        );
        let submitted = self.submitted.lock();
        for (place, event) in events.iter().enumerate() {
            assert_eq!(event.position, place as u64 + 1);
            assert_eq!(
                event.payload, submitted[place],
                "position {}",
                event.position
            );
        }
        drop(submitted);
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        for event in &events {
            let last = versions
                .entry(event.aggregate_id.as_ref().unwrap().to_string())
                .or_default();
            *last += 1;
            assert_eq!(event.version, Some(*last));
        }
        assert!(log.tracking("upstream").unwrap_or(0) >= tracked);
        assert_eq!(log.durable_head(), log.head());
        log
    }
}

/// Appends batches of every kind over several opens, ended by a close or by a kill.
fn work(
    watch: impl Fn(&MemoryDisk) + Clone + Send + Sync + 'static,
    known: &Known,
    seed: u64,
    rounds: usize,
) {
    let mut disk = SimDisk::watched(MemoryDisk::default(), watch.clone());
    let random = SeededRandom::new(seed);
    for round in 0..rounds {
        let log = small_log(disk.clone(), seed + round as u64)
            .open(DIR)
            .unwrap();
        for _ in 0..20 {
            let mut batch = Batch::new();
            for _ in 0..=random.next_u64() % 3 {
                let payload = vec![random.next_u64() as u8; (random.next_u64() % 5000) as usize];
                known.submitted.lock().push(payload.clone());
                batch.push(event(
                    &format!("aggregate-{}", random.next_u64() % 4),
                    "Happened",
                    payload,
                ));
            }
            let tracked = known.tracked.load(Ordering::SeqCst) + 1;
            let advances = random.next_u64().is_multiple_of(4);
            if advances {
                batch = batch.tracking("upstream", tracked);
            }
            if random.next_u64().is_multiple_of(3) {
                batch = batch.durability(Durability::Buffered);
            }
            let appended = log.append(batch).unwrap();
            // A buffered event too survives the end of the process.
            known.acknowledged.store(appended.last, Ordering::SeqCst);
            if advances {
                known.tracked.store(tracked, Ordering::SeqCst);
            }
        }
        // Every second round ends without a close, as a kill would.
        if round % 2 == 0 {
            log.close().unwrap();
        } else {
            std::mem::forget(log);
            disk = SimDisk::watched(disk.memory.fork(), watch.clone());
        }
    }
}

#[test]
fn a_kill_at_any_call_keeps_everything_acknowledged() {
    let known = Arc::new(Known::default());
    let watching = known.clone();
    let watch = move |memory: &MemoryDisk| {
        let log = watching.check(memory.fork(), 1000);
        let head = log.head();
        assert_eq!(
            log.append(event("after", "After", "")).unwrap().first,
            head + 1
        );
    };
    work(watch, &known, 1, 6);
    let states = known.states.load(Ordering::Relaxed);
    assert!(states > 500, "only {states} states");
}

#[test]
fn a_second_kill_at_any_call_of_the_recovery_changes_nothing() {
    let known = Arc::new(Known::default());
    let seen = Arc::new(AtomicU64::new(0));
    let watching = known.clone();
    let watch = move |memory: &MemoryDisk| {
        // Every state would take minutes; each seventh meets every kind of call.
        if !seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(7) {
            return;
        }
        let expected = watching.check(memory.fork(), 2000).head();
        let again = watching.clone();
        let recovering = SimDisk::watched(memory.fork(), move |memory: &MemoryDisk| {
            let log = again.check(memory.fork(), 3000);
            assert_eq!(log.head(), expected);
            assert_eq!(
                log.append(event("after", "After", "")).unwrap().first,
                expected + 1
            );
        });
        drop(small_log(recovering, 2000).open(DIR).unwrap());
    };
    work(watch, &known, 2, 4);
    let states = known.states.load(Ordering::Relaxed);
    assert!(states > 500, "only {states} states");
}

#[test]
fn a_log_of_nothing_but_buffered_events_survives_a_kill() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    for _ in 0..5 {
        let batch = Batch::from(event("a", "Was", "x"))
            .durability(Durability::Buffered)
            .tracking("t", log.head() + 1);
        let _ = log.append(batch).unwrap();
    }
    let recovered = small_log(disk.fork(), 2).open(DIR).unwrap();
    assert_eq!((recovered.head(), recovered.tracking("t")), (5, Some(5)));
    assert_eq!(recovered.recovery().rewritten_events, 5);
    assert_eq!(recovered.verify(|_, _| {}).unwrap().damages, []);
    recovered.close().unwrap();
}
