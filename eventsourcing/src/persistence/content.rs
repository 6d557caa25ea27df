//! The content of an event without its name.
//!
//! Serde writes an enum as name and content together; the name is the topic, stored beside the payload,
//! so the payload holds the content alone. A unit variant is written as an empty struct, so that fields
//! with a `default` can be added to it later.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleVariant, Serializer,
};

use crate::domain::Event;

/// Serializes as the content of the event.
pub(super) struct Content<'a, E>(pub(super) &'a E);

impl<E: Event> Serialize for Content<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(ContentSerializer(serializer))
    }
}

/// Reads an event of this topic from its content.
pub(super) fn read_content<'de, E: Event, D: Deserializer<'de>>(
    topic: &str,
    content: D,
) -> Result<E, D::Error> {
    E::deserialize(ContentDeserializer { topic, content })
}

struct ContentSerializer<S>(S);

/// Values that have no name, and so are no event.
macro_rules! nameless {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, S::Error> {
            Err(S::Error::custom(NO_EVENT))
        })*
    };
}

impl<S: Serializer> Serializer for ContentSerializer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Fields<S::SerializeTuple>;
    type SerializeTupleVariant = Fields<S::SerializeTuple>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = Fields<S::SerializeStruct>;

    nameless! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_char(char) -> S::Ok;
        serialize_str(&str) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_map(Option<usize>) -> Self::SerializeMap;
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(NO_EVENT))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_struct(name, 0)?.end()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self.0)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple(len).map(Fields)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_struct(name, len)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.serialize_unit_struct(variant)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self.0)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple(len).map(Fields)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0.serialize_struct(variant, len).map(Fields)
    }
}

/// Fields of a variant, written as those of a plain struct or tuple.
struct Fields<T>(T);

impl<T: SerializeStruct> SerializeStructVariant for Fields<T> {
    type Ok = T::Ok;
    type Error = T::Error;

    fn serialize_field<V: ?Sized + Serialize>(
        &mut self,
        key: &'static str,
        value: &V,
    ) -> Result<(), T::Error> {
        self.0.serialize_field(key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), T::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<T::Ok, T::Error> {
        self.0.end()
    }
}

impl<T: SerializeTuple> SerializeTupleVariant for Fields<T> {
    type Ok = T::Ok;
    type Error = T::Error;

    fn serialize_field<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), T::Error> {
        self.0.serialize_element(value)
    }

    fn end(self) -> Result<T::Ok, T::Error> {
        self.0.end()
    }
}

impl<T: SerializeTuple> serde::ser::SerializeTupleStruct for Fields<T> {
    type Ok = T::Ok;
    type Error = T::Error;

    fn serialize_field<V: ?Sized + Serialize>(&mut self, value: &V) -> Result<(), T::Error> {
        self.0.serialize_element(value)
    }

    fn end(self) -> Result<T::Ok, T::Error> {
        self.0.end()
    }
}

/// An event about to be read: its name, and where its content comes from.
struct ContentDeserializer<'a, D> {
    topic: &'a str,
    content: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ContentDeserializer<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(serde::de::Error::custom(NO_EVENT))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_enum(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.named(name)?.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.named(name)?.deserialize_ignored_any(IgnoredAny)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self.named(name)?)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.named(name)?.deserialize_tuple(len, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        seq tuple map identifier ignored_any
    }
}

impl<'de, D: Deserializer<'de>> ContentDeserializer<'_, D> {
    fn named(self, name: &'static str) -> Result<D, D::Error> {
        match self.topic == name {
            true => Ok(self.content),
            false => Err(serde::de::Error::custom(format_args!(
                "found {:?}, expected {name:?}",
                self.topic
            ))),
        }
    }
}

impl<'de, 'a, D: Deserializer<'de>> EnumAccess<'de> for ContentDeserializer<'a, D> {
    type Error = D::Error;
    type Variant = VariantContent<D>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), D::Error> {
        let name: StrDeserializer<'a, D::Error> = self.topic.into_deserializer();
        Ok((seed.deserialize(name)?, VariantContent(self.content)))
    }
}

struct VariantContent<D>(D);

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for VariantContent<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        self.0.deserialize_ignored_any(IgnoredAny).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

const NO_EVENT: &str = "an event is an enum without `tag` and `untagged`, or a struct";

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::domain::topic_of;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Every {
        Unit,
        Newtype(Vec<u8>),
        Tuple(u8, String),
        Struct {
            a: u8,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            b: Option<String>,
        },
        Nested(Inner),
        #[serde(other)]
        Unknown,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Inner {
        A { a: u8 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Alone {
        a: u8,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(u8);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(u8, u8);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Empty;

    impl Event for Every {}
    impl Event for Alone {}
    impl Event for Wrapped {}
    impl Event for Pair {}
    impl Event for Empty {}

    #[track_caller]
    fn assert_round_trip<E: Event + PartialEq + std::fmt::Debug>(event: E, expected: &str) {
        let json = serde_json::to_string(&Content(&event)).unwrap();
        assert_eq!(json, expected);
        let mut reader = serde_json::Deserializer::from_str(&json);
        assert_eq!(
            read_content::<E, _>(topic_of(&event).unwrap(), &mut reader).unwrap(),
            event
        );
        reader.end().unwrap();

        #[cfg(feature = "messagepack")]
        {
            let bytes = rmp_serde::to_vec_named(&Content(&event)).unwrap();
            let mut reader = rmp_serde::Deserializer::from_read_ref(&bytes);
            let read = read_content::<E, _>(topic_of(&event).unwrap(), &mut reader).unwrap();
            assert_eq!(read, event);
        }
    }

    #[test]
    fn the_payload_is_the_content_without_the_name() {
        assert_round_trip(Every::Unit, "{}");
        assert_round_trip(Every::Newtype(vec![1, 2]), "[1,2]");
        assert_round_trip(Every::Tuple(1, "x".into()), r#"[1,"x"]"#);
        assert_round_trip(Every::Struct { a: 1, b: None }, r#"{"a":1}"#);
        assert_round_trip(
            Every::Struct {
                a: 1,
                b: Some("x".into()),
            },
            r#"{"a":1,"b":"x"}"#,
        );
        assert_round_trip(Every::Nested(Inner::A { a: 1 }), r#"{"kind":"A","a":1}"#);
        assert_round_trip(Alone { a: 1 }, r#"{"a":1}"#);
        assert_round_trip(Wrapped(1), "1");
        assert_round_trip(Pair(1, 2), "[1,2]");
        assert_round_trip(Empty, "{}");
    }

    #[test]
    fn a_variant_marked_other_stands_for_unknown_topics() {
        let mut reader = serde_json::Deserializer::from_str(r#"{"x":[1,{"y":2}]}"#);
        assert_eq!(
            read_content::<Every, _>("Later", &mut reader).unwrap(),
            Every::Unknown
        );
        reader.end().unwrap();
    }

    #[test]
    fn a_struct_is_read_under_its_own_name_only() {
        let mut reader = serde_json::Deserializer::from_str(r#"{"a":1}"#);
        assert!(read_content::<Alone, _>("Other", &mut reader).is_err());
    }
}
