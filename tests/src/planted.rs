//! Test of the tests: each harness is let loose on bugs that were put in on purpose, and has to find them.
//!
//! Only a build with the feature `planted-bugs` has bugs to plant.

use annals_segments::planted::Bug;

#[cfg(feature = "planted-bugs")]
mod hunt;

#[cfg(feature = "planted-bugs")]
pub use hunt::{Hunt, hunt};

/// What each harness has to find: those of the [simulated disk](crate::harness), then those of the real kernel.
const FINDERS: [(&str, &[Bug]); 13] = [
    (
        "crash-points",
        &[
            Bug::AckBeforeSync,
            Bug::SkipVersionCheck,
            Bug::SkipDirectorySync,
            Bug::ShowBeforeDurable,
            Bug::RollWithoutSync,
            Bug::SkipManifestSync,
            Bug::TrustTornFrame,
            Bug::RecoverOneLess,
            Bug::WatermarkBeforeSync,
            Bug::BackUpUnsynced,
        ],
    ),
    ("io-faults", &[Bug::TrustUnprovenTail, Bug::NoPoison]),
    (
        "rot",
        &[
            Bug::TrustTornIndex,
            Bug::IgnoreWitnesses,
            Bug::SkipRecordChecksum,
        ],
    ),
    (
        "simulation",
        &[
            Bug::AckBeforeSync,
            Bug::SkipVersionCheck,
            Bug::SkipDirectorySync,
            Bug::NoPoison,
            Bug::ShowBeforeDurable,
            Bug::RollWithoutSync,
        ],
    ),
    ("wake-ups", &[Bug::DropWakeUp]),
    ("kills", &[Bug::RecoverOneLess, Bug::SkipVersionCheck]),
    ("syscalls", &[Bug::NoPoison]),
    ("failed_syncs", &[Bug::NoPoison]),
    ("full_disk", &[Bug::SkipRoom]),
    ("cut_files", &[Bug::IgnoreReadIo]),
    ("processes", &[Bug::SkipLock, Bug::SkipForkCheck]),
    ("power_cuts", &[Bug::AckBeforeSync, Bug::ShowBeforeDurable]),
    ("history", &[Bug::SkipVersionCheck]),
];

/// What a harness has to find.
///
/// # Panics
/// Of a harness that is not in the list: who finds nothing is worth nothing.
pub fn bugs_of(harness: &str) -> &'static [Bug] {
    let finder = FINDERS.iter().find(|(name, _)| *name == harness);
    finder.expect("every harness has a bug to find").1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_finder_and_every_finder_a_bug() {
        for bug in Bug::ALL {
            assert!(
                FINDERS.iter().any(|(_, bugs)| bugs.contains(&bug)),
                "nobody has to find {bug:?}"
            );
        }
        assert!(FINDERS.iter().all(|(_, bugs)| !bugs.is_empty()));
    }
}
