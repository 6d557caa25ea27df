//! From the state of an aggregate to a snapshot and back.
//!
//! The payload is the state alone, sealed as that of an event is. Its shape and the times of the aggregate stand in the
//! metadata, under names that no program uses.

use std::any::type_name;

use serde_json::Value;
use uuid::Uuid;

use super::Mapper;
use crate::domain::{Root, Snapshot};
use crate::persistence::payload::{Payload, PayloadKind};
use crate::persistence::{PersistenceError, StoredEvent, TranscodeError};

impl Mapper {
    /// The state of an aggregate as it is stored; it has no pending events.
    pub(crate) fn to_snapshot<A: Snapshot>(
        &self,
        root: &Root<A>,
        event_id: Uuid,
    ) -> Result<StoredEvent, PersistenceError> {
        assert!(root.pending().is_empty(), "a snapshot is of what is stored");
        let topic = A::NAME;
        let payload = self.format.encode_value(&**root);
        let payload = payload.map_err(|source| PersistenceError::Encode { topic, source })?;
        let mut stored = StoredEvent::new(event_id, topic, payload);
        let mut note = |key: &str, value: Option<u64>| {
            if let Some(value) = value {
                stored.metadata.insert(key.to_owned(), value.to_string());
            }
        };
        note(SHAPE, Some(A::VERSION.into()).filter(|shape| *shape > 1));
        note(CREATED, root.created_us());
        note(MODIFIED, root.modified_us());
        let mut stored = stored.of(root.id().clone(), root.version());
        self.seal(PayloadKind::Snapshot, &mut stored)?;
        Ok(stored)
    }

    /// The aggregate that was stored.
    pub(crate) fn open_snapshot<A: Snapshot>(
        &self,
        stored: &StoredEvent,
    ) -> Result<Root<A>, PersistenceError> {
        let failed = |source: TranscodeError| PersistenceError::Decode {
            topic: stored.topic.clone(),
            source,
        };
        let Some(origin) = stored.origin.clone() else {
            let topic = stored.topic.clone();
            return Err(PersistenceError::NoAggregate { topic });
        };
        if stored.topic != A::NAME {
            let wanted = format!("expected a snapshot {:?} of {}", A::NAME, type_name::<A>());
            return Err(failed(wanted.into()));
        }
        let noted = |key: &str| match stored.metadata.get(key).map(|text| text.parse::<u64>()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(error)) => Err(failed(error.into())),
        };
        let shape = noted(SHAPE)?.unwrap_or(1);
        let payload = self.open(Payload::of(PayloadKind::Snapshot, stored))?;
        let state = match shape == u64::from(A::VERSION) {
            true => self.format.decode_any(&payload),
            false => self
                .format
                .decode_any(&payload)
                .and_then(|value| upcast::<A>(shape, value)),
        };
        let (created_us, modified_us) = (noted(CREATED)?, noted(MODIFIED)?);
        Ok(Root::restore(
            origin.aggregate_id,
            origin.version,
            state.map_err(failed)?,
            created_us,
            modified_us,
        ))
    }
}

/// The state in its shape of today.
fn upcast<A: Snapshot>(shape: u64, mut value: Value) -> Result<A, TranscodeError> {
    let unknown = || {
        let (name, known) = (type_name::<A>(), A::VERSION);
        format!("shape {shape}, expected {known}, or one that {name} upcasts to it")
    };
    let from = u32::try_from(shape).map_err(|_| unknown())?;
    if !(1..A::VERSION).contains(&from) {
        return Err(unknown().into());
    }
    for from in from..A::VERSION {
        value = A::upcast(from, value).ok_or_else(unknown)?;
    }
    Ok(serde_json::from_value(value)?)
}

const SHAPE: &str = "$version";
const CREATED: &str = "$created";
const MODIFIED: &str = "$modified";
