//! Snapshots, in the log's own store of them: as Rust applications keep theirs.

use annals_engine::{AggregateId, Error, NewEvent, Snapshot, Snapshots};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::{Library, Maker, Parts, unsigned};
use crate::errors::raised;
use crate::store::Store;

#[pymethods]
impl Store {
    /// Stores snapshots, given as `StoredEvent`. The later of two at one version counts.
    fn insert_snapshots(&self, py: Python<'_>, snapshots: &Bound<'_, PyAny>) -> PyResult<()> {
        let library = Library::get(py)?;
        let mut given: Vec<(AggregateId, u64, NewEvent)> = Vec::new();
        for snapshot in snapshots.try_iter()? {
            let snapshot = snapshot?;
            let id = library.aggregate_id(&snapshot.getattr("originator_id")?)?;
            let version = snapshot.getattr("originator_version")?;
            let version = unsigned(&version, "originator_version")?;
            given.push((id, version, library.new_event(&snapshot)?));
        }
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        py.detach(|| {
            let store = log.snapshots();
            let mut given = given.into_iter();
            given.try_for_each(|(id, version, snapshot)| store.put(id, version, snapshot))
        })
        .map_err(|error| raised(py, &error))
    }

    /// Snapshots of an aggregate, newest first when `desc`.
    #[pyo3(signature = (originator_id, gt=None, lte=None, desc=false, limit=None))]
    fn select_snapshots<'py>(
        &self,
        py: Python<'py>,
        originator_id: Bound<'py, PyAny>,
        gt: Option<i64>,
        lte: Option<i64>,
        desc: bool,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let id = Library::get(py)?.aggregate_id(&originator_id)?;
        let log = self.lease.log().map_err(|error| raised(py, &error))?;
        let limit = limit.unwrap_or(usize::MAX);
        let found = py.detach(|| {
            newest_first(
                &log.snapshots(),
                &id,
                gt,
                lte,
                match desc {
                    true => limit,
                    false => usize::MAX,
                },
            )
        });
        let mut found = found.map_err(|error| raised(py, &error))?;
        if !desc {
            found.reverse();
            found.truncate(limit);
        }
        let mut maker = Maker::new(py)?.with_id(id, originator_id);
        let objects = found
            .iter()
            .map(|snapshot| maker.stored_event(&Parts::from(snapshot)))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }
}

fn newest_first(
    snapshots: &Snapshots,
    id: &AggregateId,
    gt: Option<i64>,
    lte: Option<i64>,
    limit: usize,
) -> Result<Vec<Snapshot>, Error> {
    let is_above = |version: u64| gt.is_none_or(|gt| i128::from(version) > i128::from(gt));
    let mut found = Vec::new();
    let mut at_most = match lte.map(u64::try_from) {
        None => None,
        Some(Ok(lte)) => Some(lte),
        Some(Err(_)) => return Ok(found),
    };
    while found.len() < limit {
        let Some(snapshot) = snapshots.latest(id, at_most)? else {
            break;
        };
        let version = snapshot.version;
        if !is_above(version) {
            break;
        }
        found.push(snapshot);
        match version.checked_sub(1) {
            Some(below) => at_most = Some(below),
            None => break,
        }
    }
    Ok(found)
}
