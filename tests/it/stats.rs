//! Goal: a log says what it has done and what it holds, and tells a subscriber of `tracing` of groups, never
//! of events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals_engine::{Batch, Distribution, Durability, Expected};
use annals_segments::MemoryDisk;
use annals_tests::sim_disk::SimDisk;
use annals_tests::{event, id, small_log};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

const DIR: &str = "/log";

fn batch(aggregate: usize, events: usize) -> Batch {
    let event = event(&format!("aggregate-{aggregate}"), "Was", vec![1; 50]);
    (0..events).fold(Batch::new(), |batch, _| batch.event(event.clone()))
}

#[test]
fn a_log_counts_what_it_writes_in_groups_and_syncs() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(3));
    let log = small_log(disk, 1).segment_len(1 << 20).open(DIR).unwrap();
    let before = log.stats().unwrap();
    assert_eq!(before.writes.group_batches, Distribution::default());
    let tickets: Vec<_> = (0..200)
        .map(|number| log.submit(batch(number % 10, 1 + number % 3)).unwrap())
        .collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    // What is refused is not counted.
    let refused = batch(0, 1).expect(id("aggregate-0"), Expected::NoEvents);
    assert!(log.append(refused).is_err());
    let stats = log.stats().unwrap();
    let writes = stats.writes;
    assert_eq!((writes.batches, writes.events), (200, 399));
    assert_eq!(stats.events, 399);
    assert_eq!(writes.bytes, stats.log_bytes - before.log_bytes);
    let groups = writes.group_batches;
    assert!((1..200).contains(&groups.count), "{groups:?}");
    assert!(groups.max > 1 && groups.p50 <= groups.p99 && groups.p99 <= groups.max);
    assert_eq!(writes.group_events.count, groups.count);
    assert!(writes.group_events.max >= groups.max);
    // One that is refused may sync what it rests on; there is nothing to sync here.
    assert_eq!(writes.sync_us.count, groups.count);
    assert!(writes.sync_us.p50 >= 3_000, "{:?}", writes.sync_us);
    assert_eq!((writes.spare_waits, writes.device_waits), (0, 0));
    // Two may share a place.
    assert!((5..=10).contains(&stats.memory.version_cache_entries));
    assert!(stats.memory.version_cache_bytes > 0 && stats.memory.tail_index_bytes > 0);
}

#[test]
fn a_log_says_what_its_indexes_take_and_what_it_waited_for() {
    let log = small_log(MemoryDisk::default(), 1)
        .background(true)
        .open(DIR)
        .unwrap();
    for number in 0..5_000 {
        log.append(batch(number % 500, 1).durability(Durability::Buffered))
            .unwrap();
    }
    assert_eq!(log.count_aggregates().unwrap(), 500);
    log.close().unwrap();
    let stats = log.stats().unwrap();
    assert!(stats.sealed_segments > 8, "{stats:?}");
    let memory = stats.memory;
    assert!(
        memory.heads_bytes > 0 && memory.sealed_index_bytes > 0,
        "{memory:?}"
    );
    assert!(
        memory.heads_bytes + memory.sealed_index_bytes <= stats.index_bytes,
        "{stats:?}"
    );
    assert_eq!(memory.held_bytes, 0, "maps hold nothing");
    assert!(stats.writes.spare_waits <= stats.sealed_segments);
}

/// Keeps the fields of every span.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, Span>>>, Arc<AtomicU64>);

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    fields: BTreeMap<&'static str, u64>,
}

impl Visit for Span {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.insert(field.name(), value);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut span = Span {
            name: attributes.metadata().name(),
            ..Span::default()
        };
        attributes.record(&mut span);
        let id = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.lock().unwrap().insert(id, span);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(self.0.lock().unwrap().get_mut(&id.into_u64()).unwrap());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        panic!("an event nobody needs: {}", event.metadata().name());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn there_is_one_span_a_group_that_says_what_it_was() {
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || {
        let log = small_log(MemoryDisk::default(), 1).open(DIR).unwrap();
        log.append(batch(1, 100)).unwrap();
        log.append(batch(2, 3).durability(Durability::Buffered))
            .unwrap();
    });
    let spans = spans.0.lock().unwrap();
    let groups: Vec<&Span> = spans.values().filter(|span| span.name == "group").collect();
    assert_eq!(groups.len(), 2, "{spans:?}");
    for (group, events) in groups.iter().zip([100, 3]) {
        assert_eq!(
            (group.fields["batches"], group.fields["events"]),
            (1, events)
        );
        assert!(group.fields["bytes"] > events * 100);
    }
    assert!(groups[0].fields.contains_key("sync_us"));
    assert!(
        !groups[1].fields.contains_key("sync_us"),
        "nothing was synced"
    );
    assert!(spans.len() < 10, "{spans:?}");
}
