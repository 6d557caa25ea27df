//! What the log recorder adds: durability, and its own rule on versions.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use annals::{
    AggregateId, AggregateRecorder, Application, ApplicationRecorder, Durability, Error, Failure,
    FollowOptions, LogRecorder, MemoryRows, MemoryView, Notified, OnFailure, PersistenceError,
    ProcessRecorder, Projection, ProjectionError, ProjectionRunner, Recorder, Root, SelectEvents,
    SelectNotifications, StoredEvent, Tracking, TrackingRecorder,
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

#[test]
fn what_was_dropped_is_told_with_what_is_left() {
    let options = annals_engine::Log::options().segment_len(64 << 10);
    let recorder = Arc::new(LogRecorder::from(options.open_in_memory().unwrap()));
    let app = Application::builder(recorder.clone()).build().unwrap();
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    for number in 0..1_000 {
        dog.trigger(DogEvent::trick_added(&format!(
            "{number}: {}",
            "x".repeat(200)
        )));
        app.save(&mut dog).unwrap();
    }
    let first = recorder.log().truncate_before(600).unwrap().first_position;
    assert!(first > 1);

    let told = |error: Error| match error {
        Error::Persistence { source, .. } if source.is_expired() => source.to_string(),
        other => panic!("{other:?}"),
    };
    let by_version = app.repository().get::<Dog>(dog.id()).unwrap_err();
    let page = SelectNotifications::first(10);
    let by_position = app.notification_log().select(&page).unwrap_err();
    for error in [told(by_version), told(by_position)] {
        assert!(
            error.contains(&format!("position {first} have been dropped")),
            "{error}"
        );
    }

    // A follower cannot go on, and does not bury one position after the other.
    let follow = |after: u64| {
        let view = Arc::new(MemoryView::<String, u64>::new());
        view.insert_tracking(Tracking::new("school", after))
            .unwrap();
        let options = FollowOptions::new().on_failure(OnFailure::DeadLetter);
        ProjectionRunner::builder("school", &app, view, Ignore)
            .options(options)
            .start()
            .unwrap()
    };
    let stopped = follow(3).wait(1_000, PATIENCE).unwrap_err();
    let ProjectionError::Failed { source, .. } = stopped else {
        panic!("{stopped:?}")
    };
    assert!(matches!(&*source, ProjectionError::Upstream { source, .. } if source.is_expired()));
    follow(first - 1).wait(1_000, PATIENCE).unwrap();
}

/// Makes nothing of anything.
struct Ignore;

impl Projection<MemoryView<String, u64>> for Ignore {
    type Event = DogEvent;

    fn process(
        &mut self,
        _: &Notified<DogEvent>,
        _: &mut MemoryRows<'_, String, u64>,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn id() -> AggregateId {
    AggregateId::text("a").unwrap()
}

fn event(version: u64) -> StoredEvent {
    StoredEvent::new(Uuid::from_u128(version.into()), "Happened", "{}").of(id(), version)
}

#[test]
fn who_waits_is_woken_by_another_recorder_of_the_same_log() {
    let log = annals_engine::Log::in_memory().unwrap();
    let [one, other] = [(); 2].map(|()| LogRecorder::from(log.clone()));
    thread::scope(|scope| {
        let wait = |position| {
            let one = &one;
            let waiting =
                scope.spawn(move || one.wait("school", position, Duration::from_secs(10)));
            thread::sleep(Duration::from_millis(50));
            waiting
        };
        let waiting = wait(3);
        other.insert_tracking(Tracking::new("school", 2)).unwrap();
        let event = StoredEvent::new(Uuid::from_u128(1), "Happened", "{}");
        let tracking = Tracking::new("school", 3);
        (other.insert_events_tracked(vec![event], tracking, Durability::Buffered)).unwrap();
        // Whoever sleeps to the end sees it too, but then it has taken the whole time.
        let soon = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            waiting.is_finished()
        });
        assert!(soon, "it sleeps on");
        waiting.join().unwrap().unwrap();

        let waiting = wait(5);
        other.close().unwrap();
        assert!(waiting.join().unwrap().unwrap_err().is_closed());
    });
}
