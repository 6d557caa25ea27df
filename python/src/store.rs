//! A log as recorders use it: events of aggregates, notifications, tracking positions.

use std::ops::Bound as Reach;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Error, Event, Query, QueryItem};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyList};

use crate::convert::{Library, Maker, Parts, behind};
use crate::errors::raised;
use crate::lease::Lease;
use crate::subscription::{Following, Shape};

/// A lease of the log in a directory. All factories of a process that open the same directory share the log.
#[pyclass(frozen, module = "eventsourcing_annals._native")]
pub(crate) struct Store {
    pub(crate) lease: Arc<Lease>,
    pub(crate) durability: Durability,
}

/// What an append says: the tracking position it moves, as a name and a position.
pub(crate) type Tracking = (String, u64);

#[pymethods]
impl Store {
    /// Opens the log in `dir`, the real path of a directory; an empty one becomes a log. `buffered`: whether inserts return before
    /// they would survive a loss of power.
    #[new]
    fn open(py: Python<'_>, dir: PathBuf, buffered: bool) -> PyResult<Self> {
        let lease = py.detach(|| Lease::of(dir));
        Ok(Self {
            lease: Arc::new(lease.map_err(|error| raised(py, &error))?),
            durability: match buffered {
                true => Durability::Buffered,
                false => Durability::Sync,
            },
        })
    }

    /// Gives the lease back; the last one closes the log.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = py.detach(|| self.lease.give_back());
        closed.map_err(|error| raised(py, &error))
    }

    /// Whether the lease has been given back.
    #[getter]
    fn is_closed(&self) -> bool {
        self.lease.is_returned()
    }

    /// Stores events and a tracking position, all or nothing; the positions of the events.
    #[pyo3(signature = (events, tracking=None))]
    fn insert(
        &self,
        py: Python<'_>,
        events: &Bound<'_, PyAny>,
        tracking: Option<Tracking>,
    ) -> PyResult<Vec<u64>> {
        let library = Library::get(py)?;
        let mut batch = Batch::new();
        for event in events.try_iter()? {
            batch.push(library.new_event(&event?)?);
        }
        if batch.is_empty() && tracking.is_none() {
            return Ok(Vec::new());
        }
        self.append(py, batch, tracking)
    }

    /// Events of one aggregate.
    #[pyo3(signature = (originator_id, gt=None, lte=None, desc=false, limit=None))]
    fn select<'py>(
        &self,
        py: Python<'py>,
        originator_id: Bound<'py, PyAny>,
        gt: Option<i64>,
        lte: Option<i64>,
        desc: bool,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let id = Library::get(py)?.aggregate_id(&originator_id)?;
        let Some(versions) = versions(gt, lte) else {
            return Ok(PyList::empty(py));
        };
        let view = self.lease.log().map_err(|error| raised(py, &error))?.view();
        let events = py.detach(|| {
            let found = view.read_aggregate(&id, versions, direction(desc));
            let found = found.take(limit.unwrap_or(usize::MAX));
            found.collect::<Result<Vec<Event<'_>>, Error>>()
        });
        let events = events.map_err(|error| raised(py, &error))?;
        let mut maker = Maker::new(py)?.with_id(id, originator_id);
        let objects = events
            .iter()
            .map(|event| maker.stored_event(&Parts::from(event)))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }

    /// Events of all aggregates, from `start` on or behind it, up to `stop`; those of `topics`, when there are any.
    #[pyo3(signature = (start, limit, stop, topics, inclusive_of_start))]
    fn notifications<'py>(
        &self,
        py: Python<'py>,
        start: Option<i64>,
        limit: usize,
        stop: Option<i64>,
        topics: Vec<String>,
        inclusive_of_start: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let first = match (start, inclusive_of_start) {
            (Some(start), false) => behind(Some(start)).saturating_add(1),
            (start, _) => behind(start),
        };
        let last = match stop.map(u64::try_from) {
            None => u64::MAX,
            Some(Ok(stop)) => stop,
            Some(Err(_)) => return Ok(PyList::empty(py)),
        };
        if last < first {
            return Ok(PyList::empty(py));
        }
        let first = match first {
            // From what is left of a log whose oldest events were dropped.
            0 | 1 if start.is_none() => Reach::Unbounded,
            first => Reach::Included(first.max(1)),
        };
        let view = self.lease.log().map_err(|error| raised(py, &error))?.view();
        let query = topic_query(topics);
        let events = py.detach(|| {
            view.read((first, Reach::Included(last)), &query, Direction::Forward)
                // Events without an aggregate are none of these; the library, too, keeps them apart.
                .filter(|event| {
                    event
                        .as_ref()
                        .map_or(true, |event| event.version().is_some())
                })
                .take(limit)
                .collect::<Result<Vec<Event<'_>>, Error>>()
        });
        let events = events.map_err(|error| raised(py, &error))?;
        let mut maker = Maker::new(py)?;
        let objects = events
            .iter()
            .map(|event| maker.notification(&Parts::from(event)))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }

    /// The last position that followers see; `None` when there are no events.
    fn head(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        Ok(Some(log.durable_head()).filter(|head| *head > 0))
    }

    /// Follows the events behind `after`; those of `topics`, when there are any.
    fn subscribe(
        &self,
        py: Python<'_>,
        after: Option<i64>,
        topics: Vec<String>,
    ) -> PyResult<Following> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        let followed = log.subscribe(behind(after), topic_query(topics));
        let lease = self.lease.clone();
        Ok(Following::new(lease, followed, Shape::Notifications))
    }

    /// How far an upstream has been processed.
    fn tracking(&self, py: Python<'_>, name: &str) -> PyResult<Option<u64>> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        Ok(log.tracking(name))
    }

    /// Waits until `name` has reached `position`, for `timeout` seconds at most; whether it has.
    fn wait_tracking(
        &self,
        py: Python<'_>,
        name: &str,
        position: u64,
        timeout: f64,
    ) -> PyResult<bool> {
        self.lease.log().map_err(|error| raised(py, &error))?;
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        Ok(py.detach(|| self.lease.wait_tracking(name, position, timeout)))
    }
}

impl Store {
    /// Appends a batch and a tracking position, without the interpreter's lock; the positions of the events.
    pub(crate) fn append(
        &self,
        py: Python<'_>,
        batch: Batch,
        tracking: Option<Tracking>,
    ) -> PyResult<Vec<u64>> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        let mut batch = batch.durability(self.durability);
        let is_tracked = tracking.is_some();
        if let Some((name, position)) = tracking {
            batch = batch.tracking(name, position);
        }
        let appended = py.detach(|| {
            let appended = log.append(batch);
            if is_tracked {
                self.lease.tell_tracking_moved();
            }
            appended
        });
        let appended = appended.map_err(|error| raised(py, &error))?;
        Ok((appended.first..=appended.last).collect())
    }
}

/// The versions that are asked for; `None` when there are none.
pub(crate) fn versions(gt: Option<i64>, lte: Option<i64>) -> Option<(Reach<u64>, Reach<u64>)> {
    // Below 0 there are none to be left out.
    let gt = gt.and_then(|gt| u64::try_from(gt).ok());
    let lte = lte.map(u64::try_from).transpose().ok()?;
    Some((
        gt.map_or(Reach::Unbounded, Reach::Excluded),
        lte.map_or(Reach::Unbounded, Reach::Included),
    ))
}

fn direction(desc: bool) -> Direction {
    match desc {
        true => Direction::Backward,
        false => Direction::Forward,
    }
}

fn topic_query(topics: Vec<String>) -> Query {
    topics
        .into_iter()
        .fold(QueryItem::new(), QueryItem::topic)
        .into()
}
