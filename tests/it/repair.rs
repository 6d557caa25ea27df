//! Repair: a log that is damaged opens for writing once somebody has decided to go on, everything that is sound is
//! read as before, what is lost is told in its place, and no byte is gone.
//!
//! Method: one bit, one file, a piece of a file spoiled at a time, in logs killed, closed and rolled; then repair,
//! open, append, read, verify, once more.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{
    Batch, Direction, Durability, Error, Expected, Log, Query, RepairPlan, Repaired,
};
use annals_segments::{Clock, Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{
    DIR, FIRST_SEGMENT, SECOND_SEGMENT, content, exists, flip, names, remove, write, written_len,
};
use annals_tests::sim_disk::{SimDisk, Spared, Step};
use annals_tests::{SeededRandom, event, id, small_log};

fn open(disk: &MemoryDisk, seed: u64) -> Result<Log, Error> {
    small_log(disk.clone(), seed).open(DIR)
}

fn plan(disk: &MemoryDisk) -> RepairPlan {
    let repair = small_log(disk.clone(), 8).repair(DIR, |_, _| {}).unwrap();
    repair.plan().clone()
}

fn repair(disk: &MemoryDisk) -> Repaired {
    let repair = small_log(disk.clone(), 9).repair(DIR, |_, _| {});
    repair.unwrap().run().unwrap()
}

/// What stands at each position: the payload, or that it was quarantined.
type Read = Vec<Option<Vec<u8>>>;

fn read(log: &Log) -> Read {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events
        .map(|event| match event {
            Ok(event) => Some(event.payload),
            Err(Error::Quarantined { first, last, .. }) if first == last => None,
            Err(error) => panic!("{error}"),
        })
        .collect()
}

/// Appends of one and of three events, of several aggregates, until `events` are there. Position 1 is the first.
fn fill(log: &Log, events: u64, len: usize) {
    while log.head() < events {
        let number = log.head() + 1;
        let payload = |number: u64| {
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(len.max(8), 7);
            payload
        };
        let aggregate = format!("a{}", number % 5);
        let batch = match number % 4 {
            0 => (number..number + 3).fold(Batch::new(), |batch, number| {
                batch.event(event(&aggregate, "Three", payload(number)).tag("t"))
            }),
            _ => Batch::from(event(&aggregate, "One", payload(number))),
        };
        let _ = log.append(batch).unwrap();
    }
}

/// A log that rolled and was killed, its index files made.
fn killed() -> (MemoryDisk, Read) {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 120, 1000);
    let expected = read(&log);
    assert!(exists(&disk, SECOND_SEGMENT));
    (disk.fork(), expected)
}

/// Repairs, when an open is refused or something is lost, and checks all that is promised. Answers how many are lost.
fn check(disk: &MemoryDisk, expected: &Read, what: &str) -> usize {
    let before = disk.fork();
    let planned = plan(disk);
    assert_eq!(
        files(&before),
        files(disk),
        "{what}: a plan changes nothing"
    );
    let repaired = repair(disk);
    assert_eq!(repaired.losses, planned.losses, "{what}");
    let log = open(disk, 3).unwrap_or_else(|error| panic!("{what}: {error}"));
    let read_again = read(&log);
    assert!(
        read_again.len() >= expected.len(),
        "{what}: positions are gone"
    );
    let mut lost = 0;
    for (position, (found, expected)) in read_again.iter().zip(expected).enumerate() {
        match found {
            Some(found) => assert_eq!(Some(found), expected.as_ref(), "{what}: {position}"),
            None => lost += 1,
        }
    }
    let told: u64 = repaired.losses.iter().map(|loss| loss.events).sum();
    assert_eq!(told, lost as u64, "{what}: {:?}", repaired.losses);
    for loss in &repaired.losses {
        if let Some(path) = &loss.quarantine {
            let kept = content(disk, path.file_name().unwrap().to_str().unwrap());
            let name = loss.path.file_name().unwrap().to_str().unwrap();
            let start = loss.offset as usize;
            assert_eq!(
                kept,
                content(&before, name)[start..start + kept.len()],
                "{what}"
            );
        }
    }
    // It is written to, at positions and versions of its own.
    let head = log.head();
    for number in 0..7 {
        let aggregate = format!("a{number}");
        let version = log.version(&id(&aggregate)).unwrap();
        let expected = version.map_or(Expected::NoEvents, Expected::Exactly);
        let batch = Batch::from(event(&aggregate, "After", "x")).expect(id(&aggregate), expected);
        assert_eq!(log.append(batch).unwrap().last, head + 1 + number, "{what}");
    }
    let verified = log.verify(|_, _| {}).unwrap();
    assert_eq!(verified.damages, [], "{what}");
    log.close().unwrap();
    drop(log);
    // Doing it again changes nothing, and it opens ever after, for readers too.
    let again = plan(disk);
    assert!(!again.is_needed(), "{what}: {again:?}");
    let reader = small_log(disk.clone(), 5).open_read_only(DIR).unwrap();
    assert_eq!(read(&reader)[..head as usize], read_again[..], "{what}");
    assert_eq!(reader.head(), head + 7);
    lost
}

fn files(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let names = names(disk).into_iter().filter(|name| name != "LOCK");
    names
        .map(|name| (name.clone(), content(disk, &name)))
        .collect()
}

#[test]
fn a_sound_log_is_left_as_it_is() {
    let (disk, expected) = killed();
    drop(open(&disk, 2).unwrap());
    let planned = plan(&disk);
    assert!(!planned.is_needed(), "{planned:?}");
    assert_eq!(check(&disk, &expected, "sound"), 0);
}

#[test]
fn rot_anywhere_in_any_segment_is_gone_around() {
    let (sound, expected) = killed();
    let segments: Vec<String> = names(&sound)
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    let mut lost = 0;
    for name in &segments {
        let len = written_len(&sound, name);
        for place in (0..24).map(|part| 4096 + (len.saturating_sub(4097)) * part / 23) {
            let disk = sound.fork();
            flip(&disk, name, place.min(len - 1));
            lost += check(&disk, &expected, &format!("{name} at {place}"));
        }
        let disk = sound.fork();
        flip(&disk, name, 50);
        lost += check(&disk, &expected, &format!("header of {name}"));
    }
    assert!(lost > 60, "{lost}");
}

/// An open believes a checkpoint, so that it need not read what lies before; a repair is asked about just that.
#[test]
fn rot_before_a_checkpoint_is_gone_around() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 60, 100);
    let expected = read(&log);
    log.close().unwrap();
    drop(log);
    let segment = names(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".tail"));
    let segment = segment.unwrap().replace(".tail", ".seg");
    flip(&disk, &segment, 4_096 + 1_500);
    assert!(plan(&disk).is_needed());
    assert!(check(&disk, &expected, "before a checkpoint") > 0);
}

#[test]
fn rot_without_any_index_is_gone_around() {
    let (sound, expected) = killed();
    for name in names(&sound) {
        if name.ends_with(".idx") || name.starts_with("heads-") || name.ends_with(".tail") {
            remove(&sound, &name);
        }
    }
    let mut lost = 0;
    for name in [FIRST_SEGMENT, SECOND_SEGMENT] {
        for place in [4096 + 4, 20_000, 40_001] {
            let disk = sound.fork();
            flip(&disk, name, place);
            lost += check(&disk, &expected, &format!("{name} at {place}"));
        }
    }
    assert!(lost >= 4, "{lost}");
}

#[test]
fn rot_with_both_manifests_lost_is_gone_around() {
    let (sound, expected) = killed();
    for name in ["MANIFEST-a", "MANIFEST-b"] {
        write(&sound, name, &[0xff; 100], 0);
    }
    let mut lost = 0;
    for name in [FIRST_SEGMENT, SECOND_SEGMENT] {
        for place in [4096 + 4, 20_000, 40_001] {
            let disk = sound.fork();
            flip(&disk, name, place);
            lost += check(&disk, &expected, &format!("{name} at {place}"));
            let kept = names(&disk)
                .into_iter()
                .filter(|name| name.starts_with("quarantine-MANIFEST"));
            assert!(kept.count() >= 1);
        }
    }
    assert!(lost >= 4, "{lost}");
}

#[test]
fn a_segment_that_is_missing_or_short_is_gone_around() {
    let (sound, expected) = killed();
    let segments = names(&sound)
        .into_iter()
        .filter(|name| name.ends_with(".seg") && written_len(&sound, name) > 4096);
    for name in segments {
        for has_index in [true, false] {
            let disk = sound.fork();
            let index = name.replace(".seg", ".idx");
            if !has_index && exists(&disk, &index) {
                remove(&disk, &index);
            }
            remove(&disk, &name);
            assert!(check(&disk, &expected, &format!("{name} missing")) > 0);
        }
        for len in [0, 100, 4096, 5000, written_len(&sound, &name) as u64 - 1] {
            let disk = sound.fork();
            let file = disk.open(&Path::new(DIR).join(&name), OpenMode::ReadWrite);
            file.unwrap().set_len(len).unwrap();
            check(&disk, &expected, &format!("{name} cut at {len}"));
        }
    }
}

#[test]
fn a_segment_that_is_all_zeros_or_another_file_is_gone_around() {
    let (sound, expected) = killed();
    for name in [FIRST_SEGMENT, SECOND_SEGMENT] {
        let len = content(&sound, name).len();
        for (from, byte) in [(0, 0), (4096, 0), (0, 0x5a), (4096, 0x5a), (30_000, 0)] {
            let disk = sound.fork();
            write(&disk, name, &vec![byte; len - from], from as u64);
            let what = format!("{name} of {byte} from {from}");
            assert!(check(&disk, &expected, &what) > 0, "{what}");
        }
    }
}

#[test]
fn every_kind_of_damage_at_once_is_gone_around() {
    let (disk, expected) = killed();
    flip(&disk, FIRST_SEGMENT, 20_000);
    flip(&disk, FIRST_SEGMENT, 50_000);
    let last = names(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".seg") && written_len(&disk, name) > 4096)
        .unwrap();
    flip(&disk, &last, 4200);
    write(&disk, "MANIFEST-a", b"nothing", 0);
    assert!(check(&disk, &expected, "all") >= 3);
}

#[test]
fn more_damage_behind_a_repair_is_told_again() {
    let (disk, expected) = killed();
    flip(&disk, FIRST_SEGMENT, 20_000);
    let lost = check(&disk, &expected, "once");
    flip(&disk, FIRST_SEGMENT, 50_000);
    let log = open(&disk, 6).unwrap();
    let damages = log.verify(|_, _| {}).unwrap();
    assert_eq!((damages.damages.len(), damages.quarantined.len()), (1, 1));
    let events = log.read(.., &Query::all(), Direction::Forward);
    let found: Vec<_> = events.filter_map(Result::err).collect();
    assert!(
        found.iter().any(|error| !error.is_quarantined()),
        "{found:?}"
    );
    log.close().unwrap();
    drop(log);
    let planned = plan(&disk);
    assert_eq!((planned.losses.len(), planned.kept), (1, 1));
    let expected: Read = {
        let mut expected = expected;
        expected.extend((0..7).map(|_| Some(b"x".to_vec())));
        expected
    };
    let _ = repair(&disk);
    let log = open(&disk, 7).unwrap();
    let read_again = read(&log);
    assert_eq!(read_again.len(), expected.len());
    assert!(read_again.iter().filter(|found| found.is_none()).count() > lost);
}

#[test]
fn what_is_restored_is_there_again() {
    let (disk, expected) = killed();
    let sound = content(&disk, FIRST_SEGMENT);
    flip(&disk, FIRST_SEGMENT, 20_000);
    flip(&disk, FIRST_SEGMENT, 40_000);
    assert!(check(&disk, &expected, "damaged") > 0);
    write(&disk, FIRST_SEGMENT, &sound, 0);
    let log = open(&disk, 4).unwrap();
    assert_eq!(read(&log)[..expected.len()], expected[..]);
    let verified = log.verify(|_, _| {}).unwrap();
    assert_eq!((verified.damages.len(), verified.quarantined.len()), (0, 0));
    drop(log);
    let planned = plan(&disk);
    assert_eq!(
        (planned.healed, planned.kept, planned.losses.len()),
        (2, 0, 0)
    );
    let _ = repair(&disk);
    assert_eq!(plan(&disk).healed, 0);
}

/// A log that rolled often, closed, with heads. Positions are those of 1,000-byte payloads.
fn with_heads() -> (MemoryDisk, Read) {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 700, 1000);
    let expected = read(&log);
    log.close().unwrap();
    drop(log);
    assert!(names(&disk).iter().any(|name| name.starts_with("heads-")));
    (disk, expected)
}

#[test]
fn derived_files_that_are_damaged_are_made_anew() {
    let (sound, expected) = with_heads();
    let is_derived = |name: &String| {
        [".idx", "-a", "-b"].iter().any(|end| name.ends_with(end)) || name.starts_with("heads-")
    };
    let derived: Vec<_> = names(&sound).into_iter().filter(is_derived).collect();
    assert!(derived.len() > 10);
    for name in derived {
        for place in [3, 60, written_len(&sound, &name) - 1] {
            let disk = sound.fork();
            flip(&disk, &name, place);
            let what = format!("{name} at {place}");
            let planned = plan(&disk);
            assert_eq!(planned.verified.damages.len(), 1, "{what}");
            assert_eq!(planned.derived, [Path::new(DIR).join(&name)], "{what}");
            assert!(!planned.is_needed(), "{what}");
            let _ = repair(&disk);
            let planned = plan(&disk);
            assert_eq!(
                (planned.verified.damages, planned.derived),
                (vec![], vec![]),
                "{what}"
            );
            assert!(exists(&disk, &name) || name.starts_with("heads-"), "{what}");
            assert_eq!(read(&open(&disk, 3).unwrap()), expected, "{what}");
        }
    }
}

/// Derived indexes are written in quiet times: one that cannot be written keeps neither the others nor the heads from it.
#[test]
fn an_index_that_cannot_be_written_stops_no_other() {
    let (sound, expected) = with_heads();
    let names = names(&sound);
    let mut indexes: Vec<_> = names.iter().filter(|name| name.ends_with(".idx")).collect();
    indexes.sort();
    let [first, .., second, refused] = indexes[..] else {
        panic!("{indexes:?}");
    };
    for name in names.iter().filter(|name| name.starts_with("heads-")) {
        remove(&sound, name);
    }
    let spoiled = sound.fork();
    for name in [first, second, refused] {
        flip(&spoiled, name, 300);
    }
    for bad in [first, refused] {
        let disk = SimDisk::over(spoiled.fork());
        let log = small_log(disk.clone(), 2).open(DIR).unwrap();
        assert_eq!(read(&log), expected);
        let _ = log
            .read_aggregate(&id("a1"), .., Direction::Forward)
            .count();
        let prefix = bad.clone();
        disk.set_hook(move |step, path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match step.is_change() && name.starts_with(&prefix) {
                true => Err(ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        while log.housekeep() {}
        for name in [first, second, refused] {
            let is_sound = content(&disk.memory, name) == content(&sound, name);
            assert_eq!(is_sound, name != bad, "{name}, {bad} refused");
        }
        let heads = |name: &String| name.starts_with("heads-");
        assert_eq!(
            annals_tests::log_files::names(&disk.memory)
                .iter()
                .any(heads),
            bad != first,
            "{bad} refused"
        );
    }
}

#[test]
fn heads_that_know_of_what_is_quarantined_are_no_damage() {
    let (sound, expected) = with_heads();
    let segments: Vec<_> = names(&sound)
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    for name in &segments[..8] {
        let disk = sound.fork();
        let len = written_len(&disk, name);
        // One of the last events of the segment: the newest of its aggregate, as far as the heads go.
        for place in (len - 8000..len - 600).step_by(1000) {
            flip(&disk, name, place);
        }
        assert!(check(&disk, &expected, name) > 0);
    }
}

#[test]
fn a_watermark_that_is_gone_is_told() {
    let (disk, expected) = killed();
    remove(&disk, "WATERMARK");
    let planned = plan(&disk);
    let path = Path::new(DIR).join("WATERMARK");
    assert_eq!(planned.verified.damages.len(), 1);
    assert_eq!(planned.verified.damages[0].path, path);
    assert_eq!(planned.derived, [path]);
    assert_eq!(check(&disk, &expected, "watermark"), 0);
}

#[test]
fn a_loss_says_whose_events_it_took() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    for number in 0..60 {
        let aggregate = format!("a{}", number % 3);
        let _ = log.append(event(
            &aggregate,
            "Was",
            format!("payload-{number:03}-{}", "x".repeat(2000)),
        ));
    }
    log.close().unwrap();
    drop(log);
    let bytes = content(&disk, FIRST_SEGMENT);
    let place = bytes
        .windows(11)
        .position(|window| window == b"payload-004");
    flip(&disk, FIRST_SEGMENT, place.unwrap());
    let [loss] = &plan(&disk).losses[..] else {
        panic!("one loss");
    };
    assert_eq!((loss.first, loss.last, loss.events), (5, 5, 1));
    assert_eq!(loss.aggregates, [id("a1")]);
    assert_eq!(loss.topics, ["Was"]);
    assert!(loss.is_known && loss.bytes > 2000);
    let _ = repair(&disk);
    let log = open(&disk, 2).unwrap();
    // In its place among those of its aggregate.
    let events = log.read_aggregate(&id("a1"), .., Direction::Forward);
    let found: Vec<bool> = events.map(|event| event.is_ok()).collect();
    assert_eq!(found.iter().position(|is_there| !is_there), Some(1));
    assert_eq!(found.len(), 20);
    assert_eq!(log.version(&id("a1")).unwrap(), Some(20));
}

#[test]
fn no_version_that_an_index_knows_of_is_given_twice() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("lone", "Was", "payload-lone")).unwrap();
    let _ = log.append(event("x", "Was", "first")).unwrap();
    let _ = log.append(event("x", "Was", "payload-x")).unwrap();
    for _ in 0..40 {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let bytes = content(&disk, FIRST_SEGMENT);
    for payload in ["payload-lone", "payload-x"] {
        let payload = payload.as_bytes();
        let mut windows = bytes.windows(payload.len());
        flip(
            &disk,
            FIRST_SEGMENT,
            windows.position(|window| window == payload).unwrap(),
        );
    }
    let _ = repair(&disk);
    let log = open(&disk, 2).unwrap();
    assert_eq!(log.version(&id("lone")).unwrap(), Some(1));
    let again = Batch::from(event("lone", "Was", "again")).expect(id("lone"), Expected::NoEvents);
    assert!(log.append(again).unwrap_err().is_conflict());
    let stale = Batch::from(event("x", "Was", "again")).expect(id("x"), Expected::Exactly(1));
    assert!(log.append(stale).unwrap_err().is_conflict());
    let next = Batch::from(event("x", "Was", "again")).expect(id("x"), Expected::Exactly(2));
    let _ = log.append(next).unwrap();
    assert_eq!(log.version(&id("x")).unwrap(), Some(3));
    // A condition on what is lost cannot be decided, and says why; one on anything else can.
    let tagged = |topic: &str| Query::from(annals_engine::QueryItem::new().topic(topic));
    let free = Batch::from(event("n", "New", "x")).fail_if_match(tagged("New"), 0);
    let _ = log.append(free).unwrap();
    let taken = Batch::from(event("m", "New", "x")).fail_if_match(tagged("Was"), 0);
    let error = log.append(taken).unwrap_err();
    assert!(error.is_quarantined() || error.is_conflict(), "{error}");
}

#[test]
fn a_repair_that_another_process_would_disturb_is_refused() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 3, 10);
    let refused = small_log(disk.clone(), 2).repair(DIR, |_, _| {});
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    log.close().unwrap();
    drop(log);
    let held = small_log(disk.clone(), 2).repair(DIR, |_, _| {}).unwrap();
    assert!(matches!(open(&disk, 3), Err(Error::Locked { .. })));
    drop(held);
    assert!(open(&disk, 3).is_ok());
}

#[test]
fn buffered_events_behind_the_damage_stay() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 12, 200);
    for _ in 0..3 {
        let buffered = Batch::from(event("b", "Late", "late")).durability(Durability::Buffered);
        let _ = log.append(buffered).unwrap();
    }
    let expected: Read = {
        let mut expected = read(&log);
        expected.extend((0..3).map(|_| Some(b"late".to_vec())));
        expected
    };
    let disk = disk.fork();
    flip(&disk, FIRST_SEGMENT, 5000);
    assert!(open(&disk.fork(), 2).unwrap_err().is_corrupt());
    let lost = check(&disk, &expected, "buffered");
    assert!(lost > 0 && lost < expected.len() - 3);
    let log = open(&disk, 4).unwrap();
    assert_eq!(
        log.read_aggregate(&id("b"), .., Direction::Forward).count(),
        3
    );
}

#[test]
fn a_lost_table_of_last_versions_is_gone_around() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("gone", "Was", "x")).unwrap();
    fill(&log, 200, 1000);
    let first = log.truncate_before(100).unwrap().first_position;
    log.close().unwrap();
    drop(log);
    let table = names(&disk)
        .into_iter()
        .find(|name| name.starts_with("versions-"));
    let table = table.unwrap();
    let bytes = content(&disk, &table);
    flip(&disk, &table, 90);
    assert!(open(&disk, 2).unwrap_err().is_corrupt());
    let planned = plan(&disk);
    assert!(planned.forgets_versions && planned.refused.is_some());
    let _ = repair(&disk);
    let kept = names(&disk)
        .into_iter()
        .find(|name| name.starts_with("quarantine-versions-"));
    assert_eq!(content(&disk, &kept.unwrap()).len(), bytes.len());
    let log = open(&disk, 3).unwrap();
    assert_eq!(log.first_position(), first);
    assert_eq!(log.version(&id("gone")).unwrap(), None);
    assert!(log.version(&id("a1")).unwrap().is_some());
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn the_loss_of_the_only_segment_with_acknowledged_events_is_told() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    fill(&log, 5, 100);
    let disk = disk.fork();
    for name in names(&disk) {
        if name.ends_with(".seg") {
            remove(&disk, &name);
        }
    }
    let refused = open(&disk, 2);
    assert!(
        refused.as_ref().is_err_and(Error::is_corrupt),
        "{refused:?}"
    );
    let expected: Read = (0..6).map(|_| Some(Vec::new())).collect();
    assert_eq!(check(&disk, &expected, "only segment"), 6);
}

/// A whole frame whose sync failed is seen and not on the disk: nothing may vouch for it before it is written anew.
#[test]
fn what_only_the_page_cache_has_is_not_vouched_for() {
    for derived in ["WATERMARK", "MANIFEST-a", "0000000001.idx"] {
        let disk = SimDisk::default();
        let log = small_log(disk.clone(), 1).open(DIR).unwrap();
        fill(&log, 100, 1000);
        let acknowledged = read(&log);
        disk.fail(Step::Sync, ErrorKind::Other);
        let _ = log.append(event("late", "Was", "late")).unwrap_err();
        drop(log);
        let disk = disk.restarted();
        let path = Path::new(DIR).join(derived);
        if derived == "WATERMARK" {
            disk.remove(&path).unwrap();
            disk.sync_dir(Path::new(DIR)).unwrap();
        } else {
            let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
            file.write_all_at(&[0xff; 64], 0).unwrap();
            file.sync_data().unwrap();
        }
        let repair = small_log(disk.clone(), 2).repair(DIR, |_, _| {}).unwrap();
        assert_eq!(repair.plan().derived, [path], "{derived}");
        let _ = repair.run().unwrap();
        let log = small_log(disk.clone(), 3).open(DIR).unwrap();
        let shown = read(&log);
        assert_eq!(shown.len(), acknowledged.len() + 1, "{derived}");
        let _ = log.append(event("after", "Was", "after")).unwrap();
        let left = disk.power_cut(Spared::Nothing);
        let log = open(&left, 4).unwrap_or_else(|error| panic!("{derived}: {error}"));
        assert_eq!(read(&log)[..shown.len()], shown[..], "{derived}");
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, [], "{derived}");
    }
}

/// Has every changing call refused from the `calls`-th on. Answers whether that was reached.
fn crash_after(disk: &SimDisk, calls: u64) -> Arc<AtomicU64> {
    let left = Arc::new(AtomicU64::new(calls));
    let counted = left.clone();
    let is_over = Arc::new(AtomicU64::new(0));
    let over = is_over.clone();
    disk.set_hook(move |step, _| {
        let one_less = |left: u64| left.checked_sub(1);
        let counts = step.is_change();
        if counts
            && counted
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_err()
        {
            over.store(1, Ordering::SeqCst);
            return Err(IoError::other("the crash"));
        }
        Ok(())
    });
    is_over
}

/// A clock that stands behind everything the other one has said: it goes on where that starts again, and lost events may
/// come back.
#[derive(Debug)]
struct Later;

impl Clock for Later {
    fn now_us(&self) -> u64 {
        1_800_000_000_000_000
    }
}

#[test]
fn a_repair_cut_short_at_any_call_is_done_whole_or_not_at_all() {
    let (sound, expected) = killed();
    let last = names(&sound)
        .into_iter()
        .rfind(|name| name.ends_with(".seg") && written_len(&sound, name) > 4096)
        .unwrap();
    // Behind what no sync has covered there is something too.
    let random = SeededRandom::new(7);
    let spoils: [fn(&MemoryDisk, &str); 5] = [
        |disk, _| flip(disk, FIRST_SEGMENT, 20_000),
        |disk, last| flip(disk, last, 4200),
        |disk, last| {
            remove(disk, SECOND_SEGMENT);
            flip(disk, last, 4200);
            write(disk, "MANIFEST-a", b"nothing", 0);
        },
        |disk, last| {
            let file = disk.open(&Path::new(DIR).join(last), OpenMode::ReadWrite);
            file.unwrap().set_len(4200).unwrap();
            flip(disk, "0000000001.idx", 300);
        },
        |disk, last| remove(disk, last),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let damaged = sound.fork();
        spoil(&damaged, &last);
        let done = damaged.fork();
        let lost = check(&done, &expected, "uncut");
        for calls in 0.. {
            let disk = SimDisk::over(damaged.fork());
            let is_over = crash_after(&disk, calls);
            let repaired = small_log(disk.clone(), 2)
                .clock(Later)
                .repair(DIR, |_, _| {})
                .and_then(annals_engine::Repair::run);
            let is_cut = is_over.load(Ordering::SeqCst) == 1;
            assert!(is_cut || repaired.is_ok(), "{repaired:?}");
            for spared in [
                Spared::Nothing,
                Spared::Some(&random),
                Spared::Some(&random),
            ] {
                let left = disk.power_cut(spared);
                let what = format!("spoil {number}, calls {calls}");
                // As damaged as before, or repaired: the same is lost in the end, and no byte before.
                let again = check_left(&left, &expected, &what);
                assert_eq!(again, lost, "{what}");
                check_put_back(&left, &sound, &expected, &what);
            }
            if !is_cut {
                break;
            }
        }
    }
}

/// As [`check`], when a crash has left what may be repaired already.
fn check_left(disk: &MemoryDisk, expected: &Read, what: &str) -> usize {
    let planned = plan(disk);
    if planned.is_needed() || !planned.derived.is_empty() {
        let repair = small_log(disk.clone(), 9).clock(Later);
        let _ = repair.repair(DIR, |_, _| {}).unwrap().run().unwrap();
    }
    let log = small_log(disk.clone(), 3).clock(Later).open(DIR);
    let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
    let read_again = read(&log);
    assert_eq!(read_again.len(), expected.len(), "{what}");
    for (found, expected) in read_again.iter().zip(expected) {
        assert!(found.is_none() || found == expected, "{what}");
    }
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, [], "{what}");
    let _ = log.append(event("later", "After", "x")).unwrap();
    log.close().unwrap();
    read_again.iter().filter(|found| found.is_none()).count()
}

/// Puts the segments back as they were before they were spoiled: whatever a crash has cut short, all of it is there again.
fn check_put_back(disk: &MemoryDisk, sound: &MemoryDisk, expected: &Read, what: &str) {
    for name in names(sound).iter().filter(|name| name.ends_with(".seg")) {
        // A spare, which may be in use by now.
        if written_len(sound, name) <= 4096 {
            continue;
        }
        if exists(disk, name) {
            remove(disk, name);
        }
        write(disk, name, &content(sound, name), 0);
    }
    let log = small_log(disk.clone(), 5).clock(Later).open(DIR);
    let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(read(&log)[..expected.len()], expected[..], "{what}");
    let verified = log.verify(|_, _| {}).unwrap();
    assert_eq!(
        (verified.damages, verified.quarantined),
        (vec![], vec![]),
        "{what}"
    );
}
