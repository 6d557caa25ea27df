//! Runners beside each other on the same applications, and stores that fail for a while.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use annals::{
    AggregateId, AggregateRecorder, ApplicationRecorder, Durability, MemoryRecorder,
    MultiThreadedRunner, Notification, Notified, OnFailure, PersistenceError, ProcessApplication,
    ProcessRecorder, Recorded, Recorder, Runner, RunnerOptions, SelectEvents, SelectNotifications,
    SingleThreadedRunner, StoredEvent, Subscription, System, SystemError, Tracking,
    TrackingRecorder, policy,
};
use annals_segments::Clock;

use super::{Certified, HOWS, How, PATIENCE, STORES, Store, World, all, poisoned, quick, run};
use crate::school::DogEvent;

/// Certifies each trick a second after the beginning of time.
fn certifies_later() -> System {
    let certifies = policy(|event: &Notified<DogEvent>, work| {
        if let DogEvent::TrickAdded { trick } = &event.event {
            let certified = Certified {
                course: trick.clone(),
            };
            let due = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            work.set_timer(trick, due, &certified)?;
        }
        Ok(())
    });
    System::builder()
        .leader("school")
        .process("office", certifies)
        .pipe(["school", "office"])
        .build()
        .unwrap()
}

/// A clock that shows one time, and in the first looks waits for those who look at another with the same barrier.
#[derive(Debug)]
struct Together {
    now_us: u64,
    looks: AtomicUsize,
    barrier: Option<Arc<Barrier>>,
}

impl Together {
    fn at(now_us: u64, barrier: Option<Arc<Barrier>>) -> Self {
        let looks = AtomicUsize::new(0);
        Self {
            now_us,
            looks,
            barrier,
        }
    }
}

impl Clock for Together {
    fn now_us(&self) -> u64 {
        // Once for each application with timers.
        if self.looks.fetch_add(1, Ordering::SeqCst) < 2 {
            self.barrier.iter().for_each(|barrier| {
                barrier.wait();
            });
        }
        self.now_us
    }
}

fn count(app: &ProcessApplication, topic: &str) -> usize {
    let events = all(app).into_iter();
    events.filter(|event| event.topic == topic).count()
}

#[test]
fn a_timer_that_another_runner_fires_at_the_same_moment_goes_off_once_and_stops_nobody() {
    let system = certifies_later();
    for &store in STORES {
        let world = World::new(store, &["school", "office"]);
        world.teach(&["sit", "fetch"]);
        let at = |clock| RunnerOptions::new().clock(clock);
        let early = at(Together::at(0, None));
        let runner = SingleThreadedRunner::start(&system, early, world.open()).unwrap();
        runner.settle(PATIENCE).unwrap();
        assert_eq!(count(world.app("office"), "$timer-set"), 2);
        drop(runner);

        // Both have read that the timers are pending before one of them fires.
        let barrier = Arc::new(Barrier::new(2));
        thread::scope(|scope| {
            let runners = [(); 2].map(|()| {
                let late = at(Together::at(2_000_000, Some(barrier.clone())));
                let runner = SingleThreadedRunner::start(&system, late, world.open()).unwrap();
                scope.spawn(move || runner.settle(PATIENCE))
            });
            for outcome in runners.map(|runner| runner.join().unwrap()) {
                outcome.unwrap_or_else(|error| panic!("{store:?}: {error:?}"));
            }
        });
        for topic in ["$timer-fired", "Certified"] {
            assert_eq!(count(world.app("office"), topic), 2, "{store:?} {topic}");
        }
    }
}

#[test]
fn timers_that_a_store_has_stopped_are_started_again() {
    let system = certifies_later();
    let world = World::new(Store::Memory, &["school"]);
    let failing = Arc::new(AtomicUsize::new(usize::MAX));
    let office = Failing {
        recorder: MemoryRecorder::new(),
        failing: failing.clone(),
    };
    let office = Arc::new(ProcessApplication::new(Arc::new(office)).unwrap());
    let open = |name: &str| match name {
        "office" => Ok(office.clone().into()),
        name => Ok(world.members[name].clone().into()),
    };
    let runner = MultiThreadedRunner::start(&system, RunnerOptions::new(), open).unwrap();
    world.teach(&["sit"]);
    for _ in 0..2 {
        let told = runner.watch(PATIENCE).unwrap_err();
        assert!(matches!(told, SystemError::Timers { .. }), "{told:?}");
        assert_eq!(runner.restart_failed().unwrap(), 1, "and it fails again");
    }
    runner.watch(PATIENCE).unwrap_err();
    failing.store(0, Ordering::SeqCst);
    assert_eq!(runner.restart_failed().unwrap(), 1);
    let fired = (0..2_000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        count(&office, "Certified") == 1
    });
    assert!(fired, "by the thread: nobody asked it to settle");
    runner.watch(Duration::ZERO).unwrap();
    assert_eq!(runner.restart_failed().unwrap(), 0);
    runner.stop().unwrap();
}

#[test]
fn a_store_that_fails_for_a_while_is_not_the_fault_of_events() {
    type Kind = fn() -> PersistenceError;
    let of_the_store: [Kind; 2] = [
        || PersistenceError::KeyStore {
            aggregate_id: None,
            source: "too many open files".into(),
        },
        || PersistenceError::Busy,
    ];
    let conflict: Kind = || PersistenceError::RetryConflict {
        event_id: uuid::Uuid::nil(),
        position: 1,
        what: "is another one",
    };
    for (kind, stops) in [
        (of_the_store[0], true),
        (of_the_store[1], true),
        (conflict, false),
    ] {
        for how in HOWS {
            // In the whole batch, then as often as an event is tried.
            let failing = Arc::new(AtomicUsize::new(4));
            let system = failing_system(failing.clone(), kind);
            let world = World::new(Store::Memory, &["school", "office"]);
            world.teach(&["sit"]);
            let options = || RunnerOptions::new().follow(quick(OnFailure::DeadLetter));
            let runner = run(&system, how, options(), &world).unwrap();
            let outcome = runner.settle(PATIENCE);
            assert_eq!(outcome.is_err(), stops, "{how:?}: {outcome:?}");
            assert_eq!(runner.dead_letters("office").unwrap(), []);
            let _ = runner.stop();
            drop(runner);

            failing.store(0, Ordering::SeqCst);
            let runner = run(&system, how, options(), &world).unwrap();
            runner.settle(PATIENCE).unwrap();
            assert_eq!(runner.dead_letters("office").unwrap(), []);
            assert_eq!(count(world.app("office"), "Certified"), 1, "{how:?}");
        }
    }
}

/// Certifies each trick, once it has failed that often.
fn failing_system(failing: Arc<AtomicUsize>, kind: fn() -> PersistenceError) -> System {
    let certifies = policy(move |event: &Notified<DogEvent>, work| {
        if let DogEvent::TrickAdded { trick } = &event.event {
            let less = |left: usize| left.checked_sub(1);
            if (failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)).is_ok() {
                return Err(kind().into());
            }
            work.record(&Certified {
                course: trick.clone(),
            })?;
        }
        Ok(())
    });
    System::builder()
        .leader("school")
        .follower("office", certifies)
        .pipe(["school", "office"])
        .build()
        .unwrap()
}

#[test]
fn an_event_that_another_runner_has_buried_stops_nobody() {
    let knob = Arc::new(AtomicUsize::new(1));
    let system = poisoned(knob.clone());
    for &store in STORES {
        for how in [How::Single, How::SingleInParts(3)] {
            let world = World::new(store, &["school", "courses", "office"]);
            // Both begin before it is there, and go on one after the other.
            let runners = [(); 2].map(|()| {
                let options = RunnerOptions::new().follow(quick(OnFailure::DeadLetter));
                run(&system, how, options, &world).unwrap()
            });
            world.teach(&["sit", "poison", "fetch"]);
            for runner in &runners {
                let outcome = runner.settle(PATIENCE);
                outcome.unwrap_or_else(|error| panic!("{store:?} {how:?}: {error:?}"));
                assert_eq!(runner.dead_letters("courses").unwrap().len(), 1);
            }
            assert_eq!(
                count(world.app("office"), "Certified"),
                2,
                "{store:?} {how:?}"
            );
        }
    }
}

/// A recorder that stores events without a tracking position only when it is not failing.
#[derive(Debug)]
struct Failing {
    recorder: MemoryRecorder,
    /// How often it fails yet.
    failing: Arc<AtomicUsize>,
}

impl Recorder for Failing {
    fn close(&self) -> Result<(), PersistenceError> {
        self.recorder.close()
    }
}

impl AggregateRecorder for Failing {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let less = |left: usize| left.checked_sub(1);
        let failing = (self.failing).fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        match failing {
            Ok(_) => Err(PersistenceError::Store {
                doing: "store events",
                source: "no room".into(),
            }),
            Err(_) => self.recorder.insert_events(events, durability),
        }
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.recorder.select_events(aggregate_id, select)
    }
}

impl ApplicationRecorder for Failing {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.recorder.select_notifications(select)
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        self.recorder.max_position()
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        self.recorder.subscribe(after, topics)
    }
}

impl TrackingRecorder for Failing {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        self.recorder.insert_tracking(tracking)
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        self.recorder.max_tracking(name)
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        self.recorder.wait(name, position, timeout)
    }
}

impl ProcessRecorder for Failing {
    fn insert_events_tracked(
        &self,
        events: Vec<StoredEvent>,
        tracking: Tracking,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.recorder
            .insert_events_tracked(events, tracking, durability)
    }
}
