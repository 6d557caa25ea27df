//! Saving, loading and following, on every store alike.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use annals::{
    AggregateId, AnyRoot, Application, Durability, Error, EventLog, Mapper, MemoryRecorder,
    PersistenceError, Root, SectionId, SelectEvents, SelectNotifications, StoredEvent,
    UnknownEvents, topics_of,
};

use crate::school::{Course, CourseEvent, Dog, DogEvent};
use crate::stores::recorders;

fn applications() -> impl Iterator<Item = Application> {
    recorders().map(|recorder| Application::builder(recorder).build().unwrap())
}

fn fido(app: &Application) -> Root<Dog> {
    let mut fido = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    fido.trigger(DogEvent::trick_added("roll over"));
    fido
}

#[test]
fn what_was_saved_is_loaded_with_its_version_and_times() {
    for app in applications() {
        let mut dog = fido(&app);
        let recordings = app.save(&mut dog).unwrap();
        assert!(dog.pending().is_empty());
        assert_eq!(
            recordings
                .iter()
                .map(|recording| recording.position)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(
            recordings
                .iter()
                .map(|recording| recording.version)
                .collect::<Vec<_>>(),
            [Some(1), Some(2)]
        );
        assert_eq!(recordings[1].topic, "dog.trick-added");

        let copy = app.repository().get::<Dog>(dog.id()).unwrap();
        assert_eq!((&*copy, copy.version()), (&*dog, 2));
        assert_eq!(
            (copy.created_at(), copy.modified_at()),
            (dog.created_at(), dog.modified_at())
        );
        assert!(dog.created_at().unwrap() > SystemTime::UNIX_EPOCH);
    }
}

#[test]
fn a_save_of_several_types_is_one_commit_and_a_conflict_stores_none() {
    for app in applications() {
        let mut dog = fido(&app);
        let mut course = Root::<Course>::new(app.new_id(), CourseEvent::Opened).unwrap();
        assert_eq!(app.save((&mut dog, &mut course)).unwrap().len(), 3);

        let mut stale = app.repository().get::<Dog>(dog.id()).unwrap();
        dog.trigger(DogEvent::trick_added("sit"));
        app.save(&mut dog).unwrap();
        stale.trigger(DogEvent::trick_added("fetch"));
        course.trigger(CourseEvent::DogJoined);

        let conflict = app.save((&mut course, &mut stale)).unwrap_err();
        assert!(conflict.is_conflict(), "{conflict:?}");
        assert_eq!((course.pending().len(), stale.pending().len()), (1, 1));
        assert_eq!(app.repository().get::<Course>(course.id()).unwrap().dogs, 0);

        app.save(&mut course).unwrap();
        assert_eq!(app.repository().get::<Course>(course.id()).unwrap().dogs, 1);
    }
}

#[test]
fn events_keep_their_ids_from_one_attempt_to_the_next() {
    for app in applications() {
        let mut dog = fido(&app);
        app.save(&mut dog).unwrap();
        let mut stale = app.repository().get_at::<Dog>(dog.id(), 1).unwrap();
        stale.trigger(DogEvent::trick_added("sit"));
        assert!(stale.pending()[0].event_id.is_none());
        assert!(app.save(&mut stale).unwrap_err().is_conflict());
        let first = stale.pending()[0].event_id.unwrap();
        assert!(app.save(&mut stale).unwrap_err().is_conflict());
        assert_eq!(stale.pending()[0].event_id, Some(first));
        assert_eq!(first.get_version_num(), 7);
    }
}

#[test]
fn roots_are_saved_in_every_form() {
    for app in applications() {
        let dogs = || [fido(&app), fido(&app)];
        let [mut a, mut b] = dogs();
        assert_eq!(app.save([&mut a, &mut b]).unwrap().len(), 4);
        let [mut a, mut b] = dogs();
        assert_eq!(app.save(vec![&mut a, &mut b]).unwrap().len(), 4);
        let mut all = Vec::from(dogs());
        assert_eq!(app.save(&mut all).unwrap().len(), 4);
        assert_eq!(app.save(&mut all[..]).unwrap().len(), 0);
        let mut course = Root::<Course>::new(app.new_id(), CourseEvent::Opened).unwrap();
        let [mut a, _] = dogs();
        let any: Vec<&mut dyn AnyRoot> = vec![&mut a, &mut course];
        assert_eq!(app.save_with(any, Durability::Buffered).unwrap().len(), 3);
    }
}

#[test]
fn an_aggregate_is_loaded_as_it_was() {
    for app in applications() {
        let mut dog = fido(&app);
        app.save(&mut dog).unwrap();
        let repository = app.repository();
        assert!(
            repository
                .get_at::<Dog>(dog.id(), 1)
                .unwrap()
                .tricks
                .is_empty()
        );
        assert_eq!(
            repository.get_at::<Dog>(dog.id(), 2).unwrap().tricks,
            ["roll over"]
        );
        assert_eq!(repository.get_at::<Dog>(dog.id(), 9).unwrap().version(), 2);
        assert!(
            repository
                .get_at::<Dog>(dog.id(), 0)
                .unwrap_err()
                .is_not_found()
        );
    }
}

#[test]
fn an_unknown_aggregate_is_not_found() {
    for app in applications() {
        let mut dog = fido(&app);
        assert!(!app.repository().contains(dog.id()).unwrap());
        let missing = app.repository().get::<Dog>(dog.id()).unwrap_err();
        assert!(
            matches!(&missing, Error::AggregateNotFound { id, version: None } if id == dog.id())
        );
        app.save(&mut dog).unwrap();
        assert!(app.repository().contains(dog.id()).unwrap());
    }
}

#[test]
fn an_aggregate_of_another_type_is_refused() {
    for app in applications() {
        let mut dog = fido(&app);
        app.save(&mut dog).unwrap();
        let refused = app.repository().get::<Course>(dog.id()).unwrap_err();
        let Error::Persistence {
            source: PersistenceError::UnknownTopic { topic, expected },
            ..
        } = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (topic.as_str(), expected),
            ("Registered", topics_of::<CourseEvent>())
        );
    }
}

#[test]
fn versions_with_a_gap_cannot_be_replayed() {
    for app in applications() {
        let id = AggregateId::text("dog-1").unwrap();
        let event = |version: u64, event: DogEvent| {
            let event_id = uuid::Uuid::from_u128(version.into());
            app.mapper()
                .encode(&event, event_id)
                .unwrap()
                .of(id.clone(), version)
        };
        let events = vec![
            event(1, DogEvent::registered("Fido")),
            event(3, DogEvent::trick_added("sit")),
        ];
        app.recorder()
            .insert_events(events, Durability::Sync)
            .unwrap();
        let refused = app.repository().get::<Dog>(&id).unwrap_err();
        assert!(matches!(refused, Error::Replay { .. }), "{refused:?}");
    }
}

#[test]
fn events_of_unknown_types_are_an_error_or_skipped_by_choice() {
    for policy in [UnknownEvents::Error, UnknownEvents::Skip] {
        let mapper = Mapper::default().unknown_events(policy);
        let app = Application::builder(Arc::new(MemoryRecorder::new()))
            .mapper(mapper)
            .build()
            .unwrap();
        let mut dog = fido(&app);
        app.save(&mut dog).unwrap();
        let event_id = uuid::Uuid::from_u128(7);
        let later = StoredEvent::new(event_id, "dog.adopted", "{}").of(dog.id().clone(), 3);
        app.recorder()
            .insert_events(vec![later], Durability::Sync)
            .unwrap();

        let loaded = app.repository().get::<Dog>(dog.id());
        match policy {
            UnknownEvents::Error => assert!(matches!(
                loaded.unwrap_err(),
                Error::Persistence {
                    source: PersistenceError::UnknownTopic { .. },
                    ..
                }
            )),
            UnknownEvents::Skip => {
                let mut loaded = loaded.unwrap();
                assert_eq!((&*loaded, loaded.version()), (&*dog, 3));
                loaded.trigger(DogEvent::trick_added("sit"));
                assert_eq!(app.save(&mut loaded).unwrap()[0].version, Some(4));
            }
        }
        // Without its first event there is nothing to begin with.
        let id = AggregateId::text("stray").unwrap();
        let first = StoredEvent::new(uuid::Uuid::from_u128(8), "dog.found", "{}").of(id.clone(), 1);
        app.recorder()
            .insert_events(vec![first], Durability::Sync)
            .unwrap();
        assert!(app.repository().get::<Dog>(&id).is_err());
    }
}

#[test]
fn metadata_and_tags_lie_beside_the_payload() {
    for app in applications() {
        let mut dog = Root::<Dog>::new(
            AggregateId::text("dog-1").unwrap(),
            DogEvent::registered("Fido"),
        )
        .unwrap();
        let metadata = [("user".to_owned(), "ann".to_owned())].into();
        dog.trigger_with(DogEvent::trick_added("sit"), metadata);
        app.save(&mut dog).unwrap();
        let found = app
            .notification_log()
            .select(&SelectNotifications::first(10))
            .unwrap();
        assert_eq!(found[0].event.tags, [b"name:Fido"]);
        assert_eq!(found[0].event.payload, br#"{"name":"Fido"}"#);
        assert_eq!(found[1].event.metadata["user"], "ann");
    }
}

#[test]
fn the_notification_log_is_read_section_by_section() {
    for app in applications() {
        let mut dog = fido(&app);
        (3..=25).for_each(|n| dog.trigger(DogEvent::trick_added(&n.to_string())));
        app.save(&mut dog).unwrap();

        let log = app.notification_log();
        let (mut next, mut seen, mut names) = (Some("1,10".parse().unwrap()), vec![], vec![]);
        while let Some(id) = next {
            let section = log.section(id).unwrap();
            seen.extend(section.items.iter().map(|item| item.position));
            names.push(section.id.unwrap().to_string());
            next = section.next_id;
        }
        assert_eq!(seen, (1..=25).collect::<Vec<_>>());
        assert_eq!(names, ["1,10", "11,20", "21,25"]);

        assert_eq!(
            log.section(SectionId { first: 0, last: 99 })
                .unwrap()
                .items
                .len(),
            10
        );
        assert_eq!(
            log.section(SectionId { first: 3, last: 5 })
                .unwrap()
                .next_id
                .unwrap()
                .to_string(),
            "6,8"
        );
        let empty = log
            .section(SectionId {
                first: 26,
                last: 35,
            })
            .unwrap();
        assert_eq!(
            (empty.id, empty.items.len(), empty.next_id),
            (None, 0, None)
        );
        assert!(
            log.section(SectionId { first: 9, last: 3 })
                .unwrap()
                .items
                .is_empty()
        );
        assert!(
            log.section(SectionId {
                first: 0,
                last: u64::MAX
            })
            .is_ok()
        );

        let too_many = log.select(&SelectNotifications::first(11)).unwrap_err();
        assert!(matches!(
            too_many,
            Error::SectionSize { found: 11, max: 10 }
        ));
        let topics = SelectNotifications::first(2)
            .after(1)
            .topics(topics_of::<DogEvent>().iter());
        assert_eq!(log.select(&topics).unwrap().len(), 2);
    }
}

#[test]
fn a_subscription_shows_saved_events_that_the_mapper_decodes() {
    for app in applications() {
        let mut subscription = app.subscribe(0, &["dog.trick-added"]).unwrap();
        app.save(&mut fido(&app)).unwrap();
        let shown = subscription
            .next_timeout(Duration::from_secs(20))
            .unwrap()
            .unwrap();
        assert_eq!(
            app.mapper().decode::<DogEvent>(&shown.event).unwrap(),
            DogEvent::trick_added("roll over")
        );
        app.close().unwrap();
        assert!(subscription.next().is_none());
    }
}

#[test]
fn a_closed_application_saves_nothing_and_keeps_the_events_pending() {
    for app in applications() {
        let mut dog = fido(&app);
        app.close().unwrap();
        app.close().unwrap();
        let refused = app.save(&mut dog).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Persistence {
                    source: PersistenceError::Closed,
                    ..
                }
            ),
            "{refused:?}"
        );
        assert_eq!(dog.pending().len(), 2);
    }
}

#[test]
fn ids_are_random_or_ordered() {
    let app = applications().next().unwrap();
    let version = |id: AggregateId| id.as_uuid().unwrap().get_version_num();
    assert_eq!(
        (version(app.new_id()), version(app.new_ordered_id())),
        (4, 7)
    );
    assert_ne!(app.new_id(), app.new_id());
    assert_ne!(app.new_ordered_id(), app.new_ordered_id());
}

#[test]
fn an_option_out_of_range_is_refused() {
    let refused = Application::builder(Arc::new(MemoryRecorder::new()))
        .section_size(0)
        .build()
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::InvalidOption {
            option: "section_size",
            found: 0,
            min: 1
        }
    ));
}

#[test]
fn events_of_an_aggregate_are_read_decoded_from_either_end() {
    for app in applications() {
        let mut dog = fido(&app);
        dog.trigger(DogEvent::trick_added("sit"));
        app.save(&mut dog).unwrap();
        let read = |select| {
            let events = app.repository().events::<DogEvent>(dog.id(), select);
            let events = events.unwrap().into_iter();
            events
                .map(|event| (event.version, event.event))
                .collect::<Vec<_>>()
        };
        let all = SelectEvents::all;
        assert_eq!(read(all().limit(1)), [(1, DogEvent::registered("Fido"))]);
        let newest = [(3, "sit"), (2, "roll over")];
        let newest = newest.map(|(version, trick)| (version, DogEvent::trick_added(trick)));
        assert_eq!(read(all().gt(1).desc()), newest);
        assert_eq!(read(all().lte(2).desc().limit(1)), newest[1..]);
        assert_eq!(read(all().gt(3)), []);

        let other = app.repository().events::<CourseEvent>(dog.id(), all());
        assert!(matches!(
            other,
            Err(Error::Persistence {
                source: PersistenceError::UnknownTopic { .. },
                ..
            })
        ));
        app.close().unwrap();
        let closed = app.repository().events::<DogEvent>(dog.id(), all());
        assert!(closed.unwrap_err().is_closed());
    }
}

#[test]
fn a_log_of_events_lists_what_is_saved_with_it() {
    for app in applications() {
        let list = AggregateId::text("dogs").unwrap();
        let log = || app.repository().event_log::<DogEvent>(&list).unwrap();
        for name in ["Fido", "Rex"] {
            let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered(name)).unwrap();
            let mut dogs: Root<EventLog<DogEvent>> = log();
            dogs.trigger(DogEvent::registered(name));
            app.save((&mut dog, &mut dogs)).unwrap();
        }
        assert_eq!(log().version(), 2);
        let listed = app
            .repository()
            .events::<DogEvent>(&list, SelectEvents::all());
        let listed = listed.unwrap().into_iter().map(|listed| listed.event);
        assert!(listed.eq(["Fido", "Rex"].map(DogEvent::registered)));

        // Neither is stored when somebody else has added to it.
        let (mut mine, mut theirs) = (log(), log());
        theirs.trigger(DogEvent::registered("Bello"));
        app.save(&mut theirs).unwrap();
        let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Lassie")).unwrap();
        mine.trigger(DogEvent::registered("Lassie"));
        let refused = app.save((&mut dog, &mut mine)).unwrap_err();
        assert!(refused.is_conflict());
        assert!(!app.repository().contains(dog.id()).unwrap());
    }
}
