//! Conditional appends, as the specification of dynamic consistency boundaries has them.

use annals_engine::{Batch, Direction, Durability, Error, Log, NewEvent, Query, QueryItem};
use annals_segments::MemoryDisk;
use annals_tests::{SeededRandom, small_log};
use proptest::prelude::*;

fn tagged(topic: &str, tags: &[&str]) -> NewEvent {
    NewEvent::new(topic.to_owned(), "").tags(tags.iter().copied())
}

fn with_tag(tag: &str) -> Query {
    QueryItem::new().tag(tag).into()
}

fn conflict(log: &Log, batch: Batch) -> (usize, Vec<u64>, u64) {
    match log.append(batch) {
        Err(Error::ConditionConflict {
            clause,
            positions,
            head,
        }) => (clause, positions, head),
        other => panic!("expected a conflict, found {other:?}"),
    }
}

#[test]
fn a_match_behind_the_position_keeps_the_batch_out_and_one_before_it_does_not() {
    let log = Log::in_memory().unwrap();
    log.append(tagged("Enrolled", &["course:1"])).unwrap();
    log.append(tagged("Enrolled", &["course:2"])).unwrap();
    let enrol = |after| {
        Batch::from(tagged("Enrolled", &["course:1"])).fail_if_match(with_tag("course:1"), after)
    };
    assert_eq!(conflict(&log, enrol(0)), (0, vec![1], 2));
    assert_eq!(log.append(enrol(1)).unwrap().first, 3);
    assert_eq!(conflict(&log, enrol(2)), (0, vec![3], 3));
    assert_eq!(
        log.append(enrol(1_000)).unwrap().first,
        4,
        "a position beyond the head is legal"
    );
}

#[test]
fn a_query_without_items_matches_every_event_and_so_does_an_empty_item() {
    let log = Log::in_memory().unwrap();
    let first = |query| Batch::from(tagged("Opened", &[])).fail_if_match(query, 0);
    log.append(first(Query::all())).unwrap();
    assert_eq!(conflict(&log, first(Query::all())), (0, vec![1], 1));
    assert_eq!(
        conflict(&log, first(QueryItem::new().into())),
        (0, vec![1], 1)
    );
}

#[test]
pub(super) fn each_clause_has_its_own_reach_and_the_error_names_the_one_that_failed() {
    let log = Log::in_memory().unwrap();
    log.append(tagged("Registered", &["name:ada"])).unwrap();
    log.append(tagged("Registered", &["name:bob"])).unwrap();
    let register = |name: &str, boundary| {
        let tag = format!("name:{name}");
        Batch::from(tagged("Registered", &[&tag]))
            .fail_if_match(QueryItem::new().topic("Registered").into(), boundary)
            .fail_if_match(with_tag(&tag), 0)
    };
    assert_eq!(conflict(&log, register("ada", 2)), (1, vec![1], 2));
    assert_eq!(conflict(&log, register("eve", 1)), (0, vec![2], 2));
    assert_eq!(log.append(register("eve", 2)).unwrap().first, 3);
}

#[test]
fn topic_and_all_tags_have_to_fit_and_items_are_alternatives() {
    let log = Log::in_memory().unwrap();
    log.append(tagged("A", &["x", "y"])).unwrap();
    let fails = |query: Query| {
        log.append(Batch::from(tagged("B", &[])).fail_if_match(query, 0))
            .is_err()
    };
    assert!(fails(
        QueryItem::new()
            .topic("A")
            .topic("Z")
            .tag("x")
            .tag("y")
            .into()
    ));
    assert!(!fails(QueryItem::new().topic("Z").tag("x").into()));
    assert!(!fails(QueryItem::new().topic("A").tag("x").tag("z").into()));
    assert!(fails(
        Query::from(QueryItem::new().tag("z")).or(QueryItem::new().topic("A"))
    ));
}

#[test]
pub(super) fn of_many_threads_that_want_the_same_name_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_len(1 << 20)
        .open(dir.path().join("log"))
        .unwrap();
    for round in 0..20 {
        let tag = format!("name:{round}");
        let won: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (log, tag) = (log.clone(), tag.clone());
                    scope.spawn(move || {
                        let batch =
                            Batch::from(tagged("Taken", &[&tag])).fail_if_match(with_tag(&tag), 0);
                        match log.append(batch) {
                            Ok(_) => 1,
                            Err(error) => {
                                assert!(error.is_conflict(), "{error}");
                                0
                            }
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(log.head(), 20);
}

#[test]
fn a_conflict_with_buffered_events_is_told_once_they_are_durable() {
    let log = Log::in_memory().unwrap();
    log.append(Batch::from(tagged("Taken", &["name:a"])).durability(Durability::Buffered))
        .unwrap();
    assert_eq!(log.durable_head(), 0);
    let batch = Batch::from(tagged("Taken", &["name:a"])).fail_if_match(with_tag("name:a"), 0);
    assert_eq!(conflict(&log, batch), (0, vec![1], 1));
    assert_eq!(log.durable_head(), 1);
}

/// A query out of a few topics and tags, every shape of it.
fn any_query() -> impl Strategy<Value = Query> {
    let item = (
        prop::collection::vec(0..4_u8, 0..3),
        prop::collection::vec(0..6_u8, 0..3),
    );
    prop::collection::vec(item, 0..4).prop_map(|items| {
        items
            .into_iter()
            .fold(Query::all(), |query, (topics, tags)| {
                let item = topics.iter().fold(QueryItem::new(), |item, topic| {
                    item.topic(format!("Topic{topic}"))
                });
                query.or(tags
                    .iter()
                    .fold(item, |item, tag| item.tag(format!("tag:{tag}"))))
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The indexes find what a look at every event finds, for reads and for conditions alike.
    #[test]
    fn queries_of_every_shape_answer_as_a_full_scan(queries in prop::collection::vec((any_query(), 0..1500_u64), 1..8), seed: u64) {
        let log = small_log(MemoryDisk::default(), seed).open("/log").unwrap();
        let random = SeededRandom::new(seed);
        for _ in 0..1000 {
            let tags = (0..random.next_u64() % 4).map(|_| format!("tag:{}", random.next_u64() % 6));
            let event = NewEvent::new(format!("Topic{}", random.next_u64() % 4), vec![0; 150]).tags(tags);
            log.append(Batch::from(event).durability(Durability::Buffered)).unwrap();
        }
        log.sync().unwrap();
        prop_assert!(log.stats().unwrap().sealed_segments > 1);
        let all: Vec<_> = log.read(.., &Query::all(), Direction::Forward).map(Result::unwrap).collect();
        for (query, after) in queries {
            let matches = |event: &&annals_engine::RecordedEvent| {
                query.items().is_empty() || query.items().iter().any(|item| {
                    (item.topics().is_empty() || item.topics().contains(&event.topic))
                        && item.tags().iter().all(|tag| event.tags.contains(tag))
                })
            };
            let expected: Vec<u64> =
                all.iter().filter(|event| event.position > after).filter(matches).map(|event| event.position).collect();
            let found: Vec<u64> = log.read(after + 1.., &query, Direction::Forward).map(|event| event.unwrap().position).collect();
            prop_assert_eq!(&found, &expected);
            let before = log.head();
            let appended = log.append(Batch::new().tracking("t", log.tracking("t").unwrap_or(0) + 1).fail_if_match(query.clone(), after));
            match appended {
                Ok(_) => prop_assert!(expected.is_empty()),
                Err(Error::ConditionConflict { positions, head, .. }) => {
                    prop_assert_eq!(&positions[..], &expected[..expected.len().min(16)]);
                    prop_assert_eq!(head, before);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_decision_sees_buffered_events_up_to_the_head_that_it_names() {
    let log = Log::in_memory().unwrap();
    let taken = || tagged("Taken", &["seat:1"]);
    let _ = log
        .append(Batch::from(taken()).durability(Durability::Buffered))
        .unwrap();
    let view = log.view();
    let query = Query::from(QueryItem::new().tag("seat:1"));
    let seen = view.read_visible(.., &query, Direction::Forward).count();
    assert_eq!((seen, view.head()), (1, 1));
    let later = Batch::from(taken()).fail_if_match(query.clone(), view.head());
    let _ = log.append(later).unwrap();
    let earlier = Batch::from(taken()).fail_if_match(query, view.head());
    assert!(log.append(earlier).unwrap_err().is_conflict());
}
