//! Aggregates loaded from a stored state: the same as from all their events, and cheaper.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    Aggregate, AggregateId, Application, ApplicationBuilder, Durability, Error, Event, LogRecorder,
    MemoryRecorder, PersistenceError, ReadContent, Recorder, Root, Snapshot, SnapshotRecorder,
    StoredEvent, TranscodeError, Transcoder,
};
use serde::{Deserialize, Serialize};

use crate::stores::recorders;
use crate::watched::Watched;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Deposited {
    Opened,
    Deposited { amount: u64 },
}

impl Event for Deposited {}

/// An account, as it is today: it knows how many deposits it had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: u64,
    deposits: u64,
}

impl Aggregate for Account {
    type Event = Deposited;

    fn start(_: &Deposited) -> Option<Self> {
        Some(Self {
            balance: 0,
            deposits: 0,
        })
    }

    fn apply(&mut self, event: &Deposited) {
        if let Deposited::Deposited { amount } = event {
            self.balance += amount;
            self.deposits += 1;
        }
    }
}

impl Snapshot for Account {
    const NAME: &str = "account";
    const VERSION: u32 = 3;

    fn upcast(from: u32, mut state: serde_json::Value) -> Option<serde_json::Value> {
        let fields = state.as_object_mut()?;
        match from {
            1 => {
                let balance = fields.remove("sum")?;
                fields.insert("balance".into(), balance);
            }
            // As many as there are in the tests.
            2 => drop(fields.insert("deposits".into(), 4.into())),
            _ => return None,
        }
        Some(state)
    }
}

/// JSON by the way of objects, as a transcoder from outside goes.
#[derive(Debug)]
struct Foreign;

impl Transcoder for Foreign {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, TranscodeError> {
        annals::JsonTranscoder.encode(value)
    }

    fn decode(&self, payload: &[u8], read: ReadContent<'_>) -> Result<(), TranscodeError> {
        annals::JsonTranscoder.decode(payload, read)
    }
}

/// An application and what stands behind it, in memory and on a log.
struct World {
    app: Application,
    recorder: Arc<Watched>,
    snapshots: Arc<dyn SnapshotRecorder>,
}

fn worlds(set: impl Fn(ApplicationBuilder) -> ApplicationBuilder) -> impl Iterator<Item = World> {
    recorders().map(move |snapshots| {
        let recorder = Watched::of(snapshots.clone());
        let builder = Application::builder(recorder.clone()).snapshots(snapshots.clone());
        let app = set(builder).build().unwrap();
        World {
            app,
            recorder,
            snapshots,
        }
    })
}

fn every(events: u64) -> impl Fn(ApplicationBuilder) -> ApplicationBuilder {
    move |builder| builder.snapshot_every::<Account>(events)
}

fn account(app: &Application, deposits: u64) -> Root<Account> {
    let mut account = Root::<Account>::new(app.new_id(), Deposited::Opened).unwrap();
    app.save(&mut account).unwrap();
    deposit(app, &mut account, deposits);
    account
}

fn deposit(app: &Application, account: &mut Root<Account>, deposits: u64) {
    for _ in 0..deposits {
        account.trigger(Deposited::Deposited { amount: 10 });
        app.save(&mut *account).unwrap();
    }
}

impl World {
    /// How many events are read to load it; it has to be as `expected`.
    fn events_read(&self, expected: &Root<Account>) -> u64 {
        let before = self.recorder.shown();
        let found = self.app.repository().get::<Account>(expected.id()).unwrap();
        assert_same(&found, expected);
        self.recorder.shown() - before
    }

    fn put(&self, id: &AggregateId, version: u64, topic: &str, shape: &str, payload: &str) {
        let mut stored =
            StoredEvent::new(uuid::Uuid::nil(), topic, payload).of(id.clone(), version);
        if !shape.is_empty() {
            stored.metadata.insert("$version".into(), shape.into());
        }
        self.snapshots.insert_snapshot(stored).unwrap();
    }
}

fn assert_same(found: &Root<Account>, expected: &Root<Account>) {
    let of = |root: &Root<Account>| ((**root).clone(), root.version(), root.id().clone());
    assert_eq!(of(found), of(expected));
}

#[test]
fn a_snapshot_is_taken_by_itself_at_each_multiple() {
    for world in worlds(every(5)) {
        let mut account = account(&world.app, 3);
        assert_eq!(world.events_read(&account), 4, "version 4: none yet");
        deposit(&world.app, &mut account, 1);
        assert_eq!(world.events_read(&account), 0, "version 5");
        deposit(&world.app, &mut account, 4);
        assert_eq!(world.events_read(&account), 4, "version 9");
        deposit(&world.app, &mut account, 1);
        assert_eq!(world.events_read(&account), 0, "version 10");
    }
}

#[test]
fn a_save_beyond_a_multiple_takes_one_and_an_edit_does_too() {
    for world in worlds(every(5)) {
        let id = account(&world.app, 0).id().clone();
        let edit = |deposits: u64| {
            world.app.edit::<Account, _>(&id, |account| {
                (0..deposits).for_each(|_| account.trigger(Deposited::Deposited { amount: 1 }));
                Ok::<_, Error>(())
            })
        };
        edit(12).unwrap();
        let account = world.app.repository().get::<Account>(&id).unwrap();
        assert_eq!(world.events_read(&account), 0, "version 13");
        edit(1).unwrap();
        let account = world.app.repository().get::<Account>(&id).unwrap();
        assert_eq!(world.events_read(&account), 1, "version 14");
    }
}

#[test]
fn a_snapshot_keeps_the_times_of_the_aggregate() {
    for world in worlds(every(0)) {
        let account = account(&world.app, 3);
        world
            .app
            .take_snapshot::<Account>(account.id(), None)
            .unwrap();
        assert_eq!(world.events_read(&account), 0);
        let found = world.app.repository().get::<Account>(account.id()).unwrap();
        assert_eq!(found.created_at(), account.created_at());
        assert_eq!(found.modified_at(), account.modified_at());
    }
}

#[test]
fn a_snapshot_is_taken_when_asked_of_any_version() {
    for world in worlds(every(0)) {
        let account = account(&world.app, 4);
        assert_eq!(world.events_read(&account), 5, "none by itself");
        let take = |version| world.app.take_snapshot::<Account>(account.id(), version);
        assert_eq!(take(Some(3)).unwrap(), 3);
        assert_eq!(world.events_read(&account), 2);
        assert_eq!(take(None).unwrap(), 5);
        assert_eq!(world.events_read(&account), 0);
        assert_eq!(take(Some(99)).unwrap(), 5);
        assert!(take(Some(0)).unwrap_err().is_not_found());
        let unknown = world
            .app
            .take_snapshot::<Account>(&world.app.new_id(), None);
        assert!(unknown.unwrap_err().is_not_found());
    }
}

#[test]
fn an_old_state_is_loaded_from_an_old_snapshot_or_none() {
    for world in worlds(every(4)) {
        let mut account = Root::<Account>::new(world.app.new_id(), Deposited::Opened).unwrap();
        let mut times = Vec::new();
        for _ in 0..10 {
            times.push(world.app.save(&mut account).unwrap()[0].time().unwrap());
            std::thread::sleep(Duration::from_millis(1));
            account.trigger(Deposited::Deposited { amount: 10 });
        }
        let repository = world.app.repository();
        for (version, time) in (1..).zip(times) {
            let at = repository.get_at::<Account>(account.id(), version).unwrap();
            let then = repository.get_as_of::<Account>(account.id(), time).unwrap();
            assert_eq!((at.version(), at.balance), (version, 10 * (version - 1)));
            assert_same(&then, &at);
            assert_eq!(then.modified_at(), Some(time));
        }
    }
}

#[test]
fn a_snapshot_of_an_old_shape_is_brought_up_to_date() {
    let foreign = |builder: ApplicationBuilder| every(0)(builder).transcoder(Foreign);
    for world in worlds(every(0)).chain(worlds(foreign)) {
        let account = account(&world.app, 4);
        for (shape, payload) in [
            ("", r#"{"sum":40}"#),
            ("1", r#"{"sum":40}"#),
            ("2", r#"{"balance":40}"#),
            ("3", r#"{"balance":40,"deposits":4}"#),
        ] {
            world.put(account.id(), 5, "account", shape, payload);
            assert_eq!(world.events_read(&account), 0, "shape {shape:?}");
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_is_passed_over() {
    for world in worlds(every(0)) {
        let account = account(&world.app, 4);
        for (topic, shape, payload) in [
            ("account", "3", r#"{"balance":40,"dep"#),
            ("account", "3", r#"{"balance":-1,"deposits":4}"#),
            ("account", "3", ""),
            ("account", "1", r#"{"balance":40}"#),
            ("account", "0", r#"{"balance":40,"deposits":4}"#),
            ("account", "4", r#"{"balance":40,"deposits":4}"#),
            ("account", "99999999999", r#"{"balance":40,"deposits":4}"#),
            ("account", "three", r#"{"balance":40,"deposits":4}"#),
            ("savings", "3", r#"{"balance":40,"deposits":4}"#),
        ] {
            world.put(account.id(), 5, topic, shape, payload);
            assert_eq!(world.events_read(&account), 5, "{topic} {shape} {payload}");
        }
        // Sealed by others.
        let mut sealed =
            StoredEvent::new(uuid::Uuid::nil(), "account", "?").of(account.id().clone(), 5);
        sealed.encoding = Some(annals::Encoding {
            codec: 250,
            key_id: 7,
            plain_len: 1,
        });
        world.snapshots.insert_snapshot(sealed).unwrap();
        assert_eq!(world.events_read(&account), 5);
    }
}

/// Answers what it is told to.
#[derive(Debug)]
struct Told(Option<StoredEvent>);

impl Recorder for Told {
    fn close(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}

impl SnapshotRecorder for Told {
    fn insert_snapshot(&self, _: StoredEvent) -> Result<(), PersistenceError> {
        Err(PersistenceError::Closed)
    }

    fn latest_snapshot(
        &self,
        _: &AggregateId,
        _: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        self.0
            .clone()
            .map_or(Err(PersistenceError::Closed), |told| Ok(Some(told)))
    }

    fn delete_snapshots(&self, _: &AggregateId) -> Result<(), PersistenceError> {
        Ok(())
    }
}

fn told(told: Option<StoredEvent>) -> Application {
    Application::builder(Arc::new(MemoryRecorder::new()))
        .snapshots(Arc::new(Told(told)))
        .snapshot_every::<Account>(2)
        .build()
        .unwrap()
}

#[test]
fn a_snapshot_ahead_of_its_aggregate_or_of_another_is_not_believed() {
    let id = AggregateId::text("a").unwrap();
    let snapshot = |id: &AggregateId, version| {
        let payload = r#"{"balance":1000,"deposits":100}"#;
        let mut stored =
            StoredEvent::new(uuid::Uuid::nil(), "account", payload).of(id.clone(), version);
        stored.metadata.insert("$version".into(), "3".into());
        stored
    };
    let other = AggregateId::text("b").unwrap();
    for stored in [snapshot(&id, 3), snapshot(&other, 2)] {
        let app = told(Some(stored));
        let mut account = Root::<Account>::new(id.clone(), Deposited::Opened).unwrap();
        account.trigger(Deposited::Deposited { amount: 10 });
        app.save(&mut account).unwrap();
        let found = app.repository().get::<Account>(&id).unwrap();
        assert_same(&found, &account);
        let then = app.repository().get_at::<Account>(&id, 1).unwrap();
        assert_eq!(then.version(), 1);
    }
}

#[test]
fn a_failing_store_of_snapshots_fails_no_save_and_no_load() {
    let app = told(None);
    let account = account(&app, 5);
    assert_same(
        &app.repository().get::<Account>(account.id()).unwrap(),
        &account,
    );
    let refused = app
        .take_snapshot::<Account>(account.id(), None)
        .unwrap_err();
    assert!(matches!(refused, Error::Persistence { .. }), "{refused:?}");
}

#[test]
fn snapshots_that_the_application_was_not_built_for_are_refused() {
    let app = Application::in_memory();
    let id = account(&app, 1).id().clone();
    let refused = app.take_snapshot::<Account>(&id, None).unwrap_err();
    assert!(matches!(refused, Error::NoSnapshots { type_name } if type_name.ends_with("Account")));

    let nowhere = Application::builder(Arc::new(MemoryRecorder::new()))
        .snapshot_every::<Account>(5)
        .build()
        .unwrap_err();
    assert!(matches!(
        nowhere,
        Error::MissingOption {
            option: "snapshots",
            needed_by: "snapshot_every"
        }
    ));
}

#[test]
fn an_aggregate_whose_first_events_were_dropped_goes_on_from_its_snapshot() {
    let log = annals_engine::Log::options()
        .segment_len(1 << 20)
        .open_in_memory()
        .unwrap();
    let recorder = Arc::new(LogRecorder::from(log));
    let app = Application::builder(recorder.clone())
        .snapshots(recorder.clone())
        .snapshot_every::<Account>(0)
        .build()
        .unwrap();
    let mut account = account(&app, 4);
    app.take_snapshot::<Account>(account.id(), None).unwrap();
    let filler = |version: u64| {
        let event_id = uuid::Uuid::from_u128(version.into());
        let event = StoredEvent::new(event_id, "Filler", vec![0; 200_000]);
        event.of(AggregateId::text("filler").unwrap(), version)
    };
    for version in 1..=12 {
        let recorder: &dyn annals::AggregateRecorder = &*recorder;
        recorder
            .insert_events(vec![filler(version)], Durability::Sync)
            .unwrap();
    }
    let dropped = recorder.log().truncate_before(12).unwrap();
    assert!(dropped.first_position > 1, "{dropped:?}");

    assert_same(
        &app.repository().get::<Account>(account.id()).unwrap(),
        &account,
    );
    deposit(&app, &mut account, 2);
    assert_same(
        &app.repository().get::<Account>(account.id()).unwrap(),
        &account,
    );
    // Nobody can tell what it was before.
    let before = app
        .repository()
        .get_at::<Account>(account.id(), 2)
        .unwrap_err();
    let first = dropped.first_position;
    assert!(
        matches!(
            before,
            Error::Persistence { source: PersistenceError::Expired { first: told }, .. } if told == first
        ),
        "{before:?}"
    );
}

#[test]
fn snapshots_lie_beside_the_log_and_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let builder = ApplicationBuilder::open(dir.path()).unwrap();
        builder.snapshot_every::<Account>(5).build().unwrap()
    };
    let app = open();
    let account = account(&app, 7);
    app.close().unwrap();
    assert!(dir.path().join("snapshots").is_dir());

    let app = open();
    assert_same(
        &app.repository().get::<Account>(account.id()).unwrap(),
        &account,
    );
    drop(app);
    #[expect(clippy::disallowed_methods, reason = "what may be lost is removed")]
    std::fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    let app = open();
    let mut found = app.repository().get::<Account>(account.id()).unwrap();
    assert_same(&found, &account);
    found.trigger(Deposited::Deposited { amount: 1 });
    found.trigger(Deposited::Deposited { amount: 1 });
    app.save_with(&mut found, Durability::Buffered).unwrap();
    assert_same(
        &app.repository().get::<Account>(account.id()).unwrap(),
        &found,
    );
}
