//! The events of the demo: their topics, and the payload of those about files.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A file appeared.
pub(crate) const ADDED: &str = "FileAdded";
/// Its content changed.
pub(crate) const MODIFIED: &str = "FileModified";
/// It is gone.
pub(crate) const DELETED: &str = "FileDeleted";
/// It came to this path from another, on whose aggregate [`MOVED_AWAY`] stands.
pub(crate) const RENAMED: &str = "FileRenamed";
/// It went from this path to another.
pub(crate) const MOVED_AWAY: &str = "FileMovedAway";
/// A file became a link, a link a submodule, and so on.
pub(crate) const TYPE_CHANGED: &str = "FileTypeChanged";
/// Only its mode changed.
pub(crate) const MODE_CHANGED: &str = "FileModeChanged";
/// A merge brought it to the main line; the payload says with which of the topics above.
pub(crate) const MERGED: &str = "FileMerged";
/// An author made a commit. On the aggregate of the author's day; not about a file.
pub(crate) const DAY_OF_WORK: &str = "DayOfWork";

/// Metadata key: the commit that an event comes from.
pub(crate) const CORRELATION_ID: &str = "correlation_id";
/// Metadata key: the hash that stands for the author.
pub(crate) const AUTHOR: &str = "author";

/// Start of the id of a file's aggregate; its path follows.
pub(crate) const FILE_ID_START: &str = "file:";

/// Payload of an event about a file. What does not apply is left out of the JSON.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChange<'a> {
    /// With a replacement character for every byte that is no UTF-8.
    #[serde(borrow)]
    pub(crate) path: Cow<'a, str>,
    /// Whether it happened beside the main line, which is what is checked out and its first parents.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) branch: bool,
    /// Topic of what a merge did on the main line.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) brought: Option<Cow<'a, str>>,
    /// Where it came from.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Cow<'a, str>>,
    /// Where it went.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Cow<'a, str>>,
    /// Lines; left out of binary files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<u64>,
    pub(crate) binary: bool,
    /// Lines it had at the path it comes from, on the main line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lines_before: Option<u64>,
    /// Octal, as git has it: 100644, 100755, 120000 (link), 160000 (submodule).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<Cow<'a, str>>,
    /// Id of the content.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<Cow<'a, str>>,
    /// When it was authored, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authored_at: Option<i64>,
}

/// Payload of [`DAY_OF_WORK`]: what one commit adds to a day.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DayOfWork<'a> {
    /// `yyyy-mm-dd`
    pub(crate) day: &'a str,
    pub(crate) merge: bool,
    pub(crate) files: u64,
    pub(crate) added: u64,
    pub(crate) deleted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authored_at: Option<i64>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}
