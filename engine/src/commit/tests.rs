//! Promises of the queue, with a commit that only counts.

use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::batch::Batch;
use crate::options::LogOptions;
use crate::segment::LogIdentity;

fn submission() -> Arc<Submission> {
    let batch = Batch::new().event(crate::NewEvent::new("Counted", ""));
    let log = LogIdentity::new([1; 16]);
    Submission::new(PreparedBatch::new(batch, &log, &LogOptions::default()).unwrap())
}

fn acknowledge(group: &[Arc<Submission>], committed: &AtomicUsize) {
    for submission in group {
        let position = committed.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        submission.complete(Ok(Appended {
            first: position,
            last: position,
            time_us: 0,
        }));
    }
}

#[test]
fn every_submission_gets_its_own_outcome_and_groups_form() {
    const THREADS: usize = 16;
    const EACH: usize = 200;
    let (queue, committed, groups) = (
        CommitQueue::default(),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let start = Barrier::new(THREADS);
    let mut seen: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let one = || {
                        let outcome = queue.commit(submission(), |group| {
                            groups.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_micros(20));
                            acknowledge(group, &committed);
                        });
                        outcome.unwrap().first
                    };
                    (0..EACH).map(|_| one()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    seen.sort_unstable();
    assert_eq!(seen, (1..=(THREADS * EACH) as u64).collect::<Vec<_>>());
    assert!(
        groups.into_inner() < THREADS * EACH,
        "submissions that wait share a group"
    );
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let queue = CommitQueue::default();
    let leading = Barrier::new(2);
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| {
            queue.commit(submission(), |_| {
                leading.wait();
                // Long enough for the follower to be waiting.
                std::thread::sleep(Duration::from_millis(50));
                panic!("on purpose");
            })
        });
        leading.wait();
        let follower = queue.commit(submission(), |group| {
            acknowledge(group, &AtomicUsize::new(0))
        });
        assert!(follower.is_ok(), "the lead passed on");
        assert!(leader.join().is_err());
    });
}

#[test]
fn what_a_panicking_leader_left_open_is_indeterminate() {
    let queue = CommitQueue::default();
    let mine = submission();
    let held = mine.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = queue.commit(mine, |_| panic!("on purpose"));
    }));
    assert!(panicked.is_err());
    assert!(matches!(
        held.take_outcome(),
        Err(Error::Indeterminate { .. })
    ));
}
