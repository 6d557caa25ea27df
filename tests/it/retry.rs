//! An append that is made again because its outcome was not known: each row of the table in the engine's
//! `retry.rs`, before and after the log was opened anew.

use annals_engine::{
    Appended, Batch, Durability, Encoding, Error, Expected, Log, NewEvent, Query, QueryItem,
    Version,
};
use annals_segments::MemoryDisk;
use annals_tests::{SeededRandom, event, id, small_log};
use uuid::Uuid;

const DIR: &str = "/log";

fn given(aggregate: &str, event_id: u128, payload: &str) -> NewEvent {
    event(aggregate, "Happened", payload).event_id(Uuid::from_u128(event_id))
}

/// A version 7 id.
fn v7(number: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(
        1_700_000_000_000 + number,
        &number.to_le_bytes().repeat(2)[..10].try_into().unwrap(),
    )
    .into_uuid()
}

/// Appends, then again: at once, behind other events, and after the log was closed or killed.
fn check(batch: &Batch) {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    log.append(event("before", "Was", "")).unwrap();
    let first = log.append(batch.clone()).unwrap();
    assert_eq!(log.append(batch.clone()).unwrap(), first, "at once");
    for _ in 0..3 {
        log.append(event("between", "Was", "")).unwrap();
    }
    let head = log.head();
    assert_eq!(log.append(batch.clone()).unwrap(), first, "behind others");
    for left in [disk.fork(), {
        log.close().unwrap();
        disk.fork()
    }] {
        let log = small_log(left, 2).open(DIR).unwrap();
        assert_eq!(
            log.append(batch.clone()).unwrap(),
            first,
            "after another open"
        );
        assert_eq!(log.head(), head, "nothing was written");
    }
}

#[test]
fn a_batch_with_given_versions_is_recognised() {
    let at = |version: u64| given("a", version.into(), "p").version(Version::Given(version));
    check(&Batch::new().event(at(3)).event(at(7)));
}

#[test]
pub(super) fn a_batch_that_expects_versions_is_recognised() {
    check(
        &Batch::new()
            .expect(id("a"), Expected::NoEvents)
            .event(given("a", 1, "p"))
            .event(given("a", 2, "q")),
    );
    check(
        &Batch::new()
            .expect(id("before"), Expected::Exactly(1))
            .expect(id("b"), Expected::NoEvents)
            .event(given("before", 1, "p"))
            .event(given("b", 2, "q")),
    );
}

#[test]
fn a_batch_whose_versions_follow_from_what_is_there_is_recognised_by_its_ids() {
    check(
        &Batch::new()
            .event(given("a", 1, "p"))
            .event(given("a", 2, "q")),
    );
    check(&Batch::from(event("a", "Happened", "p").event_id(v7(1))));
    check(&Batch::from(
        NewEvent::new("Happened", "p")
            .event_id(v7(1))
            .tag("t")
            .metadata("k", "v"),
    ));
}

#[test]
pub(super) fn a_batch_under_a_condition_that_it_broke_itself_is_recognised() {
    let of_tag = || Query::from(QueryItem::new().tag("name:a"));
    check(
        &Batch::from(NewEvent::new("Taken", "").event_id(v7(1)).tag("name:a"))
            .fail_if_match(of_tag(), 0),
    );
}

#[test]
fn a_batch_whose_tracking_is_recorded_already_is_recognised() {
    check(&Batch::from(given("a", 1, "p")).tracking("upstream", 5));
}

#[test]
fn an_encoded_payload_is_recognised_by_its_digest() {
    let sealed = |payload: &str, digest| {
        let encoding = Encoding {
            codec: 9,
            key_id: 1,
            plain_len: 1,
        };
        Batch::from(given("a", 1, payload).encoding(encoding).digest(digest))
    };
    let log = Log::in_memory().unwrap();
    let first = log.append(sealed("one nonce", 7)).unwrap();
    assert_eq!(log.append(sealed("another nonce", 7)).unwrap(), first);
    assert!(matches!(
        log.append(sealed("another nonce", 8)),
        Err(Error::RetryConflict { .. })
    ));
}

#[test]
fn free_versions_and_ids_that_the_log_makes_are_new_batches() {
    let log = Log::in_memory().unwrap();
    let again = || Batch::from(event("a", "Happened", "p"));
    log.append(again()).unwrap();
    assert_eq!(
        log.append(again()).unwrap().first,
        2,
        "the log made the ids"
    );
    let at = |version| Batch::from(given("b", 1, "p")).expect(id("b"), version);
    log.append(at(Expected::NoEvents)).unwrap();
    assert_eq!(
        log.append(at(Expected::Exactly(1))).unwrap().first,
        4,
        "what is expected is so"
    );
}

#[test]
fn what_is_there_in_part_or_in_another_way_is_a_conflict_that_says_which() {
    let log = Log::in_memory().unwrap();
    let one = given("a", 1, "p").tag("t").metadata("k", "v");
    log.append(Batch::new().event(one.clone()).event(given("a", 2, "q")))
        .unwrap();
    let what = |batch: Batch| match log.append(batch) {
        Err(error @ Error::RetryConflict { .. }) => {
            assert!(error.is_conflict());
            error.to_string()
        }
        other => panic!("{other:?}"),
    };
    let both = |first, second| Batch::new().event(first).event(second);
    assert!(
        what(both(one.clone(), given("a", 3, "r")))
            .contains("is not there, though others of its batch are")
    );
    assert!(what(both(given("a", 2, "q"), one.clone())).contains("lies in another order"));
    assert!(
        what(Batch::from(
            given("a", 1, "other").tag("t").metadata("k", "v")
        ))
        .contains("has another payload")
    );
    assert!(
        what(Batch::from(given("b", 1, "p").tag("t").metadata("k", "v")))
            .contains("has another aggregate")
    );
    assert!(what(Batch::from(given("a", 1, "p").metadata("k", "v"))).contains("has other tags"));
    assert!(what(Batch::from(given("a", 1, "p").tag("t"))).contains("has other metadata"));
    let other_topic = event("a", "Else", "p")
        .event_id(Uuid::from_u128(1))
        .tag("t")
        .metadata("k", "v");
    assert!(what(Batch::from(other_topic)).contains("has another topic"));
    let elsewhere = log.append(Batch::from(one.clone().version(Version::Given(2))));
    assert!(
        matches!(elsewhere, Err(Error::VersionConflict { .. })),
        "version 2 is another event"
    );
    let version_conflict =
        log.append(Batch::from(given("a", 9, "p")).expect(id("a"), Expected::NoEvents));
    assert!(
        matches!(version_conflict, Err(Error::VersionConflict { .. })),
        "ids that are not there change nothing"
    );
    assert_eq!(log.head(), 2);
}

#[test]
fn a_durable_repetition_of_a_buffered_batch_is_durable_when_acknowledged() {
    let log = Log::in_memory().unwrap();
    let batch = Batch::from(given("a", 1, "p"));
    let first = log
        .append(batch.clone().durability(Durability::Buffered))
        .unwrap();
    assert_eq!(log.durable_head(), 0);
    assert_eq!(
        log.append(batch.clone().durability(Durability::Buffered))
            .unwrap(),
        first
    );
    assert_eq!(log.durable_head(), 0);
    assert_eq!(log.append(batch).unwrap(), first);
    assert_eq!(log.durable_head(), 1);
}

#[test]
pub(super) fn other_ids_are_recognised_within_the_window_and_version_7_at_any_age() {
    let log = small_log(MemoryDisk::default(), 1)
        .retry_window(500)
        .open(DIR)
        .unwrap();
    let random = Batch::from(given("a", 1, "p"));
    let timed = Batch::from(event("a", "Happened", "p").event_id(v7(1)));
    let (first, second) = (
        log.append(random.clone()).unwrap(),
        log.append(timed.clone()).unwrap(),
    );
    let fill = |count| {
        for _ in 0..count {
            log.append(
                Batch::from(event("b", "Was", vec![0; 300])).durability(Durability::Buffered),
            )
            .unwrap();
        }
    };
    fill(400);
    assert_eq!(log.append(random.clone()).unwrap(), first);
    fill(1_000);
    assert!(log.stats().unwrap().sealed_segments > 2);
    assert_eq!(log.append(timed).unwrap(), second);
    assert_eq!(
        log.append(random).unwrap().first,
        log.head(),
        "too old to be told from a new one"
    );
}

#[test]
fn a_batch_whose_ids_may_recur_is_recognised_only_where_something_is_against_it() {
    let log = Log::in_memory().unwrap();
    let new = || NewEvent::new("Happened", "p").event_id(v7(1)).tag("a");
    let recurring = || Batch::from(new()).ids_may_recur();
    let unless_there = || recurring().fail_if_match(QueryItem::new().tag("a").into(), 0);

    let first = log.append(unless_there()).unwrap();
    assert_eq!(
        log.append(unless_there()).unwrap(),
        first,
        "refused, and there"
    );
    assert_eq!(
        log.append(Batch::from(new())).unwrap(),
        first,
        "not said of this one"
    );
    assert_eq!(log.append(recurring()).unwrap().first, 2);
    let behind = recurring().fail_if_match(QueryItem::new().tag("a").into(), 2);
    assert_eq!(log.append(behind).unwrap().first, 3);
    assert_eq!(log.head(), 3);
}

#[test]
fn one_batch_appended_by_many_threads_at_once_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_len(1 << 20)
        .open(dir.path().join("log"))
        .unwrap();
    let random = SeededRandom::new(1);
    for round in 0..30_u64 {
        let name = format!("a-{round}");
        let events = [v7(random.next_u64() >> 30), v7(random.next_u64() >> 30)]
            .map(|event_id| event(&name, "Happened", "p").event_id(event_id));
        let mut batch = events.into_iter().fold(Batch::new(), Batch::event);
        if round % 3 == 0 {
            batch = batch.expect(id(&name), Expected::NoEvents);
        }
        if round % 3 == 1 {
            batch = batch.durability(Durability::Buffered);
        }
        let answers: Vec<Appended> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| log.append(batch.clone()).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "round {round}: {answers:?}"
        );
        assert_eq!(log.head(), (round + 1) * 2);
    }
}

#[test]
fn events_that_are_there_without_their_tracking_position_are_no_repetition() {
    let log = Log::in_memory().unwrap();
    let batch = || Batch::from(given("a", 1, "p"));
    log.append(batch()).unwrap();
    let refused = log.append(batch().tracking("upstream", 6)).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("without the tracking position"),
        "{refused}"
    );
    assert_eq!(log.tracking("upstream"), None);
}

#[test]
fn a_version_given_to_an_event_of_no_aggregate_means_nothing() {
    let log = Log::in_memory().unwrap();
    let batch = || {
        Batch::from(
            NewEvent::new("Was", "")
                .version(Version::Given(5))
                .event_id(v7(1)),
        )
    };
    let first = log.append(batch()).unwrap();
    assert_eq!(log.append(batch()).unwrap(), first);
}
