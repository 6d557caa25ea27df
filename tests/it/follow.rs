//! A log opened read-only follows whoever writes it: in order, whole, without a gap, never past what is durable,
//! across rolls, kills and recoveries, and never silently behind.
//!
//! Without threads the follower looks when it is told to, here before every single call that the writer makes to
//! its disk. With processes a child writes and is killed while the parent follows.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_engine::{
    Batch, Direction, Durability, Error, Log, Query, QueryItem, ReadIo, RecordedEvent,
    RecoveryOutcome,
};
use annals_segments::MemoryDisk;
use annals_tests::log_files::{self, DIR, FIRST_SEGMENT, SECOND_SEGMENT};
use annals_tests::sim_disk::{SimDisk, Spared};
use annals_tests::{SeededRandom, event, id, small_log};
use parking_lot::Mutex;

use crate::two_processes::{child_dir, in_child, run_child};

fn all(log: &Log) -> Vec<RecordedEvent> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(Result::unwrap)
        .collect()
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
}

fn reader(disk: &MemoryDisk) -> Log {
    small_log(disk.clone(), 99).open_read_only(DIR).unwrap()
}

/// One that maps no file, and holds next to nothing of what it has read.
fn unmapped_reader(disk: &MemoryDisk) -> Log {
    let options = small_log(disk.clone(), 98).read_io(ReadIo::Pread);
    let options = options.read_cache_len(1 << 20);
    options.open_read_only(DIR).unwrap()
}

/// A batch as `random` picks it: one to three events of few aggregates, now and then buffered, tracked, or
/// nothing but a tracking position.
fn any_batch(random: &SeededRandom, tracked: &mut u64) -> Batch {
    let mut batch = Batch::new();
    if !random.next_u64().is_multiple_of(8) {
        for _ in 0..=random.next_u64() % 3 {
            let payload = vec![random.next_u64() as u8; (random.next_u64() % 5000) as usize];
            let name = format!("aggregate-{}", random.next_u64() % 4);
            let topic = format!("Topic-{}", random.next_u64() % 3);
            batch.push(event(&name, &topic, payload).tag("t"));
        }
    } else {
        *tracked += 1;
        batch = batch.tracking("upstream", *tracked);
    }
    if random.next_u64().is_multiple_of(3) {
        batch = batch.durability(Durability::Buffered);
    }
    batch
}

/// What both see of the same events is the same, whichever way they are asked.
#[track_caller]
fn assert_same(follower: &Log, writer: &Log) {
    let (followed, written) = (all(follower), all(writer));
    assert_eq!(followed.len(), written.len());
    assert!(followed == written, "other events");
    assert_eq!(follower.tracking("upstream"), writer.tracking("upstream"));
    for aggregate in (0..4).map(|number| id(&format!("aggregate-{number}"))) {
        let of = |log: &Log| -> Vec<u64> {
            log.read_aggregate(&aggregate, .., Direction::Backward)
                .map(|event| event.unwrap().position)
                .collect()
        };
        assert_eq!(of(follower), of(writer));
        assert_eq!(
            follower.version(&aggregate).unwrap(),
            writer.version(&aggregate).unwrap()
        );
    }
    let query: Query = QueryItem::new().topic("Topic-1").tag("t").into();
    let matching = |log: &Log| -> Vec<u64> {
        log.read(.., &query, Direction::Forward)
            .map(|event| event.unwrap().position)
            .collect()
    };
    assert_eq!(matching(follower), matching(writer));
    for event in written.iter().step_by(7) {
        let of = |log: &Log| log.get(event.event_id).unwrap().map(|event| event.position);
        assert!(of(follower).is_some());
        assert_eq!(of(follower), of(writer));
    }
}

#[test]
fn a_follower_sees_what_is_durable_and_no_more() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let follower = reader(&disk);
    let before = follower.view();
    assert_eq!((follower.head(), follower.refresh().unwrap()), (0, 0));

    append(&log, 2);
    assert_eq!(follower.head(), 0, "nobody looked");
    assert_eq!(follower.refresh().unwrap(), 2);
    let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
    let _ = log.append(buffered.tracking("upstream", 7)).unwrap();
    assert_eq!(follower.refresh().unwrap(), 2, "not durable yet");
    assert_eq!(follower.tracking("upstream"), None);
    let view = follower.view();
    log.sync().unwrap();
    assert_eq!(follower.refresh().unwrap(), 3);
    assert_eq!(follower.tracking("upstream"), Some(7));
    assert_eq!((before.head(), view.head()), (0, 2), "a view is one moment");
    assert_same(&follower, &log);

    log.close().unwrap();
    assert_eq!(follower.refresh().unwrap(), 3);
    follower.close().unwrap();
    assert!(matches!(follower.refresh(), Err(Error::Closed)));
    assert_eq!(all(&follower).len(), 3, "reads go on");
}

#[test]
fn a_follower_says_what_the_writer_says_across_segments_and_opens() {
    for seed in 0..8 {
        let random = SeededRandom::new(seed);
        let disk = MemoryDisk::default();
        let mut tracked = 0;
        let mut log = small_log(disk.clone(), seed).open(DIR).unwrap();
        let followers = [reader(&disk), unmapped_reader(&disk)];
        for _ in 0..150 {
            let _ = log.append(any_batch(&random, &mut tracked)).unwrap();
            if random.next_u64().is_multiple_of(40) {
                log.close().unwrap();
                log = small_log(disk.clone(), seed + tracked).open(DIR).unwrap();
            }
            // Now at each commit, now several segments behind.
            if random.next_u64().is_multiple_of(1 + seed * 5) {
                for follower in &followers {
                    assert_eq!(follower.refresh().unwrap(), log.durable_head());
                    let last = follower.read(.., &Query::all(), Direction::Backward).next();
                    let last = last.map_or(0, |event| event.unwrap().position);
                    assert_eq!(last, log.durable_head());
                }
            }
        }
        log.sync().unwrap();
        assert!(log_files::count(&disk, ".seg") > 5);
        assert_same(&reader(&disk), &log);
        for follower in followers {
            assert_eq!(follower.refresh().unwrap(), log.head());
            assert_same(&follower, &log);
            let report = follower.verify(|_, _| {}).unwrap();
            assert_eq!(report.damages, []);
            assert_eq!(follower.stats().unwrap().events, log.head());
        }
    }
}

#[test]
fn a_truncation_is_followed_at_every_call_it_makes_and_wherever_it_is_killed() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 80);
    log.close().unwrap();
    let mut firsts = BTreeSet::new();
    for kill in 0.. {
        let left = disk.fork();
        let followers = [reader(&left), unmapped_reader(&left)].map(Arc::new);
        let killed = SimDisk::over(left.clone());
        let (seen, calls) = (followers.clone(), AtomicU64::new(0));
        killed.set_hook(move |_, _| {
            seen.iter().for_each(|follower| assert_whole(follower, 80));
            match calls.fetch_add(1, Ordering::SeqCst) < kill {
                true => Ok(()),
                false => Err(io::Error::other("the process is gone")),
            }
        });
        let truncated = small_log(killed, 2).open(DIR).and_then(|log| {
            let _ = log.truncate_before(30)?;
            log.truncate_before(60)
        });
        let is_done = truncated.is_ok();
        for follower in &followers {
            assert_whole(follower, 80);
            firsts.insert(follower.first_position());
        }
        let log = small_log(left.clone(), 3).open(DIR).unwrap();
        let _ = log.truncate_before(75).unwrap();
        append(&log, 1);
        for follower in &followers {
            assert_whole(follower, 81);
            assert_eq!(follower.first_position(), log.first_position());
            assert_eq!(follower.version(&id("a")).unwrap(), Some(81));
        }
        if is_done {
            break;
        }
    }
    assert_eq!(firsts.len(), 3, "{firsts:?}");
}

/// Shows the events from the first that is retained to `head`, and tells those before.
#[track_caller]
fn assert_whole(follower: &Log, head: u64) {
    assert_eq!(follower.refresh().unwrap(), head);
    let first = follower.first_position();
    let mut read = follower.read(1.., &Query::all(), Direction::Forward);
    if first > 1 {
        let expired = read.next().unwrap().unwrap_err();
        assert!(matches!(expired, Error::Expired { first: told } if told == first));
        read = follower.read(first.., &Query::all(), Direction::Forward);
    }
    assert!(read.map(|event| event.unwrap().position).eq(first..=head));
}

#[test]
fn following_writes_nothing_and_holds_nobody_up() {
    let memory = MemoryDisk::default();
    small_log(memory.clone(), 1)
        .open(DIR)
        .unwrap()
        .close()
        .unwrap();
    let watched = SimDisk::over(memory.clone());
    watched.set_hook(|step, path| match step.is_change() {
        true => panic!("{step:?} of {}", path.display()),
        false => Ok(()),
    });
    let follower = small_log(watched, 2).open_read_only(DIR).unwrap();
    let log = small_log(memory.clone(), 3).open(DIR).unwrap();
    append(&log, 60);
    assert_eq!(follower.refresh().unwrap(), 60);
    assert!(matches!(
        follower.append(event("a", "Was", "")),
        Err(Error::ReadOnly { .. })
    ));
}

/// A writer over a disk at each of whose calls a follower looks, and which fails from one call on.
struct Watched {
    disk: SimDisk,
    follower: Arc<Log>,
    calls: Arc<AtomicU64>,
    /// The call from which on all fail.
    killed_at: Arc<AtomicU64>,
}

impl Watched {
    fn new() -> Self {
        let disk = SimDisk::default();
        drop(small_log(disk.clone(), 1).open(DIR).unwrap());
        let follower = Arc::new(reader(&disk.memory));
        let calls = Arc::new(AtomicU64::new(0));
        let killed_at = Arc::new(AtomicU64::new(u64::MAX));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watched = (follower.clone(), calls.clone(), killed_at.clone());
        let cut = disk.clone();
        disk.set_hook(move |_, _| {
            let (follower, calls, killed_at) = &watched;
            let call = calls.fetch_add(1, Ordering::SeqCst);
            look(follower, &mut seen.lock());
            if call.is_multiple_of(61) {
                // All that it shows survives a loss of power.
                let left = cut.power_cut(Spared::Nothing);
                let left = small_log(left, call).open(DIR).unwrap();
                let (shown, durable) = (all(follower), all(&left));
                assert!(shown == durable[..shown.len()]);
            }
            match call < killed_at.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(io::Error::other("the process is gone")),
            }
        });
        Self {
            disk,
            follower,
            calls,
            killed_at,
        }
    }
}

/// Refreshes, and checks that what was seen before is still there and what is new continues it.
fn look(follower: &Log, seen: &mut Vec<RecordedEvent>) {
    let head = follower.refresh().unwrap();
    assert!(head >= seen.len() as u64, "{head} behind {}", seen.len());
    let new = follower.read(seen.len() as u64 + 1.., &Query::all(), Direction::Forward);
    seen.extend(new.map(Result::unwrap));
    assert_eq!(seen.len() as u64, head);
    if let Some(last) = seen.last() {
        assert_eq!(last.position, head);
    }
}

#[test]
fn a_follower_survives_a_kill_of_the_writer_at_any_call_and_the_recovery() {
    // How many calls one life takes.
    let work = |watched: &Watched, seed: u64, tracked: &mut u64| -> u64 {
        let random = SeededRandom::new(seed);
        let Ok(log) = small_log(watched.disk.clone(), seed).open(DIR) else {
            return 0;
        };
        for _ in 0..60 {
            let acknowledged = log.append(any_batch(&random, tracked));
            if acknowledged.is_err() {
                break;
            }
            let shown = watched.follower.refresh().unwrap();
            assert_eq!(shown, log.durable_head());
        }
        if seed.is_multiple_of(3) {
            let _ = log.close();
        }
        log.durable_head()
    };
    let watched = Watched::new();
    work(&watched, 1, &mut 0);
    let calls = watched.calls.load(Ordering::SeqCst);
    assert!(calls > 200, "only {calls} calls");
    for (life, kill) in (1..calls).step_by(13).enumerate() {
        let watched = Watched::new();
        let mut tracked = 0;
        let mut durable = 0;
        let mut others = Vec::new();
        let life = life as u64;
        // Three lives: the second is killed while it recovers the first, or soon after.
        for (kills_after, seed) in [(kill, 1), (1 + kill % 60, life + 2), (u64::MAX, life + 4)] {
            let now = watched.calls.load(Ordering::SeqCst);
            watched
                .killed_at
                .store(now.saturating_add(kills_after), Ordering::SeqCst);
            durable = work(&watched, seed, &mut tracked).max(durable);
            assert!(watched.follower.head() >= durable);
            // Whoever opens it now sees what the follower sees.
            let other = reader(&watched.disk.memory);
            let (followed, opened) = (all(&watched.follower), all(&other));
            assert!(followed == opened[..followed.len()]);
            others.push(other);
        }
        let log = small_log(watched.disk.memory.clone(), 7).open(DIR).unwrap();
        for follower in others.iter().chain([&*watched.follower]) {
            assert_eq!(follower.refresh().unwrap(), log.head());
            assert_same(follower, &log);
            assert_eq!(follower.verify(|_, _| {}).unwrap().damages, []);
        }
    }
}

#[test]
fn a_log_left_by_a_killed_writer_is_followed_once_there_is_another() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 30);
    // A reader of what is left knows it, though nothing proves it.
    let tracked = Batch::new().tracking("upstream", 1);
    let _ = log
        .append(tracked.durability(Durability::Buffered))
        .unwrap();
    for position in 2..=4 {
        let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
        let _ = log.append(buffered.tracking("upstream", position)).unwrap();
    }
    let left = disk.fork();
    let follower = reader(&left);
    assert_eq!(follower.recovery().outcome, RecoveryOutcome::NeedsRecovery);
    let view = follower.view();
    assert_eq!(follower.refresh().unwrap(), 30);
    let log = small_log(left.clone(), 2).open(DIR).unwrap();
    assert_eq!(log.head(), 33);
    assert_eq!(follower.refresh().unwrap(), 33, "proven by the recovery");
    append(&log, 30);
    assert_eq!(follower.refresh().unwrap(), 63);
    assert_same(&follower, &log);
    assert_eq!(follower.verify(|_, _| {}).unwrap().damages, []);
    let seen = view.read(.., &Query::all(), Direction::Forward);
    assert_eq!(seen.map(Result::unwrap).count(), 30);
}

/// A disk of which every call fails from the one of this number on: a process that is killed there.
fn killed_at(memory: &MemoryDisk, kill: u64) -> SimDisk {
    let disk = SimDisk::over(memory.clone());
    let calls = AtomicU64::new(0);
    disk.set_hook(
        move |_, _| match calls.fetch_add(1, Ordering::SeqCst) < kill {
            true => Ok(()),
            false => Err(io::Error::other("the process is gone")),
        },
    );
    disk
}

#[test]
fn a_log_opened_amid_a_recovery_is_followed_through_the_next() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let _ = log.append(Batch::from(event("aggregate-1", "Topic-1", "x")).tracking("upstream", 1));
    for _ in 0..3 {
        let buffered = Batch::from(event("aggregate-1", "Topic-1", "x"));
        let _ = log
            .append(buffered.durability(Durability::Buffered))
            .unwrap();
    }
    let mut was_redone = false;
    for kill in 0.. {
        let left = disk.fork();
        let recovering = small_log(killed_at(&left, kill), 2).open(DIR);
        let is_done = recovering.is_ok();
        drop(recovering);
        // It may map a segment that the next recovery removes and makes again.
        let follower = reader(&left);
        let before = log_files::exists(&left, SECOND_SEGMENT)
            .then(|| log_files::content(&left, SECOND_SEGMENT));
        let log = small_log(left.clone(), 3).open(DIR).unwrap();
        let _ = log.append(event("aggregate-2", "Topic-1", "y")).unwrap();
        let after = log_files::content(&left, SECOND_SEGMENT);
        let header = before.as_ref().and_then(|before| before.get(..4096));
        was_redone |= header.is_some_and(|header| header[0] != 0 && header != &after[..4096]);
        assert_eq!(follower.refresh().unwrap(), 5, "killed at call {kill}");
        assert_same(&follower, &log);
        assert_eq!(follower.verify(|_, _| {}).unwrap().damages, []);
        if is_done {
            break;
        }
    }
    assert!(was_redone);
}

#[test]
fn an_empty_segment_that_is_made_again_is_followed() {
    let disk = MemoryDisk::default();
    let killed = killed_at(&disk, u64::MAX);
    let log = small_log(killed.clone(), 1).open(DIR).unwrap();
    let follower = reader(&disk);
    assert_eq!(follower.refresh().unwrap(), 0);
    killed.set_hook(|_, _| Err(io::Error::other("the process is gone")));
    drop(log);
    let options = small_log(disk.clone(), 2).segment_len(128 << 10);
    let log = options.open(DIR).unwrap();
    append(&log, 3);
    assert_eq!(follower.refresh().unwrap(), 3);
    append(&log, 100);
    assert_eq!(follower.refresh().unwrap(), 103);
    assert_same(&follower, &log);
}

#[test]
fn a_log_that_is_being_made_is_refused_or_followed() {
    // Found by processes that were started together: one that came too early took the log for another one, for good.
    let followers = Arc::new(Mutex::new(Vec::new()));
    let opened = followers.clone();
    let disk = SimDisk::watched(MemoryDisk::default(), move |memory: &MemoryDisk| {
        let early = small_log(memory.clone(), 99).open_read_only(DIR);
        match early {
            Ok(follower) => opened.lock().push(follower),
            Err(error) => assert!(matches!(error, Error::NotALog { .. }), "{error}"),
        }
    });
    let log = small_log(disk, 1).open(DIR).unwrap();
    append(&log, 3);
    let followers = std::mem::take(&mut *followers.lock());
    assert!(followers.len() > 5, "{} opened", followers.len());
    for follower in followers {
        assert_eq!(follower.refresh().unwrap(), 3);
        assert_same(&follower, &log);
    }
}

#[test]
fn another_log_in_the_directory_is_told_and_never_shown() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 5);
    let follower = reader(&disk);
    let mut subscription = follower.subscribe(5, Query::all());
    log.close().unwrap();
    for name in log_files::names(&disk) {
        log_files::remove(&disk, &name);
    }
    assert!(matches!(follower.refresh(), Err(Error::Io { .. })), "gone");
    let other = small_log(disk.clone(), 2).open(DIR).unwrap();
    append(&other, 50);
    let told = subscription.next_timeout(Duration::ZERO).unwrap();
    assert!(matches!(told, Err(Error::Io { .. })), "{told:?}");
    for _ in 0..2 {
        let error = follower.refresh().unwrap_err();
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
    }
    assert_eq!((follower.head(), all(&follower).len()), (5, 5));
}

#[test]
fn an_earlier_state_of_the_log_is_told() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 5);
    let earlier = disk.fork();
    append(&log, 40);
    let follower = reader(&disk);
    assert_eq!(all(&follower).len(), 45);
    log.close().unwrap();
    for name in log_files::names(&disk) {
        log_files::remove(&disk, &name);
    }
    for name in log_files::names(&earlier) {
        let bytes = log_files::content(&earlier, &name);
        log_files::write(&disk, &name, &bytes, 0);
    }
    let error = follower.refresh().unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
    assert_eq!(all(&follower).len(), 45, "its segments are still mapped");
}

#[test]
fn damage_below_the_watermark_is_told_once_and_nothing_of_it_is_shown() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 2);
    let follower = reader(&disk);
    let mut subscription = follower.subscribe(0, Query::all());
    assert_eq!(subscription.by_ref().take(2).flatten().count(), 2);
    assert_eq!(follower.refresh().unwrap(), 2);
    let end = log_files::written_len(&disk, FIRST_SEGMENT);
    append(&log, 3);
    log_files::flip(&disk, FIRST_SEGMENT, end + 5000);
    let error = follower.refresh().unwrap_err();
    let Error::Corrupt { first, last, .. } = error else {
        panic!("{error}");
    };
    // The frame before it is whole, and yet the step shows all or nothing.
    assert_eq!((first, last, follower.head()), (4, 5, 2));
    let told = subscription.next_timeout(Duration::ZERO).unwrap();
    assert!(told.unwrap_err().is_corrupt());
    assert!(follower.refresh().is_err());
    assert!(subscription.next_timeout(Duration::ZERO).is_none());
    let mut later = follower.subscribe(2, Query::all());
    assert!(later.next_timeout(Duration::ZERO).unwrap().is_err());

    log_files::flip(&disk, FIRST_SEGMENT, end + 5000);
    assert_eq!(follower.refresh().unwrap(), 5);
    let positions: Vec<u64> = subscription
        .take(3)
        .map(|event| event.unwrap().position)
        .collect();
    assert_eq!(positions, [3, 4, 5]);
    assert_same(&follower, &log);
}

#[test]
fn damage_in_a_segment_that_was_sealed_meanwhile_stands_in_its_place() {
    for segment in [FIRST_SEGMENT, SECOND_SEGMENT] {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 1).open(DIR).unwrap();
        append(&log, 2);
        let follower = reader(&disk);
        let _ = log.append(event("a", "Was", "x").tag("rare")).unwrap();
        append(&log, 60);
        log_files::flip(&disk, segment, 40_000);
        assert_eq!(follower.refresh().unwrap(), 63);
        let read = follower.read(.., &Query::all(), Direction::Forward);
        let read: Vec<_> = read.collect();
        assert_eq!(read.len(), 63);
        let damaged = read.iter().filter(|event| event.is_err()).count();
        assert_eq!(damaged, 1, "{segment}");
    }
}

#[test]
fn a_frame_longer_than_one_read_is_taken_whole() {
    let disk = MemoryDisk::default();
    let options = || small_log(disk.clone(), 1).segment_len(32 << 20);
    let log = options().open(DIR).unwrap();
    let follower = reader(&disk);
    for len in [3_000_000, 10, (1 << 20) - 100, 5_000_000, 1 << 20] {
        let _ = log.append(event("a", "Was", vec![7; len])).unwrap();
    }
    assert_eq!(follower.refresh().unwrap(), 5);
    assert_same(&follower, &log);
}

#[test]
fn a_torn_slot_of_the_watermark_is_no_news() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 1);
    let follower = reader(&disk);
    append(&log, 1);
    let newest = log_files::content(&disk, "WATERMARK");
    // The slot written last is half there.
    append(&log, 1);
    let later = log_files::content(&disk, "WATERMARK");
    let slot = (0..2).find(|slot| newest[slot * 512..][..512] != later[slot * 512..][..512]);
    let offset = slot.unwrap() * 512;
    log_files::write(&disk, "WATERMARK", &newest[offset..][..40], offset as u64);
    assert_eq!(follower.refresh().unwrap(), 2);
    log_files::write(&disk, "WATERMARK", &later[offset..][..512], offset as u64);
    assert_eq!(follower.refresh().unwrap(), 3);
}

#[test]
fn a_view_of_a_follower_outlives_the_cut_of_its_segment() {
    in_child("follow::child_views_across_a_cut");
}

/// Not a test: see the one above.
#[test]
#[ignore = "a child process of a_view_of_a_follower_outlives_the_cut_of_its_segment"]
fn child_views_across_a_cut() {
    let Some(dir) = child_dir() else { return };
    let log = Log::options().segment_len(1 << 20).background(false);
    let log = log.open(&dir).unwrap();
    append(&log, 100);
    // Mapped whole, zeros included, and cut soon after.
    let follower = Log::options().background(false);
    let follower = follower.open_read_only(&dir).unwrap();
    let view = follower.view();
    append(&log, 600);
    assert_eq!(
        view.read(.., &Query::all(), Direction::Forward).count(),
        100
    );
    assert_eq!(follower.refresh().unwrap(), 700);
    assert_eq!(all(&follower), all(&log));
    assert_eq!(
        view.read(.., &Query::all(), Direction::Forward).count(),
        100
    );
    assert_eq!(follower.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn a_thread_of_the_log_follows_and_close_ends_it() {
    in_child("follow::child_follows_in_one_process");
}

/// Not a test: see the one above.
#[test]
#[ignore = "a child process of a_thread_of_the_log_follows_and_close_ends_it"]
fn child_follows_in_one_process() {
    let Some(dir) = child_dir() else { return };
    let log = Log::options().segment_len(64 << 10).open(&dir).unwrap();
    let follower = Log::open_read_only(&dir).unwrap();
    let subscription = follower.subscribe(0, QueryItem::new().topic("Was").into());
    let stop = subscription.stop_handle();
    let following = std::thread::spawn(move || -> Vec<u64> {
        subscription.map(|event| event.unwrap().position).collect()
    });
    let mut waiting = follower.subscribe(400, Query::all());
    append(&log, 200);
    for _ in 0..200 {
        let buffered = Batch::from(event("a", "Was", vec![1; 3000]));
        let _ = log
            .append(buffered.durability(Durability::Buffered))
            .unwrap();
    }
    assert!(waiting.next_timeout(Duration::from_millis(50)).is_none());
    log.sync().unwrap();
    wait_until(|| follower.head() == 400);
    let _ = log.append(event("a", "Was", "the last")).unwrap();
    assert_eq!(waiting.next().unwrap().unwrap().position, 401);
    assert_same(&follower, &log);
    assert!(has_thread("annals-follow"));
    stop.stop();
    let shown = following.join().unwrap();
    assert!(shown.iter().copied().eq(1..=shown.len() as u64));
    assert!(shown.len() >= 400, "{}", shown.len());

    let closing = follower.clone();
    let closer = std::thread::spawn(move || closing.close());
    assert!(waiting.next().is_none(), "closed under it");
    closer.join().unwrap().unwrap();
    assert!(!has_thread("annals-follow"));
    append(&log, 1);
    assert_eq!(follower.head(), 401);
}

/// Waits for what another thread or process does within milliseconds.
#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("still not after a minute");
}

/// Whether this process has a thread of that name. Elsewhere than on Linux nobody can say.
fn has_thread(name: &str) -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return name.is_empty();
    };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

#[test]
fn a_process_that_is_killed_again_and_again_is_followed_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap().close().unwrap();
    let follower = Log::open_read_only(dir.path()).unwrap();
    let subscription = follower.subscribe(0, Query::all());
    let stop = subscription.stop_handle();
    let shown = Arc::new(AtomicU64::new(0));
    let counting = shown.clone();
    let following = std::thread::spawn(move || -> Vec<RecordedEvent> {
        let count = |event: &RecordedEvent| counting.store(event.position, Ordering::SeqCst);
        subscription.map(Result::unwrap).inspect(count).collect()
    });
    for life in 0..5 {
        let (mut child, mut acknowledged) = start_writer(dir.path());
        let wanted = shown.load(Ordering::SeqCst) + 300 + life * 50;
        let mut last = 0;
        while last < wanted {
            let mut line = String::new();
            assert!(acknowledged.read_line(&mut line).unwrap() > 0, "it ended");
            // Between the lines of the test harness.
            last = line.trim().parse().unwrap_or(last);
        }
        // What was acknowledged as durable arrives while the writer lives, and stays when it does not.
        wait_until(|| shown.load(Ordering::SeqCst) >= last);
        child.kill().unwrap();
        let _ = child.wait().unwrap();
    }
    let log = Log::options().open(dir.path()).unwrap();
    wait_until(|| follower.head() == log.head());
    wait_until(|| shown.load(Ordering::SeqCst) == log.head());
    stop.stop();
    let (followed, written) = (following.join().unwrap(), all(&log));
    assert!(log.head() > 1500, "{}", log.head());
    assert!(followed == written, "not what was written");
    assert!(
        followed
            .iter()
            .map(|event| event.position)
            .eq(1..=log.head())
    );
    assert_eq!(all(&follower), written);
    assert_eq!(follower.verify(|_, _| {}).unwrap().damages, []);
    follower.close().unwrap();
}

/// A process that appends until it is killed, and says the last durable position after each durable append.
fn start_writer(dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = run_child("follow::child_writes_until_it_is_killed", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// Not a test: see the one above.
#[test]
#[ignore = "a child process of a_process_that_is_killed_again_and_again_is_followed_without_a_gap"]
fn child_writes_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let log = Log::options()
        .segment_len(64 << 10)
        .buffered_sync_after(Duration::from_millis(5))
        .open(&dir)
        .unwrap();
    let random = SeededRandom::new(log.head());
    for count in 0.. {
        let mut batch = Batch::new();
        for _ in 0..=random.next_u64() % 4 {
            let payload = vec![count as u8; (random.next_u64() % 600) as usize];
            batch.push(event("a", "Was", payload));
        }
        let is_durable = count % 3 == 0;
        if !is_durable {
            batch = batch.durability(Durability::Buffered);
        }
        let appended = log.append(batch).unwrap();
        if is_durable {
            println!("{}", appended.last);
        }
        // A writer on its way, not one that fills the disk before it is killed.
        std::thread::sleep(Duration::from_micros(200));
    }
}
