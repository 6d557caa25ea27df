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
    /// Records are not compared with their checksums.
    SkipRecordChecksum,
    /// A frame is believed when its header is whole, whatever came of its records.
    TrustTornFrame,
    /// A recovery drops the last whole frame that no witness proves.
    RecoverOneLess,
    /// The watermark says what is durable before it is synced.
    WatermarkBeforeSync,
    /// No room is made for events before they are written.
    SkipRoom,
    /// What is to be read without maps is mapped.
    IgnoreReadIo,
    /// Each process locks a file of its own.
    SkipLock,
    /// A forked child is taken for the process that opened the log.
    SkipForkCheck,
    /// A backup takes what is not durable, too.
    BackUpUnsynced,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 20] = [
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
        Self::SkipRecordChecksum,
        Self::TrustTornFrame,
        Self::RecoverOneLess,
        Self::WatermarkBeforeSync,
        Self::SkipRoom,
        Self::IgnoreReadIo,
        Self::SkipLock,
        Self::SkipForkCheck,
        Self::BackUpUnsynced,
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

    /// The bug that is planted in this process.
    pub fn planted() -> Option<super::Bug> {
        super::Bug::ALL.into_iter().find(|bug| is_planted(*bug))
    }

    /// Whether this bug is planted.
    #[inline]
    pub fn is_planted(bug: super::Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is_planted, plant, planted};

/// The bug that is planted in this process: none.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted() -> Option<Bug> {
    None
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}
