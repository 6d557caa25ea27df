//! The engine's errors in the library's tree, with the engine's own words.

use std::error::Error as _;

use annals_engine::Error;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The library's exception for an error of the engine.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    library_error(py, class_of(error), text)
}

/// For a value that cannot be stored.
pub(crate) fn data_error(py: Python<'_>, text: String) -> PyErr {
    library_error(py, "DataError", text)
}

/// The name of the class: what a caller does about it decides.
fn class_of(error: &Error) -> &'static str {
    match error {
        // Somebody else was first: read again, decide again; or it was done already.
        error if error.is_conflict() => "IntegrityError",
        Error::Limit { .. } => "DataError",
        // A mistake of the program.
        Error::InvalidOption { .. }
        | Error::SnapshotAhead { .. }
        | Error::ReadOnly { .. }
        | Error::Forked { .. }
        | Error::Closed => "ProgrammingError",
        // A file to be restored.
        Error::Corrupt { .. } | Error::Quarantined { .. } => "InternalError",
        Error::UnsupportedFormat { .. } => "NotSupportedError",
        // What an operator sees to.
        _ => "OperationalError",
    }
}

fn library_error(py: Python<'_>, name: &str, text: String) -> PyErr {
    // Since 10 some are in a module of their own, and some are not.
    let found = ["eventsourcing.persistence", "eventsourcing.errors"]
        .map(|module| py.import(module).and_then(|module| module.getattr(name)));
    let [found, elsewhere] = found;
    match found
        .or(elsewhere)
        .and_then(|class| Ok(class.cast_into::<PyType>()?))
    {
        Ok(class) => PyErr::from_type(class, text),
        Err(error) => error,
    }
}
