//! Rules of [`AggregateRecorder`].

use std::ops::ControlFlow;
use std::thread;

use uuid::Uuid;

use super::{Case, RACES, both_are_told_the_same, cases, event, id, versions};
use crate::domain::{AggregateId, Metadata};
use crate::persistence::{
    AggregateRecorder, Durability, Encoding, Limit, PersistenceError, Recorded, SelectEvents,
    StoredEvent,
};

type Recorder = dyn AggregateRecorder;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    an_event_comes_back_as_it_was_given
    tags_come_back_ascending_and_each_once
    an_unknown_aggregate_has_no_events
    a_uuid_and_the_text_that_spells_it_are_two_aggregates
    a_version_is_stored_once
    a_version_given_twice_in_one_insert_is_refused
    versions_may_start_anywhere_and_have_gaps
    a_refused_insert_stores_none_of_its_events
    an_insert_made_again_answers_as_it_did_and_stores_nothing
    an_insert_made_again_behind_others_is_recognised
    an_insert_made_again_is_recognised_by_the_digest_of_its_payload
    an_insert_made_again_in_part_or_with_more_is_a_conflict
    an_insert_made_again_in_another_order_is_a_conflict
    an_insert_made_again_with_other_content_is_a_conflict
    an_insert_of_no_aggregate_made_again_is_recognised
    one_insert_may_mix_aggregates_in_any_order
    an_insert_of_nothing_does_nothing
    events_are_selected_ascending_or_descending
    gt_excludes_and_lte_includes_its_version
    limit_takes_the_first_in_the_chosen_order
    a_limit_of_zero_selects_nothing
    events_shown_one_by_one_are_those_selected
    events_are_shown_until_told_to_break
    the_last_version_is_that_of_the_last_event
    what_exceeds_a_limit_is_refused_and_not_stored
    what_is_at_a_limit_is_stored
    buffered_events_are_selected_at_once
    of_two_threads_that_add_a_version_one_succeeds
    of_two_threads_that_make_the_same_insert_either_is_told_its_positions
    a_closed_recorder_takes_no_events
};

fn an_event_comes_back_as_it_was_given(recorder: &Recorder) {
    let uuid = AggregateId::from(Uuid::from_u128(77));
    let bare = StoredEvent::new(Uuid::from_u128(1), "Bare", "").of(uuid.clone(), 1);
    let full = StoredEvent {
        tags: vec![vec![0, 255], b"a:b".to_vec()],
        metadata: Metadata::from([
            ("user".into(), "ann \u{1f41d}".into()),
            ("empty".into(), String::new()),
        ]),
        encoding: Some(Encoding {
            codec: 3,
            key_id: 4,
            plain_len: 5,
        }),
        digest: Some(6),
        payload: (0..=255).collect(),
        ..StoredEvent::new(Uuid::from_u128(2), "F\u{fc}ll", "").of(uuid.clone(), 2)
    };
    insert(recorder, vec![bare.clone(), full.clone()]);

    let found: Vec<_> = select(recorder, &uuid, SelectEvents::all())
        .into_iter()
        .map(|found| found.event)
        .collect();
    assert_eq!(found, [bare, full]);
}

fn tags_come_back_ascending_and_each_once(recorder: &Recorder) {
    let tags = ["b", "a", "b"].map(|tag| tag.as_bytes().to_vec()).to_vec();
    insert(
        recorder,
        vec![StoredEvent {
            tags,
            ..event("a", 1)
        }],
    );
    assert_eq!(
        select(recorder, &id("a"), SelectEvents::all())[0]
            .event
            .tags,
        [b"a", b"b"]
    );
}

fn an_unknown_aggregate_has_no_events(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    assert!(select(recorder, &id("b"), SelectEvents::all()).is_empty());
}

fn a_uuid_and_the_text_that_spells_it_are_two_aggregates(recorder: &Recorder) {
    let uuid = Uuid::from_u128(77);
    let text = uuid.to_string();
    let of_uuid = StoredEvent::new(Uuid::from_u128(1), "Happened", "").of(uuid, 1);
    insert(recorder, vec![of_uuid.clone(), event(&text, 1)]);
    let found = select(recorder, &uuid.into(), SelectEvents::all());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event, of_uuid);
}

fn a_version_is_stored_once(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    insert(recorder, vec![event("b", 1)]);
    assert_conflict(recorder, vec![event("a", 1)]);
    assert_eq!(select(recorder, &id("a"), SelectEvents::all()).len(), 1);
}

fn a_version_given_twice_in_one_insert_is_refused(recorder: &Recorder) {
    assert_conflict(recorder, vec![event("a", 1), event("b", 1), event("a", 1)]);
    assert!(select(recorder, &id("b"), SelectEvents::all()).is_empty());
}

fn versions_may_start_anywhere_and_have_gaps(recorder: &Recorder) {
    insert(recorder, vec![event("a", 0), event("a", 5), event("b", 3)]);
    insert(recorder, vec![event("a", 7)]);
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        [0, 5, 7]
    );
    assert_eq!(
        versions(&select(recorder, &id("b"), SelectEvents::all())),
        [3]
    );
}

fn a_refused_insert_stores_none_of_its_events(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    assert_conflict(recorder, vec![event("b", 1), event("a", 1), event("c", 1)]);
    for aggregate in ["b", "c"] {
        assert!(
            select(recorder, &id(aggregate), SelectEvents::all()).is_empty(),
            "{aggregate}"
        );
    }
    insert(recorder, vec![event("b", 1), event("a", 2), event("c", 1)]);
}

fn an_insert_made_again_answers_as_it_did_and_stores_nothing(recorder: &Recorder) {
    let tagged = StoredEvent {
        tags: vec![b"b".to_vec(), b"a".to_vec(), b"b".to_vec()],
        metadata: Metadata::from([("user".into(), "ann".into())]),
        ..event("a", 2)
    };
    let events = vec![event("b", 4), event("a", 1), tagged];
    let first = try_insert(recorder, events.clone()).expect("the insert is legal");
    for durability in [Durability::Sync, Durability::Buffered] {
        let again = recorder
            .insert_events(events.clone(), durability)
            .expect("it is the same insert");
        assert_eq!(again, first);
    }
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        [1, 2]
    );
}

fn an_insert_made_again_behind_others_is_recognised(recorder: &Recorder) {
    let events = vec![event("a", 1), event("a", 2)];
    let first = try_insert(recorder, events.clone()).expect("the insert is legal");
    insert(recorder, vec![event("b", 1), event("a", 3)]);
    assert_eq!(
        try_insert(recorder, events).expect("it is the same insert"),
        first
    );
    assert_conflict(recorder, vec![event("a", 1), event("a", 2)]);
    assert_eq!(select(recorder, &id("a"), SelectEvents::all()).len(), 3);
}

fn an_insert_made_again_is_recognised_by_the_digest_of_its_payload(recorder: &Recorder) {
    let encoding = Some(Encoding {
        codec: 3,
        key_id: 4,
        plain_len: 5,
    });
    let sealed = StoredEvent {
        encoding,
        digest: Some(6),
        ..event("a", 1)
    };
    let first = try_insert(recorder, vec![sealed.clone()]).expect("the insert is legal");
    let sealed_again = StoredEvent {
        payload: b"other bytes of the same content".to_vec(),
        ..sealed.clone()
    };
    assert_eq!(
        try_insert(recorder, vec![sealed_again]).expect("it is the same insert"),
        first
    );
    assert_eq!(
        select(recorder, &id("a"), SelectEvents::all())[0].event,
        sealed
    );
    let digest = Some(7);
    assert_retry_conflict(recorder, vec![StoredEvent { digest, ..sealed }]);
}

fn an_insert_made_again_in_part_or_with_more_is_a_conflict(recorder: &Recorder) {
    let [one, two, three] = [1, 2, 3].map(|version| event("a", version));
    insert(recorder, vec![one.clone(), two.clone()]);
    assert_retry_conflict(recorder, vec![one.clone(), two.clone(), three]);
    assert_retry_conflict(recorder, vec![one.clone(), event("a", 2)]);
    assert_retry_conflict(recorder, vec![event("b", 1), one.clone()]);
    // What is there whole, and what follows it, may be of two inserts as well.
    assert!(try_insert(recorder, vec![two]).is_ok());
    assert_eq!(select(recorder, &id("a"), SelectEvents::all()).len(), 2);
    assert!(select(recorder, &id("b"), SelectEvents::all()).is_empty());
}

fn an_insert_made_again_in_another_order_is_a_conflict(recorder: &Recorder) {
    let (a, b) = (event("a", 1), event("b", 1));
    insert(recorder, vec![a.clone(), b.clone()]);
    assert_retry_conflict(recorder, vec![b, a.clone()]);
    insert(recorder, vec![event("a", 2)]);
    let c = event("c", 1);
    insert(recorder, vec![c.clone()]);
    assert_retry_conflict(recorder, vec![a, c]);
}

fn an_insert_made_again_with_other_content_is_a_conflict(recorder: &Recorder) {
    let stored = event("a", 1);
    insert(recorder, vec![stored.clone()]);
    for other in [
        StoredEvent {
            payload: b"other".to_vec(),
            ..stored.clone()
        },
        StoredEvent {
            topic: "Other".to_owned(),
            ..stored.clone()
        },
        StoredEvent {
            tags: vec![b"other".to_vec()],
            ..stored.clone()
        },
        StoredEvent {
            metadata: Metadata::from([("other".into(), String::new())]),
            ..stored.clone()
        },
    ] {
        assert_retry_conflict(recorder, vec![other]);
    }
    assert_eq!(
        select(recorder, &id("a"), SelectEvents::all())[0].event,
        stored
    );
}

fn an_insert_of_no_aggregate_made_again_is_recognised(recorder: &Recorder) {
    let ordered = |number: u64| {
        let bytes = &number.to_le_bytes().repeat(2)[..10];
        let bytes = bytes.try_into().expect("ten bytes are ten bytes");
        uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + number, bytes).into_uuid()
    };
    for alone in [Uuid::from_u128(5), ordered(5)].map(|id| StoredEvent::new(id, "Alone", "x")) {
        let first = try_insert(recorder, vec![alone.clone()]).expect("the insert is legal");
        insert(recorder, vec![event(&alone.event_id.to_string(), 1)]);
        let again = try_insert(recorder, vec![alone.clone()]);
        assert_eq!(again.expect("it is the same insert"), first);
        let payload = b"other".to_vec();
        assert_retry_conflict(recorder, vec![StoredEvent { payload, ..alone }]);
    }
    let new = |number| StoredEvent::new(ordered(number), "Alone", "x");
    let first = try_insert(recorder, vec![new(6)]).expect("the insert is legal");
    let next = try_insert(recorder, vec![new(7)]).expect("of another id, it is another event");
    assert_eq!(next[0].position, first[0].position + 1);
}

fn one_insert_may_mix_aggregates_in_any_order(recorder: &Recorder) {
    insert(
        recorder,
        vec![
            event("a", 1),
            event("b", 1),
            event("a", 2),
            event("c", 9),
            event("b", 2),
        ],
    );
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        [1, 2]
    );
    assert_eq!(
        versions(&select(recorder, &id("b"), SelectEvents::all())),
        [1, 2]
    );
    assert_eq!(
        versions(&select(recorder, &id("c"), SelectEvents::all())),
        [9]
    );
}

fn an_insert_of_nothing_does_nothing(recorder: &Recorder) {
    let recorded = recorder
        .insert_events(Vec::new(), Durability::Sync)
        .expect("nothing can be inserted");
    assert!(recorded.is_empty());
}

fn events_are_selected_ascending_or_descending(recorder: &Recorder) {
    insert_three(recorder);
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        [1, 2, 3]
    );
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all().desc())),
        [3, 2, 1]
    );
}

fn gt_excludes_and_lte_includes_its_version(recorder: &Recorder) {
    insert_three(recorder);
    let all = SelectEvents::all;
    for (selection, expected) in [
        (all().gt(0), &[1, 2, 3][..]),
        (all().gt(1), &[2, 3]),
        (all().gt(3), &[]),
        (all().gt(u64::MAX), &[]),
        (all().lte(0), &[]),
        (all().lte(2), &[1, 2]),
        (all().lte(u64::MAX), &[1, 2, 3]),
        (all().gt(1).lte(2), &[2]),
        (all().gt(2).lte(2), &[]),
        (all().gt(3).lte(1), &[]),
        (all().gt(1).lte(3).desc(), &[3, 2]),
    ] {
        assert_eq!(
            versions(&select(recorder, &id("a"), selection)),
            expected,
            "{selection:?}"
        );
    }
}

fn limit_takes_the_first_in_the_chosen_order(recorder: &Recorder) {
    insert_three(recorder);
    let all = SelectEvents::all;
    for (selection, expected) in [
        (all().limit(1), &[1][..]),
        (all().limit(9), &[1, 2, 3]),
        (all().desc().limit(1), &[3]),
        (all().gt(1).limit(1), &[2]),
        (all().lte(2).desc().limit(1), &[2]),
    ] {
        assert_eq!(
            versions(&select(recorder, &id("a"), selection)),
            expected,
            "{selection:?}"
        );
    }
}

fn a_limit_of_zero_selects_nothing(recorder: &Recorder) {
    insert_three(recorder);
    assert!(select(recorder, &id("a"), SelectEvents::all().limit(0)).is_empty());
}

fn events_shown_one_by_one_are_those_selected(recorder: &Recorder) {
    let rich = StoredEvent {
        tags: vec![b"t".to_vec()],
        metadata: Metadata::from([("user".into(), "ann".into())]),
        digest: Some(6),
        ..event("a", 2)
    };
    // What one event has and the next has not is gone again.
    insert(
        recorder,
        vec![event("a", 1), rich, event("b", 1), event("a", 4)],
    );
    for select in [
        SelectEvents::all(),
        SelectEvents::all().desc(),
        SelectEvents::all().gt(1).lte(2),
        SelectEvents::all().limit(2),
        SelectEvents::all().limit(0),
    ] {
        let mut shown = Vec::new();
        recorder
            .for_each_event(&id("a"), select, &mut |notification| {
                shown.push(notification.clone());
                ControlFlow::Continue(())
            })
            .expect("events can be read");
        assert_eq!(
            shown,
            self::select(recorder, &id("a"), select),
            "{select:?}"
        );
    }
}

fn events_are_shown_until_told_to_break(recorder: &Recorder) {
    insert(
        recorder,
        (1..=3).map(|version| event("a", version)).collect(),
    );
    let mut shown = 0;
    recorder
        .for_each_event(&id("a"), SelectEvents::all(), &mut |_| {
            shown += 1;
            match shown {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .expect("events can be read");
    assert_eq!(shown, 2);
}

fn the_last_version_is_that_of_the_last_event(recorder: &Recorder) {
    assert_eq!(
        recorder.last_version(&id("a")).expect("events can be read"),
        None
    );
    insert(recorder, vec![event("a", 3), event("b", 9), event("a", 7)]);
    assert_eq!(
        recorder.last_version(&id("a")).expect("events can be read"),
        Some(7)
    );
    recorder
        .insert_events(vec![event("a", 8)], Durability::Buffered)
        .expect("events can be read");
    assert_eq!(
        recorder.last_version(&id("a")).expect("events can be read"),
        Some(8)
    );
    assert_eq!(
        recorder.last_version(&id("c")).expect("events can be read"),
        None
    );
}

fn what_exceeds_a_limit_is_refused_and_not_stored(recorder: &Recorder) {
    let long = |len| "x".repeat(len);
    let plain = || event("a", 1);
    for (expected, too_much) in [
        (Limit::Version, event("a", i64::MAX as u64 + 1)),
        (
            Limit::Topic,
            StoredEvent {
                topic: String::new(),
                ..plain()
            },
        ),
        (
            Limit::Topic,
            StoredEvent {
                topic: long(1025),
                ..plain()
            },
        ),
        (
            Limit::Tag,
            StoredEvent {
                tags: vec![Vec::new()],
                ..plain()
            },
        ),
        (
            Limit::Tag,
            StoredEvent {
                tags: vec![vec![0; 256]],
                ..plain()
            },
        ),
        (
            Limit::Tags,
            StoredEvent {
                tags: (0..65).map(|tag| vec![tag]).collect(),
                ..plain()
            },
        ),
        (
            Limit::MetadataKey,
            StoredEvent {
                metadata: Metadata::from([(String::new(), String::new())]),
                ..plain()
            },
        ),
        (
            Limit::MetadataKey,
            StoredEvent {
                metadata: Metadata::from([(long(256), String::new())]),
                ..plain()
            },
        ),
        (
            Limit::Metadata,
            StoredEvent {
                metadata: (0..256)
                    .map(|key| (key.to_string(), String::new()))
                    .collect(),
                ..plain()
            },
        ),
    ] {
        let refused = recorder.insert_events(vec![event("b", 1), too_much], Durability::Sync);
        let Err(PersistenceError::Limit { limit, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(limit, expected);
    }
    assert!(select(recorder, &id("b"), SelectEvents::all()).is_empty());
}

fn what_is_at_a_limit_is_stored(recorder: &Recorder) {
    let longest = StoredEvent {
        topic: "x".repeat(1024),
        tags: (0..64).map(|tag| vec![tag; 255]).collect(),
        metadata: (0..255)
            .map(|key| (format!("{key:0>255}")[..200].to_owned(), key.to_string()))
            .collect(),
        ..event("a", 1)
    };
    let long_id = id(&"x".repeat(255));
    let of_long_id = event("b", 1).of(long_id.clone(), i64::MAX as u64);
    insert(recorder, vec![longest.clone(), of_long_id.clone()]);
    assert_eq!(
        select(recorder, &id("a"), SelectEvents::all())[0].event,
        longest
    );
    assert_eq!(
        select(recorder, &long_id, SelectEvents::all())[0].event,
        of_long_id
    );
}

fn buffered_events_are_selected_at_once(recorder: &Recorder) {
    recorder
        .insert_events(vec![event("a", 1)], Durability::Buffered)
        .expect("the insert is legal");
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        [1]
    );
    assert_conflict(recorder, vec![event("a", 1)]);
}

fn of_two_threads_that_add_a_version_one_succeeds(recorder: &Recorder) {
    const VERSIONS: u64 = 50;
    let race = || {
        let add = |version: &u64| {
            recorder
                .insert_events(vec![event("a", *version)], Durability::Sync)
                .is_ok()
        };
        (1..=VERSIONS).filter(add).count() as u64
    };
    let won = thread::scope(|scope| {
        let other = scope.spawn(race);
        race() + other.join().expect("the other thread answers")
    });
    assert_eq!(won, VERSIONS);
    let expected: Vec<_> = (1..=VERSIONS).collect();
    assert_eq!(
        versions(&select(recorder, &id("a"), SelectEvents::all())),
        expected
    );
}

fn of_two_threads_that_make_the_same_insert_either_is_told_its_positions(recorder: &Recorder) {
    let events: Vec<_> = (1..=RACES)
        .map(|number| vec![event("a", number), event("b", number)])
        .collect();
    both_are_told_the_same(|number| {
        let events = events[number as usize - 1].clone();
        try_insert(recorder, events).expect("it is the same insert")
    });
    for name in ["a", "b"] {
        let stored = versions(&select(recorder, &id(name), SelectEvents::all()));
        assert_eq!(stored, Vec::from_iter(1..=RACES), "each is stored once");
    }
}

fn a_closed_recorder_takes_no_events(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    recorder.close().expect("closing succeeds");
    recorder.close().expect("closing again does nothing");
    let refused = recorder.insert_events(vec![event("a", 2)], Durability::Sync);
    assert!(
        matches!(refused, Err(PersistenceError::Closed)),
        "{refused:?}"
    );
}

fn insert(recorder: &Recorder, events: Vec<StoredEvent>) {
    let count = events.len();
    let recorded = try_insert(recorder, events).expect("the insert is legal");
    assert_eq!(recorded.len(), count);
}

fn try_insert(
    recorder: &Recorder,
    events: Vec<StoredEvent>,
) -> Result<Vec<Recorded>, PersistenceError> {
    recorder.insert_events(events, Durability::Sync)
}

fn insert_three(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1), event("b", 1), event("a", 2)]);
    insert(recorder, vec![event("c", 1), event("a", 3)]);
}

fn select(
    recorder: &Recorder,
    aggregate_id: &AggregateId,
    select: SelectEvents,
) -> Vec<crate::persistence::Notification> {
    recorder
        .select_events(aggregate_id, select)
        .expect("events can be read")
}

#[track_caller]
fn assert_conflict(recorder: &Recorder, events: Vec<StoredEvent>) {
    let refused = recorder
        .insert_events(events, Durability::Sync)
        .expect_err("the insert is a conflict");
    assert!(
        matches!(refused, PersistenceError::VersionConflict { .. }),
        "{refused:?}"
    );
    assert!(refused.is_conflict());
}

#[track_caller]
fn assert_retry_conflict(recorder: &Recorder, events: Vec<StoredEvent>) {
    let refused = try_insert(recorder, events).expect_err("it is another insert");
    assert!(
        matches!(refused, PersistenceError::RetryConflict { .. }),
        "{refused:?}"
    );
    assert!(refused.is_conflict());
}
