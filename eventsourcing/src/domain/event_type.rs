//! What is written down about a kind of event: its stored name, its older names, its schema version, and the way from
//! older versions to that one.
//!
//! A table of these stands in [`Event::TYPES`](super::Event::TYPES); it is a constant, and so is the index over it:
//! what is known about a topic is found without a search, for each event that is read.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Event;

/// A kind of event: what is written down about a variant.
///
/// ```
/// use annals::{EventType, Upcaster};
/// use serde_json::{Value, json};
///
/// const TRICK_ADDED: EventType = EventType::new("dog.trick-added")
///     .aliases(&["Taught"])
///     .version(2, &[Upcaster::new(1, |old| Ok(json!({ "trick": old["name"] })))]);
///
/// assert_eq!(TRICK_ADDED.topic(), "dog.trick-added");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    topic: &'static str,
    aliases: &'static [&'static str],
    version: u32,
    upcasters: &'static [Upcaster],
}

impl EventType {
    /// A kind of event stored under this name, of schema version 1.
    pub const fn new(topic: &'static str) -> Self {
        Self {
            topic,
            aliases: &[],
            version: FIRST_SCHEMA_VERSION,
            upcasters: &[],
        }
    }

    /// Names it was stored under before: still read, no longer written.
    #[must_use]
    pub const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    /// The schema version of new events, from 1, and the steps from older ones to it, a step for each version from 1 on.
    ///
    /// # Panics
    /// With version 0; in a constant, that does not compile.
    #[must_use]
    pub const fn version(mut self, version: u32, upcasters: &'static [Upcaster]) -> Self {
        assert!(
            version >= FIRST_SCHEMA_VERSION,
            "schema versions begin with 1"
        );
        self.version = version;
        self.upcasters = upcasters;
        self
    }

    /// The name it is stored under.
    pub const fn topic(&self) -> &'static str {
        self.topic
    }

    /// The name it is stored under, and those it was stored under before.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.topic).chain(self.aliases.iter().copied())
    }

    /// The schema version of new events, from 1.
    pub const fn schema_version(&self) -> u32 {
        self.version
    }

    /// The steps from older schema versions.
    pub const fn upcasters(&self) -> &'static [Upcaster] {
        self.upcasters
    }
}

/// One step from a schema version to the next, run on what was stored when it is read. Steps are chained: what version
/// 1 left is read by version 3 through two of them.
///
/// What is stored stays as it is. A step sees the content of the event as JSON has it, whatever the transcoder (bytes
/// and numbers of 128 bits are none there). It has to give the same for the same content for good, as everything does
/// that replays.
#[derive(Clone, Copy)]
pub struct Upcaster {
    from: u32,
    upcast: fn(Value) -> Result<Value, UpcastError>,
}

/// What an [`Upcaster`] said when it could not read old content.
pub type UpcastError = Box<dyn StdError + Send + Sync>;

impl Upcaster {
    /// The step from schema version `from`, at least 1, to the one behind it.
    ///
    /// # Panics
    /// From version 0; in a constant, that does not compile.
    pub const fn new(from: u32, upcast: fn(Value) -> Result<Value, UpcastError>) -> Self {
        assert!(from >= FIRST_SCHEMA_VERSION, "schema versions begin with 1");
        Self { from, upcast }
    }

    /// A step between types of yours instead of JSON: `Upcaster::new(1, |old| Upcaster::typed(old, one_to_two))`.
    ///
    /// `Old` keeps the fields of the old version, `New` those of the next; either may be [`Value`].
    ///
    /// # Errors
    /// When the content is no `Old`.
    pub fn typed<Old: DeserializeOwned, New: Serialize>(
        old: Value,
        upcast: impl FnOnce(Old) -> New,
    ) -> Result<Value, UpcastError> {
        let old = serde_json::from_value(old)?;
        Ok(serde_json::to_value(upcast(old))?)
    }

    /// The schema version it reads.
    pub const fn from(&self) -> u32 {
        self.from
    }

    /// The content as the next schema version has it.
    ///
    /// # Errors
    /// When the content is none of the version it reads.
    pub fn upcast(&self, old: Value) -> Result<Value, UpcastError> {
        (self.upcast)(old)
    }
}

impl fmt::Debug for Upcaster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Upcaster({} to {})", self.from, self.from + 1)
    }
}

/// What the program knows about a topic of `E`; `None` when its table does not have it.
pub(crate) fn event_type_of<E: Event>(topic: &str) -> Option<&'static EventType> {
    Known::<E>::INDEX.find(E::TYPES, topic)
}

/// Whether an `E` may have a schema version other than 1: known when the program is compiled, so that types without
/// versions pay nothing for them.
pub(crate) const fn is_versioned<E: Event>() -> bool {
    Known::<E>::IS_VERSIONED
}

struct Known<E>(PhantomData<E>);

impl<E: Event> Known<E> {
    const INDEX: &'static TypeIndex = &TypeIndex::of(E::TYPES);

    const IS_VERSIONED: bool = {
        let (mut place, mut versioned) = (0, false);
        while place < E::TYPES.len() {
            versioned |= E::TYPES[place].version > FIRST_SCHEMA_VERSION;
            place += 1;
        }
        versioned
    };
}

/// Names to places in a table: open addressing over a hash of a few bytes.
struct TypeIndex {
    /// Place in the table plus one; 0 is free.
    slots: [u16; SLOTS],
    /// A table with more names than half of the slots is searched instead.
    is_full: bool,
}

impl TypeIndex {
    const fn of(types: &[EventType]) -> Self {
        let mut index = Self {
            slots: [0; SLOTS],
            is_full: false,
        };
        let (mut place, mut names) = (0, 0);
        while place < types.len() {
            let (mut name, aliases) = (types[place].topic, types[place].aliases);
            let mut alias = 0;
            loop {
                names += 1;
                if names > SLOTS / 2 {
                    index.is_full = true;
                    return index;
                }
                let mut slot = slot_of(name);
                while index.slots[slot] != 0 {
                    slot = (slot + 1) % SLOTS;
                }
                index.slots[slot] = place as u16 + 1;
                if alias == aliases.len() {
                    break;
                }
                name = aliases[alias];
                alias += 1;
            }
            place += 1;
        }
        index
    }

    fn find(&self, types: &'static [EventType], topic: &str) -> Option<&'static EventType> {
        let is_named = |of: &&EventType| of.topic == topic || of.aliases.contains(&topic);
        if self.is_full {
            return types.iter().find(is_named);
        }
        let mut slot = slot_of(topic);
        // Ends at a free slot: at most half of them are taken.
        loop {
            let place = usize::from(self.slots[slot]).checked_sub(1)?;
            match types.get(place).filter(is_named) {
                Some(found) => return Some(found),
                None => slot = (slot + 1) % SLOTS,
            }
        }
    }
}

/// Names of one program share a beginning; they differ in length and towards the end.
const fn slot_of(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash = bytes.len();
    let mut back = 1;
    while back <= HASHED_BYTES && back <= bytes.len() {
        hash = hash.wrapping_mul(31) ^ bytes[bytes.len() - back] as usize;
        back += 1;
    }
    hash % SLOTS
}

const SLOTS: usize = 256;
const HASHED_BYTES: usize = 8;

/// The schema version of an event that says none.
pub(crate) const FIRST_SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_table_is_found_and_no_other() {
        const TYPES: &[EventType] = &[
            EventType::new("dog.registered"),
            EventType::new("dog.trick-added").aliases(&["Taught", "dog.taught"]),
            EventType::new("x"),
            EventType::new("stop"),
            EventType::new("spot"),
        ];
        static INDEX: TypeIndex = TypeIndex::of(TYPES);
        for (place, of) in TYPES.iter().enumerate() {
            for name in of.names() {
                let found = INDEX.find(TYPES, name).unwrap();
                assert_eq!(found.topic(), TYPES[place].topic(), "{name}");
            }
        }
        for name in ["", "y", "dog", "pots", "dog.registereD"] {
            assert!(INDEX.find(TYPES, name).is_none(), "{name}");
        }
        assert!(TypeIndex::of(&[]).find(&[], "x").is_none());
    }

    #[test]
    fn a_table_larger_than_the_index_is_searched() {
        let types: Vec<_> = (0..SLOTS)
            .map(|n| EventType::new(Box::leak(n.to_string().into_boxed_str())))
            .collect();
        let types: &'static [EventType] = types.leak();
        let index = TypeIndex::of(types);
        assert!(index.is_full);
        assert_eq!(index.find(types, "200").unwrap().topic(), "200");
        assert!(index.find(types, "256").is_none());
    }

    #[test]
    fn names_that_share_a_slot_are_told_apart() {
        // The same length and the same last bytes: the same slot.
        const TYPES: &[EventType] = &[
            EventType::new("cat.was-added"),
            EventType::new("dog.was-added"),
        ];
        assert_eq!(slot_of("cat.was-added"), slot_of("dog.was-added"));
        let index = TypeIndex::of(TYPES);
        for of in TYPES {
            let found = index.find(TYPES, of.topic()).unwrap();
            assert_eq!(found.topic(), of.topic());
        }
        assert!(index.find(TYPES, "pig.was-added").is_none());
    }
}
