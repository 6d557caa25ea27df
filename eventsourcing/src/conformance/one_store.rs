//! Rules of a recorder for aggregates and decisions: all of them speak of the same events.

use super::{Case, cases, decision, event, id, positions, versions};
use crate::persistence::{
    ConditionalAppend, DcbRecorder, Durability, PersistenceError, ProcessRecorder, Query,
    QueryItem, SelectEvents, SelectNotifications, StoredEvent, Tracking,
};

/// What is checked: a recorder that is both.
pub(super) trait Both: ProcessRecorder + DcbRecorder {}

impl<R: ProcessRecorder + DcbRecorder> Both for R {}

pub(super) type Recorder = dyn Both;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    events_of_aggregates_and_decisions_lie_in_one_sequence
    a_query_finds_events_of_aggregates
    an_event_of_an_aggregate_is_in_the_way_of_a_condition
    an_event_appended_on_a_condition_counts_in_its_aggregate
    a_notification_shows_what_was_appended
    a_subscription_shows_what_was_appended
    tracking_is_recorded_with_the_append
    a_failed_condition_records_no_tracking
    a_tracking_conflict_appends_nothing
    an_append_without_events_records_no_tracking
};

fn events_of_aggregates_and_decisions_lie_in_one_sequence(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    append(recorder, vec![decision("A", &["x"])]);
    insert(recorder, vec![event("a", 2)]);
    let found = recorder
        .read(&Query::all(), 0, None)
        .expect("events can be read");
    assert_eq!(positions(&found.notifications), [1, 2, 3]);
    assert_eq!(found.head, Some(3));
    let events = found.notifications.into_iter().map(|found| found.event);
    assert_eq!(
        events.map(|event| event.version()).collect::<Vec<_>>(),
        [Some(1), None, Some(2)]
    );
    assert_eq!(recorder.max_position().expect("it can be read"), Some(3));
}

fn a_query_finds_events_of_aggregates(recorder: &Recorder) {
    insert(recorder, vec![tagged(event("a", 1)), event("a", 2)]);
    append(recorder, vec![tagged(decision("B", &[]))]);
    let find = |item: QueryItem| {
        let found = recorder.read(&item.into(), 0, None);
        positions(&found.expect("events can be read").notifications)
    };
    assert_eq!(find(QueryItem::new().tag("x")), [1, 3]);
    assert_eq!(find(QueryItem::new().topic("Happened")), [1, 2]);
    assert_eq!(find(QueryItem::new().topic("Happened").tag("x")), [1]);
}

fn an_event_of_an_aggregate_is_in_the_way_of_a_condition(recorder: &Recorder) {
    insert(recorder, vec![tagged(event("a", 1))]);
    let refused = recorder.append(on_x(0), Durability::Sync);
    assert!(
        matches!(
            refused,
            Err(PersistenceError::ConditionConflict { head: 1, .. })
        ),
        "{refused:?}"
    );
    recorder
        .append(on_x(1), Durability::Sync)
        .expect("nothing lies behind it");
}

fn an_event_appended_on_a_condition_counts_in_its_aggregate(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    append(recorder, vec![event("a", 2)]);
    let refused = recorder.insert_events(vec![event("a", 2)], Durability::Sync);
    assert!(
        matches!(refused, Err(PersistenceError::VersionConflict { .. })),
        "{refused:?}"
    );
    insert(recorder, vec![event("a", 3)]);
    let found = recorder
        .select_events(&id("a"), SelectEvents::all())
        .expect("events can be read");
    assert_eq!(versions(&found), [1, 2, 3]);
}

fn a_notification_shows_what_was_appended(recorder: &Recorder) {
    let decided = decision("A", &["x"]);
    append(recorder, vec![decided.clone()]);
    let found = recorder
        .select_notifications(&SelectNotifications::first(10).topics(["A"]))
        .expect("notifications can be read");
    assert_eq!(found[0].event, decided);
}

fn a_subscription_shows_what_was_appended(recorder: &Recorder) {
    let subscription = recorder.subscribe(0, &["A"]);
    append(recorder, vec![decision("B", &[]), decision("A", &["x"])]);
    insert(recorder, vec![event("a", 1)]);
    let next = subscription
        .expect("it can be subscribed to")
        .next_timeout(super::PATIENCE)
        .expect("a notification comes");
    assert_eq!(next.expect("it can be read").position, 2);
}

fn tracking_is_recorded_with_the_append(recorder: &Recorder) {
    let recorded = recorder
        .append(on_x(0).tracking(Tracking::new("up", 7)), Durability::Sync)
        .expect("the append is legal");
    assert_eq!(recorded[0].position, 1);
    assert_eq!(tracking(recorder), Some(7));
}

fn a_failed_condition_records_no_tracking(recorder: &Recorder) {
    append(recorder, vec![tagged(decision("A", &[]))]);
    let refused = recorder.append(on_x(0).tracking(Tracking::new("up", 7)), Durability::Sync);
    assert!(
        matches!(refused, Err(PersistenceError::ConditionConflict { .. })),
        "{refused:?}"
    );
    assert_eq!(tracking(recorder), None);
}

fn a_tracking_conflict_appends_nothing(recorder: &Recorder) {
    recorder
        .insert_tracking(Tracking::new("up", 7))
        .expect("the insert is legal");
    let refused = recorder.append(on_x(0).tracking(Tracking::new("up", 7)), Durability::Sync);
    assert!(
        matches!(refused, Err(PersistenceError::TrackingConflict { .. })),
        "{refused:?}"
    );
    assert_eq!(recorder.max_position().expect("it can be read"), None);
    recorder
        .append(on_x(0).tracking(Tracking::new("up", 8)), Durability::Sync)
        .expect("the position is free, and nothing matches");
}

fn an_append_without_events_records_no_tracking(recorder: &Recorder) {
    let append = ConditionalAppend::default().tracking(Tracking::new("up", 7));
    let refused = recorder.append(append, Durability::Sync);
    assert!(
        matches!(refused, Err(PersistenceError::NoEvents)),
        "{refused:?}"
    );
    assert_eq!(tracking(recorder), None);
}

fn tagged(event: StoredEvent) -> StoredEvent {
    StoredEvent {
        tags: vec![b"x".to_vec()],
        ..event
    }
}

/// One event, unless something has the tag "x" behind a position.
fn on_x(after: u64) -> ConditionalAppend {
    let query = QueryItem::new().tag("x").into();
    ConditionalAppend::new(vec![decision("A", &["x"])]).fail_if_match(query, after)
}

fn insert(recorder: &Recorder, events: Vec<StoredEvent>) {
    recorder
        .insert_events(events, Durability::Sync)
        .expect("the insert is legal");
}

fn append(recorder: &Recorder, events: Vec<StoredEvent>) {
    recorder
        .append(ConditionalAppend::new(events), Durability::Sync)
        .expect("the append is legal");
}

fn tracking(recorder: &Recorder) -> Option<u64> {
    recorder.max_tracking("up").expect("tracking can be read")
}
