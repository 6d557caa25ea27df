//! The five hottest paths in instructions: the same number on a busy machine as on a quiet one.
//!
//! Counted under valgrind by `./test instructions`, which installs what that needs, and compared with the run
//! before. Clock and randomness are fixed and the disk is in memory, so that a count changes with the code and
//! hardly with anything else; what a disk or a cache costs shows in `hot_paths`.

#![expect(
    missing_docs,
    reason = "the macros of the harness make public items without"
)]

use std::hint::black_box;

use annals_benches::{
    KEY_COUNT, SALT, TIME_US, aggregate, encode_frame, event, key, payload, tail_index,
};
use annals_engine::{Batch, Direction, Durability, Log, LogOptions, Query, View};
use annals_index::{KeyHash, KeyIndex, Previous, SealedIndex, TailIndex};
use annals_segments::format::frame::Frame;
use annals_segments::{Clock, Random};
use gungraun::{library_benchmark, library_benchmark_group, main};

// ---- Frames ----

fn frame_parts(events: u32) -> (u32, Vec<u8>, Vec<u8>) {
    let (payload, mut out) = (payload(), Vec::new());
    // The buffer has its room, as the engine's has after the first commits.
    encode_frame(events, &payload, &mut out);
    (events, payload, out)
}

#[library_benchmark]
#[bench::one(frame_parts(1))]
#[bench::hundred(frame_parts(100))]
fn frame_encode((events, payload, mut out): (u32, Vec<u8>, Vec<u8>)) -> Vec<u8> {
    encode_frame(events, black_box(&payload), &mut out);
    out
}

fn frame_bytes(events: u32) -> Vec<u8> {
    frame_parts(events).2
}

#[library_benchmark]
#[bench::one(frame_bytes(1))]
#[bench::hundred(frame_bytes(100))]
fn frame_verify(bytes: Vec<u8>) -> Vec<u8> {
    let frame = Frame::parse(black_box(&bytes), SALT).expect("it was just written");
    frame.verify().expect("it was just written");
    bytes
}

// ---- Lookups ----

const PROBES: u64 = 100;

/// Keys that are there, and as many that are not.
fn keys() -> Vec<KeyHash> {
    let spread = |number| number * 48_271 % KEY_COUNT;
    let hits = (0..PROBES).map(|number| key(spread(number)));
    let misses = (0..PROBES).map(|number| key(KEY_COUNT + spread(number)));
    hits.chain(misses).collect()
}

fn tail() -> (TailIndex, Vec<KeyHash>) {
    (tail_index(), keys())
}

fn sealed() -> (SealedIndex<Vec<u8>>, Vec<KeyHash>) {
    let tail = tail_index();
    let sealed = SealedIndex::open(tail.encode(|_| Previous::None), &tail.identity());
    (sealed.expect("what was written opens"), keys())
}

fn probe(index: &dyn KeyIndex, keys: &[KeyHash]) -> u64 {
    let last = |key: &KeyHash| index.postings(*key).last().map_or(0, u64::from);
    keys.iter().map(|key| last(black_box(key))).sum()
}

#[library_benchmark]
#[bench::two_hundred(tail())]
fn tail_probe((index, keys): (TailIndex, Vec<KeyHash>)) -> (u64, TailIndex) {
    (probe(&index, &keys), index)
}

#[library_benchmark]
#[bench::two_hundred(sealed())]
fn sealed_probe(
    (index, keys): (SealedIndex<Vec<u8>>, Vec<KeyHash>),
) -> (u64, SealedIndex<Vec<u8>>) {
    (probe(&index, &keys), index)
}

// ---- Appends and reads ----

/// Always the same moment.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now_us(&self) -> u64 {
        TIME_US
    }
}

/// Always the same bytes.
#[derive(Debug)]
struct Fixed;

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

const AGGREGATES: u64 = 100;
const LOADED: u64 = 1_000;
const APPENDS: u64 = 100;

/// A log of ten events to an aggregate.
fn loaded() -> Log {
    let options = LogOptions::default()
        .segment_len(4 << 20)
        .clock(Stopped)
        .random(Fixed);
    let log = options.open_in_memory().expect("there is memory");
    for number in 0..LOADED {
        let batch = Batch::from(event(number % AGGREGATES)).durability(Durability::Buffered);
        let _ = log.append(batch).expect("there is memory");
    }
    log.sync().expect("there is memory");
    log
}

fn to_append() -> (Log, Vec<Batch>) {
    let batch = |number| Batch::from(event(number % AGGREGATES)).durability(Durability::Buffered);
    (loaded(), (0..APPENDS).map(batch).collect())
}

#[library_benchmark]
#[bench::hundred(to_append())]
fn append_buffered((log, batches): (Log, Vec<Batch>)) -> Log {
    for batch in batches {
        let _ = log.append(batch).expect("there is memory");
    }
    log
}

fn to_read() -> (Log, View) {
    let log = loaded();
    let view = log.view();
    (log, view)
}

#[library_benchmark]
#[bench::hundred_of_ten(to_read())]
fn read_aggregate((log, view): (Log, View)) -> (Log, usize) {
    let mut bytes = 0;
    for number in 0..AGGREGATES {
        for event in view.read_aggregate(&aggregate(number).into(), .., Direction::Forward) {
            bytes += event.expect("nothing is damaged").payload().len();
        }
    }
    assert_eq!(bytes as u64, LOADED * 200);
    (log, bytes)
}

#[library_benchmark]
#[bench::thousand(to_read())]
fn replay((log, view): (Log, View)) -> (Log, u64) {
    let mut count = 0;
    for event in view.read(.., &Query::all(), Direction::Forward) {
        let _ = black_box(event.expect("nothing is damaged"));
        count += 1;
    }
    assert_eq!(count, LOADED);
    (log, count)
}

library_benchmark_group!(
    name = instructions,
    benchmarks = [
        frame_encode,
        frame_verify,
        tail_probe,
        sealed_probe,
        append_buffered,
        read_aggregate,
        replay
    ]
);

main!(library_benchmark_groups = instructions);
