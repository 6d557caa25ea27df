//! What happened.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::EventType;

/// Something that happened to an aggregate, as a serde type.
///
/// An event type is an enum with a variant per kind of event (or a struct, when there is one kind).
/// The serde name of the variant (or struct) is the **topic**, the name under which the event is stored;
/// the topic is no part of the payload. So moving or renaming the enum, its module or its crate changes
/// nothing that is stored, and a variant is renamed by keeping its old name:
///
/// ```
/// use annals::{Event, topic_of, topics_of};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum DogEvent {
///     #[serde(rename = "dog.registered")]
///     Registered { name: String },
///     // Called "Taught" once: new events get the new name, stored ones are still read.
///     #[serde(alias = "Taught")]
///     TrickAdded { trick: String },
/// }
///
/// impl Event for DogEvent {}
///
/// let event = DogEvent::Registered { name: "Fido".into() };
/// assert_eq!(topic_of(&event), Some("dog.registered"));
/// assert!(topics_of::<DogEvent>().contains("Taught"));
/// ```
///
/// Other serde attributes keep their meaning: `default` fields read events that lack them, and a unit
/// variant marked `other` stands for every topic the program does not know (without it, such an event is
/// [an error](crate::PersistenceError::UnknownTopic)). An enum marked `untagged` or with a `tag` of its own
/// hides its variants' names, and is [refused](crate::PersistenceError::NoTopic) when it is saved.
///
/// A change of an event's fields that serde's attributes cannot bridge gets a schema version and an
/// [`Upcaster`](crate::Upcaster), written down in [`Event::TYPES`].
///
/// [`#[derive(Event)]`](macro@crate::Event) gives all of it: this trait, its table, tags, and serde's two traits.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What is known about its variants beside their serde names. Those it does not have are of schema version 1, so
    /// nothing has to be said as long as no event has a second version. A topic stands here as serde has it.
    const TYPES: &'static [EventType] = &[];

    /// Tags by which the event is found beside its aggregate and topic: at most 64 of 1..=255 bytes each.
    /// None by default.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }
}
