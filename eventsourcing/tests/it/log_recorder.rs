//! What the log recorder adds: durability, and its own rule on versions.

use annals::{
    AggregateId, AggregateRecorder, Application, ApplicationRecorder, Durability, Error,
    LogRecorder, PersistenceError, ProcessRecorder, Recorder, Root, SelectEvents, StoredEvent,
    Tracking, TrackingRecorder,
};
use uuid::Uuid;

use crate::school::{Dog, DogEvent};

#[test]
fn everything_is_there_when_the_log_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let app = Application::open(dir.path()).unwrap();
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    app.save(&mut dog).unwrap();
    drop(app);

    let app = Application::open(dir.path()).unwrap();
    let mut copy = app.repository().get::<Dog>(dog.id()).unwrap();
    assert_eq!((&*copy, copy.created_at()), (&*dog, dog.created_at()));
    copy.trigger(DogEvent::trick_added("sit"));
    assert_eq!(app.save(&mut copy).unwrap()[0].position, 2);
}

#[test]
fn tracking_is_there_when_the_log_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = LogRecorder::open(dir.path()).unwrap();
    recorder
        .insert_events_tracked(vec![event(1)], Tracking::new("up", 7), Durability::Sync)
        .unwrap();
    recorder.close().unwrap();

    let recorder = LogRecorder::open(dir.path()).unwrap();
    assert_eq!(recorder.max_tracking("up").unwrap(), Some(7));
    assert_eq!(recorder.max_position().unwrap(), Some(1));
}

#[test]
fn a_log_in_use_is_refused_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let _app = Application::open(dir.path()).unwrap();
    let refused = Application::open(dir.path()).unwrap_err();
    let Error::Persistence {
        source: PersistenceError::Store { source, .. },
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert!(source.to_string().contains("in use"), "{source}");
}

#[test]
fn a_version_below_the_last_is_a_conflict_even_if_it_is_free() {
    let recorder = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
    recorder
        .insert_events(vec![event(1), event(5)], Durability::Sync)
        .unwrap();
    let refused = recorder
        .insert_events(vec![event(3)], Durability::Sync)
        .unwrap_err();
    let PersistenceError::VersionConflict {
        version: 3,
        last: Some(5),
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    recorder
        .insert_events(vec![event(7)], Durability::Sync)
        .unwrap();
    assert_eq!(
        recorder
            .select_events(&id(), SelectEvents::all())
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn the_time_is_told_at_once_for_durable_and_buffered_events() {
    let recorder = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
    for (version, durability) in [(1, Durability::Buffered), (2, Durability::Sync)] {
        let recorded = recorder
            .insert_events(vec![event(version)], durability)
            .unwrap();
        let found = recorder
            .select_events(&id(), SelectEvents::all().desc())
            .unwrap();
        assert_eq!(recorded[0].time_us, Some(found[0].time_us));
    }
}

#[test]
fn a_payload_too_large_is_refused() {
    let log = annals_engine::Log::options()
        .payload_len_max(100)
        .open_in_memory()
        .unwrap();
    let recorder = LogRecorder::from(log);
    let large = StoredEvent {
        payload: vec![0; 101],
        ..event(1)
    };
    let refused = recorder
        .insert_events(vec![large], Durability::Sync)
        .unwrap_err();
    assert!(
        matches!(refused, PersistenceError::TooLarge { .. }),
        "{refused:?}"
    );
    assert_eq!(recorder.max_position().unwrap(), None);
}

fn id() -> AggregateId {
    AggregateId::text("a").unwrap()
}

fn event(version: u64) -> StoredEvent {
    StoredEvent::new(Uuid::from_u128(version.into()), "Happened", "{}").of(id(), version)
}
