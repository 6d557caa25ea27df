//! The commit queue: many callers, one leader among them, one write and one sync a group.
//!
//! Whoever joins while nobody leads, leads: takes what waits, commits it, *hands the lead to the next
//! waiter before it wakes the others*, so that the next group's write overlaps the waking. There is no
//! timer; the sync in flight is the window in which the next group gathers. Followers sleep on their own
//! submission and never on a shared lock.
//!
//! Behind a [`Ticket`](crate::Ticket) nobody waits who could lead: when one is at the head of the queue
//! and nobody leads, a thread of the log's own does.
//!
//! Source: the writers' queue of LevelDB and its descendants; measured against a mutex and a condition
//! variable on the project's kind of machine, it commits about twice as many events at 64 threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use annals_segments::sync::atomic::{AtomicU8, Ordering};
use annals_segments::sync::thread::{self, Thread};
use annals_segments::sync::{Condvar, Mutex};
use smallvec::{SmallVec, smallvec};

use crate::error::Error;
use crate::log::Appended;
use crate::prepared::PreparedBatch;

/// What a caller learns.
pub(crate) type Outcome = Result<Appended, Error>;

/// One append on its way.
#[derive(Debug)]
pub(crate) struct Submission {
    batch: Mutex<Option<PreparedBatch>>,
    outcome: Mutex<Option<Outcome>>,
    signal: AtomicU8,
    owner: Owner,
    /// Bytes it adds to a group.
    len: usize,
}

/// Who is to be woken.
#[derive(Debug)]
enum Owner {
    /// The thread that appends; it can lead.
    Caller(Thread),
    /// Whoever looks at the ticket, if anybody does yet.
    Ticket(Mutex<Option<Waker>>),
}

/// Nothing has happened yet.
const WAITING: u8 = 0;
/// The lead is yours.
const LEAD: u8 = 1;
/// The outcome is there.
const DONE: u8 = 2;

impl Submission {
    /// An append that the calling thread waits for.
    pub(crate) fn new(batch: PreparedBatch) -> Arc<Self> {
        Self::owned_by(Owner::Caller(thread::current()), batch)
    }

    /// An append that a ticket stands for.
    pub(crate) fn ticketed(batch: PreparedBatch) -> Arc<Self> {
        Self::owned_by(Owner::Ticket(Mutex::new(None)), batch)
    }

    fn owned_by(owner: Owner, batch: PreparedBatch) -> Arc<Self> {
        Arc::new(Self {
            len: batch.frame_len_max(),
            batch: Mutex::new(Some(batch)),
            outcome: Mutex::new(None),
            signal: AtomicU8::new(WAITING),
            owner,
        })
    }

    /// The batch, for the leader, once.
    pub(crate) fn take_batch(&self) -> PreparedBatch {
        self.batch
            .lock()
            .take()
            .expect("a submission is committed once")
    }

    /// Leaves the outcome; the caller is woken by [`Submission::wake`].
    pub(crate) fn complete(&self, outcome: Outcome) {
        let before = self.outcome.lock().replace(outcome);
        assert!(before.is_none(), "a submission has one outcome");
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.outcome.lock().is_some()
    }

    fn wake(&self, signal: u8) {
        match &self.owner {
            Owner::Caller(thread) => {
                self.signal.store(signal, Ordering::Release);
                thread.unpark();
            }
            Owner::Ticket(waker) => {
                // Under the lock, so that a waker that is just being left is either seen here, or sees this.
                let mut left = waker.lock();
                self.signal.store(signal, Ordering::Release);
                let waker = left.take();
                // Woken outside of it: a waker may look at the ticket at once.
                drop(left);
                // What a waker does is its owner's affair, a panic included.
                let woken = catch_unwind(AssertUnwindSafe(|| waker.map(Waker::wake)));
                if woken.is_err() {
                    tracing::error!("the waker of a ticket panicked");
                }
            }
        }
    }

    /// For a ticket: whether the outcome is there; if not, `waker` is woken once it is.
    pub(crate) fn is_done_or_wakes(&self, waker: &Waker) -> bool {
        let Owner::Ticket(left) = &self.owner else {
            unreachable!("only a ticket asks")
        };
        let mut left = left.lock();
        if self.is_done() {
            return true;
        }
        *left = Some(waker.clone());
        false
    }

    /// For a ticket: whether the outcome is there.
    pub(crate) fn is_done(&self) -> bool {
        self.signal.load(Ordering::Acquire) == DONE
    }

    pub(crate) fn take_outcome(&self) -> Outcome {
        self.outcome
            .lock()
            .take()
            .expect("the leader leaves an outcome before it wakes")
    }
}

/// Appends that wait, and whether somebody leads.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    waiting: Mutex<Waiting>,
    /// The log's own thread has something to do.
    for_log: Condvar,
    /// There is room for tickets again.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Arc<Submission>>,
    is_led: bool,
    /// Whether the lead is the log's own thread's to take.
    is_log_to_lead: bool,
    /// Whether no more tickets are given out.
    is_closing: bool,
    /// Bytes of all submissions.
    len: usize,
}

/// Why a ticket is not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue holds as many bytes as it may.
    Full,
    /// The log is being closed.
    Closing,
}

impl CommitQueue {
    /// Joins the queue and returns the outcome. `commit` is called when this caller leads: it must
    /// complete every submission of the group it is given.
    pub(crate) fn commit(
        &self,
        submission: Arc<Submission>,
        commit: impl FnOnce(&[Arc<Submission>]),
    ) -> Outcome {
        let mine = submission.clone();
        // Who finds nobody leading is a group of its own: nobody waits then.
        let mut alone = None;
        {
            let mut waiting = self.waiting.lock();
            if waiting.is_closing {
                return Err(Error::Closed);
            }
            if std::mem::replace(&mut waiting.is_led, true) {
                waiting.len += submission.len;
                waiting.submissions.push_back(submission);
            } else {
                alone = Some(submission);
            }
        }
        if alone.is_some() || mine.wait_for_signal() == LEAD {
            let group = match alone {
                Some(submission) => smallvec![submission],
                None => self.take_group(),
            };
            let mut lead = Lead {
                queue: self,
                mine: Some(&mine),
                group,
                is_handed_over: false,
            };
            assert!(
                Arc::ptr_eq(&lead.group[0], &mine),
                "a leader stands at the head of the queue"
            );
            commit(&lead.group);
            lead.hand_over();
        }
        mine.take_outcome()
    }

    /// Joins the queue behind a ticket. A full queue is waited for if `waits`; a batch larger than the
    /// whole of it is taken when it is empty.
    pub(crate) fn submit(&self, submission: &Arc<Submission>, waits: bool) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.is_closing {
                return Err(Refused::Closing);
            }
            if waiting.len == 0 || waiting.len + submission.len <= QUEUE_LEN_MAX {
                break;
            }
            if !waits {
                return Err(Refused::Full);
            }
            self.room.wait(&mut waiting);
        }
        waiting.len += submission.len;
        waiting.submissions.push_back(submission.clone());
        if !std::mem::replace(&mut waiting.is_led, true) {
            waiting.is_log_to_lead = true;
            self.for_log.notify_all();
        }
        Ok(())
    }

    /// The work of the log's own thread: leads whenever a ticket is at the head of the queue, until the
    /// queue is [closed](CommitQueue::close) and empty.
    pub(crate) fn lead_for_tickets(&self, mut commit: impl FnMut(&[Arc<Submission>])) {
        loop {
            {
                let mut waiting = self.waiting.lock();
                while !waiting.is_log_to_lead {
                    if waiting.is_closing && waiting.submissions.is_empty() {
                        return;
                    }
                    self.for_log.wait(&mut waiting);
                }
                waiting.is_log_to_lead = false;
            }
            let mut lead = Lead {
                queue: self,
                mine: None,
                group: self.take_group(),
                is_handed_over: false,
            };
            // The thread outlives a panic: others wait for it. The log is then poisoned, and they are told.
            let committed = catch_unwind(AssertUnwindSafe(|| commit(&lead.group)));
            lead.hand_over();
            if committed.is_err() {
                tracing::error!("a commit panicked");
            }
        }
    }

    /// Whether the queue takes nothing any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.waiting.lock().is_closing
    }

    /// Takes nothing any more; what is in it is still committed.
    pub(crate) fn close(&self) {
        self.waiting.lock().is_closing = true;
        self.for_log.notify_all();
        self.room.notify_all();
    }

    fn take_group(&self) -> SmallVec<[Arc<Submission>; 2]> {
        let mut waiting = self.waiting.lock();
        let mut len = 0;
        let count = waiting.submissions.iter().take_while(|submission| {
            let fits = len == 0 || len + submission.len <= GROUP_LEN_MAX;
            len += submission.len;
            fits
        });
        let count = count.count();
        let group: SmallVec<[Arc<Submission>; 2]> = waiting.submissions.drain(..count).collect();
        waiting.len -= group.iter().map(|submission| submission.len).sum::<usize>();
        self.room.notify_all();
        group
    }
}

impl Submission {
    fn wait_for_signal(&self) -> u8 {
        loop {
            match self.signal.load(Ordering::Acquire) {
                WAITING => thread::park(),
                signal => return signal,
            }
        }
    }
}

/// The lead of one group. Dropped on the way out of a panic it still hands over, so that nobody waits
/// for ever: what was not completed is then of unknown outcome.
struct Lead<'a> {
    queue: &'a CommitQueue,
    /// That of the leader, who need not be woken.
    mine: Option<&'a Arc<Submission>>,
    group: SmallVec<[Arc<Submission>; 2]>,
    is_handed_over: bool,
}

impl Lead<'_> {
    fn hand_over(&mut self) {
        assert!(
            !std::mem::replace(&mut self.is_handed_over, true),
            "the lead is handed over once"
        );
        let next = {
            let mut waiting = self.queue.waiting.lock();
            let next = waiting.submissions.front().cloned();
            waiting.is_led = next.is_some();
            match next {
                Some(next) if matches!(next.owner, Owner::Ticket(_)) => {
                    waiting.is_log_to_lead = true;
                    self.queue.for_log.notify_all();
                    None
                }
                next => {
                    // It may have waited for the queue to be empty.
                    if next.is_none() && waiting.is_closing {
                        self.queue.for_log.notify_all();
                    }
                    next
                }
            }
        };
        if let Some(next) = next {
            next.wake(LEAD);
        }
        for submission in self.group.drain(..) {
            if !submission.is_complete() {
                submission.complete(Err(Error::Indeterminate {
                    reason: "the committing thread panicked".into(),
                }));
            }
            if self.mine.is_none_or(|mine| !Arc::ptr_eq(&submission, mine)) {
                submission.wake(DONE);
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.is_handed_over {
            self.hand_over();
        }
    }
}

/// Bytes of a group at most, so that one leader does not work for others without end.
const GROUP_LEN_MAX: usize = 4 << 20;

/// Bytes that may wait behind tickets, so that a fast caller does not fill the memory.
const QUEUE_LEN_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests;
