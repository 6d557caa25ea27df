//! The simulation's own promises: what a power cut may and may not leave, and that a run can be had again.

use std::path::Path;

use annals_segments::{Disk, OpenMode};

use super::*;
use crate::{SeededRandom, small_log};

fn create(disk: &SimDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn bytes(image: &Image, path: &str) -> Option<Vec<u8>> {
    image.files.get(Path::new(path)).map(|file| file.bytes())
}

#[test]
fn a_synced_file_without_a_synced_name_is_gone_or_there_whole() {
    let disk = SimDisk::default();
    let file = create(&disk, "/a");
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    let snapshot = disk.snapshot();
    assert_eq!(bytes(&snapshot.power_cut(Spared::Nothing), "/a"), None);
    let spared = snapshot.power_cut(Spared::Subset(1));
    assert_eq!(bytes(&spared, "/a").unwrap(), b"bytes");
    disk.sync_dir(Path::new("/")).unwrap();
    let left = disk.snapshot().power_cut(Spared::Nothing);
    assert_eq!(bytes(&left, "/a").unwrap(), b"bytes");
}

#[test]
fn a_second_name_is_one_of_the_same_file_and_durable_on_its_own() {
    let disk = SimDisk::default();
    disk.create_dir(Path::new("/dir")).unwrap();
    let file = create(&disk, "/a");
    file.write_all_at(b"old", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let (a, b) = (Path::new("/a"), Path::new("/dir/b"));
    disk.hard_link(a, b).unwrap();
    let lost = disk.snapshot().power_cut(Spared::Nothing);
    assert_eq!(
        (bytes(&lost, "/a").is_some(), bytes(&lost, "/dir/b")),
        (true, None)
    );
    disk.sync_dir(Path::new("/dir")).unwrap();
    // Over the next process, too.
    let disk = disk.restarted();
    let file = disk.open(b, OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    let seen = disk.open(a, OpenMode::Read).unwrap();
    assert_eq!(seen.read_all(3).unwrap(), b"new");
    let left = disk.snapshot().power_cut(Spared::Nothing);
    assert_eq!(bytes(&left, "/dir/b").unwrap(), b"old");
    file.sync_data().unwrap();
    disk.remove(a).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let left = disk.snapshot().power_cut(Spared::Nothing);
    assert_eq!(
        (bytes(&left, "/a"), bytes(&left, "/dir/b").unwrap()),
        (None, b"new".to_vec())
    );
}

#[test]
fn each_write_is_lost_kept_or_torn_on_its_own() {
    let disk = SimDisk::default();
    let file = create(&disk, "/a");
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(&[1; 1000], 0).unwrap();
    file.write_all_at(&[2; 1000], 1000).unwrap();
    let snapshot = disk.snapshot();
    assert_eq!(snapshot.pending().len(), 2);
    let second_only = snapshot.power_cut(Spared::Subset(0b10));
    assert_eq!(
        bytes(&second_only, "/a").unwrap(),
        [[0; 1000], [2; 1000]].concat()
    );
    for tear in Tear::ALL {
        let torn = snapshot.power_cut(Spared::TornAt(1, tear, 7));
        let left = bytes(&torn, "/a").unwrap();
        assert_eq!(
            left[..1000],
            [1; 1000],
            "{tear:?} touches what lies beside it"
        );
        assert!(left.len() <= 2000);
    }
}

#[test]
fn a_rename_leaves_the_old_name_the_new_one_or_both() {
    let disk = SimDisk::default();
    drop(create(&disk, "/old"));
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("/old"), Path::new("/new")).unwrap();
    let names = |spared| {
        let left = disk.snapshot().power_cut(spared);
        ["/old", "/new"].map(|name| bytes(&left, name).is_some())
    };
    assert_eq!(names(Spared::Nothing), [true, false]);
    assert_eq!(names(Spared::Everything), [false, true]);
    assert_eq!(names(Spared::TornAt(0, Tear::Front, 0)), [true, true]);
}

#[test]
fn a_failed_sync_is_told_once_and_lies_afterwards() {
    let disk = SimDisk::default();
    let file = create(&disk, "/a");
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(b"lost", 0).unwrap();
    disk.add_fault(Fault {
        step: Some(Step::Sync),
        skip: 0,
        count: 1,
        failing: Failing::Errno(EIO),
    });
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(file.read_all(100).unwrap(), b"lost");
    let left = disk.snapshot().power_cut(Spared::Everything);
    assert_eq!(bytes(&left, "/a").unwrap(), b"");
    // The next process sees it too, until it is written again.
    let next = disk.restarted();
    let file = next.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
    assert_eq!(file.read_all(100).unwrap(), b"lost");
    file.write_all_at(b"lost", 0).unwrap();
    file.sync_data().unwrap();
    let left = next.snapshot().power_cut(Spared::Nothing);
    assert_eq!(bytes(&left, "/a").unwrap(), b"lost");
}

#[test]
fn a_failed_sync_that_reverts_shows_what_is_on_the_disk() {
    let disk = SimDisk::default().on_failed_sync(FailedSync::RevertsCache);
    let file = create(&disk, "/a");
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"gone", 0).unwrap();
    disk.fail(Step::Sync, io::ErrorKind::Other);
    assert!(file.sync_data().is_err());
    assert_eq!(file.read_all(100).unwrap(), b"kept");
}

#[test]
fn reads_and_writes_fail_as_they_are_told_to() {
    let disk = SimDisk::default();
    let file = create(&disk, "/a");
    file.write_all_at(&[7; 2048], 0).unwrap();
    let strike = |failing| {
        disk.heal();
        disk.add_fault(Fault {
            step: None,
            skip: 0,
            count: 1,
            failing,
        });
    };
    let mut buffer = [0; 2048];
    strike(Failing::Short);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 1024);
    strike(Failing::BitFlip(9));
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!((buffer[0], buffer[1]), (7, 5));
    strike(Failing::Stale(1));
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!((buffer[0], buffer[512], buffer[1024]), (7, 0, 7));
    strike(Failing::Half(ENOSPC));
    let error = file.write_at(&[8; 100], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!((buffer[49], buffer[50]), (8, 7));
}

#[test]
fn a_cut_file_that_grows_again_reads_zeros() {
    let mut file = FileImage::of(&[9; 5000]);
    file.set_len(100);
    file.set_len(6000);
    let bytes = file.bytes();
    assert_eq!(bytes[..100], [9; 100]);
    assert!(bytes[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_same_inputs_give_the_same_trace_and_the_same_bytes() {
    let run = |seed| {
        let disk = SimDisk::default();
        let log = small_log(disk.clone(), seed).open("/log").unwrap();
        for number in 0..30 {
            let _ = log
                .append(crate::event("a", "Was", vec![number; 3000]))
                .unwrap();
        }
        log.close().unwrap();
        let random = SeededRandom::new(seed);
        let left = disk.snapshot().power_cut(Spared::Some(&random));
        (disk.trace(), left.fingerprint())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
