//! The bytes of one file in memory: the `unsafe` of the memory disk, and the memory that
//! [`Blocks`](super::blocks::Blocks) fill.
//!
//! Invariants:
//! - A [`Region`] never moves and never changes its size; it lives as long as the file or any
//!   mapping of it needs it.
//! - Only its owner writes to a region, under a lock of its own: [`Contents`], and to the current one
//!   only, or `Blocks`, which have invariants of their own.
//! - No reference to a whole region exists, ever. Bytes are copied through raw pointers; the sole
//!   references are the slices that [`Mapping::bytes`] hands out, for their range and under the
//!   contract of that method. So a write next to a slice is no aliasing fault.
//! - `written <= len <= capacity`, and every byte at or past `written` is zero.
//!
//! A slice out of a mapping takes no lock, so it orders nothing: whoever reads it must have learned
//! of the write by other means (an atomic with release and acquire, a lock, a channel).
//!
//! This file knows no names, no open modes and no locks on files.

#![expect(
    unsafe_code,
    reason = "shared bytes that are written while others read beside them"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Mapping;

/// The growing content of one file. All methods take `&self`; reads and writes exclude each other.
#[derive(Default)]
pub(super) struct Contents {
    state: Mutex<State>,
}

impl Contents {
    /// The length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.state.lock().len as u64
    }

    /// Copies out up to `buffer.len()` bytes at `offset`; returns how many, 0 at or past the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let state = self.state.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(state.len);
        let count = buffer.len().min(state.len - start);
        // SAFETY: the lock above keeps writers away for the time of the copy.
        unsafe { state.region.copy_out(start, &mut buffer[..count]) };
        count
    }

    /// Writes all of `bytes` at `offset`, growing the file when they end past it. A gap reads zero.
    ///
    /// # Errors
    /// `FileTooLarge` or `StorageFull`; nothing is written then.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if bytes.is_empty() {
            // POSIX: an empty write does not extend a file, wherever it points.
            return Ok(0);
        }
        let end = in_memory(offset.checked_add(bytes.len() as u64))?;
        let start = end - bytes.len();
        let mut state = self.state.lock();
        state.reserve(end, Growth::Doubling)?;
        // SAFETY: the lock held in `state` keeps other copies away, and whoever holds a slice of
        // these bytes has promised (`Mapping::bytes`) that nobody writes them while it lives.
        unsafe { state.region.copy_in(start, bytes) };
        state.written = state.written.max(end);
        state.len = state.len.max(end);
        Ok(bytes.len())
    }

    /// Extends the file with zeros to `len` bytes, in a region of exactly that size if one must be
    /// made: a file allocated before its first write never moves below `len`. Never shortens.
    pub(super) fn allocate(&self, len: u64) -> io::Result<()> {
        let len = in_memory(Some(len))?;
        let mut state = self.state.lock();
        state.reserve(len, Growth::Exact)?;
        state.len = state.len.max(len);
        Ok(())
    }

    /// Cuts or extends the file to `len` bytes. Cut bytes are gone: they are zero if it grows again.
    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let len = in_memory(Some(len))?;
        let mut state = self.state.lock();
        state.reserve(len, Growth::Doubling)?;
        if len < state.written {
            // SAFETY: the lock held in `state` keeps other copies away, and whoever holds a slice
            // of these bytes has promised (`Mapping::bytes`) that nobody cuts the file below it.
            unsafe { state.region.zero(len..state.written) };
            state.written = len;
        }
        state.len = len;
        Ok(())
    }

    /// A view of the first `len` bytes.
    ///
    /// # Errors
    /// `InvalidInput` when the file is shorter.
    pub(super) fn map(&self, len: usize) -> io::Result<MemoryMapping> {
        let state = self.state.lock();
        if len > state.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(MemoryMapping {
            region: Arc::clone(&state.region),
            len,
        })
    }

    /// The same bytes in a file of its own, sharing nothing with this one.
    ///
    /// # Panics
    /// When there is no memory for the copy.
    pub(super) fn duplicate(&self) -> Contents {
        let state = self.state.lock();
        let region = state
            .region
            .enlarged(state.len, state.written)
            .expect("memory for a second copy of this file");
        Contents {
            state: Mutex::new(State {
                region: Arc::new(region),
                len: state.len,
                written: state.written,
            }),
        }
    }
}

/// A view of the first bytes of a file as they lay in one region.
///
/// It keeps that region alive. A file that outgrows its region goes on in a larger one, and the
/// mapping stays behind: it no longer sees writes. So allocate before mapping.
pub(super) struct MemoryMapping {
    region: Arc<Region>,
    len: usize,
}

impl Mapping for MemoryMapping {
    fn len(&self) -> usize {
        self.len
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        let Range { start, end } = range;
        assert!(start <= end, "range {start}..{end} runs backwards");
        assert!(
            end <= self.len,
            "range {start}..{end} reaches past the {} mapped bytes",
            self.len
        );
        // SAFETY: the range is in order and inside `len` as asserted above, and `map` took `len`
        // from a file that fits this region. That nobody writes the bytes meanwhile is promised by
        // the caller.
        unsafe { self.region.slice(start..end) }
    }
}

// Says how much is mapped, never what: payloads do not belong in logs.
impl std::fmt::Debug for MemoryMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryMapping")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    region: Arc<Region>,
    /// Length of the file in bytes.
    len: usize,
    /// End of the highest byte that may differ from zero. Copies stop here, so that a large file
    /// of allocated zeros costs neither time nor resident memory until it is written.
    written: usize,
}

impl State {
    /// Makes room for a file of `len` bytes, moving to a larger region when this one is too small.
    fn reserve(&mut self, len: usize, growth: Growth) -> io::Result<()> {
        if len <= self.region.capacity {
            return Ok(());
        }
        let capacity = match growth {
            Growth::Exact => len,
            Growth::Doubling => len.max(self.region.capacity.saturating_mul(2)),
        };
        self.region = Arc::new(self.region.enlarged(capacity, self.written)?);
        Ok(())
    }
}

/// How much room to make when a region is too small.
#[derive(Clone, Copy)]
enum Growth {
    /// What is asked for: the caller knows the final length.
    Exact,
    /// At least twice the old room, so that a run of small appends copies each byte O(1) times.
    Doubling,
}

/// A fixed piece of zeroed heap memory, reached through its raw pointer only.
pub(super) struct Region {
    /// Start of an allocation of `capacity` bytes, all initialised; dangling when that is 0.
    start: NonNull<u8>,
    /// Size in bytes.
    capacity: usize,
}

// SAFETY: a region owns its allocation, which no thread is tied to.
unsafe impl Send for Region {}
// SAFETY: all that touches the bytes is an `unsafe fn` whose caller excludes conflicting access
// from other threads; `start` and `capacity` never change.
unsafe impl Sync for Region {}

impl Region {
    /// # Errors
    /// `StorageFull` when there is no such piece of memory: to a disk, that is a full disk.
    pub(super) fn zeroed(capacity: usize) -> io::Result<Region> {
        if capacity == 0 {
            return Ok(Region::default());
        }
        let layout = Layout::array::<u8>(capacity).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: the size is not zero, checked above.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(io::ErrorKind::StorageFull)?;
        Ok(Region { start, capacity })
    }

    /// A new region of `capacity` bytes that begins with the first `written` bytes of this one.
    /// The caller holds the lock of the file, so that this region is not written meanwhile.
    fn enlarged(&self, capacity: usize, written: usize) -> io::Result<Region> {
        assert!(
            written <= self.capacity,
            "written {written} is past capacity {}",
            self.capacity
        );
        assert!(
            written <= capacity,
            "written {written} does not fit new capacity {capacity}"
        );
        let region = Region::zeroed(capacity)?;
        // SAFETY: `written` is inside both regions, asserted above; the new one is a fresh
        // allocation, so they do not overlap and nobody else has a pointer to it.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr(), region.start.as_ptr(), written) };
        Ok(region)
    }

    /// # Safety
    /// Nobody writes to these bytes during the call.
    unsafe fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
        self.assert_inside(offset, buffer.len());
        // SAFETY: source in bounds by the assertion above and not written, by the caller's promise.
        // `buffer` is an exclusive reference, and no such reference to a region is ever made, so
        // the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(
                self.start.as_ptr().add(offset),
                buffer.as_mut_ptr(),
                buffer.len(),
            );
        }
    }

    /// # Safety
    /// Nobody reads or writes these bytes during the call, nor holds a slice of them; so `bytes`
    /// is not itself such a slice.
    pub(super) unsafe fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.assert_inside(offset, bytes.len());
        // SAFETY: target in bounds by the assertion above; unshared and apart from `bytes` by the
        // caller's promise.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len());
        }
    }

    /// # Safety
    /// Nobody reads or writes these bytes during the call, nor holds a slice of them.
    unsafe fn zero(&self, range: Range<usize>) {
        self.assert_inside(range.start, range.len());
        // SAFETY: in bounds by the assertion above; unshared by the caller's promise.
        unsafe { ptr::write_bytes(self.start.as_ptr().add(range.start), 0, range.len()) };
    }

    /// # Safety
    /// Nobody writes to these bytes while the slice lives.
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &[u8] {
        self.assert_inside(range.start, range.len());
        // SAFETY: in bounds by the assertion above, initialised since `zeroed`, kept alive by
        // `&self`, and not written by the caller's promise.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    fn assert_inside(&self, offset: usize, len: usize) {
        assert!(
            offset <= self.capacity,
            "offset {offset} is past capacity {}",
            self.capacity
        );
        assert!(
            len <= self.capacity - offset,
            "{len} bytes at {offset} leave capacity {}",
            self.capacity
        );
    }
}

impl Default for Region {
    fn default() -> Self {
        Region {
            start: NonNull::dangling(),
            capacity: 0,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let layout =
                Layout::array::<u8>(self.capacity).expect("`zeroed` built the same layout");
            // SAFETY: `zeroed` allocated `start` with this layout, and this is its only owner.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

/// A file length as a length in memory. `None` stands for one that overflowed.
fn in_memory(len: Option<u64>) -> io::Result<usize> {
    len.and_then(|len| usize::try_from(len).ok())
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}
