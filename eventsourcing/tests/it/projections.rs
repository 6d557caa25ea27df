//! Projections: each event counts once, whatever fails, and whoever waits is told.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annals::{
    AggregateId, AggregateRecorder, Application, ApplicationRecorder, Durability,
    EventSourcedProjection, Failure, Follow, FollowOptions, LiveProjection, LogRecorder,
    MemoryRecorder, MemoryRows, MemoryView, Notification, Notified, OnFailure, Panicked,
    PersistenceError, ProcessApplication, Projection, ProjectionBuilder, ProjectionError,
    ProjectionRunner, Recorded, Recorder, Retry, Root, SelectEvents, SelectNotifications,
    StopHandle, StoredEvent, Subscription, TrackingRecorder, View, policy,
};
use uuid::Uuid;

use crate::school::{Course, CourseEvent, Dog, DogEvent};

type Counts = MemoryView<String, u64>;

/// Counts tricks by name. Fails as the shared knobs say.
#[derive(Clone, Default)]
struct Tricks {
    knobs: Arc<Knobs>,
}

#[derive(Default)]
struct Knobs {
    /// How often the trick "poison" still fails.
    poisoned: AtomicUsize,
    /// How often the trick "panic" still panics.
    panics: AtomicUsize,
    largest_batch: AtomicUsize,
    batches: AtomicUsize,
}

impl Knobs {
    fn is_due(count: &AtomicUsize) -> bool {
        let less = |left: usize| left.checked_sub(1);
        count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

impl Projection<Counts> for Tricks {
    type Event = DogEvent;

    fn process(
        &mut self,
        event: &Notified<DogEvent>,
        rows: &mut MemoryRows<'_, String, u64>,
    ) -> Result<(), Failure> {
        let DogEvent::TrickAdded { trick } = &event.event else {
            return Ok(());
        };
        rows.update(trick.clone(), |count| *count += 1);
        if trick == "poison" && Knobs::is_due(&self.knobs.poisoned) {
            return Err("it is poisoned".into());
        }
        if trick == "panic" && Knobs::is_due(&self.knobs.panics) {
            panic!("no such trick");
        }
        Ok(())
    }

    fn process_batch(
        &mut self,
        events: &[Notified<DogEvent>],
        rows: &mut MemoryRows<'_, String, u64>,
    ) -> Result<(), Failure> {
        self.knobs.batches.fetch_add(1, Ordering::SeqCst);
        self.knobs
            .largest_batch
            .fetch_max(events.len(), Ordering::SeqCst);
        events
            .iter()
            .try_for_each(|event| self.process(event, rows))
    }
}

fn applications() -> [Application; 2] {
    let log = annals_engine::Log::in_memory().unwrap();
    let recorders: [Arc<dyn ApplicationRecorder>; 2] = [
        Arc::new(MemoryRecorder::new()),
        Arc::new(LogRecorder::from(log)),
    ];
    recorders.map(application)
}

fn application(recorder: Arc<dyn ApplicationRecorder>) -> Application {
    Application::builder(recorder).build().unwrap()
}

/// A dog that has learnt these; answers the last position.
fn teach(app: &Application, tricks: &[&str]) -> u64 {
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    for trick in tricks {
        dog.trigger(DogEvent::trick_added(trick));
    }
    app.save(&mut dog).unwrap().last().unwrap().position
}

/// An event that no projection here reads.
fn open_course(app: &Application) -> u64 {
    let mut course = Root::<Course>::new(app.new_id(), CourseEvent::Opened).unwrap();
    app.save(&mut course).unwrap()[0].position
}

fn builder(
    app: &Application,
    view: &Arc<Counts>,
    tricks: &Tricks,
) -> ProjectionBuilder<Counts, Tricks> {
    ProjectionRunner::builder("school", app, view.clone(), tricks.clone())
        .options(quick(OnFailure::Stop))
}

fn quick(on_failure: OnFailure) -> FollowOptions {
    let retry = Retry {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        ..Retry::default()
    };
    let idle = Duration::from_millis(5);
    (FollowOptions::new().retry(retry).on_failure(on_failure)).checkpoint_delay(idle)
}

fn start() -> (Arc<Counts>, Tricks) {
    (Arc::new(Counts::new()), Tricks::default())
}

#[test]
fn a_projection_catches_up_and_goes_on_live() {
    for app in applications() {
        let (view, tricks) = start();
        let before = teach(&app, &["sit", "roll over"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();
        runner.wait(before, PATIENCE).unwrap();
        assert_eq!(view.get("sit"), Some(1));

        // What was written can be read, each time.
        for count in 2..30 {
            let written = teach(&app, &["sit"]);
            runner.wait(written, PATIENCE).unwrap();
            assert_eq!(view.get("sit"), Some(count));
        }
        let lag = runner.lag().unwrap();
        assert_eq!((lag.behind(), lag.events, lag.is_running), (0, 59, true));
        runner.stop().unwrap();
        assert!(!runner.lag().unwrap().is_running);
    }
}

#[test]
fn a_restart_goes_on_where_the_view_is_and_counts_nothing_twice() {
    for app in applications() {
        let (view, tricks) = start();
        for count in 1..=5 {
            let written = teach(&app, &["sit"]);
            let runner = builder(&app, &view, &tricks).start().unwrap();
            runner.wait(written, PATIENCE).unwrap();
            drop(runner);
            assert_eq!(view.get("sit"), Some(count));
        }
    }
}

#[test]
fn a_position_that_concerns_nobody_is_waited_for_and_recorded() {
    for app in applications() {
        let (view, tricks) = start();
        let patient = quick(OnFailure::Stop).checkpoint_delay(PATIENCE);
        let runner = builder(&app, &view, &tricks).options(patient);
        let runner = runner.start().unwrap();
        for _ in 0..3 {
            let written = open_course(&app);
            runner.wait(written, PATIENCE).unwrap();
        }
        assert_eq!(
            view.max_tracking("school").unwrap(),
            None,
            "no checkpoint was due"
        );
        runner.stop().unwrap();
        assert_eq!(
            view.max_tracking("school").unwrap(),
            Some(3),
            "stopping stores one"
        );

        let _idle = builder(&app, &view, &tricks).start().unwrap();
        let written = open_course(&app);
        view.wait("school", written, PATIENCE).unwrap();

        let often = quick(OnFailure::Stop).checkpoint_positions(1);
        let often = often.checkpoint_delay(PATIENCE);
        drop(_idle);
        let _often = builder(&app, &view, &tricks)
            .options(often)
            .start()
            .unwrap();
        let written = open_course(&app);
        view.wait("school", written, PATIENCE).unwrap();
    }
}

#[test]
fn batches_are_as_large_as_they_may_be_and_no_larger() {
    for app in applications() {
        let (view, tricks) = start();
        let mut written = 0;
        for _ in 0..50 {
            written = teach(&app, &["sit"]);
        }
        let options = quick(OnFailure::Stop).batch_events_max(16);
        let runner = builder(&app, &view, &tricks).options(options);
        let runner = runner.start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        assert_eq!(view.get("sit"), Some(50));
        assert_eq!(tricks.knobs.largest_batch.load(Ordering::SeqCst), 16);
        assert_eq!(tricks.knobs.batches.load(Ordering::SeqCst), 7);
    }
}

#[test]
fn an_event_that_fails_is_tried_again() {
    for app in applications() {
        let (view, tricks) = start();
        // Once in the batch, twice alone.
        tricks.knobs.poisoned.store(3, Ordering::SeqCst);
        let written = teach(&app, &["sit", "poison", "fetch"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        assert_eq!(view.read(|rows| rows.values().sum::<u64>()), 3);
        assert_eq!(runner.dead_letters().unwrap(), []);
    }
}

#[test]
fn an_event_that_fails_for_good_stops_the_projection_which_loses_no_place() {
    for app in applications() {
        let (view, tricks) = start();
        tricks.knobs.poisoned.store(usize::MAX, Ordering::SeqCst);
        let written = teach(&app, &["sit", "poison", "fetch"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();

        let error = runner.wait(written, PATIENCE).unwrap_err();
        let ProjectionError::Failed { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(
                &**source,
                ProjectionError::Event { position: 3, topic, attempts: 3, source, .. }
                    if topic == "dog.trick-added" && source.to_string() == "it is poisoned"
            ),
            "{source:?}"
        );
        assert!(runner.check().is_err() && runner.stop().is_err());
        assert_eq!(
            (view.get("sit"), view.get("poison"), view.get("fetch")),
            (Some(1), None, None)
        );
        assert_eq!(view.max_tracking("school").unwrap(), Some(2));

        tricks.knobs.poisoned.store(0, Ordering::SeqCst);
        let mended = builder(&app, &view, &tricks).start().unwrap();
        mended.wait(written, PATIENCE).unwrap();
        assert_eq!(view.read(|rows| rows.values().sum::<u64>()), 3);
    }
}

#[test]
fn a_dead_letter_is_kept_with_its_error_and_replayed_once_mended() {
    for app in applications() {
        let (view, tricks) = start();
        tricks.knobs.poisoned.store(usize::MAX, Ordering::SeqCst);
        let written = teach(&app, &["sit", "poison", "fetch"]);
        let runner = builder(&app, &view, &tricks).options(quick(OnFailure::DeadLetter));
        let runner = runner.start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        assert_eq!((view.get("poison"), view.get("fetch")), (None, Some(1)));
        let letters = runner.dead_letters().unwrap();
        let [letter] = &letters[..] else {
            panic!("{letters:?}");
        };
        assert_eq!((letter.position, letter.attempts), (3, 3));
        assert_eq!(letter.topic, "dog.trick-added");
        assert_eq!(letter.error, "it is poisoned");
        assert_eq!(runner.lag().unwrap().dead_letters, 1);

        let replayed = runner.replay_dead_letters().unwrap();
        assert_eq!((replayed.resolved.len(), replayed.failed.len()), (0, 1));
        assert_eq!(runner.dead_letters().unwrap().len(), 1, "it is kept");

        tricks.knobs.poisoned.store(0, Ordering::SeqCst);
        let replayed = runner.replay_dead_letters().unwrap();
        assert_eq!((replayed.resolved.len(), replayed.failed.len()), (1, 0));
        assert_eq!(runner.dead_letters().unwrap(), []);
        assert_eq!(view.get("poison"), Some(1));
        assert_eq!(view.max_tracking("school").unwrap(), Some(written));
    }
}

#[test]
fn a_panic_is_a_failure_like_any_other() {
    for app in applications() {
        let (view, tricks) = start();
        tricks.knobs.panics.store(usize::MAX, Ordering::SeqCst);
        let written = teach(&app, &["sit", "panic"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();
        let error = runner.wait(written, PATIENCE).unwrap_err();
        let ProjectionError::Failed { source, .. } = error else {
            panic!("{error:?}");
        };
        let ProjectionError::Event {
            position: 3,
            source,
            ..
        } = &*source
        else {
            panic!("{source:?}");
        };
        let panicked = source.downcast_ref::<Panicked>().unwrap();
        assert_eq!(panicked.message, "no such trick");
        assert_eq!(view.max_tracking("school").unwrap(), Some(2));
        assert_eq!(view.get("panic"), None, "it was taken back");
    }
}

#[test]
fn an_event_that_cannot_be_read_is_a_failure_of_its_own() {
    for app in applications() {
        let (view, tricks) = start();
        let damaged = StoredEvent::new(Uuid::from_u128(1), "dog.trick-added", "[]");
        let insert = |event| app.recorder().insert_events(vec![event], Durability::Sync);
        insert(damaged.of(app.new_id(), 2)).unwrap();
        let written = teach(&app, &["sit"]);
        let runner = builder(&app, &view, &tricks).options(quick(OnFailure::DeadLetter));
        let runner = runner.start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        let letters = runner.dead_letters().unwrap();
        assert_eq!(letters.len(), 1);
        assert!(
            letters[0].error.contains("dog.trick-added"),
            "{}",
            letters[0].error
        );
        assert_eq!(view.get("sit"), Some(1));
    }
}

#[test]
#[cfg(feature = "encryption")]
fn keys_that_cannot_be_had_for_a_while_are_not_the_fault_of_events() {
    use annals::{Encryption, KeptKey, KeyRing, KeyStore, Mapper, MemoryKeyStore, SecretKey};
    use annals::{TranscodeError, WrappedKey};

    /// Keys that cannot be had that often yet.
    #[derive(Clone, Debug, Default)]
    struct Stuck {
        keys: Arc<MemoryKeyStore>,
        failing: Arc<AtomicUsize>,
    }

    impl KeyStore for Stuck {
        fn load(&self, aggregate: &AggregateId) -> Result<KeptKey, TranscodeError> {
            match Knobs::is_due(&self.failing) {
                true => Err("too many open files".into()),
                false => self.keys.load(aggregate),
            }
        }

        fn insert(&self, id: &AggregateId, key: &WrappedKey) -> Result<KeptKey, TranscodeError> {
            self.keys.insert(id, key)
        }

        fn replace(&self, id: &AggregateId, key: &WrappedKey) -> Result<(), TranscodeError> {
            self.keys.replace(id, key)
        }

        fn erase(&self, aggregate: &AggregateId) -> Result<bool, TranscodeError> {
            self.keys.erase(aggregate)
        }

        fn aggregates(&self) -> Result<Vec<AggregateId>, TranscodeError> {
            self.keys.aggregates()
        }
    }

    let stuck = Stuck::default();
    let recorder = Arc::new(MemoryRecorder::new());
    let open = || {
        let ring = KeyRing::new(1, SecretKey::new([7; 32])).unwrap();
        let encryption = Encryption::new(ring).key_per_aggregate(stuck.clone());
        let app = Application::builder(recorder.clone());
        app.mapper(Mapper::json().cipher(encryption))
            .build()
            .unwrap()
    };
    let written = teach(&open(), &["sit"]);
    // Another one, which has to ask for the key.
    let app = open();
    let (view, tricks) = start();
    let run = || {
        let runner = builder(&app, &view, &tricks).options(quick(OnFailure::DeadLetter));
        runner.start().unwrap()
    };
    stuck.failing.store(usize::MAX, Ordering::SeqCst);
    let runner = run();
    let error = runner.wait(written, PATIENCE).unwrap_err();
    let ProjectionError::Failed { source, .. } = &error else {
        panic!("{error:?}");
    };
    let ProjectionError::Store { source, .. } = &**source else {
        panic!("{source:?}");
    };
    assert!(matches!(**source, PersistenceError::KeyStore { .. }));
    assert_eq!(runner.dead_letters().unwrap(), []);
    drop(runner);

    // Not for longer than it is tried again.
    stuck.failing.store(3, Ordering::SeqCst);
    let runner = run();
    runner.wait(written, PATIENCE).unwrap();
    assert_eq!(runner.dead_letters().unwrap(), []);
    assert_eq!(view.get("sit"), Some(1));
}

#[test]
fn a_projection_is_stopped_from_any_thread_and_whoever_waits_is_told() {
    for app in applications() {
        let (view, tricks) = start();
        let runner = builder(&app, &view, &tricks).start().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| runner.wait(1, PATIENCE));
            thread::sleep(A_MOMENT);
            scope.spawn(|| runner.stop().unwrap());
            let told = waiting.join().unwrap().unwrap_err();
            assert!(
                matches!(told, ProjectionError::Stopped { position: 0, .. }),
                "{told:?}"
            );
        });
        runner.stop().unwrap();
        let timeout = builder(&app, &view, &tricks).start().unwrap();
        let told = timeout.wait(1, A_MOMENT).unwrap_err();
        assert!(
            matches!(told, ProjectionError::WaitTimeout { reached: 0, .. }),
            "{told:?}"
        );
    }
}

#[test]
fn a_projection_is_stopped_while_it_pauses_before_another_attempt() {
    for app in applications() {
        let (view, tricks) = start();
        tricks.knobs.poisoned.store(usize::MAX, Ordering::SeqCst);
        teach(&app, &["poison"]);
        let slow = FollowOptions::new().retry(Retry {
            first_delay: PATIENCE,
            ..Retry::default()
        });
        let runner = builder(&app, &view, &tricks).options(slow);
        let runner = runner.start().unwrap();
        runner.wait(1, PATIENCE).unwrap();
        thread::sleep(A_MOMENT);
        runner.stop().unwrap();
        assert_eq!(view.max_tracking("school").unwrap(), Some(1));
    }
}

#[test]
fn closing_the_upstream_ends_a_projection_in_an_orderly_way() {
    for app in applications() {
        let (view, tricks) = start();
        let written = teach(&app, &["sit"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        app.close().unwrap();
        let told = runner.wait(written + 1, PATIENCE).unwrap_err();
        assert!(matches!(told, ProjectionError::Stopped { .. }), "{told:?}");
        runner.stop().unwrap();
    }
}

#[test]
fn a_closed_view_stops_a_projection_which_says_so() {
    for app in applications() {
        let (view, tricks) = start();
        let runner = builder(&app, &view, &tricks).start().unwrap();
        view.close().unwrap();
        let written = teach(&app, &["sit"]);
        let told = runner.wait(written, PATIENCE).unwrap_err();
        let ProjectionError::Failed { source, .. } = told else {
            panic!("{told:?}");
        };
        assert!(
            matches!(
                &*source,
                ProjectionError::Store { source, .. } if matches!(**source, PersistenceError::Closed)
            ),
            "{source:?}"
        );
    }
}

/// Says that something is over when it is dropped.
struct Ends<'a>(&'a AtomicU64);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(1, Ordering::SeqCst);
    }
}

#[test]
fn a_rebuilt_view_takes_the_place_of_the_live_one_and_never_goes_back() {
    for app in applications() {
        let (view, tricks) = start();
        for _ in 0..20 {
            teach(&app, &["sit"]);
        }
        let live = LiveProjection::new(builder(&app, &view, &tricks).start().unwrap());
        let is_over = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Also when this fails, or the other thread would go on.
                let _ends = Ends(&is_over);
                for _ in 0..100 {
                    let written = teach(&app, &["sit"]);
                    live.wait(written, PATIENCE).unwrap();
                    let shown = live.view().get("sit").unwrap();
                    assert!(shown * 2 >= written, "{shown} of {}", written / 2);
                }
            });
            scope.spawn(|| {
                let mut last = 0;
                while is_over.load(Ordering::SeqCst) == 0 {
                    let shown = live.view().get("sit").unwrap_or(0);
                    assert!(shown >= last, "back from {last} to {shown}");
                    last = shown;
                }
            });
            for _ in 0..5 {
                let (next, tricks) = start();
                let next_runner = builder(&app, &next, &tricks).start().unwrap();
                live.replace(Arc::new(next_runner), PATIENCE).unwrap();
                assert!(Arc::ptr_eq(&live.view(), &next));
            }
        });
        assert_eq!(live.view().get("sit"), Some(120));
    }
}

#[test]
fn what_was_waited_for_is_in_the_view_that_has_taken_over_meanwhile() {
    for app in applications() {
        // The old one comes to it while it is replaced, the next one much later.
        let [old, next] = [30, 200].map(|delay_ms| {
            let (view, tricks) = start();
            let options = quick(OnFailure::Stop).batch_delay(Duration::from_millis(delay_ms));
            let runner = builder(&app, &view, &tricks).options(options).start();
            runner.unwrap()
        });
        let live = LiveProjection::new(old);
        let written = teach(&app, &["sit"]);
        thread::scope(|scope| {
            scope.spawn(|| {
                live.wait(written, PATIENCE).unwrap();
                assert_eq!(live.view().get("sit"), Some(1));
            });
            thread::sleep(Duration::from_millis(10));
            live.replace(Arc::new(next), PATIENCE).unwrap();
        });
    }
}

#[test]
fn a_rebuilt_view_that_fails_leaves_the_live_one_in_its_place() {
    for app in applications() {
        let (view, tricks) = start();
        let written = teach(&app, &["poison"]);
        let live = LiveProjection::new(builder(&app, &view, &tricks).start().unwrap());
        live.wait(written, PATIENCE).unwrap();

        let (next, poisoned) = start();
        poisoned.knobs.poisoned.store(usize::MAX, Ordering::SeqCst);
        let next = Arc::new(builder(&app, &next, &poisoned).start().unwrap());
        let error = live.replace(next.clone(), PATIENCE).unwrap_err();
        assert!(matches!(error, ProjectionError::Failed { .. }), "{error:?}");
        assert!(next.check().is_err());
        assert!(Arc::ptr_eq(&live.view(), &view));
        live.wait(teach(&app, &["sit"]), PATIENCE).unwrap();
    }
}

#[test]
fn who_waits_is_answered_in_time_however_often_the_live_one_is_replaced() {
    for app in applications() {
        let new = || {
            let (view, tricks) = start();
            builder(&app, &view, &tricks).start().unwrap()
        };
        let live = LiveProjection::new(new());
        let is_over = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ends = Ends(&is_over);
                let limit = Duration::from_millis(300);
                let error = live.wait(1_000, limit).unwrap_err();
                let ProjectionError::WaitTimeout { timeout, .. } = error else {
                    panic!("{error:?}");
                };
                assert_eq!(timeout, limit, "it tells the whole of it");
            });
            let replaced = (0..100).position(|_| {
                live.replace(Arc::new(new()), PATIENCE).unwrap();
                thread::sleep(Duration::from_millis(50));
                is_over.load(Ordering::SeqCst) == 1
            });
            assert!(replaced.is_some(), "it has waited again each time");
        });
    }
}

#[derive(Default)]
struct Gate {
    closed: Mutex<()>,
    /// Who has come to it.
    comers: AtomicUsize,
}

impl Gate {
    fn wait_for_one(&self) {
        while self.comers.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Is kept by a gate, and then fails or not.
struct Gated {
    gate: Arc<Gate>,
    fails: bool,
}

impl Projection<Counts> for Gated {
    type Event = DogEvent;

    fn process(
        &mut self,
        event: &Notified<DogEvent>,
        _: &mut MemoryRows<'_, String, u64>,
    ) -> Result<(), Failure> {
        if let DogEvent::TrickAdded { .. } = &event.event {
            self.gate.comers.fetch_add(1, Ordering::SeqCst);
            let _open = self.gate.closed.lock().unwrap();
            if self.fails {
                return Err("the gate leads nowhere".into());
            }
        }
        Ok(())
    }
}

fn gated(app: &Application, gate: &Arc<Gate>, fails: bool) -> ProjectionRunner<Counts> {
    let gate = gate.clone();
    let projection = Gated { gate, fails };
    let once = Retry {
        attempts: 1,
        ..Retry::default()
    };
    // Each event on its own, so that it is tried once.
    let options = quick(OnFailure::Stop).retry(once).batch_events_max(1);
    ProjectionRunner::builder("school", app, Arc::new(Counts::new()), projection)
        .options(options)
        .start()
        .unwrap()
}

#[test]
fn who_waits_is_not_told_what_became_of_one_that_was_replaced() {
    for app in applications() {
        let [gate, open] = [(); 2].map(|()| Arc::<Gate>::default());
        let held = gate.closed.lock().unwrap();
        let live = LiveProjection::new(gated(&app, &gate, true));
        let next = gated(&app, &open, false);
        let written = teach(&app, &["sit"]);
        next.wait(written, PATIENCE).unwrap();
        gate.wait_for_one();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| live.wait(written, PATIENCE));
            thread::sleep(Duration::from_millis(50));
            let replacing = scope.spawn(|| live.replace(Arc::new(next), PATIENCE));
            // The old one fails while it is being replaced.
            thread::sleep(Duration::from_millis(50));
            drop(held);
            let old = replacing.join().unwrap().unwrap();
            assert!(old.check().is_err());
            waiting.join().unwrap().unwrap();
        });
    }
}

#[test]
fn readers_are_not_kept_by_a_rebuilt_view_that_stalls() {
    for app in applications() {
        let gates = [(); 2].map(|()| Arc::<Gate>::default());
        let [old_gate, next_gate] = gates.each_ref().map(|gate| gate.closed.lock().unwrap());
        let live = LiveProjection::new(gated(&app, &gates[0], false));
        let next = Arc::new(gated(&app, &gates[1], false));
        let written = teach(&app, &["sit"]);
        gates.iter().for_each(|gate| gate.wait_for_one());
        thread::scope(|scope| {
            let replacing = scope.spawn(|| live.replace(next.clone(), PATIENCE));
            // The one in use goes on while it is being replaced, the next one does not.
            thread::sleep(Duration::from_millis(50));
            drop(old_gate);
            live.wait(written, PATIENCE).unwrap();
            thread::sleep(Duration::from_millis(50));
            let _ = live.view();
            assert!(!replacing.is_finished(), "the reader was kept to the end");
            drop(next_gate);
            replacing.join().unwrap().unwrap();
            assert!(Arc::ptr_eq(&live.view(), next.view()));
        });
    }
}

#[test]
fn a_projection_whose_result_are_events_records_each_once() {
    for app in applications() {
        let alumni = Arc::new(ProcessApplication::in_memory());
        let start = || {
            let admit = policy(|event: &Notified<DogEvent>, work| {
                let Some(dog) = event.aggregate_id.clone() else {
                    return Ok(());
                };
                match event.event {
                    DogEvent::Registered { .. } => {
                        let _ = work.add(Root::<Course>::new(dog, CourseEvent::Opened)?)?;
                    }
                    DogEvent::TrickAdded { .. } => {
                        work.get::<Course>(&dog)?.trigger(CourseEvent::DogJoined);
                    }
                }
                Ok(())
            });
            EventSourcedProjection::builder("school", &app, alumni.clone(), admit)
                .options(quick(OnFailure::Stop).batch_events_max(2))
                .start()
                .unwrap()
        };
        for count in 1..=4 {
            let written = teach(&app, &["sit", "roll over", "fetch"]);
            let projection = start();
            projection.wait(written, PATIENCE).unwrap();
            projection.stop().unwrap();
            assert_eq!(alumni.recorder().max_position().unwrap(), Some(4 * count));
        }
        let select = SelectNotifications::first(usize::MAX);
        let events = alumni.recorder().select_notifications(&select).unwrap();
        let versions: Vec<_> = events.iter().map(|event| event.event.version()).collect();
        assert_eq!(versions[..5], [1, 2, 3, 4, 1].map(Some));
        let ids = events.iter().map(|event| event.event.aggregate_id());
        assert!(
            ids.flatten()
                .all(|id| app.repository().contains(id).unwrap())
        );
    }
}

#[test]
fn an_option_out_of_range_is_refused() {
    for app in applications() {
        let (view, tricks) = start();
        let options = FollowOptions::new().batch_events_max(0);
        let refused = builder(&app, &view, &tricks).options(options).start();
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ProjectionError::InvalidOption { .. }),
            "{refused:?}"
        );
    }
}

#[test]
fn a_place_that_cannot_be_read_is_not_passed_over() {
    for failures in [2, usize::MAX] {
        let broken = Arc::new(Broken {
            inner: MemoryRecorder::new(),
            position: 2,
            left: Arc::new(AtomicUsize::new(failures)),
        });
        let app = application(broken.clone());
        let (view, tricks) = start();
        let written = teach(&app, &["sit", "fetch"]);
        let runner = builder(&app, &view, &tricks).start().unwrap();
        let outcome = runner.wait(written, PATIENCE);
        if failures == 2 {
            outcome.unwrap();
            assert_eq!(view.get("sit"), Some(1));
            continue;
        }
        let ProjectionError::Failed { source, .. } = outcome.unwrap_err() else {
            panic!("expected why it failed");
        };
        assert!(
            matches!(&*source, ProjectionError::Upstream { position: 1, .. }),
            "{source:?}"
        );
        assert_eq!(view.max_tracking("school").unwrap(), Some(1));

        // Who wants to go on gets a dead letter, and processes it when it can be read again.
        let runner = builder(&app, &view, &tricks).options(quick(OnFailure::DeadLetter));
        let runner = runner.start().unwrap();
        runner.wait(written, PATIENCE).unwrap();
        assert_eq!((view.get("sit"), view.get("fetch")), (None, Some(1)));
        let letters = view.dead_letters("school").unwrap();
        assert_eq!((letters.len(), letters[0].position), (1, 2));
        broken.left.store(0, Ordering::SeqCst);
        assert_eq!(runner.replay_dead_letters().unwrap().resolved.len(), 1);
        assert_eq!(view.get("sit"), Some(1));
    }
}

/// A recorder that cannot read one position for a while.
#[derive(Debug)]
struct Broken {
    inner: MemoryRecorder,
    position: u64,
    left: Arc<AtomicUsize>,
}

impl Recorder for Broken {
    fn close(&self) -> Result<(), PersistenceError> {
        self.inner.close()
    }
}

impl AggregateRecorder for Broken {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.inner.insert_events(events, durability)
    }

    fn select_events(
        &self,
        id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.inner.select_events(id, select)
    }
}

impl ApplicationRecorder for Broken {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.inner.select_notifications(select)
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        self.inner.max_position()
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        Ok(Subscription::new(BrokenFollow {
            source: self.inner.subscribe(after, topics)?,
            position: self.position,
            left: self.left.clone(),
        }))
    }
}

#[derive(Debug)]
struct BrokenFollow {
    source: Subscription,
    position: u64,
    left: Arc<AtomicUsize>,
}

impl Follow for BrokenFollow {
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>> {
        let next = match timeout {
            Some(timeout) => self.source.next_timeout(timeout),
            None => self.source.next(),
        };
        match next {
            Some(Ok(event)) if event.position == self.position && Knobs::is_due(&self.left) => {
                Some(Err(PersistenceError::Damaged {
                    source: "a bad sector".into(),
                }))
            }
            next => next,
        }
    }

    fn position(&self) -> u64 {
        self.source.position()
    }

    fn is_stopped(&self) -> bool {
        self.source.is_stopped()
    }

    fn stop_handle(&self) -> StopHandle {
        self.source.stop_handle()
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const A_MOMENT: Duration = Duration::from_millis(20);
