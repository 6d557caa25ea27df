//! Counting the heap: an allocator that hands everything to the system's and, while it is asked to, counts.
//!
//! When nobody counts, an allocation costs one more load of a word that hardly ever changes.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one adds numbers to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, counted. Made the global one by a program that wants W7heap:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: annals_cli::bench::CountingAllocator = annals_cli::bench::CountingAllocator;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Bytes that the heap grew by at most while `work` ran, over all threads. `None` when the program has another
/// allocator. One count at a time: a second one at the same time spoils both.
pub fn peak_heap<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    LIVE.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    drop(black_box(Box::new(1u8)));
    let is_counted = PEAK.load(Ordering::Relaxed) > 0;
    let done = work();
    COUNTS.store(false, Ordering::Relaxed);
    let peak = u64::try_from(PEAK.load(Ordering::Relaxed)).unwrap_or(0);
    (done, is_counted.then_some(peak))
}

#[inline]
fn add(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        let live = LIVE.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        // Mostly a load: a new peak is rare.
        if live > PEAK.load(Ordering::Relaxed) {
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
    }
}

#[inline]
fn take(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        LIVE.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to `System` with the arguments it came with, and answers what `System` answers, so
// that whatever holds of `System` holds of this. Counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take(layout.size());
        // SAFETY: as above; `pointer` came from `System`, as every pointer of this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both are there for a moment when it moves.
        add(new_size);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        take(layout.size());
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: CountingAllocator = CountingAllocator;

    #[test]
    fn the_peak_is_counted_and_not_what_was_there_before_or_is_left() {
        let before = vec![1u8; 1 << 20];
        // Other tests may allocate meanwhile: less would be wrong, a little more is theirs.
        let (left, peak) = peak_heap(|| {
            let mut grown = vec![1u8; 8 << 20];
            grown.extend_from_slice(&before);
            drop(grown);
            vec![1u8; 16]
        });
        assert_eq!(left.len(), 16);
        assert!(peak.unwrap() >= 9 << 20, "{peak:?}");
    }
}
