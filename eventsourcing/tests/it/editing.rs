//! Load, decide, save: with a cache and without, alone and overtaken.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use annals::{
    AggregateId, Application, ApplicationBuilder, CacheOptions, Durability, Error, LogRecorder,
    MemoryRecorder, PersistenceError, Retries, Root,
};
use uuid::Uuid;

use crate::school::{Course, CourseEvent, Dog, DogEvent};
use crate::watched::Watched;

/// Recorders of every kind that count what is asked of them.
fn recorders() -> impl Iterator<Item = Arc<Watched>> {
    crate::stores::recorders().map(|recorder| Watched::of(recorder))
}

fn build(
    recorder: &Arc<Watched>,
    set: impl FnOnce(ApplicationBuilder) -> ApplicationBuilder,
) -> Application {
    let retries = Retries {
        delay: Duration::ZERO,
        ..Retries::default()
    };
    let builder = Application::builder(recorder.clone()).retries(retries);
    set(builder).build().unwrap()
}

fn cached(recorder: &Arc<Watched>) -> Application {
    build(recorder, |builder| builder.cache(CacheOptions::lru(10)))
}

fn trusting(recorder: &Arc<Watched>) -> Application {
    build(recorder, |builder| {
        builder.cache(CacheOptions::lru(10).fast_forward(false))
    })
}

fn fido(app: &Application) -> AggregateId {
    let fido = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    app.add(fido).unwrap()
}

fn teach(trick: &str) -> impl FnMut(&mut Root<Dog>) -> Result<usize, Error> {
    let trick = trick.to_owned();
    move |dog| {
        dog.trigger(DogEvent::trick_added(&trick));
        Ok(dog.tricks.len())
    }
}

#[derive(Debug)]
enum Refusal {
    Tired,
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Triggers an event first: what was decided before a refusal must not stay.
fn teach_two_at_most(dog: &mut Root<Dog>) -> Result<(), Refusal> {
    dog.trigger(DogEvent::trick_added("another"));
    match dog.tricks.len() {
        0..=2 => Ok(()),
        _ => Err(Refusal::Tired),
    }
}

#[test]
fn an_edit_is_saved_and_answers_what_was_decided() {
    for recorder in recorders() {
        for app in [build(&recorder, |builder| builder), cached(&recorder)] {
            let id = fido(&app);
            assert_eq!(app.edit(&id, teach("sit")).unwrap(), 1);
            let edited = app
                .edit_with(&id, Durability::Buffered, teach("roll over"))
                .unwrap();
            assert_eq!((edited.value, edited.recordings.len()), (2, 1));
            assert_eq!(edited.recordings[0].version, Some(3));
            let dog = app.repository().get::<Dog>(&id).unwrap();
            assert_eq!((dog.tricks.len(), dog.version()), (2, 3));
        }
    }
}

#[test]
fn an_edit_without_events_saves_nothing() {
    for recorder in recorders() {
        let app = cached(&recorder);
        let id = fido(&app);
        let inserts = recorder.inserts();
        let name = app.edit::<Dog, _>(&id, |dog| Ok::<_, Error>(dog.name.clone()));
        assert_eq!(name.unwrap(), "Fido");
        assert_eq!(recorder.inserts(), inserts);
    }
}

#[test]
fn a_refusal_comes_back_as_it_is_and_leaves_nothing_in_store_or_cache() {
    for recorder in recorders() {
        for app in [
            build(&recorder, |builder| builder),
            cached(&recorder),
            trusting(&recorder),
        ] {
            let id = fido(&app);
            app.edit(&id, teach_two_at_most).unwrap();
            app.edit(&id, teach_two_at_most).unwrap();
            for _ in 0..2 {
                let refused = app.edit(&id, teach_two_at_most).unwrap_err();
                assert!(matches!(refused, Refusal::Tired), "{refused:?}");
            }
            let seen = app
                .repository()
                .read::<Dog, _>(&id, |dog| (dog.tricks.len(), dog.version()));
            assert_eq!(seen.unwrap(), (2, 3));
        }
    }
}

#[test]
fn an_edit_of_an_unknown_aggregate_is_told_through_the_callers_error() {
    for recorder in recorders() {
        let app = cached(&recorder);
        let refused = app.edit(&app.new_id(), teach_two_at_most).unwrap_err();
        assert!(
            matches!(&refused, Refusal::Store(error) if error.is_not_found()),
            "{refused:?}"
        );
    }
}

#[test]
fn an_edit_that_was_overtaken_decides_again_over_the_new_state() {
    for recorder in recorders() {
        for app in [
            build(&recorder, |builder| builder),
            cached(&recorder),
            trusting(&recorder),
        ] {
            let (other, calls) = (build(&recorder, |builder| builder), Cell::new(0));
            let id = fido(&app);
            let tricks = app.edit::<Dog, _>(&id, |dog| {
                calls.set(calls.get() + 1);
                if calls.get() <= 2 {
                    other.edit(&id, teach("faster"))?;
                }
                teach("slower")(dog)
            });
            assert_eq!((tricks.unwrap(), calls.get()), (3, 3));
            let dog = app.repository().get::<Dog>(&id).unwrap();
            assert_eq!(dog.tricks, ["faster", "faster", "slower"]);
        }
    }
}

#[test]
fn an_edit_that_is_always_overtaken_says_so_and_stores_nothing() {
    for recorder in recorders() {
        let (app, other) = (cached(&recorder), build(&recorder, |builder| builder));
        let id = fido(&app);
        let refused = app
            .edit::<Dog, _>(&id, |dog| {
                other.edit(&id, teach("faster"))?;
                teach("never")(dog)
            })
            .unwrap_err();
        assert!(refused.is_conflict(), "{refused:?}");
        let Error::Contended {
            attempts: 10,
            source: PersistenceError::VersionConflict { .. },
            ..
        } = refused
        else {
            panic!("{refused:?}")
        };
        let dog = app.repository().get::<Dog>(&id).unwrap();
        assert_eq!(dog.tricks, ["faster"; 10]);
    }
}

#[test]
fn no_edit_of_many_threads_is_lost() {
    const THREADS: u32 = 4;
    const EDITS: u32 = 50;
    for recorder in recorders() {
        for options in [
            None,
            Some(CacheOptions::unbounded()),
            Some(CacheOptions::unbounded().fast_forward(false)),
            Some(CacheOptions::lru(1).fast_forward_skipping(true)),
        ] {
            let app = build(&recorder, |builder| {
                let builder = builder.retries(Retries {
                    attempts: u32::MAX,
                    delay: Duration::from_micros(50),
                    ..Retries::default()
                });
                match options {
                    Some(options) => builder.cache(options),
                    None => builder,
                }
            });
            let (id, next) = (fido(&app), AtomicU32::new(0));
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..EDITS {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            app.edit(&id, teach(&number.to_string())).unwrap();
                        }
                    });
                }
            });
            let dog = app.repository().get::<Dog>(&id).unwrap();
            let mut tricks: Vec<u32> = dog
                .tricks
                .iter()
                .map(|trick| trick.parse().unwrap())
                .collect();
            tricks.sort_unstable();
            assert_eq!(tricks, Vec::from_iter(0..THREADS * EDITS));
        }
    }
}

#[test]
fn an_edit_within_an_edit_of_the_same_aggregate_does_not_lock_up() {
    for recorder in recorders() {
        for app in [cached(&recorder), trusting(&recorder)] {
            let (id, nested) = (fido(&app), Cell::new(false));
            app.edit::<Dog, _>(&id, |dog| {
                if !nested.replace(true) {
                    app.edit(&id, teach("within"))?;
                }
                teach("around")(dog)
            })
            .unwrap();
            let seen = app
                .repository()
                .read::<Dog, _>(&id, |dog| dog.tricks.clone())
                .unwrap();
            assert_eq!(seen, ["within", "around"]);
        }
    }
}

#[test]
fn edits_that_use_each_others_aggregate_do_not_lock_up() {
    for recorder in recorders() {
        let app = cached(&recorder);
        let ids = [fido(&app), fido(&app)];
        std::thread::scope(|scope| {
            for (own, other) in [(&ids[0], &ids[1]), (&ids[1], &ids[0])] {
                let app = &app;
                scope.spawn(move || {
                    app.edit::<Dog, _>(own, |dog| {
                        std::thread::sleep(Duration::from_millis(20));
                        app.edit(other, teach("theirs"))?;
                        teach("own")(dog)
                    })
                    .unwrap();
                });
            }
        });
        for id in &ids {
            let dog = app.repository().get::<Dog>(id).unwrap();
            assert!(dog.tricks.contains(&"own".to_owned()));
        }
    }
}

#[test]
fn a_panic_in_a_decision_leaves_the_aggregate_usable() {
    for recorder in recorders() {
        let app = cached(&recorder);
        let id = fido(&app);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            app.edit::<Dog, _>(&id, |dog| -> Result<(), Error> {
                dog.trigger(DogEvent::trick_added("lost"));
                panic!("a bug in a rule")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(app.edit(&id, teach("sit")).unwrap(), 1);
    }
}

#[test]
fn a_cached_aggregate_is_not_read_again() {
    for recorder in recorders() {
        for app in [cached(&recorder), trusting(&recorder)] {
            let id = fido(&app);
            let before = recorder.reads();
            for _ in 0..5 {
                app.edit(&id, teach("sit")).unwrap();
                app.repository().read::<Dog, _>(&id, |_| ()).unwrap();
                app.repository().get_cached::<Dog>(&id).unwrap();
            }
            assert_eq!(recorder.reads(), before);
            assert_eq!(app.edit(&id, teach("sit")).unwrap(), 6);
        }
    }
}

#[test]
fn a_cached_aggregate_catches_up_with_what_others_saved() {
    for recorder in recorders() {
        let (app, other) = (cached(&recorder), build(&recorder, |builder| builder));
        let id = fido(&app);
        other.edit(&id, teach("by others")).unwrap();
        let seen = app.repository().get_cached::<Dog>(&id).unwrap();
        assert_eq!((seen.version(), seen.tricks.len()), (2, 1));
        let mut same = app.repository().get::<Dog>(&id).unwrap();
        same.trigger(DogEvent::trick_added("saved"));
        app.save(&mut same).unwrap();
        assert_eq!(app.edit(&id, teach("sit")).unwrap(), 3);
    }
}

#[test]
fn a_trusted_cache_forgets_what_the_application_saves_otherwise() {
    for recorder in recorders() {
        let app = trusting(&recorder);
        let id = fido(&app);
        // While it is lent, and while it is not.
        app.repository()
            .read::<Dog, _>(&id, |_| {
                let mut same = app.repository().get::<Dog>(&id).unwrap();
                same.trigger(DogEvent::trick_added("while lent"));
                app.save(&mut same).unwrap();
            })
            .unwrap();
        let seen = |app: &Application| app.repository().get_cached::<Dog>(&id).unwrap().version();
        assert_eq!(seen(&app), 2);
        let mut same = app.repository().get::<Dog>(&id).unwrap();
        same.trigger(DogEvent::trick_added("while not"));
        app.save(&mut same).unwrap();
        assert_eq!(seen(&app), 3);
    }
}

#[test]
fn a_trusted_cache_believes_what_it_has_until_a_save_is_refused() {
    for recorder in recorders() {
        let (app, other) = (trusting(&recorder), build(&recorder, |builder| builder));
        let id = fido(&app);
        other.edit(&id, teach("by others")).unwrap();
        let seen = app.repository().get_cached::<Dog>(&id).unwrap();
        assert_eq!(seen.version(), 1);
        assert_eq!(app.edit(&id, teach("sit")).unwrap(), 2);
    }
}

#[test]
fn the_cache_keeps_the_aggregates_used_last() {
    for recorder in recorders() {
        let app = build(&recorder, |builder| builder.cache(CacheOptions::lru(2)));
        let ids = [fido(&app), fido(&app), fido(&app)];
        let reads = |id: &AggregateId| {
            let before = recorder.reads();
            app.repository().read::<Dog, _>(id, |_| ()).unwrap();
            recorder.reads() - before
        };
        assert_eq!(reads(&ids[2]), 0);
        assert_eq!(reads(&ids[1]), 0);
        assert_eq!(reads(&ids[0]), 1, "it had to go");
        assert_eq!(reads(&ids[2]), 1, "and so had this one then");
    }
}

#[test]
fn one_id_is_cached_for_each_type_apart() {
    let recorder = Watched::new(MemoryRecorder::new());
    let app = cached(&recorder);
    let id = fido(&app);
    let refused = app.repository().read::<Course, _>(&id, |_| ()).unwrap_err();
    assert!(matches!(refused, Error::Persistence { .. }), "{refused:?}");
    assert!(app.repository().read::<Dog, _>(&id, |_| ()).is_ok());
}

#[test]
fn adding_an_aggregate_that_is_there_is_a_conflict() {
    for recorder in recorders() {
        let app = cached(&recorder);
        let id = fido(&app);
        let again = Root::<Course>::new(id.clone(), CourseEvent::Opened).unwrap();
        assert!(app.add(again).unwrap_err().is_conflict());
        assert_eq!(app.edit(&id, teach("sit")).unwrap(), 1);
    }
}

#[test]
fn an_aggregate_is_loaded_as_it_was_at_a_time() {
    for recorder in recorders() {
        let app = build(&recorder, |builder| builder);
        let id = AggregateId::from(Uuid::from_u128(7));
        let mut dog = Root::<Dog>::new(id.clone(), DogEvent::registered("Fido")).unwrap();
        let mut times = Vec::new();
        for trick in ["sit", "roll over"] {
            times.push(app.save(&mut dog).unwrap()[0].time().unwrap());
            std::thread::sleep(Duration::from_millis(2));
            dog.trigger(DogEvent::trick_added(trick));
        }
        times.push(app.save(&mut dog).unwrap()[0].time().unwrap());

        let as_of = |time| app.repository().get_as_of::<Dog>(&id, time);
        for (version, time) in (1..).zip(&times) {
            assert_eq!(as_of(*time).unwrap().version(), version);
            assert_eq!(
                as_of(*time + Duration::from_micros(1)).unwrap().version(),
                version
            );
            assert_eq!(as_of(*time).unwrap().modified_at(), Some(*time));
        }
        let before = times[0] - Duration::from_micros(1);
        let missing = as_of(before).unwrap_err();
        assert!(matches!(&missing, Error::AggregateNotThen { time, .. } if *time == before));
        assert!(missing.is_not_found());
        assert!(
            as_of(SystemTime::UNIX_EPOCH - Duration::from_secs(1))
                .unwrap_err()
                .is_not_found()
        );
    }
}

#[test]
fn a_closed_application_answers_so_whatever_is_asked() {
    for recorder in recorders() {
        let app = trusting(&recorder);
        let id = fido(&app);
        app.close().unwrap();
        app.close().unwrap();
        let log = app.notification_log();
        let answers = [
            app.edit(&id, teach("sit")).unwrap_err(),
            app.repository().get::<Dog>(&id).unwrap_err(),
            app.repository().get_cached::<Dog>(&id).unwrap_err(),
            app.repository().contains(&id).unwrap_err(),
            app.subscribe(0, &[]).unwrap_err(),
            log.section("1,10".parse().unwrap()).unwrap_err(),
            app.add(Root::<Dog>::new(app.new_id(), DogEvent::registered("Rex")).unwrap())
                .unwrap_err(),
        ];
        for answer in answers {
            assert!(answer.is_closed(), "{answer:?}");
        }
    }
}

#[test]
fn an_application_that_is_dropped_ends_its_subscriptions() {
    for app in [
        Application::in_memory(),
        Application::builder(Arc::new(LogRecorder::from(
            annals_engine::Log::in_memory().unwrap(),
        )))
        .build()
        .unwrap(),
    ] {
        let mut subscription = app.subscribe(0, &[]).unwrap();
        let follower = std::thread::spawn(move || subscription.next().is_none());
        drop(app);
        assert!(follower.join().unwrap());
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let builder = || Application::builder(Arc::new(MemoryRecorder::new()));
    let none = Retries {
        attempts: 0,
        ..Retries::default()
    };
    for (refused, name) in [
        (builder().cache(CacheOptions::lru(0)).build(), "cache"),
        (builder().retries(none).build(), "retries"),
    ] {
        let Error::InvalidOption { option, .. } = refused.unwrap_err() else {
            panic!("{name} is an option")
        };
        assert_eq!(option, name);
    }
}
