//! Rules of [`ApplicationRecorder`].

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::{A_MOMENT, Case, PATIENCE, cases, event, id, positions, with_topic};
use crate::persistence::{
    ApplicationRecorder, Durability, Notification, Recorded, SelectEvents, SelectNotifications,
    StoredEvent, Subscription, Update,
};

type Recorder = dyn ApplicationRecorder;

pub(super) const CASES: &[Case<Recorder>] = cases! {
    an_empty_recorder_has_no_position_and_no_notifications
    positions_count_from_one_and_are_aligned_to_the_input
    a_failed_insert_leaves_no_gap_in_the_positions
    a_notification_is_the_event_with_its_position_and_time
    an_event_of_no_aggregate_has_a_position_and_no_version
    start_is_included_unless_it_is_not
    stop_is_included
    limit_counts_what_was_chosen_by_topic
    topics_are_matched_whole
    events_of_one_insert_are_not_interleaved_with_others
    who_has_seen_a_position_finds_nothing_new_below_it
    a_subscription_shows_what_is_there_and_what_comes
    a_subscription_begins_behind_its_position
    a_subscription_shows_its_topics_only_and_moves_over_others
    a_subscription_tells_how_far_it_has_looked
    subscriptions_miss_nothing_while_two_threads_insert
    a_subscription_that_waits_in_vain_goes_on_later
    a_subscription_is_stopped_from_another_thread
    a_subscription_stopped_before_it_began_shows_nothing
    stopping_one_subscription_leaves_others_running
    closing_the_recorder_ends_subscriptions
    a_subscription_shows_buffered_events_in_the_end
};

fn an_empty_recorder_has_no_position_and_no_notifications(recorder: &Recorder) {
    assert_eq!(max_position(recorder), None);
    assert!(select(recorder, SelectNotifications::first(10)).is_empty());
}

fn positions_count_from_one_and_are_aligned_to_the_input(recorder: &Recorder) {
    assert_eq!(insert(recorder, vec![event("b", 1), event("a", 1)]), [1, 2]);
    assert_eq!(max_position(recorder), Some(2));
    assert_eq!(insert(recorder, vec![event("a", 2)]), [3]);
    assert_eq!(insert(recorder, vec![]), [] as [u64; 0]);
    assert_eq!(max_position(recorder), Some(3));
    let found = recorder
        .select_events(&id("a"), SelectEvents::all())
        .expect("events can be read");
    assert_eq!(positions(&found), [2, 3]);
}

fn a_failed_insert_leaves_no_gap_in_the_positions(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    let conflict = recorder.insert_events(vec![event("b", 1), event("a", 1)], Durability::Sync);
    assert!(conflict.is_err());
    assert_eq!(max_position(recorder), Some(1));
    assert_eq!(insert(recorder, vec![event("a", 2)]), [2]);
    assert_eq!(
        positions(&select(recorder, SelectNotifications::first(10))),
        [1, 2]
    );
}

fn a_notification_is_the_event_with_its_position_and_time(recorder: &Recorder) {
    let events = vec![event("b", 1), event("a", 1), event("b", 2)];
    let recorded = recorder
        .insert_events(events.clone(), Durability::Sync)
        .expect("the insert is legal");
    let found = select(recorder, SelectNotifications::first(10));
    assert_eq!(found.len(), events.len());
    for ((found, event), recorded) in found.iter().zip(events).zip(recorded) {
        assert_eq!(found.event, event);
        let Recorded { position, time_us } = recorded;
        assert_eq!(found.position, position);
        assert!(time_us.is_none_or(|time_us| time_us == found.time_us));
    }
    assert!(
        found.is_sorted_by_key(|notification| notification.time_us),
        "time runs backwards"
    );
    let of_b = recorder
        .select_events(&id("b"), SelectEvents::all())
        .expect("events can be read");
    assert_eq!(of_b, [found[0].clone(), found[2].clone()]);
}

fn an_event_of_no_aggregate_has_a_position_and_no_version(recorder: &Recorder) {
    let alone = || StoredEvent::new(Uuid::from_u128(5), "Alone", "x");
    assert_eq!(
        insert(recorder, vec![event("a", 1), alone(), event("a", 2)]),
        [1, 2, 3]
    );
    let found = select(recorder, SelectNotifications::first(10));
    assert_eq!(found[1].event, alone());
}

fn start_is_included_unless_it_is_not(recorder: &Recorder) {
    insert_alternating(recorder, 5);
    let select = |selection| positions(&select(recorder, selection));
    let first = SelectNotifications::first;
    assert_eq!(select(first(10)), [1, 2, 3, 4, 5]);
    assert_eq!(
        select(SelectNotifications {
            inclusive_of_start: false,
            ..first(10)
        }),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(select(first(10).start(0)), [1, 2, 3, 4, 5]);
    assert_eq!(select(first(10).start(1)), [1, 2, 3, 4, 5]);
    assert_eq!(select(first(10).after(0)), [1, 2, 3, 4, 5]);
    assert_eq!(select(first(10).start(4)), [4, 5]);
    assert_eq!(select(first(10).after(4)), [5]);
    assert_eq!(select(first(10).after(5)), [] as [u64; 0]);
    assert_eq!(select(first(10).start(u64::MAX)), [] as [u64; 0]);
    assert_eq!(select(first(10).after(u64::MAX)), [] as [u64; 0]);
}

fn stop_is_included(recorder: &Recorder) {
    insert_alternating(recorder, 5);
    let select = |selection| positions(&select(recorder, selection));
    let first = SelectNotifications::first;
    assert_eq!(select(first(10).stop(3)), [1, 2, 3]);
    assert_eq!(select(first(10).start(2).stop(3)), [2, 3]);
    assert_eq!(select(first(10).start(3).stop(3)), [3]);
    assert_eq!(select(first(10).start(3).stop(2)), [] as [u64; 0]);
    assert_eq!(select(first(10).stop(0)), [] as [u64; 0]);
    assert_eq!(select(first(10).stop(99)), [1, 2, 3, 4, 5]);
}

fn limit_counts_what_was_chosen_by_topic(recorder: &Recorder) {
    insert_alternating(recorder, 6);
    let select = |selection| positions(&select(recorder, selection));
    let first = SelectNotifications::first;
    assert_eq!(select(first(2)), [1, 2]);
    assert_eq!(select(first(2).topics(["Even"])), [2, 4]);
    assert_eq!(select(first(2).start(3).topics(["Even"])), [4, 6]);
    assert_eq!(select(first(2).stop(3).topics(["Even"])), [2]);
    assert_eq!(select(first(0)), [] as [u64; 0]);
}

fn topics_are_matched_whole(recorder: &Recorder) {
    insert_alternating(recorder, 4);
    let select = |topics: &[&str]| {
        let selection = SelectNotifications::first(10).topics(topics.iter().copied());
        positions(&select(recorder, selection))
    };
    assert_eq!(select(&["Odd"]), [1, 3]);
    assert_eq!(select(&["Odd", "Even"]), [1, 2, 3, 4]);
    assert_eq!(select(&["Even", "Even"]), [2, 4]);
    assert_eq!(select(&["Ev", "even", "Even "]), [] as [u64; 0]);
}

fn events_of_one_insert_are_not_interleaved_with_others(recorder: &Recorder) {
    const EVENTS: u64 = 1000;
    const INSERTS: u64 = 10;
    let insert_all = |aggregate: &str| -> Vec<Vec<u64>> {
        let chunk = EVENTS / INSERTS;
        let events = |n| {
            (n * chunk + 1..=(n + 1) * chunk)
                .map(|version| event(aggregate, version))
                .collect()
        };
        (0..INSERTS).map(|n| insert(recorder, events(n))).collect()
    };
    let inserts = thread::scope(|scope| {
        let other = scope.spawn(|| insert_all("b"));
        let mut inserts = insert_all("a");
        inserts.extend(other.join().expect("the other thread answers"));
        inserts
    });
    let mut ranges: Vec<_> = inserts
        .iter()
        .filter_map(|insert| Some((*insert.first()?, *insert.last()?)))
        .collect();
    ranges.sort_unstable();
    assert!(
        inserts
            .iter()
            .all(|insert| insert.is_sorted_by(|a, b| a < b)),
        "positions of an insert ascend"
    );
    assert!(
        ranges.is_sorted_by(|before, behind| before.1 < behind.0),
        "inserts overlap: {ranges:?}"
    );
    assert_eq!(
        select(recorder, SelectNotifications::first(usize::MAX)).len() as u64,
        2 * EVENTS
    );
}

fn who_has_seen_a_position_finds_nothing_new_below_it(recorder: &Recorder) {
    const EVENTS: u64 = 100;
    let write = |aggregate: &str| {
        for version in 1..=EVENTS {
            insert(recorder, vec![event(aggregate, version)]);
        }
    };
    let seen = thread::scope(|scope| {
        let writers = [scope.spawn(|| write("a")), scope.spawn(|| write("b"))];
        let mut seen: Vec<u64> = Vec::new();
        loop {
            let done = writers.iter().all(|writer| writer.is_finished());
            let after = seen.last().copied().unwrap_or(0);
            let found = select(recorder, SelectNotifications::first(7).after(after));
            if found.is_empty() && done {
                return seen;
            }
            seen.extend(positions(&found));
        }
    });
    assert_eq!(
        seen,
        positions(&select(recorder, SelectNotifications::first(usize::MAX)))
    );
    assert_eq!(seen.len() as u64, 2 * EVENTS);
}

fn a_subscription_shows_what_is_there_and_what_comes(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1), event("a", 2)]);
    let mut subscription = subscribe(recorder, 0, &[]);
    assert_eq!(next_positions(&mut subscription, 2), [1, 2]);
    let live = event("a", 3);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_MOMENT);
            insert(recorder, vec![live.clone()]);
        });
        let shown = next(&mut subscription);
        assert_eq!((shown.position, &shown.event), (3, &live));
    });
    assert_eq!(subscription.position(), 3);
}

fn a_subscription_begins_behind_its_position(recorder: &Recorder) {
    insert_alternating(recorder, 3);
    let mut behind_two = subscribe(recorder, 2, &[]);
    assert_eq!(next_positions(&mut behind_two, 1), [3]);
    let mut ahead = subscribe(recorder, 4, &[]);
    insert(recorder, vec![event("b", 1)]);
    insert(recorder, vec![event("b", 2)]);
    assert_eq!(next_positions(&mut ahead, 1), [5]);
}

fn a_subscription_shows_its_topics_only_and_moves_over_others(recorder: &Recorder) {
    insert_alternating(recorder, 5);
    let mut subscription = subscribe(recorder, 0, &["Even"]);
    assert_eq!(next_positions(&mut subscription, 2), [2, 4]);
    assert!(subscription.next_timeout(A_MOMENT).is_none());
    assert_eq!(subscription.position(), 5);
    insert(
        recorder,
        vec![with_topic(event("b", 1), "Even"), event("b", 2)],
    );
    assert_eq!(next_positions(&mut subscription, 1), [6]);
}

fn a_subscription_tells_how_far_it_has_looked(recorder: &Recorder) {
    insert_alternating(recorder, 4);
    let mut subscription = subscribe(recorder, 0, &["Even"]);
    let mut told = Vec::new();
    let mut look = |subscription: &mut Subscription| {
        while let Some(update) = subscription.next_update(Some(A_MOMENT)) {
            told.push(match update.expect("nothing is damaged") {
                Update::Notification(notification) => (notification.position, true),
                Update::LookedAt(position) => (position, false),
            });
        }
    };
    look(&mut subscription);
    insert(recorder, vec![with_topic(event("c", 1), "Odd")]);
    insert(recorder, vec![with_topic(event("c", 2), "Odd")]);
    look(&mut subscription);
    assert_eq!(told[..2], [(2, true), (4, true)], "{told:?}");
    assert_eq!(told.last(), Some(&(6, false)), "{told:?}");
    let ascends = told.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(ascends, "{told:?}");
    subscription.stop_handle().stop();
    assert!(subscription.next_update(None).is_none());
}

fn subscriptions_miss_nothing_while_two_threads_insert(recorder: &Recorder) {
    const EVENTS: usize = 200;
    let write = |aggregate: &str| {
        for version in 1..=EVENTS as u64 {
            insert(recorder, vec![event(aggregate, version)]);
        }
    };
    insert(recorder, vec![event("c", 1)]);
    let expected = 1 + 2 * EVENTS;
    let shown = thread::scope(|scope| {
        scope.spawn(|| write("a"));
        scope.spawn(|| write("b"));
        let follow = || next_positions(&mut subscribe(recorder, 0, &[]), expected);
        let other = scope.spawn(follow);
        [follow(), other.join().expect("the other thread answers")]
    });
    let all = positions(&select(recorder, SelectNotifications::first(usize::MAX)));
    assert_eq!(all.len(), expected);
    assert_eq!(shown, [all.clone(), all]);
}

fn a_subscription_that_waits_in_vain_goes_on_later(recorder: &Recorder) {
    let mut subscription = subscribe(recorder, 0, &[]);
    assert!(subscription.next_timeout(Duration::ZERO).is_none());
    assert!(subscription.next_timeout(A_MOMENT).is_none());
    assert!(!subscription.is_stopped());
    insert(recorder, vec![event("a", 1)]);
    assert_eq!(next_positions(&mut subscription, 1), [1]);
}

fn a_subscription_is_stopped_from_another_thread(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    let mut subscription = subscribe(recorder, 0, &[]);
    assert_eq!(next_positions(&mut subscription, 1), [1]);
    let stop = subscription.stop_handle();
    let ended = count_until_end(subscription);
    thread::sleep(A_MOMENT);
    stop.stop();
    stop.stop();
    assert_eq!(
        ended.recv_timeout(PATIENCE).expect("the subscription ends"),
        0
    );
}

fn a_subscription_stopped_before_it_began_shows_nothing(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    let mut subscription = subscribe(recorder, 0, &[]);
    subscription.stop_handle().stop();
    assert!(subscription.is_stopped());
    assert!(subscription.next_timeout(Duration::ZERO).is_none());
    assert!(subscription.next().is_none());
}

fn stopping_one_subscription_leaves_others_running(recorder: &Recorder) {
    let (stopped, mut other) = (subscribe(recorder, 0, &[]), subscribe(recorder, 0, &[]));
    stopped.stop_handle().stop();
    insert(recorder, vec![event("a", 1)]);
    assert_eq!(next_positions(&mut other, 1), [1]);
}

fn closing_the_recorder_ends_subscriptions(recorder: &Recorder) {
    insert(recorder, vec![event("a", 1)]);
    let ended = count_until_end(subscribe(recorder, 0, &[]));
    thread::sleep(A_MOMENT);
    recorder.close().expect("closing succeeds");
    ended.recv_timeout(PATIENCE).expect("the subscription ends");
}

fn a_subscription_shows_buffered_events_in_the_end(recorder: &Recorder) {
    let mut subscription = subscribe(recorder, 0, &[]);
    recorder
        .insert_events(vec![event("a", 1)], Durability::Buffered)
        .expect("the insert is legal");
    recorder
        .insert_events(vec![event("a", 2)], Durability::Sync)
        .expect("the insert is legal");
    assert_eq!(next_positions(&mut subscription, 2), [1, 2]);
}

fn insert(recorder: &Recorder, events: Vec<StoredEvent>) -> Vec<u64> {
    let recorded = recorder
        .insert_events(events, Durability::Sync)
        .expect("the insert is legal");
    recorded
        .into_iter()
        .map(|recorded| recorded.position)
        .collect()
}

/// Events 1, 2, 3, … of one aggregate, in topics "Odd" and "Even".
fn insert_alternating(recorder: &Recorder, count: u64) {
    let topic = |version| if version % 2 == 0 { "Even" } else { "Odd" };
    let events = (1..=count)
        .map(|version| with_topic(event("a", version), topic(version)))
        .collect();
    insert(recorder, events);
}

fn select(recorder: &Recorder, select: SelectNotifications) -> Vec<Notification> {
    recorder
        .select_notifications(&select)
        .expect("notifications can be read")
}

fn max_position(recorder: &Recorder) -> Option<u64> {
    recorder
        .max_position()
        .expect("the last position can be read")
}

fn subscribe(recorder: &Recorder, after: u64, topics: &[&str]) -> Subscription {
    recorder
        .subscribe(after, topics)
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
