//! The topics of one segment: number to name, read without a lock while the writer adds to it.
//!
//! Numbers are dense from 0 in order of first use. A name never moves once it is there, so that an
//! event can borrow it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

type Chunk = Box<[OnceLock<Box<str>>]>;

/// Chunk k holds `FIRST_CHUNK_LEN << k` names: 20 chunks hold 33 million.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    chunks: [OnceLock<Chunk>; CHUNK_COUNT],
    /// One more than the greatest number defined.
    end: AtomicU32,
}

impl Topics {
    /// Defines `number`. Defining it again with the same name is what a repeated dictionary does.
    /// Returns whether it now stands for `name`.
    pub(crate) fn define(&self, number: u32, name: &str) -> bool {
        let (chunk, place) = locate(number);
        // Numbers are dense; one far beyond the rest comes from damaged bytes and must not make room.
        let is_near = number < self.end.load(Ordering::Relaxed).saturating_add(GAP_MAX);
        let Some(chunk_cell) = self.chunks.get(chunk).filter(|_| is_near) else {
            return false;
        };
        self.end.fetch_max(number + 1, Ordering::Relaxed);
        let names = chunk_cell.get_or_init(|| {
            (0..FIRST_CHUNK_LEN << chunk)
                .map(|_| OnceLock::new())
                .collect()
        });
        names[place].get_or_init(|| name.into()).as_ref() == name
    }

    /// The name that `number` stands for.
    #[inline]
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        let (chunk, place) = locate(number);
        self.chunks.get(chunk)?.get()?[place]
            .get()
            .map(AsRef::as_ref)
    }
}

/// Chunk and place in it.
#[inline]
fn locate(number: u32) -> (usize, usize) {
    let shifted = number as usize + FIRST_CHUNK_LEN;
    let chunk = shifted.ilog2() - FIRST_CHUNK_LEN.ilog2();
    (chunk as usize, shifted - (FIRST_CHUNK_LEN << chunk))
}

const FIRST_CHUNK_LEN: usize = 32;
const CHUNK_COUNT: usize = 20;
/// Definitions that damage may have taken between two that are there.
const GAP_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_place() {
        let topics = Topics::default();
        for number in 0..10_000 {
            assert_eq!(topics.name(number), None);
            assert!(topics.define(number, &format!("topic-{number}")));
        }
        for number in 0..10_000 {
            assert_eq!(
                topics.name(number),
                Some(format!("topic-{number}").as_str())
            );
            assert!(topics.define(number, &format!("topic-{number}")));
            assert!(!topics.define(number, "another"));
        }
    }

    #[test]
    fn a_number_from_damaged_bytes_is_refused_not_allocated() {
        assert!(!Topics::default().define(u32::MAX, "far"));
        assert_eq!(Topics::default().name(u32::MAX), None);
    }
}
