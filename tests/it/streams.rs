//! Goal: a subscription as a stream needs no thread and no runtime, and no wake-up is lost.
//!
//! Method: an executor of a few lines, on which hundreds of tasks follow what other threads append.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use annals_engine::{Batch, Durability, Error, Log, Query, QueryItem, Update};
use annals_segments::MemoryDisk;
use annals_tests::log_files::{self, DIR};
use annals_tests::{event, small_log};
use futures_core::Stream;

fn next<S: Stream + Unpin>(stream: &mut S) -> impl Future<Output = Option<S::Item>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A task of the executor; waking it puts it into the queue.
struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queue: Sender<Arc<Task>>,
    polls: Arc<AtomicUsize>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let queue = self.queue.clone();
        let _ = queue.send(self);
    }
}

/// Runs tasks on the calling thread.
struct Executor {
    queue: Sender<Arc<Task>>,
    ready: Receiver<Arc<Task>>,
    left: usize,
    polls: Arc<AtomicUsize>,
}

impl Executor {
    fn new() -> Self {
        let (queue, ready) = channel();
        Self {
            queue,
            ready,
            left: 0,
            polls: Arc::default(),
        }
    }

    fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.left += 1;
        let task = Task {
            future: Mutex::new(Some(Box::pin(future))),
            queue: self.queue.clone(),
            polls: self.polls.clone(),
        };
        Arc::new(task).wake();
    }

    /// Until all tasks are done; never, if a wake-up is lost.
    fn run(mut self) {
        while self.left > 0 {
            let task = self.ready.recv().unwrap();
            let mut slot = task.future.lock().unwrap();
            let Some(mut future) = slot.take() else {
                continue;
            };
            task.polls.fetch_add(1, Ordering::Relaxed);
            let waker = Waker::from(task.clone());
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(()) => self.left -= 1,
                Poll::Pending => *slot = Some(future),
            }
        }
    }
}

#[test]
fn a_stream_catches_up_then_follows_and_ends_when_it_is_stopped() {
    let log = Log::in_memory().unwrap();
    log.append(event("a", "Was", "")).unwrap();
    let subscription = log.subscribe(0, Query::all());
    let stop = subscription.stop_handle();
    let mut stream = subscription.updates().into_stream();
    let appending = log.clone();
    block_on(async {
        let mut told = Vec::new();
        while let Some(update) = next(&mut stream).await {
            let update = update.unwrap();
            told.push(update.position());
            match (&update, told.len()) {
                (Update::Event(_), 5) => {
                    let stop = stop.clone();
                    std::thread::spawn(move || stop.stop());
                }
                (Update::CaughtUp { .. }, 2) => {
                    let log = appending.clone();
                    std::thread::spawn(move || {
                        for _ in 0..3 {
                            log.append(event("a", "Was", "")).unwrap();
                        }
                    });
                }
                (Update::Event(_), _) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, [1, 1, 2, 3, 4]);
        assert!(next(&mut stream).await.is_none(), "it stays ended");
    });
}

#[test]
fn a_task_that_waits_for_buffered_events_is_shown_them_without_the_timer() {
    let options = Log::options()
        .disk(MemoryDisk::default())
        .buffered_sync_after(std::time::Duration::from_secs(3_600));
    let log = options.open(DIR).unwrap();
    fn append(log: &Log) -> u64 {
        let batch = Batch::from(event("a", "Was", "")).durability(Durability::Buffered);
        log.append(batch).unwrap().last
    }
    let mut stream = log.subscribe(0, Query::all()).into_stream();
    for _ in 0..20 {
        // Before it waits, and while it does.
        for position in [append(&log), append(&log)] {
            let shown = block_on(next(&mut stream)).unwrap().unwrap();
            assert_eq!(shown.position, position);
        }
        let appending = log.clone();
        let appended = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            append(&appending)
        });
        let shown = block_on(next(&mut stream)).unwrap().unwrap();
        assert_eq!(shown.position, appended.join().unwrap());
    }
}

#[test]
fn hundreds_of_tasks_on_one_thread_lose_no_wake_up() {
    const TASKS: usize = 200;
    const TAGS: usize = 10;
    const EVENTS: usize = 2_000;
    let log = small_log(MemoryDisk::default(), 1)
        .background(true)
        .open("/log")
        .unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut executor = Executor::new();
    let polls = executor.polls.clone();
    for number in 0..TASKS {
        let tag = format!("tag-{}", number % TAGS);
        let query: Query = QueryItem::new().tag(tag).into();
        let mut stream = log.subscribe(0, query).into_stream();
        let seen = seen.clone();
        executor.spawn(async move {
            let mut last = 0;
            for _ in 0..EVENTS / TAGS {
                let event = next(&mut stream).await.unwrap().unwrap();
                assert!(event.position > last);
                last = event.position;
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in (0..EVENTS).filter(|number| number % 4 == thread) {
                    let tag = format!("tag-{}", number % TAGS);
                    log.append(event("a", "Was", "").tag(tag)).unwrap();
                    if number % 16 == thread {
                        // Lets the tasks catch up and fall asleep, so that there is somebody to wake.
                        std::thread::yield_now();
                    }
                }
            });
        }
        executor.run();
    });
    assert_eq!(seen.load(Ordering::Relaxed), TASKS * EVENTS / TAGS);
    assert!(polls.load(Ordering::Relaxed) > TASKS, "nobody ever slept");
}

/// Each event is appended only when the task sleeps or is about to: the moment that a wake-up can fall
/// between the look and the sleep.
#[test]
fn no_wake_up_is_lost_between_the_look_and_the_sleep() {
    let log = Log::in_memory().unwrap();
    let mut stream = log.subscribe(0, Query::all()).into_stream();
    let (ask, asked) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for () in asked {
                log.append(event("a", "Was", "")).unwrap();
            }
        });
        block_on(async {
            for number in 1..=20_000 {
                ask.send(()).unwrap();
                assert_eq!(next(&mut stream).await.unwrap().unwrap().position, number);
            }
        });
        drop(ask);
    });
}

#[test]
fn a_close_ends_streams_and_a_dropped_one_is_not_woken() {
    let log = Log::in_memory().unwrap();
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let mut dropped = log.subscribe(0, Query::all()).into_stream();
    let mut kept = log.subscribe(0, Query::all()).into_stream();
    assert!(Pin::new(&mut dropped).poll_next(&mut context).is_pending());
    assert!(Pin::new(&mut kept).poll_next(&mut context).is_pending());
    drop(dropped);
    log.append(event("a", "Was", "")).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(Pin::new(&mut kept).poll_next(&mut context).is_ready());
    assert!(Pin::new(&mut kept).poll_next(&mut context).is_pending());
    log.close().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(matches!(
        Pin::new(&mut kept).poll_next(&mut context),
        Poll::Ready(None)
    ));
    drop(kept);
    assert_eq!(Arc::strong_count(&count), 2, "the log has kept no waker");
}

/// A waker is code of others: it may panic, and hold the last handle of the log.
#[test]
fn a_waker_may_panic_and_close_the_log() {
    struct Rude(Mutex<Option<Log>>);
    impl Wake for Rude {
        fn wake(self: Arc<Self>) {
            let log = self.0.lock().unwrap().take().unwrap();
            assert_eq!(log.durable_head(), 1);
            log.close().unwrap();
            drop(log);
            panic!("rude");
        }
    }
    for is_submitted in [false, true] {
        let log = Log::in_memory().unwrap();
        let waker = Waker::from(Arc::new(Rude(Mutex::new(Some(log.clone())))));
        let mut stream = log.subscribe(0, Query::all()).into_stream();
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
        let appended = match is_submitted {
            false => log.append(event("a", "Was", "")),
            true => log.submit(event("a", "Was", "")).unwrap().wait(),
        };
        assert_eq!(appended.unwrap().last, 1);
        assert!(log.append(event("a", "Was", "")).is_err(), "it is closed");
    }
}

/// A log that was opened for reading, and has a thread that follows the one being written.
fn follower_of(disk: &MemoryDisk) -> Log {
    let options = small_log(disk.clone(), 2).background(true);
    options.open_read_only(DIR).unwrap()
}

#[test]
fn a_stream_of_a_follower_is_woken_by_its_thread_and_told_of_failures() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let follower = follower_of(&disk);
    let mut stream = follower.subscribe(0, Query::all()).into_stream();
    let append_all = || {
        for _ in 0..500 {
            log.append(event("a", "Was", "")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(append_all);
        block_on(async {
            for number in 1..=500 {
                assert_eq!(next(&mut stream).await.unwrap().unwrap().position, number);
            }
        });
    });
    let watermark = log_files::content(&disk, "WATERMARK");
    log_files::remove(&disk, "WATERMARK");
    let error = block_on(next(&mut stream)).unwrap().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    log_files::write(&disk, "WATERMARK", &watermark, 0);
    // The writer goes on with the file it has open.
    log.close().unwrap();
    let log = small_log(disk.clone(), 3).open(DIR).unwrap();
    let position = log.append(event("a", "Was", "")).unwrap().last;
    let shown = block_on(next(&mut stream)).unwrap().unwrap();
    assert_eq!(shown.position, position);
}

#[test]
fn a_waker_may_close_the_follower_whose_thread_wakes_it() {
    struct Closing(Mutex<Option<Log>>, Sender<()>);
    impl Wake for Closing {
        fn wake(self: Arc<Self>) {
            let log = self.0.lock().unwrap().take();
            log.unwrap().close().unwrap();
            self.1.send(()).unwrap();
        }
    }
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let follower = follower_of(&disk);
    let mut stream = follower.subscribe(0, Query::all()).into_stream();
    let (closed, is_closed) = channel();
    let waker = Waker::from(Arc::new(Closing(Mutex::new(Some(follower)), closed)));
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
    log.append(event("a", "Was", "")).unwrap();
    is_closed.recv().unwrap();
    assert!(block_on(next(&mut stream)).is_none());
}
