//! Putting a file back: what a repair has quarantined is there again once the file that was damaged is restored, that of
//! the segment being written no less than one that was sealed.
//!
//! Method: logs killed and closed, of one segment and of several; the file of the last one cut, spoiled, emptied, taken
//! away; repair, append, and then the file as it was.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{Batch, Direction, Durability, Error, Log, LogOptions, Query, QueryItem};
use annals_segments::{Clock, Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{DIR, content, exists, names, remove, write, written_len};
use annals_tests::{event, id, small_log};

/// A clock that goes on from one open to the next.
#[derive(Debug)]
struct Onward;

static NOW: AtomicU64 = AtomicU64::new(1_700_000_000_000_000);

impl Clock for Onward {
    fn now_us(&self) -> u64 {
        NOW.fetch_add(1_000, Ordering::Relaxed)
    }
}

fn options(disk: &MemoryDisk, seed: u64) -> LogOptions {
    small_log(disk.clone(), seed)
        .segment_len(256 << 10)
        .clock(Onward)
}

/// Events, or that one was quarantined.
fn read(log: &Log) -> Vec<Option<Vec<u8>>> {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events
        .map(|event| match event {
            Ok(event) => Some(event.payload),
            Err(Error::Quarantined { .. }) => None,
            Err(error) => panic!("{error}"),
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Killed,
    Closed,
    /// Killed, with buffered events behind what is durable.
    Buffered,
}

/// A log, the name of its last segment, and what is in it.
type Made = (MemoryDisk, String, Vec<Option<Vec<u8>>>);

/// A log with `events` of a hundred bytes.
fn made(left: Left, events: u64) -> Made {
    let disk = MemoryDisk::default();
    let log = options(&disk, 1).open(DIR).unwrap();
    for number in 0..events {
        let payload = format!("{number:0100}");
        let batch = Batch::from(event(&format!("a{}", number % 5), "Was", payload));
        let is_buffered = left == Left::Buffered && number >= events - 3;
        let durability = match is_buffered {
            true => Durability::Buffered,
            false => Durability::Sync,
        };
        let batch = batch.tracking("upstream", number + 1);
        let _ = log.append(batch.durability(durability)).unwrap();
    }
    let expected = read(&log);
    let disk = match left {
        Left::Closed => {
            log.close().unwrap();
            drop(log);
            disk
        }
        Left::Killed | Left::Buffered => disk.fork(),
    };
    let last = names(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".seg") && written_len(&disk, name) > 4096);
    (disk, last.unwrap(), expected)
}

/// What is done to the file.
type Spoil = (&'static str, fn(&MemoryDisk, &str));

fn cut(disk: &MemoryDisk, name: &str, len: u64) {
    let file = disk.open(&Path::new(DIR).join(name), OpenMode::ReadWrite);
    file.unwrap().set_len(len).unwrap();
}

fn noise(disk: &MemoryDisk, name: &str, offset: usize, len: usize) {
    let bytes = content(disk, name);
    let noise: Vec<u8> = bytes[offset..offset + len]
        .iter()
        .map(|byte| byte ^ 0x5a)
        .collect();
    write(disk, name, &noise, offset as u64);
}

const SPOILS: &[Spoil] = &[
    ("cut in the middle", |disk, name| {
        cut(disk, name, written_len(disk, name) as u64 / 2)
    }),
    ("cut near its end", |disk, name| {
        cut(disk, name, written_len(disk, name) as u64 - 300)
    }),
    ("cut behind its header", |disk, name| cut(disk, name, 4096)),
    ("cut in its first frame", |disk, name| cut(disk, name, 4200)),
    ("cut in its header", |disk, name| cut(disk, name, 100)),
    ("emptied", |disk, name| cut(disk, name, 0)),
    ("taken away", |disk, name| remove(disk, name)),
    ("header spoiled", |disk, name| noise(disk, name, 40, 20)),
    ("first frame spoiled", |disk, name| {
        noise(disk, name, 4100, 100)
    }),
    ("middle spoiled", |disk, name| {
        noise(disk, name, written_len(disk, name) / 2, 1000)
    }),
    ("end spoiled", |disk, name| {
        noise(disk, name, written_len(disk, name) - 200, 100)
    }),
    ("all spoiled", |disk, name| {
        noise(disk, name, 0, written_len(disk, name))
    }),
    ("frames zeroed", |disk, name| {
        let len = written_len(disk, name);
        write(disk, name, &vec![0; len - 4096], 4096);
    }),
];

#[test]
fn the_segment_being_written_heals_when_its_file_is_put_back() {
    for (left, events) in [
        (Left::Killed, 40),
        (Left::Killed, 1700),
        (Left::Closed, 40),
        (Left::Closed, 1700),
        (Left::Buffered, 40),
    ] {
        let made = made(left, events);
        for (spoil, spoiled) in SPOILS {
            let what = format!("{left:?}, {events} events, {spoil}");
            check(&made, *spoiled, &what);
        }
    }
}

/// Events that are appended to have the segments behind the repair rolled, often enough for links to be followed.
const ROLLED: usize = 64;

/// Spoils the last segment, repairs, goes on, puts the file back.
fn check(made: &Made, spoil: fn(&MemoryDisk, &str), what: &str) {
    let (sound, name, expected) = made;
    let durable = expected.len();
    let disk = sound.fork();
    spoil(&disk, name);
    let repair = options(&disk, 2).repair(DIR, |_, _| {}).unwrap();
    let _ = repair.run().unwrap();
    let log = options(&disk, 3).open(DIR).unwrap();
    let head = log.head();
    assert!(head >= durable as u64, "{what}");
    for (found, expected) in read(&log).iter().zip(expected) {
        assert!(found.is_none() || found == expected, "{what}");
    }
    let _ = log.append(event("new", "After", "after")).unwrap();
    // Of a topic that has events in the file that is gone, in segments that are sealed and linked meanwhile.
    let newest = names(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".seg"));
    for _ in 0..ROLLED {
        let _ = log.append(event("new", "Was", vec![7; 40 << 10])).unwrap();
    }
    let index = newest.unwrap().replace(".seg", ".idx");
    assert!(exists(&disk, &index), "{what}: {index}");
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, [], "{what}");
    log.close().unwrap();
    drop(log);

    if exists(&disk, name) {
        remove(&disk, name);
    }
    write(&disk, name, &content(sound, name), 0);
    let repair = options(&disk, 4).repair(DIR, |_, _| {}).unwrap();
    let plan = repair.plan();
    assert_eq!((&plan.losses[..], plan.kept), (&[][..], 0), "{what}");
    assert_eq!(plan.verified.damages, [], "{what}");
    assert_eq!(plan.verified.quarantined, [], "{what}");
    let _ = repair.run().unwrap();
    let log = options(&disk, 5).open(DIR).unwrap();
    let found = read(&log);
    assert_eq!(found[..durable], expected[..durable], "{what}");
    assert_eq!(found[head as usize], Some(b"after".to_vec()), "{what}");
    let aggregate = log.read_aggregate(&id("a0"), .., Direction::Forward);
    let count = aggregate.map(Result::unwrap).count();
    assert_eq!(count, durable.div_ceil(5), "{what}");
    let topic = Query::from(QueryItem::new().topic("Was"));
    let count = log.read(..=head, &topic, Direction::Forward).count();
    assert_eq!(count, head as usize, "{what}");
    let verified = log.verify(|_, _| {}).unwrap();
    assert_eq!(
        (verified.damages, verified.quarantined),
        (vec![], vec![]),
        "{what}"
    );
}

/// A log killed behind a roll, with the watermark as it was at the roll: it is synced no more often under load.
fn with_stale_watermark() -> Made {
    let disk = MemoryDisk::default();
    let log = options(&disk, 1).open(DIR).unwrap();
    let mut watermark = content(&disk, "WATERMARK");
    let mut rolled = None;
    for number in 0..1700 {
        let aggregate = format!("a{}", number % 5);
        let _ = log.append(event(&aggregate, "Was", format!("{number:0100}")));
        let last = last_written(&disk);
        if rolled.as_ref() != Some(&last) {
            watermark = content(&disk, "WATERMARK");
            rolled = Some(last);
        }
    }
    let expected = read(&log);
    let disk = disk.fork();
    write(&disk, "WATERMARK", &watermark, 0);
    let last = last_written(&disk);
    (disk, last, expected)
}

fn last_written(disk: &MemoryDisk) -> String {
    let names = names(disk).into_iter();
    let mut written = names.filter(|name| name.ends_with(".seg") && written_len(disk, name) > 4096);
    written.next_back().unwrap()
}

#[test]
fn a_header_that_is_lost_beside_a_stale_watermark_costs_no_position() {
    let made = with_stale_watermark();
    let (sound, name, expected) = &made;
    let spoil: fn(&MemoryDisk, &str) = |disk, name| noise(disk, name, 40, 20);
    let disk = sound.fork();
    spoil(&disk, name);
    let repair = options(&disk, 2).repair(DIR, |_, _| {}).unwrap();
    let plan = repair.plan();
    let [loss] = &plan.losses[..] else {
        panic!("{plan:?}");
    };
    assert!(
        loss.events > 100 && loss.last == expected.len() as u64,
        "{loss:?}"
    );
    assert!(plan.forgets_versions && !plan.forgets_positions);
    drop(repair);
    check(&made, spoil, "stale watermark");

    // Without the lengths nobody can say how far it went, and it is said that nobody can.
    noise(&disk, name, 4096, 1000);
    let repair = options(&disk, 2).repair(DIR, |_, _| {}).unwrap();
    let plan = repair.plan();
    assert!(plan.forgets_versions && plan.forgets_positions, "{plan:?}");
    assert!(plan.losses.iter().all(|loss| !loss.is_known), "{plan:?}");
}

/// What is put back may be damaged too: where it costs no event, it was not part of what was quarantined.
#[test]
fn damage_of_its_own_in_a_file_that_is_put_back_is_told() {
    let (sound, last, expected) = made(Left::Closed, 1700);
    let first = names(&sound)
        .into_iter()
        .find(|name| name.ends_with(".seg"));
    let first = first.unwrap();
    let taken: fn(&MemoryDisk, &str) = |disk, name| remove(disk, name);
    let frames: fn(&MemoryDisk, &str) =
        |disk, name| noise(disk, name, 4096, written_len(disk, name) - 4096);
    let header: fn(&MemoryDisk, &str) = |disk, name| noise(disk, name, 40, 20);
    let close: fn(&MemoryDisk, &str) =
        |disk, name| noise(disk, name, written_len(disk, name) - 20, 4);
    for (name, spoil, spoil_again) in [(&first, taken, header), (&last, frames, close)] {
        let disk = sound.fork();
        spoil(&disk, name);
        let repair = options(&disk, 2).repair(DIR, |_, _| {}).unwrap();
        let _ = repair.run().unwrap();
        if exists(&disk, name) {
            remove(&disk, name);
        }
        write(&disk, name, &content(&sound, name), 0);
        spoil_again(&disk, name);
        let log = options(&disk, 3).open(DIR).unwrap();
        assert_eq!(read(&log)[..expected.len()], expected[..], "{name}");
        let damages = log.verify(|_, _| {}).unwrap().damages;
        assert_eq!(damages.len(), 1, "{name}: {damages:?}");
    }
}
