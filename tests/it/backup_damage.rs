//! Backups of damaged logs: what an earlier backup has brought sound is in every later one, whatever the log has lost
//! meanwhile, and what is damaged is told.
//!
//! Method: segments taken away, spoiled, put back and replaced by those of a restored copy that ran on, between backups.

use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals_engine::{BackupMode, BackupReport, Batch, Direction, Log, Query};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{
    DIR, FIRST_SEGMENT, SECOND_SEGMENT, content, exists, flip, names, remove, write, written_len,
};
use annals_tests::sim_disk::{SimDisk, Spared};
use annals_tests::{event, small_log};

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
        let _ = log
            .append(Batch::from(event(&aggregate, "Was", payload)))
            .unwrap();
    }
}

/// Every event; `None` where there is an error.
fn found(log: &Log) -> Vec<Option<Vec<u8>>> {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events
        .map(|event| event.ok().map(|event| event.payload))
        .collect()
}

fn back_up(log: &Log, mode: BackupMode) -> BackupReport {
    log.backup(TO, mode, |_, _| {}).unwrap()
}

/// The segments of a backup.
fn kept(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let entries = disk.list(Path::new(TO)).unwrap().into_iter();
    let entries = entries.filter(|entry| entry.name.contains(".seg"));
    entries
        .map(|entry| (entry.name.clone(), kept_file(disk, &entry.name)))
        .collect()
}

fn kept_file(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(TO).join(name), OpenMode::Read);
    file.unwrap().read_up_to(u64::MAX).unwrap()
}

fn repair(disk: &MemoryDisk, seed: u64) {
    let repair = small_log(disk.clone(), seed).repair(DIR, |_, _| {});
    let _ = repair.unwrap().run().unwrap();
}

/// The events of a log that is restored from the backup.
fn restored(disk: &MemoryDisk) -> Vec<Option<Vec<u8>>> {
    let disk = disk.fork();
    let options = || small_log(disk.clone(), 21);
    let _ = options().restore(TO, RESTORED, |_, _| {}).unwrap();
    found(&options().open(RESTORED).unwrap())
}

fn put_back(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    if exists(disk, name) {
        remove(disk, name);
    }
    write(disk, name, bytes, 0);
}

/// The last segment with an event.
fn last_segment(disk: &MemoryDisk) -> String {
    let mut names = names(disk).into_iter();
    let last = names.rfind(|name| name.ends_with(".seg") && written_len(disk, name) > 4096);
    last.unwrap()
}

#[test]
fn a_segment_that_the_log_goes_on_without_stays_in_its_backup() {
    for mode in [BackupMode::Link, BackupMode::Copy] {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill(&log, 250);
        let expected = found(&log);
        let _ = back_up(&log, mode);
        let before = kept(&disk);
        log.close().unwrap();
        drop(log);
        remove(&disk, SECOND_SEGMENT);
        repair(&disk, 2);
        let log = open(&disk, 3);
        assert!(found(&log).contains(&None));
        for _ in 0..2 {
            let report = back_up(&log, mode);
            assert_ne!(report.damages, [], "{mode:?}");
            assert_eq!(kept(&disk)[SECOND_SEGMENT], before[SECOND_SEGMENT]);
        }
        assert_eq!(restored(&disk)[..250], expected[..]);
        log.close().unwrap();
        drop(log);
        // And it can be put back.
        put_back(&disk, SECOND_SEGMENT, &before[SECOND_SEGMENT]);
        repair(&disk, 4);
        let log = open(&disk, 5);
        assert_eq!(found(&log)[..250], expected[..]);
        let verified = log.verify(|_, _| {}).unwrap();
        assert_eq!((verified.damages, verified.quarantined), (vec![], vec![]));
        assert_eq!(back_up(&log, mode).damages, []);
    }
}

/// Events in a backup made while their segment is written, and the rest of it later.
fn half_backed_up(mode: BackupMode) -> (MemoryDisk, Log, Vec<u8>) {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 30);
    let report = back_up(&log, mode);
    assert_eq!((report.files, report.damages), (1, vec![]));
    let before = kept_file(&disk, FIRST_SEGMENT);
    fill(&log, 200);
    (disk, log, before)
}

#[test]
fn a_segment_that_has_grown_and_rotted_does_not_replace_its_sound_beginning() {
    for mode in [BackupMode::Link, BackupMode::Copy] {
        let (disk, log, before) = half_backed_up(mode);
        let expected = found(&log);
        for place in [4_096 + 9, before.len() / 2, before.len() - 30] {
            let disk = disk.fork();
            flip(&disk, FIRST_SEGMENT, place);
            let log = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
            let report = back_up(&log, mode);
            assert!(!report.damages.is_empty(), "{mode:?} {place}");
            let kept = kept_file(&disk, FIRST_SEGMENT);
            assert_eq!(kept[..before.len()], before, "{mode:?} {place}");
            assert_eq!(restored(&disk), expected, "{mode:?} {place}");
            // What is there is read, and kept, whatever else rots in the log.
            flip(&disk, FIRST_SEGMENT, before.len() + 5_000);
            let _ = back_up(&log, mode);
            assert_eq!(restored(&disk), expected, "{mode:?} {place}");
        }
        // Gone altogether, and nobody has said to go on without it: the beginning is left.
        let disk = disk.fork();
        remove(&disk, FIRST_SEGMENT);
        let log = small_log(disk.clone(), 4).open_read_only(DIR).unwrap();
        assert_ne!(back_up(&log, mode).damages, []);
        assert_eq!(kept_file(&disk, FIRST_SEGMENT), before);
        drop(log);
    }
}

#[test]
fn what_is_whole_in_the_log_or_in_a_rotten_backup_is_whole_in_the_next_one() {
    let (disk, log, before) = half_backed_up(BackupMode::Copy);
    let expected = found(&log);
    let path = Path::new(TO).join(FIRST_SEGMENT);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[before[8_000] ^ 1], 8_000).unwrap();
    flip(&disk, FIRST_SEGMENT, 16_000);
    let report = back_up(&log, BackupMode::Link);
    assert_ne!(report.damages, []);
    assert_eq!(restored(&disk), expected);
}

#[test]
fn a_backup_that_mends_an_earlier_one_and_is_cut_short_leaves_that_as_it_was() {
    // Damaged in the log when it was backed up, then put back, and more was written.
    let sound = MemoryDisk::default();
    let log = open(&sound, 1);
    fill(&log, 30);
    flip(&sound, FIRST_SEGMENT, 8_000);
    assert_ne!(back_up(&log, BackupMode::Copy).damages, []);
    let before = restored(&sound);
    assert_eq!(before.iter().filter(|event| event.is_none()).count(), 1);
    flip(&sound, FIRST_SEGMENT, 8_000);
    fill(&log, 200);
    let expected = found(&log);
    let mut outcomes = [0, 0, 0];
    for calls in 0.. {
        let disk = SimDisk::over(sound.fork());
        let is_over = crash_after(&disk, calls);
        let log = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
        let made = log.backup(TO, BackupMode::Copy, |_, _| {});
        let is_cut = is_over.load(Ordering::SeqCst);
        let left = disk.power_cut(Spared::Nothing);
        let from_left = left.fork();
        let from_left = small_log(from_left, 3).restore(TO, RESTORED, |_, _| {});
        match from_left {
            Ok(report) if report.last_position == 200 => {
                outcomes[2] += 1;
                assert_eq!(restored(&left), expected);
            }
            Ok(_) => {
                outcomes[0] += 1;
                assert_eq!(restored(&left), before, "calls {calls}");
            }
            // Between the file and the list: it is told, nothing is lost, and the next one is whole.
            Err(error) => {
                outcomes[1] += 1;
                assert!(
                    error.is_corrupt() && made.is_err(),
                    "calls {calls}: {error}"
                );
                let kept = kept_file(&left, FIRST_SEGMENT);
                assert!(content(&sound, FIRST_SEGMENT).starts_with(&kept));
            }
        }
        for (name, bytes) in logged(&sound) {
            left.create_dir(Path::new(DIR)).unwrap();
            put_back(&left, &name, &bytes);
        }
        let log = small_log(left.clone(), 4).open_read_only(DIR).unwrap();
        assert_eq!(back_up(&log, BackupMode::Copy).damages, [], "calls {calls}");
        assert_eq!(restored(&left), expected, "calls {calls}");
        let names: Vec<String> = kept(&left).into_keys().collect();
        assert!(names.iter().all(|name| !name.ends_with(".new")));
        if !is_cut {
            break;
        }
    }
    assert!(
        outcomes[0] > 5 && outcomes[1] <= 6 && outcomes[2] > 0,
        "{outcomes:?}"
    );
}

/// The files of a log.
fn logged(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = names(disk).into_iter().filter(|name| name != "LOCK");
    names
        .map(|name| (name.clone(), content(disk, &name)))
        .collect()
}

/// Has every changing call refused from the `calls`-th on. Answers whether that was reached.
fn crash_after(disk: &SimDisk, calls: u64) -> Arc<AtomicBool> {
    let made = AtomicU64::new(0);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    disk.set_hook(move |step, _| {
        if !step.is_change() || made.fetch_add(1, Ordering::SeqCst) < calls {
            return Ok(());
        }
        over.store(true, Ordering::SeqCst);
        Err(IoError::other("the crash"))
    });
    is_over
}

/// A log that was restored from a backup of 30 events and ran on by itself up to 60, killed.
fn ran_on(origin: &MemoryDisk, seed: u64, payload_len: usize) -> MemoryDisk {
    let disk = origin.fork();
    let restored = small_log(disk.clone(), seed).restore(TO, DIR, |_, _| {});
    assert_eq!(restored.unwrap().last_position, 30);
    let log = open(&disk, seed + 1);
    while log.head() < 60 {
        let payload = "y".repeat(payload_len);
        let _ = log.append(event("b", "Was", payload)).unwrap();
    }
    let killed = disk.fork();
    log.close().unwrap();
    // With the checkpoint that a close has written.
    for name in names(&disk).iter().filter(|name| name.ends_with(".tail")) {
        put_back(&killed, name, &content(&disk, name));
    }
    killed
}

fn origin() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open("/origin").unwrap();
    fill(&log, 30);
    assert_eq!(back_up(&log, BackupMode::Copy).last_position, 30);
    disk
}

#[test]
fn a_segment_of_a_copy_that_ran_on_is_not_taken_for_the_one_that_was_lost() {
    let origin = origin();
    let sound = ran_on(&origin, 2, 300);
    let expected = found(&open(&sound.fork(), 4));
    let name = last_segment(&sound);
    for (foreign_len, cut) in [(310, 0), (100, 0), (900, 0), (300, 8)] {
        let foreign = ran_on(&origin, 5, foreign_len);
        assert_eq!(last_segment(&foreign), name);
        let mut bytes = content(&foreign, &name);
        bytes.truncate(written_len(&foreign, &name) - cut);
        let disk = sound.fork();
        remove(&disk, &name);
        repair(&disk, 7);
        put_back(&disk, &name, &bytes);
        let what = format!("events of {foreign_len} bytes");
        let log = open(&disk, 8);
        assert!(found(&log)[30..60].iter().all(Option::is_none), "{what}");
        let verified = log.verify(|_, _| {}).unwrap();
        assert_ne!(
            (verified.damages, verified.quarantined),
            (vec![], vec![]),
            "{what}"
        );
        log.close().unwrap();
        drop(log);
        repair(&disk, 9);
        // Nor for good: the right one can still come back.
        put_back(&disk, &name, &content(&sound, &name));
        repair(&disk, 10);
        let log = open(&disk, 11);
        assert_eq!(found(&log)[..60], expected[..60], "{what}");
        let verified = log.verify(|_, _| {}).unwrap();
        assert_eq!(
            (verified.damages, verified.quarantined),
            (vec![], vec![]),
            "{what}"
        );
    }
}

#[test]
fn a_checkpoint_that_was_left_tells_the_lost_segment_from_its_twin() {
    let origin = origin();
    // The same lengths and positions: only the salts differ.
    let (sound, foreign) = (ran_on(&origin, 2, 300), ran_on(&origin, 5, 300));
    let name = last_segment(&sound);
    let checkpoint = name.replace(".seg", ".tail");
    assert!(exists(&sound, &checkpoint), "{:?}", names(&sound));
    let disk = sound.fork();
    remove(&disk, &name);
    repair(&disk, 7);
    // The repair may have no use for it.
    if !exists(&disk, &checkpoint) {
        write(&disk, &checkpoint, &content(&sound, &checkpoint), 0);
    }
    let lost = found(&open(&disk.fork(), 8));
    put_back(&disk, &name, &content(&foreign, &name));
    assert_eq!(found(&open(&disk.fork(), 9)), lost);
    put_back(&disk, &name, &content(&sound, &name));
    let healed = found(&open(&disk, 10));
    assert!(healed.iter().all(Option::is_some));
}

#[test]
fn a_segment_of_which_the_log_has_forgotten_the_salt_is_that_of_its_backup() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 230);
    let expected = found(&log);
    let _ = back_up(&log, BackupMode::Copy);
    let disk = disk.fork();
    drop(log);
    let name = last_segment(&disk);
    let sound = content(&disk, &name);
    let before = kept_file(&disk, &name);
    remove(&disk, &name);
    repair(&disk, 2);
    let log = open(&disk, 3);
    let reader = small_log(disk.clone(), 4).open_read_only(DIR).unwrap();
    // Twice: by the list of the backup before, and by one that this log has made.
    for _ in 0..2 {
        assert_ne!(back_up(&log, BackupMode::Copy).damages, []);
        assert_eq!(kept_file(&disk, &name), before);
        assert_eq!(restored(&disk)[..230], expected[..]);
    }
    log.close().unwrap();
    drop(log);
    // Come back, and named again: for who reads on too.
    put_back(&disk, &name, &sound);
    let log = open(&disk, 5);
    assert_eq!(back_up(&log, BackupMode::Copy).damages, []);
    log.close().unwrap();
    drop(log);
    repair(&disk, 6);
    let log = open(&disk, 7);
    let _ = log.append(event("b", "After", "after")).unwrap();
    assert_eq!(reader.refresh().unwrap(), log.head());
    assert_eq!(found(&reader)[..230], expected[..]);
    assert_eq!(back_up(&log, BackupMode::Copy).damages, []);
    assert_eq!(restored(&disk), found(&log));
}

#[test]
fn a_rotten_header_is_told_and_replaces_no_sound_one() {
    for mode in [BackupMode::Link, BackupMode::Copy] {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill(&log, 200);
        // In a first backup it is told, and how the file ends too.
        let spoiled = disk.fork();
        flip(&spoiled, SECOND_SEGMENT, 20);
        let log = small_log(spoiled, 2).open_read_only(DIR).unwrap();
        assert_ne!(back_up(&log, mode).damages, [], "{mode:?}");
        let len = content(&disk, SECOND_SEGMENT).len();
        for cut in (8..600).step_by(8) {
            let short = disk.fork();
            let file = short.open(&Path::new(DIR).join(SECOND_SEGMENT), OpenMode::ReadWrite);
            file.unwrap().set_len((len - cut) as u64).unwrap();
            let log = small_log(short, 2).open_read_only(DIR).unwrap();
            assert_ne!(back_up(&log, mode).damages, [], "{mode:?} {cut}");
        }
    }
    // Other rot in the copy is no reason to take that of the log.
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill(&log, 200);
    let _ = back_up(&log, BackupMode::Copy);
    let path = Path::new(TO).join(SECOND_SEGMENT);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let byte = kept_file(&disk, SECOND_SEGMENT)[9_000] ^ 1;
    file.write_all_at(&[byte], 9_000).unwrap();
    flip(&disk, SECOND_SEGMENT, 20);
    let before = kept_file(&disk, SECOND_SEGMENT);
    let report = back_up(&log, BackupMode::Copy);
    assert_ne!(report.damages, []);
    assert_eq!(kept_file(&disk, SECOND_SEGMENT), before);
    // One that was written when it was backed up.
    let (disk, log, before) = half_backed_up(BackupMode::Copy);
    flip(&disk, FIRST_SEGMENT, 20);
    assert_ne!(back_up(&log, BackupMode::Copy).damages, []);
    let kept = kept_file(&disk, FIRST_SEGMENT);
    assert_eq!(kept[..before.len()], before);
}
