//! The contract of [`Disk`], run on every disk, and what each promises beyond it.
//!
//! Every promise is a function over a disk and an existing, empty directory on it; `promises!`
//! makes a test of it per disk. Nothing here shows that synced bytes survive a power cut: only a
//! disk that injects faults can. Under Miri only the memory disk runs.

use std::io::{ErrorKind, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;

macro_rules! promises {
    ($($promise:ident)*) => {
        mod memory {
            $(#[test]
            fn $promise() {
                let disk = super::MemoryDisk::default();
                let root = std::path::Path::new("/log");
                super::Disk::create_dir(&disk, root).unwrap();
                super::$promise(&disk, root);
            })*
        }
        mod real {
            $(#[test]
            #[cfg_attr(miri, ignore = "Miri neither maps files nor locks them")]
            fn $promise() {
                let root = tempfile::tempdir().unwrap();
                super::$promise(&super::RealDisk, root.path());
            })*
        }
        mod pread {
            $(#[test]
            fn $promise() {
                let memory = std::sync::Arc::new(super::MemoryDisk::default());
                let disk = super::PreadDisk::new(memory, 0);
                let root = std::path::Path::new("/log");
                super::Disk::create_dir(&disk, root).unwrap();
                super::$promise(&disk, root);
            })*
        }
    };
}

promises! {
    a_new_file_is_empty_and_keeps_what_is_written
    opening_a_missing_file_is_not_found
    creating_a_taken_name_is_refused_and_harms_nothing
    a_file_is_no_directory_and_a_directory_no_file
    a_file_opened_for_reading_cannot_be_written
    a_read_stops_at_the_end_of_the_file
    an_offset_no_file_can_have_is_past_the_end
    a_write_past_the_end_leaves_zeros_between
    an_empty_write_does_not_extend
    a_length_no_disk_can_hold_is_refused
    two_openings_are_one_file
    exact_reads_fail_at_the_end_and_whole_reads_at_the_limit
    allocated_room_reads_zero_and_keeps_what_was_there
    allocate_never_shortens
    allocate_crosses_chunks_of_any_size
    cut_bytes_are_zero_when_the_file_grows_again
    syncs_succeed_on_what_exists
    an_open_file_outlives_its_name
    a_rename_replaces_its_target
    a_rename_to_itself_keeps_the_file
    a_rename_to_another_name_of_the_file_keeps_both
    renaming_and_removing_what_is_missing_is_not_found
    a_link_is_an_equal_name_and_takes_none_that_is_taken
    missing_parents_are_created
    creating_a_directory_twice_is_fine
    a_file_in_the_way_of_a_directory_is_an_error
    a_listing_is_sorted_and_tells_lengths_and_directories
    a_mapping_holds_the_first_bytes
    a_mapping_sees_writes_below_its_length
    a_mapping_is_unmoved_by_writes_above_it
    a_mapping_outlives_its_file_handle_and_name
    an_empty_mapping_has_only_the_empty_slice
    mapping_more_than_the_file_is_invalid_input
    mapping_a_file_opened_for_reading_works
    a_range_past_the_mapping_panics
    a_slice_is_read_while_the_bytes_above_it_are_written
    a_lock_excludes_every_other_until_it_is_dropped
    locks_on_two_files_are_apart
    a_lock_message_replaces_the_one_before
    taking_a_lock_keeps_the_message_of_the_holder
    a_lock_does_not_stop_reading
}

fn a_new_file_is_empty_and_keeps_what_is_written(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_all_at(b"hello", 0).unwrap();
    file.write_all_at(b"J", 0).unwrap();
    drop(file);
    assert_eq!(content(disk, &path), b"Jello");
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"!", 5).unwrap();
    assert_eq!(content(disk, &path), b"Jello!");
}

fn opening_a_missing_file_is_not_found(disk: &dyn Disk, root: &Path) {
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_kind(disk.open(&root.join("missing"), mode), ErrorKind::NotFound);
    }
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::CreateNew] {
        assert_kind(
            disk.open(&root.join("missing/a"), mode),
            ErrorKind::NotFound,
        );
    }
    assert_eq!(disk.list(root).unwrap(), []);
}

fn creating_a_taken_name_is_refused_and_harms_nothing(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"kept");
    assert_kind(
        disk.open(&path, OpenMode::CreateNew),
        ErrorKind::AlreadyExists,
    );
    assert_eq!(content(disk, &path), b"kept");
    disk.create_dir(&root.join("d")).unwrap();
    assert_kind(
        disk.open(&root.join("d"), OpenMode::CreateNew),
        ErrorKind::AlreadyExists,
    );
}

fn a_file_is_no_directory_and_a_directory_no_file(disk: &dyn Disk, root: &Path) {
    let (file, directory) = (root.join("a"), root.join("d"));
    file_with(disk, &file, b"");
    disk.create_dir(&directory).unwrap();
    assert_kind(disk.list(&file), ErrorKind::NotADirectory);
    assert_kind(disk.sync_dir(&file), ErrorKind::NotADirectory);
    assert_kind(
        disk.open(&file.join("b"), OpenMode::CreateNew),
        ErrorKind::NotADirectory,
    );
    assert_kind(
        disk.open(&file.join("b"), OpenMode::Read),
        ErrorKind::NotADirectory,
    );
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_kind(disk.open(&directory, mode), ErrorKind::IsADirectory);
    }
    assert_kind(disk.try_lock(&directory), ErrorKind::IsADirectory);
    assert_kind(disk.remove(&directory), ErrorKind::IsADirectory);
    assert_kind(disk.rename(&file, &directory), ErrorKind::IsADirectory);
    assert_kind(disk.list(&root.join("missing")), ErrorKind::NotFound);
    assert_kind(disk.sync_dir(&root.join("missing")), ErrorKind::NotFound);
}

fn a_file_opened_for_reading_cannot_be_written(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"kept");
    let file = disk.open(&path, OpenMode::Read).unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.allocate(100).is_err());
    assert!(file.set_len(0).is_err());
    assert_eq!(content(disk, &path), b"kept");
}

fn a_read_stops_at_the_end_of_the_file(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123456789");
    let mut buffer = [0xAA; 8];
    assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 4);
    assert_eq!(buffer, *b"6789\xAA\xAA\xAA\xAA");
    assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 11).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
}

fn an_offset_no_file_can_have_is_past_the_end(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123456789");
    for offset in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(
            file.read_at(&mut [0; 8], offset).unwrap(),
            0,
            "offset {offset}"
        );
    }
}

fn a_write_past_the_end_leaves_zeros_between(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"ab");
    file.write_all_at(b"cd", 5).unwrap();
    assert_eq!(content(disk, &path), b"ab\0\0\0cd");
}

fn an_empty_write_does_not_extend(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"ab");
    assert_eq!(file.write_at(b"", 100).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 2);
}

fn a_length_no_disk_can_hold_is_refused(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"kept");
    assert!(file.set_len(u64::MAX).is_err());
    assert!(file.write_at(b"xy", u64::MAX).is_err());
    assert!(file.write_at(b"xy", u64::MAX - 2).is_err());
    assert_eq!(content(disk, &path), b"kept");
}

fn two_openings_are_one_file(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let one = file_with(disk, &path, b"");
    let other = disk.open(&path, OpenMode::ReadWrite).unwrap();
    one.write_all_at(b"one", 0).unwrap();
    other.write_all_at(b"other", 3).unwrap();
    assert_eq!(one.read_all(100).unwrap(), b"oneother");
    assert_eq!(other.read_all(100).unwrap(), b"oneother");
}

fn exact_reads_fail_at_the_end_and_whole_reads_at_the_limit(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123456789");
    let mut buffer = [0; 4];
    file.read_exact_at(&mut buffer, 6).unwrap();
    assert_eq!(buffer, *b"6789");
    assert_kind(file.read_exact_at(&mut buffer, 7), ErrorKind::UnexpectedEof);
    assert_eq!(file.read_all(10).unwrap(), b"0123456789");
    assert_kind(file.read_all(9), ErrorKind::FileTooLarge);
}

fn allocated_room_reads_zero_and_keeps_what_was_there(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"kept");
    file.allocate(10).unwrap();
    assert_eq!(content(disk, &path), b"kept\0\0\0\0\0\0");
    file.write_all_at(b"!", 9).unwrap();
    assert_eq!(content(disk, &path), b"kept\0\0\0\0\0!");
}

fn allocate_never_shortens(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"kept");
    for len in 0..=4 {
        file.allocate(len).unwrap();
        assert_eq!(content(disk, &path), b"kept");
    }
}

fn allocate_crosses_chunks_of_any_size(disk: &dyn Disk, root: &Path) {
    const MIB: u64 = 1 << 20;
    let file = file_with(disk, &root.join("a"), b"kept");
    for len in [MIB - 1, MIB, 3 * MIB + 5] {
        file.allocate(len).unwrap();
        assert_eq!(file.len().unwrap(), len);
    }
    let bytes = file.read_all(4 * MIB).unwrap();
    assert_eq!(&bytes[..4], b"kept");
    // A comparison of slices, for Miri is slow at loops.
    assert!(bytes[4..] == vec![0; bytes.len() - 4]);
}

fn cut_bytes_are_zero_when_the_file_grows_again(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"0123456789");
    file.set_len(4).unwrap();
    assert_eq!(content(disk, &path), b"0123");
    file.set_len(6).unwrap();
    assert_eq!(content(disk, &path), b"0123\0\0");
    file.allocate(8).unwrap();
    file.write_all_at(b"x", 9).unwrap();
    assert_eq!(content(disk, &path), b"0123\0\0\0\0\0x");
    file.set_len(0).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(content(disk, &path), b"\0\0\0");
}

fn syncs_succeed_on_what_exists(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"x").sync_data().unwrap();
    disk.open(&path, OpenMode::Read)
        .unwrap()
        .sync_data()
        .unwrap();
    disk.sync_dir(root).unwrap();
}

fn an_open_file_outlives_its_name(disk: &dyn Disk, root: &Path) {
    let (old, new) = (root.join("old"), root.join("new"));
    let file = file_with(disk, &old, b"one");
    disk.rename(&old, &new).unwrap();
    file.write_all_at(b"two", 0).unwrap();
    assert_eq!(content(disk, &new), b"two");
    disk.remove(&new).unwrap();
    file.write_all_at(b"three", 0).unwrap();
    assert_eq!(file.read_all(100).unwrap(), b"three");
    assert_eq!(disk.list(root).unwrap(), []);

    // Another file of that name is another file.
    file_with(disk, &new, b"four");
    assert_eq!(file.read_all(100).unwrap(), b"three");
}

fn a_rename_replaces_its_target(disk: &dyn Disk, root: &Path) {
    let (from, to) = (root.join("from"), root.join("to"));
    file_with(disk, &from, b"new");
    let replaced = file_with(disk, &to, b"old");
    disk.rename(&from, &to).unwrap();
    assert_eq!(content(disk, &to), b"new");
    assert_eq!(replaced.read_all(100).unwrap(), b"old");
    assert_eq!(listed(disk, root), ["to"]);
}

fn a_rename_to_another_name_of_the_file_keeps_both(disk: &dyn Disk, root: &Path) {
    let (one, other) = (root.join("one"), root.join("other"));
    file_with(disk, &one, b"x");
    disk.hard_link(&one, &other).unwrap();
    disk.rename(&one, &other).unwrap();
    assert_eq!(listed(disk, root), ["one", "other"]);
}

fn a_rename_to_itself_keeps_the_file(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"kept");
    disk.rename(&path, &path).unwrap();
    assert_eq!(content(disk, &path), b"kept");
}

fn renaming_and_removing_what_is_missing_is_not_found(disk: &dyn Disk, root: &Path) {
    file_with(disk, &root.join("b"), b"kept");
    assert_kind(
        disk.rename(&root.join("a"), &root.join("b")),
        ErrorKind::NotFound,
    );
    assert_kind(disk.remove(&root.join("a")), ErrorKind::NotFound);
    assert_eq!(content(disk, &root.join("b")), b"kept");
}

fn a_link_is_an_equal_name_and_takes_none_that_is_taken(disk: &dyn Disk, root: &Path) {
    let (one, other) = (root.join("one"), root.join("other"));
    let file = disk.open(&one, OpenMode::CreateNew).unwrap();
    file.write_all_at(b"before", 0).unwrap();
    disk.hard_link(&one, &other).unwrap();
    file.write_all_at(b"behind", 0).unwrap();
    let again = disk.hard_link(&one, &other).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let missing = disk.hard_link(&root.join("none"), &root.join("new"));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    disk.remove(&one).unwrap();
    let linked = disk.open(&other, OpenMode::Read).unwrap();
    assert_eq!(linked.read_all(100).unwrap(), b"behind");
}

fn missing_parents_are_created(disk: &dyn Disk, root: &Path) {
    let deep = root.join("a/b/c");
    disk.create_dir(&deep).unwrap();
    file_with(disk, &deep.join("file"), b"x");
    assert_eq!(listed(disk, &deep), ["file"]);
    assert_eq!(listed(disk, &root.join("a")), ["b"]);
}

fn creating_a_directory_twice_is_fine(disk: &dyn Disk, root: &Path) {
    disk.create_dir(&root.join("d")).unwrap();
    file_with(disk, &root.join("d/file"), b"x");
    disk.create_dir(&root.join("d")).unwrap();
    disk.create_dir(&root.join("d/")).unwrap();
    disk.create_dir(Path::new("/")).unwrap();
    assert_eq!(listed(disk, &root.join("d")), ["file"]);
}

fn a_file_in_the_way_of_a_directory_is_an_error(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"kept");
    assert_kind(disk.create_dir(&path), ErrorKind::AlreadyExists);
    assert_kind(disk.create_dir(&path.join("b")), ErrorKind::NotADirectory);
    assert_kind(disk.create_dir(&path.join("b/c")), ErrorKind::NotADirectory);
    assert_eq!(content(disk, &path), b"kept");
}

fn a_listing_is_sorted_and_tells_lengths_and_directories(disk: &dyn Disk, root: &Path) {
    for (name, bytes) in [
        ("b", &b"12"[..]),
        ("a.log", b"1"),
        ("a", b""),
        ("\u{e9}", b"123"),
    ] {
        file_with(disk, &root.join(name), bytes);
    }
    disk.create_dir(&root.join("aa/nested")).unwrap();
    let entry = |name: &str, len, is_dir| DirEntry {
        name: name.into(),
        len,
        is_dir,
    };
    let expected = [
        entry("a", 0, false),
        entry("a.log", 1, false),
        entry("aa", 0, true),
        entry("b", 2, false),
        entry("\u{e9}", 3, false),
    ];
    assert_eq!(disk.list(root).unwrap(), expected);
}

fn a_mapping_holds_the_first_bytes(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123456789");
    let mapping = file.map(6).unwrap();
    assert_eq!(mapping.len(), 6);
    assert_eq!(mapped(&*mapping, 0..6), b"012345");
    assert_eq!(mapped(&*mapping, 2..4), b"23");
    assert_eq!(mapped(&*mapping, 6..6), b"");
}

fn a_mapping_sees_writes_below_its_length(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"");
    file.allocate(10).unwrap();
    let mapping = file.map(10).unwrap();
    assert_eq!(mapped(&*mapping, 0..10), [0; 10]);
    file.write_all_at(b"first", 0).unwrap();
    assert_eq!(mapped(&*mapping, 0..6), b"first\0");
    file.write_all_at(b"later", 5).unwrap();
    assert_eq!(mapped(&*mapping, 0..10), b"firstlater");
}

/// Of maps only: what is read without them is looked at once.
fn a_map_sees_writes_through_another_opening(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let mapping = file_with(disk, &path, b"first").map(5).unwrap();
    assert_eq!(mapped(&*mapping, 0..5), b"first");
    disk.open(&path, OpenMode::ReadWrite)
        .unwrap()
        .write_all_at(b"LA", 3)
        .unwrap();
    assert_eq!(mapped(&*mapping, 0..5), b"firLA");
}

#[test]
fn maps_see_writes_through_another_opening() {
    let memory = MemoryDisk::default();
    memory.create_dir(Path::new("/log")).unwrap();
    a_map_sees_writes_through_another_opening(&memory, Path::new("/log"));
    if !cfg!(miri) {
        let root = tempfile::tempdir().unwrap();
        a_map_sees_writes_through_another_opening(&RealDisk, root.path());
    }
}

fn a_mapping_is_unmoved_by_writes_above_it(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123");
    let mapping = file.map(4).unwrap();
    let before = mapped(&*mapping, 0..4);
    for step in 0..8 {
        file.write_all_at(&[0xAA; 100], 4 + step * 100).unwrap();
        assert_eq!(before, b"0123");
        assert_eq!(mapped(&*mapping, 0..4), b"0123");
    }
    assert_eq!(mapping.len(), 4);
}

fn a_mapping_outlives_its_file_handle_and_name(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = file_with(disk, &path, b"0123");
    let mapping = file.map(4).unwrap();
    drop(file);
    disk.rename(&path, &root.join("b")).unwrap();
    disk.remove(&root.join("b")).unwrap();
    assert_eq!(mapped(&*mapping, 0..4), b"0123");
}

fn an_empty_mapping_has_only_the_empty_slice(disk: &dyn Disk, root: &Path) {
    for bytes in [&b""[..], b"0123"] {
        let name = format!("{}", bytes.len());
        let mapping = file_with(disk, &root.join(name), bytes).map(0).unwrap();
        assert!(mapping.is_empty());
        assert_eq!(mapped(&*mapping, 0..0), b"");
        assert_panics(|| mapped(&*mapping, 0..1).len());
    }
}

fn mapping_more_than_the_file_is_invalid_input(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("a"), b"0123");
    for len in [5, 4096, usize::MAX] {
        assert_kind(file.map(len), ErrorKind::InvalidInput);
    }
}

fn mapping_a_file_opened_for_reading_works(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    file_with(disk, &path, b"0123");
    let mapping = disk.open(&path, OpenMode::Read).unwrap().map(4).unwrap();
    assert_eq!(mapped(&*mapping, 0..4), b"0123");
}

fn a_range_past_the_mapping_panics(disk: &dyn Disk, root: &Path) {
    let mapping = file_with(disk, &root.join("a"), b"0123456789")
        .map(4)
        .unwrap();
    for range in [
        0..5,
        4..5,
        5..5,
        5..6,
        usize::MAX..usize::MAX,
        0..usize::MAX,
        Range { start: 3, end: 2 },
    ] {
        assert_panics(|| mapped(&*mapping, range.clone()).len());
    }
}

/// The way the engine works: one thread appends below room it allocated, and publishes a tail;
/// others read up to the tail. Under Miri this also looks for races.
fn a_slice_is_read_while_the_bytes_above_it_are_written(disk: &dyn Disk, root: &Path) {
    const STEP: usize = 16;
    let steps = if cfg!(miri) { 20 } else { 2_000 };
    let file = file_with(disk, &root.join("a"), b"");
    file.allocate((steps * STEP) as u64).unwrap();
    let mapping = file.map(steps * STEP).unwrap();
    let tail = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..steps {
                file.write_all_at(&[step as u8; STEP], (step * STEP) as u64)
                    .unwrap();
                tail.store((step + 1) * STEP, Ordering::Release);
            }
        });
        let mut seen = 0;
        while seen < steps * STEP {
            let end = tail.load(Ordering::Acquire);
            for (at, byte) in mapped(&*mapping, seen..end).iter().enumerate() {
                assert_eq!(*byte, ((seen + at) / STEP) as u8, "offset {}", seen + at);
            }
            seen = end;
            thread::yield_now();
        }
    });
}

fn a_lock_excludes_every_other_until_it_is_dropped(disk: &dyn Disk, root: &Path) {
    let path = root.join("lock");
    let lock = disk.try_lock(&path).unwrap().expect("nobody holds it");
    assert!(disk.try_lock(&path).unwrap().is_none());
    thread::scope(|scope| {
        scope.spawn(|| assert!(disk.try_lock(&path).unwrap().is_none()));
    });
    // The failed attempts above must not have let go of it.
    assert!(disk.try_lock(&path).unwrap().is_none());
    drop(lock);
    assert!(disk.try_lock(&path).unwrap().is_some());
    assert!(
        disk.try_lock(&path).unwrap().is_some(),
        "the guard above was dropped at once"
    );
    assert_kind(
        disk.try_lock(&root.join("missing/lock")),
        ErrorKind::NotFound,
    );
}

fn locks_on_two_files_are_apart(disk: &dyn Disk, root: &Path) {
    let _one = disk
        .try_lock(&root.join("one"))
        .unwrap()
        .expect("nobody holds it");
    let _other = disk
        .try_lock(&root.join("other"))
        .unwrap()
        .expect("nobody holds it");
}

fn a_lock_message_replaces_the_one_before(disk: &dyn Disk, root: &Path) {
    let path = root.join("lock");
    let lock = disk.try_lock(&path).unwrap().expect("nobody holds it");
    assert_eq!(content(disk, &path), b"");
    for message in ["process 12345", "short", "", "again"] {
        lock.set_message(message).unwrap();
        assert_eq!(content(disk, &path), message.as_bytes());
    }
}

fn taking_a_lock_keeps_the_message_of_the_holder(disk: &dyn Disk, root: &Path) {
    let path = root.join("lock");
    let lock = disk.try_lock(&path).unwrap().expect("nobody holds it");
    lock.set_message("process 1").unwrap();
    assert!(disk.try_lock(&path).unwrap().is_none());
    assert_eq!(content(disk, &path), b"process 1");
    drop(lock);
    let _lock = disk.try_lock(&path).unwrap().expect("dropped above");
    assert_eq!(content(disk, &path), b"process 1");
}

fn a_lock_does_not_stop_reading(disk: &dyn Disk, root: &Path) {
    let path = root.join("lock");
    let _lock = disk.try_lock(&path).unwrap().expect("nobody holds it");
    disk.open(&path, OpenMode::Read).unwrap();
    disk.rename(&path, &root.join("moved")).unwrap();
    assert!(
        disk.try_lock(&root.join("moved")).unwrap().is_none(),
        "the lock is on the file, not on its name"
    );
    assert!(
        disk.try_lock(&path).unwrap().is_some(),
        "and this is another file"
    );
}

/// What only the memory disk promises.
mod memory_only {
    use super::*;

    #[test]
    fn a_clone_is_the_same_disk() {
        let disk = MemoryDisk::default();
        let clone = disk.clone();
        file_with(&disk, Path::new("a"), b"x");
        assert_eq!(content(&clone, Path::new("/a")), b"x");
        let _lock = clone.try_lock(Path::new("lock")).unwrap().unwrap();
        assert!(disk.try_lock(Path::new("lock")).unwrap().is_none());
    }

    #[test]
    fn paths_lead_from_the_root_with_or_without_a_slash() {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new("/a/b")).unwrap();
        file_with(&disk, Path::new("a/./b/../c"), b"x");
        assert_eq!(content(&disk, Path::new("/../a/c")), b"x");
        assert_eq!(listed(&disk, Path::new("")), ["a"]);
        assert_kind(
            disk.open(Path::new("/"), OpenMode::Read),
            ErrorKind::IsADirectory,
        );
    }

    #[test]
    fn a_fork_has_all_bytes_and_no_lock() {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new("a/b")).unwrap();
        let file = file_with(&disk, Path::new("a/b/file"), b"before");
        file.allocate(10).unwrap();
        let lock = disk.try_lock(Path::new("lock")).unwrap().unwrap();
        lock.set_message("process 1").unwrap();
        let unnamed = file_with(&disk, Path::new("gone"), b"x");
        disk.remove(Path::new("gone")).unwrap();

        let fork = disk.fork();
        assert_eq!(content(&fork, Path::new("a/b/file")), b"before\0\0\0\0");
        assert_eq!(content(&fork, Path::new("lock")), b"process 1");
        assert!(fork.try_lock(Path::new("lock")).unwrap().is_some());
        assert!(disk.try_lock(Path::new("lock")).unwrap().is_none());
        assert_eq!(listed(&fork, Path::new("/")), ["a", "lock"]);
        assert_eq!(unnamed.read_all(10).unwrap(), b"x");
    }

    #[test]
    fn a_fork_and_its_origin_go_separate_ways() {
        let disk = MemoryDisk::default();
        let file = file_with(&disk, Path::new("a"), b"before");
        let mapping = file.map(6).unwrap();
        let fork = disk.fork();
        file.write_all_at(b"origin", 0).unwrap();
        let forked = fork.open(Path::new("a"), OpenMode::ReadWrite).unwrap();
        assert_eq!(forked.read_all(10).unwrap(), b"before");
        forked.write_all_at(b"forked, and longer", 0).unwrap();
        fork.remove(Path::new("a")).unwrap();
        assert_eq!(content(&disk, Path::new("a")), b"origin");
        assert_eq!(mapped(&*mapping, 0..6), b"origin");
    }

    /// A counter goes up in one file and then in another, so at every instant the first is ahead by
    /// one or none. A file of some size lies between them, to widen the gap a careless copy leaves.
    #[test]
    fn a_fork_is_one_instant_of_the_disk() {
        let (forks, gap_bytes) = if cfg!(miri) {
            (5, 16)
        } else {
            (200, 256 << 10)
        };
        let disk = MemoryDisk::default();
        let first = file_with(&disk, Path::new("a"), &0_u64.to_le_bytes());
        file_with(&disk, Path::new("b"), &vec![0xAA; gap_bytes]);
        let second = file_with(&disk, Path::new("c"), &0_u64.to_le_bytes());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for step in 1_u64.. {
                    first.write_all_at(&step.to_le_bytes(), 0).unwrap();
                    second.write_all_at(&step.to_le_bytes(), 0).unwrap();
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let counters: Vec<_> = (0..forks)
                .map(|_| {
                    thread::yield_now();
                    let fork = disk.fork();
                    ["a", "c"].map(|name| {
                        u64::from_le_bytes(content(&fork, Path::new(name)).try_into().unwrap())
                    })
                })
                .collect();
            // Judged only now: a panic before would leave the writer running, and the scope waiting.
            done.store(true, Ordering::Relaxed);
            for [first, second] in counters {
                assert!(
                    first == second || first == second + 1,
                    "{first} and {second} were never there at once"
                );
            }
        });
    }

    #[test]
    fn a_file_that_outgrows_its_room_leaves_older_mappings_behind() {
        let disk = MemoryDisk::default();
        let file = file_with(&disk, Path::new("a"), b"");
        file.allocate(4).unwrap();
        file.write_all_at(b"0123", 0).unwrap();
        let old = file.map(4).unwrap();
        file.write_all_at(b"4", 4).unwrap();
        file.write_all_at(b"X", 0).unwrap();
        assert_eq!(mapped(&*old, 0..4), b"0123");
        assert_eq!(mapped(&*file.map(5).unwrap(), 0..5), b"X1234");
    }

    #[test]
    fn a_cut_and_refilled_file_keeps_its_mappings() {
        let disk = MemoryDisk::default();
        let file = file_with(&disk, Path::new("a"), b"0123456789");
        let mapping = file.map(10).unwrap();
        file.set_len(2).unwrap();
        file.set_len(10).unwrap();
        file.write_all_at(b"x", 9).unwrap();
        assert_eq!(mapped(&*mapping, 0..10), b"01\0\0\0\0\0\0\0x");
    }

    #[test]
    fn a_length_beyond_all_memory_is_an_error_and_no_abort() {
        let disk = MemoryDisk::default();
        let file = file_with(&disk, Path::new("a"), b"kept");
        for len in [isize::MAX as u64 + 1, u64::MAX] {
            assert_kind(file.allocate(len), ErrorKind::FileTooLarge);
        }
        assert_eq!(file.read_all(10).unwrap(), b"kept");
    }

    #[test]
    fn printing_shows_no_contents() {
        let disk = MemoryDisk::default();
        let file = file_with(&disk, Path::new("name"), b"secret");
        let lock = disk.try_lock(Path::new("lock")).unwrap().unwrap();
        let printed = format!("{disk:?} {file:?} {:?} {lock:?}", file.map(3).unwrap());
        let expected = "MemoryDisk { .. } MemoryFile { len: 6, writable: true, .. } \
                        MemoryMapping { len: 3, .. } MemoryLock { .. }";
        assert_eq!(printed, expected);
    }
}

/// What only the real disk promises.
#[cfg(not(miri))]
mod real_only {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn allocated_room_has_blocks() {
        const LEN: u64 = 4 << 20;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let file = file_with(&RealDisk, &path, b"");
        file.allocate(LEN).unwrap();
        file.sync_data().unwrap();
        let blocks_bytes = path.metadata().unwrap().blocks() * 512;
        assert!(
            blocks_bytes >= LEN,
            "{blocks_bytes} bytes of blocks for a file of {LEN}"
        );
    }

    #[test]
    fn a_name_that_is_not_unicode_is_listed_lossily() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        file_with(
            &RealDisk,
            &root.path().join(std::ffi::OsStr::from_bytes(b"a\xFF")),
            b"",
        );
        assert_eq!(listed(&RealDisk, root.path()), ["a\u{FFFD}"]);
    }

    #[test]
    fn a_link_is_listed_as_what_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        file_with(&RealDisk, &root.path().join("target"), b"123");
        std::os::unix::fs::symlink("target", root.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nothing", root.path().join("dangling")).unwrap();
        let entry = |name: &str| DirEntry {
            name: name.into(),
            len: 3,
            is_dir: false,
        };
        assert_eq!(
            RealDisk.list(root.path()).unwrap(),
            [entry("link"), entry("target")]
        );
    }

    #[test]
    fn a_lock_excludes_another_process() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let lock = RealDisk.try_lock(&path).unwrap().expect("nobody holds it");
        let held = child_tries(&path);
        assert_eq!(held.code(), Some(CHILD_FOUND_IT_HELD), "{held}");
        drop(lock);
        let free = child_tries(&path);
        assert_eq!(free.signal(), Some(ABORTED), "{free}");
        // The child died with the lock in hand, and the lock with it.
        assert_eq!(content(&RealDisk, &path), CHILD_MESSAGE.as_bytes());
        assert!(RealDisk.try_lock(&path).unwrap().is_some());
    }

    /// Not a test: the other process of the test above, which names the file in the environment.
    #[test]
    #[ignore = "the child process of a_lock_excludes_another_process"]
    fn child_takes_a_lock_and_aborts() {
        let Some(path) = std::env::var_os(CHILD_LOCK_PATH) else {
            return;
        };
        let Some(lock) = RealDisk.try_lock(Path::new(&path)).unwrap() else {
            std::process::exit(CHILD_FOUND_IT_HELD);
        };
        lock.set_message(CHILD_MESSAGE).unwrap();
        std::process::abort();
    }

    fn child_tries(path: &Path) -> std::process::ExitStatus {
        let (_crate, module) = module_path!().split_once("::").unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args([
                &format!("{module}::child_takes_a_lock_and_aborts"),
                "--exact",
                "--ignored",
                "--quiet",
            ])
            .env(CHILD_LOCK_PATH, path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
    }

    const CHILD_LOCK_PATH: &str = "ANNALS_TEST_LOCK_PATH";
    const CHILD_MESSAGE: &str = "the child has it";
    /// Unlike the 101 of a failed test.
    const CHILD_FOUND_IT_HELD: i32 = 42;
    /// SIGABRT, on every Unix.
    const ABORTED: i32 = 6;
}

fn file_with(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    disk.open(path, OpenMode::Read)
        .unwrap()
        .read_all(1 << 20)
        .unwrap()
}

fn listed(disk: &dyn Disk, path: &Path) -> Vec<String> {
    disk.list(path)
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

/// The mapped bytes of a range, fetched. The caller writes none of them while it holds the slice.
#[expect(unsafe_code, reason = "the tests of a contract have to call it")]
fn mapped(mapping: &dyn Mapping, range: Range<usize>) -> &[u8] {
    mapping.fetch(range.clone(), range.end).unwrap();
    // SAFETY: the files are the test's own, and each test drops the slice (or has compared it, in
    // the same statement) before it writes those bytes or cuts the file; writes elsewhere are free.
    unsafe { mapping.bytes(range) }
}

#[track_caller]
fn assert_kind<T>(result: Result<T>, expected: ErrorKind) {
    match result {
        Ok(_) => panic!("succeeded, expected {expected:?}"),
        Err(error) => assert_eq!(error.kind(), expected, "{error}"),
    }
}

#[track_caller]
fn assert_panics(call: impl FnOnce() -> usize) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    assert!(outcome.is_err(), "returned {outcome:?}");
}
