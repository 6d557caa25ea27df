//! Types that serde does not know, written by name.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A type that is written as its name and some data that serde knows: `{"_type_": NAME, "_data_": …}`, as the Python
/// library writes its transcodings.
///
/// The name says what the data means, to people and other programs, and a field that holds another type is told. For
/// types of other crates it stands on a type of one's own, or on [`serde`'s `with`](https://serde.rs/field-attrs.html):
///
/// ```
/// use annals::CustomType;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq)]
/// struct Euros { cents: i64 }
///
/// impl CustomType for Euros {
///     const NAME: &'static str = "euros";
///     type Data = i64;
///
///     fn to_data(&self) -> i64 {
///         self.cents
///     }
///
///     fn from_data(cents: i64) -> Result<Self, String> {
///         Ok(Euros { cents })
///     }
/// }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum Shop {
///     Sold {
///         #[serde(with = "annals::custom_type")]
///         price: Euros,
///     },
/// }
///
/// let sold = Shop::Sold { price: Euros { cents: 999 } };
/// let json = r#"{"Sold":{"price":{"_type_":"euros","_data_":999}}}"#;
/// assert_eq!(serde_json::to_string(&sold)?, json);
/// assert_eq!(serde_json::from_str::<Shop>(json)?, sold);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// What cannot be written does not compile: there is no registry to forget a type in.
pub trait CustomType: Sized {
    /// The name that is stored. It must never change its meaning.
    const NAME: &'static str;

    /// What serde writes in its place.
    type Data: Serialize + DeserializeOwned;

    /// The data of this value.
    fn to_data(&self) -> Self::Data;

    /// The value of this data.
    ///
    /// # Errors
    /// Why it is none, in words.
    fn from_data(data: Self::Data) -> Result<Self, String>;
}

/// As the Python library writes UUIDs.
impl CustomType for Uuid {
    const NAME: &'static str = "uuid_hex";
    type Data = String;

    fn to_data(&self) -> String {
        self.simple().to_string()
    }

    fn from_data(data: String) -> Result<Self, String> {
        Self::try_parse(&data).map_err(|error| error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct Named<'a, D> {
    #[serde(rename = "_type_", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "_data_")]
    data: D,
}

/// For `#[serde(with = "annals::custom_type")]`.
///
/// # Errors
/// When the format cannot express the data.
pub fn serialize<T: CustomType, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let name = Cow::Borrowed(T::NAME);
    let data = value.to_data();
    Named { name, data }.serialize(serializer)
}

/// For `#[serde(with = "annals::custom_type")]`.
///
/// # Errors
/// When it is of another type, or the data is none of this one.
pub fn deserialize<'de, T: CustomType, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let refused =
        |why: &dyn Display| D::Error::custom(format_args!("custom type {:?}: {why}", T::NAME));
    let Named { name, data } = Named::<T::Data>::deserialize(deserializer)?;
    match name == T::NAME {
        true => T::from_data(data).map_err(|why| refused(&why)),
        false => Err(refused(&format_args!("found {name:?} in its place"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Member {
        #[serde(with = "super")]
        id: Uuid,
    }

    #[test]
    fn a_uuid_is_written_as_python_writes_it() {
        let id = Uuid::from_u128(0xb2723fe2_c01a_40d2_875e_a3aac6a09ff5);
        let json = r#"{"id":{"_type_":"uuid_hex","_data_":"b2723fe2c01a40d2875ea3aac6a09ff5"}}"#;
        assert_eq!(serde_json::to_string(&Member { id }).unwrap(), json);
        assert_eq!(serde_json::from_str::<Member>(json).unwrap(), Member { id });
    }

    #[test]
    fn another_type_and_data_that_are_none_are_told() {
        for (json, said) in [
            (
                r#"{"id":{"_type_":"decimal_str","_data_":"1.5"}}"#,
                "found \"decimal_str\"",
            ),
            (
                r#"{"id":{"_type_":"uuid_hex","_data_":"b27"}}"#,
                "\"uuid_hex\": ",
            ),
            (r#"{"id":"b27"}"#, "expected struct"),
        ] {
            let refused = serde_json::from_str::<Member>(json)
                .unwrap_err()
                .to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
