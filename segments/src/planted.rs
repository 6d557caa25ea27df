//! Bugs put in on purpose, to see that the harnesses find them. Without the feature `planted-bugs` there are none: every
//! question is answered at compile time, and nothing of it is left.

/// A bug that may be planted; each names the step that is left out or done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// An append is acknowledged as durable before it is synced.
    AckBeforeSync = 1,
    /// Expected versions are not compared.
    SkipVersionCheck,
    /// Names are never synced.
    SkipDirectorySync,
    /// Who waits for events is not woken.
    DropWakeUp,
    /// An index file is believed without its checksum.
    TrustTornIndex,
    /// Frames that no witness proves are taken for durable.
    TrustUnprovenTail,
    /// A failed write or sync does not poison the log.
    NoPoison,
    /// Buffered events are shown to those who are to see only what is durable.
    ShowBeforeDurable,
    /// What is missing is torn, whatever a witness says.
    IgnoreWitnesses,
    /// A segment is sealed without a sync.
    RollWithoutSync,
    /// A manifest is written and not synced.
    SkipManifestSync,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeSync,
        Self::SkipVersionCheck,
        Self::SkipDirectorySync,
        Self::DropWakeUp,
        Self::TrustTornIndex,
        Self::TrustUnprovenTail,
        Self::NoPoison,
        Self::ShowBeforeDurable,
        Self::IgnoreWitnesses,
        Self::RollWithoutSync,
        Self::SkipManifestSync,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in this process in the place of the one before, or takes it out.
    pub fn plant(bug: Option<super::Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
    }

    /// Whether this bug is planted.
    #[inline]
    pub fn is_planted(bug: super::Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is_planted, plant};

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}
