//! What the library costs on top of the log: edits and loads of aggregates, pages and subscriptions, decisions, beside
//! the Python library's figures.
//!
//! `cargo bench -p annals-benches --bench library`, with a part of a name behind `--` to run some. Each line is the
//! median of several rounds on one thread, on the log recorder, with buffered saves unless its name says otherwise. Not
//! for passing or failing.

use std::sync::Arc;

use annals::{
    Aggregate, AggregateId, Application, ApplicationBuilder, CacheOptions, ConditionalAppend,
    DcbRecorder, Durability, Error, Event, LogRecorder, Mapper, MemoryRecorder, Query, QueryItem,
    Root, SelectNotifications, StoredEvent,
};
use annals_engine::{Batch, Log, NewEvent};
use annals_segments::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

// ---- The aggregate: a bank account, as small as they are ----

#[derive(Serialize, Deserialize)]
enum Banking {
    Opened { holder: String },
    Moved { amount: i64, reference: String },
}

impl Event for Banking {}

#[derive(Clone)]
struct Account {
    balance: i64,
    movements: u64,
}

impl Aggregate for Account {
    type Event = Banking;

    fn start(event: &Banking) -> Option<Self> {
        matches!(event, Banking::Opened { .. }).then_some(Self {
            balance: 0,
            movements: 0,
        })
    }

    fn apply(&mut self, event: &Banking) {
        if let Banking::Moved { amount, .. } = event {
            self.balance += amount;
            self.movements += 1;
        }
    }
}

/// About 50 bytes of JSON.
fn moved(number: u64) -> Banking {
    Banking::Moved {
        amount: (number * 48_271 % 10_000) as i64 - 5_000,
        reference: format!("transfer-{number:08}"),
    }
}

fn open_account(app: &Application, movements: u64) -> AggregateId {
    let opened = Banking::Opened {
        holder: "Ann".into(),
    };
    let mut account = Root::<Account>::new(app.new_id(), opened).expect("it begins so");
    for number in 0..movements {
        account.trigger(moved(number));
    }
    app.add(account).expect("the disk takes it")
}

// ---- Applications ----

/// A log in a directory that goes when it does. `TMPDIR` says on which disk.
struct Store {
    dir: TempDir,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the log");
        Self { dir }
    }

    fn builder(&self) -> ApplicationBuilder {
        let log = Log::open(self.dir.path().join("log")).expect("the log opens");
        Application::builder(Arc::new(LogRecorder::from(log))).durability(Durability::Buffered)
    }
}

// ---- Figures ----

struct Figure {
    name: &'static str,
    unit: &'static str,
    /// Least that is wanted, a second.
    goal: Option<f64>,
    /// What the Python library does, a second: on a recorder of its own in memory, and on SQLite.
    python: &'static str,
}

struct Bench {
    filter: Option<String>,
}

impl Bench {
    /// Runs `round`, which answers how many units it has done, several times and prints the median.
    fn run(&self, figure: &Figure, mut round: impl FnMut() -> u64) {
        let clock = SystemClock;
        let mut rates: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = clock.monotonic_ns();
                let done = round();
                done as f64 * 1e9 / (clock.monotonic_ns() - start) as f64
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        let goal = figure.goal.map(|goal| format!("{goal:.0}"));
        println!(
            "{:<34} {:>12.0} {:<9} {:>10}   {}",
            figure.name,
            rates[ROUNDS / 2],
            figure.unit,
            goal.as_deref().unwrap_or("-"),
            figure.python
        );
    }

    fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter))
    }
}

fn main() {
    // Cargo adds an option of its own.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let bench = Bench { filter };
    println!(
        "{:<34} {:>12} {:<9} {:>10}   Python's library, in memory / SQLite",
        "", "a second", "", "goal"
    );
    appends(&bench);
    inserts(&bench);
    edits(&bench);
    saves(&bench);
    loads(&bench);
    notifications(&bench);
    decisions(&bench);
}

/// What an edit rests on: the log alone, with an event of the same size.
fn appends(bench: &Bench) {
    let figure = Figure {
        name: "append of one event, log alone",
        unit: "appends",
        goal: None,
        python: "90,000-137,000 / 249-267 (recorder alone)",
    };
    if !bench.wants(figure.name) {
        return;
    }
    let store = Store::new();
    let log = Log::open(store.dir.path().join("log")).expect("the log opens");
    let payload = br#"{"amount":-4321,"reference":"transfer-00000001"}"#;
    let mut number = 0_u128;
    bench.run(&figure, || {
        for _ in 0..100_000 {
            number += 1;
            let event = NewEvent::new("Moved", payload.to_vec())
                .aggregate(uuid::Uuid::from_u128(number * 48_271 % 100))
                .event_id(uuid::Uuid::from_u128(number));
            let batch = Batch::from(event).durability(annals_engine::Durability::Buffered);
            let _ = log.append(batch).expect("the disk takes it");
        }
        100_000
    });
}

/// Events as they are stored, a hundred at once, in nobody's way.
fn inserts(bench: &Bench) {
    let figure = Figure {
        name: "insert of 100 stored events",
        unit: "events",
        goal: None,
        python: "93,000-264,000 / 15,000",
    };
    if !bench.wants(figure.name) {
        return;
    }
    let store = Store::new();
    let app = store.builder().build().expect("the options are in range");
    let mut number = 0_u128;
    bench.run(&figure, || {
        for _ in 0..1_000 {
            let events = (0..100).map(|_| {
                number += 1;
                stored(number).of(uuid::Uuid::from_u128(number), 1)
            });
            let inserted = app
                .recorder()
                .insert_events(events.collect(), Durability::Buffered);
            drop(inserted.expect("the disk takes it"));
        }
        100_000
    });
}

/// 120 bytes, as in the figures of the Python library.
fn stored(number: u128) -> StoredEvent {
    let (now_ms, bytes) = (SystemClock.now_us() / 1_000, number.to_be_bytes());
    let (_, chance) = bytes.split_last_chunk().expect("it is longer");
    let event_id = uuid::Builder::from_unix_timestamp_millis(now_ms, chance).into_uuid();
    StoredEvent::new(event_id, "Moved", vec![b'x'; 120])
}

fn edits(bench: &Bench) {
    let python = "4,800-8,200 / 200-231 (get, command, save)";
    let durable = "edit, cached, durable";
    let cases = [
        ("edit, cached", Some(CacheOptions::lru(1_000)), Some(150e3)),
        (durable, Some(CacheOptions::lru(1_000)), None),
        (
            "edit, cached and trusted",
            Some(CacheOptions::lru(1_000).fast_forward(false)),
            None,
        ),
        ("edit, not cached", None, None),
    ];
    for (name, cache, goal) in cases {
        if !bench.wants(name) {
            continue;
        }
        let store = Store::new();
        let builder = match cache {
            Some(options) => store.builder().cache(options),
            None => store.builder(),
        };
        let builder = match name == durable {
            true => builder.durability(Durability::Sync),
            false => builder,
        };
        let app = builder.build().expect("the options are in range");
        // What is not cached is loaded: so that it stays small, there are many.
        let (accounts, edits) = match cache {
            Some(_) if name == durable => (100, 5_000),
            Some(_) => (100, 100_000),
            None => (10_000, 20_000),
        };
        let ids: Vec<_> = (0..accounts).map(|_| open_account(&app, 4)).collect();
        let figure = Figure {
            name,
            unit: "edits",
            goal,
            python,
        };
        let mut number = 0;
        bench.run(&figure, || {
            for _ in 0..edits {
                number += 1;
                let id = &ids[number as usize * 48_271 % ids.len()];
                app.edit::<Account, _>(id, |account| {
                    account.trigger(moved(number));
                    Ok::<_, Error>(())
                })
                .expect("nobody else is there");
            }
            edits
        });
    }
}

fn saves(bench: &Bench) {
    for (name, durability, saves) in [
        ("save of a new aggregate", Durability::Buffered, 20_000),
        ("save of a new aggregate, durable", Durability::Sync, 5_000),
    ] {
        let figure = Figure {
            name,
            unit: "saves",
            goal: None,
            python: "7,300-12,800 / 178-199",
        };
        if !bench.wants(figure.name) {
            continue;
        }
        let store = Store::new();
        let app = store.builder().durability(durability).build();
        let app = app.expect("the options are in range");
        bench.run(&figure, || {
            (0..saves).for_each(|_| drop(open_account(&app, 0)));
            saves
        });
    }
}

fn loads(bench: &Bench) {
    const EVENTS: u64 = 1_000;
    const ACCOUNTS: u64 = 50;
    let python = "17,000-24,000 / 20,000-23,000";
    let figure = |name, goal| Figure {
        name,
        unit: "events",
        goal,
        python,
    };
    for (name, mapper, goal) in [
        ("load of 1,000 events, JSON", Mapper::json(), 1e6),
        (
            "load of 1,000 events, MessagePack",
            Mapper::messagepack(),
            3e6,
        ),
    ] {
        if !bench.wants(name) {
            continue;
        }
        let store = Store::new();
        let build = || {
            let builder = store.builder().mapper(mapper.clone());
            builder.build().expect("the options are in range")
        };
        let app = build();
        let ids = interleaved(&app, ACCOUNTS, EVENTS);
        app.close().expect("the disk takes it");
        // As a program finds it when it starts.
        let app = build();
        bench.run(&figure(name, Some(goal)), || load_all(&app, &ids));
    }
    let name = "load of 1,000 events, in memory";
    if bench.wants(name) {
        let recorder = Arc::new(MemoryRecorder::new());
        let app = Application::builder(recorder)
            .build()
            .expect("the defaults are in range");
        let ids = interleaved(&app, ACCOUNTS, EVENTS);
        bench.run(&figure(name, None), || load_all(&app, &ids));
    }
}

/// All events in the order they were stored, as other programs fetch them and as followers see them.
fn notifications(bench: &Bench) {
    const EVENTS: u64 = 100_000;
    let pages = Figure {
        name: "notifications, 500 a page",
        unit: "events",
        goal: None,
        python: "246,000-531,000 / 94,000-126,000",
    };
    let following = Figure {
        name: "subscription, catching up",
        unit: "events",
        goal: None,
        python: "191,000 / -",
    };
    if !bench.wants(pages.name) && !bench.wants(following.name) {
        return;
    }
    let store = Store::new();
    let app = store.builder().build().expect("the options are in range");
    let _ = interleaved(&app, 100, EVENTS / 100);
    app.close().expect("the disk takes it");
    let app = store.builder().build().expect("the options are in range");
    if bench.wants(pages.name) {
        bench.run(&pages, || {
            let mut after = 0;
            while after < EVENTS {
                let page = SelectNotifications::first(500).after(after);
                let page = app.recorder().select_notifications(&page);
                after += page.expect("nothing is damaged").len() as u64;
            }
            after
        });
    }
    if bench.wants(following.name) {
        bench.run(&following, || {
            let mut events = app.subscribe(0, &[]).expect("it is open");
            while events.position() < EVENTS {
                let _ = events.next().expect("there is more").expect("it is sound");
            }
            EVENTS
        });
    }
}

/// An event of its own tag, if there was none with it.
fn decisions(bench: &Bench) {
    let figure = Figure {
        name: "conditional append of one event",
        unit: "appends",
        goal: None,
        python: "305-1,500 / - (falling, 1,000 to 3,000 events)",
    };
    if !bench.wants(figure.name) {
        return;
    }
    let store = Store::new();
    let log = LogRecorder::open(store.dir.path().join("log")).expect("the log opens");
    let mut number = 0_u128;
    bench.run(&figure, || {
        for _ in 0..50_000 {
            number += 1;
            let tag = format!("account:{number}").into_bytes();
            let mut event = stored(number);
            event.tags.push(tag.clone());
            let none_before = Query::from(QueryItem::new().tag(tag));
            let append = ConditionalAppend::new(vec![event]).fail_if_match(none_before, 0);
            let appended = log.append(append, Durability::Buffered);
            let _ = appended.expect("there was none");
        }
        50_000
    });
}

/// Accounts whose events came in turn, as those of a busy bank do.
fn interleaved(app: &Application, accounts: u64, events: u64) -> Vec<AggregateId> {
    let opened = || Banking::Opened {
        holder: "Ann".into(),
    };
    let mut roots: Vec<_> = (0..accounts)
        .map(|_| Root::<Account>::new(app.new_id(), opened()).expect("it begins so"))
        .collect();
    for number in 1..events {
        for root in &mut roots {
            root.trigger(moved(number));
        }
        if number % 10 == 0 || number + 1 == events {
            app.save(&mut roots).expect("the disk takes it");
        }
    }
    roots.into_iter().map(|root| root.id().clone()).collect()
}

fn load_all(app: &Application, ids: &[AggregateId]) -> u64 {
    let load = |id| {
        let account = app.repository().get::<Account>(id);
        let account = account.expect("nothing is damaged");
        assert_eq!(account.movements + 1, account.version());
        account.version()
    };
    (0..REPETITIONS).flat_map(|_| ids).map(load).sum()
}

const ROUNDS: usize = 7;
/// Loads of all accounts in a round, so that it takes some tenths of a second.
const REPETITIONS: usize = 10;
