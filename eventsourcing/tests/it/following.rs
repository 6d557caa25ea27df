//! Following events decoded, and fetching them section by section from elsewhere.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    AggregateId, Application, ApplicationRecorder, Durability, Error, Event, LogRecorder,
    MemoryRecorder, PersistenceError, Root, Section, SectionId, StoredEvent,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::school::{Course, CourseEvent, Dog, DogEvent};

fn applications() -> [Application; 2] {
    let log = annals_engine::Log::in_memory().unwrap();
    let recorders: [Arc<dyn ApplicationRecorder>; 2] = [
        Arc::new(MemoryRecorder::new()),
        Arc::new(LogRecorder::from(log)),
    ];
    recorders.map(|recorder| Application::builder(recorder).build().unwrap())
}

fn fido(app: &Application) -> Root<Dog> {
    let mut fido = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    let metadata = [("user".to_owned(), "ann".to_owned())].into();
    fido.trigger_with(DogEvent::trick_added("sit"), metadata);
    fido
}

#[test]
fn events_of_one_type_are_followed_with_their_places() {
    for app in applications() {
        let mut followed = app.subscribe_events::<DogEvent>(0).unwrap();
        let mut course = Root::<Course>::new(app.new_id(), CourseEvent::Opened).unwrap();
        let mut dog = fido(&app);
        app.save((&mut course, &mut dog)).unwrap();
        let seen: Vec<_> = followed.by_ref().take(2).map(Result::unwrap).collect();
        assert_eq!((seen[0].position, seen[1].position), (2, 3));
        let second = &seen[1].event;
        assert_eq!(second.event, DogEvent::trick_added("sit"));
        assert_eq!((&second.aggregate_id, second.version), (dog.id(), 2));
        assert_eq!(
            (second.time(), second.metadata["user"].as_str()),
            (dog.modified_at(), "ann")
        );
        assert_eq!(followed.position(), 3);

        let mut behind = app.subscribe_events::<DogEvent>(2).unwrap();
        assert_eq!(behind.next().unwrap().unwrap().position, 3);
        assert!(behind.next_timeout(Duration::from_millis(1)).is_none());
        behind.stop_handle().stop();
        assert!(behind.next().is_none() && behind.is_stopped());
    }
}

#[test]
fn what_cannot_be_decoded_is_an_error_in_its_place_and_the_next_follows() {
    for app in applications() {
        let id = AggregateId::text("dog-1").unwrap();
        let broken = StoredEvent::new(Uuid::from_u128(1), "Registered", r#"{"name":7}"#);
        let loose = StoredEvent::new(Uuid::from_u128(2), "Registered", r#"{"name":"Rex"}"#);
        app.recorder()
            .insert_events(vec![broken.of(id, 1), loose], Durability::Sync)
            .unwrap();
        app.save(&mut fido(&app)).unwrap();
        let mut followed = app.subscribe_events::<DogEvent>(0).unwrap();
        let Some(Err(Error::Undecodable {
            position: 1,
            source: PersistenceError::Decode { .. },
        })) = followed.next()
        else {
            panic!("its payload is of another shape")
        };
        let Some(Err(Error::Undecodable {
            position: 2,
            source: PersistenceError::NoAggregate { .. },
        })) = followed.next()
        else {
            panic!("it belongs to no aggregate")
        };
        let third = followed.next().unwrap().unwrap();
        assert_eq!(
            (third.position, third.event.event),
            (3, DogEvent::registered("Fido"))
        );
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Nameless {
    A { a: u8 },
}

impl Event for Nameless {}

#[test]
fn a_type_without_topics_cannot_be_followed() {
    let refused = Application::in_memory()
        .subscribe_events::<Nameless>(0)
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::Persistence {
            source: PersistenceError::NoTopic { .. },
            ..
        }
    ));
}

#[test]
fn a_follower_elsewhere_reads_sections_as_json() {
    for app in applications() {
        let mut dog = fido(&app);
        (3..=25).for_each(|n| dog.trigger(DogEvent::trick_added(&n.to_string())));
        app.save(&mut dog).unwrap();

        // What a server would answer.
        let fetch = |name: &str| {
            let section = app
                .notification_log()
                .section(name.parse().unwrap())
                .unwrap();
            serde_json::to_string(&section).unwrap()
        };
        let (mut name, mut tricks) = (Some("1,10".to_owned()), Vec::new());
        while let Some(next) = name {
            let section: Section = serde_json::from_str(&fetch(&next)).unwrap();
            for item in section.items {
                if let DogEvent::TrickAdded { trick } = app.mapper().decode(&item.event).unwrap() {
                    tricks.push(trick);
                }
            }
            name = section.next_id.map(|id| id.to_string());
        }
        assert_eq!((tricks.len(), tricks[23].as_str()), (24, "25"));

        let json: serde_json::Value = serde_json::from_str(&fetch("24,33")).unwrap();
        assert_eq!(
            (&json["id"], &json["next_id"]),
            (&"24,25".into(), &serde_json::Value::Null)
        );
        assert_eq!(json["items"][0]["position"], 24);
        assert!(serde_json::from_str::<SectionId>("\"1-10\"").is_err());
    }
}
