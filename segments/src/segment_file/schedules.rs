//! Every schedule of a writer and a reader of one segment: with loom, which also knows what an atomic may still show.
//!
//! The file is a piece of memory of which loom is told each access: a read that the writes of the same bytes have not
//! certainly gone before is a failure.

#![expect(
    unsafe_code,
    reason = "the disk of this test hands out slices of what it is written to"
)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::*;
use crate::disk::{DirEntry, DiskLock};
use crate::sync::thread;

/// Words of the file; loom watches each as one.
const WORDS: usize = 4;
const WORD: usize = 8;

#[derive(Debug)]
struct Watched {
    words: [UnsafeCell<()>; WORDS],
    bytes: *mut u8,
}

// SAFETY: what goes to the bytes is told to `words` first, and loom fails the test when two accesses could meet.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Arc<Self> {
        let bytes = Box::leak(Box::new([0_u8; WORDS * WORD]));
        Arc::new(Self {
            words: std::array::from_fn(|_| UnsafeCell::new(())),
            bytes: bytes.as_mut_ptr(),
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: `new` has leaked just this box, and this is its only owner.
        drop(unsafe { Box::from_raw(self.bytes.cast::<[u8; WORDS * WORD]>()) });
    }
}

#[derive(Debug)]
struct WatchedDisk(Arc<Watched>);

#[derive(Debug)]
struct WatchedFile(Arc<Watched>);

impl Disk for WatchedDisk {
    fn open(&self, _: &Path, _: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(WatchedFile(self.0.clone())))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<DirEntry>> {
        Ok(Vec::new())
    }

    fn try_lock(&self, _: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(None)
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = offset as usize;
        for word in offset / WORD..(offset + bytes.len()).div_ceil(WORD) {
            self.0.words[word].with_mut(|_| {});
        }
        assert!(offset + bytes.len() <= WORDS * WORD);
        // SAFETY: inside the allocation, asserted above; that nobody reads these bytes is what is being tested.
        unsafe {
            bytes
                .as_ptr()
                .copy_to(self.0.bytes.add(offset), bytes.len())
        };
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        thread::yield_now();
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok((WORDS * WORD) as u64)
    }

    fn map(&self, _: usize) -> io::Result<Arc<dyn Mapping>> {
        Ok(Arc::new(WatchedFile(self.0.clone())))
    }
}

impl Mapping for WatchedFile {
    fn len(&self) -> usize {
        WORDS * WORD
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        for word in range.start / WORD..range.end.div_ceil(WORD) {
            self.0.words[word].with(|_| {});
        }
        // SAFETY: inside the allocation, which lives as long as `self`; that nobody writes is what is being tested.
        unsafe { std::slice::from_raw_parts(self.0.bytes.add(range.start), range.len()) }
    }
}

fn segment() -> Arc<SegmentFile> {
    let disk = WatchedDisk(Watched::new());
    let len = (WORDS * WORD) as u64;
    Arc::new(SegmentFile::create(&disk, Path::new("segment"), len, Room::Reserved).unwrap())
}

#[test]
fn a_reader_sees_whole_what_is_published_and_no_more() {
    loom::model(|| {
        let segment = segment();
        let reading = segment.clone();
        // The other way round loom would look at one schedule only: it remembers the last access of each atomic, and
        // the writer looks at the published end before it moves it.
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let bytes = reading.bytes().unwrap();
                assert!(bytes.len().is_multiple_of(WORD) && bytes.iter().all(|byte| *byte == 7));
            }
        });
        for word in 0..2 {
            segment.write(&[7; WORD], word * WORD).unwrap();
            segment.publish((word + 1) * WORD);
        }
        reader.join().unwrap();
        assert_eq!(segment.bytes().unwrap(), [7; 2 * WORD]);
    });
}

#[test]
fn a_sync_beside_the_writer_and_a_cut_meet_neither() {
    loom::model(|| {
        let segment = segment();
        let syncing = segment.clone();
        let syncer = thread::spawn(move || syncing.sync().unwrap());
        segment.write(&[7; WORD], 0).unwrap();
        segment.publish(WORD);
        segment.sync().unwrap();
        segment.cut().unwrap();
        syncer.join().unwrap();
        assert_eq!(segment.bytes().unwrap(), [7; WORD]);
    });
}
