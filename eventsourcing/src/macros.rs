//! The macros, documented where they can be tried.
#![cfg(feature = "macros")]

/// Derives [`Event`](trait@crate::Event) with its table of stored names, schema versions and tags, and serde's
/// `Serialize` and `Deserialize` under those names. serde need not be a dependency.
///
/// ```
/// use annals::{Event, topic_of};
/// use serde_json::{Value, json};
///
/// #[derive(Event)]
/// enum DogEvent {
///     #[event(name = "dog.registered")]
///     Registered {
///         #[event(tag)]
///         name: String,
///         // Events from before there were colours have none.
///         #[serde(default)]
///         colour: Option<String>,
///     },
///     // Stored as "Taught" once, and with a field "name" until version 2.
///     #[event(name = "dog.trick-added", alias = "Taught", version = 2, upcast(1 = with_trick))]
///     TrickAdded { trick: String },
/// }
///
/// fn with_trick(old: Value) -> Value {
///     json!({ "trick": old["name"] })
/// }
///
/// let event = DogEvent::Registered { name: "Fido".into(), colour: None };
/// assert_eq!(topic_of(&event), Some("dog.registered"));
/// assert_eq!(event.tags(), ["name:Fido"]);
/// ```
///
/// # On a variant, or on a struct
/// - `name = "…"`: the name it is stored under, 1..=1024 bytes. By default the name of the variant or struct; say it once
///   events are stored, and renaming what stands in the program changes nothing.
/// - `alias = "…"`: a name it was stored under before; as often as there are some.
/// - `version = 2`: the schema version of new events, from 1. Every older version needs a step:
/// - `upcast(1 = function, 2 = function)`: from the content of a version to that of the next. A function's types are
///   [`serde_json::Value`], or structs of the old and the new fields; steps run on what is read, in a chain. See
///   [`Upcaster`](crate::Upcaster).
///
/// # On a field
/// - `tag`, `tag = "course"`: events are found by it; the tag is `name:VALUE` or `course:VALUE`, with the value as it
///   displays, at most 255 bytes. An `Option` gives one or none, a `Vec` one for each.
/// - Attributes of serde keep their meaning. On variants and on the type those that would rename or hide events are
///   refused.
pub use annals_macros::Event;

/// Makes a type an [`Aggregate`](crate::Aggregate) by its methods: the parameters of a method marked `#[event]` are what
/// is stored, its body is what that changes. Calling it makes it happen.
///
/// ```
/// use annals::{Application, aggregate};
///
/// struct Dog {
///     tricks: Vec<String>,
/// }
///
/// #[derive(Debug, PartialEq)]
/// struct Tired;
///
/// #[aggregate]
/// impl Dog {
///     #[event(Registered)]
///     pub fn register(name: String) -> Self {
///         Dog { tricks: vec![] }
///     }
///
///     #[event(TrickAdded)]
///     fn add_trick(&mut self, trick: String) {
///         self.tricks.push(trick);
///     }
///
///     #[command]
///     pub fn teach(&mut self, trick: &str) -> Result<(), Tired> {
///         if self.tricks.len() == 2 {
///             return Err(Tired);
///         }
///         self.add_trick(trick.to_owned());
///         Ok(())
///     }
/// }
///
/// let school = Application::in_memory();
/// let mut fido = Dog::register(school.new_id(), "Fido".to_owned());
/// fido.teach("sit").unwrap();
/// assert_eq!(fido.pending()[1].event, DogEvent::TrickAdded { trick: "sit".to_owned() });
/// school.save(&mut fido)?;
/// # Ok::<(), annals::Error>(())
/// ```
///
/// # What it writes
/// - **`enum DogEvent`**, a variant for each event, that derives [`Event`](macro@crate::Event), `Clone`, `Debug` and
///   `PartialEq`, and [`Aggregate`](crate::Aggregate) for `Dog`, whose functions call the bodies. A replay moves the
///   fields into them; an event that happens now is cloned, as it has to be stored too.
/// - **`Dog::register(id, name) -> Root<Dog>`** for each event without `self`: an aggregate begins with it. The id comes
///   first, as anything that [is one](crate::AggregateId): [`Application::new_id`](crate::Application::new_id)'s, a UUID.
/// - **`trait DogCommands`** for [`Root<Dog>`](crate::Root) with the other events and the commands; import it where it
///   is used in another module. Methods keep their visibility (one trait each), so an event that is private happens through
///   commands only:
///
/// ```compile_fail,E0599
/// mod dogs {
///     pub struct Dog;
///
///     #[annals::aggregate]
///     impl Dog {
///         #[event(Registered)]
///         pub fn register() -> Self {
///             Dog
///         }
///
///         #[event(TrickAdded)]
///         fn add_trick(&mut self, trick: String) {}
///
///         #[command]
///         pub fn teach(&mut self, trick: &str) {
///             self.add_trick(trick.to_owned());
///         }
///     }
/// }
///
/// use dogs::{Dog, DogCommands};
///
/// let mut fido = Dog::register(annals::uuid::Uuid::nil());
/// fido.teach("sit");
/// fido.add_trick("roll over".to_owned()); // No such method here.
/// ```
///
/// Methods without an attribute are the state's own; `Root<Dog>` gives those with `&self`. So one that creates an
/// aggregate after a check is `pub fn try_register(id: AggregateId, …) -> Result<Root<Dog>, …>` without an attribute, and
/// calls `Self::register`.
///
/// # Events
/// `#[event(TrickAdded)]` names the variant; without it, the name is that of the method (`trick_added`). A body cannot
/// fail, and must do the same for good: it runs again at every load, with what was stored years ago. Rules, clocks and
/// ids belong in commands. Parameters are owned, or `impl Into<String>`, for callers with a `&str`; they take
/// `#[event(tag)]` and serde's attributes, as fields do. Behind the name may stand:
/// - `name`, `alias`, `version`, `upcast`, as on a variant that derives [`Event`](macro@crate::Event). The stored name is
///   `Dog.TrickAdded` otherwise.
/// - `id = expression`, on an event without `self`: the id is made of its parameters, and not given. With
///   [`AggregateId::named`](crate::AggregateId::named), nobody can register the same name twice.
///
/// # Commands
/// A `#[command]` takes `&mut self` and whatever it needs, borrowed too, decides, calls events, and answers what it likes.
/// Its `self` is the [`Root`](crate::Root): `self.id()` and `self.version()` are there, and the fields to read.
///
/// # On the impl
/// `#[aggregate(name = "dog")]`: what stands before the dot in stored names, `Dog` by default. `events = …`,
/// `commands = …`: other names for the enum and the trait. `derive(Eq, Hash)`: more for the events to derive.
pub use annals_macros::aggregate;
