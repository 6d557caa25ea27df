//! The stored name of an event, found by asking serde for the name of its variant.
//!
//! Both directions stop at the name: nothing is serialized, nothing is deserialized, nothing allocates.

use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{Impossible, Serialize, Serializer};

use super::{Event, EventType};

/// Stored name of this event: the serde name of its variant or struct. `None` when its serde form has no
/// such name (see [`Event`]).
pub fn topic_of<E: Event>(event: &E) -> Option<&'static str> {
    match event.serialize(NameOfValue) {
        Err(Name(topic)) => topic,
        Ok(never) => match never {},
    }
}

/// Stored names that this event type reads, older ones included. Empty when its serde form has no such names.
pub fn topics_of<E: Event>() -> Topics {
    let by_serde = match E::deserialize(NamesOfType) {
        Err(Found(names)) => names,
        // Only a type that reads nothing at all gets here: it has no names.
        Ok(_) => Names::Many(&[]),
    };
    Topics {
        by_serde,
        types: E::TYPES,
    }
}

/// The stored names of an event type.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    by_serde: Names,
    /// These know older names of a struct, which serde does not.
    types: &'static [EventType],
}

#[derive(Clone, Copy, Debug)]
enum Names {
    One(&'static str),
    Many(&'static [&'static str]),
}

impl Topics {
    /// The names, variant by variant in the order they are declared.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (one, many) = match self.by_serde {
            Names::One(name) => (Some(name), &[][..]),
            Names::Many(names) => (None, names),
        };
        let types = self.types;
        let in_table = move |name: &&str| {
            types
                .iter()
                .any(|of| of.names().any(|other| other == *name))
        };
        let only_serde = one.into_iter().chain(many.iter().copied());
        types
            .iter()
            .flat_map(EventType::names)
            .chain(only_serde.filter(move |name| !in_table(name)))
    }

    /// Whether `topic` is one of them.
    pub fn contains(&self, topic: &str) -> bool {
        self.iter().any(|name| name == topic)
    }
}

impl PartialEq for Topics {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Topics {}

/// The names, quoted and separated by commas.
impl fmt::Display for Topics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name:?}")?;
        }
        Ok(())
    }
}

/// Nothing is ever serialized: the name leaves as the error, before any field is looked at.
#[derive(Debug)]
struct Name(Option<&'static str>);

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event is a named variant or struct")
    }
}

impl std::error::Error for Name {}

impl serde::ser::Error for Name {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

enum Never {}

struct NameOfValue;

/// Values that have no name of their own.
macro_rules! nameless {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, Name> {
            Err(Name(None))
        })*
    };
}

impl Serializer for NameOfValue {
    type Ok = Never;
    type Error = Name;
    type SerializeSeq = Impossible<Never, Name>;
    type SerializeTuple = Impossible<Never, Name>;
    type SerializeTupleStruct = Impossible<Never, Name>;
    type SerializeTupleVariant = Impossible<Never, Name>;
    type SerializeMap = Impossible<Never, Name>;
    type SerializeStruct = Impossible<Never, Name>;
    type SerializeStructVariant = Impossible<Never, Name>;

    nameless! {
        serialize_bool(bool) -> Never;
        serialize_i8(i8) -> Never;
        serialize_i16(i16) -> Never;
        serialize_i32(i32) -> Never;
        serialize_i64(i64) -> Never;
        serialize_u8(u8) -> Never;
        serialize_u16(u16) -> Never;
        serialize_u32(u32) -> Never;
        serialize_u64(u64) -> Never;
        serialize_f32(f32) -> Never;
        serialize_f64(f64) -> Never;
        serialize_char(char) -> Never;
        serialize_str(&str) -> Never;
        serialize_bytes(&[u8]) -> Never;
        serialize_none() -> Never;
        serialize_unit() -> Never;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_map(Option<usize>) -> Self::SerializeMap;
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<Never, Name> {
        Err(Name(None))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Never, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        _: &T,
    ) -> Result<Never, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<Never, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: &T,
    ) -> Result<Never, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Name> {
        Err(Name(Some(name)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Name> {
        Err(Name(Some(name)))
    }
}

/// Nothing is ever deserialized: the names leave as the error, before any visitor is called.
#[derive(Debug)]
struct Found(Names);

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event is a named variant or struct")
    }
}

impl std::error::Error for Found {}

impl serde::de::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Names::Many(&[]))
    }
}

struct NamesOfType;

impl<'de> Deserializer<'de> for NamesOfType {
    type Error = Found;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(Names::Many(&[])))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Names::Many(variants)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Names::One(name)))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Names::One(name)))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Names::One(name)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Names::One(name)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        seq tuple map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Every {
        Unit,
        Newtype(u8),
        Tuple(u8, u8),
        #[serde(rename = "every.struct", alias = "Old")]
        Struct {
            a: u8,
        },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "alone")]
    struct Alone {
        a: u8,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        A { a: u8 },
    }

    impl Event for Every {}
    impl Event for Alone {}
    impl Event for Tagged {}

    #[test]
    fn the_topic_is_the_serde_name() {
        assert_eq!(topic_of(&Every::Unit), Some("Unit"));
        assert_eq!(topic_of(&Every::Newtype(1)), Some("Newtype"));
        assert_eq!(topic_of(&Every::Tuple(1, 2)), Some("Tuple"));
        assert_eq!(topic_of(&Every::Struct { a: 1 }), Some("every.struct"));
        assert_eq!(topic_of(&Alone { a: 1 }), Some("alone"));
    }

    #[test]
    fn the_topics_of_a_type_include_aliases() {
        for topic in ["Unit", "Newtype", "Tuple", "every.struct", "Old"] {
            assert!(topics_of::<Every>().contains(topic), "{topic}");
        }
        assert_eq!(topics_of::<Alone>().iter().collect::<Vec<_>>(), ["alone"]);
        assert_eq!(topics_of::<Alone>().to_string(), r#""alone""#);
    }

    #[test]
    fn an_enum_that_hides_its_variants_has_no_topics() {
        assert_eq!(topics_of::<Tagged>().iter().count(), 0);
    }
}
