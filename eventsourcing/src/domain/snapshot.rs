//! The state of an aggregate as it is stored.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Aggregate;

/// An aggregate whose state can be stored, so that loading it replays only the events that came later.
///
/// What is stored is its serde form; `#[serde(from = "…", into = "…")]` chooses another type for that. A snapshot is a
/// cache: one that is missing, damaged, or of a shape that nobody knows costs a replay and nothing else.
///
/// ```
/// # use annals::{Aggregate, Event};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Counted { Zero }
/// # impl Event for Counted {}
/// use annals::Snapshot;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Counter {
///     value: u32,
///     step: u32,
/// }
/// # impl Aggregate for Counter {
/// #     type Event = Counted;
/// #     fn start(_: &Counted) -> Option<Self> { Some(Counter { value: 0, step: 1 }) }
/// #     fn apply(&mut self, _: &Counted) {}
/// # }
///
/// impl Snapshot for Counter {
///     const NAME: &str = "counter";
///     const VERSION: u32 = 2;
///
///     fn upcast(from: u32, mut state: serde_json::Value) -> Option<serde_json::Value> {
///         match from {
///             // Counters had no step of their own.
///             1 => state.as_object_mut()?.insert("step".into(), 1.into()),
///             _ => return None,
///         };
///         Some(state)
///     }
/// }
/// ```
pub trait Snapshot: Aggregate + Serialize + DeserializeOwned {
    /// Stored name of the state, 1..=1024 bytes. Independent of where the type lives in the program; another one makes
    /// older snapshots unknown.
    const NAME: &'static str;

    /// Version of its shape, from 1. To be raised with every change after which an older state would be read wrongly, or
    /// not at all.
    const VERSION: u32 = 1;

    /// Turns a state of shape `from` into one of shape `from + 1`; called in a chain up to
    /// [`VERSION`](Snapshot::VERSION). `None`, as by default, passes the snapshot over.
    fn upcast(from: u32, state: Value) -> Option<Value> {
        let _ = (from, state);
        None
    }
}
