//! Followers of the library: how many events a pipeline of two applications and a projection process in a second, and how
//! soon somebody is woken who waits for what he wrote.
//!
//! Each iteration is an event; events are small (a name and two numbers as JSON), ten to an aggregate.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    Aggregate, AggregateId, Application, ApplicationRecorder, Clock, Durability, Event,
    EventSourcedProjection, Failure, FollowOptions, LogRecorder, MemoryRecorder, MemoryRows,
    MemoryView, Notified, ProcessApplication, ProcessRecorder, Projection, ProjectionRunner, Root,
    SystemClock, policy,
};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
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

fn timed(what: impl FnOnce()) -> Duration {
    let start_ns = SystemClock.monotonic_ns();
    what();
    Duration::from_nanos(SystemClock.monotonic_ns() - start_ns)
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).throughput(Throughput::Elements(1));
    group
}

/// From the first save in one application to the last effect in the other.
fn pipeline(criterion: &mut Criterion) {
    let mut group = group(criterion, "pipeline");
    for (name, store) in STORES {
        group.bench_function(format!("live/{name}"), |bencher| {
            bencher.iter_custom(|events| {
                let dir = TempDir::new().expect("a directory for temporary files");
                let leader = application(store, &dir, "orders");
                let follower = Arc::new(application(store, &dir, "shipping"));
                let projection = follow(&leader, &follower);
                timed(|| {
                    let last = save(&leader, events);
                    projection.wait(last, PATIENCE).expect("it goes on");
                })
            });
        });
        group.bench_function(format!("catch_up/{name}"), |bencher| {
            bencher.iter_custom(|events| {
                let dir = TempDir::new().expect("a directory for temporary files");
                let leader = application(store, &dir, "orders");
                let follower = Arc::new(application(store, &dir, "shipping"));
                let last = save(&leader, events);
                settle(&**leader.recorder(), last);
                timed(|| {
                    let projection = follow(&leader, &follower);
                    projection.wait(last, PATIENCE).expect("it goes on");
                })
            });
        });
    }
    group.finish();
}

/// All that there is, into an empty view.
fn projection(criterion: &mut Criterion) {
    let mut group = group(criterion, "projection");
    for (name, store) in STORES {
        group.bench_function(format!("memory_view/{name}"), |bencher| {
            bencher.iter_custom(|events| {
                let dir = TempDir::new().expect("a directory for temporary files");
                let leader = application(store, &dir, "orders");
                let last = save(&leader, events);
                settle(&**leader.recorder(), last);
                let view = Arc::new(View::new());
                timed(|| {
                    let runner = ProjectionRunner::builder("orders", &leader, view, Lines);
                    let runner = runner.start().expect("both are open");
                    runner.wait(last, PATIENCE).expect("it goes on");
                })
            });
        });
    }
    group.finish();
}

/// From a save to the end of the wait for it: the median of each sample.
fn wake_up(criterion: &mut Criterion) {
    let mut group = group(criterion, "wait");
    for (name, store) in STORES {
        let dir = TempDir::new().expect("a directory for temporary files");
        let leader = application(store, &dir, "orders");
        let view = Arc::new(View::new());
        let runner = ProjectionRunner::builder("orders", &leader, view, Lines);
        let runner = runner.start().expect("both are open");
        group.bench_function(format!("p50/{name}"), |bencher| {
            bencher.iter_custom(|waits| {
                let mut waited: Vec<Duration> = (0..waits)
                    .map(|_| {
                        let id: AggregateId = leader.new_id();
                        let (article, quantity) = (1, 1);
                        let line = OrderEvent::LineAdded { article, quantity };
                        let mut order = Root::<Order>::new(id, line).expect("it begins with any");
                        // Durable when it returns: what is timed is the way from there.
                        let saved = leader.save_with(&mut order, Durability::Sync);
                        let position = saved.expect("nobody else writes")[0].position;
                        timed(|| runner.wait(position, PATIENCE).expect("it goes on"))
                    })
                    .collect();
                waited.sort_unstable();
                let median = waited[waited.len() / 2];
                median.saturating_mul(u32::try_from(waits).unwrap_or(u32::MAX))
            });
        });
    }
    group.finish();
}

const PATIENCE: Duration = Duration::from_secs(60);

criterion_group!(benches, pipeline, projection, wake_up);
criterion_main!(benches);
