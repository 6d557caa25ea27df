//! Every schedule of what wakes and hands over: with loom, two or three threads at a time.

use std::sync::Arc;
use std::task::{Wake, Waker};

use annals_segments::sync::atomic::{AtomicU64, Ordering};
use annals_segments::sync::thread;

use crate::batch::Batch;
use crate::changed::Changed;
use crate::commit::{CommitQueue, Submission};
use crate::error::Error;
use crate::log::Appended;
use crate::options::LogOptions;
use crate::prepared::PreparedBatch;
use crate::segment::LogIdentity;

/// All schedules with at most so many switches that nobody asked for: the usual bound, beyond which hardly any bug
/// hides.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_thread_that_waits_for_the_log_is_woken() {
    check(|| {
        let shared = Arc::new((Changed::default(), AtomicU64::new(0)));
        let writer = shared.clone();
        let writer = thread::spawn(move || {
            writer.1.store(1, Ordering::Release);
            writer.0.notify();
        });
        // A wake-up that is lost leaves nobody who could run, which loom tells.
        shared
            .0
            .wait(None, || shared.1.load(Ordering::Acquire) == 1);
        writer.join().unwrap();
    });
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(1, Ordering::Release);
    }
}

#[cfg(feature = "stream")]
#[test]
fn a_task_that_waits_for_the_log_sees_the_change_or_is_woken() {
    check(|| {
        let shared = Arc::new((Changed::default(), AtomicU64::new(0)));
        let writer = shared.clone();
        let writer = thread::spawn(move || {
            writer.1.store(1, Ordering::Release);
            writer.0.notify();
            writer.0.wake_tasks();
        });
        let woken = Arc::new(Woken::default());
        let _ = shared.0.leave_waker(None, &Waker::from(woken.clone()));
        let has_seen = shared.1.load(Ordering::Acquire) == 1;
        writer.join().unwrap();
        assert!(has_seen || woken.0.load(Ordering::Acquire) == 1);
    });
}

fn prepared() -> PreparedBatch {
    let batch = Batch::new().event(crate::NewEvent::new("Counted", ""));
    PreparedBatch::new(batch, &LogIdentity::new([1; 16]), &LogOptions::default()).unwrap()
}

fn acknowledge(group: &[Arc<Submission>], committed: &AtomicU64) {
    for submission in group {
        let position = committed.fetch_add(1, Ordering::Relaxed) + 1;
        submission.complete(Ok(Appended {
            first: position,
            last: position,
            time_us: 0,
        }));
    }
}

#[test]
fn callers_that_meet_in_the_queue_all_get_an_outcome() {
    check(|| {
        let shared = Arc::new((CommitQueue::default(), AtomicU64::new(0)));
        let append = |shared: &(CommitQueue, AtomicU64)| {
            let (queue, committed) = shared;
            let submission = Submission::new(prepared());
            let outcome = queue.commit(submission, |group| acknowledge(group, committed));
            outcome.unwrap().first
        };
        let other = shared.clone();
        let other = thread::spawn(move || append(&other));
        let mut positions = [append(&shared), other.join().unwrap()];
        positions.sort_unstable();
        assert_eq!(positions, [1, 2]);
    });
}

#[test]
fn a_ticket_gets_its_outcome_beside_a_caller_and_a_close() {
    check(|| {
        let shared = Arc::new((CommitQueue::default(), AtomicU64::new(0)));
        let leading = shared.clone();
        let leader = thread::spawn(move || {
            leading
                .0
                .lead_for_tickets(|group| acknowledge(group, &leading.1));
        });
        let calling = shared.clone();
        let caller = thread::spawn(move || {
            let submission = Submission::new(prepared());
            let (queue, committed) = &*calling;
            match queue.commit(submission, |group| acknowledge(group, committed)) {
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let submission = Submission::ticketed(prepared());
        shared.0.submit(&submission, true).unwrap();
        shared.0.close();
        crate::ticket::Ticket::new(submission).wait().unwrap();
        leader.join().unwrap();
        caller.join().unwrap();
    });
}
