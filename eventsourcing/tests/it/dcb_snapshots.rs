//! Snapshots of decision models: a cache that saves reading, and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use annals::{
    Aggregate, AggregateId, ConditionalAppend, DcbApplication, DcbRecorder, DecisionModel,
    Durability, EnduringObject, Found, LogRecorder, MemoryRecorder, PersistenceError, Query,
    QueryItem, Recorded, Recorder, SnapshotPolicy, SnapshotRecorder, StoredEvent, Subscription,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dcb::{Happening, opened, painted, save, taken};
use crate::stores::{Store as OneStore, stores};

/// Who sits in a room. The greeting is no part of the state.
#[derive(Debug)]
struct Guests {
    room: &'static str,
    greeting: &'static str,
    names: Vec<String>,
}

fn guests(room: &'static str) -> Guests {
    Guests {
        room,
        greeting: "hello",
        names: Vec::new(),
    }
}

impl DecisionModel for Guests {
    type Event = Happening;

    const SNAPSHOT: Option<SnapshotPolicy> = Some(SnapshotPolicy::new("guests").every(3));

    fn boundary(&self) -> Query {
        let tag = format!("room:{}", self.room);
        QueryItem::new().topic("SeatTaken").tag(tag).into()
    }

    fn apply(&mut self, event: &Happening) {
        if let Happening::SeatTaken { person, .. } = event {
            self.names.push(person.clone());
        }
    }

    fn state(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.names)
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        self.names = serde_json::from_value(state)?;
        Ok(())
    }
}

/// The same boundary, as a model of a later program would have it.
struct Count {
    guests: usize,
}

impl DecisionModel for Count {
    type Event = Happening;

    const SNAPSHOT: Option<SnapshotPolicy> =
        Some(SnapshotPolicy::new("guests").version(2).every(1));

    fn boundary(&self) -> Query {
        guests("a").boundary()
    }

    fn apply(&mut self, _: &Happening) {
        self.guests += 1;
    }

    fn state(&self) -> Result<Value, serde_json::Error> {
        Ok(self.guests.into())
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        self.guests = serde_json::from_value(state)?;
        Ok(())
    }
}

#[test]
fn a_snapshot_is_taken_when_enough_was_folded_and_saves_reading_it_again() {
    let (app, store, shelf) = app();
    save(&app, [opened("a", 9), taken("a", "ann"), taken("a", "bob")]);
    app.load(guests("a")).unwrap();
    assert_eq!(shelf.versions(), [0; 0]);
    save(
        &app,
        [
            painted("a"),
            taken("b", "eve"),
            taken("a", "cy"),
            painted("a"),
        ],
    );
    app.load(guests("a")).unwrap();
    // Complete up to the last event of the store, which is not in the boundary.
    assert_eq!(shelf.versions(), [7]);

    save(&app, [taken("a", "dan")]);
    store.forget();
    let mut seen = app
        .load(Guests {
            greeting: "welcome",
            ..guests("a")
        })
        .unwrap();
    assert_eq!(seen.names, ["ann", "bob", "cy", "dan"]);
    assert_eq!((seen.greeting, seen.last_known_position()), ("welcome", 8));
    // The event that proves the snapshot, and what is behind it.
    assert_eq!(store.reads(), [(5, 2)]);
    seen.trigger(taken("a", "eve")).unwrap();
    app.save(&mut seen).unwrap();
    assert_eq!(app.load(guests("a")).unwrap().names.len(), 5);
}

#[test]
fn snapshots_are_taken_beside_every_store() {
    for store in stores() {
        let OneStore {
            recorder,
            model_snapshots,
        } = store;
        let app = DcbApplication::builder(recorder)
            .snapshots(model_snapshots.clone())
            .build()
            .unwrap();
        save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
        app.load(guests("a")).unwrap();
        let key = AggregateId::text(GUESTS_OF_A).unwrap();
        let kept = model_snapshots.latest_snapshot(&key, u64::MAX).unwrap();
        assert_eq!(kept.unwrap().version(), Some(3));
        save(&app, [painted("a"), taken("a", "dan")]);
        let seen = app.load(guests("a")).unwrap();
        assert_eq!(seen.names, ["ann", "bob", "cy", "dan"]);
        assert_eq!(seen.last_known_position(), 5);
    }
}

#[test]
fn models_of_different_boundaries_and_versions_do_not_meet() {
    let (app, _, shelf) = app();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    save(&app, ["dan", "eve", "fay"].map(|person| taken("b", person)));
    for _ in 0..2 {
        let seen = app
            .load((guests("a"), guests("b"), Count { guests: 0 }))
            .unwrap();
        assert_eq!(seen.0.names, ["ann", "bob", "cy"]);
        assert_eq!(seen.1.names, ["dan", "eve", "fay"]);
        assert_eq!((seen.2.guests, seen.last_known_position()), (3, 6));
    }
    assert_eq!(shelf.versions(), [6, 6, 6]);
}

#[test]
fn models_that_are_read_one_by_one_show_one_moment() {
    let (app, store, _) = app();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    // Somebody takes seats after each read, in either room.
    *store.behind_each_read.lock().unwrap() = Some(Arc::new(|recorder: &MemoryRecorder| {
        let stored = |name: &str, room: &str| StoredEvent {
            tags: vec![format!("room:{room}").into_bytes()],
            ..StoredEvent::new(
                uuid::Uuid::new_v5(
                    &uuid::Uuid::NAMESPACE_OID,
                    format!("{name}{room}").as_bytes(),
                ),
                "SeatTaken",
                format!(r#"{{"room":"{room}","person":"{name}"}}"#),
            )
        };
        let events = vec![stored("late", "a"), stored("late", "b")];
        recorder
            .append(ConditionalAppend::new(events), Durability::Sync)
            .unwrap();
    }));
    let mut seen = app.load((guests("b"), guests("a"))).unwrap();
    assert_eq!(seen.last_known_position(), 3);
    assert_eq!((seen.0.names.len(), seen.1.names.len()), (0, 3));
    *store.behind_each_read.lock().unwrap() = None;
    seen.trigger(taken("b", "ann")).unwrap();
    assert!(app.save(&mut seen).unwrap_err().is_conflict());
}

#[test]
fn a_snapshot_of_another_history_is_passed_over() {
    let (app, _, shelf) = app();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    app.load(guests("a")).unwrap();
    assert_eq!(shelf.versions(), [3]);

    // As after a loss of power that took the events and not the snapshot: shorter, or as long with others.
    for people in [&["dan"][..], &["dan", "eve", "fay", "guy"]] {
        let store = Arc::new(MemoryRecorder::new());
        let app = DcbApplication::builder(store)
            .snapshots(shelf.clone())
            .build()
            .unwrap();
        save(&app, people.iter().map(|person| taken("a", person)));
        assert_eq!(app.load(guests("a")).unwrap().names, people);
    }
}

#[test]
fn a_snapshot_that_cannot_be_used_is_passed_over() {
    let (app, _, shelf) = app();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    app.load(guests("a")).unwrap();
    let spoil = |payload: &str| {
        for stored in shelf.snapshots.lock().unwrap().values_mut() {
            stored.payload = payload.as_bytes().to_vec();
        }
    };
    let whole = shelf
        .snapshots
        .lock()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .payload
        .clone();
    let whole = String::from_utf8(whole).unwrap();
    for payload in ["", "{}", &whole.replace("[\"ann\"", "[7")] {
        spoil(payload);
        assert_eq!(app.load(guests("a")).unwrap().names, ["ann", "bob", "cy"]);
    }
}

#[test]
fn a_store_of_snapshots_that_fails_keeps_no_decision_from_being_made() {
    let (app, _, shelf) = app();
    *shelf.fails.lock().unwrap() = true;
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    let mut seen = app.load(guests("a")).unwrap();
    assert_eq!(seen.names, ["ann", "bob", "cy"]);
    seen.trigger(taken("a", "dan")).unwrap();
    app.save(&mut seen).unwrap();
}

#[test]
fn a_snapshot_stands_in_for_events_that_were_dropped() {
    let log = annals_engine::Log::options().segment_len(64 << 10);
    let recorder = Arc::new(LogRecorder::from(log.open_in_memory().unwrap()));
    let snapshots = Arc::new(recorder.model_snapshots());
    let app = DcbApplication::builder(recorder.clone())
        .snapshots(snapshots.clone())
        .build()
        .unwrap();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    // Of another boundary, and enough for some segments.
    let filler =
        |number: u128| StoredEvent::new(uuid::Uuid::from_u128(number), "Filler", vec![0; 3000]);
    let fill = |numbers: std::ops::Range<u128>| {
        let events = numbers.map(|number| ConditionalAppend::new(vec![filler(number)]));
        events.for_each(|append| drop(recorder.append(append, Durability::Sync).unwrap()));
    };
    fill(0..100);
    app.load(guests("a")).unwrap();
    fill(100..200);
    recorder.log().truncate_before(103).unwrap();
    assert!(recorder.log().view().first_position() > 3);

    save(&app, [taken("a", "dan")]);
    let mut seen = app.load(guests("a")).unwrap();
    assert_eq!(seen.names, ["ann", "bob", "cy", "dan"]);
    seen.trigger(taken("a", "eve")).unwrap();
    app.save(&mut seen).unwrap();
    // Without it nobody can tell who sits there.
    let without = DcbApplication::builder(recorder).build().unwrap();
    let refused = without.load(guests("a")).unwrap_err();
    assert!(
        matches!(&refused, annals::DcbError::Persistence { source, .. } if source.is_expired()),
        "{refused:?}"
    );
}

/// A room as an object that keeps snapshots.
#[derive(Debug, Serialize, Deserialize)]
struct Room {
    coats_of_paint: u32,
}

impl Aggregate for Room {
    type Event = Happening;

    fn start(event: &Happening) -> Option<Self> {
        matches!(event, Happening::RoomOpened { .. }).then_some(Self { coats_of_paint: 0 })
    }

    fn apply(&mut self, event: &Happening) {
        if matches!(event, Happening::RoomPainted { .. }) {
            self.coats_of_paint += 1;
        }
    }
}

impl EnduringObject for Room {
    const TAG: &'static str = "room";

    const SNAPSHOT: Option<SnapshotPolicy> = Some(SnapshotPolicy::new("room").every(3));

    fn to_snapshot(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    fn from_snapshot(state: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(state)
    }
}

#[test]
fn an_object_is_restored_from_its_snapshot() {
    let (app, store, shelf) = app();
    save(&app, [opened("a", 1), painted("a"), painted("a")]);
    app.get::<Room>("a").unwrap();
    assert_eq!(shelf.versions(), [3]);
    save(&app, [painted("a")]);
    store.forget();
    let mut room = app.get::<Room>("a").unwrap();
    assert_eq!(room.state().unwrap().coats_of_paint, 3);
    assert_eq!(store.reads(), [(2, 2)]);
    room.trigger(painted("a")).unwrap();
    app.save(&mut room).unwrap();
    // Events before the first leave it out of existence, in a snapshot too.
    save(&app, [painted("b"), painted("b"), painted("b")]);
    for _ in 0..2 {
        assert!(app.get::<Room>("b").unwrap_err().is_not_found());
    }
    assert_eq!(shelf.versions(), [3, 8]);
}

#[test]
fn snapshots_beside_a_log_are_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let app = DcbApplication::open(dir.path()).unwrap();
    save(&app, ["ann", "bob", "cy"].map(|person| taken("a", person)));
    app.load(guests("a")).unwrap();
    app.close().unwrap();

    let recorder = Arc::new(LogRecorder::open(dir.path()).unwrap());
    let snapshots = Arc::new(recorder.model_snapshots());
    let key = AggregateId::text(GUESTS_OF_A).unwrap();
    let kept = snapshots.latest_snapshot(&key, u64::MAX).unwrap().unwrap();
    assert_eq!(kept.version(), Some(3));
    assert_eq!(kept.metadata["model"], "guests");
    // The state in it is what is taken over: seen by writing another one in its place.
    let payload = String::from_utf8(kept.payload.clone()).unwrap();
    let payload = payload.replace("\"bob\"", "\"rob\"").into_bytes();
    snapshots
        .insert_snapshot(StoredEvent { payload, ..kept })
        .unwrap();
    let app = DcbApplication::builder(recorder).snapshots(snapshots.clone());
    let app = app.build().unwrap();
    save(&app, [taken("a", "dan")]);
    let names = app.load(guests("a")).unwrap().into_models().names;
    assert_eq!(names, ["ann", "rob", "cy", "dan"]);
    snapshots.delete_snapshots(&key).unwrap();
    let names = app.load(guests("a")).unwrap().into_models().names;
    assert_eq!(names, ["ann", "bob", "cy", "dan"]);
}

/// Under what the snapshots of the guests of room "a" are kept; must stay the same for good.
const GUESTS_OF_A: &str = "dcb:8f5cff2b-456a-5822-9413-5d898fffecba";

fn app() -> (DcbApplication, Arc<Store>, Arc<Shelf>) {
    let (store, shelf) = <(Arc<Store>, Arc<Shelf>)>::default();
    let app = DcbApplication::builder(store.clone()).snapshots(shelf.clone());
    (app.build().unwrap(), store, shelf)
}

type Intruder = Arc<dyn Fn(&MemoryRecorder) + Send + Sync>;

/// A recorder that notes what is read: behind which position, and how many events were found.
#[derive(Default)]
struct Store {
    memory: MemoryRecorder,
    reads: Mutex<Vec<(u64, usize)>>,
    behind_each_read: Mutex<Option<Intruder>>,
}

impl Store {
    fn forget(&self) {
        self.reads.lock().unwrap().clear();
    }

    fn reads(&self) -> Vec<(u64, usize)> {
        self.reads.lock().unwrap().clone()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Recorder for Store {
    fn close(&self) -> Result<(), PersistenceError> {
        self.memory.close()
    }
}

impl DcbRecorder for Store {
    fn append(
        &self,
        append: ConditionalAppend,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.memory.append(append, durability)
    }

    fn read(
        &self,
        query: &Query,
        after: u64,
        limit: Option<usize>,
    ) -> Result<Found, PersistenceError> {
        let found = self.memory.read(query, after, limit)?;
        let read = (after, found.notifications.len());
        self.reads.lock().unwrap().push(read);
        if let Some(intrude) = &*self.behind_each_read.lock().unwrap() {
            intrude(&self.memory);
        }
        Ok(found)
    }

    fn subscribe_query(&self, query: &Query, after: u64) -> Result<Subscription, PersistenceError> {
        self.memory.subscribe_query(query, after)
    }
}

/// Snapshots in memory.
#[derive(Debug, Default)]
struct Shelf {
    snapshots: Mutex<BTreeMap<(String, u64), StoredEvent>>,
    fails: Mutex<bool>,
}

impl Shelf {
    fn versions(&self) -> Vec<u64> {
        let snapshots = self.snapshots.lock().unwrap();
        let mut versions: Vec<_> = snapshots.keys().map(|(_, version)| *version).collect();
        versions.sort_unstable();
        versions
    }

    fn check(&self) -> Result<(), PersistenceError> {
        match *self.fails.lock().unwrap() {
            true => Err(PersistenceError::Closed),
            false => Ok(()),
        }
    }
}

impl Recorder for Shelf {
    fn close(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}

impl SnapshotRecorder for Shelf {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        self.check()?;
        let key = snapshot.aggregate_id().unwrap().to_string();
        let key = (key, snapshot.version().unwrap());
        self.snapshots.lock().unwrap().insert(key, snapshot);
        Ok(())
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        self.check()?;
        let key = aggregate_id.to_string();
        let snapshots = self.snapshots.lock().unwrap();
        let upto = (key.clone(), 0)..=(key, at_most_version);
        Ok(snapshots
            .range(upto)
            .next_back()
            .map(|(_, stored)| stored.clone()))
    }

    fn delete_snapshots(&self, _: &AggregateId) -> Result<(), PersistenceError> {
        Ok(())
    }
}
