//! The contract of the recorder traits as cases that any recorder can be put through.
//!
//! One function for each trait; each takes a closure that makes an empty recorder, gives every case one of
//! its own, and panics with the names of the cases that failed. A case is named by the rule it checks.
//!
//! ```
//! use std::sync::Arc;
//! use annals::{MemoryRecorder, conformance};
//!
//! conformance::process_recorder(|| Arc::new(MemoryRecorder::new()));
//! ```
//!
//! What differs legally between recorders is not checked: whether a version below the last is refused,
//! and whether a failed insert of another process leaves a gap.

mod aggregate;
mod application;
mod dcb;
mod one_store;
mod process;
mod snapshot;
mod tracking;
mod view;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::AggregateId;
use crate::persistence::{
    AggregateRecorder, ApplicationRecorder, DcbRecorder, ProcessRecorder, SnapshotRecorder,
    StoredEvent, TrackingRecorder, View,
};

/// Checks every rule of [`AggregateRecorder`].
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn aggregate_recorder(make: impl Fn() -> Arc<dyn AggregateRecorder>) {
    run(aggregate::CASES, make);
}

/// Checks every rule of [`ApplicationRecorder`] and of what it builds on.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn application_recorder(make: impl Fn() -> Arc<dyn ApplicationRecorder>) {
    aggregate_recorder(|| make());
    run(application::CASES, make);
}

/// Checks every rule of [`TrackingRecorder`].
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn tracking_recorder(make: impl Fn() -> Arc<dyn TrackingRecorder>) {
    run(tracking::CASES, make);
}

/// Checks every rule of [`ProcessRecorder`] and of what it builds on.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn process_recorder(make: impl Fn() -> Arc<dyn ProcessRecorder>) {
    application_recorder(|| make());
    tracking_recorder(|| make());
    run(process::CASES, make);
}

/// Checks every rule of [`DcbRecorder`]. One that implements other traits too shows by [`one_store`] that all of
/// them speak of the same events.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn dcb_recorder(make: impl Fn() -> Arc<dyn DcbRecorder>) {
    run(dcb::CASES, make);
}

/// Checks that events of aggregates and of decisions lie in one sequence, and that either see the other, in a
/// recorder that is a [`ProcessRecorder`] and a [`DcbRecorder`]; not the rules of these.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn one_store<R: ProcessRecorder + DcbRecorder + 'static>(make: impl Fn() -> Arc<R>) {
    run(one_store::CASES, || -> Arc<one_store::Recorder> { make() });
}

/// Checks every rule of [`SnapshotRecorder`], on one that stores events too: snapshots rest on them.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn snapshot_recorder<R>(make: impl Fn() -> Arc<R>)
where
    R: AggregateRecorder + SnapshotRecorder + 'static,
{
    run(snapshot::CASES, || -> Arc<dyn EventsAndSnapshots> {
        make()
    });
}

trait EventsAndSnapshots: AggregateRecorder + SnapshotRecorder {}

impl<R: AggregateRecorder + SnapshotRecorder> EventsAndSnapshots for R {}

/// Checks every rule of [`View`] and of what it builds on.
///
/// `put` puts a row with this number, `count` counts the rows; a row has to be possible for every number.
///
/// # Panics
/// With the names of the rules that do not hold.
pub fn view<V: View>(
    make: impl Fn() -> Arc<V>,
    put: impl Fn(&mut V::Rows<'_>, u64),
    count: impl Fn(&V) -> u64,
) {
    tracking_recorder(|| make());
    view::check(make, &put, &count);
}

/// A rule, and the code that panics when it does not hold.
struct Case<R: ?Sized> {
    name: &'static str,
    check: fn(&R),
}

/// The cases of a file: each function by its name.
macro_rules! cases {
    ($($name:ident)+) => {
        &[$($crate::conformance::Case { name: stringify!($name), check: $name },)+]
    };
}
use cases;

fn run<R: ?Sized>(cases: &[Case<R>], make: impl Fn() -> Arc<R>) {
    let fails = |case: &&Case<R>| {
        let recorder = make();
        catch_unwind(AssertUnwindSafe(|| (case.check)(&recorder))).is_err()
    };
    let failed: Vec<_> = cases.iter().filter(fails).map(|case| case.name).collect();
    assert!(
        failed.is_empty(),
        "{} of {} rules do not hold: {failed:#?}",
        failed.len(),
        cases.len()
    );
}

/// An event of a text aggregate.
fn event(aggregate: &str, version: u64) -> StoredEvent {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let event_id = Uuid::from_u64_pair(NEXT_ID.fetch_add(1, Ordering::Relaxed), version);
    StoredEvent::new(event_id, "Happened", format!("{aggregate}/{version}"))
        .of(id(aggregate), version)
}

fn with_topic(event: StoredEvent, topic: &str) -> StoredEvent {
    StoredEvent {
        topic: topic.to_owned(),
        ..event
    }
}

/// An event of no aggregate.
fn decision(topic: &str, tags: &[&str]) -> StoredEvent {
    StoredEvent {
        origin: None,
        tags: tags.iter().map(|tag| tag.as_bytes().to_vec()).collect(),
        ..with_topic(event("decision", 0), topic)
    }
}

fn id(aggregate: &str) -> AggregateId {
    AggregateId::text(aggregate).expect("the names in the cases are short")
}

fn versions(events: &[crate::persistence::Notification]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|notification| notification.event.version())
        .collect()
}

fn positions(events: &[crate::persistence::Notification]) -> Vec<u64> {
    events
        .iter()
        .map(|notification| notification.position)
        .collect()
}

/// Does the same in two threads at once, and again with the next number; both are answered the same.
fn both_are_told_the_same<T: PartialEq + std::fmt::Debug + Send>(act: impl Fn(u64) -> T + Sync) {
    for number in 1..=RACES {
        let start = Barrier::new(2);
        let race = || {
            start.wait();
            act(number)
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(race);
            (race(), other.join().expect("the other thread answers"))
        });
        assert_eq!(one, other, "number {number}");
    }
}

/// How often two threads race.
const RACES: u64 = 10;

/// Long enough for a busy machine; only a recorder that breaks a rule takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for a thread to go to sleep, as a rule; too short only makes a case easier.
const A_MOMENT: Duration = Duration::from_millis(20);
