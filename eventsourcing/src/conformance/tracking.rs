//! Rules of [`TrackingRecorder`].

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{A_MOMENT, Case, PATIENCE, cases};
use crate::persistence::{Limit, PersistenceError, Tracking, TrackingRecorder};

type Recorder = dyn TrackingRecorder;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    an_upstream_without_tracking_has_no_position
    a_position_recorded_is_the_last
    a_position_must_be_above_the_one_recorded
    a_gap_is_not_filled_in_later
    upstreams_are_independent
    a_position_up_to_the_recorded_has_been_processed
    an_upstream_name_has_limits
    of_two_threads_that_record_a_position_one_succeeds
    waiting_for_what_was_reached_returns_at_once
    waiting_in_vain_times_out_and_says_what_was_reached
    waiting_ends_when_the_position_is_reached
    waiting_ends_when_the_recorder_is_closed
    a_closed_recorder_takes_no_tracking
};

fn an_upstream_without_tracking_has_no_position(recorder: &Recorder) {
    assert_eq!(max(recorder, "up"), None);
    assert!(
        !recorder
            .has_tracking("up", 0)
            .expect("tracking can be read")
    );
}

fn a_position_recorded_is_the_last(recorder: &Recorder) {
    record(recorder, "up", 21);
    assert_eq!(max(recorder, "up"), Some(21));
    record(recorder, "up", 22);
    record(recorder, "up", 24);
    assert_eq!(max(recorder, "up"), Some(24));
}

fn a_position_must_be_above_the_one_recorded(recorder: &Recorder) {
    record(recorder, "up", 21);
    for position in [21, 20, 0] {
        assert_conflict(recorder, "up", position, 21);
    }
    assert_eq!(max(recorder, "up"), Some(21));
}

fn a_gap_is_not_filled_in_later(recorder: &Recorder) {
    record(recorder, "up", 22);
    record(recorder, "up", 24);
    assert_conflict(recorder, "up", 23, 24);
}

fn upstreams_are_independent(recorder: &Recorder) {
    record(recorder, "up", 21);
    record(recorder, "up2", 3);
    assert_eq!(
        (
            max(recorder, "up"),
            max(recorder, "up2"),
            max(recorder, "u")
        ),
        (Some(21), Some(3), None)
    );
}

fn a_position_up_to_the_recorded_has_been_processed(recorder: &Recorder) {
    record(recorder, "up", 21);
    let has = |position| {
        recorder
            .has_tracking("up", position)
            .expect("tracking can be read")
    };
    assert_eq!([0, 20, 21, 22].map(has), [true, true, true, false]);
}

fn an_upstream_name_has_limits(recorder: &Recorder) {
    for len in [0, 256] {
        let refused = recorder.insert_tracking(Tracking::new("x".repeat(len), 1));
        assert!(
            matches!(
                refused,
                Err(PersistenceError::Limit {
                    limit: Limit::TrackingName,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    let longest = "x".repeat(255);
    record(recorder, &longest, 1);
    assert_eq!(max(recorder, &longest), Some(1));
}

fn of_two_threads_that_record_a_position_one_succeeds(recorder: &Recorder) {
    const POSITIONS: u64 = 50;
    let race = || {
        let record = |position: &u64| {
            recorder
                .insert_tracking(Tracking::new("up", *position))
                .is_ok()
        };
        (1..=POSITIONS).filter(record).count() as u64
    };
    let won = thread::scope(|scope| {
        let other = scope.spawn(race);
        race() + other.join().expect("the other thread answers")
    });
    assert!(
        (1..=POSITIONS).contains(&won),
        "{won} of {POSITIONS} positions were recorded"
    );
    assert_eq!(max(recorder, "up"), Some(POSITIONS));
}

fn waiting_for_what_was_reached_returns_at_once(recorder: &Recorder) {
    record(recorder, "up", 21);
    for position in [0, 20, 21] {
        recorder
            .wait("up", position, Duration::ZERO)
            .expect("it was reached");
    }
}

fn waiting_in_vain_times_out_and_says_what_was_reached(recorder: &Recorder) {
    record(recorder, "up", 21);
    for (name, expected) in [("up", Some(21)), ("other", None)] {
        let over = recorder.wait(name, 22, A_MOMENT);
        let Err(PersistenceError::WaitTimeout {
            position, reached, ..
        }) = over
        else {
            panic!("{over:?}")
        };
        assert_eq!((position, reached), (22, expected));
    }
}

fn waiting_ends_when_the_position_is_reached(recorder: &Recorder) {
    thread::scope(|scope| {
        let (send, ended) = mpsc::channel();
        // Twice the patience, or a wait that nobody wakes would pass for one that was woken.
        scope.spawn(move || send.send(recorder.wait("up", 3, PATIENCE * 2)));
        for position in [1, 2, 3] {
            thread::sleep(A_MOMENT);
            record(recorder, "up", position);
        }
        ended
            .recv_timeout(PATIENCE)
            .expect("the wait ends")
            .expect("the position was reached");
    });
}

fn waiting_ends_when_the_recorder_is_closed(recorder: &Recorder) {
    thread::scope(|scope| {
        let (send, ended) = mpsc::channel();
        scope.spawn(move || send.send(recorder.wait("up", 3, PATIENCE * 2)));
        thread::sleep(A_MOMENT);
        recorder.close().expect("closing succeeds");
        let outcome = ended.recv_timeout(PATIENCE).expect("the wait ends");
        assert!(
            matches!(outcome, Err(PersistenceError::Closed)),
            "{outcome:?}"
        );
    });
}

fn a_closed_recorder_takes_no_tracking(recorder: &Recorder) {
    recorder.close().expect("closing succeeds");
    let refused = recorder.insert_tracking(Tracking::new("up", 1));
    assert!(
        matches!(refused, Err(PersistenceError::Closed)),
        "{refused:?}"
    );
}

fn record(recorder: &Recorder, name: &str, position: u64) {
    recorder
        .insert_tracking(Tracking::new(name, position))
        .expect("the position is above the one recorded");
}

fn max(recorder: &Recorder, name: &str) -> Option<u64> {
    recorder.max_tracking(name).expect("tracking can be read")
}

#[track_caller]
fn assert_conflict(recorder: &Recorder, name: &str, given: u64, expected: u64) {
    let refused = recorder
        .insert_tracking(Tracking::new(name, given))
        .expect_err("it is a conflict");
    assert!(refused.is_processed() && !refused.is_conflict());
    let PersistenceError::TrackingConflict {
        position, recorded, ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((position, recorded), (given, expected));
}
