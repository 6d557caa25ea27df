//! Searchable timestamps: what changed in a period, and what was so at a time, over all aggregates.
//!
//! What to see here:
//! - Every event has the time at which it was stored. A view with an index over it answers questions that no aggregate
//!   can: it holds no state, only which version was reached when.
//! - The state of then comes from the events: the repository loads the aggregate up to the version that the view names.
//! - The view follows all events of the application whatever their type, in batches, and is made again from the beginning
//!   if its file is lost.
//!
//! `cargo run -p annals --features sqlite --example searchable_timestamps`

use std::sync::Arc;
use std::time::Duration;

use annals::rusqlite::{OptionalExtension, Transaction};
use annals::{
    Aggregate, AggregateId, Application, Event, Failure, Notified, PersistenceError, Projection,
    ProjectionRunner, Root, SqliteView,
};
use serde::{Deserialize, Serialize};

// ---- Shipments ----

#[derive(Debug, Serialize, Deserialize)]
enum ShipmentEvent {
    #[serde(rename = "shipment.sent")]
    Sent { from: String },
    #[serde(rename = "shipment.moved")]
    Moved { to: String },
}

impl Event for ShipmentEvent {}

#[derive(Debug, PartialEq)]
struct Shipment {
    place: String,
}

impl Aggregate for Shipment {
    type Event = ShipmentEvent;

    fn start(event: &ShipmentEvent) -> Option<Self> {
        match event {
            ShipmentEvent::Sent { from } => Some(Self {
                place: from.clone(),
            }),
            ShipmentEvent::Moved { .. } => None,
        }
    }

    fn apply(&mut self, event: &ShipmentEvent) {
        if let ShipmentEvent::Moved { to } = event {
            self.place.clone_from(to);
        }
    }
}

// ---- The view ----

const SCHEMA: &str = "
    CREATE TABLE changes (shipment TEXT NOT NULL, version INTEGER NOT NULL, time_us INTEGER NOT NULL,
        PRIMARY KEY (shipment, version)) WITHOUT ROWID;
    CREATE INDEX changes_by_time ON changes (time_us);
    CREATE INDEX changes_of_shipment ON changes (shipment, time_us);";

struct Changes;

impl Projection<SqliteView> for Changes {
    type Event = ShipmentEvent;

    fn process(
        &mut self,
        event: &Notified<ShipmentEvent>,
        rows: &mut Transaction<'_>,
    ) -> Result<(), Failure> {
        let id = event.aggregate_id.as_ref().ok_or("a shipment has an id")?;
        // SQLite counts in signed numbers: enough for times until the year 294000.
        let (version, time_us) = (
            event.version.map(i64::try_from).transpose()?,
            i64::try_from(event.time_us)?,
        );
        rows.prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3)")?
            .execute((id.to_string(), version, time_us))?;
        Ok(())
    }
}

// ---- The application ----

struct Shipping {
    app: Application,
    changes: ProjectionRunner<SqliteView>,
}

/// Microseconds since the Unix epoch.
type Time = i64;

impl Shipping {
    fn new(app: Application, view: SqliteView) -> Result<Self, Failure> {
        let changes =
            ProjectionRunner::builder("shipping", &app, Arc::new(view), Changes).start()?;
        Ok(Self { app, changes })
    }

    fn send(&self, from: &str) -> Result<(AggregateId, Time), Failure> {
        let from = from.to_owned();
        let mut shipment = Root::<Shipment>::new(self.app.new_id(), ShipmentEvent::Sent { from })?;
        let time = self.save(&mut shipment)?;
        Ok((shipment.id().clone(), time))
    }

    fn move_on(&self, id: &AggregateId, to: &str) -> Result<Time, Failure> {
        let mut shipment = self.app.repository().get::<Shipment>(id)?;
        shipment.trigger(ShipmentEvent::Moved { to: to.to_owned() });
        self.save(&mut shipment)
    }

    /// Saves, waits until the view knows, and answers the time.
    fn save(&self, shipment: &mut Root<Shipment>) -> Result<Time, Failure> {
        let saved = self.app.save(shipment)?;
        let last = saved.last().ok_or("something is saved")?;
        self.changes.wait(last.position, Duration::from_secs(5))?;
        Ok(last
            .time_us
            .ok_or("the recorder tells the time")?
            .try_into()?)
    }

    /// The shipment as it was at a time; `None` before it was sent.
    fn at(&self, id: &AggregateId, time: Time) -> Result<Option<Root<Shipment>>, Failure> {
        let version: Option<u64> = self.changes.view().read(|rows| {
            rows.prepare_cached(
                "SELECT version FROM changes WHERE shipment = ?1 AND time_us <= ?2 ORDER BY time_us DESC, version DESC LIMIT 1",
            )?
            .query_one((id.to_string(), time), |row| row.get::<_, i64>(0))
            .optional()
            .map(|version| version.map(i64::cast_unsigned))
        })?;
        let load = |version| self.app.repository().get_at(id, version);
        Ok(version.map(load).transpose()?)
    }

    /// The shipments that changed in a period, both ends included, each once.
    fn changed(&self, from: Time, to: Time) -> Result<Vec<AggregateId>, Failure> {
        let found: Result<Vec<String>, PersistenceError> = self.changes.view().read(|rows| {
            rows.prepare_cached(
                "SELECT shipment FROM changes WHERE time_us BETWEEN ?1 AND ?2 GROUP BY shipment ORDER BY min(time_us)",
            )?
            .query_map((from, to), |row| row.get(0))?
            .collect()
        });
        let ids = found?.into_iter().map(|id| AggregateId::parse(&id));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

pub(crate) fn main() -> Result<(), Failure> {
    let shipping = Shipping::new(Application::in_memory(), SqliteView::in_memory(SCHEMA)?)?;
    // Times in this program are microseconds apart; those of a real one are not.
    let pause = || std::thread::sleep(Duration::from_millis(1));
    let (tea, sent) = shipping.send("Colombo")?;
    pause();
    let in_suez = shipping.move_on(&tea, "Suez")?;
    pause();
    let (silk, silk_sent) = shipping.send("Hangzhou")?;
    pause();
    let in_london = shipping.move_on(&tea, "London")?;

    let place = |time| -> Result<_, Failure> {
        let shipment = shipping.at(&tea, time)?;
        Ok(shipment.map(|shipment| shipment.place.clone()))
    };
    assert_eq!(place(sent - 1)?, None);
    assert_eq!(place(sent)?.as_deref(), Some("Colombo"));
    assert_eq!(place(silk_sent)?.as_deref(), Some("Suez"));
    assert_eq!(place(in_london + 1_000_000)?.as_deref(), Some("London"));

    assert_eq!(shipping.changed(sent, in_suez)?, std::slice::from_ref(&tea));
    assert_eq!(shipping.changed(in_suez, in_london)?, [tea, silk.clone()]);
    assert_eq!(shipping.changed(silk_sent, silk_sent)?, [silk]);
    assert_eq!(shipping.changed(in_london + 1, Time::MAX)?, []);
    Ok(())
}
