//! Time and randomness as inputs: the log reads neither on its own.
//!
//! [`SystemClock`] and [`SystemRandom`] are the machine's; tests give their own, so that a run is a
//! pure function of a seed. Neither trait promises order: a clock may jump back, and the log copes.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Instant;

use parking_lot::Mutex;

/// A wall clock, and one to measure with.
pub trait Clock: Debug + Send + Sync {
    /// Microseconds since the Unix epoch. May run backwards between calls.
    fn now_us(&self) -> u64;

    /// Nanoseconds since some moment, the same for the whole process; never runs backwards. What it says
    /// decides when a wait is over and how long something took, never what is stored.
    #[expect(clippy::disallowed_methods, reason = "this is the room of the clock")]
    fn monotonic_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A source of random bytes.
pub trait Random: Debug + Send + Sync {
    /// Fills `bytes` with random bytes that nobody can foretell.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the room of the clock")]
    fn now_us(&self) -> u64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |duration| {
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
        })
    }
}

/// Randomness of the operating system, fetched a page at a time: one system call serves 256 event ids.
#[derive(Debug)]
pub struct SystemRandom(Mutex<Pool>);

#[derive(Debug)]
struct Pool {
    bytes: Box<[u8; POOL_LEN]>,
    used: usize,
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self(Mutex::new(Pool {
            bytes: Box::new([0; POOL_LEN]),
            used: POOL_LEN,
        }))
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > POOL_LEN {
            return fill_from_system(bytes);
        }
        let mut pool = self.0.lock();
        if POOL_LEN - pool.used < bytes.len() {
            fill_from_system(&mut pool.bytes[..]);
            pool.used = 0;
        }
        let used = pool.used;
        bytes.copy_from_slice(&pool.bytes[used..used + bytes.len()]);
        // What was handed out is forgotten: it may be a salt that should not linger in memory.
        pool.bytes[used..used + bytes.len()].fill(0);
        pool.used = used + bytes.len();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the room of randomness")]
fn fill_from_system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system always has randomness once it has booted");
}

const POOL_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_do_not_repeat_across_a_refill() {
        let random = SystemRandom::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..(3 * POOL_LEN / 16) {
            let mut id = [0; 16];
            random.fill(&mut id);
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn a_request_larger_than_the_pool_is_filled() {
        let mut bytes = vec![0; 3 * POOL_LEN];
        SystemRandom::default().fill(&mut bytes);
        assert!(
            bytes
                .chunks(64)
                .all(|chunk| chunk.iter().any(|byte| *byte != 0))
        );
    }
}
