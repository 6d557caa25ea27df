//! Goal: a follower sees every matching event once and in order, learns how far it has come, and stops
//! when it is told to, however many there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_engine::{
    Batch, Direction, Durability, Log, NewEvent, Query, QueryItem, RecordedEvent, StopHandle,
    Subscription, Update, Visibility,
};
use annals_segments::MemoryDisk;
use annals_tests::{event, small_log};

const DIR: &str = "/log";

fn tagged(tag: &str) -> Query {
    QueryItem::new().tag(tag).into()
}

/// Appends `count` events, the n-th of them tagged `rare` for each n in `rare`.
fn fill(log: &Log, count: usize, rare: &[usize]) {
    let events = (0..count).map(|number| match rare.contains(&number) {
        true => event("a", "Was", vec![1; 100]).tag("rare"),
        false => event("b", "Was", vec![1; 100]),
    });
    let events: Vec<NewEvent> = events.collect();
    for events in events.chunks(50) {
        let batch = events.iter().cloned().fold(Batch::new(), Batch::event);
        log.append(batch).unwrap();
    }
}

/// What there is to be told at the moment.
fn now(subscription: &mut Subscription) -> Vec<Update> {
    std::iter::from_fn(|| subscription.next_update(Some(Duration::ZERO)))
        .map(Result::unwrap)
        .collect()
}

fn positions(events: impl IntoIterator<Item = RecordedEvent>) -> Vec<u64> {
    events.into_iter().map(|event| event.position).collect()
}

#[test]
fn a_filtered_follower_is_told_how_far_it_has_looked() {
    let log = small_log(MemoryDisk::default(), 1).open(DIR).unwrap();
    fill(&log, 5_000, &[3, 4_000]);
    assert!(log.stats().unwrap().sealed_segments > 8);
    let mut following = log.subscribe(0, tagged("rare")).progress_every(700);
    let told = now(&mut following);
    let events: Vec<u64> = told
        .iter()
        .filter(|update| matches!(update, Update::Event(_)))
        .map(Update::position)
        .collect();
    assert_eq!(events, [4, 4_001]);
    assert_eq!(told.last(), Some(&Update::CaughtUp { position: 5_000 }));
    let is_caught_up = |update: &&Update| matches!(update, Update::CaughtUp { .. });
    assert_eq!(told.iter().filter(is_caught_up).count(), 1);
    let mut before = 0;
    for update in &told {
        let position = update.position();
        assert!(position > before, "{told:?}");
        if let Update::Progress { .. } = update {
            assert!(position >= before + 700, "{told:?}");
        }
        before = position;
        // Who starts again there misses nothing.
        let rest = events.iter().copied().filter(|event| *event > position);
        let mut again = log.subscribe(position, tagged("rare"));
        let found = std::iter::from_fn(|| again.next_timeout(Duration::ZERO));
        assert_eq!(
            positions(found.map(Result::unwrap)),
            rest.collect::<Vec<_>>()
        );
    }
    assert!(told.len() >= 5, "{told:?}");

    // And live.
    fill(&log, 699, &[]);
    assert_eq!(now(&mut following), []);
    assert_eq!(following.position(), 5_699);
    fill(&log, 1, &[]);
    assert_eq!(now(&mut following), [Update::Progress { position: 5_700 }]);
    fill(&log, 701, &[700]);
    assert!(matches!(&now(&mut following)[..], [Update::Event(event)] if event.position == 6_401));
}

#[test]
fn whoever_is_up_to_date_is_told_at_once_and_once() {
    let log = Log::in_memory().unwrap();
    let mut updates = log.subscribe(0, Query::all()).updates();
    assert_eq!(
        updates.next().unwrap().unwrap(),
        Update::CaughtUp { position: 0 }
    );
    log.append(event("a", "Was", "")).unwrap();
    assert!(matches!(updates.next().unwrap().unwrap(), Update::Event(_)));
    assert_eq!(now(&mut updates.into_subscription()), []);
}

/// Each of these events wakes the follower, which has to remember when it began to wait.
#[test]
fn a_timeout_ends_while_events_keep_coming_that_do_not_match() {
    let log = Log::in_memory().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                log.append(event("a", "Was", "")).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut following = log.subscribe(0, tagged("rare"));
        let none = following.next_timeout(Duration::from_millis(50));
        is_over.store(true, Ordering::SeqCst);
        assert!(none.is_none());
        assert!(!following.is_stopped());
    });
}

#[test]
fn buffered_events_are_seen_at_once_by_those_who_asked_for_them_only() {
    let log = small_log(MemoryDisk::default(), 1).open(DIR).unwrap();
    let buffered = || Batch::from(event("a", "Was", "")).durability(Durability::Buffered);
    let mut bold = log
        .subscribe(0, Query::all())
        .visibility(Visibility::Buffered);
    let mut safe = log.subscribe(0, Query::all());
    let next = |following: &mut Subscription| {
        let event = following.next_timeout(Duration::ZERO)?;
        Some(event.unwrap().position)
    };
    log.append(buffered()).unwrap();
    assert_eq!((next(&mut bold), next(&mut safe)), (Some(1), None));
    assert_eq!((bold.position(), safe.position()), (1, 0));
    log.sync().unwrap();
    assert_eq!((next(&mut bold), next(&mut safe)), (None, Some(1)));
    // One that sleeps is woken, too.
    let waiting = std::thread::spawn(move || bold.next().unwrap().unwrap().position);
    std::thread::sleep(Duration::from_millis(20));
    log.append(buffered()).unwrap();
    assert_eq!(waiting.join().unwrap(), 2);
    assert_eq!(log.durable_head(), 1);
}

#[test]
fn who_waits_for_buffered_events_is_shown_them_without_the_timer() {
    const NEVER: Duration = Duration::from_secs(3_600);
    const PATIENCE: Duration = Duration::from_secs(60);
    let options = Log::options()
        .disk(MemoryDisk::default())
        .buffered_sync_after(NEVER);
    let log = options.open(DIR).unwrap();
    let buffered = || Batch::from(event("a", "Was", "")).durability(Durability::Buffered);
    let mut following = log.subscribe(0, Query::all());
    // It waits after the append, then before it.
    log.append(buffered()).unwrap();
    for position in 1..=20 {
        let shown = following.next_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(shown.position, position);
        assert!(log.durable_head() >= position);
        let appending = log.clone();
        let appended = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(position % 3));
            appending.append(buffered()).unwrap();
        });
        if position % 2 == 0 {
            appended.join().unwrap();
        }
    }
    // The next one nobody waits for, and the timer is not due.
    following.next_timeout(PATIENCE).unwrap().unwrap();
    log.append(buffered()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((log.head(), log.durable_head()), (22, 21));
}

/// A log of many segments whose events have tags of every frequency.
fn long_log(disk: &MemoryDisk) -> Log {
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    for first in (0..8_000_u64).step_by(20) {
        let batch = (first..first + 20).fold(Batch::new(), |batch, number| {
            let mut event = event("a", "Was", vec![1; 420]).tag("always");
            if number % 800 == 7 {
                event = event.tag("rare").tag(format!("rare-{}", number / 800 % 3));
            }
            if number == 5_111 {
                event = event.tag("once");
            }
            if number % 700 == 0 {
                event = NewEvent::new("Seldom", "").tag("always");
            }
            batch.event(event)
        });
        log.append(batch.durability(Durability::Buffered)).unwrap();
    }
    log.sync().unwrap();
    assert!(log.stats().unwrap().sealed_segments > 50);
    log
}

#[test]
fn queries_over_many_segments_find_what_a_look_at_every_event_finds() {
    let disk = MemoryDisk::default();
    long_log(&disk).close().unwrap();
    let log = small_log(disk, 2).open(DIR).unwrap();
    let item = QueryItem::new;
    let queries: [Query; 10] = [
        Query::all(),
        item().into(),
        tagged("rare"),
        tagged("once"),
        tagged("never"),
        tagged("always"),
        item().topic("Seldom").into(),
        item().tag("always").tag("rare-2").into(),
        item().topic("Was").tag("rare").into(),
        Query::all()
            .or(item().tag("once"))
            .or(item().topic("Seldom").topic("Never"))
            .or(item().tag("rare-0").tag("rare")),
    ];
    let view = log.view();
    for (place, query) in queries.iter().enumerate() {
        for after in [0, 1_700, 4_321, 7_990] {
            let all = view.read(after + 1.., &Query::all(), Direction::Forward);
            let mut expected: Vec<u64> = all
                .map(Result::unwrap)
                .filter(|event| query.matches(event))
                .map(|event| event.position())
                .collect();
            let read = |direction| {
                let events = view.read(after + 1.., query, direction);
                events
                    .map(|event| event.unwrap().position())
                    .collect::<Vec<_>>()
            };
            assert_eq!(read(Direction::Forward), expected, "{place} {after}");
            let told = now(&mut log.subscribe(after, query.clone()));
            let followed = told
                .iter()
                .filter(|update| matches!(update, Update::Event(_)));
            assert_eq!(
                followed.map(Update::position).collect::<Vec<_>>(),
                expected,
                "{place} {after}"
            );
            assert_eq!(told.last().unwrap().position(), log.head());
            expected.reverse();
            assert_eq!(read(Direction::Backward), expected, "{place} {after}");
        }
    }
}

#[test]
fn following_a_rare_tag_looks_at_the_segments_that_hold_it_only() {
    let disk = MemoryDisk::default();
    long_log(&disk).close().unwrap();
    let follow = |query: Query| {
        let log = small_log(disk.fork(), 2).open_read_only(DIR).unwrap();
        let count = now(&mut log.subscribe(0, query.clone()))
            .iter()
            .filter(|update| matches!(update, Update::Event(_)))
            .count();
        let read = log.read(.., &query, Direction::Forward).count();
        assert_eq!(read, count);
        let stats = log.stats().unwrap();
        (
            count,
            stats.memory.sealed_index_bytes * 100 / stats.index_bytes,
        )
    };
    // Those that are not folded into the heads yet are asked one by one.
    let (count, looked_at) = follow(tagged("once"));
    assert!(count == 1 && looked_at < 20, "{looked_at} % of the indexes");
    let (count, looked_at) = follow(tagged("rare"));
    assert!(
        count == 10 && looked_at < 35,
        "{looked_at} % of the indexes"
    );
    let (count, looked_at) = follow(tagged("always"));
    assert!(
        count == 8_000 && looked_at > 80,
        "{looked_at} % of the indexes"
    );
}

#[test]
fn hundreds_of_followers_each_see_their_own_while_many_append() {
    const FOLLOWERS: usize = 300;
    const TAGS: usize = 20;
    const EVENTS: usize = 1_200;
    let log = small_log(MemoryDisk::default(), 1)
        .background(true)
        .open(DIR)
        .unwrap();
    let append = |number: usize| {
        let tag = format!("tag-{}", number % TAGS);
        log.append(event("a", "Was", vec![1; 60]).tag(tag)).unwrap();
    };
    (0..EVENTS / 3).for_each(append);
    let query = |number: usize| match number % (TAGS + 1) {
        TAGS => Query::all(),
        tag => tagged(&format!("tag-{tag}")),
    };
    let (done, all_done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let mut stops = Vec::new();
        for number in 0..FOLLOWERS {
            let mut following = log.subscribe(0, query(number));
            stops.push(following.stop_handle());
            let done = done.clone();
            scope.spawn(move || {
                let expected = match number % (TAGS + 1) {
                    TAGS => EVENTS,
                    _ => EVENTS / TAGS,
                };
                let seen = following.by_ref().take(expected).map(Result::unwrap);
                done.send((number, positions(seen))).unwrap();
                // Nothing more comes: it waits until it is stopped.
                assert!(following.next().is_none());
                assert!(following.is_stopped());
            });
        }
        for thread in 0..4 {
            let append = &append;
            scope.spawn(move || {
                let mine = (EVENTS / 3..EVENTS).filter(|number| number % 4 == thread);
                mine.for_each(append);
            });
        }
        for (number, seen) in all_done.iter().take(FOLLOWERS) {
            let expected = log.read(.., &query(number), Direction::Forward);
            assert_eq!(seen, positions(expected.map(Result::unwrap)), "{number}");
        }
        stops.iter().for_each(StopHandle::stop);
    });
}
