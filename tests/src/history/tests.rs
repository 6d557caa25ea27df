//! The checker lets sound histories pass and refuses each unsound one, those of well-known bugs among them.

use super::*;

/// Two appends to one aggregate, one after the other; both were acknowledged and are there.
fn sound() -> (History, Vec<Stored>) {
    let append = |number: u64, expected| Append {
        number,
        begun: number * 10,
        ended: Some(number * 10 + 5),
        aggregates: vec![7],
        expected: Some(expected),
        is_synced: true,
        outcome: Outcome::Acknowledged(number, number),
    };
    let stored = |number| Stored {
        position: number,
        name: (number, 0),
        aggregate: 7,
        version: number,
    };
    let read = |of, begun, upto| Read {
        begun,
        ended: begun + 2,
        of,
        from: 1,
        upto,
        names: fingerprint((1..=upto).map(|number| (number, 0))),
    };
    let shown = |number| Notification {
        follower: 1,
        at: 40 + number,
        position: number,
        name: (number, 0),
        durable: 2,
    };
    let refused = Append {
        number: 3,
        begun: 24,
        ended: Some(26),
        outcome: Outcome::Conflict(2),
        ..append(3, 1)
    };
    let history = History {
        appends: vec![append(1, 0), append(2, 1), refused],
        reads: vec![
            read(Reading::Aggregate(7), 16, 1),
            read(Reading::Durable, 16, 1),
            read(Reading::Aggregate(7), 30, 2),
            read(Reading::Durable, 30, 2),
            read(Reading::DurableAggregate(7), 30, 2),
        ],
        notifications: vec![shown(1), shown(2)],
    };
    (history, vec![stored(1), stored(2)])
}

/// One of these must be said once `spoil` has been done.
fn assert_refused(words: &str, spoil: impl Fn(&mut History, &mut Vec<Stored>)) {
    let (mut history, mut stored) = sound();
    spoil(&mut history, &mut stored);
    let found = violations(&history, &stored, Survives::Process);
    assert!(found.iter().any(|what| what.contains(words)), "{found:?}");
}

#[test]
fn a_sound_history_passes() {
    let (history, stored) = sound();
    for survives in [Survives::Process, Survives::Power] {
        assert_eq!(violations(&history, &stored, survives), [""; 0]);
    }
}

#[test]
fn an_unknown_outcome_may_be_there_or_not() {
    let (mut history, mut stored) = sound();
    history.appends[1].outcome = Outcome::Unknown;
    history.appends[1].ended = None;
    assert_eq!(violations(&history, &stored, Survives::Process), [""; 0]);
    stored.pop();
    history.appends.pop();
    history.reads.truncate(2);
    history.notifications.pop();
    assert_eq!(violations(&history, &stored, Survives::Process), [""; 0]);
}

#[test]
fn a_lost_acknowledged_event_is_seen() {
    assert_refused("acknowledged, and is at None", |_, stored| {
        stored.pop();
    });
}

#[test]
fn buffered_events_may_be_lost_with_the_power_only() {
    let (mut history, mut stored) = sound();
    history.appends.pop();
    history.appends[1].is_synced = false;
    history.reads.truncate(3);
    history.notifications.pop();
    stored.pop();
    assert_ne!(violations(&history, &stored, Survives::Process), [""; 0]);
    assert_eq!(violations(&history, &stored, Survives::Power), [""; 0]);
}

#[test]
fn a_skipped_version_check_is_seen() {
    assert_refused("in spite of a conflict", |history, _| {
        history.appends[1].expected = Some(0);
    });
    assert_refused("version out of order", |_, stored| stored[1].version = 1);
}

#[test]
fn a_conflict_that_was_none_is_seen() {
    assert_refused("a conflict with what was expected", |history, _| {
        history.appends[2].outcome = Outcome::Conflict(1);
    });
    assert_refused("was not the last one", |history, _| {
        history.appends[2].outcome = Outcome::Conflict(0);
        history.appends[2].begun = 29;
        history.appends[2].ended = Some(30);
    });
    assert_refused("was not there yet", |history, _| {
        history.appends[2].begun = 1;
        history.appends[2].ended = Some(2);
    });
}

#[test]
fn a_hole_a_copy_and_an_invention_are_seen() {
    assert_refused("expected position", |_, stored| stored[1].position = 3);
    assert_refused("there twice", |_, stored| stored[1].name = (1, 0));
    assert_refused("nobody appended", |_, stored| stored[1].name = (9, 0));
    assert_refused("is not what was appended", |_, stored| {
        stored[1].aggregate = 8
    });
}

#[test]
fn half_a_batch_is_seen() {
    assert_refused("a batch in parts", |history, _| {
        history.appends[1].aggregates.push(7);
    });
}

#[test]
fn an_order_against_time_is_seen() {
    assert_refused("begun after its end", |history, _| {
        history.appends[0].begun = 50;
        history.appends[0].ended = Some(60);
    });
}

#[test]
fn a_stale_a_torn_and_a_foretelling_read_are_seen() {
    assert_refused("had been shown or acknowledged", |history, _| {
        history.reads[2] = history.reads[0];
        history.reads[2].begun = 30;
        history.reads[2].ended = 31;
    });
    assert_refused("had been shown or acknowledged", |history, _| {
        // Shown by a read, not acknowledged yet, and then gone again.
        history.appends[1].ended = Some(90);
        history.reads[0].begun = 34;
        history.reads[0].ended = 35;
    });
    assert_refused("had been shown or acknowledged", |history, _| {
        history.reads[4].upto = 1;
        history.reads[4].names = history.reads[0].names;
    });
    assert_refused("other events", |history, _| history.reads[3].names ^= 1);
    assert_refused("had not begun", |history, _| {
        history.reads[3].begun = 8;
        history.reads[3].ended = 9;
    });
}

#[test]
fn a_follower_that_misses_repeats_or_runs_ahead_is_seen() {
    assert_refused("shown behind", |history, _| {
        history.notifications[0] = history.notifications[1];
    });
    assert_refused("before it was durable", |history, _| {
        history.notifications[1].durable = 1;
    });
    assert_refused("and there is", |history, stored| {
        history.appends.truncate(2);
        history.appends[1].outcome = Outcome::Unknown;
        history.reads.clear();
        stored.pop();
    });
}
