//! Backups: what was durable when one began is in it, whole, whatever the log does meanwhile; one that was cut short is
//! the one before, or says so; what is restored is the log at that moment.
//!
//! Method: backups beside appends, rolls and truncations; every changing call refused in turn, with and without the
//! loss of what no sync has covered; every file of a backup spoiled.

use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{BackupMode, BackupReport, Batch, Direction, Durability, Error, Log, Query};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{DIR, FIRST_SEGMENT, SECOND_SEGMENT, flip, remove, written_len};
use annals_tests::sim_disk::{SimDisk, Spared};
use annals_tests::{SeededRandom, event, id, small_log};

const TO: &str = "/backup";
const RESTORED: &str = "/restored";

fn open(disk: &MemoryDisk, seed: u64) -> Log {
    small_log(disk.clone(), seed).open(DIR).unwrap()
}

fn fill(log: &Log, events: u64) {
    while log.head() < events {
        let number = log.head() + 1;
        let aggregate = format!("a{}", number % 5);
        let payload = format!("{number}-{}", "x".repeat(700));
        let batch = Batch::from(event(&aggregate, "Was", payload)).tracking("t", number);
        let _ = log.append(batch).unwrap();
    }
}

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events.map(|event| event.unwrap().payload).collect()
}

fn back_up(log: &Log, mode: BackupMode) -> BackupReport {
    let report = log
        .backup(TO, mode, |done, all| assert!(done <= all))
        .unwrap();
    assert_eq!(report.damages, []);
    report
}

fn files(disk: &MemoryDisk, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = disk.list(Path::new(dir)).unwrap().into_iter();
    let entries = entries.filter(|entry| !entry.is_dir && entry.name != "LOCK");
    entries
        .map(|entry| {
            let file = disk.open(&Path::new(dir).join(&entry.name), OpenMode::Read);
            (entry.name, file.unwrap().read_up_to(u64::MAX).unwrap())
        })
        .collect()
}

/// Opens the backup read-only and a log restored from it: both sound. Answers what is in them.
fn check(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let disk = disk.fork();
    let reader = small_log(disk.clone(), 11).open_read_only(TO).unwrap();
    assert_eq!(reader.verify(|_, _| {}).unwrap().damages, []);
    let found = payloads(&reader);
    assert_eq!(reader.head(), reader.durable_head());
    let options = || small_log(disk.clone(), 12);
    let restored = options().restore(TO, "/checked", |_, _| {}).unwrap();
    assert_eq!(restored.last_position, reader.head());
    let log = options().open("/checked").unwrap();
    assert_eq!(payloads(&log), found);
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
    assert_eq!(log.tracking("t"), reader.tracking("t"));
    for number in 0..5 {
        let id = id(&format!("a{number}"));
        assert_eq!(log.version(&id).unwrap(), reader.version(&id).unwrap());
    }
    assert_eq!(
        log.append(event("a1", "After", "x")).unwrap().last,
        reader.head() + 1
    );
    found
}

#[test]
fn a_backup_holds_what_was_durable_and_restores_to_it() {
    for mode in [BackupMode::Link, BackupMode::Copy] {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill(&log, 200);
        let expected = payloads(&log);
        let late = Batch::from(event("late", "Late", "late")).durability(Durability::Buffered);
        let _ = log.append(late).unwrap();
        let report = back_up(&log, mode);
        assert_eq!((report.first_position, report.last_position), (1, 200));
        assert_eq!(report.linked_files > 0, mode == BackupMode::Link);
        assert_eq!(check(&disk), expected, "{mode:?}");
        // Once more, when nothing is new: only the segment being written is looked at again.
        let again = back_up(&log, mode);
        assert_eq!(
            (again.copied_bytes, again.linked_files),
            (0, 0),
            "{again:?}"
        );
        // And from another process.
        fill(&log, 300);
        let expected = payloads(&log);
        let reader = small_log(disk.clone(), 3).open_read_only(DIR).unwrap();
        let report = back_up(&reader, mode);
        assert!(report.kept_files >= 2, "{report:?}");
        assert_eq!(check(&disk), expected[..report.last_position as usize]);
        assert_eq!(report.last_position, log.durable_head());
    }
}

#[test]
fn an_empty_log_has_a_backup() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    let report = back_up(&log, BackupMode::Link);
    assert_eq!((report.last_position, report.files), (0, 0));
    assert_eq!(check(&disk), Vec::<Vec<u8>>::new());
    fill(&log, 100);
    let _ = back_up(&log, BackupMode::Link);
    assert_eq!(check(&disk).len(), 100);
}

#[test]
fn backups_beside_appends_rolls_and_truncations_are_whole() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1)
        .background(true)
        .open(DIR)
        .unwrap();
    fill(&log, 50);
    let writer = log.clone();
    let appending = std::thread::spawn(move || {
        for step in 1..=10 {
            fill(&writer, 50 + 80 * step);
            if step % 3 == 0 {
                let _ = writer.truncate_before(60 * step).unwrap();
            }
        }
    });
    let mut last = 0;
    while !appending.is_finished() {
        let durable = log.durable_head();
        let report = back_up(&log, BackupMode::Link);
        assert!(report.last_position >= durable.max(last));
        last = report.last_position;
        let reader = small_log(disk.clone(), 4).open_read_only(TO).unwrap();
        assert_eq!(reader.head(), last);
        assert_eq!(reader.verify(|_, _| {}).unwrap().damages, []);
        let numbered = payloads(&reader).into_iter().zip(reader.first_position()..);
        for (payload, position) in numbered {
            assert!(payload.starts_with(format!("{position}-").as_bytes()));
        }
    }
    appending.join().unwrap();
    let _ = back_up(&log, BackupMode::Copy);
    let expected = payloads(&log);
    assert_eq!(check(&disk), expected);
    // What the log has dropped is in no backup any more.
    let first = log.view().first_position();
    assert!(first > 1);
    assert!(!files(&disk, TO).contains_key(FIRST_SEGMENT));
}

#[test]
fn what_the_log_loses_a_linked_backup_keeps() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 200);
    let expected = payloads(&log);
    let _ = back_up(&log, BackupMode::Link);
    let before = files(&disk, TO);
    // Everything that may happen to a sealed segment: cut, dropped, finished anew, repaired.
    fill(&log, 400);
    let _ = log.truncate_before(300).unwrap();
    log.close().unwrap();
    drop(log);
    drop(open(&disk, 2));
    assert_eq!(check(&disk), expected);
    for (name, bytes) in files(&disk, TO) {
        let shorter = before[&name].len().min(bytes.len());
        assert_eq!(bytes[..shorter], before[&name][..shorter], "{name}");
    }
}

/// What a log has lost at its end may be in the backup only.
#[test]
fn a_log_that_has_lost_its_end_does_not_shorten_its_backup() {
    let ways: [fn(&MemoryDisk); 4] = [
        |disk| remove(disk, FIRST_SEGMENT),
        |disk| flip(disk, FIRST_SEGMENT, 20),
        |disk| flip(disk, FIRST_SEGMENT, written_len(disk, FIRST_SEGMENT) - 40),
        |disk| flip(disk, FIRST_SEGMENT, 4_096 + 9),
    ];
    for damage in ways {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill(&log, 20);
        let _ = back_up(&log, BackupMode::Copy);
        let whole = payloads(&log);
        // Killed, not closed.
        let disk = disk.fork();
        damage(&disk);
        let before = files(&disk, TO);
        let log = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
        match log.backup(TO, BackupMode::Copy, |_, _| {}) {
            Err(Error::NotALog { .. }) => assert_eq!(files(&disk, TO), before),
            Ok(report) => {
                assert_ne!(report.damages, []);
                assert_eq!(report.last_position, whole.len() as u64);
                // The log was sound when it was brought, so all of that is.
                let after = files(&disk, TO);
                for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".seg")) {
                    assert!(after[name].starts_with(bytes), "{name}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_backup_is_no_log_to_be_written_to() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 100);
    let _ = back_up(&log, BackupMode::Link);
    let before = files(&disk, TO);
    for refused in [
        small_log(disk.clone(), 2).open(TO).map(drop),
        small_log(disk.clone(), 2).repair(TO, |_, _| {}).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::NotALog { .. })), "{refused:?}");
    }
    assert_eq!(files(&disk, TO), before);
}

#[test]
fn a_backup_goes_nowhere_else_and_a_restoration_neither() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 100);
    let other = small_log(disk.clone(), 2).open("/other").unwrap();
    let refused = |refused: Result<BackupReport, Error>| {
        assert!(matches!(refused, Err(Error::NotALog { .. })), "{refused:?}");
    };
    refused(log.backup("/other", BackupMode::Link, |_, _| {}));
    refused(log.backup(DIR, BackupMode::Link, |_, _| {}));
    let _ = back_up(&log, BackupMode::Link);
    refused(other.backup(TO, BackupMode::Link, |_, _| {}));
    let restore = |from: &str, to: &str| {
        let restored = small_log(disk.clone(), 3).restore(from, to, |_, _| {});
        assert!(
            matches!(restored, Err(Error::NotALog { .. })),
            "{restored:?}"
        );
    };
    restore(TO, "/other");
    restore(TO, DIR);
    restore(TO, TO);
    restore(DIR, RESTORED);
    // A log that went back behind its backup, by being restored, must not take its place.
    let _ = small_log(disk.clone(), 4)
        .restore(TO, RESTORED, |_, _| {})
        .unwrap();
    fill(&log, 160);
    let _ = back_up(&log, BackupMode::Link);
    let restored = small_log(disk.clone(), 5).open(RESTORED).unwrap();
    refused(restored.backup(TO, BackupMode::Link, |_, _| {}));
    fill(&restored, 300);
    refused(restored.backup(TO, BackupMode::Link, |_, _| {}));
    assert_eq!(check(&disk).len(), 160);
}

#[test]
fn rot_in_any_file_of_a_backup_is_found_and_not_restored() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    let _ = log.append(event("gone", "Was", "x")).unwrap();
    fill(&log, 200);
    let _ = log.truncate_before(100).unwrap();
    fill(&log, 260);
    let _ = back_up(&log, BackupMode::Copy);
    for (name, bytes) in files(&disk, TO) {
        for place in [9, bytes.len() / 2, bytes.len() - 1] {
            let damaged = disk.fork();
            let path = Path::new(TO).join(&name);
            let file = damaged.open(&path, OpenMode::ReadWrite).unwrap();
            file.write_all_at(&[bytes[place] ^ 4], place as u64)
                .unwrap();
            check_damaged(&damaged, &format!("{name} at {place}"));
        }
        let damaged = disk.fork();
        let path = Path::new(TO).join(&name);
        let file = damaged.open(&path, OpenMode::ReadWrite).unwrap();
        file.set_len(bytes.len() as u64 - 1).unwrap();
        check_damaged(&damaged, &format!("{name} short"));
        if name != "BACKUP" {
            let damaged = disk.fork();
            damaged.remove(&path).unwrap();
            check_damaged(&damaged, &format!("{name} missing"));
        }
    }
}

fn check_damaged(disk: &MemoryDisk, what: &str) {
    let verified = small_log(disk.clone(), 2)
        .open_read_only(TO)
        .and_then(|log| log.verify(|_, _| {}));
    let is_found = verified.map_or_else(
        |error| error.is_corrupt(),
        |report| !report.damages.is_empty(),
    );
    assert!(is_found, "{what}");
    let restored = small_log(disk.clone(), 3).restore(TO, RESTORED, |_, _| {});
    assert!(
        restored.as_ref().is_err_and(Error::is_corrupt),
        "{what}: {restored:?}"
    );
    // What was begun is no log.
    let opened = small_log(disk.clone(), 4).create(false).open(RESTORED);
    assert!(
        matches!(opened, Err(Error::NotALog { .. })),
        "{what}: {opened:?}"
    );
}

#[test]
fn a_damaged_log_is_backed_up_as_it_is() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 200);
    log.close().unwrap();
    drop(log);
    flip(&disk, FIRST_SEGMENT, 20_000);
    let log = open(&disk, 2);
    let report = log.backup(TO, BackupMode::Link, |_, _| {}).unwrap();
    assert_eq!(report.damages.len(), 1, "{report:?}");
    log.close().unwrap();
    drop(log);
    let lost = report.damages[0].first;
    // And repaired: the list of what is lost goes with it, and the bytes.
    let repair = small_log(disk.clone(), 3).repair(DIR, |_, _| {}).unwrap();
    let _ = repair.run().unwrap();
    let log = open(&disk, 4);
    let _ = log.backup(TO, BackupMode::Link, |_, _| {}).unwrap();
    let _ = small_log(disk.clone(), 5)
        .restore(TO, RESTORED, |_, _| {})
        .unwrap();
    let restored = small_log(disk.clone(), 6).open(RESTORED).unwrap();
    let events = restored.read(.., &Query::all(), Direction::Forward);
    let found: Vec<_> = events.collect();
    assert_eq!(found.len(), 200);
    let error = found[lost as usize - 1].as_ref().unwrap_err();
    let Error::Quarantined {
        quarantine: Some(kept),
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(disk.open(kept, OpenMode::Read).is_ok(), "{kept:?}");
    assert_eq!(restored.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn what_has_rotted_in_a_backup_is_brought_again_while_the_log_has_it() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 200);
    let _ = back_up(&log, BackupMode::Copy);
    let expected = payloads(&log);
    let there = files(&disk, TO);
    let spoil = |name: &str, place: usize| {
        let file = disk.open(&Path::new(TO).join(name), OpenMode::ReadWrite);
        let byte = there[name][place] ^ 1;
        file.unwrap().write_all_at(&[byte], place as u64).unwrap();
    };
    for name in there.keys().filter(|name| name.ends_with(".seg")) {
        let len = there[name].len();
        for place in [9, 70, 4_100, len / 2, len - 30] {
            for mode in [BackupMode::Copy, BackupMode::Link] {
                spoil(name, place);
                let report = back_up(&log, mode);
                assert_eq!(
                    report.linked_files + report.copied_files,
                    1,
                    "{name} {place}"
                );
                assert_eq!(files(&disk, TO)[name], there[name], "{name} {place}");
            }
            // A copy again, to be spoiled alone.
            disk.remove(&Path::new(TO).join(name)).unwrap();
            let _ = back_up(&log, BackupMode::Copy);
        }
    }
    assert_eq!(check(&disk), expected);
    // The log has it no better: what is there stays, and is told.
    spoil(FIRST_SEGMENT, 20_000);
    flip(&disk, FIRST_SEGMENT, 40_000);
    let before = files(&disk, TO);
    let report = log.backup(TO, BackupMode::Copy, |_, _| {}).unwrap();
    assert_eq!(report.copied_files, 0);
    let path = Path::new(TO).join(FIRST_SEGMENT);
    assert_eq!(report.damages.len(), 2, "{:?}", report.damages);
    assert!(report.damages.iter().all(|damage| damage.path == path));
    assert_eq!(files(&disk, TO)[FIRST_SEGMENT], before[FIRST_SEGMENT]);
}

/// Has every changing call refused from the `calls`-th on. Answers whether that was reached.
fn crash_after(disk: &SimDisk, calls: u64) -> Arc<AtomicU64> {
    let left = Arc::new(AtomicU64::new(calls));
    let is_over = Arc::new(AtomicU64::new(0));
    let over = is_over.clone();
    disk.set_hook(move |step, _| {
        let one_less = |left: u64| left.checked_sub(1);
        let is_refused = step.is_change()
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_err();
        match is_refused {
            true => {
                over.store(1, Ordering::SeqCst);
                Err(IoError::other("the crash"))
            }
            false => Ok(()),
        }
    });
    is_over
}

#[test]
fn a_backup_cut_short_at_any_call_is_the_one_before_or_says_so() {
    let sound = MemoryDisk::default();
    let log = open(&sound, 1);
    fill(&log, 120);
    let first = {
        let disk = sound.fork();
        let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
        let _ = back_up(&reader, BackupMode::Copy);
        disk
    };
    fill(&log, 230);
    let _ = log.truncate_before(90).unwrap();
    fill(&log, 240);
    let expected = payloads(&log);
    let first_position = log.first_position();
    log.close().unwrap();
    drop(log);
    let random = SeededRandom::new(3);
    for has_first in [false, true] {
        let mut outcomes = [0, 0, 0];
        for calls in 0.. {
            let memory = sound.fork();
            if has_first {
                for (name, bytes) in files(&first, TO) {
                    memory.create_dir(Path::new(TO)).unwrap();
                    let file = memory.open(&Path::new(TO).join(name), OpenMode::CreateNew);
                    file.unwrap().write_all_at(&bytes, 0).unwrap();
                }
            }
            let disk = SimDisk::over(memory.clone());
            let reader = small_log(disk.clone(), 4).open_read_only(DIR).unwrap();
            let is_over = crash_after(&disk, calls);
            let made = reader.backup(TO, BackupMode::Link, |_, _| {});
            let is_cut = is_over.load(Ordering::SeqCst) == 1;
            assert!(is_cut || made.is_ok(), "{made:?}");
            for spared in [
                Spared::Nothing,
                Spared::Some(&random),
                Spared::Some(&random),
            ] {
                let left = disk.power_cut(spared);
                let what = format!("first {has_first}, calls {calls}");
                let opened = small_log(left.clone(), 5).open_read_only(TO);
                match opened {
                    Ok(reader) if reader.head() == 240 => {
                        outcomes[2] += 1;
                        assert_eq!(payloads(&reader), expected, "{what}");
                        assert_eq!(reader.verify(|_, _| {}).unwrap().damages, [], "{what}");
                    }
                    Ok(reader) => {
                        outcomes[1] += 1;
                        assert!(
                            has_first && reader.head() == 120,
                            "{what}: {}",
                            reader.head()
                        );
                        assert_eq!(reader.verify(|_, _| {}).unwrap().damages, [], "{what}");
                        assert!(made.is_err(), "{what}");
                    }
                    Err(Error::NotALog { .. }) => {
                        outcomes[0] += 1;
                        assert!(!has_first && made.is_err(), "{what}");
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
                // Made again, it is whole.
                for (name, bytes) in files(&sound, DIR) {
                    left.create_dir(Path::new(DIR)).unwrap();
                    let path = Path::new(DIR).join(name);
                    let _ = left.remove(&path);
                    let file = left.open(&path, OpenMode::CreateNew).unwrap();
                    file.write_all_at(&bytes, 0).unwrap();
                }
                let reader = small_log(left.clone(), 6).open_read_only(DIR).unwrap();
                let _ = back_up(&reader, BackupMode::Link);
                let again = small_log(left, 7).open_read_only(TO).unwrap();
                assert_eq!(
                    (again.first_position(), payloads(&again)),
                    (first_position, expected.clone()),
                    "{what}"
                );
            }
            if !is_cut {
                break;
            }
        }
        assert!(
            outcomes[2] > 0 && outcomes[usize::from(has_first)] > 10,
            "{outcomes:?}"
        );
    }
}

#[test]
fn a_restoration_cut_short_at_any_call_is_done_whole_or_opens_not_at_all() {
    let sound = MemoryDisk::default();
    let log = open(&sound, 1);
    fill(&log, 200);
    let _ = log.truncate_before(60).unwrap();
    let expected = payloads(&log);
    let _ = back_up(&log, BackupMode::Copy);
    let random = SeededRandom::new(3);
    let mut outcomes = [0, 0];
    for calls in 0.. {
        let disk = SimDisk::over(sound.fork());
        let is_over = crash_after(&disk, calls);
        let restored = small_log(disk.clone(), 2).restore(TO, RESTORED, |_, _| {});
        let is_cut = is_over.load(Ordering::SeqCst) == 1;
        assert!(is_cut || restored.is_ok(), "{restored:?}");
        for spared in [
            Spared::Nothing,
            Spared::Some(&random),
            Spared::Some(&random),
        ] {
            let left = disk.power_cut(spared);
            let opened = small_log(left.clone(), 3).create(false).open(RESTORED);
            match opened {
                Ok(log) => {
                    outcomes[1] += 1;
                    assert_eq!(payloads(&log), expected, "calls {calls}");
                    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
                }
                Err(Error::NotALog { .. }) => {
                    outcomes[0] += 1;
                    assert!(restored.is_err(), "calls {calls}");
                    for (name, bytes) in files(&sound, TO) {
                        left.create_dir(Path::new(TO)).unwrap();
                        let path = Path::new(TO).join(name);
                        let _ = left.remove(&path);
                        let file = left.open(&path, OpenMode::CreateNew).unwrap();
                        file.write_all_at(&bytes, 0).unwrap();
                    }
                    let again = small_log(left.clone(), 4).restore(TO, RESTORED, |_, _| {});
                    let _ = again.unwrap_or_else(|error| panic!("calls {calls}: {error}"));
                    let log = small_log(left, 5).open(RESTORED).unwrap();
                    assert_eq!(payloads(&log), expected, "calls {calls}");
                }
                Err(error) => panic!("calls {calls}: {error}"),
            }
        }
        if !is_cut {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

#[test]
fn a_sealed_segment_in_a_backup_is_another_name_of_the_one_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("log"), dir.path().join("backup"));
    let log = Log::options().segment_len(64 << 10).open(&from).unwrap();
    fill(&log, 200);
    let report = log.backup(&to, BackupMode::Link, |_, _| {}).unwrap();
    assert!(report.linked_files >= 2, "{report:?}");
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &Path| std::fs::metadata(path.join(SECOND_SEGMENT)).unwrap().ino();
    assert_eq!(inode(&from), inode(&to));
    let again = log.backup(&to, BackupMode::Link, |_, _| {}).unwrap();
    assert_eq!((again.linked_files, again.copied_bytes), (0, 0));
    log.close().unwrap();
    let restored = dir.path().join("restored");
    let report = Log::options().restore(&to, &restored, |_, _| {}).unwrap();
    assert_eq!(report.last_position, 200);
    assert_ne!(inode(&to), inode(&restored));
    assert_eq!(Log::open(&restored).unwrap().head(), 200);
}
