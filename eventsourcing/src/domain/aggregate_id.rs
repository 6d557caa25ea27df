//! The identity whose events form one sequence.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::DomainError;

/// Identity of an aggregate: a UUID, or text of 1..=[`AGGREGATE_ID_LEN_MAX`] bytes.
///
/// The two never compare equal, even when the text spells the UUID. Cloning is cheap.
/// An event that refers to another aggregate serializes as `{"uuid": …}` or `{"text": …}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct AggregateId(Kind);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Uuid(Uuid),
    Text(Arc<str>),
}

impl AggregateId {
    /// A text id.
    ///
    /// # Errors
    /// [`DomainError::AggregateIdLength`] unless `text` has 1..=[`AGGREGATE_ID_LEN_MAX`] bytes.
    pub fn text(text: impl Into<Arc<str>>) -> Result<Self, DomainError> {
        let text = text.into();
        match text.len() {
            1..=AGGREGATE_ID_LEN_MAX => Ok(Self(Kind::Text(text))),
            found => Err(DomainError::AggregateIdLength { found }),
        }
    }

    /// The id that belongs to a name: a UUID of version 5, the same wherever and whenever it is made.
    ///
    /// Two aggregates cannot both begin under one name: the second save is a conflict. So names are unique without a
    /// lookup. The namespace is a UUID of yours, for each kind of name its own.
    ///
    /// ```
    /// # use annals::AggregateId;
    /// # use uuid::Uuid;
    /// const PAGES: Uuid = uuid::uuid!("5f3a0d9e-6f41-4b0c-9c0e-7f8f4f0b6a11");
    /// let id = AggregateId::named(&PAGES, "welcome");
    /// assert_eq!(id, AggregateId::named(&PAGES, "welcome"));
    /// assert_ne!(id, AggregateId::named(&PAGES, "Welcome"));
    /// ```
    pub fn named(namespace: &Uuid, name: &str) -> Self {
        Uuid::new_v5(namespace, name.as_bytes()).into()
    }

    /// The id as configuration and command lines spell it: a hyphenated lower-case UUID becomes a UUID,
    /// anything else is text, so that printing an id and parsing it gives back what was printed.
    ///
    /// # Errors
    /// As [`AggregateId::text`].
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.to_string() == text => Ok(uuid.into()),
            _ => Self::text(text),
        }
    }

    /// The UUID, if it is one.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match &self.0 {
            Kind::Uuid(uuid) => Some(*uuid),
            Kind::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Uuid(_) => None,
            Kind::Text(text) => Some(text),
        }
    }
}

impl From<Uuid> for AggregateId {
    fn from(uuid: Uuid) -> Self {
        Self(Kind::Uuid(uuid))
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Uuid(uuid) => uuid.fmt(formatter),
            Kind::Text(text) => text.fmt(formatter),
        }
    }
}

impl fmt::Debug for AggregateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Uuid(uuid) => write!(formatter, "AggregateId({uuid})"),
            Kind::Text(text) => write!(formatter, "AggregateId({text:?})"),
        }
    }
}

/// The serialized form; the length is checked on the way in.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spelled {
    Uuid(Uuid),
    Text(String),
}

impl TryFrom<Spelled> for AggregateId {
    type Error = DomainError;

    fn try_from(spelled: Spelled) -> Result<Self, DomainError> {
        match spelled {
            Spelled::Uuid(uuid) => Ok(uuid.into()),
            Spelled::Text(text) => Self::text(text),
        }
    }
}

impl From<AggregateId> for Spelled {
    fn from(id: AggregateId) -> Self {
        match id.0 {
            Kind::Uuid(uuid) => Self::Uuid(uuid),
            Kind::Text(text) => Self::Text(text.as_ref().to_owned()),
        }
    }
}

/// Greatest length of a text id in bytes.
pub const AGGREGATE_ID_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    const SPELLED: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    #[test]
    fn text_that_spells_a_uuid_is_another_id() {
        let uuid = AggregateId::parse(SPELLED).unwrap();
        let text = AggregateId::text(SPELLED).unwrap();
        assert_ne!(uuid, text);
        assert_eq!(uuid.to_string(), text.to_string());
    }

    #[test]
    fn parsing_gives_back_what_was_printed() {
        for text in [
            SPELLED,
            &SPELLED.to_uppercase(),
            &SPELLED.replace('-', ""),
            "dog-1",
        ] {
            assert_eq!(AggregateId::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn empty_and_over_long_text_is_refused() {
        for len in [0, AGGREGATE_ID_LEN_MAX + 1] {
            let refused = AggregateId::text("x".repeat(len)).unwrap_err();
            assert!(matches!(refused, DomainError::AggregateIdLength { found } if found == len));
        }
        assert!(AggregateId::text("x".repeat(AGGREGATE_ID_LEN_MAX)).is_ok());
    }

    #[test]
    fn an_id_inside_an_event_keeps_its_kind() {
        for id in [
            AggregateId::parse(SPELLED).unwrap(),
            AggregateId::text(SPELLED).unwrap(),
        ] {
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<AggregateId>(&json).unwrap(), id);
        }
        assert!(serde_json::from_str::<AggregateId>(r#"{"text":""}"#).is_err());
    }
}
