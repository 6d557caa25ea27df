//! States of decision models, kept so that loading one folds what came behind only.
//!
//! - The key of a snapshot is the model's name and version and its boundary: the order in which a query names things does
//!   not matter.
//! - Its version is the position up to which it is complete.
//! - It says which event of the boundary it ends with, and is proved by that event's id when it is used: a snapshot that
//!   is ahead of its store, or of another history, is passed over. Where the event has been dropped from the store it was
//!   there for good, and the snapshot stands in for it.
//! - None is kept of events of aggregates whose [keys can be erased](Mapper::erase_key): it would lie under another key,
//!   and go on saying what they said.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::model::sealed::Leaf;
use crate::domain::{AggregateId, Event};
use crate::persistence::{
    Limit, Mapper, Notification, PayloadKind, PersistenceError, Query, QueryItem, SnapshotRecorder,
};

/// When the state of a [`DecisionModel`](super::DecisionModel) is kept, and under what name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy counts as the `SNAPSHOT` of a model"]
pub struct SnapshotPolicy {
    name: &'static str,
    version: u32,
    every: usize,
}

impl SnapshotPolicy {
    /// Under a name that no other model of the program has.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            version: 1,
            every: 100,
        }
    }

    /// Version of what the state is and of how events are applied. Default 1; another one makes all snapshots void.
    pub const fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// A snapshot is taken when loading has folded so many events. Default 100; 0 counts as 1.
    pub const fn every(self, events: usize) -> Self {
        Self {
            every: events,
            ..self
        }
    }

    /// Under what the snapshots of a model with this boundary are kept.
    fn key(&self, boundary: &Query) -> AggregateId {
        let mut name = Vec::new();
        push(&mut name, self.name.as_bytes());
        push(&mut name, &self.version.to_le_bytes());
        let mut items: Vec<_> = boundary.items.iter().map(canonical).collect();
        items.sort_unstable();
        items.dedup();
        items.iter().for_each(|item| push(&mut name, item));
        let text = format!("dcb:{}", Uuid::new_v5(&NAMESPACE, &name));
        AggregateId::text(text).expect("it has 40 bytes")
    }
}

/// Where the snapshots of one model are kept. What goes wrong here costs time, and no decision.
pub(super) struct Shelf<'a> {
    policy: SnapshotPolicy,
    key: AggregateId,
    snapshots: &'a dyn SnapshotRecorder,
    mapper: &'a Mapper,
}

impl<'a> Shelf<'a> {
    /// `None` for a model that has no policy.
    pub(super) fn of(
        leaf: &dyn Leaf,
        boundary: &Query,
        snapshots: &'a dyn SnapshotRecorder,
        mapper: &'a Mapper,
    ) -> Option<Self> {
        let policy = leaf.policy()?;
        Some(Self {
            policy,
            key: policy.key(boundary),
            snapshots,
            mapper,
        })
    }

    /// The newest snapshot at or below a position, with the position up to which it is complete.
    pub(super) fn latest(&self, position: Option<u64>) -> Option<(u64, ModelSnapshot)> {
        let at_most = position.unwrap_or(Limit::Version.range().1);
        let find = || -> Result<_, PersistenceError> {
            let Some(stored) = self.snapshots.latest_snapshot(&self.key, at_most)? else {
                return Ok(None);
            };
            let snapshot = self.mapper.decode_as(PayloadKind::Snapshot, &stored)?;
            Ok(stored.version().map(|version| (version, snapshot)))
        };
        let name = self.policy.name;
        find().unwrap_or_else(|error| {
            tracing::warn!(name, %error, "a snapshot was passed over");
            None
        })
    }

    /// Keeps the state of a model at `position` if enough events were folded for it, and none of them can be erased.
    pub(super) fn keep_when_due(&self, leaf: &dyn Leaf, folded: &[Notification], position: u64) {
        let Some(last) = folded.last() else {
            return;
        };
        let is_due = folded.len() >= self.policy.every.max(1);
        if !is_due || self.mapper.has_own_keys() && folded.iter().any(is_of_aggregate) {
            return;
        }
        let keep = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let snapshot = ModelSnapshot {
                last_position: last.position,
                last_event_id: last.event.event_id,
                state: leaf.state()?,
            };
            let mut stored = self.mapper.encode_unsealed(&snapshot, Uuid::nil())?;
            let name = self.policy.name.to_owned();
            stored.metadata.insert("model".to_owned(), name);
            let mut stored = stored.of(self.key.clone(), position);
            self.mapper.seal(PayloadKind::Snapshot, &mut stored)?;
            Ok(self.snapshots.insert_snapshot(stored)?)
        };
        if let Err(error) = keep() {
            let name = self.policy.name;
            tracing::warn!(name, %error, "a snapshot was not kept");
        }
    }
}

/// What is stored of a model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "annals.decision-model")]
pub(super) struct ModelSnapshot {
    /// Where the last event in it lies.
    pub(super) last_position: u64,
    last_event_id: Uuid,
    pub(super) state: Value,
}

impl Event for ModelSnapshot {}

impl ModelSnapshot {
    /// Whether it ends with this event.
    pub(super) fn ends_with(&self, last: &Notification) -> bool {
        last.position == self.last_position && last.event.event_id == self.last_event_id
    }
}

fn is_of_aggregate(notification: &Notification) -> bool {
    notification.event.origin.is_some()
}

/// The same bytes for items that match the same events.
fn canonical(item: &QueryItem) -> Vec<u8> {
    let mut topics: Vec<_> = item.topics.iter().map(String::as_bytes).collect();
    let mut tags: Vec<_> = item.tags.iter().map(Vec::as_slice).collect();
    let mut bytes = Vec::new();
    for names in [&mut topics, &mut tags] {
        names.sort_unstable();
        names.dedup();
        bytes.extend((names.len() as u64).to_le_bytes());
        names.iter().for_each(|name| push(&mut bytes, name));
    }
    bytes
}

/// Adds bytes with their length, so that no two sequences of them look the same.
fn push(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u64).to_le_bytes());
    to.extend(bytes);
}

/// Names of decision models; drawn at random once, and never to be changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x467b_c216_b9cf_4d67_8e6f_24ae_dd99_0f29);

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: SnapshotPolicy = SnapshotPolicy::new("capacity");

    fn item(topics: &[&str], tags: &[&str]) -> QueryItem {
        let item = topics
            .iter()
            .fold(QueryItem::new(), |item, topic| item.topic(*topic));
        tags.iter().fold(item, |item, tag| item.tag(*tag))
    }

    fn key(policy: SnapshotPolicy, items: &[QueryItem]) -> String {
        let query = Query {
            items: items.to_vec(),
        };
        policy.key(&query).to_string()
    }

    #[test]
    fn the_key_is_the_same_for_good() {
        let items = [item(&["Opened"], &["course:1"])];
        assert_eq!(
            key(POLICY, &items),
            "dcb:749cc869-fd1b-5d6b-8e75-52b84a164960"
        );
    }

    #[test]
    fn the_order_of_a_query_does_not_matter() {
        let one = [item(&["A", "B"], &["x", "y"]), item(&["C"], &[])];
        let other = [
            item(&["C"], &[]),
            item(&["B", "A", "B"], &["y", "x"]),
            item(&["C"], &[]),
        ];
        assert_eq!(key(POLICY, &one), key(POLICY, &other));
    }

    #[test]
    fn another_boundary_name_or_version_has_another_key() {
        let items = [item(&["A"], &["x"])];
        let keys = [
            key(POLICY, &items),
            key(POLICY.version(2), &items),
            key(SnapshotPolicy::new("capacitx"), &items),
            key(POLICY, &[item(&["A", "x"], &[])]),
            key(POLICY, &[item(&[], &["A", "x"])]),
            key(POLICY, &[item(&["A"], &[]), item(&[], &["x"])]),
            key(POLICY, &[item(&["Ax"], &[])]),
            key(POLICY, &[]),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}: {key}");
        }
    }
}
