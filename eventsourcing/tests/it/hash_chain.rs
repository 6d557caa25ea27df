//! That a change of history shows, by one call, whatever was changed.

use std::sync::Arc;

use annals::{
    AggregateId, AggregateRecorder, Application, ApplicationRecorder, Durability, Encryption,
    Error, HASH_KEY, KeyRing, LogRecorder, Mapper, MemoryKeyStore, MemoryRecorder,
    PersistenceError, Root, SecretKey, SelectEvents, StoredEvent,
};

use crate::school::{Course, CourseEvent, Dog, DogEvent};
use crate::stores::recorders;

fn application(recorder: Arc<dyn ApplicationRecorder>, mapper: Mapper) -> Application {
    Application::builder(recorder)
        .mapper(mapper)
        .build()
        .unwrap()
}

fn fido(app: &Application) -> Root<Dog> {
    let mut fido = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    fido.trigger(DogEvent::trick_added("sit"));
    fido
}

#[track_caller]
fn broken_at(app: &Application, id: &AggregateId) -> u64 {
    match app.verify_chain(id) {
        Err(Error::Persistence {
            source: PersistenceError::BrokenChain { version, .. },
            ..
        }) => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chain_goes_on_over_saves_and_applications_and_is_verified_by_one_call() {
    for recorder in recorders() {
        let app = application(recorder.clone(), Mapper::json().hash_chain());
        let mut dog = fido(&app);
        let mut course = Root::<Course>::new(app.new_id(), CourseEvent::Opened).unwrap();
        app.save((&mut dog, &mut course)).unwrap();
        let first = app.verify_chain(dog.id()).unwrap();
        assert_eq!(
            (first.verified, first.unchained, first.last_version),
            (2, 0, Some(2))
        );

        let later = application(recorder, Mapper::json().hash_chain());
        let mut copy = later.repository().get::<Dog>(dog.id()).unwrap();
        for trick in ["roll over", "play dead"] {
            copy.trigger(DogEvent::trick_added(trick));
            later.save(&mut copy).unwrap();
        }
        let chain = later.verify_chain(dog.id()).unwrap();
        assert_eq!((chain.verified, chain.last_version), (4, Some(4)));
        assert_ne!(chain.head, first.head);
        assert_eq!(later.verify_chain(course.id()).unwrap().verified, 1);
        assert_eq!(later.verify_chain(&later.new_id()).unwrap().head, None);
    }
}

#[test]
fn events_older_than_the_chain_are_counted_and_later_ones_without_a_hash_break_it() {
    for recorder in recorders() {
        let plain = application(recorder.clone(), Mapper::json());
        let chained = application(recorder, Mapper::json().hash_chain());
        let mut dog = fido(&plain);
        plain.save(&mut dog).unwrap();
        dog.trigger(DogEvent::trick_added("roll over"));
        chained.save(&mut dog).unwrap();
        let chain = chained.verify_chain(dog.id()).unwrap();
        assert_eq!((chain.unchained, chain.verified), (2, 1));

        dog.trigger(DogEvent::trick_added("play dead"));
        plain.save(&mut dog).unwrap();
        assert_eq!(broken_at(&chained, dog.id()), 4);
    }
}

#[test]
fn whatever_is_changed_in_the_history_breaks_the_chain_there() {
    let app = application(Arc::new(MemoryRecorder::new()), Mapper::json().hash_chain());
    let mut dog = fido(&app);
    for trick in ["roll over", "play dead"] {
        dog.trigger(DogEvent::trick_added(trick));
    }
    app.save(&mut dog).unwrap();
    let history: Vec<StoredEvent> = app
        .recorder()
        .select_events(dog.id(), SelectEvents::all())
        .unwrap()
        .into_iter()
        .map(|notification| notification.event)
        .collect();

    type Change = fn(&mut Vec<StoredEvent>);
    let changes: [(&str, u64, Change); 8] = [
        ("payload", 2, |events| {
            events[1].payload = br#"{"trick":"bite"}"#.to_vec()
        }),
        ("metadata", 2, |events| {
            drop(events[1].metadata.insert("user".into(), "eve".into()))
        }),
        ("hash", 3, |events| {
            drop(events[2].metadata.insert(HASH_KEY.into(), "0".repeat(64)))
        }),
        ("no hash", 3, |events| {
            drop(events[2].metadata.remove(HASH_KEY))
        }),
        ("taken out", 3, |events| drop(events.remove(1))),
        ("cut off in front", 2, |events| drop(events.remove(0))),
        ("hashes taken off in front", 2, |events| {
            drop(events[0].metadata.remove(HASH_KEY))
        }),
        ("exchanged", 2, |events| {
            let (second, third) = (events[1].payload.clone(), events[2].payload.clone());
            (events[1].payload, events[2].payload) = (third, second);
        }),
    ];
    for (what, version, change) in changes {
        let mut events = history.clone();
        change(&mut events);
        let recorder = MemoryRecorder::new();
        recorder.insert_events(events, Durability::Sync).unwrap();
        let forged = application(Arc::new(recorder), Mapper::json());
        assert_eq!(broken_at(&forged, dog.id()), version, "{what}");
    }

    // What is missing at the end shows by the head alone.
    let recorder = MemoryRecorder::new();
    recorder
        .insert_events(history[..3].to_vec(), Durability::Sync)
        .unwrap();
    let cut = application(Arc::new(recorder), Mapper::json());
    let (cut, whole) = (cut.verify_chain(dog.id()), app.verify_chain(dog.id()));
    assert_ne!(cut.unwrap().head, whole.unwrap().head);
}

#[test]
fn a_chain_over_encrypted_events_verifies_without_keys_and_after_erasure() {
    for recorder in recorders() {
        let keys = KeyRing::new(1, SecretKey::new([7; 32])).unwrap();
        let encryption = Encryption::new(keys).key_per_aggregate(MemoryKeyStore::new());
        let app = application(
            recorder.clone(),
            Mapper::json().cipher(encryption).hash_chain(),
        );
        let mut dog = fido(&app);
        app.save(&mut dog).unwrap();
        let head = app.verify_chain(dog.id()).unwrap().head;
        app.mapper().erase_key(dog.id()).unwrap();
        let auditor = application(recorder, Mapper::json());
        assert_eq!(auditor.verify_chain(dog.id()).unwrap().head, head);
    }
}

#[test]
fn a_save_that_is_made_again_gets_the_same_hashes() {
    let recorder: Arc<dyn ApplicationRecorder> =
        Arc::new(LogRecorder::from(annals_engine::Log::in_memory().unwrap()));
    let keys = KeyRing::new(1, SecretKey::new([7; 32])).unwrap();
    let mapper = Mapper::json().cipher(keys).hash_chain();
    let app = application(recorder, mapper);
    let mut dog = fido(&app);
    app.save(&mut dog).unwrap();
    let stored = |version: u64| {
        let select = SelectEvents::all().gt(version - 1).limit(1);
        app.recorder().select_events(dog.id(), select).unwrap()[0]
            .event
            .clone()
    };
    // As a second attempt would bring them, whose first one was stored without the program being told.
    let mut again: Vec<StoredEvent> = [1, 2]
        .map(|version| {
            let event = app
                .mapper()
                .to_domain::<DogEvent>(annals::Notification {
                    position: version,
                    time_us: 0,
                    event: stored(version),
                })
                .unwrap();
            let mut event = annals::DomainEvent {
                time_us: None,
                ..event
            };
            event.metadata.remove(HASH_KEY);
            app.mapper().to_stored(&event, uuid::Uuid::nil()).unwrap()
        })
        .to_vec();
    app.mapper().link(&**app.recorder(), &mut again).unwrap();
    assert_eq!(again, [stored(1), stored(2)]);
    let recorded = app
        .recorder()
        .insert_events(again, Durability::Sync)
        .unwrap();
    assert_eq!(recorded.last().unwrap().position, 2);
}
