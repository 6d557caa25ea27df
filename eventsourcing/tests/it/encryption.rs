//! What encryption promises of a whole application: what lies on the disk, what is left of an erased aggregate, and
//! that a save can be made again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    Aggregate, AggregateId, Application, ApplicationRecorder, CacheOptions, DcbApplication,
    DecisionModel, DomainEvent, Durability, Encryption, Error, Event, KeyRing, LogRecorder, Mapper,
    MemoryKeyStore, MemoryRecorder, MemorySnapshots, Metadata, PersistenceError, Query, QueryItem,
    Root, SecretKey, SelectNotifications, SnapshotPolicy, StoredEvent, Zstd,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::stores::recorders;

/// Nothing of it compresses to nothing, and all of it is looked for on the disk.
const SECRET: &str = "Hyperaldosteronism-4471";

#[derive(Debug, PartialEq)]
struct Patient {
    diagnoses: Vec<String>,
    is_erased: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PatientEvent {
    Admitted {
        diagnosis: String,
    },
    Diagnosed {
        diagnosis: String,
    },
    #[serde(rename = "$erased")]
    Erased,
}

impl Event for PatientEvent {}

impl Aggregate for Patient {
    type Event = PatientEvent;

    fn start(event: &PatientEvent) -> Option<Self> {
        let mut patient = Self {
            diagnoses: Vec::new(),
            is_erased: false,
        };
        patient.apply(event);
        Some(patient)
    }

    fn apply(&mut self, event: &PatientEvent) {
        match event {
            PatientEvent::Admitted { diagnosis } | PatientEvent::Diagnosed { diagnosis } => {
                self.diagnoses.push(diagnosis.clone());
            }
            PatientEvent::Erased => self.is_erased = true,
        }
    }
}

/// The same events, read by a program that has no words for erased ones.
#[derive(Debug, Serialize, Deserialize)]
enum Strict {
    Admitted { diagnosis: String },
    Diagnosed { diagnosis: String },
}

impl Event for Strict {}

fn ring() -> KeyRing {
    KeyRing::new(1, SecretKey::new([7; 32])).unwrap()
}

fn mapper() -> Mapper {
    let encryption = Encryption::new(ring()).key_per_aggregate(MemoryKeyStore::new());
    Mapper::json().compressor(Zstd::new()).cipher(encryption)
}

fn application(recorder: Arc<dyn ApplicationRecorder>, mapper: Mapper) -> Application {
    Application::builder(recorder)
        .mapper(mapper)
        .build()
        .unwrap()
}

fn admit(app: &Application, diagnosis: &str) -> Root<Patient> {
    let event = PatientEvent::Admitted {
        diagnosis: diagnosis.to_owned(),
    };
    let mut patient = Root::<Patient>::new(app.new_id(), event).unwrap();
    patient.trigger(PatientEvent::Diagnosed {
        diagnosis: format!("{diagnosis}, again {diagnosis}"),
    });
    app.save(&mut patient).unwrap();
    patient
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks at the files as a thief would"
)]
fn is_on_disk(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_on_disk(&path, needle);
        }
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn nothing_of_the_content_lies_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let plain = application(
        Arc::new(LogRecorder::open(dir.path().join("plain")).unwrap()),
        Mapper::json(),
    );
    admit(&plain, SECRET);
    plain.close().unwrap();
    assert!(
        is_on_disk(dir.path(), SECRET.as_bytes()),
        "the search finds it"
    );

    let sealed = dir.path().join("sealed");
    let app = application(Arc::new(LogRecorder::open(&sealed).unwrap()), mapper());
    let patient = admit(&app, SECRET);
    let loaded = app.repository().get::<Patient>(patient.id()).unwrap();
    assert_eq!(loaded.diagnoses[0], SECRET);
    app.close().unwrap();
    assert!(!is_on_disk(&sealed, SECRET.as_bytes()));
    assert!(
        !is_on_disk(&sealed, b"diagnosis"),
        "nor the names of fields"
    );
}

#[test]
fn an_erased_aggregate_is_told_and_replay_goes_on_behind_it() {
    for recorder in recorders() {
        let app = application(recorder, mapper());
        let (mut erased, other) = (admit(&app, "one"), admit(&app, "other"));
        assert!(app.mapper().erase_key(erased.id()).unwrap());

        // Who has a word for it, gets that.
        let left = app.repository().get::<Patient>(erased.id()).unwrap();
        assert_eq!((left.version(), left.is_erased), (2, true));
        assert_eq!(left.diagnoses, Vec::<String>::new());

        // Who has not, is told, and goes on.
        let mut subscription = app.subscribe(0, &[]).unwrap();
        let mut answers = Vec::new();
        for _ in 0..4 {
            let item = subscription.next_timeout(Duration::from_secs(10)).unwrap();
            answers.push(app.mapper().decode::<Strict>(&item.unwrap().event));
        }
        assert_eq!(subscription.position(), 4);
        for (answer, is_erased) in answers.iter().zip([true, true, false, false]) {
            let told = matches!(
                answer,
                Err(PersistenceError::KeyErased { aggregate_id }) if aggregate_id == erased.id()
            );
            assert_eq!(
                (told, answer.is_err()),
                (is_erased, is_erased),
                "{answer:?}"
            );
        }
        let loaded = app.repository().get::<Patient>(other.id()).unwrap();
        assert!(!loaded.is_erased);

        // It gets no new events either.
        erased.trigger(PatientEvent::Erased);
        let refused = app.save(&mut erased).unwrap_err();
        let Error::Persistence { source, .. } = refused else {
            panic!("{refused:?}")
        };
        assert!(matches!(source, PersistenceError::KeyErased { .. }));
    }
}

#[test]
fn nothing_erased_is_in_a_cache() {
    let by_mapper = |app: &Application, id: &AggregateId| app.mapper().erase_key(id).unwrap();
    for options in [
        CacheOptions::lru(10),
        CacheOptions::unbounded().fast_forward(false),
    ] {
        let app = Application::builder(Arc::new(MemoryRecorder::new()))
            .mapper(mapper())
            .cache(options)
            .build()
            .unwrap();
        let look = |id: &AggregateId| {
            let read = app
                .repository()
                .read::<Patient, _>(id, |patient| (patient.diagnoses.len(), patient.is_erased));
            read.unwrap()
        };
        let (one, other) = (admit(&app, "one"), admit(&app, "other"));
        assert_eq!([look(one.id()), look(other.id())], [(2, false), (2, false)]);
        assert!(by_mapper(&app, one.id()));
        assert_eq!([look(one.id()), look(other.id())], [(0, true), (2, false)]);
        // One that is in use meanwhile does not come back.
        let in_use = app.repository().read::<Patient, _>(other.id(), |patient| {
            by_mapper(&app, other.id());
            look(one.id());
            patient.diagnoses.len()
        });
        assert_eq!(in_use.unwrap(), 2);
        assert_eq!(look(other.id()), (0, true));
    }
}

#[test]
fn a_save_that_is_made_again_is_recognised() {
    let recorder = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
    let event = DomainEvent {
        aggregate_id: AggregateId::text("ann").unwrap(),
        version: 1,
        event_id: Some(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        time_us: None,
        metadata: Metadata::new(),
        event: PatientEvent::Admitted {
            diagnosis: SECRET.repeat(4),
        },
    };
    let insert = |mapper: &Mapper, event: &DomainEvent<PatientEvent>| {
        let stored: StoredEvent = mapper.to_stored(event, Uuid::nil()).unwrap();
        annals::AggregateRecorder::insert_events(&recorder, vec![stored], Durability::Sync)
    };
    let mapper = Mapper::json().compressor(Zstd::new()).cipher(ring());
    let first = insert(&mapper, &event).unwrap();
    assert_eq!(insert(&mapper, &event).unwrap(), first);
    // Whatever has changed in between about how small it gets.
    let uncompressed = Mapper::json().cipher(ring());
    assert_eq!(insert(&uncompressed, &event).unwrap(), first);
    // Other content under the same name is no repetition.
    let other = DomainEvent {
        event: PatientEvent::Erased,
        ..event
    };
    assert!(insert(&mapper, &other).is_err());
}

/// What is known on a ward; its state is kept after each event.
#[derive(Debug, Default)]
struct Ward(Vec<String>);

impl DecisionModel for Ward {
    type Event = PatientEvent;

    const SNAPSHOT: Option<SnapshotPolicy> = Some(SnapshotPolicy::new("ward").every(1));

    fn boundary(&self) -> Query {
        QueryItem::new().tag("ward:3").into()
    }

    fn tags(&self) -> Vec<String> {
        vec!["ward:3".to_owned()]
    }

    fn apply(&mut self, event: &PatientEvent) {
        if let PatientEvent::Diagnosed { diagnosis } = event {
            self.0.push(diagnosis.clone());
        }
    }

    fn state(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.0)
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        self.0 = serde_json::from_value(state)?;
        Ok(())
    }
}

#[test]
fn decisions_without_aggregates_and_their_snapshots_are_sealed_too() {
    let (recorder, snapshots) = (
        Arc::new(MemoryRecorder::new()),
        Arc::new(MemoryRecorder::new()),
    );
    let app = DcbApplication::builder(recorder.clone())
        .snapshots(snapshots.clone())
        .mapper(mapper().only_encrypted())
        .build()
        .unwrap();
    let expected = [SECRET.to_owned(), SECRET.repeat(2)];
    for diagnosis in &expected {
        let mut ward = app.load(Ward::default()).unwrap();
        ward.trigger(PatientEvent::Diagnosed {
            diagnosis: diagnosis.clone(),
        })
        .unwrap();
        app.save(&mut ward).unwrap();
    }
    assert_eq!(app.load(Ward::default()).unwrap().0, expected);
    let shown = format!("{recorder:?} {snapshots:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let all = SelectNotifications::first(10);
    for notification in recorder.select_notifications(&all).unwrap() {
        let encoding = notification.event.encoding.unwrap();
        assert_eq!(encoding.key_id, 1);
        assert!(
            !notification
                .event
                .payload
                .windows(10)
                .any(|window| SECRET.as_bytes().starts_with(window))
        );
    }

    // Only a program with the key goes on from the snapshot, and only it reads the events.
    let without = DcbApplication::builder(recorder)
        .snapshots(snapshots)
        .build()
        .unwrap();
    assert!(without.load(Ward::default()).is_err());
}

/// What is known of all patients.
#[derive(Debug, Default)]
struct Hospital(Vec<String>);

impl DecisionModel for Hospital {
    type Event = PatientEvent;

    const SNAPSHOT: Option<SnapshotPolicy> = Some(SnapshotPolicy::new("hospital").every(1));

    fn boundary(&self) -> Query {
        QueryItem::new().topic("Diagnosed").into()
    }

    fn apply(&mut self, event: &PatientEvent) {
        if let PatientEvent::Diagnosed { diagnosis } = event {
            self.0.push(diagnosis.clone());
        }
    }

    fn state(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.0)
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        self.0 = serde_json::from_value(state)?;
        Ok(())
    }
}

#[test]
fn nothing_erased_is_in_a_snapshot_of_a_model() {
    let (recorder, mapper) = (Arc::new(MemoryRecorder::new()), mapper());
    let patients = application(recorder.clone(), mapper.clone());
    let decisions = DcbApplication::builder(recorder)
        .snapshots(Arc::new(MemorySnapshots::new()))
        .mapper(mapper.clone())
        .build()
        .unwrap();
    let patient = admit(&patients, SECRET);
    assert_eq!(decisions.load(Hospital::default()).unwrap().0.len(), 1);
    mapper.erase_key(patient.id()).unwrap();
    let left = decisions.load(Hospital::default()).unwrap();
    assert_eq!(left.0, Vec::<String>::new());
}
