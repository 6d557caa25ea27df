//! Followers of the library: how many events a pipeline of two applications and a projection process in a second, and how
//! soon somebody is woken who waits for what he wrote.
//!
//! Events are small (a name and two numbers as JSON), ten to an aggregate, a hundred to a save.

use std::sync::Arc;
use std::time::Duration;

use annals::rusqlite::Transaction;
use annals::{
    Aggregate, Application, ApplicationRecorder, Clock, Durability, Event, EventSourcedProjection,
    Failure, FollowOptions, LogRecorder, MemoryRecorder, MemoryRows, MemoryView, Notified,
    ProcessApplication, ProcessRecorder, Projection, ProjectionRunner, Root, SqliteView,
    SystemClock, policy,
};
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

#[derive(Clone, Serialize, Deserialize)]
enum OrderEvent {
    #[serde(rename = "sales.order.Placed")]
    Placed { customer: String },
    #[serde(rename = "sales.order.LineWasAdded")]
    LineAdded { article: u64, quantity: u64 },
}

impl Event for OrderEvent {}

/// An order, and what a second application makes of it.
struct Order {
    lines: u64,
}

impl Aggregate for Order {
    type Event = OrderEvent;

    fn start(_: &OrderEvent) -> Option<Self> {
        Some(Self { lines: 0 })
    }

    fn apply(&mut self, event: &OrderEvent) {
        self.lines += u64::from(matches!(event, OrderEvent::LineAdded { .. }));
    }
}

/// Counts lines by article.
struct Lines;

type View = MemoryView<u64, u64>;

impl Projection<View> for Lines {
    type Event = OrderEvent;

    fn process(
        &mut self,
        event: &Notified<OrderEvent>,
        rows: &mut MemoryRows<'_, u64, u64>,
    ) -> Result<(), Failure> {
        if let OrderEvent::LineAdded { article, quantity } = event.event {
            rows.update(article, |sold| *sold += quantity);
        }
        Ok(())
    }
}

/// A row for each line.
struct LineRows;

const SCHEMA: &str =
    "CREATE TABLE lines (position INTEGER PRIMARY KEY, article INTEGER, quantity INTEGER)";

impl Projection<SqliteView> for LineRows {
    type Event = OrderEvent;

    fn process(
        &mut self,
        event: &Notified<OrderEvent>,
        rows: &mut Transaction<'_>,
    ) -> Result<(), Failure> {
        if let OrderEvent::LineAdded { article, quantity } = event.event {
            rows.prepare_cached("INSERT INTO lines VALUES (?1, ?2, ?3)")?
                .execute([event.position, article, quantity].map(u64::cast_signed))?;
        }
        Ok(())
    }
}

// ---- Applications ----

#[derive(Clone, Copy)]
enum Store {
    Memory,
    /// A log whose inserts are buffered.
    Log,
}

const STORES: [(&str, Store); 2] = [("memory", Store::Memory), ("log", Store::Log)];

fn application(store: Store, dir: &TempDir, name: &str) -> ProcessApplication {
    let recorder: Arc<dyn ProcessRecorder> = match store {
        Store::Memory => Arc::new(MemoryRecorder::new()),
        Store::Log => {
            Arc::new(LogRecorder::open(dir.path().join(name)).expect("a fresh directory"))
        }
    };
    ProcessApplication::configured(recorder, |builder| builder.durability(Durability::Buffered))
        .expect("the options are in range")
}

/// Saves at least so many events, 100 at a time; answers the last position.
fn save(application: &Application, events: u64) -> u64 {
    let mut last = 0;
    while last < events {
        let mut orders: Vec<_> = (0..10).map(|_| order(application)).collect();
        let saved = application.save(&mut orders).expect("nobody else writes");
        last = saved.last().map_or(last, |saved| saved.position);
    }
    last
}

fn order(application: &Application) -> Root<Order> {
    let customer = "c-20260417-000381".to_owned();
    let placed = OrderEvent::Placed { customer };
    let mut order = Root::<Order>::new(application.new_id(), placed).expect("it begins with any");
    for article in 0..9 {
        let quantity = 2;
        order.trigger(OrderEvent::LineAdded { article, quantity });
    }
    order
}

/// Waits until what was buffered is durable, as followers see nothing else.
fn settle(recorder: &dyn ApplicationRecorder, position: u64) {
    while recorder.max_position().expect("it is open") < Some(position) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Repeats each event on an order of the same id.
fn follow(leader: &Application, follower: &Arc<ProcessApplication>) -> EventSourcedProjection {
    let repeat = policy(|event: &Notified<OrderEvent>, work| {
        let Some(id) = event.aggregate_id.clone() else {
            return Ok(());
        };
        let again = event.event.clone();
        match event.version {
            Some(1) => {
                let _ = work.add(Root::<Order>::new(id, again)?)?;
            }
            _ => work.get::<Order>(&id)?.trigger(again),
        }
        Ok(())
    });
    EventSourcedProjection::builder("orders", leader, follower.clone(), repeat)
        .options(FollowOptions::new())
        .start()
        .expect("both are open")
}

// ---- Figures ----

fn now_ns() -> u64 {
    SystemClock.monotonic_ns()
}

fn timed(what: impl FnOnce()) -> Duration {
    let start_ns = now_ns();
    what();
    Duration::from_nanos(now_ns() - start_ns)
}

/// Rounds of so many events each, every round in a store of its own: what begins and ends a round counts for little.
fn rounds<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    events: u64,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(events));
    group
}

/// Runs `round`, which answers how long its timed part took, so many times.
fn repeated(rounds: u64, mut round: impl FnMut(&TempDir) -> Duration) -> Duration {
    (0..rounds)
        .map(|_| round(&TempDir::new().expect("a directory for temporary files")))
        .sum()
}

/// From the first save in one application to the last effect in the other.
fn pipeline(criterion: &mut Criterion) {
    let mut group = rounds(criterion, "pipeline", EVENTS);
    for (name, store) in STORES {
        group.bench_function(format!("live/{name}"), |bencher| {
            bencher.iter_custom(|count| {
                repeated(count, |dir| {
                    let leader = application(store, dir, "orders");
                    let follower = Arc::new(application(store, dir, "shipping"));
                    let projection = follow(&leader, &follower);
                    timed(|| {
                        let last = save(&leader, EVENTS);
                        projection.wait(last, PATIENCE).expect("it goes on");
                    })
                })
            });
        });
        group.bench_function(format!("catch_up/{name}"), |bencher| {
            bencher.iter_custom(|count| {
                repeated(count, |dir| {
                    let leader = application(store, dir, "orders");
                    let follower = Arc::new(application(store, dir, "shipping"));
                    let last = save(&leader, EVENTS);
                    settle(&**leader.recorder(), last);
                    timed(|| {
                        let projection = follow(&leader, &follower);
                        projection.wait(last, PATIENCE).expect("it goes on");
                    })
                })
            });
        });
    }
    group.finish();
}

/// What it costs who saves, a buffered event at a time, that somebody follows.
fn followed(criterion: &mut Criterion) {
    const SAVES: u64 = 20_000;
    let mut group = rounds(criterion, "saves_of_one", SAVES);
    for (name, is_followed) in [("alone/log", false), ("followed/log", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                repeated(count, |dir| {
                    let leader = application(Store::Log, dir, "orders");
                    let view = Arc::new(View::new());
                    let runner = ProjectionRunner::builder("orders", &leader, view, Lines);
                    let _runner = is_followed.then(|| runner.start().expect("both are open"));
                    timed(|| {
                        for _ in 0..SAVES {
                            one_line(&leader, Durability::Buffered);
                        }
                    })
                })
            });
        });
    }
    group.finish();
}

/// All that there is, into an empty view.
fn projection(criterion: &mut Criterion) {
    let mut group = rounds(criterion, "projection", EVENTS);
    for (name, store) in STORES {
        group.bench_function(format!("memory_view/{name}"), |bencher| {
            bencher.iter_custom(|count| {
                repeated(count, |dir| {
                    let view = Arc::new(View::new());
                    catch_up(store, dir, view, Lines)
                })
            });
        });
    }
    // Both files on the same disk; a transaction of the view is durable when it ends.
    group.bench_function("sqlite_view/log", |bencher| {
        bencher.iter_custom(|count| {
            repeated(count, |dir| {
                let view = SqliteView::open(dir.path().join("view"), SCHEMA).expect("a fresh file");
                catch_up(Store::Log, dir, Arc::new(view), LineRows)
            })
        });
    });
    group.finish();
}

fn catch_up<V: annals::View>(
    store: Store,
    dir: &TempDir,
    view: Arc<V>,
    lines: impl Projection<V>,
) -> Duration {
    let leader = application(store, dir, "orders");
    let last = save(&leader, EVENTS);
    settle(&**leader.recorder(), last);
    timed(|| {
        let runner = ProjectionRunner::builder("orders", &leader, view, lines);
        let runner = runner.start().expect("both are open");
        runner.wait(last, PATIENCE).expect("it goes on");
    })
}

/// The median of what passes between a save and the end of the wait for its effect.
///
/// `after_save` is timed from where the save returns. A durable save returns when its follower has been woken too, and
/// often has done its work: so `with_save` times both, and `save_alone` the save with nobody following. `buffered` is
/// timed from where a buffered save returns: it holds the sync that the follower waits for.
fn wake_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wait_p50");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, store) in STORES {
        let dir = TempDir::new().expect("a directory for temporary files");
        let leader = application(store, &dir, "orders");
        group.bench_function(format!("save_alone/{name}"), |bencher| {
            bencher.iter_custom(|waits| {
                median(waits, || {
                    timed(|| {
                        one_line(&leader, Durability::Sync);
                    })
                })
            });
        });
        let view = Arc::new(View::new());
        let runner = ProjectionRunner::builder("orders", &leader, view, Lines);
        let runner = runner.start().expect("both are open");
        let wait = |position| runner.wait(position, PATIENCE).expect("it goes on");
        wait(one_line(&leader, Durability::Sync));
        group.bench_function(format!("with_save/{name}"), |bencher| {
            bencher.iter_custom(|waits| {
                median(waits, || {
                    timed(|| wait(one_line(&leader, Durability::Sync)))
                })
            });
        });
        for (kind, durability) in [
            ("after_save", Durability::Sync),
            ("buffered", Durability::Buffered),
        ] {
            group.bench_function(format!("{kind}/{name}"), |bencher| {
                bencher.iter_custom(|waits| {
                    median(waits, || {
                        let position = one_line(&leader, durability);
                        timed(|| wait(position))
                    })
                });
            });
        }
    }
    group.finish();
}

/// An event of its own aggregate; answers its position.
fn one_line(application: &Application, durability: Durability) -> u64 {
    let (article, quantity) = (1, 1);
    let line = OrderEvent::LineAdded { article, quantity };
    let mut order = Root::<Order>::new(application.new_id(), line).expect("it begins with any");
    let saved = application.save_with(&mut order, durability);
    saved.expect("nobody else writes")[0].position
}

/// As if each of so many had taken the median.
fn median(count: u64, mut once: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<Duration> = (0..count).map(|_| once()).collect();
    all.sort_unstable();
    all[all.len() / 2].saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Events of a round.
const EVENTS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

criterion_group!(benches, pipeline, followed, projection, wake_up);
criterion_main!(benches);
