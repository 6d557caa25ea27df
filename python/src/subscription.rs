//! Following a log: waits without the interpreter's lock, in slices, so that signals are seen.

use std::sync::Arc;
use std::time::Duration;

use annals_engine::{Error, RecordedEvent, StopHandle, Subscription};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::{Maker, Parts};
use crate::errors::raised;
use crate::lease::Lease;

/// What the library wants to be told.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Events of aggregates, as `Notification`.
    Notifications,
    /// All events, as `DCBSequencedEvent`.
    Sequenced,
}

/// A place in the log that moves on.
#[pyclass(frozen, module = "eventsourcing_annals._native")]
pub(crate) struct Following {
    lease: Arc<Lease>,
    place: Mutex<Place>,
    stop: StopHandle,
    shape: Shape,
}

struct Place {
    subscription: Subscription,
    /// To be told once what came before it has been.
    failure: Option<Error>,
}

enum Next {
    Events(Vec<RecordedEvent>),
    Ended,
}

impl Following {
    pub(crate) fn new(lease: Arc<Lease>, subscription: Subscription, shape: Shape) -> Self {
        Self {
            lease,
            stop: subscription.stop_handle(),
            place: Mutex::new(Place {
                subscription,
                failure: None,
            }),
            shape,
        }
    }

    fn is_wanted(&self, event: &RecordedEvent) -> bool {
        match self.shape {
            Shape::Notifications => event.aggregate_id.is_some(),
            Shape::Sequenced => true,
        }
    }
}

#[pymethods]
impl Following {
    /// The next events, at least one and at most `limit`: waits for the first. `None` when it has been stopped, or the
    /// log closed.
    fn next_batch<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        loop {
            py.check_signals()?;
            if self.lease.is_returned() {
                return Ok(None);
            }
            let mut events = match py.detach(|| self.place.lock().next(limit)) {
                Ok(Next::Events(events)) => events,
                Ok(Next::Ended) => return Ok(None),
                Err(error) => return Err(raised(py, &error)),
            };
            events.retain(|event| self.is_wanted(event));
            if events.is_empty() {
                continue;
            }
            let mut maker = Maker::new(py)?;
            let objects = events
                .iter()
                .map(|event| match self.shape {
                    Shape::Notifications => maker.notification(&Parts::from(event)),
                    Shape::Sequenced => maker.sequenced_event(&Parts::from(event)),
                })
                .collect::<PyResult<Vec<_>>>()?;
            return PyList::new(py, objects).map(Some);
        }
    }

    /// Ends it, from any thread; who waits for the next events is woken.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.stop.stop());
    }
}

impl Place {
    /// What is there, or comes within a slice: nothing, perhaps.
    fn next(&mut self, limit: usize) -> Result<Next, Error> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let mut events = Vec::new();
        let mut timeout = SLICE;
        while events.len() < limit {
            match self.subscription.next_timeout(timeout) {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) if events.is_empty() => return Err(error),
                Some(Err(error)) => {
                    self.failure = Some(error);
                    break;
                }
                None if events.is_empty() && self.subscription.is_stopped() => {
                    return Ok(Next::Ended);
                }
                None => break,
            }
            // Whatever else is there already.
            timeout = Duration::ZERO;
        }
        Ok(Next::Events(events))
    }
}

/// How long a wait goes on before signals are looked at.
const SLICE: Duration = Duration::from_millis(200);
