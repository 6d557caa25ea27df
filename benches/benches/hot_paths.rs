//! The hot paths, one group each: frames and checksums, lookups, appends, reads.
//!
//! For comparing a change with what was before, on one quiet machine. Never for passing or failing.

use std::hint::black_box;
use std::time::Duration;

use annals_benches::{EVENT_LEN, TOPIC, aggregate, event, payload, record};
use annals_engine::{Batch, Direction, Durability, Log, LogOptions, Query};
use annals_index::{
    Error, GrowingIndex, Heads, HeadsIdentity, IdHash, Identity, KeyHash, KeyIndex, KeyKind,
    Previous, SealedIndex, TailIndex, fold_heads,
};
use annals_segments::format::frame::{Frame, FrameFields, FrameKind, FrameWriter, Preamble};
use annals_segments::format::record::{RecordPlace, body_crc, place_record, set_event_id};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use tempfile::TempDir;

// ---- Frames ----

const SALT: u64 = 42;
const TIME_US: u64 = 1_700_000_000_000_000;

/// Encodes and places a batch, as the caller's thread and the leader do between them.
fn encode_frame(events: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut preamble = Preamble::default();
    preamble.define_topic(0, TOPIC);
    let frame = FrameWriter::new(FrameKind::Batch, &preamble, out);
    for ordinal in 0..events {
        let start = out.len();
        let id = aggregate(u64::from(ordinal));
        record(&id, payload).encode(out);
        let encoded = &mut out[start..];
        set_event_id(encoded, [ordinal as u8; 16]);
        let crc = body_crc(encoded);
        let place = RecordPlace {
            version: 1,
            topic: 0,
            distance: (start - frame.start()) as u32,
            ordinal,
        };
        place_record(encoded, place, crc, 1 + u64::from(ordinal), TIME_US, SALT);
    }
    let fields = FrameFields {
        event_count: events,
        base_position: 1,
        durable_upto: 0,
        time_us: TIME_US,
    };
    frame.finish(out, fields, SALT);
}

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

const SEED: u64 = 99;
const KEY_COUNT: u64 = 80_000;
const EVENTS_OF_KEY: u64 = 3;

fn key(number: u64) -> KeyHash {
    KeyHash::new(SEED, KeyKind::AggregateUuid, aggregate(number).as_bytes())
}

/// The index of a segment full of events, as it is while the segment is written.
fn tail_index() -> TailIndex {
    let mut tail = TailIndex::new(Identity {
        log_id: [1; 16],
        segment: 1,
        salt: SALT,
        base_position: 1,
        event_count: 0,
    });
    for number in 0..KEY_COUNT * EVENTS_OF_KEY {
        let id = u128::from(number).to_le_bytes();
        let offset = 4096 + 300 * number as u32;
        let keys = [key(number % KEY_COUNT)];
        tail.push(offset, TIME_US + number, id, IdHash::new(SEED, &id), keys);
    }
    tail
}

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
    targets = frames, lookups, appends, reads
}
criterion_main!(hot_paths);
