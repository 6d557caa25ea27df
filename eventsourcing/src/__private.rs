//! What the macros write refers to; no part of the interface.

pub use serde;

use crate::domain::{Aggregate, AggregateId, Root};

/// A new aggregate in the state that its first event leaves.
pub fn begin<A: Aggregate>(id: AggregateId, state: A, event: A::Event) -> Root<A> {
    Root::with_first(id, state, event)
}
