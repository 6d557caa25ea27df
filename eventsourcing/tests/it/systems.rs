//! Systems: the same definition has the same effect on every recorder, under every runner, whatever is stopped and
//! started in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use annals::{
    Aggregate, AggregateId, Durability, Event, Failure, FollowOptions, LogRecorder, Member,
    MemoryRecorder, MetadataScope, MultiThreadedRunner, Notified, OnFailure, Panicked, Policy,
    ProcessApplication, ProcessRecorder, ProjectionError, Retry, Role, Root, Runner, RunnerOptions,
    SelectNotifications, SingleThreadedRunner, StoredEvent, System, SystemError, one_of, policy,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::school::{Course, CourseEvent, Dog, DogEvent};

mod beside;

// ---- The system: dogs learn tricks; a course a trick; full courses get a certificate, which opens the next one, and
// which timers frame ----

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Certified {
    course: String,
}

impl Event for Certified {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Framed {
    certificate: String,
}

impl Event for Framed {}

one_of! {
    enum Seen {
        Dog(DogEvent),
        Certified(Certified),
        Framed(Framed),
    }
}

fn text_id(text: &str) -> AggregateId {
    AggregateId::text(text).unwrap()
}

fn join_courses() -> impl Policy {
    policy(|event: &Notified<Seen>, work| {
        match &event.event {
            Seen::Dog(DogEvent::Registered { .. }) => {}
            Seen::Dog(DogEvent::TrickAdded { trick }) => {
                let id = text_id(trick);
                if work.find::<Course>(&id)?.is_none() {
                    work.add(Root::<Course>::new(id.clone(), CourseEvent::Opened)?)?;
                }
                work.get::<Course>(&id)?.trigger(CourseEvent::DogJoined);
            }
            Seen::Certified(Certified { course }) => {
                let id = text_id(&format!("advanced {course}"));
                work.add(Root::<Course>::new(id, CourseEvent::Opened)?)?;
            }
            Seen::Framed(Framed { certificate }) => {
                let id = text_id(&format!("framed {certificate}"));
                work.add(Root::<Course>::new(id, CourseEvent::Opened)?)?;
            }
        }
        Ok(())
    })
}

/// Certifies each course at its third dog; the certificate is framed by a timer that is due.
fn certify() -> impl Policy {
    policy(|event: &Notified<CourseEvent>, work| {
        if event.event == CourseEvent::DogJoined && event.version == Some(4) {
            let course = event.aggregate_id.as_ref().and_then(AggregateId::as_text);
            let course = course.unwrap_or_default().to_owned();
            let framed = Framed {
                certificate: course.clone(),
            };
            work.set_timer(&course, event.time(), &framed)?;
            work.record(&Certified { course })?;
        }
        Ok(())
    })
}

#[derive(Debug, PartialEq)]
struct Tally(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tallied {
    One,
}

impl Event for Tallied {}

impl Aggregate for Tally {
    type Event = Tallied;

    fn start(_: &Tallied) -> Option<Self> {
        Some(Self(1))
    }

    fn apply(&mut self, _: &Tallied) {
        self.0 += 1;
    }
}

one_of! {
    enum Counted {
        Dog(DogEvent),
        Course(CourseEvent),
    }
}

/// Counts all events of both, on two aggregates.
fn tally() -> impl Policy {
    policy(|event: &Notified<Counted>, work| {
        let id = match event.event {
            Counted::Dog(_) => text_id("dogs"),
            Counted::Course(_) => text_id("courses"),
        };
        match work.find::<Tally>(&id)? {
            Some(tally) => tally.trigger(Tallied::One),
            None => {
                let _ = work.add(Root::<Tally>::new(id, Tallied::One)?)?;
            }
        }
        Ok(())
    })
}

fn system() -> System {
    System::builder()
        .leader("school")
        .process("courses", join_courses())
        .process("office", certify())
        .follower("statistics", tally())
        .pipe(["school", "courses", "office", "courses"])
        .pipe(["school", "statistics"])
        .pipe(["courses", "statistics"])
        .build()
        .unwrap()
}

// ---- On which it runs ----

#[derive(Clone, Copy, Debug, PartialEq)]
enum Store {
    Memory,
    LogInMemory,
    Log,
    BufferedLog,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

const STORES: &[Store] = &[
    Store::Memory,
    Store::LogInMemory,
    Store::Log,
    Store::BufferedLog,
    #[cfg(feature = "sqlite")]
    Store::Sqlite,
];

/// Applications that outlive a runner.
struct World {
    members: BTreeMap<String, Arc<ProcessApplication>>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(store: Store, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let members = names.iter().map(|name| {
            let recorder: Arc<dyn ProcessRecorder> = match store {
                Store::Memory => Arc::new(MemoryRecorder::new()),
                Store::LogInMemory => {
                    Arc::new(LogRecorder::from(annals_engine::Log::in_memory().unwrap()))
                }
                Store::Log | Store::BufferedLog => {
                    let log = annals_engine::Log::options().segment_len(1 << 20);
                    Arc::new(LogRecorder::from(log.open(dir.path().join(name)).unwrap()))
                }
                #[cfg(feature = "sqlite")]
                Store::Sqlite => {
                    Arc::new(annals::SqliteRecorder::open(dir.path().join(name)).unwrap())
                }
            };
            let durability = match store {
                Store::BufferedLog => Durability::Buffered,
                _ => Durability::Sync,
            };
            let application =
                ProcessApplication::configured(recorder, |builder| builder.durability(durability));
            ((*name).to_owned(), Arc::new(application.unwrap()))
        });
        Self {
            members: members.collect(),
            _dir: dir,
        }
    }

    fn of(store: Store) -> Self {
        Self::new(store, &["school", "courses", "office", "statistics"])
    }

    fn open(&self) -> impl FnMut(&str) -> Result<Member, Failure> {
        |name| Ok(self.members[name].clone().into())
    }

    fn app(&self, name: &str) -> &ProcessApplication {
        &self.members[name]
    }

    fn teach(&self, tricks: &[&str]) {
        let school = self.app("school");
        let mut dog = Root::<Dog>::new(school.new_id(), DogEvent::registered("Fido")).unwrap();
        for trick in tricks {
            dog.trigger(DogEvent::trick_added(trick));
        }
        school.save_with(&mut dog, Durability::Sync).unwrap();
    }

    /// All that there is but ids, times and the order of aggregates among each other.
    fn effect(&self) -> Vec<String> {
        let mut effect = Vec::new();
        for (name, app) in &self.members {
            for event in all(app) {
                let id = match name.as_str() {
                    "school" => String::new(),
                    _ => format!("{:?}", event.aggregate_id()),
                };
                let payload = String::from_utf8(event.payload.clone()).unwrap();
                let version = event.version();
                effect.push(format!("{name} {id} {version:?} {} {payload}", event.topic));
            }
        }
        effect.sort();
        effect
    }
}

fn all(app: &ProcessApplication) -> Vec<StoredEvent> {
    let select = SelectNotifications::first(usize::MAX);
    let all = app.recorder().select_notifications(&select).unwrap();
    all.into_iter()
        .map(|notification| notification.event)
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum How {
    Single,
    SingleInParts(usize),
    Multi,
    MultiInParts(usize),
}

const HOWS: [How; 4] = [
    How::Single,
    How::SingleInParts(3),
    How::Multi,
    How::MultiInParts(3),
];

fn start(system: &System, how: How, world: &World) -> Box<dyn Runner> {
    // Small batches, so that there is something between them.
    let options = RunnerOptions::new().follow(quick(OnFailure::Stop).batch_events_max(7));
    run(system, how, options, world).unwrap()
}

fn run(
    system: &System,
    how: How,
    options: RunnerOptions,
    world: &World,
) -> Result<Box<dyn Runner>, SystemError> {
    let options = match how {
        How::Single | How::Multi => options,
        How::SingleInParts(parts) | How::MultiInParts(parts) => {
            let each = system.followers();
            each.fold(options, |options, name| options.partitions(name, parts))
        }
    };
    Ok(match how {
        How::Single | How::SingleInParts(_) => {
            Box::new(SingleThreadedRunner::start(system, options, world.open())?)
        }
        How::Multi | How::MultiInParts(_) => {
            Box::new(MultiThreadedRunner::start(system, options, world.open())?)
        }
    })
}

fn quick(on_failure: OnFailure) -> FollowOptions {
    let retry = Retry {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        ..Retry::default()
    };
    FollowOptions::new().retry(retry).on_failure(on_failure)
}

// ---- Promises ----

#[test]
fn a_system_has_the_same_effect_on_every_recorder_and_under_every_runner() {
    let system = system();
    let mut expected: Option<Vec<String>> = None;
    for &store in STORES {
        for how in HOWS {
            let world = World::of(store);
            // Some before the start, some after it.
            world.teach(&["sit", "fetch"]);
            let runner = start(&system, how, &world);
            for _ in 0..10 {
                world.teach(&["sit", "roll over"]);
                world.teach(&["fetch"]);
            }
            runner.settle(PATIENCE).unwrap();
            runner.stop().unwrap();

            let statistics = world.app("statistics").repository();
            let dogs = statistics.get::<Tally>(&text_id("dogs")).unwrap();
            let courses = statistics.get::<Tally>(&text_id("courses")).unwrap();
            // 21 dogs with 32 tricks; 3 courses, 32 joined, 3 advanced courses, 3 framed ones.
            assert_eq!((dogs.0, courses.0), (53, 41), "{store:?} {how:?}");
            let fired = all(world.app("office")).into_iter();
            let fired = fired.filter(|event| event.topic == "$timer-fired").count();
            assert_eq!(fired, 3, "{store:?} {how:?}");
            let effect = world.effect();
            match &expected {
                Some(expected) => {
                    let differs = effect.iter().find(|line| !expected.contains(line));
                    assert_eq!(differs, None, "{store:?} {how:?}");
                    assert!(
                        effect == *expected,
                        "{store:?} {how:?}: something is missing"
                    );
                }
                None => expected = Some(effect),
            }
        }
    }
}

#[test]
fn stopping_and_starting_in_any_way_changes_no_effect() {
    let system = system();
    let whole = World::of(Store::Memory);
    let runner = start(&system, How::Single, &whole);
    for _ in 0..40 {
        whole.teach(&["sit", "roll over", "fetch"]);
    }
    runner.settle(PATIENCE).unwrap();

    for store in [Store::Memory, Store::Log] {
        let world = World::of(store);
        let hows = [
            How::Multi,
            How::MultiInParts(2),
            How::Single,
            How::MultiInParts(5),
            How::SingleInParts(16),
            How::MultiInParts(2),
            How::Multi,
            How::MultiInParts(4),
        ];
        for how in hows {
            for _ in 0..5 {
                world.teach(&["sit", "roll over", "fetch"]);
            }
            let runner = start(&system, how, &world);
            if let How::Single | How::SingleInParts(_) = how {
                runner.settle(PATIENCE).unwrap();
            }
            // Those in threads are stopped wherever they are.
            runner.stop().unwrap();
        }
        let runner = start(&system, How::MultiInParts(3), &world);
        runner.settle(PATIENCE).unwrap();
        assert_eq!(world.effect(), whole.effect(), "{store:?}");
    }
}

#[test]
fn a_single_threaded_runner_leads_to_the_same_order_each_time() {
    let system = system();
    let orders = [(); 2].map(|()| {
        let world = World::of(Store::Memory);
        let runner = start(&system, How::Single, &world);
        for _ in 0..10 {
            world.teach(&["sit", "fetch"]);
        }
        runner.settle(PATIENCE).unwrap();
        let apps = world.members.values();
        let events = apps.map(|app| all(app).iter().map(|event| event.payload.clone()).collect());
        events.collect::<Vec<Vec<_>>>()
    });
    assert_eq!(orders[0], orders[1]);
}

#[test]
fn events_name_what_they_came_of() {
    let system = system();
    // In parts the third dog to join may be another one.
    for how in [How::Single, How::Multi] {
        let world = World::of(Store::Memory);
        let runner = start(&system, how, &world);
        for _ in 0..3 {
            world.teach(&["sit"]);
        }
        runner.settle(PATIENCE).unwrap();
        let caused_by = |event: &StoredEvent| event.metadata["$causation"].clone();
        let began_with = |event: &StoredEvent| event.metadata["$correlation"].clone();
        let (school, courses) = (all(world.app("school")), all(world.app("courses")));
        let (office, school_ids) = (all(world.app("office")), |place: usize| {
            school[place].event_id.to_string()
        });
        // Registered, TrickAdded, and so on.
        assert_eq!(caused_by(&courses[1]), school_ids(1));
        assert_eq!(began_with(&courses[1]), school_ids(1));
        // The third to join had the course certified.
        for (topic, opened) in [("Certified", "advanced sit"), ("Framed", "framed sit")] {
            let mut events = office.iter();
            let event = events.find(|event| event.topic == topic).unwrap();
            assert_eq!(caused_by(event), courses[3].event_id.to_string());
            assert_eq!(began_with(event), school_ids(5));
            let (id, mut events) = (text_id(opened), courses.iter());
            let course = events.find(|event| event.aggregate_id() == Some(&id));
            let course = course.unwrap();
            assert_eq!(caused_by(course), event.event_id.to_string());
            assert_eq!(began_with(course), school_ids(5));
        }
    }
}

#[test]
fn what_a_policy_saves_by_itself_names_its_cause_too_and_nobody_who_happens_to_run_it() {
    let certificates = policy(|event: &Notified<DogEvent>, work| {
        if let DogEvent::TrickAdded { trick } = &event.event {
            // On its own, and as a part of the work.
            let mut course = Root::<Course>::new(text_id(trick), CourseEvent::Opened)?;
            work.application().save(&mut course)?;
            work.record(&Certified {
                course: trick.clone(),
            })?;
            let due = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
            work.set_timer(
                trick,
                due,
                &Certified {
                    course: trick.clone(),
                },
            )?;
        }
        Ok(())
    });
    let system = System::builder()
        .leader("school")
        .process("office", certificates)
        .pipe(["school", "office"])
        .build()
        .unwrap();
    for how in [How::Single, How::Multi] {
        let world = World::of(Store::Memory);
        let request = MetadataScope::correlated(Uuid::from_u128(7));
        world.teach(&["sit"]);
        drop(request);
        let _operator = MetadataScope::enter([("user", "whoever runs it")]);
        let runner = start(&system, how, &world);
        world.teach(&["roll over"]);
        runner.settle(PATIENCE).unwrap();
        let (school, office) = (all(world.app("school")), all(world.app("office")));
        assert_eq!(office.len(), 6);
        for (place, effect) in office.iter().enumerate() {
            // Each dog registers, then learns its trick; the first at a request.
            let of_trick: usize = match office[place].metadata["$causation"].as_str() {
                cause if cause == school[1].event_id.to_string() => 1,
                cause if cause == school[3].event_id.to_string() => 3,
                other => panic!("{other}"),
            };
            let began_with = match of_trick {
                1 => Uuid::from_u128(7),
                trick => school[trick].event_id,
            };
            assert_eq!(effect.metadata["$correlation"], began_with.to_string());
            assert!(!effect.metadata.contains_key("user"), "{effect:?}");
        }
    }
}

/// Fails on the trick "poison" while it is told to.
fn poisoned(how: Arc<AtomicUsize>) -> System {
    let reacts = policy(move |event: &Notified<DogEvent>, work| {
        if let DogEvent::TrickAdded { trick } = &event.event {
            let id = text_id(&format!("{trick} {}", event.position));
            work.add(Root::<Course>::new(id, CourseEvent::Opened)?)?;
            match how.load(Ordering::SeqCst) {
                1 if trick == "poison" => return Err("it is poisoned".into()),
                2 if trick == "poison" => panic!("no such trick"),
                _ => {}
            }
        }
        Ok(())
    });
    let counts = policy(|_: &Notified<CourseEvent>, work| {
        work.record(&Certified {
            course: String::new(),
        })?;
        Ok(())
    });
    System::builder()
        .leader("school")
        .process("courses", reacts)
        .follower("office", counts)
        .pipe(["school", "courses", "office"])
        .build()
        .unwrap()
}

#[test]
fn a_policy_that_fails_or_panics_stops_its_follower_which_loses_no_place() {
    for store in [Store::Memory, Store::LogInMemory] {
        for how in HOWS {
            for failure in [1, 2] {
                let knob = Arc::new(AtomicUsize::new(failure));
                let system = poisoned(knob.clone());
                let world = World::new(store, &["school", "courses", "office"]);
                let options = RunnerOptions::new().follow(quick(OnFailure::Stop));
                let runner = run(&system, how, options.clone(), &world).unwrap();
                world.teach(&["sit", "poison", "fetch"]);
                let error = runner.settle(PATIENCE).unwrap_err();
                let SystemError::Follower(error) = &error else {
                    panic!("{error:?}");
                };
                let cause = match error {
                    ProjectionError::Failed { source, .. } => source,
                    error => error,
                };
                let ProjectionError::Event {
                    position: 3,
                    source,
                    ..
                } = cause
                else {
                    panic!("{cause:?}");
                };
                assert_eq!(source.is::<Panicked>(), failure == 2, "{source:?}");
                assert_eq!(all(world.app("courses")).len(), 1, "{how:?}");
                let _ = runner.stop();
                drop(runner);

                knob.store(0, Ordering::SeqCst);
                let runner = run(&system, how, options, &world).unwrap();
                runner.settle(PATIENCE).unwrap();
                assert_eq!(all(world.app("courses")).len(), 3);
                assert_eq!(all(world.app("office")).len(), 3);
            }
        }
    }
}

#[test]
fn a_dead_letter_of_a_follower_is_kept_and_replayed_once() {
    for &store in STORES {
        for how in HOWS {
            let knob = Arc::new(AtomicUsize::new(1));
            let system = poisoned(knob.clone());
            let world = World::new(store, &["school", "courses", "office"]);
            let options = RunnerOptions::new()
                .follow(quick(OnFailure::Stop))
                .follower("courses", quick(OnFailure::DeadLetter));
            let runner = run(&system, how, options, &world).unwrap();
            world.teach(&["sit", "poison", "fetch"]);
            runner.settle(PATIENCE).unwrap();
            let letters = runner.dead_letters("courses").unwrap();
            assert_eq!(letters.len(), 1, "{store:?} {how:?}: {letters:?}");
            assert_eq!(
                (letters[0].name.as_str(), letters[0].position),
                ("school", 3)
            );
            assert_eq!(letters[0].error, "it is poisoned");
            assert_eq!(all(world.app("office")).len(), 2);

            let replayed = runner.replay_dead_letters("courses").unwrap();
            assert_eq!((replayed.resolved.len(), replayed.failed.len()), (0, 1));
            knob.store(0, Ordering::SeqCst);
            let replayed = runner.replay_dead_letters("courses").unwrap();
            assert_eq!((replayed.resolved.len(), replayed.failed.len()), (1, 0));
            let replayed = runner.replay_dead_letters("courses").unwrap();
            assert_eq!((replayed.resolved.len(), replayed.failed.len()), (0, 0));
            runner.settle(PATIENCE).unwrap();
            assert_eq!(runner.dead_letters("courses").unwrap(), []);
            assert_eq!(all(world.app("office")).len(), 3, "its effect is followed");
        }
    }
}

#[test]
fn errors_are_watched_and_failed_followers_started_again() {
    let knob = Arc::new(AtomicUsize::new(1));
    let system = poisoned(knob.clone());
    let world = World::new(Store::Memory, &["school", "courses", "office"]);
    let options = RunnerOptions::new().follow(quick(OnFailure::Stop));
    let runner = MultiThreadedRunner::start(&system, options, world.open()).unwrap();
    runner.watch(Duration::from_millis(5)).unwrap();
    thread::scope(|scope| {
        let watching = scope.spawn(|| runner.watch(PATIENCE));
        thread::sleep(Duration::from_millis(10));
        world.teach(&["poison", "fetch"]);
        let told = watching.join().unwrap().unwrap_err();
        assert!(matches!(told, SystemError::Follower(_)), "{told:?}");
    });
    // Others go on.
    assert_eq!(runner.restart_failed().unwrap(), 1);
    assert!(runner.watch(PATIENCE).is_err(), "it fails again");
    knob.store(0, Ordering::SeqCst);
    assert_eq!(runner.restart_failed().unwrap(), 1);
    runner.settle(PATIENCE).unwrap();
    runner.watch(Duration::ZERO).unwrap();
    assert_eq!(all(world.app("office")).len(), 2);
    let lags = runner.lags().unwrap();
    let names: Vec<_> = lags
        .iter()
        .map(|(leader, follower, _)| (*leader, *follower))
        .collect();
    assert_eq!(names, [("school", "courses"), ("courses", "office")]);
    assert!(
        lags.iter()
            .all(|(_, _, lag)| lag.behind() == 0 && lag.is_running)
    );
    runner.wait("school", "courses", 3, PATIENCE).unwrap();
    assert!(runner.wait("office", "school", 1, PATIENCE).is_err());
}

#[test]
fn a_follower_and_those_who_write_beside_it_do_not_lose_each_others_events() {
    for how in [How::Multi, How::MultiInParts(4)] {
        let system = system();
        let world = World::of(Store::LogInMemory);
        let runner = start(&system, how, &world);
        let is_over = AtomicBool::new(false);
        let by_hand = thread::scope(|scope| {
            let by_hand = scope.spawn(|| {
                let courses = world.app("courses");
                let mut joined = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let Ok(mut course) = courses.repository().get::<Course>(&text_id("sit")) else {
                        continue;
                    };
                    course.trigger(CourseEvent::DogJoined);
                    joined += u32::from(courses.save(&mut course).is_ok());
                }
                joined
            });
            for _ in 0..100 {
                world.teach(&["sit"]);
            }
            runner.wait_for(&world);
            is_over.store(true, Ordering::SeqCst);
            by_hand.join().unwrap()
        });
        runner.settle(PATIENCE).unwrap();
        let course = world.app("courses").repository();
        let course = course.get::<Course>(&text_id("sit")).unwrap();
        assert_eq!(course.dogs, 100 + by_hand, "{how:?}");
    }
}

trait WaitFor {
    fn wait_for(&self, world: &World);
}

impl WaitFor for Box<dyn Runner> {
    /// Until the school has been followed to its end, while others write.
    fn wait_for(&self, world: &World) {
        let recorder = world.app("courses").process_recorder();
        let reached = |name: &str| recorder.max_tracking(name).unwrap().unwrap_or(0);
        while reached("school").max(
            (0..4)
                .map(|part| reached(&format!("school#{part}/4")))
                .min()
                .unwrap(),
        ) < 200
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_was_processed_under_another_number_of_parts_is_not_processed_again() {
    let system = system();
    let world = World::of(Store::Memory);
    for parts in [3, 1, 16, 2, 3] {
        world.teach(&["sit", "fetch"]);
        let runner = start(&system, How::SingleInParts(parts), &world);
        runner.settle(PATIENCE).unwrap();
    }
    let statistics = world.app("statistics").repository();
    assert_eq!(statistics.get::<Tally>(&text_id("dogs")).unwrap().0, 15);
}

#[test]
fn a_topology_that_does_not_hold_is_refused_by_name() {
    let nothing = || policy(|_: &Notified<DogEvent>, _| Ok(()));
    let base = || {
        System::builder()
            .leader("school")
            .process("courses", nothing())
            .follower("office", nothing())
    };
    type Check = fn(&SystemError) -> bool;
    let refused: [(annals::SystemBuilder, Check); 11] = [
        (base(), |error| matches!(error, SystemError::NoPipes)),
        (base().pipe(["school"]), |error| {
            matches!(error, SystemError::ShortPipe { found: 1 })
        }),
        (
            base().pipe(["school", "courses", "cinema"]),
            |error| matches!(error, SystemError::Unknown { name } if name == "cinema"),
        ),
        (
            base().pipe(["courses", "school"]),
            |error| matches!(error, SystemError::NotAFollower { name, role: Role::Leader } if name == "school"),
        ),
        (
            base().pipe(["school", "office", "courses"]),
            |error| matches!(error, SystemError::NotALeader { name, role: Role::Follower } if name == "office"),
        ),
        (
            base().pipe(["school", "courses"]),
            |error| matches!(error, SystemError::Unconnected { name } if name == "office"),
        ),
        (
            base().leader("courses").pipe(["school", "courses"]),
            |error| matches!(error, SystemError::DefinedTwice { name } if name == "courses"),
        ),
        (base().leader(""), |error| {
            matches!(error, SystemError::Name { .. })
        }),
        (base().leader("n".repeat(101)), |error| {
            matches!(error, SystemError::Name { .. })
        }),
        (base().leader("a#1"), |error| {
            matches!(error, SystemError::Name { .. })
        }),
        (base().leader("a/b"), |error| {
            matches!(error, SystemError::Name { .. })
        }),
    ];
    for (builder, is_it) in refused {
        let error = builder.build().unwrap_err();
        assert!(is_it(&error), "{error:?}");
    }
    let looped = base()
        .pipe(["school", "courses", "courses", "office"])
        .pipe(["school", "courses"])
        .build()
        .unwrap();
    let edges: Vec<_> = looped.edges().collect();
    assert_eq!(
        edges,
        [
            ("school", "courses"),
            ("courses", "courses"),
            ("courses", "office")
        ]
    );
    assert_eq!(looped.leaders().collect::<Vec<_>>(), ["school", "courses"]);
}

#[test]
fn a_runner_is_not_started_on_what_cannot_run() {
    let system = system();
    let world = World::of(Store::Memory);
    type Check = fn(&SystemError) -> bool;
    let options = RunnerOptions::new;
    let refused: [(RunnerOptions, Check); 5] = [
        (options().partitions("courses", 0), |error| {
            matches!(error, SystemError::Partitions { found: 0, .. })
        }),
        (options().partitions("courses", 17), |error| {
            matches!(error, SystemError::Partitions { found: 17, .. })
        }),
        (options().partitions("cinema", 2), |error| {
            matches!(error, SystemError::Unknown { .. })
        }),
        (
            options().follower("school", FollowOptions::new()),
            |error| matches!(error, SystemError::NotAFollower { .. }),
        ),
        (
            options().follow(FollowOptions::new().batch_events_max(0)),
            |error| {
                matches!(
                    error,
                    SystemError::Follower(ProjectionError::InvalidOption { .. })
                )
            },
        ),
    ];
    for (options, is_it) in refused {
        let error = MultiThreadedRunner::start(&system, options, world.open()).unwrap_err();
        assert!(is_it(&error), "{error:?}");
    }
    let one = Arc::new(ProcessApplication::in_memory());
    type Open = Box<dyn FnMut(&str) -> Result<Member, Failure>>;
    let opens: [(Open, Check); 3] = [
        (
            Box::new(|_| Ok(annals::Application::in_memory().into())),
            |error| matches!(error, SystemError::NotAProcess { name } if name == "courses"),
        ),
        (
            Box::new(move |_| Ok(one.clone().into())),
            |error| matches!(error, SystemError::SharedRecorder { first, .. } if first == "school"),
        ),
        (
            Box::new(|_| Err("no room".into())),
            |error| matches!(error, SystemError::Open { name, .. } if name == "school"),
        ),
    ];
    for (open, is_it) in opens {
        let error = SingleThreadedRunner::start(&system, RunnerOptions::new(), open).unwrap_err();
        assert!(is_it(&error), "{error:?}");
    }
    let runner = start(&system, How::Multi, &world);
    assert!(matches!(
        runner.member("cinema"),
        Err(SystemError::Unknown { .. })
    ));
    assert!(runner.process_application("courses").is_ok());
}

#[test]
fn a_stored_event_that_cannot_be_read_is_a_failure_of_its_follower() {
    let system = system();
    for how in HOWS {
        let world = World::of(Store::Memory);
        let damaged = StoredEvent::new(Uuid::from_u128(1), "dog.trick-added", "[]");
        let school = world.app("school").recorder();
        school
            .insert_events(vec![damaged.of(text_id("a"), 1)], Durability::Sync)
            .unwrap();
        let options = RunnerOptions::new().follow(quick(OnFailure::DeadLetter));
        let runner = run(&system, how, options, &world).unwrap();
        world.teach(&["sit"]);
        runner.settle(PATIENCE).unwrap();
        assert_eq!(runner.dead_letters("courses").unwrap().len(), 1);
        assert_eq!(runner.dead_letters("statistics").unwrap().len(), 1);
        assert_eq!(
            all(world.app("courses"))
                .iter()
                .filter(|event| event.topic == "DogJoined")
                .count(),
            1
        );
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
