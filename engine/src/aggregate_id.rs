//! The identity whose events form one sequence.

use std::fmt;

use annals_segments::format::AGGREGATE_ID_LEN_MAX;
use annals_segments::format::record::IdKind;
use uuid::Uuid;

use crate::error::{Error, Limit};

/// Identity of an aggregate: a UUID, or text of 1..=255 bytes. The two never compare equal, even when
/// the text spells the UUID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AggregateId {
    /// Stored as 16 bytes.
    Uuid(Uuid),
    /// Stored as UTF-8.
    Text(Box<str>),
}

impl AggregateId {
    /// A text id.
    ///
    /// # Errors
    /// [`Error::Limit`] unless `text` has 1..=255 bytes.
    pub fn text(text: impl Into<Box<str>>) -> Result<Self, Error> {
        let text = text.into();
        Limit::AggregateId.check(text.len(), 1, AGGREGATE_ID_LEN_MAX)?;
        Ok(Self::Text(text))
    }

    /// The id as the command line and configuration spell it: what looks like a UUID becomes one,
    /// anything else is text.
    ///
    /// # Errors
    /// As [`AggregateId::text`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        match Uuid::try_parse(text) {
            // Only the hyphenated spelling, so that printing gives back what was read.
            Ok(uuid) if text.len() == 36 && uuid.to_string() == text => Ok(Self::Uuid(uuid)),
            _ => Self::text(text),
        }
    }

    pub(crate) fn kind(&self) -> IdKind {
        match self {
            Self::Uuid(_) => IdKind::Uuid,
            Self::Text(_) => IdKind::Text,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Uuid(uuid) => uuid.as_bytes(),
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The id in a record; `None` when the event belongs to no aggregate, or its text is not UTF-8.
    pub(crate) fn from_record(kind: IdKind, bytes: &[u8]) -> Option<Self> {
        match kind {
            IdKind::Absent => None,
            IdKind::Uuid => Uuid::from_slice(bytes).ok().map(Self::Uuid),
            IdKind::Text => std::str::from_utf8(bytes)
                .ok()
                .map(|text| Self::Text(text.into())),
        }
    }
}

impl From<Uuid> for AggregateId {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

impl fmt::Debug for AggregateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(formatter, "AggregateId({uuid})"),
            Self::Text(text) => write!(formatter, "AggregateId({text:?})"),
        }
    }
}
