//! The harness that the tests share: a clock and a randomness that are functions of a seed, and logs
//! small enough to roll often.

pub mod counting_allocator;
pub mod fuzz;
pub mod harness;
pub mod history;
pub mod invariants;
pub mod ledger;
pub mod log_files;
pub mod no_maps_disk;
pub mod planted;
pub mod sim_disk;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_engine::{AggregateId, LogOptions, NewEvent, ReadIo};
use annals_segments::{Clock, Disk, Random};
use parking_lot::Mutex;

/// A clock that moves one millisecond at each look.
#[derive(Debug)]
pub struct SteppingClock(AtomicU64);

impl Default for SteppingClock {
    fn default() -> Self {
        // Some time in 2023, so that version 7 ids look like ids.
        Self(AtomicU64::new(1_700_000_000_000_000))
    }
}

impl Clock for SteppingClock {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}

/// A clock that jumps back and forth by hours.
#[derive(Debug)]
pub struct WildClock(SeededRandom);

impl WildClock {
    /// The same seed gives the same jumps.
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }
}

impl Clock for WildClock {
    fn now_us(&self) -> u64 {
        // Some time in 2023, give or take.
        1_700_000_000_000_000 + self.0.next_u64() % 10_000_000_000
    }
}

/// Randomness that is a function of its seed: SplitMix64.
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Options of a log with the smallest segments, whose every byte is a function of `seed` and of what is
/// done with it.
pub fn small_log(disk: impl Disk + 'static, seed: u64) -> LogOptions {
    let options = annals_engine::Log::options()
        .segment_len(64 << 10)
        .background(false)
        .clock(SteppingClock::default())
        .random(SeededRandom::new(seed));
    match READ_IO.get() {
        ReadIo::Mapped => options.disk(disk),
        // Held so tightly that segments are let go of again and again.
        ReadIo::Pread => options
            .disk(no_maps_disk::NoMapsDisk(disk))
            .read_io(ReadIo::Pread)
            .read_cache_len(2 << 20),
    }
}

/// Runs a scenario once more, with every [`small_log`] of this thread read without maps.
pub fn without_maps(scenario: impl FnOnce()) {
    struct Restore(ReadIo);
    impl Drop for Restore {
        fn drop(&mut self) {
            READ_IO.set(self.0);
        }
    }
    // After a panic too: the next scenario of the thread is another one.
    let _before = Restore(READ_IO.replace(ReadIo::Pread));
    scenario();
}

thread_local! {
    static READ_IO: Cell<ReadIo> = const { Cell::new(ReadIo::Mapped) };
}

/// A text id.
///
/// # Panics
/// When `text` is empty or too long.
pub fn id(text: &str) -> AggregateId {
    AggregateId::text(text).expect("a test gives a legal id")
}

/// An event of an aggregate with `payload`.
pub fn event(aggregate: &str, topic: &str, payload: impl Into<Vec<u8>>) -> NewEvent {
    NewEvent::new(topic.to_owned(), payload).aggregate(id(aggregate))
}
