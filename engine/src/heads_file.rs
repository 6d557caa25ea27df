//! The file of the heads: opened with the log, checked when it is first asked.
//!
//! A table over a long history is megabytes, and an open costs its tail only.

use std::path::PathBuf;
use std::sync::OnceLock;

use annals_index::{Heads, HeadsIdentity};
use annals_segments::FrozenFile;

use crate::directory::Directory;
use crate::segment::{LogIdentity, derived_len_max};

/// See the module.
#[derive(Debug)]
pub(crate) struct HeadsFile {
    path: PathBuf,
    heads: Heads<FrozenFile>,
    is_sound: OnceLock<bool>,
}

impl HeadsFile {
    /// The table that covers segments up to `covers`, when it is there and its header is sound. `log_len`: the bytes of
    /// the segments that may be in it.
    pub(crate) fn open(
        directory: &Directory,
        log: &LogIdentity,
        covers: u64,
        log_len: u64,
    ) -> Option<Self> {
        let path = directory.heads(covers);
        // Keys of segments that were dropped may stand in it for a while.
        let len_max = derived_len_max(log_len.max(DROPPED_LEN));
        let file = FrozenFile::open(&*directory.disk, &path, len_max).ok()?;
        let identity = HeadsIdentity {
            log_id: log.id,
            covers,
        };
        match Heads::open(file, &identity) {
            Ok(heads) => Some(Self {
                path,
                heads,
                is_sound: OnceLock::new(),
            }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "heads not usable");
                None
            }
        }
    }

    /// Bytes of the file, sound or not.
    pub(crate) fn file_len(&self) -> usize {
        self.heads.file_len()
    }

    /// The table, when its checksum fits.
    pub(crate) fn sound(&self) -> Option<&Heads<FrozenFile>> {
        let is_sound = self.is_sound.get_or_init(|| {
            let verified = self.heads.verify_checksum();
            verified
                .inspect_err(
                    |error| tracing::warn!(path = %self.path.display(), %error, "heads not usable"),
                )
                .is_ok()
        });
        is_sound.then_some(&self.heads)
    }
}

/// Bytes of dropped segments whose keys a table may still have, at least: it is not read beyond, and made anew.
const DROPPED_LEN: u64 = 1 << 30;
