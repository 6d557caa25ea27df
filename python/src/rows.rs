//! Rows of a view: a key and a value, written with the tracking position that they are the effect of.
//!
//! A row is an aggregate of the log, its value the payload of the newest event; so a transaction is one append, which
//! demands that every row it has read is still as it was.

use annals_engine::{AggregateId, Batch, Direction, Expected, NewEvent, View};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::raised;
use crate::store::{Store, Tracking};

/// A row that a transaction writes: key, value or `None` for "no longer there".
type Row = (String, Option<Vec<u8>>);
/// A row that a transaction has read: key, version it had, if it was ever written.
type Seen = (String, Option<u64>);
/// What the newest event of a row says: its value or `None` for "no longer there", and the version.
type Written<'a> = (Option<&'a [u8]>, u64);

#[pymethods]
impl Store {
    /// The value of a row, if it is there, and its version, if it was ever written.
    fn row<'py>(
        &self,
        py: Python<'py>,
        key: &str,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, Option<u64>)> {
        let id = id_of(key).map_err(|error| raised(py, &error))?;
        let view = self.lease.log().map_err(|error| raised(py, &error))?.view();
        let newest = py.detach(|| newest(&view, &id));
        let newest = newest.map_err(|error| raised(py, &error))?;
        let Some((value, version)) = newest else {
            return Ok((None, None));
        };
        Ok((value.map(|value| PyBytes::new(py, value)), Some(version)))
    }

    /// Writes rows and a tracking position, all or nothing, if every row in `seen` still has the version it had.
    #[pyo3(signature = (rows, seen, tracking=None))]
    fn write_rows(
        &self,
        py: Python<'_>,
        rows: Vec<Row>,
        seen: Vec<Seen>,
        tracking: Option<Tracking>,
    ) -> PyResult<()> {
        if rows.is_empty() && tracking.is_none() {
            return Ok(());
        }
        let batch = batch_of(rows, seen).map_err(|error| raised(py, &error))?;
        self.append(py, batch, tracking).map(drop)
    }
}

fn batch_of(rows: Vec<Row>, seen: Vec<Seen>) -> Result<Batch, annals_engine::Error> {
    let mut batch = Batch::new();
    for (key, version) in seen {
        let expected = version.map_or(Expected::NoEvents, Expected::Exactly);
        batch = batch.expect(id_of(&key)?, expected);
    }
    for (key, value) in rows {
        let event = match value {
            Some(value) => NewEvent::new(WRITTEN, value),
            None => NewEvent::new(DELETED, Vec::new()),
        };
        batch.push(event.aggregate(id_of(&key)?));
    }
    Ok(batch)
}

fn newest<'a>(
    view: &'a View,
    id: &AggregateId,
) -> Result<Option<Written<'a>>, annals_engine::Error> {
    let mut events = view.read_aggregate(id, .., Direction::Backward);
    let Some(event) = events.next().transpose()? else {
        return Ok(None);
    };
    let value = (event.topic() != DELETED).then(|| event.payload());
    Ok(Some((value, event.version().unwrap_or_default())))
}

fn id_of(key: &str) -> Result<AggregateId, annals_engine::Error> {
    AggregateId::text(format!("row/{key}"))
}

/// Topics of the events that make up rows.
const WRITTEN: &str = "annals.row.written";
const DELETED: &str = "annals.row.deleted";
