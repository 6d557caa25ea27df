//! Recognising an insert that is made again because its outcome was not known.
//!
//! For recorders that do not leave this to their store. The rule is that of
//! [`insert_events`](crate::AggregateRecorder::insert_events): what is there whole, in the same order and with the same
//! content, is answered as it was the first time; what is there in part, or with other content, is a conflict.

use super::{Notification, PersistenceError, Recorded, StoredEvent};

/// What the first attempt answered; `None` when none of these events is stored.
///
/// `is_tracked`: whether the tracking position given with them is recorded; `None` when there is none. `find` answers
/// the event at the version of this one, or, when it belongs to no aggregate, that of its id. An event of another id
/// at its version is another event.
///
/// # Errors
/// [`PersistenceError::RetryConflict`], and those of `find`.
pub(crate) fn recognise(
    events: &[StoredEvent],
    is_tracked: Option<bool>,
    mut find: impl FnMut(&StoredEvent) -> Result<Option<Notification>, PersistenceError>,
) -> Result<Option<Vec<Recorded>>, PersistenceError> {
    let found = events
        .iter()
        .map(|event| Ok(find(event)?.filter(|found| found.event.event_id == event.event_id)))
        .collect::<Result<Vec<_>, PersistenceError>>()?;
    let Some(first) = found.iter().flatten().next() else {
        return Ok(None);
    };
    let conflict = |event: &StoredEvent, position, what| {
        Err(PersistenceError::RetryConflict {
            event_id: event.event_id,
            position,
            what,
        })
    };
    let first_position = first.position;
    if let Some(missing) = found.iter().position(Option::is_none) {
        let what = "is not there, though others of its insert are";
        return conflict(&events[missing], first_position, what);
    }
    if is_tracked == Some(false) {
        let what = "is there without the tracking position of its insert";
        return conflict(&first.event, first_position, what);
    }
    let mut recorded = Vec::with_capacity(events.len());
    for ((event, found), expected) in events
        .iter()
        .zip(found.iter().flatten())
        .zip(first_position..)
    {
        if found.position != expected {
            return conflict(event, found.position, "lies in another order");
        }
        if let Some(what) = difference(&found.event, event) {
            return conflict(event, found.position, what);
        }
        recorded.push(Recorded {
            position: found.position,
            time_us: Some(found.time_us),
        });
    }
    Ok(Some(recorded))
}

/// In what a stored event differs from the given one of its id.
fn difference(stored: &StoredEvent, given: &StoredEvent) -> Option<&'static str> {
    let mut tags = given.tags.clone();
    tags.sort_unstable();
    tags.dedup();
    // What is encrypted again may be other bytes, and says by its digest that it is the same.
    let same_payload = match (stored.digest, given.digest) {
        (None, None) => stored.encoding == given.encoding && stored.payload == given.payload,
        (stored, given) => stored == given,
    };
    match () {
        () if stored.origin != given.origin => Some("has another aggregate or version"),
        () if stored.topic != given.topic => Some("has another topic"),
        () if stored.tags != tags => Some("has other tags"),
        () if stored.metadata != given.metadata => Some("has other metadata"),
        () if !same_payload => Some("has another payload"),
        () => None,
    }
}
