//! Telling a forked child from the process that opened a log.
//!
//! A child has the memory of its parent and none of its threads, and shares the open files: what it writes, and the lock
//! it lets go of, are its parent's. So it may do neither.

use memmap2::MmapMut;

use crate::planted::{Bug, is_planted};

/// Made where something is opened; tells in whose hands it is later.
#[derive(Debug)]
pub struct ForkGuard {
    /// A page that the system empties in a child: looking costs nothing, where asking for the process costs a tenth of a
    /// microsecond. `None` where there is no such thing.
    mark: Option<MmapMut>,
    process: u32,
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self {
            mark: mark(),
            process: std::process::id(),
        }
    }
}

impl ForkGuard {
    /// Whether this is a child of the process that made it.
    #[inline]
    pub fn is_forked(&self) -> bool {
        if is_planted(Bug::SkipForkCheck) {
            return false;
        }
        match &self.mark {
            // Looked at anew each time: it is no store of this program that changes it.
            Some(mark) => std::hint::black_box(&mark[..])[0] != MARKED,
            None => self.process != std::process::id(),
        }
    }

    /// The process that made it.
    pub fn process(&self) -> u32 {
        self.process
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn mark() -> Option<MmapMut> {
    let mut mark = MmapMut::map_anon(1).ok()?;
    let advice = rustix::mm::Advice::LinuxWipeOnFork;
    // SAFETY: the range is a map of nobody else's, whole. The advice changes its bytes in a child only, where this value
    // is the one place that knows it, and where nothing but `is_forked` ever looks at it, at one byte, behind a barrier
    // for the optimiser.
    #[expect(unsafe_code, reason = "advice that may change bytes has no safe form")]
    unsafe { rustix::mm::madvise(mark.as_mut_ptr().cast(), mark.len(), advice) }.ok()?;
    mark[0] = MARKED;
    Some(mark)
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn mark() -> Option<MmapMut> {
    None
}

const MARKED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_made_it_is_no_child() {
        assert!(!ForkGuard::default().is_forked());
        assert_eq!(ForkGuard::default().process(), std::process::id());
    }

    #[test]
    fn an_emptied_mark_and_another_process_are_a_child() {
        let mut guard = ForkGuard::default();
        if let Some(mark) = &mut guard.mark {
            mark[0] = 0;
            assert!(guard.is_forked());
        }
        let unmarked = |process| ForkGuard {
            mark: None,
            process,
        };
        assert!(!unmarked(std::process::id()).is_forked());
        assert!(unmarked(std::process::id() + 1).is_forked());
    }
}
