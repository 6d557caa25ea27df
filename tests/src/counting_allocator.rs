//! An allocator that counts for each thread, so that a harness can bound what hostile bytes make a log allocate.
//!
//! It passes every call on to the system's. A program installs it with `#[global_allocator]`; where none does, every
//! peak is 0.

#![allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; every call is passed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// See the module.
#[derive(Debug)]
pub struct CountingAllocator;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that the run held at most on this thread, beyond what was held before.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let (held, outer) = (HELD.get(), PEAK.get());
    PEAK.set(held);
    let answer = run();
    let peak = PEAK.get();
    PEAK.set(outer.max(peak));
    (answer, peak.saturating_sub(held))
}

fn took(len: usize) {
    // A thread that is ending counts no more.
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(len));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn gave(len: usize) {
    // What another thread took may be given back here.
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(len)));
}

// SAFETY: every call is passed on to `System` with its own arguments, and its answer is handed back; the counting
// beside it allocates nothing, since the thread locals are made without.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: the caller's promises are those of `System`, and it is `System` that allocated.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        gave(layout.size());
        took(new_size);
        // SAFETY: the caller's promises are those of `System`, and it is `System` that allocated.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
