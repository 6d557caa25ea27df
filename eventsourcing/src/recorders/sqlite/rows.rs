//! From an event to a row and back.
//!
//! Unsigned numbers keep their bits. Tags stand one behind the other, each behind a byte with its length; metadata is
//! a JSON object, which SQL can ask.

use rusqlite::types::{FromSqlError, ToSqlOutput, Type, Value, ValueRef};
use rusqlite::{Row, Statement, ToSql};
use uuid::Uuid;

use super::SqliteError;
use super::error::damaged;
use crate::domain::{AggregateId, Metadata};
use crate::persistence::{Encoding, Notification, Origin, PersistenceError, StoredEvent};

/// Binds the columns of [`CONTENT`](super::tables::CONTENT), the first one to the parameter `first`.
pub(super) fn bind_content(
    statement: &mut Statement<'_>,
    first: usize,
    event: &StoredEvent,
    tags: &[&[u8]],
) -> Result<(), rusqlite::Error> {
    let encoding = event.encoding.as_ref();
    let metadata = serde_json::to_string(&event.metadata)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let columns: [&dyn ToSql; 11] = [
        &event.event_id.as_bytes().as_slice(),
        &event.aggregate_id().map(Id),
        &event.version().map(bits),
        &event.topic,
        &encode_tags(tags),
        &metadata,
        &encoding.map(|encoding| encoding.codec),
        &encoding.map(|encoding| encoding.key_id),
        &encoding.map(|encoding| encoding.plain_len),
        &event.digest.map(bits),
        &event.payload,
    ];
    for (column, parameter) in columns.into_iter().zip(first..) {
        statement.raw_bind_parameter(parameter, column)?;
    }
    Ok(())
}

/// A row that begins with position and time.
pub(super) fn notification(row: &Row<'_>) -> Result<Notification, PersistenceError> {
    let read = || {
        Ok(Notification {
            position: unsigned(row, 0)?,
            time_us: unsigned(row, 1)?,
            event: content(row, 2)?,
        })
    };
    read().map_err(|source: rusqlite::Error| {
        let row = unsigned(row, 0).unwrap_or(0);
        not_as_written("events", row, source)
    })
}

/// A row of content alone.
pub(super) fn snapshot(row: &Row<'_>) -> Result<StoredEvent, PersistenceError> {
    content(row, 0).map_err(|source| {
        let row = unsigned(row, 2).unwrap_or(0);
        not_as_written("snapshots", row, source)
    })
}

pub(super) fn not_as_written(
    table: &'static str,
    row: u64,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PersistenceError {
    damaged(SqliteError::Row {
        table,
        row,
        source: source.into(),
    })
}

/// The number in whose bits an unsigned one is stored.
pub(super) fn bits(number: u64) -> i64 {
    number.cast_signed()
}

/// A position as SQLite counts; what is beyond its numbers is beyond every row.
pub(super) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// An id of an aggregate: a blob when it is a UUID, text when it is text.
pub(super) struct Id<'a>(pub(super) &'a AggregateId);

impl ToSql for Id<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        Ok(match (self.0.as_uuid(), self.0.as_text()) {
            (Some(uuid), _) => ToSqlOutput::Owned(Value::Blob(uuid.into_bytes().to_vec())),
            (None, text) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.unwrap_or_default().as_bytes()))
            }
        })
    }
}

fn content(row: &Row<'_>, first: usize) -> Result<StoredEvent, rusqlite::Error> {
    let aggregate_id = aggregate_id(row, first + 1)?;
    let version = optional_unsigned(row, first + 2)?;
    let origin = match (aggregate_id, version) {
        (Some(aggregate_id), Some(version)) => Some(Origin {
            aggregate_id,
            version,
        }),
        (None, None) => None,
        _ => {
            return Err(unfit(
                row,
                first + 2,
                "an aggregate without version, or the reverse",
            ));
        }
    };
    let (codec, key_id): (Option<u8>, Option<u32>) = (row.get(first + 6)?, row.get(first + 7)?);
    let plain_len: Option<u32> = row.get(first + 8)?;
    let encoding = match (codec, key_id, plain_len) {
        (Some(codec), Some(key_id), Some(plain_len)) => Some(Encoding {
            codec,
            key_id,
            plain_len,
        }),
        (None, None, None) => None,
        _ => return Err(unfit(row, first + 6, "an encoding in part")),
    };
    Ok(StoredEvent {
        origin,
        topic: row.get(first + 3)?,
        event_id: event_id(row, first)?,
        tags: decode_tags(row.get_ref(first + 4)?.as_blob()?)
            .ok_or_else(|| unfit(row, first + 4, "tags cut short"))?,
        metadata: metadata(row, first + 5)?,
        encoding,
        digest: optional_unsigned(row, first + 9)?,
        payload: row.get(first + 10)?,
    })
}

fn optional_unsigned(row: &Row<'_>, column: usize) -> Result<Option<u64>, rusqlite::Error> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.map(i64::cast_unsigned))
}

fn event_id(row: &Row<'_>, column: usize) -> Result<Uuid, rusqlite::Error> {
    Uuid::from_slice(row.get_ref(column)?.as_blob()?).map_err(|error| unfit(row, column, error))
}

fn aggregate_id(row: &Row<'_>, column: usize) -> Result<Option<AggregateId>, rusqlite::Error> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Uuid::from_slice(bytes)
            .map(|uuid| Some(uuid.into()))
            .map_err(|error| unfit(row, column, error)),
        text => AggregateId::text(text.as_str()?)
            .map(Some)
            .map_err(|error| unfit(row, column, error)),
    }
}

fn metadata(row: &Row<'_>, column: usize) -> Result<Metadata, rusqlite::Error> {
    match row.get_ref(column)?.as_str()? {
        // Most events have none.
        "{}" => Ok(Metadata::new()),
        json => serde_json::from_str(json).map_err(|error| unfit(row, column, error)),
    }
}

fn unfit(
    row: &Row<'_>,
    column: usize,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    let found = row
        .get_ref(column)
        .map_or(Type::Null, |value| value.data_type());
    rusqlite::Error::FromSqlConversionFailure(column, found, FromSqlError::Other(why.into()).into())
}

fn encode_tags(tags: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tags.iter().map(|tag| tag.len() + 1).sum());
    for tag in tags {
        let len = u8::try_from(tag.len()).expect("events are checked before they are stored");
        bytes.push(len);
        bytes.extend_from_slice(tag);
    }
    bytes
}

fn decode_tags(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut tags = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (tag, rest) = rest.split_at_checked(usize::from(*len))?;
        tags.push(tag.to_vec());
        bytes = rest;
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back_and_bytes_cut_short_do_not() {
        let (long, none): (&[u8], &[&[u8]]) = (&[0; 255], &[]);
        for tags in [none, &[b"a"], &[b"a", b"bb", long]] {
            assert_eq!(decode_tags(&encode_tags(tags)).unwrap(), tags);
        }
        assert_eq!(decode_tags(&[2, b'a']), None);
    }
}
