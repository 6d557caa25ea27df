//! The hot paths, one group each: frames and checksums, lookups, appends, conditions, reads.
//!
//! For comparing a change with what was before, on one quiet machine. Never for passing or failing.

use std::hint::black_box;
use std::time::Duration;

use annals_benches::{
    EVENT_LEN, KEY_COUNT, SALT, TOPIC, aggregate, encode_frame, event, key, payload, record,
    tail_index,
};
use annals_engine::{Batch, Direction, Durability, Log, LogOptions, Query, QueryItem};
use annals_index::{
    Error, Heads, HeadsIdentity, KeyHash, KeyIndex, Previous, SealedIndex, fold_heads,
};
use annals_segments::format::frame::Frame;
use annals_segments::format::record::body_crc;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use tempfile::TempDir;

// ---- Frames ----

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let (payload, mut buffer) = (payload(), Vec::new());
    for events in [1, 100] {
        encode_frame(events, &payload, &mut buffer);
        let bytes = buffer.clone();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode/{events}"), |bencher| {
            bencher.iter(|| encode_frame(events, black_box(&payload), &mut buffer));
        });
        group.bench_function(format!("verify/{events}"), |bencher| {
            bencher.iter(|| {
                let frame = Frame::parse(black_box(&bytes), SALT).expect("it was just written");
                frame.verify().expect("it was just written");
            });
        });
    }
    let mut encoded = Vec::new();
    record(&aggregate(1), &payload).encode(&mut encoded);
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("record_crc", |bencher| {
        bencher.iter(|| body_crc(black_box(&encoded)));
    });
    group.finish();
}

// ---- Lookups ----

/// Times `lookup` over keys in no order, those that are there and those that are not.
fn probe(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lookup: impl Fn(KeyHash) -> u64) {
    for (outcome, first) in [("hit", 0), ("miss", KEY_COUNT)] {
        // Hashed ahead: what is timed is the lookup.
        let keys: Vec<KeyHash> = (0..KEY_COUNT)
            .map(|number| key(first + number * 48_271 % KEY_COUNT))
            .collect();
        let mut next = 0;
        group.bench_function(format!("{name}/{outcome}"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % keys.len();
                lookup(black_box(keys[next]))
            });
        });
    }
}

fn lookups(criterion: &mut Criterion) {
    let tail = tail_index();
    let sealed = SealedIndex::open(tail.encode(|_| Previous::None), &tail.identity());
    let sealed = sealed.expect("what was written opens");
    let identity = HeadsIdentity {
        log_id: [1; 16],
        covers: 1,
    };
    let runs = [(1, 1, &sealed)];
    let heads =
        fold_heads::<&[u8], _, Error>(identity, None, &runs, |_, ordinal| Ok(ordinal.into()));
    let heads = Heads::open(heads.expect("a sound index can be folded"), &identity);
    let heads = heads.expect("what was written opens");

    let mut group = criterion.benchmark_group("index_probe");
    let last = |index: &dyn KeyIndex, key| u64::from(index.postings(key).last().unwrap_or(0));
    probe(&mut group, "tail", |key| last(&tail, key));
    probe(&mut group, "sealed", |key| last(&sealed, key));
    probe(&mut group, "heads", |key| {
        heads.lookup(key).map_or(0, |head| head.last_position)
    });
    group.finish();
}

// ---- Appends ----

/// An empty log in a directory that goes when it does. `TMPDIR` says on which disk.
fn new_log() -> (TempDir, Log) {
    let dir = tempfile::tempdir().expect("a directory for the log");
    let log = Log::open(dir.path().join("log")).expect("a new log opens");
    (dir, log)
}

fn batch(first: u64, events: u64, durability: Durability) -> Batch {
    let events = (first..first + events).map(|number| event(number % 100_000));
    events.fold(Batch::new().durability(durability), Batch::event)
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    let cases = [
        ("sync", 1, Durability::Sync),
        ("buffered", 1, Durability::Buffered),
        ("buffered", 100, Durability::Buffered),
    ];
    for (name, events, durability) in cases {
        let (_dir, log) = new_log();
        let mut first = 0;
        group.throughput(Throughput::Elements(events));
        group.bench_function(format!("{name}/{events}"), |bencher| {
            let make = || {
                first += events;
                batch(first, events, durability)
            };
            let append = |batch| log.append(batch).expect("the disk takes it");
            bencher.iter_batched(make, append, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Appends of one event on the condition that nothing of its type with its tag came since.
fn conditions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("condition");
    let (_dir, log) = new_log();
    let mut number = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("type_and_tag/buffered", |bencher| {
        let make = || {
            number += 1;
            let tag = format!("customer:{:06}", number * 48_271 % 100_000);
            let item = QueryItem::new().topic(TOPIC).tag(tag.as_str());
            Batch::from(event(number % 100_000).tag(tag))
                .durability(Durability::Buffered)
                .fail_if_match(item.into(), log.head())
        };
        let append = |batch| log.append(batch).expect("nothing came since");
        // One at a time: the head that a batch names is that of the moment.
        bencher.iter_batched(make, append, BatchSize::PerIteration);
    });
    group.finish();
}

// ---- Reads ----

const READ_EVENTS: u64 = 200_000;
const EVENTS_OF_AGGREGATE: u64 = 10;

/// A log of several sealed segments, closed and opened again.
fn reopened_log() -> (TempDir, Log) {
    let dir = tempfile::tempdir().expect("a directory for the log");
    let options = || LogOptions::default().segment_len(16 << 20);
    let log = options()
        .open(dir.path().join("log"))
        .expect("a new log opens");
    let aggregates = READ_EVENTS / EVENTS_OF_AGGREGATE;
    for first in (0..READ_EVENTS).step_by(100) {
        let events = (first..first + 100).map(|number| event(number % aggregates));
        let batch = Batch::new().durability(Durability::Buffered);
        let _ = log
            .append(events.fold(batch, Batch::event))
            .expect("the disk takes it");
    }
    log.close().expect("the disk takes it");
    let log = options()
        .open(dir.path().join("log"))
        .expect("what was closed opens");
    (dir, log)
}

fn reads(criterion: &mut Criterion) {
    let (_dir, log) = reopened_log();
    let view = log.view();
    let mut group = criterion.benchmark_group("read");
    let mut next = 0;
    group.throughput(Throughput::Elements(EVENTS_OF_AGGREGATE));
    group.bench_function("aggregate/10", |bencher| {
        bencher.iter(|| {
            next = (next + 48_271) % (READ_EVENTS / EVENTS_OF_AGGREGATE);
            let events = view.read_aggregate(&aggregate(next).into(), .., Direction::Forward);
            let read: usize = events
                .map(|event| event.expect("nothing is damaged").payload().len())
                .sum();
            assert_eq!(read as u64, EVENTS_OF_AGGREGATE * 200);
        });
    });
    group.throughput(Throughput::Bytes(READ_EVENTS * EVENT_LEN));
    group.sample_size(10);
    group.bench_function(format!("replay/{READ_EVENTS}"), |bencher| {
        bencher.iter(|| {
            let events = view.read(.., &Query::all(), Direction::Forward);
            let count = events.fold(0, |count, event| {
                black_box(event.expect("nothing is damaged"));
                count + 1
            });
            assert_eq!(count, READ_EVENTS);
        });
    });
    group.finish();
}

criterion_group! {
    name = hot_paths;
    // Short: an append of a batch fills a gigabyte a second.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = frames, lookups, appends, conditions, reads
}
criterion_main!(hot_paths);
