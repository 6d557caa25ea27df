//! Rules of [`SnapshotRecorder`](crate::SnapshotRecorder).

use uuid::Uuid;

use super::{Case, EventsAndSnapshots, cases, event, id};
use crate::domain::{AggregateId, Metadata};
use crate::persistence::{Durability, Encoding, Origin, PersistenceError, StoredEvent};

type Recorder = dyn EventsAndSnapshots;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    a_snapshot_comes_back_as_it_was_given
    there_is_none_of_an_unknown_aggregate
    the_greatest_version_up_to_the_one_asked_for_is_found
    snapshots_may_come_in_any_order
    of_two_snapshots_at_one_version_the_later_counts
    deleted_snapshots_are_gone_and_others_are_not
    snapshots_of_a_uuid_and_of_the_text_that_spells_it_are_apart
    a_snapshot_is_no_event
    a_snapshot_of_no_aggregate_is_refused
    a_closed_recorder_takes_no_snapshots
};

fn a_snapshot_comes_back_as_it_was_given(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    let given = StoredEvent {
        metadata: Metadata::from([("$version".into(), "3".into())]),
        encoding: Some(Encoding {
            codec: 3,
            key_id: 4,
            plain_len: 5,
        }),
        digest: Some(6),
        payload: (0..=255).collect(),
        ..snapshot(&id("a"), 2, "")
    };
    insert(recorder, given.clone());
    let found = latest(recorder, &id("a"), 9).expect("it was stored");
    let origin = Origin {
        aggregate_id: id("a"),
        version: 2,
    };
    assert_eq!(found.origin, Some(origin));
    let kept = |stored: StoredEvent| {
        let StoredEvent {
            topic,
            metadata,
            encoding,
            digest,
            payload,
            ..
        } = stored;
        (topic, metadata, encoding, digest, payload)
    };
    assert_eq!(kept(found), kept(given));
}

fn there_is_none_of_an_unknown_aggregate(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    assert_eq!(latest(recorder, &id("a"), 9), None);
    insert(recorder, snapshot(&id("a"), 2, "2"));
    assert_eq!(latest(recorder, &id("b"), 9), None);
    assert_eq!(latest(recorder, &id("a"), 1), None);
    recorder
        .delete_snapshots(&id("b"))
        .expect("nothing is there to be deleted");
}

fn the_greatest_version_up_to_the_one_asked_for_is_found(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    insert(recorder, snapshot(&id("a"), 2, "2"));
    insert(recorder, snapshot(&id("a"), 5, "5"));
    for (at_most, expected) in [(2, "2"), (4, "2"), (5, "5"), (u64::MAX, "5")] {
        assert_eq!(payload(recorder, &id("a"), at_most), expected, "{at_most}");
    }
}

fn snapshots_may_come_in_any_order(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    for version in [5, 1, 7, 3] {
        insert(recorder, snapshot(&id("a"), version, &version.to_string()));
    }
    for (at_most, expected) in [(1, "1"), (3, "3"), (4, "3"), (6, "5"), (8, "7")] {
        assert_eq!(payload(recorder, &id("a"), at_most), expected, "{at_most}");
    }
}

fn of_two_snapshots_at_one_version_the_later_counts(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    insert(recorder, snapshot(&id("a"), 2, "former"));
    insert(recorder, snapshot(&id("a"), 2, "latter"));
    assert_eq!(payload(recorder, &id("a"), 9), "latter");
}

fn deleted_snapshots_are_gone_and_others_are_not(recorder: &Recorder) {
    for name in ["a", "b"] {
        insert_events(recorder, &id(name));
        insert(recorder, snapshot(&id(name), 1, "1"));
        insert(recorder, snapshot(&id(name), 2, "2"));
    }
    recorder
        .delete_snapshots(&id("a"))
        .expect("snapshots can be deleted");
    assert_eq!(latest(recorder, &id("a"), 9), None);
    assert_eq!(payload(recorder, &id("b"), 9), "2");
    insert(recorder, snapshot(&id("a"), 1, "again"));
    assert_eq!(payload(recorder, &id("a"), 9), "again");
}

fn snapshots_of_a_uuid_and_of_the_text_that_spells_it_are_apart(recorder: &Recorder) {
    let uuid = Uuid::from_u128(77);
    let text = AggregateId::text(uuid.to_string()).expect("it is short");
    insert_events(recorder, &uuid.into());
    insert_events(recorder, &text);
    insert(recorder, snapshot(&uuid.into(), 1, "uuid"));
    assert_eq!(latest(recorder, &text, 9), None);
    insert(recorder, snapshot(&text, 1, "text"));
    assert_eq!(payload(recorder, &uuid.into(), 9), "uuid");
}

fn a_snapshot_is_no_event(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    insert(recorder, snapshot(&id("a"), 2, "2"));
    let events = recorder
        .select_events(&id("a"), crate::persistence::SelectEvents::all())
        .expect("events can be read");
    assert_eq!(events.len(), LAST as usize);
    assert!(events.iter().all(|found| found.event.topic != "State"));
}

fn a_snapshot_of_no_aggregate_is_refused(recorder: &Recorder) {
    let refused = recorder
        .insert_snapshot(StoredEvent::new(Uuid::from_u128(1), "State", "{}"))
        .expect_err("it belongs to nothing");
    assert!(
        matches!(refused, PersistenceError::NoAggregate { .. }),
        "{refused:?}"
    );
}

fn a_closed_recorder_takes_no_snapshots(recorder: &Recorder) {
    insert_events(recorder, &id("a"));
    recorder.close().expect("nothing can be lost");
    let refused = recorder
        .insert_snapshot(snapshot(&id("a"), 1, "1"))
        .expect_err("it is closed");
    assert!(refused.is_closed(), "{refused:?}");
}

/// Snapshots rest on events: those of versions 1 to [`LAST`].
fn insert_events(recorder: &Recorder, id: &AggregateId) {
    let events = (1..=LAST).map(|version| StoredEvent {
        origin: Some(Origin {
            aggregate_id: id.clone(),
            version,
        }),
        ..event("a", version)
    });
    recorder
        .insert_events(events.collect(), Durability::Sync)
        .expect("the insert is legal");
}

fn snapshot(id: &AggregateId, version: u64, payload: &str) -> StoredEvent {
    StoredEvent::new(Uuid::from_u128(version.into()), "State", payload).of(id.clone(), version)
}

fn insert(recorder: &Recorder, snapshot: StoredEvent) {
    recorder
        .insert_snapshot(snapshot)
        .expect("the snapshot is legal");
}

fn latest(recorder: &Recorder, id: &AggregateId, at_most_version: u64) -> Option<StoredEvent> {
    recorder
        .latest_snapshot(id, at_most_version)
        .expect("snapshots can be read")
}

fn payload(recorder: &Recorder, id: &AggregateId, at_most_version: u64) -> String {
    let found = latest(recorder, id, at_most_version).expect("there is one");
    String::from_utf8(found.payload).expect("it was text")
}

const LAST: u64 = 8;
