//! Decisions without aggregates: what they see, what they rest on, and what is saved of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use annals::{
    Aggregate, ConditionalAppend, DcbApplication, DcbError, DcbRecorder, DecisionModel,
    DomainError, Durability, EnduringObject, Event, LogRecorder, MemoryRecorder, Object,
    PersistenceError, Query, QueryItem, Retries, Slice, StoredEvent, Tracking, TrackingRecorder,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::recorders;

/// What happens in these tests: seats are taken in rooms, by people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Happening {
    RoomOpened { room: String, seats: usize },
    SeatTaken { room: String, person: String },
    RoomPainted { room: String },
}

impl Event for Happening {
    fn tags(&self) -> Vec<String> {
        match self {
            Self::RoomOpened { room, .. } | Self::RoomPainted { room } => {
                vec![format!("room:{room}")]
            }
            Self::SeatTaken { room, person } => {
                vec![format!("room:{room}"), format!("person:{person}")]
            }
        }
    }
}

pub(crate) fn opened(room: &str, seats: usize) -> Happening {
    let room = room.to_owned();
    Happening::RoomOpened { room, seats }
}

pub(crate) fn taken(room: &str, person: &str) -> Happening {
    let (room, person) = (room.to_owned(), person.to_owned());
    Happening::SeatTaken { room, person }
}

pub(crate) fn painted(room: &str) -> Happening {
    let room = room.to_owned();
    Happening::RoomPainted { room }
}

/// Seats of a room that are free; reads two kinds of event.
#[derive(Debug, PartialEq)]
struct FreeSeats {
    room: &'static str,
    free: usize,
}

#[derive(Serialize, Deserialize)]
enum SeatEvent {
    RoomOpened { seats: usize },
    SeatTaken {},
}

impl Event for SeatEvent {}

impl DecisionModel for FreeSeats {
    type Event = SeatEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<SeatEvent>()
            .tag(format!("room:{}", self.room))
            .into()
    }

    fn apply(&mut self, event: &SeatEvent) {
        match event {
            SeatEvent::RoomOpened { seats } => self.free += seats,
            SeatEvent::SeatTaken {} => self.free -= 1,
        }
    }
}

fn free_seats(room: &'static str) -> FreeSeats {
    FreeSeats { room, free: 0 }
}

/// Rooms in which somebody sits.
#[derive(Debug, PartialEq)]
struct RoomsOf {
    person: &'static str,
    rooms: Vec<String>,
}

impl DecisionModel for RoomsOf {
    type Event = Happening;

    fn boundary(&self) -> Query {
        QueryItem::new()
            .topic("SeatTaken")
            .tag(format!("person:{}", self.person))
            .into()
    }

    fn apply(&mut self, event: &Happening) {
        if let Happening::SeatTaken { room, .. } = event {
            self.rooms.push(room.clone());
        }
    }
}

fn rooms_of(person: &'static str) -> RoomsOf {
    let rooms = Vec::new();
    RoomsOf { person, rooms }
}

#[derive(Debug)]
enum Refusal {
    Full,
    Failed(DcbError),
}

impl From<DcbError> for Refusal {
    fn from(error: DcbError) -> Self {
        Self::Failed(error)
    }
}

/// Takes a seat, unless the room is full.
struct TakeSeat {
    room: &'static str,
    person: &'static str,
}

impl Slice for TakeSeat {
    type Models = FreeSeats;
    type Value = usize;
    type Error = Refusal;

    fn models(&self) -> FreeSeats {
        free_seats(self.room)
    }

    fn decide(&self, seen: &mut annals::Perspective<FreeSeats>) -> Result<usize, Refusal> {
        if seen.free == 0 {
            return Err(Refusal::Full);
        }
        seen.trigger(taken(self.room, self.person))?;
        Ok(seen.free)
    }
}

/// An application on each recorder.
fn apps() -> impl Iterator<Item = DcbApplication> {
    recorders().map(|recorder| DcbApplication::builder(recorder).build().unwrap())
}

/// Saves events without looking at anything.
pub(crate) fn save(app: &DcbApplication, events: impl IntoIterator<Item = Happening>) {
    let mut blind = app.load(Vec::<RoomsOf>::new()).unwrap();
    for event in events {
        blind.trigger(event).unwrap();
    }
    app.save(&mut blind).unwrap();
}

#[test]
fn each_model_sees_the_events_of_its_own_boundary_and_all_of_them_one_moment() {
    for app in apps() {
        save(
            &app,
            [
                opened("a", 3),
                opened("b", 5),
                taken("a", "ann"),
                painted("a"),
                taken("b", "ann"),
                taken("a", "bob"),
            ],
        );
        let seen = app
            .load((free_seats("a"), [free_seats("b")], rooms_of("ann")))
            .unwrap();
        assert_eq!((seen.0.free, seen.1[0].free), (1, 4));
        assert_eq!(seen.2.rooms, ["a", "b"]);
        assert_eq!(seen.last_known_position(), 6);
        assert_eq!(seen.boundary().len(), 3);
    }
}

#[test]
fn a_decision_whose_boundary_has_changed_is_a_conflict_and_saves_nothing() {
    for app in apps() {
        save(&app, [opened("a", 3)]);
        let mut slow = app.load(free_seats("a")).unwrap();
        slow.trigger(taken("a", "ann")).unwrap();
        save(&app, [taken("a", "bob")]);

        let refused = app.save(&mut slow).unwrap_err();
        assert!(refused.is_conflict(), "{refused:?}");
        assert_eq!(slow.pending().len(), 1);
        let id = slow.pending()[0].event_id;
        assert!(!id.is_nil());
        app.save(&mut slow).unwrap_err();
        assert_eq!(slow.pending()[0].event_id, id);
        assert_eq!(app.load(free_seats("a")).unwrap().free, 2);
    }
}

#[test]
fn what_happens_outside_of_the_boundary_does_not_disturb() {
    for app in apps() {
        save(&app, [opened("a", 3), opened("b", 3)]);
        let mut seen = app.load(free_seats("a")).unwrap();
        seen.trigger(taken("a", "ann")).unwrap();
        save(&app, [painted("a"), taken("b", "bob")]);
        let recordings = app.save(&mut seen).unwrap();
        assert_eq!(recordings[0].position, 5);
        assert_eq!(recordings[0].topic, "SeatTaken");
        assert_eq!((seen.last_known_position(), seen.pending().len()), (5, 0));
        // And what it saved itself is not in its own way.
        seen.trigger(taken("a", "cy")).unwrap();
        app.save(&mut seen).unwrap();
    }
}

#[test]
fn an_event_is_applied_to_every_model_in_whose_boundary_it_lies() {
    for app in apps() {
        save(&app, [opened("a", 3), opened("b", 3)]);
        let mut seen = app
            .load((free_seats("a"), free_seats("b"), rooms_of("ann")))
            .unwrap();
        seen.trigger(taken("a", "ann")).unwrap();
        seen.trigger(painted("b")).unwrap();
        assert_eq!((seen.0.free, seen.1.free), (2, 3));
        assert_eq!(seen.2.rooms, ["a"]);
        assert_eq!(app.save(&mut seen).unwrap().len(), 2);
        let again = app
            .load((free_seats("a"), free_seats("b"), rooms_of("ann")))
            .unwrap();
        assert_eq!(again.into_models(), seen.into_models());
    }
}

#[test]
fn a_decision_is_made_again_until_nobody_was_faster() {
    for app in apps() {
        save(&app, [opened("a", 9)]);
        let calls = AtomicU32::new(0);
        let decided = app.decide(
            || free_seats("a"),
            |seen| {
                if calls.fetch_add(1, Ordering::Relaxed) < 3 {
                    save(&app, [taken("a", "bob")]);
                }
                seen.trigger(taken("a", "ann"))?;
                Ok::<_, DcbError>(seen.free)
            },
        );
        let decided = decided.unwrap();
        assert_eq!(calls.into_inner(), 4);
        assert_eq!((decided.value, decided.recordings.len()), (5, 1));
    }
}

#[test]
fn a_decision_that_is_always_overtaken_is_given_up() {
    let app = DcbApplication::builder(Arc::new(MemoryRecorder::new()))
        .retries(attempts(3))
        .build()
        .unwrap();
    save(&app, [opened("a", 9)]);
    let refused = app.decide(
        || free_seats("a"),
        |seen| {
            save(&app, [taken("a", "bob")]);
            seen.trigger(taken("a", "ann"))
        },
    );
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, DcbError::Contended { attempts: 3, .. }),
        "{refused:?}"
    );
    assert!(refused.is_conflict());
    assert_eq!(app.load(rooms_of("ann")).unwrap().rooms, [""; 0]);
}

#[test]
fn a_refused_decision_and_one_without_events_save_nothing() {
    for app in apps() {
        save(&app, [opened("a", 1)]);
        app.run(&take_seat("ann")).unwrap();
        let refused = app.run(&take_seat("bob")).unwrap_err();
        assert!(matches!(refused, Refusal::Full), "{refused:?}");

        let decided = app
            .decide(|| free_seats("a"), |seen| Ok::<_, DcbError>(seen.free))
            .unwrap();
        assert_eq!((decided.value, decided.recordings), (0, vec![]));
        assert_eq!(app.load(free_seats("a")).unwrap().last_known_position(), 2);
    }
}

#[test]
fn many_threads_never_decide_beyond_a_limit() {
    const SEATS: usize = 20;
    for app in apps() {
        save(&app, [opened("a", SEATS)]);
        let take_all = || {
            let mut taken = 0;
            loop {
                match app.run(&take_seat("ann")) {
                    Ok(_) => taken += 1,
                    Err(Refusal::Full) => return taken,
                    Err(Refusal::Failed(error)) => assert!(error.is_conflict(), "{error:?}"),
                }
            }
        };
        let taken: usize = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(take_all));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(taken, SEATS);
        assert_eq!(app.load(free_seats("a")).unwrap().free, 0);
    }
}

#[test]
fn no_models_look_at_nothing() {
    for app in apps() {
        save(&app, [opened("a", 1)]);
        let mut blind = app.load(Vec::<FreeSeats>::new()).unwrap();
        assert_eq!(
            (blind.boundary(), blind.last_known_position()),
            (&[][..], 0)
        );
        blind.trigger(painted("a")).unwrap();
        app.save(&mut blind).expect("nothing is in its way");
    }
}

#[test]
fn several_perspectives_are_saved_together_or_not_at_all() {
    for app in apps() {
        save(&app, [opened("a", 3), opened("b", 3)]);
        let mut a = app.load(free_seats("a")).unwrap();
        let mut b = app.load(free_seats("b")).unwrap();
        a.trigger(taken("a", "ann")).unwrap();
        save(&app, [taken("b", "bob")]);
        // Nothing was decided on b, but looked at it was.
        assert!(app.save((&mut a, &mut b)).unwrap_err().is_conflict());
        app.advance(&mut b).unwrap();
        b.trigger(taken("b", "cy")).unwrap();
        let recordings = app.save((&mut a, &mut b)).unwrap();
        let positions: Vec<_> = recordings.iter().map(|saved| saved.position).collect();
        assert_eq!(positions, [4, 5]);
        for seen in [&mut a, &mut b] {
            seen.trigger(painted("c")).unwrap();
            app.save(seen).unwrap();
        }
        assert_eq!((a.free, b.free), (2, 1));
    }
}

#[test]
fn a_perspective_that_has_not_seen_what_was_saved_with_it_cannot_be_saved_again() {
    for app in apps() {
        save(&app, [opened("a", 3)]);
        let mut seats = app.load(free_seats("a")).unwrap();
        let mut rooms = app.load(rooms_of("ann")).unwrap();
        seats.trigger(painted("a")).unwrap();
        rooms.trigger(taken("a", "ann")).unwrap();
        app.save((&mut seats, &mut rooms)).unwrap();
        assert_eq!((seats.free, rooms.rooms.len()), (3, 1));

        let refused = app.advance(&mut seats).unwrap_err();
        assert!(
            matches!(refused, DcbError::CannotAdvance { position: 1, .. }),
            "{refused:?}"
        );
        seats.trigger(taken("a", "bob")).unwrap();
        assert!(app.save(&mut seats).unwrap_err().is_conflict());
        rooms.trigger(taken("a", "ann")).unwrap();
        app.save(&mut rooms).unwrap();
    }
}

#[test]
fn a_perspective_is_brought_up_to_date_by_what_is_new() {
    for app in apps() {
        save(&app, [opened("a", 3), taken("a", "ann")]);
        let mut seen = app.load((free_seats("a"), rooms_of("bob"))).unwrap();
        save(&app, [taken("a", "bob"), painted("a")]);
        app.advance(&mut seen).unwrap();
        assert_eq!((seen.0.free, seen.1.rooms.len()), (1, 1));
        assert_eq!(seen.last_known_position(), 4);
        seen.trigger(taken("a", "cy")).unwrap();
        let refused = app.advance(&mut seen).unwrap_err();
        assert!(
            matches!(refused, DcbError::CannotAdvance { position: 4, .. }),
            "{refused:?}"
        );
        app.save(&mut seen).unwrap();
        app.advance(&mut seen).unwrap();
        assert_eq!((seen.0.free, seen.last_known_position()), (0, 5));
    }
}

#[test]
fn an_event_that_a_model_does_not_know_is_an_error() {
    struct AllOfRoom;
    impl DecisionModel for AllOfRoom {
        type Event = SeatEvent;

        fn boundary(&self) -> Query {
            QueryItem::new().tag("room:a").into()
        }

        fn apply(&mut self, _: &SeatEvent) {}
    }
    for app in apps() {
        save(&app, [opened("a", 3)]);
        app.load(AllOfRoom).unwrap();
        save(&app, [painted("a")]);
        let refused = app.load(AllOfRoom).map(drop).unwrap_err();
        let DcbError::Persistence {
            source: PersistenceError::UnknownTopic { topic, .. },
            ..
        } = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!(topic, "RoomPainted");
    }
}

#[test]
fn a_model_of_everything_meets_every_event() {
    struct Count(usize);
    impl DecisionModel for Count {
        type Event = Happening;

        fn boundary(&self) -> Query {
            Query::all()
        }

        fn apply(&mut self, _: &Happening) {
            self.0 += 1;
        }
    }
    for app in apps() {
        save(&app, [opened("a", 3), painted("a")]);
        let mut seen = app.load((Count(0), free_seats("a"))).unwrap();
        assert_eq!((seen.0.0, seen.1.free), (2, 3));
        seen.trigger(painted("z")).unwrap();
        save(&app, [painted("b")]);
        assert!(app.save(&mut seen).unwrap_err().is_conflict());
    }
}

#[test]
fn a_subscription_shows_decoded_events_and_goes_on_behind_one_it_cannot_read() {
    for app in apps() {
        save(&app, [opened("a", 3)]);
        let foreign = StoredEvent {
            tags: vec![b"room:a".to_vec()],
            ..StoredEvent::new(Uuid::from_u128(7), "RoomOpened", "no room")
        };
        append(&**app.recorder(), foreign);
        save(&app, [opened("b", 3), painted("a"), taken("a", "ann")]);

        let query = QueryItem::of::<Happening>().tag("room:a");
        let mut subscription = app.subscribe::<Happening>(query, 0).unwrap();
        let mut next = || subscription.next_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(next().unwrap().event, opened("a", 3));
        let refused = next().unwrap_err();
        assert!(
            matches!(
                refused,
                DcbError::Persistence {
                    source: PersistenceError::Decode { .. },
                    ..
                }
            ),
            "{refused:?}"
        );
        let happened = next().unwrap();
        assert_eq!(
            (happened.event, happened.notification.position),
            (painted("a"), 4)
        );
        assert_eq!(next().unwrap().event, taken("a", "ann"));
        assert_eq!(subscription.position(), 5);
        subscription.stop_handle().stop();
        assert!(subscription.next().is_none() && subscription.is_stopped());
    }
}

#[test]
fn a_closed_application_and_options_out_of_range_are_refused() {
    for app in apps() {
        let mut seen = app.load(free_seats("a")).unwrap();
        seen.trigger(painted("a")).unwrap();
        app.close().unwrap();
        let refused = app.save(&mut seen).unwrap_err();
        assert!(
            matches!(
                refused,
                DcbError::Persistence {
                    source: PersistenceError::Closed,
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    let builder = DcbApplication::builder(Arc::new(MemoryRecorder::new()));
    let refused = builder.retries(attempts(0)).build().unwrap_err();
    assert!(
        matches!(
            refused,
            DcbError::InvalidOption {
                option: "retries",
                ..
            }
        ),
        "{refused:?}"
    );
}

#[test]
fn what_was_decided_is_there_when_the_log_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let app = DcbApplication::open(dir.path()).unwrap();
    save(&app, [opened("a", 3)]);
    app.run(&take_seat("ann")).unwrap();
    app.close().unwrap();
    let app = DcbApplication::open(dir.path()).unwrap();
    assert_eq!(app.run(&take_seat("bob")).unwrap().value, 1);
}

#[test]
fn decisions_that_are_buffered_see_each_other() {
    let log = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
    let app = DcbApplication::builder(Arc::new(log))
        .durability(Durability::Buffered)
        .retries(attempts(1))
        .build()
        .unwrap();
    save(&app, [opened("a", 30)]);
    for seat in 0..30 {
        assert_eq!(app.run(&take_seat("ann")).unwrap().value, 29 - seat);
    }
}

#[test]
fn a_decision_upon_an_upstream_event_takes_effect_once() {
    let recorder = Arc::new(MemoryRecorder::new());
    let app = DcbApplication::builder(recorder.clone()).build().unwrap();
    save(&app, [opened("a", 9)]);
    let decide = |position| {
        let mut seen = app.load(free_seats("a"))?;
        seen.trigger(taken("a", "ann"))?;
        app.save_tracked(&mut seen, Tracking::new("up", position))
    };
    assert_eq!(decide(7).unwrap()[0].position, 2);
    assert_eq!(recorder.max_tracking("up").unwrap(), Some(7));
    let refused = decide(7).unwrap_err();
    let DcbError::Persistence { source, .. } = refused else {
        panic!("{refused:?}")
    };
    assert!(
        matches!(source, PersistenceError::TrackingConflict { .. }),
        "{source:?}"
    );
    decide(8).unwrap();
    assert_eq!(app.load(free_seats("a")).unwrap().free, 7);
    let mut idle = app.load(free_seats("a")).unwrap();
    let refused = app.save_tracked(&mut idle, Tracking::new("up", 9));
    assert!(
        matches!(
            refused,
            Err(DcbError::Persistence {
                source: PersistenceError::NoEvents,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(recorder.max_tracking("up").unwrap(), Some(8));
}

/// A room as an object: its events do not name it.
#[derive(Clone, Debug, PartialEq)]
struct Room {
    seats: u32,
}

/// A person as an object.
#[derive(Clone, Debug, PartialEq)]
struct Person {
    sits: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Changed {
    Built { seats: u32 },
    Born,
    SatDown,
}

impl Event for Changed {}

impl Aggregate for Room {
    type Event = Changed;

    fn start(event: &Changed) -> Option<Self> {
        match event {
            Changed::Built { seats } => Some(Self { seats: *seats }),
            _ => None,
        }
    }

    fn apply(&mut self, event: &Changed) {
        if *event == Changed::SatDown {
            self.seats -= 1;
        }
    }
}

impl EnduringObject for Room {
    const TAG: &'static str = "room";
}

impl Aggregate for Person {
    type Event = Changed;

    fn start(event: &Changed) -> Option<Self> {
        (*event == Changed::Born).then_some(Self { sits: 0 })
    }

    fn apply(&mut self, event: &Changed) {
        if *event == Changed::SatDown {
            self.sits += 1;
        }
    }
}

impl EnduringObject for Person {
    const TAG: &'static str = "person";
}

#[test]
fn an_object_is_found_by_its_tag_which_its_events_get() {
    for app in apps() {
        let mut room = app
            .create::<Room>("a", Changed::Built { seats: 3 })
            .unwrap();
        assert_eq!(room.state().unwrap().seats, 3);
        assert_eq!(room.pending()[0].tags, [b"room:a".to_vec()]);
        app.save(&mut room).unwrap();
        app.save(
            &mut app
                .create::<Room>("b", Changed::Built { seats: 5 })
                .unwrap(),
        )
        .unwrap();
        room.trigger(Changed::SatDown).unwrap();
        app.save(&mut room).unwrap();
        assert_eq!(app.get::<Room>("a").unwrap().state().unwrap().seats, 2);
        assert_eq!(app.get::<Room>("b").unwrap().state().unwrap().seats, 5);
    }
}

#[test]
fn an_object_that_is_there_cannot_be_created_again() {
    for app in apps() {
        let create = || {
            app.create::<Room>("a", Changed::Built { seats: 3 })
                .unwrap()
        };
        let (mut first, mut second) = (create(), create());
        app.save(&mut first).unwrap();
        assert!(app.save(&mut second).unwrap_err().is_conflict());
    }
}

#[test]
fn an_object_that_is_not_there_is_not_found() {
    for app in apps() {
        let refused = app.get::<Room>("a").unwrap_err();
        assert!(
            matches!(&refused, DcbError::NotFound { tag } if tag == "room:a"),
            "{refused:?}"
        );
        assert!(refused.is_not_found());
        app.save(
            &mut app
                .create::<Room>("a", Changed::Built { seats: 1 })
                .unwrap(),
        )
        .unwrap();
        let refused = app.get_many::<Room, _>(["a", "b"]).unwrap_err();
        assert!(refused.is_not_found());
        // One that is not there can be looked at all the same.
        let seen = app
            .load((Object::<Room>::new("a"), Object::<Person>::new("ann")))
            .unwrap();
        assert!(seen.0.exists() && !seen.1.exists());
        assert!(seen.1.state().unwrap_err().is_not_found());
    }
}

#[test]
fn an_object_begins_with_a_first_event_only() {
    let app = DcbApplication::in_memory();
    let refused = app.create::<Room>("a", Changed::SatDown).unwrap_err();
    assert!(
        matches!(
            refused,
            DcbError::Domain(DomainError::NotAFirstEvent {
                topic: "SatDown",
                ..
            })
        ),
        "{refused:?}"
    );
    let refused = app.create::<Room>("x".repeat(300), Changed::Built { seats: 1 });
    assert!(matches!(
        refused.unwrap_err(),
        DcbError::Domain(DomainError::AggregateIdLength { .. })
    ));
}

#[test]
fn an_event_of_a_group_concerns_all_of_its_objects() {
    for app in apps() {
        let mut room = app
            .create::<Room>("a", Changed::Built { seats: 3 })
            .unwrap();
        let mut ann = app.create::<Person>("ann", Changed::Born).unwrap();
        app.save((&mut room, &mut ann)).unwrap();

        let load = || {
            let group = (Object::<Room>::new("a"), Object::<Person>::new("ann"));
            app.load(group).unwrap()
        };
        let (mut group, mut late) = (load(), load());
        group.trigger(Changed::SatDown).unwrap();
        assert_eq!(
            group.pending()[0].tags,
            [b"person:ann".to_vec(), b"room:a".to_vec()]
        );
        app.save(&mut group).unwrap();
        assert_eq!(app.get::<Room>("a").unwrap().state().unwrap().seats, 2);
        assert_eq!(app.get::<Person>("ann").unwrap().state().unwrap().sits, 1);

        // A change of either member is in the way of the group, and the other way round.
        late.trigger(Changed::SatDown).unwrap();
        assert!(app.save(&mut late).unwrap_err().is_conflict());
        room.trigger(Changed::SatDown).unwrap();
        assert!(app.save(&mut room).unwrap_err().is_conflict());
    }
}

#[test]
fn many_objects_are_loaded_in_the_order_of_their_ids() {
    for app in apps() {
        for (id, seats) in [("a", 1), ("b", 2), ("c", 3)] {
            app.save(&mut app.create::<Room>(id, Changed::Built { seats }).unwrap())
                .unwrap();
        }
        let mut rooms = app.get_many::<Room, _>(["c", "a"]).unwrap();
        let seats = |rooms: &[Object<Room>]| -> Vec<_> {
            rooms
                .iter()
                .map(|room| room.state().unwrap().seats)
                .collect()
        };
        assert_eq!(seats(&rooms), [3, 1]);
        rooms.trigger(Changed::SatDown).unwrap();
        app.save(&mut rooms).unwrap();
        assert_eq!(
            seats(&app.get_many::<Room, _>(["a", "b", "c"]).unwrap()),
            [0, 2, 2]
        );
        assert!(app.get_many::<Room, &str>([]).unwrap().is_empty());
    }
}

fn attempts(attempts: u32) -> Retries {
    Retries {
        attempts,
        ..Retries::default()
    }
}

fn take_seat(person: &'static str) -> TakeSeat {
    TakeSeat { room: "a", person }
}

fn append(recorder: &dyn DcbRecorder, event: StoredEvent) {
    recorder
        .append(ConditionalAppend::new(vec![event]), Durability::Sync)
        .unwrap();
}
