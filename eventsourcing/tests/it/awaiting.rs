//! Saves, loads and subscriptions that are awaited, on the smallest executor there is: one thread that parks.

use std::cell::Cell;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use annals::{
    AggregateId, AggregateRecorder, Application, ApplicationBuilder, ApplicationRecorder,
    AsyncApplication, CacheOptions, Clock, Durability, Error, Follow, LogRecorder, MemoryRecorder,
    Notification, PersistenceError, Recorded, Recorder, Root, SelectEvents, SelectNotifications,
    StopHandle, StoredEvent, Submission, Subscription, SystemClock, unblock,
};
use futures_core::Stream;

use crate::school::{Dog, DogEvent};
use crate::stores::recorders;
use crate::watched::Watched;

// ---- The executor ----

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

/// All of them in turns, in one thread.
async fn join<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut futures {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        match futures.iter().all(|(_, done)| done.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}

fn next<S: Stream + Unpin>(stream: &mut S) -> impl Future<Output = Option<S::Item>> + '_ {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context))
}

// ---- The applications ----

fn log() -> LogRecorder {
    LogRecorder::from(annals_engine::Log::in_memory().unwrap())
}

/// On every store, and on a log that only blocks.
fn applications(
    set: impl Fn(ApplicationBuilder) -> ApplicationBuilder,
) -> impl Iterator<Item = AsyncApplication> {
    let blocking: Arc<dyn ApplicationRecorder> = Watched::new(log());
    let all = recorders().map(|recorder| -> Arc<dyn ApplicationRecorder> { recorder });
    let all = all.chain([blocking]);
    all.map(move |recorder| {
        AsyncApplication::new(set(Application::builder(recorder)).build().unwrap())
    })
}

fn plain(builder: ApplicationBuilder) -> ApplicationBuilder {
    builder
}

fn cached(builder: ApplicationBuilder) -> ApplicationBuilder {
    builder.cache(CacheOptions::lru(10))
}

fn fido(app: &AsyncApplication) -> Root<Dog> {
    Root::<Dog>::new(app.application().new_id(), DogEvent::registered("Fido")).unwrap()
}

fn teach(trick: &str) -> impl FnMut(&mut Root<Dog>) -> Result<usize, Error> {
    let trick = trick.to_owned();
    move |dog| {
        dog.trigger(DogEvent::trick_added(&trick));
        Ok(dog.tricks.len())
    }
}

#[test]
fn what_was_saved_is_got_and_edited() {
    for set in [plain, cached] {
        for app in applications(set) {
            block_on(async {
                let mut dog = fido(&app);
                let recordings = app.save(&mut dog).await.unwrap();
                assert_eq!((recordings[0].position, dog.pending().len()), (1, 0));
                assert_eq!(app.edit(dog.id(), teach("sit")).await.unwrap(), 1);
                assert_eq!(app.edit(dog.id(), teach("roll over")).await.unwrap(), 2);
                let got = app.get::<Dog>(dog.id()).await.unwrap();
                assert_eq!((got.version(), got.tricks.len()), (3, 2));
                let missing = app.get::<Dog>(&app.application().new_id()).await;
                assert!(missing.unwrap_err().is_not_found());
                let nothing: Vec<&mut Root<Dog>> = Vec::new();
                assert!(app.save(nothing).await.unwrap().is_empty());
            });
        }
    }
}

#[test]
fn tasks_of_one_thread_edit_one_aggregate_and_none_is_lost() {
    for set in [plain, cached] {
        let patient = |builder: ApplicationBuilder| {
            set(builder).retries(annals::Retries {
                attempts: 1_000,
                ..annals::Retries::default()
            })
        };
        for app in applications(patient) {
            block_on(async {
                let mut dog = fido(&app);
                app.save(&mut dog).await.unwrap();
                let edits: Vec<Pin<Box<dyn Future<Output = usize> + '_>>> = (0..20)
                    .map(|number| {
                        let (app, id) = (&app, dog.id());
                        let edit =
                            async move { app.edit(id, teach(&number.to_string())).await.unwrap() };
                        Box::pin(edit) as Pin<Box<dyn Future<Output = usize>>>
                    })
                    .collect();
                join(edits).await;
                let got = app.get::<Dog>(dog.id()).await.unwrap();
                assert_eq!(got.tricks.len(), 20);
            });
        }
    }
}

#[test]
fn a_trusted_cache_forgets_what_tasks_save() {
    for app in applications(|builder| builder.cache(CacheOptions::lru(10).fast_forward(false))) {
        block_on(async {
            let mut dog = fido(&app);
            app.save(&mut dog).await.unwrap();
            app.edit(dog.id(), teach("sit")).await.unwrap();
            let mut got = app.get::<Dog>(dog.id()).await.unwrap();
            got.trigger(DogEvent::trick_added("roll over"));
            app.save(&mut got).await.unwrap();
            let calls = Cell::new(0);
            let tricks = app.edit::<Dog, _>(dog.id(), |dog| {
                calls.set(calls.get() + 1);
                teach("fetch")(dog)
            });
            assert_eq!((tricks.await.unwrap(), calls.get()), (3, 1));
        });
    }
}

#[test]
fn a_refusal_and_a_contended_edit_are_answered() {
    for app in applications(plain) {
        block_on(async {
            let mut dog = fido(&app);
            app.save(&mut dog).await.unwrap();
            let calls = Cell::new(0);
            let contended = app.edit::<Dog, _>(dog.id(), |dog| {
                calls.set(calls.get() + 1);
                app.application().edit(dog.id(), teach("faster"))?;
                teach("never")(dog)
            });
            let contended = contended.await.unwrap_err();
            assert!(matches!(contended, Error::Contended { attempts: 10, .. }));
            assert_eq!(calls.get(), 10);
            let refused = app.edit::<Dog, _>(dog.id(), |_| {
                Err::<(), _>(Error::SectionSize { found: 1, max: 0 })
            });
            assert!(matches!(refused.await, Err(Error::SectionSize { .. })));
        });
    }
}

#[test]
fn an_edit_that_is_overtaken_again_waits_and_lets_others_go_on() {
    const DELAY: Duration = Duration::from_millis(200);
    let now = || Duration::from_nanos(SystemClock.monotonic_ns());
    let retries = annals::Retries {
        attempts: 3,
        delay: DELAY,
        delay_max: DELAY,
    };
    for app in applications(|builder| builder.retries(retries)) {
        block_on(async {
            let mut dog = fido(&app);
            app.save(&mut dog).await.unwrap();
            let attempts = Mutex::new(Vec::new());
            let overtaken = async {
                let edit = app.edit::<Dog, _>(dog.id(), |dog| {
                    attempts.lock().unwrap().push(now());
                    app.application().edit(dog.id(), teach("faster"))?;
                    teach("never")(dog)
                });
                edit.await.unwrap_err();
                now()
            };
            let other = async {
                while attempts.lock().unwrap().len() < 2 {
                    unblock(|| ()).await;
                }
                app.get::<Dog>(dog.id()).await.unwrap();
                now()
            };
            let ended = join(vec![Box::pin(overtaken), Box::pin(other)]).await;
            let attempts = attempts.lock().unwrap();
            assert!(attempts[2] - attempts[1] >= DELAY / 2, "{attempts:?}");
            assert!(ended[1] < attempts[2], "nobody else is held up");
        });
    }
}

#[test]
fn a_save_that_was_dropped_is_made_again_without_harm() {
    for app in applications(plain) {
        let mut dog = fido(&app);
        {
            let mut save = pin!(app.save(&mut dog));
            let _ = save.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        if dog.pending().is_empty() {
            continue;
        }
        let again = block_on(app.save(&mut dog)).unwrap();
        assert_eq!(again[0].position, 1);
        assert_eq!(
            app.application().recorder().max_position().unwrap(),
            Some(1)
        );
    }
}

/// Inserts wait until they are let through, by whoever the same executor runs.
#[derive(Debug)]
struct Gate {
    inner: MemoryRecorder,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryRecorder::new(),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
        })
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Recorder for Gate {
    fn close(&self) -> Result<(), PersistenceError> {
        self.inner.close()
    }
}

impl AggregateRecorder for Gate {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let is_open = self.is_open.lock().unwrap();
        drop(
            self.opened
                .wait_while(is_open, |is_open| !*is_open)
                .unwrap(),
        );
        self.inner.insert_events(events, durability)
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        let is_open = self.is_open.lock().unwrap();
        drop(
            self.opened
                .wait_while(is_open, |is_open| !*is_open)
                .unwrap(),
        );
        self.inner.select_events(aggregate_id, select)
    }

    fn for_each_event(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        visit: &mut dyn FnMut(&Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        for notification in self.select_events(aggregate_id, select)? {
            if visit(&notification).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl ApplicationRecorder for Gate {
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
        self.inner.subscribe(after, topics)
    }
}

#[test]
fn a_recorder_that_blocks_holds_up_no_other_task() {
    let recorder = Gate::new();
    let app = AsyncApplication::new(Application::builder(recorder.clone()).build().unwrap());
    let mut dog = fido(&app);
    let id = dog.id().clone();
    let work: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![
        Box::pin(async { drop(app.save(&mut dog).await.unwrap()) }),
        // Runs only if the task before has given back the thread.
        Box::pin(async { recorder.open() }),
    ];
    block_on(join(work));

    *recorder.is_open.lock().unwrap() = false;
    let work: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![
        Box::pin(async { assert_eq!(app.get::<Dog>(&id).await.unwrap().name, "Fido") }),
        Box::pin(async { assert_eq!(app.edit(&id, teach("sit")).await.unwrap(), 1) }),
        Box::pin(async { recorder.open() }),
    ];
    block_on(join(work));
}

#[cfg(feature = "hash-chain")]
#[test]
fn a_hash_chain_is_read_where_no_other_task_is_held_up() {
    let recorder = Gate::new();
    let builder =
        Application::builder(recorder.clone()).mapper(annals::Mapper::json().hash_chain());
    let app = AsyncApplication::new(builder.build().unwrap());
    let mut dog = fido(&app);
    recorder.open();
    block_on(app.save(&mut dog)).unwrap();
    *recorder.is_open.lock().unwrap() = false;
    dog.trigger(DogEvent::trick_added("sit"));
    // The link needs the event before, and so the gate.
    let work: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![
        Box::pin(async { drop(app.save(&mut dog).await.unwrap()) }),
        Box::pin(async { recorder.open() }),
    ];
    block_on(join(work));
    let chain = app.application().verify_chain(dog.id()).unwrap();
    assert_eq!(chain.verified, 2);
}

#[test]
fn a_save_on_the_log_is_handed_over_and_not_waited_for() {
    let recorder = log();
    let event =
        StoredEvent::new(uuid::Uuid::from_u128(1), "Happened", "{}").of(uuid::Uuid::nil(), 1);
    let Submission::UnderWay(outcome) =
        recorder.submit_events(vec![event.clone()], Durability::Sync)
    else {
        panic!("the log can be awaited")
    };
    assert_eq!(block_on(outcome).unwrap()[0].position, 1);
    let other = StoredEvent {
        event_id: uuid::Uuid::from_u128(2),
        ..event
    };
    for (events, is_conflict) in [(vec![other], true), (vec![], false)] {
        let Submission::UnderWay(outcome) = recorder.submit_events(events, Durability::Sync) else {
            panic!("the log can be awaited")
        };
        let outcome = block_on(outcome);
        assert_eq!(outcome.is_err_and(|error| error.is_conflict()), is_conflict);
    }
}

#[test]
fn streams_catch_up_follow_and_end_with_the_application() {
    for app in applications(plain) {
        block_on(async {
            let mut dog = fido(&app);
            app.save(&mut dog).await.unwrap();
            let mut events = app.subscribe_events::<DogEvent>(0).unwrap();
            let mut notifications = app.subscribe(1, &[]).unwrap();
            let first = next(&mut events).await.unwrap().unwrap();
            assert_eq!(
                (first.position, first.event.event),
                (1, DogEvent::registered("Fido"))
            );

            let later = unblock({
                let (app, id) = (app.clone(), dog.id().clone());
                move || {
                    thread::sleep(Duration::from_millis(5));
                    app.application().edit(&id, teach("sit")).unwrap();
                    app.application().edit(&id, teach("roll over")).unwrap();
                }
            });
            let seen: Vec<Pin<Box<dyn Future<Output = u64> + '_>>> = vec![
                Box::pin(async {
                    later.await;
                    0
                }),
                Box::pin(async {
                    let _ = next(&mut events).await.unwrap().unwrap();
                    next(&mut events).await.unwrap().unwrap().position
                }),
                Box::pin(async { next(&mut notifications).await.unwrap().unwrap().position }),
            ];
            assert_eq!(join(seen).await, [0, 3, 2]);

            app.application().close().unwrap();
            // What was ahead comes first.
            while next(&mut notifications).await.is_some() {}
            assert!(next(&mut events).await.is_none());
        });
    }
}

#[test]
fn an_undecodable_event_is_an_item_of_the_stream_and_ends_nothing() {
    for app in applications(plain) {
        let broken = StoredEvent::new(uuid::Uuid::from_u128(1), "Registered", "?");
        let recorder = app.application().recorder();
        recorder
            .insert_events(vec![broken.of(uuid::Uuid::nil(), 1)], Durability::Sync)
            .unwrap();
        block_on(async {
            app.save(&mut fido(&app)).await.unwrap();
            let mut events = app.subscribe_events::<DogEvent>(0).unwrap();
            let first = next(&mut events).await.unwrap();
            assert!(matches!(first, Err(Error::Undecodable { position: 1, .. })));
            assert_eq!(next(&mut events).await.unwrap().unwrap().position, 2);
        });
    }
}

/// Waits until it is stopped, and can only be waited for.
#[derive(Debug)]
struct Waiting {
    inner: Subscription,
    _alive: Arc<()>,
}

impl Follow for Waiting {
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>> {
        assert!(timeout.is_none());
        self.inner.next()
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn is_stopped(&self) -> bool {
        self.inner.is_stopped()
    }

    fn stop_handle(&self) -> StopHandle {
        self.inner.stop_handle()
    }
}

#[test]
fn a_stream_that_is_dropped_ends_its_thread() {
    let app = applications(plain).next().unwrap();
    let alive = Arc::new(());
    // After one was taken, with one ahead, and idle: nothing comes any more that would wake it.
    for events in [1, 2, 0] {
        let after = if events > 0 { 0 } else { 2 };
        let mut stream = Subscription::new(Waiting {
            inner: app.application().subscribe(after, &[]).unwrap(),
            _alive: alive.clone(),
        })
        .into_stream();
        if events > 0 {
            block_on(app.save(&mut fido(&app))).unwrap();
            block_on(next(&mut stream)).unwrap().unwrap();
        } else {
            let poll = Pin::new(&mut stream).poll_next(&mut Context::from_waker(Waker::noop()));
            assert!(poll.is_pending());
        }
    }
    for _ in 0..2_000 {
        if Arc::strong_count(&alive) == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads go on", Arc::strong_count(&alive) - 1);
}

#[test]
fn a_closed_application_answers_so_to_tasks() {
    for app in applications(plain) {
        app.application().close().unwrap();
        let mut dog = fido(&app);
        block_on(async {
            assert!(app.save(&mut dog).await.unwrap_err().is_closed());
            assert!(app.get::<Dog>(dog.id()).await.unwrap_err().is_closed());
            assert!(
                app.edit(dog.id(), teach("sit"))
                    .await
                    .unwrap_err()
                    .is_closed()
            );
            assert!(app.subscribe(0, &[]).unwrap_err().is_closed());
        });
    }
}

#[test]
fn futures_go_from_thread_to_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let app = applications(cached).next().unwrap();
    let mut dog = fido(&app);
    let id = dog.id().clone();
    block_on(is_send(app.save(&mut dog))).unwrap();
    block_on(is_send(app.get::<Dog>(&id))).unwrap();
    block_on(is_send(app.edit(&id, teach("sit")))).unwrap();
    drop(is_send(app.subscribe_events::<DogEvent>(0).unwrap()));
}

#[test]
fn work_that_blocks_is_awaited_with_its_panics() {
    assert_eq!(block_on(unblock(|| 7)), 7);
    let panicked = std::panic::catch_unwind(|| block_on(unblock(|| panic!("in the thread"))));
    let text = panicked.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(*text, "in the thread");
    drop(unblock(|| panic!("never begun")));
}
