//! Annals for Python's `eventsourcing`: the native half of the package `eventsourcing_annals`.
//!
//! It moves events between the log and the library's own objects, a batch at a time, and waits without the
//! interpreter's lock. What the library calls a recorder is Python, on top of [`store::Store`]. Events are laid out
//! as `annals`, the Rust library, lays them out: either reads what the other has written.

mod convert;
mod dcb;
mod errors;
mod lease;
mod rows;
mod snapshots;
mod store;
mod subscription;

/// The module `eventsourcing_annals._native`.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::dcb::Reading;
    #[pymodule_export]
    use crate::lease::close_all;
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::subscription::Following;
}
