//! Decisions without aggregates: queries, conditional appends, answers that are read a page at a time.

use std::ops::Bound as Reach;
use std::sync::Arc;

use annals_engine::{Batch, Direction, Error, Event, Query, QueryItem, View};
use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::{Library, Maker, Parts, behind};
use crate::errors::raised;
use crate::lease::Lease;
use crate::store::Store;
use crate::subscription::{Following, Shape};

/// What matched a query at one moment, read a page at a time.
#[pyclass(frozen, module = "eventsourcing_annals._native")]
pub(crate) struct Reading {
    /// Keeps the log open.
    _lease: Arc<Lease>,
    view: View,
    query: Query,
    /// Position that has been read, and how many events may still be.
    place: Mutex<(u64, usize)>,
}

#[pymethods]
impl Store {
    /// Stores `DCBEvent`s, unless the condition fails; the last position.
    #[pyo3(signature = (events, condition=None))]
    fn append_dcb(
        &self,
        py: Python<'_>,
        events: &Bound<'_, PyAny>,
        condition: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<u64>> {
        let library = Library::get(py)?;
        // Whoever appends the same event again wants it twice, unless the condition says otherwise.
        let mut batch = Batch::new().ids_may_recur();
        for event in events.try_iter()? {
            batch.push(library.new_dcb_event(&event?)?);
        }
        if let Some(condition) = condition {
            let forbidden = condition.getattr(intern!(py, "fail_if_events_match"))?;
            let after = condition.getattr(intern!(py, "after"))?.extract()?;
            batch = batch.fail_if_match(query_of(Some(&forbidden))?, behind(after));
        }
        Ok(self.append(py, batch, None)?.last().copied())
    }

    /// What matches the query now, behind `after`; not more than `limit`.
    #[pyo3(signature = (query=None, after=None, limit=None))]
    fn read_dcb(
        &self,
        py: Python<'_>,
        query: Option<&Bound<'_, PyAny>>,
        after: Option<i64>,
        limit: Option<usize>,
    ) -> PyResult<Reading> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        Ok(Reading {
            _lease: self.lease.clone(),
            view: log.view(),
            query: query_of(query)?,
            place: Mutex::new((behind(after), limit.unwrap_or(usize::MAX))),
        })
    }

    /// Follows what matches the query, behind `after`.
    #[pyo3(signature = (query=None, after=None))]
    fn subscribe_dcb(
        &self,
        py: Python<'_>,
        query: Option<&Bound<'_, PyAny>>,
        after: Option<i64>,
    ) -> PyResult<Following> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        let followed = log.subscribe(behind(after), query_of(query)?);
        Ok(Following::new(
            self.lease.clone(),
            followed,
            Shape::Sequenced,
        ))
    }

    /// The last position that decisions see; `None` when there are no events.
    fn visible_head(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        Ok(Some(log.head()).filter(|head| *head > 0))
    }
}

#[pymethods]
impl Reading {
    /// The last position of the log when the reading began.
    #[getter]
    fn head(&self) -> Option<u64> {
        Some(self.view.head()).filter(|head| *head > 0)
    }

    /// The next events; none at the end.
    fn next_page<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = py.detach(|| {
            let mut place = self.place.lock();
            let (after, left) = *place;
            let behind = (Reach::Excluded(after), Reach::Unbounded);
            let found = self
                .view
                .read_visible(behind, &self.query, Direction::Forward);
            let events = found
                .take(left.min(PAGE))
                .collect::<Result<Vec<Event<'_>>, Error>>()?;
            if let Some(last) = events.last() {
                *place = (last.position(), left - events.len());
            }
            Ok(events)
        });
        let events = events.map_err(|error| raised(py, &error))?;
        let mut maker = Maker::new(py)?;
        let objects = events
            .iter()
            .map(|event| maker.sequenced_event(&Parts::from(event)))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }
}

/// The library's `DCBQuery`; none asks for everything, as one without items does.
fn query_of(query: Option<&Bound<'_, PyAny>>) -> PyResult<Query> {
    let Some(query) = query else {
        return Ok(Query::all());
    };
    let py = query.py();
    let mut asked = Query::all();
    for item in query.getattr(intern!(py, "items"))?.try_iter()? {
        let item = item?;
        let types: Vec<String> = item.getattr(intern!(py, "types"))?.extract()?;
        let tags: Vec<String> = item.getattr(intern!(py, "tags"))?.extract()?;
        let new = types.into_iter().fold(QueryItem::new(), QueryItem::topic);
        asked = asked.or(tags.into_iter().fold(new, QueryItem::tag));
    }
    Ok(asked)
}

/// Events of one page: what an answer holds in memory at a time.
const PAGE: usize = 500;
