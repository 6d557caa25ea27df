//! The outcome of an append that is still under way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use annals_segments::sync::thread::{self, Thread};

use crate::commit::Submission;
use crate::error::Error;
use crate::log::Appended;

/// Stands for a batch that was [submitted](crate::Log::submit). Wait for it, or await it: it needs no
/// runtime. Dropping it does not take the batch back.
#[must_use = "the batch may be refused, which only the ticket tells"]
pub struct Ticket(State);

enum State {
    UnderWay(Arc<Submission>),
    There(Appended),
}

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ticket")
            .field("is_done", &self.is_done())
            .finish()
    }
}

impl Ticket {
    pub(crate) fn new(submission: Arc<Submission>) -> Self {
        Self(State::UnderWay(submission))
    }

    pub(crate) fn done(there: Appended) -> Self {
        Self(State::There(there))
    }

    /// Whether the outcome is known.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::UnderWay(submission) => submission.is_done(),
            State::There(_) => true,
        }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// As [`Log::append`](crate::Log::append).
    pub fn wait(self) -> Result<Appended, Error> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut ticket = self;
        loop {
            match Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(outcome) => return outcome,
                // Whatever unparks this thread, it looks again.
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, Error>;

    /// Ready once; polling again after that panics, as is usual.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            State::There(there) => Poll::Ready(Ok(*there)),
            State::UnderWay(submission) => match submission.is_done_or_wakes(context.waker()) {
                true => Poll::Ready(submission.take_outcome()),
                false => Poll::Pending,
            },
        }
    }
}

/// Wakes a thread that waits for a ticket.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
