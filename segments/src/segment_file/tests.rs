//! Goal: bytes that were published never change under a reader, and a breach is a panic, not a write.
//!
//! Method: [`MemoryDisk`], each assertion provoked once.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::disk::{MemoryDisk, PreadDisk};

#[test]
fn what_is_written_and_published_is_read_and_nothing_else() {
    let (disk, segment) = created();
    assert_eq!((segment.mapped_len(), segment.published()), (4096, 0));
    segment.write(b"first", 0).unwrap();
    assert_eq!(segment.bytes().unwrap(), b"", "not published yet");
    segment.publish(5);
    let seen = segment.bytes().unwrap();
    segment.write(b"second", 5).unwrap();
    segment.write(b"SECOND", 5).unwrap();
    segment.sync().unwrap();
    segment.publish(5);
    assert_eq!(
        (seen, segment.bytes().unwrap()),
        (&b"first"[..], &b"first"[..])
    );
    segment.publish(11);
    assert_eq!(segment.bytes().unwrap(), b"firstSECOND");
    assert_eq!(seen, b"first");
    assert_eq!(len_on(&disk), 4096);
}

#[test]
fn a_cut_leaves_the_published_bytes_and_is_idempotent() {
    let (disk, segment) = created();
    segment.write(b"all there is", 0).unwrap();
    segment.publish(12);
    let seen = segment.bytes().unwrap();
    for _ in 0..2 {
        segment.cut().unwrap();
        assert_eq!(len_on(&disk), 12);
        assert_eq!(
            (seen, segment.bytes().unwrap()),
            (&b"all there is"[..], &b"all there is"[..])
        );
    }
}

#[test]
fn a_file_that_another_writes_is_followed_and_outlives_its_cut() {
    let (memory, segment) = created();
    // What reads without maps sees writes of its own opening only.
    let pread = PreadDisk::new(Arc::new(memory.clone()), 0);
    segment.write(b"first", 0).unwrap();
    segment.publish(5);
    let disks: [&dyn Disk; 2] = [&memory, &pread];
    let followed = disks.map(|disk| SegmentFile::open_growing(disk, path(), 5).unwrap());
    let seen: Vec<&[u8]> = followed.iter().map(|file| file.bytes().unwrap()).collect();
    segment.write(b"second", 5).unwrap();
    segment.publish(11);
    for file in &followed {
        let seen = file.bytes().unwrap();
        assert_eq!(seen, b"first", "nobody said that there is more");
        file.publish(11);
        assert_eq!(file.bytes_in(6..9).unwrap(), b"eco");
        file.publish(11);
    }
    segment.cut().unwrap();
    assert_eq!(len_on(&memory), 11);
    for file in &followed {
        assert_eq!(file.bytes().unwrap(), b"firstsecond");
        assert_eq!(file.mapped_len(), 4096);
    }
    assert_eq!(seen, [b"first", b"first"]);
    for disk in disks {
        let short = SegmentFile::open_growing(disk, path(), 12).unwrap_err();
        assert_eq!(short.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn an_existing_file_is_read_up_to_the_end_it_was_opened_with() {
    let (disk, segment) = created();
    segment.write(b"all there is", 0).unwrap();
    let read = SegmentFile::open(&disk, path(), OpenMode::Read, 3).unwrap();
    assert_eq!((read.bytes().unwrap(), read.mapped_len()), (&b"all"[..], 3));
    drop(segment); // A path is open for writing at most once.
    let written = SegmentFile::open(&disk, path(), OpenMode::ReadWrite, 9).unwrap();
    written.write(b" was", 9).unwrap();
    written.publish(13);
    assert_eq!(written.bytes().unwrap(), b"all there was");
}

#[test]
fn a_file_shorter_than_its_published_end_is_refused() {
    let (disk, _) = created();
    assert!(SegmentFile::open(&disk, path(), OpenMode::Read, 4096).is_ok());
    let error = SegmentFile::open(&disk, path(), OpenMode::Read, 4097).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_taken_name_is_refused() {
    let (disk, _) = created();
    let error = SegmentFile::create(&disk, path(), 8192, Room::Written).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

/// Or a write that was checked against the published end could land below a later one.
#[test]
fn writing_publishing_and_cutting_wait_for_each_other_and_readers_for_none() {
    let changes: [fn(&SegmentFile); 3] = [
        |segment| segment.write(b"x", 5).unwrap(),
        |segment| segment.publish(6),
        |segment| segment.cut().unwrap(),
    ];
    for change in changes {
        let (_, segment) = created();
        segment.publish(5);
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            let other = segment.file.lock();
            scope.spawn(|| {
                change(&segment);
                done.send(()).unwrap();
            });
            // Never fails by chance: only a change that does not wait can be done in this time.
            assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err());
            assert_eq!(segment.bytes().unwrap(), [0; 5]);
            drop(other);
            is_done.recv().unwrap();
        });
    }
}

#[test]
#[should_panic(expected = "offset 4 is below the published end 5")]
fn published_bytes_are_never_written_again() {
    let (_, segment) = created();
    segment.publish(5);
    let _ = segment.write(b"x", 4);
}

#[test]
#[should_panic(expected = "roll before append")]
fn nothing_is_written_beyond_the_map() {
    let (_, segment) = created();
    let _ = segment.write(b"xy", 4095);
}

#[test]
#[should_panic(expected = "publish 4 after 5")]
fn the_published_end_never_shrinks() {
    let (_, segment) = created();
    segment.publish(5);
    segment.publish(4);
}

#[test]
#[should_panic(expected = "publish 4097 after 0")]
fn nothing_is_published_beyond_the_map() {
    created().1.publish(4097);
}

#[test]
#[should_panic(expected = "opened for reading")]
fn a_file_opened_for_reading_is_never_written() {
    let (disk, _) = created();
    let _ = SegmentFile::open(&disk, path(), OpenMode::Read, 0)
        .unwrap()
        .write(b"x", 0);
}

#[test]
#[should_panic(expected = "opened for reading")]
fn a_file_opened_for_reading_is_never_cut() {
    let (disk, _) = created();
    let _ = SegmentFile::open(&disk, path(), OpenMode::Read, 0)
        .unwrap()
        .cut();
}

fn path() -> &'static Path {
    Path::new("/0000000001.seg")
}

fn created() -> (MemoryDisk, SegmentFile) {
    let disk = MemoryDisk::default();
    let segment = SegmentFile::create(&disk, path(), 4096, Room::Reserved).unwrap();
    (disk, segment)
}

fn len_on(disk: &MemoryDisk) -> u64 {
    disk.open(path(), OpenMode::Read).unwrap().len().unwrap()
}
