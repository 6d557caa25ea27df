//! What is refused on the way into a store, as an application tells it: typed, with nothing stored and nothing lost.
//!
//! Beside it: wrong keys and damage in `persistence/encryption/tests.rs`, bombs in `persistence/compressor`, unknown events
//! and missing upcasters in `persistence/schema.rs`, gaps, conflicts and closed applications in `application`, policies
//! that panic in `systems`, variables in `environment`.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    Aggregate, AggregateId, Application, Cipher, CipherError, Compressor, Encryption, Error, Event,
    FollowOptions, InflateError, KeyRing, KeyedCipher, Mapper, MemoryRecorder, Notified,
    PersistenceError, Policy, ProcessApplication, ProjectionError, Retry, Root, Runner,
    RunnerOptions, SecretKey, SectionId, SingleThreadedRunner, System, SystemError, TranscodeError,
    policy,
};
use serde::{Deserialize, Serialize};

use crate::school::{Dog, DogEvent};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum AtlasEvent {
    Drawn {
        /// JSON has no names for fields but text.
        heights: BTreeMap<(i32, i32), i32>,
    },
}

impl Event for AtlasEvent {}

struct Atlas;

impl Aggregate for Atlas {
    type Event = AtlasEvent;

    fn start(_: &AtlasEvent) -> Option<Self> {
        Some(Self)
    }

    fn apply(&mut self, _: &AtlasEvent) {}
}

fn application(mapper: Mapper) -> Application {
    let builder = Application::builder(Arc::new(MemoryRecorder::new()));
    builder.mapper(mapper).build().unwrap()
}

fn fido(app: &Application) -> Root<Dog> {
    Root::new(app.new_id(), DogEvent::registered(&"Fido".repeat(9))).unwrap()
}

/// Why a save was refused, which has left everything as it was.
fn refusal<A: Aggregate>(app: &Application, mut root: Root<A>) -> PersistenceError {
    let pending = root.pending().len();
    let refused = app.save(&mut root).unwrap_err();
    assert_eq!(root.pending().len(), pending);
    assert_eq!(app.recorder().max_position().unwrap(), None);
    assert!(!refused.is_conflict() && !refused.is_closed());
    assert!(refused.source().is_some());
    match refused {
        Error::Persistence { source, .. } => source,
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn an_event_that_the_format_cannot_write_is_told_by_name() {
    let heights = BTreeMap::from([((1, 2), 3)]);
    let drawn = AtlasEvent::Drawn { heights };
    let atlas = || Root::<Atlas>::new(AggregateId::text("atlas").unwrap(), drawn.clone()).unwrap();
    let refused = refusal(&application(Mapper::json()), atlas());
    assert!(
        matches!(refused, PersistenceError::Encode { topic: "Drawn", .. }),
        "{refused:?}"
    );
    assert!(refused.source().is_some());

    let other_format = application(Mapper::messagepack());
    other_format.save(&mut atlas()).unwrap();
}

#[test]
fn a_compressor_or_cipher_that_refuses_keeps_the_event_from_being_stored() {
    #[derive(Debug)]
    struct Refusing;

    impl Compressor for Refusing {
        fn number(&self) -> u8 {
            9
        }

        fn compress(&self, _: &[u8]) -> Result<Vec<u8>, TranscodeError> {
            Err("no".into())
        }

        fn decompress(&self, _: &[u8], _: usize) -> Result<Vec<u8>, InflateError> {
            unreachable!("nothing was compressed")
        }
    }

    impl Cipher for Refusing {
        fn number(&self) -> u8 {
            9
        }

        fn with_key(&self, _: &[u8; 32]) -> Box<dyn KeyedCipher> {
            Box::new(Self)
        }
    }

    impl KeyedCipher for Refusing {
        fn encrypt(&self, _: &[u8; 12], _: &[u8], _: &mut [u8]) -> Result<[u8; 16], CipherError> {
            Err(CipherError)
        }

        fn decrypt(
            &self,
            _: &[u8; 12],
            _: &[u8],
            _: &mut [u8],
            _: &[u8; 16],
        ) -> Result<(), CipherError> {
            unreachable!("nothing was encrypted")
        }
    }

    let ring = KeyRing::new(1, SecretKey::new([1; 32])).unwrap();
    for mapper in [
        Mapper::json().compressor(Refusing),
        Mapper::json().cipher(Encryption::new(ring).with(Refusing)),
    ] {
        let app = application(mapper);
        let refused = refusal(&app, fido(&app));
        let PersistenceError::Seal { topic, source } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(topic, "Registered");
        assert!(source.to_string().contains("no") || source.is::<CipherError>());
    }
}

#[test]
fn the_name_of_a_section_that_is_none_is_told() {
    for wrong in ["", "1", "a,b", "18446744073709551616,1"] {
        let refused = wrong.parse::<SectionId>().unwrap_err();
        assert!(
            matches!(&refused, Error::SectionId { found } if found == wrong),
            "{refused:?}"
        );
    }
}

type Applications = BTreeMap<String, Arc<ProcessApplication>>;

/// Two applications that do the same upon each other's events.
fn echoing<P: Policy>(policy: impl Fn() -> P) -> (System, Applications) {
    let system = System::builder()
        .process("here", policy())
        .process("there", policy())
        .pipe(["here", "there", "here"])
        .build()
        .unwrap();
    let open = |name: &str| {
        let application = ProcessApplication::new(Arc::new(MemoryRecorder::new())).unwrap();
        (name.to_owned(), Arc::new(application))
    };
    (system, ["here", "there"].map(open).into())
}

fn run(system: &System, members: &Applications) -> SingleThreadedRunner {
    let options = RunnerOptions::new().follow(FollowOptions::new().retry(Retry::never()));
    let open = |name: &str| Ok(members[name].clone().into());
    SingleThreadedRunner::start(system, options, open).unwrap()
}

#[test]
fn applications_that_never_come_to_rest_are_told() {
    let (system, members) = echoing(|| {
        policy(|event: &Notified<DogEvent>, work| {
            work.record(&event.event)?;
            Ok(())
        })
    });
    let runner = run(&system, &members);
    let here = &members["here"];
    here.save(&mut fido(here)).unwrap();
    let refused = runner.settle(Duration::from_millis(50)).unwrap_err();
    assert!(
        matches!(refused, SystemError::NotAtRest { .. }),
        "{refused:?}"
    );
}

#[test]
fn an_aggregate_that_is_added_twice_to_one_work_is_told_and_loses_no_place() {
    let (system, members) = echoing(|| {
        policy(|event: &Notified<DogEvent>, work| {
            let root = || Root::<Dog>::new(AggregateId::text("copy")?, event.event.clone());
            work.add(root()?)?;
            work.add(root()?)?;
            Ok(())
        })
    });
    let runner = run(&system, &members);
    let here = &members["here"];
    here.save(&mut fido(here)).unwrap();
    let refused = runner.settle(Duration::from_secs(20)).unwrap_err();
    let SystemError::Follower(ProjectionError::Event {
        position: 1,
        source,
        ..
    }) = &refused
    else {
        panic!("{refused:?}")
    };
    let told = source.downcast_ref::<Error>();
    assert!(
        matches!(told, Some(Error::AlreadyAdded { .. })),
        "{source:?}"
    );
    assert_eq!(members["there"].recorder().max_position().unwrap(), None);
}
