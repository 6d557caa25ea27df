//! A file as the sum of its events: the aggregate of the demo.

use std::collections::HashSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::commands::demo::file_change::{DELETED, FileChange, MERGED, MODE_CHANGED, MOVED_AWAY};

/// What a file has come to after some of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FileLife {
    pub(crate) path: String,
    pub(crate) status: FileStatus,
    /// On the main line, as are status and mode.
    pub(crate) lines: u64,
    /// Of the commits of all branches, each once, as are the next ones. Without merges.
    pub(crate) changes: u64,
    pub(crate) merges: u64,
    pub(crate) added: u64,
    pub(crate) deleted: u64,
    #[serde(serialize_with = "count")]
    pub(crate) authors: HashSet<String>,
    /// Octal, as git has it.
    pub(crate) mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileStatus {
    /// Nothing has happened on the main line: it is on a branch at most.
    #[default]
    Unborn,
    Present,
    Deleted,
    MovedTo(String),
}

impl FileLife {
    /// Adds the next event. `author`: the hash in its metadata.
    pub(crate) fn apply(&mut self, topic: &str, author: Option<&str>, change: &FileChange<'_>) {
        if self.path.is_empty() {
            self.path = change.path.clone().into_owned();
        }
        if topic == MERGED {
            self.merges += 1;
        } else {
            self.changes += 1;
            self.added = self.added.saturating_add(change.added.unwrap_or(0));
            self.deleted = self.deleted.saturating_add(change.deleted.unwrap_or(0));
            if let Some(author) = author.filter(|author| !self.authors.contains(*author)) {
                self.authors.insert(author.to_owned());
            }
        }
        if !change.branch {
            self.advance(change.brought.as_deref().unwrap_or(topic), change);
        }
    }

    /// `what`: the topic of what happened on the main line.
    fn advance(&mut self, what: &str, change: &FileChange<'_>) {
        match what {
            DELETED => {
                self.status = FileStatus::Deleted;
                self.lines = 0;
            }
            MOVED_AWAY => {
                let to = change.to.as_deref().unwrap_or_default();
                self.status = FileStatus::MovedTo(to.to_owned());
                self.lines = 0;
            }
            _ => {
                self.status = FileStatus::Present;
                let before = change.lines_before.unwrap_or(self.lines);
                let added = before.saturating_add(change.added.unwrap_or(0));
                let counted = added.saturating_sub(change.deleted.unwrap_or(0));
                let has_lines = what == MODE_CHANGED || !change.binary;
                self.lines = if has_lines { counted } else { 0 };
            }
        }
        if let Some(mode) = &change.mode {
            self.mode = mode.clone().into_owned();
        }
    }
}

impl fmt::Display for FileStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unborn => formatter.write_str("not on the main line yet"),
            Self::Present => formatter.write_str("present"),
            Self::Deleted => formatter.write_str("deleted"),
            Self::MovedTo(path) => write!(formatter, "moved to {path}"),
        }
    }
}

fn count<S: Serializer>(authors: &HashSet<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(authors.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::file_change::{ADDED, MODIFIED, RENAMED};

    fn change(added: u64, deleted: u64) -> FileChange<'static> {
        FileChange {
            path: "b".into(),
            added: Some(added),
            deleted: Some(deleted),
            ..FileChange::default()
        }
    }

    #[test]
    fn changes_count_on_every_branch_and_lines_on_the_main_line() {
        let mut life = FileLife::default();
        life.apply(
            ADDED,
            Some("x"),
            &FileChange {
                branch: true,
                ..change(10, 0)
            },
        );
        assert_eq!((life.lines, &life.status), (0, &FileStatus::Unborn));
        life.apply(
            MERGED,
            Some("z"),
            &FileChange {
                brought: Some(ADDED.into()),
                ..change(10, 0)
            },
        );
        life.apply(
            MODIFIED,
            Some("y"),
            &FileChange {
                branch: true,
                ..change(5, 3)
            },
        );
        life.apply(MODIFIED, Some("x"), &change(0, 2));
        assert_eq!(
            (life.lines, life.changes, life.merges, life.authors.len()),
            (8, 3, 1, 2)
        );
        assert_eq!((life.added, life.deleted), (15, 5));
        assert_eq!(life.status, FileStatus::Present);
        life.apply(
            MERGED,
            None,
            &FileChange {
                brought: Some(DELETED.into()),
                ..change(0, 8)
            },
        );
        assert_eq!((life.lines, &life.status), (0, &FileStatus::Deleted));
    }

    #[test]
    fn a_renamed_file_starts_with_the_lines_it_had() {
        let mut life = FileLife::default();
        life.apply(
            RENAMED,
            None,
            &FileChange {
                lines_before: Some(40),
                ..change(2, 1)
            },
        );
        assert_eq!(life.lines, 41);
        let away = FileChange {
            path: "b".into(),
            to: Some("c".into()),
            ..FileChange::default()
        };
        life.apply(MOVED_AWAY, None, &away);
        assert_eq!(
            (life.lines, &life.status),
            (0, &FileStatus::MovedTo("c".into()))
        );
        life.apply(ADDED, None, &change(1, 0));
        assert_eq!((life.lines, life.status), (1, FileStatus::Present));
    }

    #[test]
    fn a_file_that_turns_binary_has_no_lines() {
        let mut life = FileLife::default();
        life.apply(ADDED, None, &change(9, 0));
        life.apply(
            MODIFIED,
            None,
            &FileChange {
                path: "b".into(),
                binary: true,
                ..FileChange::default()
            },
        );
        assert_eq!(life.lines, 0);
    }
}
