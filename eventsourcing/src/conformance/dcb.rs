//! Rules of [`DcbRecorder`], those of its query language and of its conditions included.
//!
//! Source of the rules: <https://dcb.events/specification/>.

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use super::{
    A_MOMENT, Case, PATIENCE, RACES, both_are_told_the_same, cases, decision, event, id, positions,
};
use crate::persistence::{
    ConditionalAppend, DcbRecorder, Durability, Found, Notification, Origin, PersistenceError,
    Query, QueryItem, Recorded, StoredEvent, Subscription,
};

type Recorder = dyn DcbRecorder;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    an_empty_store_has_nothing_and_no_head
    positions_count_from_one_and_are_aligned_to_the_input
    an_event_comes_back_as_it_was_but_for_the_order_of_its_tags
    an_event_without_tags_is_legal
    a_query_without_items_matches_everything
    an_item_without_topics_and_tags_matches_everything
    an_item_matches_any_of_its_topics
    an_item_matches_all_of_its_tags
    an_item_with_both_matches_where_both_match
    items_are_joined_by_or_and_an_event_comes_once
    what_is_found_ascends_whatever_the_order_of_items
    topics_and_tags_are_matched_whole
    a_tag_may_be_any_bytes
    a_query_over_many_items_finds_each
    reading_begins_behind_its_position
    a_limit_counts_what_matched
    without_a_limit_the_head_is_that_of_the_store_even_if_nothing_matched
    with_a_limit_the_head_is_the_last_position_answered
    reading_sees_buffered_events
    an_append_without_events_is_refused
    an_event_beyond_the_limits_is_refused
    an_append_without_conditions_always_succeeds
    a_condition_holds_when_nothing_matches
    a_condition_fails_when_something_matches
    a_condition_begins_behind_its_position
    a_condition_beyond_the_head_holds
    a_condition_on_everything_fails_by_any_event
    a_condition_looks_at_all_items
    a_condition_sees_buffered_events
    a_conflict_says_what_is_in_the_way
    an_append_made_again_is_recognised_although_it_is_in_its_own_way
    a_failed_append_leaves_no_trace
    the_events_of_an_append_are_not_in_its_own_way
    every_condition_has_to_hold_and_has_a_reach_of_its_own
    the_head_of_a_read_is_what_its_condition_begins_behind
    events_of_aggregates_keep_their_rules
    of_many_threads_that_race_on_one_condition_one_wins
    of_many_threads_that_claim_a_name_one_wins
    of_two_threads_that_make_the_same_append_either_is_told_its_position
    decisions_that_are_made_again_on_conflict_never_go_beyond_a_limit
    decisions_in_different_boundaries_do_not_disturb_each_other
    a_read_shows_one_moment
    a_subscription_shows_what_matches_and_what_comes
    a_subscription_begins_behind_its_position
    a_subscription_moves_over_what_does_not_match
    a_subscription_to_several_items_shows_each_event_once
    subscriptions_miss_nothing_while_threads_append
    a_subscription_shows_buffered_events_in_the_end
    a_subscription_is_stopped_from_another_thread
    closing_the_recorder_ends_subscriptions
    a_closed_recorder_takes_no_events
};

fn an_empty_store_has_nothing_and_no_head(recorder: &Recorder) {
    for query in [Query::all(), tag("x").into()] {
        for limit in [None, Some(0), Some(5)] {
            assert_eq!(
                recorder.read(&query, 0, limit).expect("it can be read"),
                Found {
                    notifications: vec![],
                    head: None
                }
            );
        }
    }
}

fn positions_count_from_one_and_are_aligned_to_the_input(recorder: &Recorder) {
    let recorded = append(recorder, vec![decision("A", &[]), decision("B", &["x"])]);
    assert_eq!(recorded, [1, 2]);
    assert_eq!(append(recorder, vec![decision("A", &[])]), [3]);
    let found = read(recorder, Query::all());
    assert_eq!(topics(&found), ["A", "B", "A"]);
}

fn an_event_comes_back_as_it_was_but_for_the_order_of_its_tags(recorder: &Recorder) {
    let mut given = decision("A", &["y", "x", "y"]);
    given.metadata.insert("user".to_owned(), "ann".to_owned());
    let recorded = recorder
        .append(
            ConditionalAppend::new(vec![given.clone()]),
            Durability::Sync,
        )
        .expect("the append is legal");
    let found = read(recorder, Query::all());
    given.tags = vec![b"x".to_vec(), b"y".to_vec()];
    assert_eq!(found[0].event, given);
    let [Recorded { time_us, .. }] = recorded[..] else {
        panic!("{recorded:?}")
    };
    assert!(time_us.is_none_or(|time_us| time_us == found[0].time_us));
}

fn an_event_without_tags_is_legal(recorder: &Recorder) {
    append(recorder, vec![decision("A", &[])]);
    assert_eq!(find(recorder, topic("A")), [1]);
    assert_eq!(find(recorder, tag("x")), [] as [u64; 0]);
}

fn a_query_without_items_matches_everything(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(find(recorder, Query::all()), [1, 2, 3, 4, 5]);
}

fn an_item_without_topics_and_tags_matches_everything(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(find(recorder, QueryItem::new()), [1, 2, 3, 4, 5]);
    let query = Query::from(tag("x")).or(QueryItem::new());
    assert_eq!(find(recorder, query), [1, 2, 3, 4, 5]);
}

fn an_item_matches_any_of_its_topics(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(find(recorder, topic("A")), [1, 3]);
    assert_eq!(find(recorder, topic("A").topic("B")), [1, 2, 3, 4]);
    assert_eq!(find(recorder, topic("B").topic("B")), [2, 4]);
    assert_eq!(find(recorder, topic("D")), [] as [u64; 0]);
}

fn an_item_matches_all_of_its_tags(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(find(recorder, tag("x")), [1, 2, 5]);
    assert_eq!(find(recorder, tag("x").tag("y")), [2, 5]);
    assert_eq!(find(recorder, tag("y").tag("x").tag("x")), [2, 5]);
    assert_eq!(find(recorder, tag("x").tag("z")), [] as [u64; 0]);
}

fn an_item_with_both_matches_where_both_match(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(find(recorder, topic("A").tag("y")), [3]);
    assert_eq!(find(recorder, topic("A").topic("B").tag("x")), [1, 2]);
    assert_eq!(find(recorder, topic("A").topic("C").tag("x")), [1, 5]);
    assert_eq!(find(recorder, topic("A").tag("x").tag("y")), [] as [u64; 0]);
}

fn items_are_joined_by_or_and_an_event_comes_once(recorder: &Recorder) {
    append_some(recorder);
    let query = Query::from(tag("x")).or(tag("y")).or(topic("A"));
    assert_eq!(find(recorder, query), [1, 2, 3, 5]);
    let query = Query::from(topic("C")).or(topic("A").tag("y"));
    assert_eq!(find(recorder, query), [3, 5]);
    let query = Query::from(tag("x")).or(tag("x"));
    assert_eq!(find(recorder, query), [1, 2, 5]);
}

fn what_is_found_ascends_whatever_the_order_of_items(recorder: &Recorder) {
    append_some(recorder);
    let items = [topic("C"), topic("B"), topic("A").tag("y")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let query = order
            .into_iter()
            .map(|place: usize| items[place].clone())
            .fold(Query::all(), Query::or);
        assert_eq!(find(recorder, query), [2, 3, 4, 5]);
    }
}

fn topics_and_tags_are_matched_whole(recorder: &Recorder) {
    append(recorder, vec![decision("Opened", &["course:1", "course"])]);
    for item in [
        topic("Open"),
        topic("opened"),
        topic("Opened "),
        tag("course:"),
        tag("Course"),
        tag("course:12"),
        tag(""),
    ] {
        assert_eq!(find(recorder, item.clone()), [] as [u64; 0], "{item:?}");
    }
    assert_eq!(find(recorder, tag("course:1").topic("Opened")), [1]);
}

fn a_tag_may_be_any_bytes(recorder: &Recorder) {
    let bytes = [0, 0xff, b'%', b'_', b'\'', 0];
    let tagged = StoredEvent {
        tags: vec![bytes.to_vec()],
        ..decision("A", &[])
    };
    append(recorder, vec![tagged, decision("A", &["\0"])]);
    assert_eq!(find(recorder, QueryItem::new().tag(bytes)), [1]);
    assert_eq!(
        find(recorder, QueryItem::new().tag(&bytes[..5])),
        [] as [u64; 0]
    );
}

fn a_query_over_many_items_finds_each(recorder: &Recorder) {
    const ITEMS: usize = 300;
    let name = |number: usize| format!("course:{number}");
    let events = (0..ITEMS).map(|number| decision("A", &[&name(number)]));
    append(recorder, events.collect());
    let query = (0..ITEMS)
        .step_by(2)
        .map(|number| tag(&name(number)))
        .fold(Query::all(), Query::or);
    let expected: Vec<_> = (1..=ITEMS as u64).step_by(2).collect();
    assert_eq!(find(recorder, query), expected);
}

fn reading_begins_behind_its_position(recorder: &Recorder) {
    append_some(recorder);
    let find = |query: Query, after| positions(&read_behind(recorder, query, after).notifications);
    assert_eq!(find(Query::all(), 3), [4, 5]);
    assert_eq!(find(tag("x").into(), 0), [1, 2, 5]);
    assert_eq!(find(tag("x").into(), 1), [2, 5]);
    assert_eq!(find(tag("x").into(), 3), [5]);
    assert_eq!(find(tag("x").into(), 5), [] as [u64; 0]);
    assert_eq!(find(tag("x").into(), 99), [] as [u64; 0]);
    assert_eq!(find(Query::all(), u64::MAX), [] as [u64; 0]);
}

fn a_limit_counts_what_matched(recorder: &Recorder) {
    append_some(recorder);
    let find = |query: Query, after, limit| {
        let found = recorder
            .read(&query, after, Some(limit))
            .expect("events can be read");
        positions(&found.notifications)
    };
    assert_eq!(find(Query::all(), 0, 2), [1, 2]);
    assert_eq!(find(tag("y").into(), 0, 2), [2, 3]);
    assert_eq!(find(tag("y").into(), 2, 1), [3]);
    assert_eq!(find(tag("y").into(), 0, 99), [2, 3, 5]);
    assert_eq!(find(tag("y").into(), 0, 0), [] as [u64; 0]);
    assert_eq!(find(tag("y").into(), 0, usize::MAX), [2, 3, 5]);
}

fn without_a_limit_the_head_is_that_of_the_store_even_if_nothing_matched(recorder: &Recorder) {
    append_some(recorder);
    for query in [Query::all(), tag("x").into(), tag("nowhere").into()] {
        for after in [0, 3, 5, 99] {
            assert_eq!(read_behind(recorder, query.clone(), after).head, Some(5));
        }
    }
}

fn with_a_limit_the_head_is_the_last_position_answered(recorder: &Recorder) {
    append_some(recorder);
    let head = |query: Query, after, limit| {
        let found = recorder.read(&query, after, Some(limit));
        found.expect("events can be read").head
    };
    assert_eq!(head(tag("x").into(), 0, 2), Some(2));
    assert_eq!(head(tag("x").into(), 0, 99), Some(5));
    assert_eq!(head(topic("A").into(), 0, 99), Some(3));
    assert_eq!(head(tag("x").into(), 0, 0), None);
    assert_eq!(head(tag("nowhere").into(), 0, 2), None);
    assert_eq!(head(tag("x").into(), 5, 2), None);
}

fn reading_sees_buffered_events(recorder: &Recorder) {
    recorder
        .append(
            ConditionalAppend::new(vec![decision("A", &["x"])]),
            Durability::Buffered,
        )
        .expect("the append is legal");
    let found = read_behind(recorder, tag("x").into(), 0);
    assert_eq!(
        (positions(&found.notifications), found.head),
        (vec![1], Some(1))
    );
}

fn an_append_without_events_is_refused(recorder: &Recorder) {
    for append in [
        ConditionalAppend::default(),
        ConditionalAppend::default().fail_if_match(tag("x").into(), 0),
    ] {
        let refused = recorder.append(append, Durability::Sync);
        assert!(
            matches!(refused, Err(PersistenceError::NoEvents)),
            "{refused:?}"
        );
    }
}

fn an_event_beyond_the_limits_is_refused(recorder: &Recorder) {
    let many: Vec<_> = (0..65).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for event in [
        decision("", &[]),
        decision("A", &[""]),
        decision("A", &[&"x".repeat(256)]),
        decision("A", &many),
    ] {
        let append = ConditionalAppend::new(vec![decision("A", &["x"]), event]);
        let refused = recorder.append(append, Durability::Sync);
        assert!(
            matches!(refused, Err(PersistenceError::Limit { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(find(recorder, Query::all()), [] as [u64; 0]);
    append(
        recorder,
        vec![
            decision("A", &many[1..]),
            decision("A", &[&"x".repeat(255)]),
        ],
    );
}

fn an_append_without_conditions_always_succeeds(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(append(recorder, vec![decision("A", &["x"])]), [6]);
}

fn a_condition_holds_when_nothing_matches(recorder: &Recorder) {
    append_some(recorder);
    for (query, expected) in [
        (tag("z"), 6),
        (topic("A").tag("x").tag("y"), 7),
        (topic("D"), 8),
    ] {
        let recorded = try_append(recorder, query, 0).expect("the condition holds");
        assert_eq!(recorded[0].position, expected);
    }
}

fn a_condition_fails_when_something_matches(recorder: &Recorder) {
    append_some(recorder);
    for query in [tag("x"), topic("C"), topic("A").tag("y"), tag("x").tag("y")] {
        assert_conflict(try_append(recorder, query, 0));
    }
}

fn a_condition_begins_behind_its_position(recorder: &Recorder) {
    append_some(recorder);
    assert_conflict(try_append(recorder, topic("A"), 2));
    assert_conflict(try_append(recorder, tag("x"), 4));
    try_append(recorder, topic("A"), 3).expect("nothing matches behind it");
    try_append(recorder, tag("x"), 6).expect("nothing matches behind it");
}

fn a_condition_beyond_the_head_holds(recorder: &Recorder) {
    append_some(recorder);
    try_append(recorder, Query::all(), 99).expect("nothing lies behind it");
    try_append(recorder, tag("x"), u64::MAX).expect("nothing lies behind it");
}

fn a_condition_on_everything_fails_by_any_event(recorder: &Recorder) {
    try_append(recorder, Query::all(), 0).expect("the store is empty");
    assert_conflict(try_append(recorder, Query::all(), 0));
    try_append(recorder, Query::all(), 1).expect("nothing lies behind it");
    assert_conflict(try_append(recorder, QueryItem::new(), 1));
}

fn a_condition_looks_at_all_items(recorder: &Recorder) {
    append_some(recorder);
    let query = |item| Query::from(tag("nowhere")).or(item);
    assert_conflict(try_append(recorder, query(topic("C")), 0));
    try_append(recorder, query(topic("D")), 0).expect("no item matches");
}

fn a_condition_sees_buffered_events(recorder: &Recorder) {
    recorder
        .append(
            ConditionalAppend::new(vec![decision("A", &["x"])]),
            Durability::Buffered,
        )
        .expect("the append is legal");
    assert_conflict(try_append(recorder, tag("x"), 0));
}

fn a_conflict_says_what_is_in_the_way(recorder: &Recorder) {
    append_some(recorder);
    let append = ConditionalAppend::new(vec![decision("A", &["x"])])
        .fail_if_match(tag("nowhere").into(), 0)
        .fail_if_match(tag("x").into(), 1);
    let refused = recorder
        .append(append, Durability::Sync)
        .expect_err("it is a conflict");
    let PersistenceError::ConditionConflict {
        condition: 1,
        after: 1,
        positions,
        head: 5,
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(positions, [2, 5]);

    append_many(recorder, "many", 100);
    let refused = try_append(recorder, tag("many"), 0).expect_err("it is a conflict");
    let PersistenceError::ConditionConflict { positions, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(positions.first(), Some(&6));
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    assert!(positions.len() <= 100);
}

fn an_append_made_again_is_recognised_although_it_is_in_its_own_way(recorder: &Recorder) {
    append(recorder, vec![decision("Before", &["name:ann"])]);
    let claim = || {
        let claimed = decision("Claimed", &["name:bob"]);
        ConditionalAppend::new(vec![claimed]).fail_if_match(tag("name:bob").into(), 0)
    };
    let claimed = claim();
    let store = |append: &ConditionalAppend| recorder.append(append.clone(), Durability::Sync);
    let first = store(&claimed).expect("nobody has the name");
    append(recorder, vec![decision("Between", &["name:cid"])]);
    assert_eq!(store(&claimed).expect("it is the same append"), first);
    let refused = store(&claim()).expect_err("somebody else has the name");
    assert!(refused.is_conflict(), "{refused:?}");
    assert_eq!(read(recorder, Query::all()).len(), 3);
}

fn a_failed_append_leaves_no_trace(recorder: &Recorder) {
    append_some(recorder);
    let append_two = ConditionalAppend::new(vec![decision("A", &["new"]), decision("B", &["x"])])
        .fail_if_match(tag("x").into(), 0);
    assert_conflict(recorder.append(append_two, Durability::Sync));
    assert_eq!(find(recorder, Query::all()), [1, 2, 3, 4, 5]);
    assert_eq!(find(recorder, tag("new")), [] as [u64; 0]);
    assert_eq!(append(recorder, vec![decision("A", &[])]), [6]);
}

fn the_events_of_an_append_are_not_in_its_own_way(recorder: &Recorder) {
    let append = || {
        ConditionalAppend::new(vec![decision("A", &["x"]), decision("A", &["x"])])
            .fail_if_match(tag("x").into(), 0)
    };
    recorder
        .append(append(), Durability::Sync)
        .expect("nothing was there before it");
    assert_conflict(recorder.append(append(), Durability::Sync));
}

fn every_condition_has_to_hold_and_has_a_reach_of_its_own(recorder: &Recorder) {
    append_some(recorder);
    let append = |first, second| {
        let append = ConditionalAppend::new(vec![decision("D", &[])])
            .fail_if_match(tag("x").into(), first)
            .fail_if_match(topic("A").into(), second);
        recorder.append(append, Durability::Sync)
    };
    assert_conflict(append(0, 0));
    assert_conflict(append(5, 0));
    assert_conflict(append(0, 3));
    append(5, 3).expect("both hold");
}

fn the_head_of_a_read_is_what_its_condition_begins_behind(recorder: &Recorder) {
    append_some(recorder);
    let query = || Query::from(tag("x"));
    let head = read_behind(recorder, query(), 0)
        .head
        .expect("there are events");
    append(recorder, vec![decision("A", &["y"])]);
    try_append(recorder, query(), head).expect("another boundary");
    assert_conflict(try_append(recorder, query(), head));
    let found = read_behind(recorder, query(), head);
    assert_eq!(positions(&found.notifications), [7]);
    try_append(recorder, query(), found.head.expect("there are events"))
        .expect("it was read again");
}

fn events_of_aggregates_keep_their_rules(recorder: &Recorder) {
    let versioned = |version| vec![event("a", version)];
    append(recorder, versioned(1));
    let refused = recorder
        .append(ConditionalAppend::new(versioned(1)), Durability::Sync)
        .expect_err("the version is taken");
    assert!(
        matches!(refused, PersistenceError::VersionConflict { .. }),
        "{refused:?}"
    );
    append(recorder, versioned(2));
    let found = read(recorder, Query::all());
    let origin = |version| {
        Some(Origin {
            aggregate_id: id("a"),
            version,
        })
    };
    let origins: Vec<_> = found.into_iter().map(|found| found.event.origin).collect();
    assert_eq!(origins, [origin(1), origin(2)]);
}

fn of_many_threads_that_race_on_one_condition_one_wins(recorder: &Recorder) {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 20;
    let barrier = Barrier::new(THREADS as usize);
    let race = || {
        let mut won = Vec::new();
        for round in 0..ROUNDS {
            barrier.wait();
            // All of them have read the same, and know nothing of each other.
            if try_append(recorder, tag("x"), round).is_ok() {
                won.push(round);
            }
            barrier.wait();
        }
        won
    };
    let mut won = in_threads(THREADS, |_| race()).concat();
    won.sort_unstable();
    assert_eq!(won, (0..ROUNDS).collect::<Vec<_>>());
    assert_eq!(find(recorder, tag("x")), (1..=ROUNDS).collect::<Vec<_>>());
}

fn of_many_threads_that_claim_a_name_one_wins(recorder: &Recorder) {
    const NAMES: u64 = 20;
    let claim_all = |thread: u64| {
        let claim = |number: &u64| {
            // Each thread in another order, so that they meet everywhere.
            let name = format!("name:{}", (number + thread * 5) % NAMES);
            let append = ConditionalAppend::new(vec![decision("Claimed", &[&name])])
                .fail_if_match(tag(&name).into(), 0);
            recorder.append(append, Durability::Sync).is_ok()
        };
        (0..NAMES).filter(claim).count() as u64
    };
    let won: u64 = in_threads(4, claim_all).iter().sum();
    assert_eq!(won, NAMES);
    for number in 0..NAMES {
        assert_eq!(find(recorder, tag(&format!("name:{number}"))).len(), 1);
    }
}

fn of_two_threads_that_make_the_same_append_either_is_told_its_position(recorder: &Recorder) {
    let claims: Vec<_> = (1..=RACES)
        .map(|number| {
            let name = format!("name:{number}");
            let claimed = decision("Claimed", &[&name]);
            ConditionalAppend::new(vec![claimed]).fail_if_match(tag(&name).into(), 0)
        })
        .collect();
    both_are_told_the_same(|number| {
        let claim = claims[number as usize - 1].clone();
        recorder
            .append(claim, Durability::Sync)
            .expect("it is the same append")
    });
    assert_eq!(
        find(recorder, Query::all()),
        Vec::from_iter(1..=RACES),
        "each is stored once"
    );
}

fn decisions_that_are_made_again_on_conflict_never_go_beyond_a_limit(recorder: &Recorder) {
    const SEATS: usize = 30;
    let take_seats = |_| {
        let mut taken = 0;
        loop {
            let found = read_behind(recorder, tag("course").into(), 0);
            if found.notifications.len() >= SEATS {
                return taken;
            }
            let append = ConditionalAppend::new(vec![decision("Joined", &["course"])])
                .fail_if_match(tag("course").into(), found.head.unwrap_or(0));
            match recorder.append(append, Durability::Sync) {
                Ok(_) => taken += 1,
                Err(refused) => assert!(
                    matches!(refused, PersistenceError::ConditionConflict { .. }),
                    "{refused:?}"
                ),
            }
        }
    };
    let taken: usize = in_threads(4, take_seats).iter().sum();
    assert_eq!(taken, SEATS);
    assert_eq!(find(recorder, tag("course")).len(), SEATS);
}

fn decisions_in_different_boundaries_do_not_disturb_each_other(recorder: &Recorder) {
    const EVENTS: u64 = 50;
    let decide = |thread: u64| {
        let own = format!("thread:{thread}");
        let mut after = 0;
        for _ in 0..EVENTS {
            let append = ConditionalAppend::new(vec![decision("A", &[&own])])
                .fail_if_match(tag(&own).into(), after);
            let recorded = recorder.append(append, Durability::Sync);
            after = recorded.expect("nobody else is in this boundary")[0].position;
        }
    };
    in_threads(4, decide);
    assert_eq!(find(recorder, Query::all()).len() as u64, 4 * EVENTS);
}

fn a_read_shows_one_moment(recorder: &Recorder) {
    const PAIRS: u64 = 100;
    let pair = || vec![decision("A", &["x"]), decision("B", &["x", "y"])];
    thread::scope(|scope| {
        let writer = scope.spawn(|| (0..PAIRS).for_each(|_| drop(append(recorder, pair()))));
        let mut last = 0;
        while last < 2 * PAIRS {
            let done = writer.is_finished();
            let found = read_behind(recorder, tag("x").into(), 0);
            let head = found.head.unwrap_or(0);
            assert_eq!(
                positions(&found.notifications),
                (1..=head).collect::<Vec<_>>(),
                "everything up to the head, and no more"
            );
            assert!(head.is_multiple_of(2), "half of an append at {head}");
            assert!(head >= last, "the head went back from {last} to {head}");
            last = head;
            assert!(
                !done || last == 2 * PAIRS,
                "{last} positions of {PAIRS} pairs"
            );
        }
    });
}

fn a_subscription_shows_what_matches_and_what_comes(recorder: &Recorder) {
    append_some(recorder);
    let mut subscription = subscribe(recorder, tag("x"), 0);
    assert_eq!(next_positions(&mut subscription, 3), [1, 2, 5]);
    let live = decision("A", &["x"]);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_MOMENT);
            append(recorder, vec![decision("A", &["y"]), live.clone()]);
        });
        let shown = next(&mut subscription);
        assert_eq!((shown.position, &shown.event), (7, &live));
    });
    assert_eq!(subscription.position(), 7);
}

fn a_subscription_begins_behind_its_position(recorder: &Recorder) {
    append_some(recorder);
    assert_eq!(
        next_positions(&mut subscribe(recorder, tag("x"), 2), 1),
        [5]
    );
    assert_eq!(
        next_positions(&mut subscribe(recorder, Query::all(), 4), 1),
        [5]
    );
    let mut ahead = subscribe(recorder, tag("x"), 6);
    append(recorder, vec![decision("A", &["x"]), decision("A", &["x"])]);
    assert_eq!(next_positions(&mut ahead, 1), [7]);
}

fn a_subscription_moves_over_what_does_not_match(recorder: &Recorder) {
    append_some(recorder);
    let mut subscription = subscribe(recorder, topic("A").tag("y"), 0);
    assert_eq!(next_positions(&mut subscription, 1), [3]);
    assert!(subscription.next_timeout(A_MOMENT).is_none());
    assert_eq!(subscription.position(), 5);
    assert!(!subscription.is_stopped());
    append(recorder, vec![decision("B", &["y"]), decision("A", &["y"])]);
    assert_eq!(next_positions(&mut subscription, 1), [7]);
}

fn a_subscription_to_several_items_shows_each_event_once(recorder: &Recorder) {
    append_some(recorder);
    let query = Query::from(tag("x")).or(topic("A")).or(tag("y"));
    let mut subscription = subscribe(recorder, query, 0);
    assert_eq!(next_positions(&mut subscription, 4), [1, 2, 3, 5]);
    assert!(subscription.next_timeout(Duration::ZERO).is_none());
}

fn subscriptions_miss_nothing_while_threads_append(recorder: &Recorder) {
    const EVENTS: usize = 150;
    append(recorder, vec![decision("A", &["x"])]);
    let write = |name: &str| {
        for _ in 0..EVENTS {
            append(
                recorder,
                vec![decision("A", &["x", name]), decision("A", &[name])],
            );
        }
    };
    let expected = 1 + 2 * EVENTS;
    let shown = thread::scope(|scope| {
        scope.spawn(|| write("one"));
        scope.spawn(|| write("two"));
        let follow = || next_positions(&mut subscribe(recorder, tag("x"), 0), expected);
        let other = scope.spawn(follow);
        [follow(), other.join().expect("the other thread answers")]
    });
    let all = find(recorder, tag("x"));
    assert_eq!(all.len(), expected);
    assert_eq!(shown, [all.clone(), all]);
}

fn a_subscription_shows_buffered_events_in_the_end(recorder: &Recorder) {
    let mut subscription = subscribe(recorder, tag("x"), 0);
    for durability in [Durability::Buffered, Durability::Sync] {
        recorder
            .append(
                ConditionalAppend::new(vec![decision("A", &["x"])]),
                durability,
            )
            .expect("the append is legal");
    }
    assert_eq!(next_positions(&mut subscription, 2), [1, 2]);
}

fn a_subscription_is_stopped_from_another_thread(recorder: &Recorder) {
    append_some(recorder);
    let mut subscription = subscribe(recorder, tag("x"), 0);
    let mut other = subscribe(recorder, tag("x"), 0);
    assert_eq!(next_positions(&mut subscription, 3), [1, 2, 5]);
    let stop = subscription.stop_handle();
    let ended = count_until_end(subscription);
    thread::sleep(A_MOMENT);
    stop.stop();
    assert_eq!(
        ended.recv_timeout(PATIENCE).expect("the subscription ends"),
        0
    );
    assert_eq!(next_positions(&mut other, 3), [1, 2, 5]);
}

fn closing_the_recorder_ends_subscriptions(recorder: &Recorder) {
    append_some(recorder);
    let ended = count_until_end(subscribe(recorder, tag("x"), 0));
    thread::sleep(A_MOMENT);
    recorder.close().expect("closing succeeds");
    ended.recv_timeout(PATIENCE).expect("the subscription ends");
}

fn a_closed_recorder_takes_no_events(recorder: &Recorder) {
    recorder.close().expect("closing succeeds");
    let refused = try_append(recorder, tag("x"), 0);
    assert!(
        matches!(refused, Err(PersistenceError::Closed)),
        "{refused:?}"
    );
}

fn topic(topic: &str) -> QueryItem {
    QueryItem::new().topic(topic)
}

fn tag(tag: &str) -> QueryItem {
    QueryItem::new().tag(tag)
}

/// At 1 to 5: topic A with x, B with x and y, A with y, B without tags, C with x, y and more.
fn append_some(recorder: &Recorder) {
    let events = vec![
        decision("A", &["x"]),
        decision("B", &["x", "y"]),
        decision("A", &["y"]),
        decision("B", &[]),
        decision("C", &["y", "x", "more"]),
    ];
    assert_eq!(append(recorder, events), [1, 2, 3, 4, 5]);
}

fn append_many(recorder: &Recorder, tag: &str, count: usize) {
    let events = (0..count).map(|_| decision("A", &[tag])).collect();
    append(recorder, events);
}

fn append(recorder: &Recorder, events: Vec<StoredEvent>) -> Vec<u64> {
    let recorded = recorder
        .append(ConditionalAppend::new(events), Durability::Sync)
        .expect("the append is legal");
    recorded
        .into_iter()
        .map(|recorded| recorded.position)
        .collect()
}

/// An event with the tag "x", unless something matches the query.
fn try_append(
    recorder: &Recorder,
    query: impl Into<Query>,
    after: u64,
) -> Result<Vec<Recorded>, PersistenceError> {
    let append =
        ConditionalAppend::new(vec![decision("T", &["x"])]).fail_if_match(query.into(), after);
    recorder.append(append, Durability::Sync)
}

#[track_caller]
fn assert_conflict(outcome: Result<Vec<Recorded>, PersistenceError>) {
    let refused = outcome.expect_err("it is a conflict");
    assert!(
        matches!(refused, PersistenceError::ConditionConflict { .. }),
        "{refused:?}"
    );
    assert!(refused.is_conflict());
}

fn read_behind(recorder: &Recorder, query: Query, after: u64) -> Found {
    recorder
        .read(&query, after, None)
        .expect("events can be read")
}

fn read(recorder: &Recorder, query: Query) -> Vec<Notification> {
    read_behind(recorder, query, 0).notifications
}

fn find(recorder: &Recorder, query: impl Into<Query>) -> Vec<u64> {
    positions(&read(recorder, query.into()))
}

fn topics(found: &[Notification]) -> Vec<&str> {
    found
        .iter()
        .map(|notification| notification.event.topic.as_str())
        .collect()
}

fn subscribe(recorder: &Recorder, query: impl Into<Query>, after: u64) -> Subscription {
    recorder
        .subscribe_query(&query.into(), after)
        .expect("it can be subscribed to")
}

fn next(subscription: &mut Subscription) -> Notification {
    let next = subscription
        .next_timeout(PATIENCE)
        .expect("a notification comes");
    next.expect("the notification can be read")
}

fn next_positions(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    (0..count).map(|_| next(subscription).position).collect()
}

/// Follows in a thread of its own; when the subscription ends, sends how many notifications it showed.
fn count_until_end(subscription: Subscription) -> mpsc::Receiver<usize> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(subscription.count()));
    receive
}

/// What each of these threads answers; each is given its number, from 0.
fn in_threads<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the thread answers"))
            .collect()
    })
}
