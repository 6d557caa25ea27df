//! Rules of [`ProcessRecorder`].

use std::sync::mpsc;
use std::thread;

use super::{A_MOMENT, Case, PATIENCE, RACES, both_are_told_the_same, cases, event, id, versions};
use crate::persistence::{
    Durability, PersistenceError, ProcessRecorder, Recorded, SelectEvents, SelectNotifications,
    StoredEvent, Tracking,
};

type Recorder = dyn ProcessRecorder;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    events_and_tracking_are_stored_together
    a_tracking_conflict_stores_no_events
    a_version_conflict_records_no_tracking
    an_insert_made_again_with_its_tracking_is_recognised
    no_events_with_tracking_is_legal
    events_without_tracking_leave_tracking_alone
    tracking_takes_no_position_from_the_events
    each_upstream_event_takes_effect_once
    of_two_threads_that_make_the_same_insert_either_is_told_its_positions
    storing_with_tracking_wakes_who_waits
};

fn events_and_tracking_are_stored_together(recorder: &Recorder) {
    let recorded =
        insert(recorder, vec![event("a", 1), event("b", 1)], 7).expect("the insert is legal");
    let positions: Vec<_> = recorded.iter().map(|recorded| recorded.position).collect();
    assert_eq!(positions, [1, 2]);
    assert_eq!(tracking(recorder), Some(7));
    assert_eq!(count(recorder), 2);
}

fn a_tracking_conflict_stores_no_events(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)], 7).expect("the insert is legal");
    let refused =
        insert(recorder, vec![event("a", 2), event("b", 1)], 7).expect_err("it is a conflict");
    assert!(
        matches!(refused, PersistenceError::TrackingConflict { .. }),
        "{refused:?}"
    );
    assert_eq!(count(recorder), 1);
    insert(recorder, vec![event("a", 2)], 8).expect("the version is still free");
}

fn a_version_conflict_records_no_tracking(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)], 7).expect("the insert is legal");
    let refused =
        insert(recorder, vec![event("b", 1), event("a", 1)], 8).expect_err("it is a conflict");
    assert!(
        matches!(refused, PersistenceError::VersionConflict { .. }),
        "{refused:?}"
    );
    assert_eq!((tracking(recorder), count(recorder)), (Some(7), 1));
    insert(recorder, vec![event("b", 1)], 8).expect("the position is still free");
}

fn an_insert_made_again_with_its_tracking_is_recognised(recorder: &Recorder) {
    let events = vec![event("a", 1), event("b", 1)];
    let first = insert(recorder, events.clone(), 7).expect("the insert is legal");
    insert(recorder, vec![event("a", 2)], 8).expect("the insert is legal");
    let again = insert(recorder, events.clone(), 7).expect("it is the same insert");
    assert_eq!(again, first);
    // Events that are there without the position they are an effect of are no repetition.
    let refused = insert(recorder, events, 9).expect_err("it is another insert");
    assert!(
        matches!(refused, PersistenceError::RetryConflict { .. }),
        "{refused:?}"
    );
    assert_eq!((tracking(recorder), count(recorder)), (Some(8), 3));
}

fn no_events_with_tracking_is_legal(recorder: &Recorder) {
    assert_eq!(
        insert(recorder, vec![], 7).expect("the insert is legal"),
        []
    );
    assert_eq!((tracking(recorder), count(recorder)), (Some(7), 0));
    assert!(insert(recorder, vec![], 7).is_err());
}

fn events_without_tracking_leave_tracking_alone(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)], 7).expect("the insert is legal");
    recorder
        .insert_events(vec![event("a", 2)], Durability::Sync)
        .expect("the insert is legal");
    assert_eq!(tracking(recorder), Some(7));
}

fn tracking_takes_no_position_from_the_events(recorder: &Recorder) {
    recorder
        .insert_tracking(Tracking::new("up", 7))
        .expect("the insert is legal");
    insert(recorder, vec![], 8).expect("the insert is legal");
    assert_eq!(recorder.max_position().expect("it can be read"), None);
    let recorded = insert(recorder, vec![event("a", 1)], 9).expect("the insert is legal");
    assert_eq!(recorded[0].position, 1);
}

fn each_upstream_event_takes_effect_once(recorder: &Recorder) {
    const POSITIONS: u64 = 50;
    let process = |aggregate: &str| {
        (1..=POSITIONS)
            .filter(|position| {
                insert(recorder, vec![event(aggregate, *position)], *position).is_ok()
            })
            .count()
    };
    let effects = thread::scope(|scope| {
        let other = scope.spawn(|| process("a"));
        process("b") + other.join().expect("the other thread answers")
    });
    assert_eq!(effects, count(recorder));
    let select = |aggregate| {
        recorder
            .select_events(&id(aggregate), SelectEvents::all())
            .expect("events can be read")
    };
    let mut processed = [versions(&select("a")), versions(&select("b"))].concat();
    processed.sort_unstable();
    assert!(
        processed.is_sorted_by(|before, behind| before < behind),
        "an effect comes twice: {processed:?}"
    );
}

fn of_two_threads_that_make_the_same_insert_either_is_told_its_positions(recorder: &Recorder) {
    let events: Vec<_> = (1..=RACES).map(|number| event("a", number)).collect();
    both_are_told_the_same(|number| {
        let effects = vec![events[number as usize - 1].clone()];
        insert(recorder, effects, number).expect("it is the same insert")
    });
    assert_eq!(
        (tracking(recorder), count(recorder)),
        (Some(RACES), RACES as usize)
    );
}

fn storing_with_tracking_wakes_who_waits(recorder: &Recorder) {
    thread::scope(|scope| {
        let (send, ended) = mpsc::channel();
        // Twice the patience, or a wait that nobody wakes would pass for one that was woken.
        scope.spawn(move || send.send(recorder.wait("up", 7, PATIENCE * 2)));
        thread::sleep(A_MOMENT);
        insert(recorder, vec![event("a", 1)], 7).expect("the insert is legal");
        ended
            .recv_timeout(PATIENCE)
            .expect("the wait ends")
            .expect("the position was reached");
    });
}

fn insert(
    recorder: &Recorder,
    events: Vec<StoredEvent>,
    position: u64,
) -> Result<Vec<Recorded>, PersistenceError> {
    recorder.insert_events_tracked(events, Tracking::new("up", position), Durability::Sync)
}

fn tracking(recorder: &Recorder) -> Option<u64> {
    recorder.max_tracking("up").expect("tracking can be read")
}

fn count(recorder: &Recorder) -> usize {
    recorder
        .select_notifications(&SelectNotifications::first(usize::MAX))
        .expect("they can be read")
        .len()
}
