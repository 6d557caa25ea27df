//! Recognising an append that is made again, because its outcome was not known.
//!
//! | the batch | is recognised |
//! |---|---|
//! | has versions (given, or demanded of the aggregate) that are taken | by the ids of the events at those versions, at any age |
//! | fails on a condition or a tracking position | by the ids of its events, at any age |
//! | could be appended, and its versions follow from what is there, or it has none | by version 7 ids at any age, by other ids within the newest `retry_window` events |
//! | has versions of events that were truncated away | not any more: that is an error of its own, unless its tracking position is there |
//! | is found by ids alone, and was truncated away | never: it is a new one |
//! | could be appended, and says that [its ids may recur](crate::Batch::ids_may_recur) | never: it is a new one |
//! | has versions that are free, or events whose ids the log made | never: it is a new one |
//!
//! Found whole, in the same order and with the same content, it answers the positions it has, and nothing
//! is written. Found in part, or with other content, it is a conflict. The same content is the same
//! aggregates, topics, tags, metadata and payloads, and versions where they were given; of encoded
//! payloads the digests are compared, when there are any. The time of storing is no content.
//!
//! The caller's thread looks up to the head it finds, the leader at what came after.

use std::collections::HashMap;

use annals_index::KeyHash;
use annals_segments::format::record::{Record, walk_records};
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::batch::{Expected, Version};
use crate::error::Error;
use crate::event::Event;
use crate::log::Appended;
use crate::prepared::{PreparedBatch, PreparedRecord};
use crate::query::Direction;
use crate::view::View;

/// Where the events of a batch are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Behind this position only.
    pub(crate) after: u64,
    /// Ids that are not of version 7: from this position on.
    pub(crate) oldest: u64,
}

impl Search {
    /// Everywhere, for other than version 7 ids within the window before `head`.
    pub(crate) fn window(head: u64, window: u64) -> Self {
        Self {
            after: 0,
            oldest: (head + 1).saturating_sub(window),
        }
    }

    /// Everywhere.
    pub(crate) const EVERYWHERE: Self = Self {
        after: 0,
        oldest: 0,
    };
}

/// Where the batch lies already; `None` when none of its events is there.
///
/// # Errors
/// [`Error::RetryConflict`] when it is there in part, or with other content.
pub(crate) fn recognise(
    view: &View,
    batch: &PreparedBatch,
    search: Search,
    tracked: impl Fn(&str) -> Option<u64>,
) -> Result<Option<Appended>, Error> {
    let find = |place: usize, record: &PreparedRecord, search| {
        let event_id = Uuid::from_bytes(record.event_id);
        match (&batch.own_versions, &record.aggregate) {
            (Some(versions), Some((_, id))) => {
                let version = versions[place];
                let there = view
                    .read_aggregate(id, version..=version, Direction::Forward)
                    .next();
                Ok(there
                    .transpose()?
                    .filter(|event| event.event_id() == event_id))
            }
            _ => view.find(event_id, search),
        }
    };
    let find_all = |search| {
        let records = batch.records.iter().enumerate();
        records
            .map(|(place, record)| find(place, record, search))
            .collect::<Result<Vec<_>, Error>>()
    };
    let is_tracked = batch
        .tracking
        .as_ref()
        .filter(|(name, position)| tracked(name).is_some_and(|recorded| recorded >= *position));
    let mut found = match (find_all(search), is_tracked) {
        // It has been processed, whatever became of the events.
        (Err(Error::Expired { .. }), Some((name, given))) => {
            return Err(Error::TrackingConflict {
                name: name.to_string(),
                given: *given,
                found: tracked(name).unwrap_or(*given),
            });
        }
        (found, _) => found?,
    };
    if found.iter().any(Option::is_some) && found.iter().any(Option::is_none) {
        // The rest may lie just outside of where was looked.
        found = find_all(Search::EVERYWHERE)?;
    }
    let Some(first) = found.iter().flatten().next().cloned() else {
        return Ok(None);
    };
    let conflict = |event_id, position, what| {
        Err(Error::RetryConflict {
            event_id,
            position,
            what,
        })
    };
    if let Some(missing) = found.iter().position(Option::is_none) {
        let missing = Uuid::from_bytes(batch.records[missing].event_id);
        return conflict(
            missing,
            first.position(),
            "is not there, though others of its batch are",
        );
    }
    let found: Vec<Event<'_>> = found.into_iter().flatten().collect();
    if batch.tracking.is_some() && is_tracked.is_none() {
        let what = "is there without the tracking position of its batch";
        return conflict(first.event_id(), first.position(), what);
    }
    let given = walk_records(&batch.encoded).zip(&batch.records);
    for (place, (event, ((_, record), prepared))) in found.iter().zip(given).enumerate() {
        let record = record.expect("the batch has been encoded by this process");
        if event.position() != first.position() + place as u64 {
            return conflict(event.event_id(), event.position(), "lies in another order");
        }
        let (_, topic) = &batch.topics[prepared.topic];
        if let Some(what) = difference(event, &record, topic, prepared.version) {
            return conflict(event.event_id(), event.position(), what);
        }
    }
    Ok(Some(Appended {
        first: first.position(),
        last: first.position() + found.len() as u64 - 1,
        time_us: first.time_us(),
    }))
}

/// In what the stored event differs from the given one.
fn difference(
    event: &Event<'_>,
    record: &Record<'_>,
    topic: &str,
    version: Version,
) -> Option<&'static str> {
    let stored = &event.record;
    let same_payload = match (stored.digest(), record.digest()) {
        (None, None) => {
            stored.encoding() == record.encoding() && stored.payload() == record.payload()
        }
        (stored, given) => stored == given,
    };
    let same_version = match version {
        Version::Given(version) => event.version().is_none_or(|stored| stored == version),
        Version::Next => true,
    };
    match () {
        () if stored.id_kind() != record.id_kind() || stored.id() != record.id() => {
            Some("has another aggregate")
        }
        () if !same_version => Some("has another version"),
        () if event.topic() != topic => Some("has another topic"),
        () if !stored.tags().eq(record.tags()) => Some("has other tags"),
        () if !stored.metadata().eq(record.metadata()) => Some("has other metadata"),
        () if !same_payload => Some("has another payload"),
        () => None,
    }
}

/// The versions that the events of a batch have when it is what it says; `None` when they follow from
/// what is there.
pub(crate) fn own_versions(
    records: &[PreparedRecord],
    expected: &[(KeyHash, AggregateId, Expected)],
) -> Option<Vec<u64>> {
    let mut last: HashMap<&AggregateId, u64> = HashMap::new();
    for (_, id, expected) in expected {
        match expected {
            Expected::NoEvents => last.insert(id, 0),
            Expected::Exactly(version) => last.insert(id, *version),
            Expected::Any => None,
        };
    }
    let versions = records.iter().map(|record| {
        let (_, id) = record.aggregate.as_ref()?;
        let version = match record.version {
            Version::Given(version) => version,
            Version::Next => last.get(id)?.checked_add(1)?,
        };
        last.insert(id, version);
        Some(version)
    });
    versions.collect()
}
