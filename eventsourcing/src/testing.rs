//! Testing aggregates without a store: what was given, what is done, what happens then.
//!
//! ```
//! use annals::aggregate;
//! use annals::testing::{given, given_nothing};
//!
//! #[derive(Debug, PartialEq)]
//! struct Dog {
//!     tricks: Vec<String>,
//! }
//!
//! #[derive(Debug, PartialEq)]
//! struct Tired;
//!
//! #[aggregate]
//! impl Dog {
//!     #[event(Registered)]
//!     fn register(name: String) -> Self {
//!         Dog { tricks: vec![] }
//!     }
//!
//!     #[event(TrickAdded)]
//!     fn add_trick(&mut self, trick: impl Into<String>) {
//!         self.tricks.push(trick.into());
//!     }
//!
//!     #[command]
//!     fn teach(&mut self, trick: &str) -> Result<(), Tired> {
//!         if self.tricks.len() == 2 {
//!             return Err(Tired);
//!         }
//!         self.add_trick(trick);
//!         Ok(())
//!     }
//! }
//!
//! let registered = || DogEvent::Registered { name: "Fido".to_owned() };
//! let added = |trick: &str| DogEvent::TrickAdded { trick: trick.to_owned() };
//!
//! given_nothing().create(|id| Dog::register(id, "Fido".to_owned())).then([registered()]);
//!
//! given::<Dog>([registered()])
//!     .when(|dog| dog.teach("sit"))
//!     .then([added("sit")])
//!     .and_state(|dog| assert_eq!(dog.tricks, ["sit"]));
//!
//! given::<Dog>([registered(), added("sit"), added("roll over")])
//!     .when(|dog| dog.teach("fetch"))
//!     .then_error(Tired);
//! ```
//!
//! An aggregate written by hand is tested the same way (`.when(|dog| dog.trigger(…))`), and a [`Decider`](crate::Decider)
//! by [`given_pure`], whose `when` takes a command. Decisions without aggregates, and policies,
//! begin with [`given_events`].
//!
//! What is checked without being asked for: that the given events are ones the aggregate begins with, that every event
//! which happened is stored and read back as it was, and that a replay leaves the state in which it happened (where
//! states can be [compared](AsExpected::and_replay)). Failures show all of what was expected beside all of what was found.
//!
//! [`stored`] reads an event as an older program stored it; [`StoredNames`] sees to it that no stored name is lost.

mod decision;
mod given;
mod names;

pub use decision::{Decision, GivenEvents, given_events};
pub use given::{
    AsExpected, Created, Given, GivenPure, Outcome, Then, given, given_nothing, given_pure,
};
pub use names::StoredNames;

use uuid::Uuid;

use crate::domain::Event;
use crate::persistence::{Mapper, PersistenceError, StoredEvent};

/// Reads an event as it was stored by an older program: under this topic, in this schema version, with this JSON as
/// content. For tests of [upcasters](crate::Upcaster) and aliases.
///
/// ```
/// use annals::{Event, testing};
/// use serde_json::{Value, json};
///
/// #[derive(Debug, PartialEq, Event)]
/// enum DogEvent {
///     #[event(name = "dog.taught", version = 2, upcast(1 = |old: Value| json!({ "trick": old["name"] })))]
///     Taught { trick: String },
/// }
///
/// let old = testing::stored::<DogEvent>("dog.taught", 1, r#"{"name": "sit"}"#)?;
/// assert_eq!(old, DogEvent::Taught { trick: "sit".to_owned() });
/// # Ok::<(), annals::PersistenceError>(())
/// ```
///
/// # Errors
/// As [`Mapper::decode`].
pub fn stored<E: Event>(topic: &str, version: u32, json: &str) -> Result<E, PersistenceError> {
    let mut stored = StoredEvent::new(Uuid::nil(), topic, json);
    if version != 1 {
        let version = ("$version".to_owned(), version.to_string());
        stored.metadata.extend([version]);
    }
    Mapper::default().decode(&stored)
}
