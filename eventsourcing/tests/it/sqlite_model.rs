//! The SQLite recorder against the one in memory: the same operations have the same answers, whatever they are.
//!
//! Queries are held against [`Query::matches`] over all events, since each shape of them takes its own way through the
//! tables.

use annals::{
    AggregateId, AppendCondition, ConditionalAppend, DcbRecorder, Durability, MemoryRecorder,
    Notification, PersistenceError, ProcessRecorder, Query, QueryItem, Recorder, SelectEvents,
    SelectNotifications, SqliteRecorder, StoredEvent, Tracking,
};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Clone, Debug)]
enum Operation {
    Insert(Vec<StoredEvent>, Durability),
    Track(Vec<StoredEvent>, Tracking, Durability),
    Events(AggregateId, SelectEvents),
    Notifications(SelectNotifications),
    Find(Query, u64, Option<usize>),
    Reopen,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sqlite_answers_as_memory_does(operations in vec(operation(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.db");
        let memory = MemoryRecorder::new();
        let mut sqlite = SqliteRecorder::open(&path).unwrap();
        for operation in operations {
            if let Operation::Reopen = operation {
                sqlite.close().unwrap();
                sqlite = SqliteRecorder::open(&path).unwrap();
            }
            if let Operation::Find(query, after, limit) = &operation {
                check_query(&sqlite, query, *after, *limit);
            }
            prop_assert_eq!(answer(&sqlite, &operation), answer(&memory, &operation), "{:?}", operation);
        }
        prop_assert_eq!(everything(&sqlite), everything(&memory));
    }
}

/// What a recorder says, with what the two may have in different words left out.
fn answer(recorder: &dyn ProcessRecorder, operation: &Operation) -> String {
    let told = |outcome: Result<Vec<annals::Recorded>, PersistenceError>| match outcome {
        Ok(recorded) => format!(
            "{:?}",
            recorded.iter().map(|at| at.position).collect::<Vec<_>>()
        ),
        Err(error) => format!("{error:?}"),
    };
    match operation.clone() {
        Operation::Insert(events, durability) => told(recorder.insert_events(events, durability)),
        Operation::Track(events, tracking, durability) => {
            let name = tracking.name.clone();
            let outcome = told(recorder.insert_events_tracked(events, tracking, durability));
            format!("{outcome} {:?}", recorder.max_tracking(&name).unwrap())
        }
        Operation::Events(id, select) => shown(recorder.select_events(&id, select).unwrap()),
        Operation::Notifications(select) => shown(recorder.select_notifications(&select).unwrap()),
        Operation::Find(..) | Operation::Reopen => {
            format!("{:?}", recorder.max_position().unwrap())
        }
    }
}

fn shown(found: Vec<Notification>) -> String {
    let untimed = found.into_iter().map(|found| (found.position, found.event));
    format!("{:?}", untimed.collect::<Vec<_>>())
}

fn everything(recorder: &dyn ProcessRecorder) -> String {
    let select = SelectNotifications::first(usize::MAX);
    shown(recorder.select_notifications(&select).unwrap())
}

fn check_query(sqlite: &SqliteRecorder, query: &Query, after: u64, limit: Option<usize>) {
    let select = SelectNotifications::first(usize::MAX);
    let all = annals::ApplicationRecorder::select_notifications(sqlite, &select).unwrap();
    let matching: Vec<_> = all
        .iter()
        .filter(|found| found.position > after && query.matches(&found.event))
        .cloned()
        .collect();
    let expected: Vec<_> = matching
        .iter()
        .take(limit.unwrap_or(usize::MAX))
        .cloned()
        .collect();
    let found = DcbRecorder::read(sqlite, query, after, limit).unwrap();
    let head = match limit {
        None => all.last(),
        Some(_) => expected.last(),
    };
    assert_eq!(found.head, head.map(|last| last.position));
    assert_eq!(found.notifications, expected);

    // A condition fails over what the query finds, and over nothing else.
    if all.is_empty() {
        return;
    }
    let append = ConditionalAppend {
        events: vec![StoredEvent::new(Uuid::nil(), "Refused", "")],
        conditions: vec![
            AppendCondition {
                fail_if_match: query.clone(),
                after,
            },
            // Always fails, so that nothing is stored.
            AppendCondition::default(),
        ],
        tracking: None,
    };
    let outcome = sqlite.append(append, Durability::Sync);
    let Err(PersistenceError::ConditionConflict {
        condition,
        positions,
        ..
    }) = outcome
    else {
        panic!("{outcome:?}")
    };
    let expected: Vec<_> = matching
        .iter()
        .map(|found| found.position)
        .take(16)
        .collect();
    match expected.is_empty() {
        true => assert_eq!(condition, 1),
        false => assert_eq!((condition, positions), (0, expected)),
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let durability = || prop_oneof![Just(Durability::Sync), Just(Durability::Buffered)];
    let limit = || proptest::option::of(0..6_usize);
    let versions = || proptest::option::of(0..8_u64);
    let tracking = ("[ab]", 0..12_u64).prop_map(|(name, position)| Tracking::new(name, position));
    let selected =
        (versions(), versions(), any::<bool>(), limit()).prop_map(|(gt, lte, desc, limit)| {
            SelectEvents {
                gt,
                lte,
                desc,
                limit,
            }
        });
    let positions = || proptest::option::of(0..30_u64);
    let notifications = (
        positions(),
        any::<bool>(),
        positions(),
        0..9_usize,
        vec("[TUV]", 0..3),
    );
    let notifications =
        notifications.prop_map(|(start, inclusive_of_start, stop, limit, topics)| {
            SelectNotifications {
                start,
                inclusive_of_start,
                stop,
                limit,
                topics,
            }
        });
    prop_oneof![
        8 => (vec(event(), 0..4), durability()).prop_map(|(events, durability)| Operation::Insert(events, durability)),
        3 => (vec(event(), 0..3), tracking, durability())
            .prop_map(|(events, tracking, durability)| Operation::Track(events, tracking, durability)),
        3 => (aggregate(), selected).prop_map(|(id, select)| Operation::Events(id, select)),
        3 => notifications.prop_map(Operation::Notifications),
        6 => (query(), 0..12_u64, limit()).prop_map(|(query, after, limit)| Operation::Find(query, after, limit)),
        1 => Just(Operation::Reopen),
    ]
}

fn aggregate() -> impl Strategy<Value = AggregateId> {
    prop_oneof![
        "[ab]".prop_map(|text| AggregateId::text(text).unwrap()),
        Just(AggregateId::from(Uuid::from_u128(7))),
        Just(AggregateId::text(Uuid::from_u128(7).to_string()).unwrap()),
    ]
}

fn event() -> impl Strategy<Value = StoredEvent> {
    let origin = proptest::option::weighted(0.7, (aggregate(), 0..9_u64));
    let metadata = proptest::collection::btree_map("[km]", "[\\PC\u{0}]{0,3}", 0..3);
    (
        any::<u128>(),
        "[TUV]",
        origin,
        tags(0..4),
        metadata,
        vec(any::<u8>(), 0..4),
    )
        .prop_map(|(id, topic, origin, tags, metadata, payload)| {
            let event = StoredEvent {
                tags,
                metadata,
                ..StoredEvent::new(Uuid::from_u128(id), topic, payload)
            };
            match origin {
                Some((aggregate, version)) => event.of(aggregate, version),
                None => event,
            }
        })
}

fn query() -> impl Strategy<Value = Query> {
    let item =
        (vec("[TUVW]", 0..3), tags(0..3)).prop_map(|(topics, tags)| QueryItem { topics, tags });
    vec(item, 0..3).prop_map(|items| Query { items })
}

fn tags(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec("[xyz]{1,2}".prop_map(String::into_bytes), count)
}
