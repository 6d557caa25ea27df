//! What the harnesses have found, each with the least that shows it.

use std::sync::atomic::{AtomicBool, Ordering};

use annals_engine::{Batch, Direction, Durability, Error, Log, Query};
use annals_segments::{Disk, MemoryDisk};
use annals_tests::log_files::{FIRST_SEGMENT, content, remove, write};
use annals_tests::sim_disk::{EIO, Failing, Fault, SimDisk, Spared, Step, Tear};
use annals_tests::{event, log_files::DIR, small_log, without_maps};

fn log_with_acknowledged_events(disk: &(impl Disk + Clone + 'static)) -> Log {
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    for _ in 0..3 {
        let _ = log.append(event("a", "Was", "acknowledged")).unwrap();
    }
    log
}

/// Found by `rot` (a file cut within its header, or gone) and by `io-faults` (a misdirected read): the log opened
/// without a word, empty, and the file was removed.
#[test]
fn a_lost_segment_that_a_witness_speaks_of_is_damage_and_not_an_empty_log() {
    for is_gone in [true, false] {
        let disk = MemoryDisk::default();
        log_with_acknowledged_events(&disk).close().unwrap();
        match is_gone {
            true => remove(&disk, FIRST_SEGMENT),
            // Neither a header nor a frame.
            false => write(&disk, FIRST_SEGMENT, &[0; 64 << 10], 0),
        }
        let before = annals_tests::log_files::names(&disk);
        let opened = small_log(disk.clone(), 2).open(DIR);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
        drop(opened);
        assert_eq!(annals_tests::log_files::names(&disk), before);
        if !is_gone {
            assert_eq!(content(&disk, FIRST_SEGMENT), [0; 64 << 10]);
        }
    }
}

/// Found by `io-faults`: one read of a header that went astray, and the file was taken for one that was never finished,
/// and removed.
#[test]
fn a_segment_is_not_removed_for_one_wrong_answer_of_the_disk() {
    without_maps(|| {
        let disk = SimDisk::default();
        let _ = log_with_acknowledged_events(&disk);
        // Nothing but the segment itself says what was acknowledged.
        let left = SimDisk::over(disk.power_cut(Spared::Nothing));
        left.set_hook(first_read_astray(&left));
        let opened = small_log(left.clone(), 2).open(DIR);
        assert!(opened.is_err(), "{opened:?}");
        left.clear_hook();
        left.heal();
        let log = small_log(left, 3).open(DIR).unwrap();
        assert_eq!(log.head(), 3);
    });
}

/// Has the first read of a segment go astray.
fn first_read_astray(
    disk: &SimDisk,
) -> impl Fn(Step, &std::path::Path) -> std::io::Result<()> + Send + Sync + 'static {
    let (disk, is_done) = (disk.clone(), AtomicBool::new(false));
    move |step, path| {
        if step == Step::Read
            && path.ends_with(FIRST_SEGMENT)
            && !is_done.swap(true, Ordering::SeqCst)
        {
            disk.add_fault(Fault {
                step: Some(Step::Read),
                skip: 0,
                count: 1,
                failing: Failing::Misdirected,
            });
        }
        Ok(())
    }
}

/// Found by `io-faults`: frames were verified, read again, and taken for the same; a disk that answered something else
/// the second time ended the process with a panic.
#[test]
fn a_disk_that_answers_differently_the_second_time_is_an_error() {
    without_maps(|| {
        let sound = SimDisk::default();
        let log = log_with_acknowledged_events(&sound);
        let killed = sound.memory.fork();
        log.close().unwrap();
        for left in [killed, sound.memory.fork()] {
            let mut failed = 0;
            for skip in 0..12 {
                for failing in [Failing::Misdirected, Failing::BitFlip(4096 * 8 + 77)] {
                    let disk = SimDisk::over(left.fork());
                    disk.add_fault(Fault {
                        step: Some(Step::Read),
                        skip,
                        count: u64::MAX,
                        failing,
                    });
                    failed += u32::from(small_log(disk, 2).open(DIR).is_err());
                }
            }
            assert!(failed > 0, "no read is one that matters");
        }
    });
}

/// Found by `io-faults`: a bit that was another when a frame was read again to be written anew got a checksum of its
/// own there, and was shown as what had been appended.
#[test]
fn what_changes_between_the_scan_and_the_copy_is_never_given_a_checksum() {
    without_maps(|| {
        let disk = SimDisk::default();
        let log = small_log(disk.clone(), 1).open(DIR).unwrap();
        for _ in 0..3 {
            let batch = Batch::from(event("a", "Was", vec![7; 2_000]));
            let _ = log.append(batch.durability(Durability::Buffered)).unwrap();
        }
        let killed = disk.memory.fork();
        for skip in 0..12 {
            for bit in [4_400, 5_000, 7_000, 8_500].map(|byte| byte * 8 + 3) {
                let disk = SimDisk::over(killed.fork());
                disk.add_fault(Fault {
                    step: Some(Step::Read),
                    skip,
                    count: 1,
                    failing: Failing::BitFlip(bit),
                });
                let Ok(log) = small_log(disk.clone(), 2).open(DIR) else {
                    continue;
                };
                disk.heal();
                for event in log.read(.., &Query::all(), Direction::Forward).flatten() {
                    assert_eq!(event.payload, [7; 2_000], "read {skip}, bit {bit}");
                }
            }
        }
    });
}

/// Found by `simulation`: the sync of a manifest failed, the next process saw it in the page cache, took it for written,
/// and overwrote the other copy, which was the only one on the disk. A loss of power just then took both.
#[test]
fn a_manifest_that_is_only_in_the_page_cache_is_written_again_before_the_other_copy_goes() {
    let open = |disk: &SimDisk, seed| small_log(disk.clone(), seed).open(DIR).unwrap();
    let disk = SimDisk::default();
    let log = log_with_acknowledged_events(&disk);
    log.set_follower("f", 1).unwrap();
    disk.add_fault(Fault {
        step: Some(Step::Sync),
        skip: 0,
        count: 1,
        failing: Failing::Errno(EIO),
    });
    assert!(log.set_follower("f", 2).is_err());
    let next = disk.end(None);
    drop(log);
    let log = open(&next, 2);
    next.record();
    log.set_follower("f", 3).unwrap();
    for snapshot in next.recorded() {
        for place in 0..snapshot.pending().len() {
            let torn = snapshot.power_cut(Spared::TornAt(place, Tear::Garbage, 3));
            let log = open(&SimDisk::of(&torn), 4);
            let found = log.followers().into_iter().map(|(_, position)| position);
            assert!(found.clone().eq([1]) || found.clone().eq([2]) || found.eq([3]));
        }
    }
}

/// Found by `syscalls`: a disk that could not say whether there is a `BACKUP` was told as the backup of a log, with the
/// advice to restore it elsewhere.
#[test]
fn a_disk_that_cannot_look_for_a_backup_is_an_error_of_the_disk() {
    let disk = SimDisk::default();
    log_with_acknowledged_events(&disk).close().unwrap();
    disk.set_hook(|step, path| match step {
        Step::OpenToRead if path.ends_with("BACKUP") => Err(std::io::Error::from_raw_os_error(EIO)),
        _ => Ok(()),
    });
    let opened = small_log(disk.clone(), 2).open(DIR);
    assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    disk.clear_hook();
    assert_eq!(small_log(disk, 3).open(DIR).unwrap().head(), 3);
}
