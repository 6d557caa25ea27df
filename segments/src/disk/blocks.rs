//! The bytes of one file as far as they have been read, a block at a time: what stands for a map where
//! no file is to be mapped.
//!
//! Invariants, on which the `unsafe` here rests:
//! - `held` of a block counts the bytes at its start that are in memory. It only grows, under `source`.
//! - Reading a block fills it behind what is held of it; slices reach to what is held, never beyond.
//! - What is written to the file through this opening is written here too, where it touches what is held;
//!   and nothing is read that another opening may still write: who fetches says up to where. So what is held
//!   is what the file has, and who writes keeps the contract of [`Mapping::bytes`].
//!
//! A read that fails leaves everything as it was; the next one tries again.

#![expect(
    unsafe_code,
    reason = "bytes that are filled in while others read beside them"
)]

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::region::Region;
use super::{DiskFile, Mapping};

/// The first bytes of a file, read when they are fetched.
pub(super) struct Blocks {
    /// Where they are read from; `None` once everything is held. Locked while anything changes.
    source: Mutex<Option<Arc<dyn DiskFile>>>,
    region: Region,
    len: usize,
    held: Box<[AtomicU32]>,
    /// What all files of the disk hold.
    total: Arc<Held>,
    /// What this file has added to it.
    added: AtomicU64,
}

/// What the files of a disk hold in memory.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) len: AtomicU64,
    /// Never less: what was let go of is not taken off, what was written is not added.
    pub(super) fetched: AtomicU64,
}

impl Blocks {
    /// Holds nothing yet of the first `len` bytes, which the file has.
    pub(super) fn new(file: Arc<dyn DiskFile>, len: usize, total: Arc<Held>) -> io::Result<Self> {
        let blocks = Self {
            source: Mutex::new((len > 0).then_some(file)),
            region: Region::zeroed(len)?,
            len,
            held: (0..len.div_ceil(BLOCK_LEN))
                .map(|_| AtomicU32::new(0))
                .collect(),
            total,
            added: AtomicU64::new(0),
        };
        blocks.count(FILE_COST);
        blocks.total.fetched.fetch_add(FILE_COST, Ordering::Relaxed);
        Ok(blocks)
    }

    /// Follows a write to the file, which has been done.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) {
        let end = offset.saturating_add(bytes.len() as u64);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(self.len);
        let _source = self.source.lock();
        for (block, part) in parts(start..end) {
            let held = self.held[block].load(Ordering::Acquire) as usize;
            // Behind a gap it is left to be read.
            if part.start <= held {
                let at = block * BLOCK_LEN + part.start;
                // SAFETY: only who holds `source` writes to the region, and whoever holds a slice of
                // these bytes has promised (`Mapping::bytes`) that nobody writes them while it lives.
                unsafe { self.region.copy_in(at, &bytes[at - start..][..part.len()]) };
                self.hold(block, held, part.end.max(held));
            }
        }
    }

    /// Reads a block until `needed` bytes of it are held, and as much more as there is before offset `settled`.
    fn read(&self, block: usize, needed: usize, settled: usize) -> io::Result<()> {
        let mut source = self.source.lock();
        let held = self.held[block].load(Ordering::Acquire) as usize;
        let Some(file) = source.as_ref().filter(|_| held < needed) else {
            return Ok(());
        };
        let start = block * BLOCK_LEN;
        let len = self.block_len(block).min(settled - start);
        let mut bytes = vec![0; len - held];
        let read = read_up_to(&**file, &mut bytes, (start + held) as u64)?;
        // SAFETY: only who holds `source` writes to the region; slices reach to what is held, and these
        // bytes lie behind.
        unsafe { self.region.copy_in(start + held, &bytes[..read]) };
        self.hold(block, held, held + read);
        self.total.fetched.fetch_add(read as u64, Ordering::Relaxed);
        if held + read < needed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.is_complete() {
            *source = None;
        }
        Ok(())
    }

    fn hold(&self, block: usize, before: usize, after: usize) {
        self.held[block].store(after as u32, Ordering::Release);
        self.count((after - before) as u64);
    }

    fn count(&self, bytes: u64) {
        self.added.fetch_add(bytes, Ordering::Relaxed);
        self.total.len.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_complete(&self) -> bool {
        let mut blocks = self.held.iter().enumerate();
        blocks.all(|(block, held)| held.load(Ordering::Acquire) as usize == self.block_len(block))
    }

    fn block_len(&self, block: usize) -> usize {
        (self.len - block * BLOCK_LEN).min(BLOCK_LEN)
    }

    fn assert_inside(&self, range: &Range<usize>) {
        let (Range { start, end }, len) = (range, self.len);
        assert!(start <= end, "range {start}..{end} runs backwards");
        assert!(
            *end <= len,
            "range {start}..{end} reaches past the {len} mapped bytes"
        );
    }

    /// The first block of `range` of which less is held than the range takes, and how much it takes.
    fn missing(&self, range: Range<usize>) -> Option<(usize, usize)> {
        let mut parts = parts(range).map(|(block, part)| (block, part.end));
        parts.find(|(block, end)| (self.held[*block].load(Ordering::Acquire) as usize) < *end)
    }
}

impl Mapping for Blocks {
    fn len(&self) -> usize {
        self.len
    }

    fn is_resident(&self) -> bool {
        false
    }

    fn fetch(&self, range: Range<usize>, settled: usize) -> io::Result<()> {
        self.assert_inside(&range);
        let end = range.end;
        assert!(
            end <= settled,
            "end {end} is behind {settled}, what is settled"
        );
        while let Some((block, needed)) = self.missing(range.clone()) {
            self.read(block, needed, settled)?;
        }
        Ok(())
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.assert_inside(&range);
        if let Some((block, _)) = self.missing(range.clone()) {
            panic!("block {block} of range {range:?} has not been fetched");
        }
        // SAFETY: the range is in order and inside the region, asserted above, and all of it is held, as
        // has just been checked: only `write` writes there any more, and that it does not write these
        // bytes meanwhile is promised by the caller.
        unsafe { self.region.slice(range) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.total
            .len
            .fetch_sub(self.added.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

// Says how much is there, never what: payloads do not belong in logs.
impl fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Blocks")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The blocks that a range touches, and the part of each.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let first = range.start / BLOCK_LEN;
    let end = match range.is_empty() {
        true => first,
        false => range.end.div_ceil(BLOCK_LEN),
    };
    (first..end).map(move |block| {
        let start = block * BLOCK_LEN;
        let part = range.start.max(start) - start..range.end.min(start + BLOCK_LEN) - start;
        (block, part)
    })
}

/// Fills the buffer as far as the file reaches.
fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Bytes read at a time: enough that a walk seldom waits, little enough that one event is cheap.
pub(super) const BLOCK_LEN: usize = 64 << 10;
/// What an open file counts as beside its bytes, so that who bounds the bytes bounds the files too.
const FILE_COST: u64 = 512 << 10;

#[cfg(test)]
mod tests {
    //! Goal: what is held is what the file has, and what cannot be read is an error and no more.
    //!
    //! Method: a file in memory behind [`PreadDisk`], that is written, cut and read in blocks.

    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, MemoryDisk, OpenMode, PreadDisk};

    const LEN: usize = 3 * BLOCK_LEN + 100;

    fn byte_at(place: usize) -> u8 {
        (place / 7) as u8
    }

    fn file() -> (PreadDisk, Arc<dyn DiskFile>) {
        let disk = PreadDisk::new(Arc::new(MemoryDisk::default()), 0);
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..LEN).map(byte_at).collect();
        file.write_all_at(&bytes, 0).unwrap();
        (disk, file)
    }

    fn bytes(mapping: &dyn Mapping, range: Range<usize>) -> io::Result<&[u8]> {
        mapping.fetch(range.clone(), mapping.len())?;
        // SAFETY: no test writes to what it holds a slice of.
        Ok(unsafe { mapping.bytes(range) })
    }

    fn held(disk: &PreadDisk) -> u64 {
        disk.held_bytes().expect("it holds what it reads").len
    }

    #[test]
    fn only_what_is_fetched_is_held_and_it_is_let_go_with_the_mapping() {
        let (disk, file) = file();
        let mapping = file.map(LEN).unwrap();
        let empty = held(&disk);
        let middle = BLOCK_LEN + 5..2 * BLOCK_LEN + 9;
        let found = bytes(&*mapping, middle.clone()).unwrap();
        assert!(middle.map(byte_at).eq(found.iter().copied()));
        assert_eq!(held(&disk) - empty, 2 * BLOCK_LEN as u64);
        bytes(&*mapping, 0..LEN).unwrap();
        assert_eq!(held(&disk) - empty, LEN as u64);
        drop(mapping);
        assert_eq!(held(&disk), 0);
    }

    #[test]
    #[should_panic(expected = "block 1 of range 65530..65540 has not been fetched")]
    fn what_was_not_fetched_is_not_shown() {
        let mapping = file().1.map(LEN).unwrap();
        mapping.fetch(0..BLOCK_LEN, LEN).unwrap();
        // SAFETY: nobody writes to the file.
        let _ = unsafe { mapping.bytes(BLOCK_LEN - 6..BLOCK_LEN + 4) };
    }

    #[test]
    fn writes_are_seen_in_blocks_that_are_held_and_in_those_that_are_not() {
        let (_, file) = file();
        let mapping = file.map(LEN).unwrap();
        mapping.fetch(0..10, LEN).unwrap();
        // From a block that is held into one that is not, and behind a gap.
        let start = BLOCK_LEN - 50;
        file.write_all_at(&[200; 100], start as u64).unwrap();
        file.write_all_at(&[201; 10], 2 * BLOCK_LEN as u64 + 90)
            .unwrap();
        let found = bytes(&*mapping, 0..LEN).unwrap();
        let expected = |place: usize| match place {
            _ if (start..start + 100).contains(&place) => 200,
            _ if (2 * BLOCK_LEN + 90..2 * BLOCK_LEN + 100).contains(&place) => 201,
            _ => byte_at(place),
        };
        assert!((0..LEN).map(expected).eq(found.iter().copied()));
    }

    #[test]
    fn what_another_opening_may_still_write_is_not_read_ahead() {
        let (disk, file) = file();
        let other = disk.open(Path::new("/a"), OpenMode::Read).unwrap();
        let mapping = other.map(LEN).unwrap();
        let settled = BLOCK_LEN + 50;
        // Ahead within the block, and so to what is settled: asked again it need not be read.
        mapping.fetch(BLOCK_LEN..BLOCK_LEN + 1, settled).unwrap();
        let fetched = disk.held_bytes().unwrap().fetched;
        mapping.fetch(BLOCK_LEN..settled, settled).unwrap();
        assert_eq!(disk.held_bytes().unwrap().fetched, fetched);
        let behind = vec![200; LEN - settled];
        file.write_all_at(&behind, settled as u64).unwrap();
        let found = bytes(&*mapping, 0..LEN).unwrap();
        let before = (0..settled).map(byte_at);
        assert!(before.chain(behind).eq(found.iter().copied()));
    }

    #[test]
    #[should_panic(expected = "end 9 is behind 8")]
    fn what_is_not_settled_is_not_fetched() {
        let _ = file().1.map(LEN).unwrap().fetch(0..9, 8);
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error_behind_its_end_and_readable_before() {
        let (_, file) = file();
        let mapping = file.map(LEN).unwrap();
        let cut = BLOCK_LEN + 70;
        file.set_len(cut as u64).unwrap();
        let behind = bytes(&*mapping, cut - 1..cut + 1).unwrap_err();
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
        let found = bytes(&*mapping, cut - 9..cut).unwrap();
        assert!((cut - 9..cut).map(byte_at).eq(found.iter().copied()));
        // And whole again when the file is.
        file.write_all_at(&vec![9; LEN - cut], cut as u64).unwrap();
        let found = bytes(&*mapping, cut..LEN).unwrap();
        assert!(found.iter().all(|byte| *byte == 9));
    }

    #[test]
    fn readers_and_a_writer_side_by_side_see_what_was_written() {
        let disk = PreadDisk::new(Arc::new(MemoryDisk::default()), 0);
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        file.allocate(2 * BLOCK_LEN as u64).unwrap();
        let mapping = file.map(2 * BLOCK_LEN).unwrap();
        // Around the border of two blocks, the first of which is read while it is written.
        let first = BLOCK_LEN - 40;
        let end = std::sync::atomic::AtomicUsize::new(first);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for place in first..first + 80 {
                    file.write_all_at(&[byte_at(place)], place as u64).unwrap();
                    end.store(place + 1, Ordering::Release);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = first;
                    while seen < first + 80 {
                        seen = end.load(Ordering::Acquire);
                        let found = bytes(&*mapping, first..seen).unwrap();
                        assert!((first..seen).map(byte_at).eq(found.iter().copied()));
                        std::thread::yield_now();
                    }
                });
            }
        });
    }
}
