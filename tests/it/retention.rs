//! Dropping the oldest segments: what is dropped is told and never guessed, versions never start again,
//! and followers hold it up. What a crash leaves of it: `retention_crashes.rs`.

use std::io::Error as IoError;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{
    Batch, Direction, Durability, Error, Expected, Limit, Log, NewEvent, Query, QueryItem,
    Truncated, Version,
};
use annals_segments::MemoryDisk;
use annals_tests::log_files::{
    DIR, FIRST_SEGMENT, SECOND_SEGMENT, content, exists, flip, names, remove, write,
};
use annals_tests::sim_disk::{SimDisk, Spared, Step};
use annals_tests::{event, id, small_log};
use uuid::Uuid;

pub(super) fn open(disk: &MemoryDisk, seed: u64) -> Log {
    small_log(disk.clone(), seed).open(DIR).unwrap()
}

/// Appends `count` events of 3,000 bytes: some 20 fill a segment. Event N is of aggregate `a{N % 7}`.
pub(super) fn fill(log: &Log, count: u64) {
    for _ in 0..count {
        let number = log.head() + 1;
        let aggregate = format!("a{}", number % 7);
        let tag = format!("tag:{}", number % 3);
        let _ = log
            .append(event(&aggregate, "Was", vec![number as u8; 3000]).tag(tag))
            .unwrap();
    }
}

pub(super) fn filled(disk: &MemoryDisk) -> Log {
    let log = open(disk, 1);
    // Each of them has events in the first segment only.
    for number in 0..3 {
        let _ = log
            .append(event(&format!("old-{number}"), "Was", "x"))
            .unwrap();
    }
    let _ = log.append(event("old-1", "Was", "again")).unwrap();
    fill(&log, 200);
    log
}

pub(super) fn positions(log: &Log) -> Vec<u64> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(|event| event.unwrap().position)
        .collect()
}

/// The positions of what is read, and `None` for what has expired.
fn told(
    events: impl Iterator<Item = Result<annals_engine::RecordedEvent, Error>>,
) -> Vec<Option<u64>> {
    events
        .map(|event| match event {
            Ok(event) => Some(event.position),
            Err(Error::Expired { .. }) => None,
            Err(error) => panic!("{error}"),
        })
        .collect()
}

#[track_caller]
pub(super) fn assert_versions(log: &Log) {
    assert_eq!(log.version(&id("old-0")).unwrap(), Some(1));
    assert_eq!(log.version(&id("old-1")).unwrap(), Some(2));
    assert_eq!(log.version(&id("never")).unwrap(), None);
}

#[track_caller]
pub(super) fn assert_sound(log: &Log) {
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn only_whole_sealed_segments_below_the_position_are_dropped() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let head = log.head();
    let before = log.stats().unwrap();
    assert_eq!(
        log.truncate_before(1).unwrap(),
        Truncated {
            segments: 0,
            bytes: 0,
            first_position: 1
        }
    );
    let dropped = log.truncate_before(100).unwrap();
    assert!(dropped.segments > 2, "{dropped:?}");
    assert!((50..=100).contains(&dropped.first_position), "{dropped:?}");
    assert_eq!(log.first_position(), dropped.first_position);
    assert_eq!(log.view().first_position(), dropped.first_position);
    assert!(
        positions(&log)
            .into_iter()
            .eq(dropped.first_position..=head)
    );
    let stats = log.stats().unwrap();
    assert_eq!(
        stats.sealed_segments,
        before.sealed_segments - dropped.segments
    );
    assert_eq!(stats.log_bytes, before.log_bytes - dropped.bytes);
    assert_eq!(log.count_aggregates().unwrap(), 7);
    for name in [FIRST_SEGMENT, "0000000001.idx", SECOND_SEGMENT] {
        assert!(!exists(&disk, name), "{name}");
    }
    assert_eq!(log.truncate_before(100).unwrap().segments, 0);
    assert_versions(&log);
    assert_sound(&log);

    // The segment being written stays, whatever is asked for.
    let all = log.truncate_before(u64::MAX).unwrap();
    assert_eq!(all.segments, stats.sealed_segments);
    assert!(all.first_position <= head + 1);
    let tables = |name: &&String| name.starts_with("versions-");
    assert_eq!(names(&disk).iter().filter(tables).count(), 1);
    assert_versions(&log);
    assert_sound(&log);
    fill(&log, 60);
    assert!(
        positions(&log)
            .into_iter()
            .eq(all.first_position..=head + 60)
    );
    let killed = open(&disk.fork(), 2);
    log.close().unwrap();
    for log in [killed, open(&disk, 3)] {
        assert!(
            positions(&log)
                .into_iter()
                .eq(all.first_position..=head + 60)
        );
        assert_versions(&log);
        assert_sound(&log);
        fill(&log, 60);
        assert_eq!(
            log.truncate_before(u64::MAX).unwrap().first_position,
            log.first_position()
        );
        assert_versions(&log);
    }
}

#[test]
fn what_was_dropped_is_told_in_its_place() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let first = log.truncate_before(100).unwrap().first_position;
    let head = log.head();
    let all = Query::all();
    let rest = || (first..=head).map(Some);

    let told_of = |from, direction| told(log.read(from.., &all, direction));
    assert_eq!(
        told_of(0, Direction::Forward),
        [None].into_iter().chain(rest()).collect::<Vec<_>>()
    );
    assert_eq!(
        told_of(first - 1, Direction::Forward)[..2],
        [None, Some(first)]
    );
    assert_eq!(told_of(first, Direction::Forward)[0], Some(first));
    assert_eq!(
        told_of(1, Direction::Backward),
        rest().rev().chain([None]).collect::<Vec<_>>()
    );
    assert_eq!(told(log.read(1..first, &all, Direction::Forward)), [None]);
    assert_eq!(told(log.read(5..5, &all, Direction::Forward)), []);
    assert_eq!(told(log.read(..first, &all, Direction::Forward)), []);
    let tagged = Query::from(QueryItem::new().tag("tag:1"));
    let with_tag = told(log.read(1.., &tagged, Direction::Forward));
    assert_eq!(with_tag[0], None);
    assert!(with_tag[1..].iter().all(Option::is_some));
    assert!(told(log.read(first.., &tagged, Direction::Forward)) == with_tag[1..]);

    // An aggregate that has events on both sides.
    let versions: Vec<_> = log
        .read_aggregate(&id("a1"), .., Direction::Backward)
        .map(|event| event.map(|event| event.version.unwrap()))
        .collect();
    assert!(
        matches!(versions.last(), Some(Err(Error::Expired { first: found })) if *found == first)
    );
    let oldest = *versions[versions.len() - 2].as_ref().unwrap();
    assert!(oldest > 1 && versions[0].as_ref().unwrap() > &oldest);
    let read = |from| told(log.read_aggregate(&id("a1"), from.., Direction::Forward));
    assert_eq!(read(oldest - 1)[0], None);
    assert_eq!(read(oldest - 1)[1..], read(oldest));
    // One that has none left, and one that never had any.
    assert_eq!(
        told(log.read_aggregate(&id("old-1"), .., Direction::Forward)),
        [None]
    );
    assert_eq!(
        told(log.read_aggregate(&id("old-1"), 3.., Direction::Forward)),
        []
    );
    assert_eq!(
        told(log.read_aggregate(&id("never"), .., Direction::Forward)),
        []
    );

    let mut subscription = log.subscribe(0, Query::all());
    assert!(
        matches!(subscription.next(), Some(Err(Error::Expired { first: found })) if found == first)
    );
    assert_eq!(subscription.next().unwrap().unwrap().position, first);
    let mut subscription = log.subscribe(first - 1, Query::all());
    assert_eq!(subscription.next().unwrap().unwrap().position, first);
}

#[test]
fn views_and_iterators_that_are_there_read_on() {
    let place = tempfile::tempdir().unwrap();
    let real = Log::options()
        .segment_len(64 << 10)
        .open(place.path())
        .unwrap();
    fill(&real, 200);
    real.close().unwrap();
    // Opened anew, so that nothing of the sealed segments has been touched yet.
    let real = Log::options()
        .segment_len(64 << 10)
        .open(place.path())
        .unwrap();
    let disk = MemoryDisk::default();
    for log in [real, filled(&disk)] {
        let (view, mut events) = (log.view(), log.read(.., &Query::all(), Direction::Forward));
        let _ = events.next().unwrap().unwrap();
        assert!(log.truncate_before(u64::MAX).unwrap().segments > 5);
        assert!(
            events
                .map(|event| event.unwrap().position)
                .eq(2..=log.head())
        );
        let seen = view.read(1.., &Query::all(), Direction::Forward);
        assert_eq!(seen.map(Result::unwrap).count() as u64, log.head());
        let of_one = view.read_aggregate(&id("a1"), .., Direction::Forward);
        assert!(
            of_one
                .map(|event| event.unwrap().version().unwrap())
                .eq(1..=view.version(&id("a1")).unwrap().unwrap())
        );
        assert_eq!(view.version(&id("never")).unwrap(), None);
    }
}

#[test]
fn a_log_that_was_opened_for_reading_before_tells_that_it_was_dropped() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
    let first = log.truncate_before(100).unwrap().first_position;
    let found = reader.read(.., &Query::all(), Direction::Forward).next();
    assert!(
        matches!(found, Some(Err(Error::Expired { first: found })) if found == first),
        "{found:?}"
    );
    let reader = small_log(disk, 2).open_read_only(DIR).unwrap();
    assert!(positions(&reader).into_iter().eq(first..=reader.head()));
    assert_versions(&reader);
}

#[test]
fn versions_of_dropped_aggregates_go_on() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let _ = log.truncate_before(u64::MAX).unwrap();
    log.close().unwrap();
    for is_robbed in [false, true] {
        let disk = disk.fork();
        if is_robbed {
            let derived = |name: &String| name.ends_with(".idx") || name.starts_with("heads-");
            names(&disk)
                .into_iter()
                .filter(derived)
                .for_each(|name| remove(&disk, &name));
        }
        let log = open(&disk, 2);
        let new =
            |expected| Batch::from(event("old-1", "Was", "new")).expect(id("old-1"), expected);
        for expected in [
            Expected::NoEvents,
            Expected::Exactly(1),
            Expected::Exactly(3),
        ] {
            match log.append(new(expected)) {
                Err(Error::VersionConflict { found, .. }) => assert_eq!(found, Some(2)),
                other => panic!("{other:?}"),
            }
        }
        let given = event("old-1", "Was", "new").version(Version::Given(2));
        assert!(matches!(
            log.append(given),
            Err(Error::VersionConflict { found: Some(2), .. })
        ));
        let _ = log.append(new(Expected::Exactly(2))).unwrap();
        let _ = log.append(event("old-2", "Was", "new")).unwrap();
        assert_eq!(log.version(&id("old-1")).unwrap(), Some(3));
        assert_eq!(log.version(&id("old-2")).unwrap(), Some(2));
        assert_sound(&log);
        // And through further truncations.
        for _ in 0..3 {
            fill(&log, 60);
            assert!(log.truncate_before(u64::MAX).unwrap().segments > 0);
            assert_eq!(log.version(&id("old-0")).unwrap(), Some(1));
            assert_eq!(log.version(&id("old-1")).unwrap(), Some(3));
        }
        assert_sound(&log);
    }
}

#[test]
fn a_condition_that_reaches_below_what_is_retained_cannot_be_answered() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let first = log.truncate_before(100).unwrap().first_position;
    let never = || Query::from(QueryItem::new().tag("never"));
    let given = |after, id: u128| {
        let new = NewEvent::new("Was", "x")
            .tag("new")
            .event_id(Uuid::from_u128(id));
        Batch::from(new).fail_if_match(never(), after)
    };
    for after in [0, first - 2] {
        let refused = log.append(given(after, 1));
        assert!(
            matches!(refused, Err(Error::Expired { first: found }) if found == first),
            "{refused:?}"
        );
        assert!(!refused.unwrap_err().is_conflict());
    }
    let appended = log.append(given(first - 1, 2)).unwrap();
    // Its repetition is recognised, also when the condition could not be answered any more.
    fill(&log, 40);
    assert_eq!(log.append(given(first - 1, 2)).unwrap(), appended);
    let later = log.truncate_before(appended.first).unwrap().first_position;
    assert!(later > first);
    assert_eq!(log.append(given(first - 1, 2)).unwrap(), appended);
    assert!(matches!(
        log.append(given(first - 1, 3)),
        Err(Error::Expired { .. })
    ));
}

#[test]
fn a_repetition_of_what_was_dropped_is_never_taken_for_a_new_version() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    let versioned = || {
        Batch::from(event("o", "Was", "x").event_id(Uuid::from_u128(1)))
            .expect(id("o"), Expected::NoEvents)
    };
    let tracked = || {
        Batch::from(event("p", "Was", "x").event_id(Uuid::from_u128(2)))
            .expect(id("p"), Expected::NoEvents)
            .tracking("upstream", 7)
    };
    let plain = || Batch::from(NewEvent::new("Was", "x").event_id(Uuid::from_u128(3)));
    for batch in [versioned(), tracked(), plain()] {
        let _ = log.append(batch).unwrap();
    }
    fill(&log, 60);
    let head = log.head();
    assert!(log.truncate_before(u64::MAX).unwrap().segments > 0);
    assert!(matches!(
        log.append(versioned()),
        Err(Error::Expired { .. })
    ));
    let found = log.append(tracked());
    assert!(
        matches!(
            found,
            Err(Error::TrackingConflict {
                given: 7,
                found: 7,
                ..
            })
        ),
        "{found:?}"
    );
    // Somebody else's, without ids: a plain conflict.
    let other = Batch::from(event("o", "Was", "y")).expect(id("o"), Expected::NoEvents);
    assert!(matches!(
        log.append(other),
        Err(Error::VersionConflict { found: Some(1), .. })
    ));
    assert_eq!(log.head(), head);
    assert_eq!(log.get(Uuid::from_u128(3)).unwrap(), None);
    assert_eq!(log.append(plain()).unwrap().first, head + 1);
}

#[test]
fn followers_hold_up_a_truncation_and_outlive_a_close() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    log.set_follower("mail", 120).unwrap();
    log.set_follower("search", 60).unwrap();
    let refused = log.truncate_before(101);
    match refused {
        Err(Error::FollowerBehind {
            name,
            position,
            asked,
        }) => {
            assert_eq!((name.as_str(), position, asked), ("search", 60, 101));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.first_position(), 1);
    assert!(log.truncate_before(61).unwrap().first_position <= 61);
    assert!(matches!(
        log.set_follower("mail", 119),
        Err(Error::FollowerConflict {
            given: 119,
            found: 120,
            ..
        })
    ));
    log.set_follower("mail", 120).unwrap();
    log.reset_follower("mail", 70).unwrap();
    log.set_follower("mail", 80).unwrap();
    assert!(log.remove_follower("search").unwrap());
    assert!(!log.remove_follower("search").unwrap());
    let expected = vec![("mail".to_owned(), 80)];
    assert_eq!(log.followers(), expected);
    let killed = open(&disk.fork(), 2);
    assert_eq!(killed.followers(), expected);
    let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
    assert_eq!(reader.followers(), expected);
    assert!(matches!(
        reader.set_follower("mail", 90),
        Err(Error::ReadOnly { .. })
    ));
    assert!(matches!(
        reader.truncate_before(9),
        Err(Error::ReadOnly { .. })
    ));
    log.close().unwrap();
    assert!(matches!(log.set_follower("mail", 90), Err(Error::Closed)));
    assert!(matches!(log.truncate_before(9), Err(Error::Closed)));
    let log = open(&disk, 3);
    assert_eq!(log.followers(), expected);
    assert!(matches!(
        log.truncate_before(150),
        Err(Error::FollowerBehind { .. })
    ));
    assert!(log.force_truncate_before(150).unwrap().first_position > 81);
    assert_eq!(
        log.followers(),
        expected,
        "it is still named, and finds out"
    );
    // One lost copy of the manifest forgets no name.
    log.set_follower("new", 1).unwrap();
    for copy in ["MANIFEST-a", "MANIFEST-b"] {
        let left = disk.fork();
        remove(&left, copy);
        assert!(
            open(&left, 4)
                .followers()
                .iter()
                .any(|(name, _)| name == "new")
        );
    }
}

#[test]
fn followers_are_bounded() {
    let log = open(&MemoryDisk::default(), 1);
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let limit = |set: Result<(), Error>| match set {
        Err(Error::Limit { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(log.set_follower("", 1)), Limit::FollowerName);
    assert_eq!(
        limit(log.set_follower(&"n".repeat(256), 1)),
        Limit::FollowerName
    );
    assert_eq!(limit(log.set_follower("n", 2)), Limit::FollowerPosition);
    for number in 0..256 {
        log.set_follower(&format!("{number}{}", "n".repeat(250)), 1)
            .unwrap();
    }
    assert_eq!(limit(log.set_follower("one more", 1)), Limit::FollowerCount);
    assert_eq!(log.followers().len(), 256);
}

#[test]
fn doubt_about_the_last_versions_is_damage() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let first = log.truncate_before(100).unwrap().first_position;
    let table = format!("versions-{first:010}");
    log.close().unwrap();
    let spoils: [fn(&MemoryDisk, &str); 4] = [
        |disk, table| remove(disk, table),
        |disk, table| flip(disk, table, 30),
        |disk, table| flip(disk, table, content(disk, table).len() - 1),
        |disk, table| write(disk, table, b"more", content(disk, table).len() as u64),
    ];
    for spoil in spoils {
        let disk = disk.fork();
        spoil(&disk, &table);
        let before = names(&disk);
        let opened = small_log(disk.clone(), 2).open(DIR);
        assert!(
            matches!(&opened, Err(Error::Corrupt { path, .. }) if path.ends_with(&table)),
            "{opened:?}"
        );
        assert_eq!(names(&disk), before, "nothing was changed");
        let reader = small_log(disk, 2).open_read_only(DIR).unwrap();
        assert!(positions(&reader).into_iter().eq(first..=reader.head()));
        for name in ["old-1", "never"] {
            assert!(matches!(
                reader.version(&id(name)),
                Err(Error::Corrupt { .. })
            ));
            let mut read = reader.read_aggregate(&id(name), .., Direction::Forward);
            assert!(matches!(read.next(), Some(Err(Error::Corrupt { .. }))));
            assert!(read.next().is_none());
        }
        assert!(reader.version(&id("a1")).unwrap().is_some());
        assert_eq!(reader.verify(|_, _| {}).unwrap().damages.len(), 1);
    }
}

#[test]
fn a_table_of_another_truncation_is_not_believed() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let first = log.truncate_before(60).unwrap().first_position;
    let table = content(&disk, &format!("versions-{first:010}"));
    let later = log.truncate_before(150).unwrap().first_position;
    assert!(later > first);
    let name = format!("versions-{later:010}");
    log.close().unwrap();
    remove(&disk, &name);
    write(&disk, &name, &table, 0);
    let opened = small_log(disk, 2).open(DIR);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn lost_manifests_do_not_bring_back_versions() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let first = log.truncate_before(100).unwrap().first_position;
    let head = log.head();
    log.close().unwrap();
    for lost in [
        &["MANIFEST-a"][..],
        &["MANIFEST-b"],
        &["MANIFEST-a", "MANIFEST-b"],
    ] {
        let disk = disk.fork();
        lost.iter().for_each(|name| remove(&disk, name));
        let reader = small_log(disk.clone(), 3).open_read_only(DIR).unwrap();
        assert_versions(&reader);
        let log = open(&disk, 2);
        assert!(positions(&log).into_iter().eq(first..=head), "{lost:?}");
        assert_versions(&log);
        assert_sound(&log);
        let appended = log.append(event("old-1", "Was", "x")).unwrap();
        assert_eq!(
            (appended.first, log.version(&id("old-1")).unwrap()),
            (head + 1, Some(3))
        );
        log.close().unwrap();
        assert_versions_of_reopened(&disk);
    }
    for name in ["MANIFEST-a", "MANIFEST-b", &format!("versions-{first:010}")] {
        remove(&disk, name);
    }
    let opened = small_log(disk.clone(), 2).open(DIR);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    let reader = small_log(disk, 3).open_read_only(DIR).unwrap();
    assert!(matches!(
        reader.version(&id("old-1")),
        Err(Error::Corrupt { .. })
    ));
}

fn assert_versions_of_reopened(disk: &MemoryDisk) {
    assert_eq!(open(disk, 5).version(&id("old-1")).unwrap(), Some(3));
}

#[test]
fn files_of_dropped_segments_are_never_believed_again() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    let _ = log.sync().unwrap();
    let before = disk.fork();
    let first = log.truncate_before(100).unwrap().first_position;
    let tables = |name: &String| name.starts_with("versions-");
    let table = names(&disk).into_iter().find(tables).unwrap();
    for is_closed in [false, true] {
        if is_closed {
            log.close().unwrap();
        }
        let disk = disk.fork();
        for name in ["0000000002.seg", "0000000002.idx", "0000000001.seg"] {
            write(&disk, name, &content(&before, name), 0);
        }
        write(&disk, "versions-0000000002", b"left by a crash", 0);
        write(&disk, "0000000001.tail", b"left by a crash", 0);
        write(&disk, "versions-0000000003.tmp", b"left by a crash", 0);
        let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
        assert!(positions(&reader).into_iter().eq(first..=reader.head()));
        let log = open(&disk, 2);
        assert!(positions(&log).into_iter().eq(first..=log.head()));
        assert!(!exists(&disk, "0000000002.seg") && !exists(&disk, "0000000002.idx"));
        assert!(!exists(&disk, FIRST_SEGMENT) && !exists(&disk, "0000000001.tail"));
        let left: Vec<_> = names(&disk).into_iter().filter(tables).collect();
        assert_eq!(left, [table.as_str()]);
        assert_versions(&log);
        assert_sound(&log);
    }
    // A missing file of what is retained is damage.
    let numbers = names(&disk);
    let retained = numbers.iter().find(|name| name.ends_with(".seg")).unwrap();
    remove(&disk, retained);
    assert!(matches!(
        small_log(disk, 2).open(DIR),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn an_older_manifest_that_names_what_is_removed_is_replaced_first() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    fill(&log, 100);
    // The first copy is written, the second is not: nothing may be removed.
    let writes = AtomicU64::new(0);
    disk.set_hook(move |step, path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_copy = step == Step::Write && name.starts_with("MANIFEST-");
        match is_copy && writes.fetch_add(1, Ordering::SeqCst) == 1 {
            true => Err(IoError::other("refused")),
            false => Ok(()),
        }
    });
    let cut_short = log.truncate_before(80);
    assert!(matches!(cut_short, Err(Error::Io { .. })), "{cut_short:?}");
    let first = log.first_position();
    assert!(first > 1 && exists(&disk.memory, FIRST_SEGMENT));
    disk.clear_hook();
    log.close().unwrap();
    open(&disk.memory, 2).close().unwrap();
    assert!(!exists(&disk.memory, FIRST_SEGMENT));
    for copy in ["MANIFEST-a", "MANIFEST-b"] {
        let left = disk.memory.fork();
        remove(&left, copy);
        assert_eq!(open(&left, 3).first_position(), first);
    }
}

#[test]
fn a_view_reads_on_in_a_segment_without_events_too() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
    let _ = log.append(buffered).unwrap();
    // Nothing in the first segment is proven: it stays behind, empty.
    let disk = disk.fork();
    let log = open(&disk, 2);
    fill(&log, 60);
    log.close().unwrap();
    let log = open(&disk, 3);
    let view = log.view();
    assert!(log.truncate_before(u64::MAX).unwrap().segments > 1);
    assert!(!exists(&disk, FIRST_SEGMENT));
    assert_eq!(view.version(&id("never")).unwrap(), None);
    assert_eq!(view.version(&id("a")).unwrap(), Some(1));
    assert_eq!(
        view.read(1.., &Query::all(), Direction::Forward)
            .flatten()
            .count(),
        61
    );
}

#[test]
fn a_segment_without_events_is_not_dropped_alone() {
    let disk = MemoryDisk::default();
    let mut left = disk.clone();
    for seed in 1..4 {
        let log = open(&left, seed);
        let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
        let _ = log.append(buffered).unwrap();
        // Nothing in the segment is proven: it stays behind, empty, or ends before this event.
        left = left.fork();
    }
    let log = open(&left, 4);
    let truncated = log.truncate_before(1).unwrap();
    assert_eq!((truncated.segments, truncated.first_position), (0, 1));
    let truncated = log.truncate_before(u64::MAX).unwrap();
    let again = log.truncate_before(u64::MAX).unwrap();
    assert_eq!(
        (again.segments, again.first_position),
        (0, truncated.first_position)
    );
    log.close().unwrap();
    assert_sound(&open(&left, 5));
}

#[test]
fn damaged_events_are_not_dropped_unread() {
    let disk = MemoryDisk::default();
    let log = filled(&disk);
    log.close().unwrap();
    let bytes = content(&disk, SECOND_SEGMENT);
    flip(&disk, SECOND_SEGMENT, bytes.len() / 2);
    let log = open(&disk, 2);
    let refused = log.truncate_before(150);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert_eq!(log.first_position(), 1);
    assert!(exists(&disk, FIRST_SEGMENT));
    fill(&log, 10);
}

#[test]
fn tracking_positions_outlive_the_segments_that_held_them() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let _ = log.append(Batch::new().tracking("upstream", 9)).unwrap();
    let mut segments = 0;
    while log.stats().unwrap().segments < 4 {
        // Buffered, so that nothing syncs the segment that has just been begun.
        let batch = Batch::from(event("a", "Was", vec![1; 3000]));
        let _ = log.append(batch.durability(Durability::Buffered)).unwrap();
        segments += 1;
    }
    assert!(segments > 10);
    assert!(log.truncate_before(u64::MAX).unwrap().segments > 1);
    let left = small_log(disk.power_cut(Spared::Nothing), 2)
        .open(DIR)
        .unwrap();
    assert_eq!(left.tracking("upstream"), Some(9));
    assert_sound(&left);
}

#[test]
fn heads_and_links_that_name_dropped_segments_answer_as_a_full_scan() {
    let disk = MemoryDisk::default();
    let mut log = filled(&disk);
    let has_heads = |disk: &MemoryDisk| names(disk).iter().any(|name| name.starts_with("heads-"));
    while !has_heads(&disk) {
        fill(&log, 10);
    }
    for step in 0..6 {
        fill(&log, 60);
        let _ = log.truncate_before(log.first_position() + 70).unwrap();
        log.close().unwrap();
        log = open(&disk, 10 + step);
        let events: Vec<_> = log
            .read(.., &Query::all(), Direction::Forward)
            .map(Result::unwrap)
            .collect();
        assert!(
            events
                .iter()
                .map(|event| event.position)
                .eq(log.first_position()..=log.head())
        );
        for number in 0..7 {
            let aggregate = id(&format!("a{number}"));
            let expected: Vec<_> = events
                .iter()
                .filter(|event| event.aggregate_id.as_ref() == Some(&aggregate))
                .map(|event| Some(event.position))
                .collect();
            let read = told(log.read_aggregate(&aggregate, .., Direction::Backward));
            let (missing, found) = read.split_last().unwrap();
            assert_eq!(*missing, None);
            assert!(found.iter().rev().eq(&expected));
            let count = (5..=log.head()).filter(|position| position % 7 == number);
            assert_eq!(log.version(&aggregate).unwrap(), Some(count.count() as u64));
        }
        assert_eq!(log.count_aggregates().unwrap(), 7);
        assert_versions(&log);
        assert_sound(&log);
    }
}
