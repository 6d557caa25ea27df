//! What git prints of a history, read commit by commit.
//!
//! Pure over a reader: the repository is another file's business. The text is that of
//! `git log -z --raw --numstat` with [`HEADER_FORMAT`], in git's own grammar:
//!
//! ```text
//! history = { commit }
//! commit  = header { raw } { numstat }
//! header  = "commit" TAB id TAB parents TAB unix-seconds TAB yyyy-mm-dd TAB author END
//! raw     = ":" old-mode " " new-mode " " old-blob " " new-blob " " status END path END [ path END ]
//! numstat = added TAB deleted TAB path END | added TAB deleted TAB END path END path END
//! ```
//!
//! `END` is NUL, so that a path may hold any byte that a file system allows. (The history bundled with
//! the program uses line feeds instead, for whoever opens it in an editor.) Two paths stand where a file
//! was renamed or copied, old and new. git begins the first raw entry of a commit with a line feed.
//!
//! Nothing is kept but the commit being read.

use std::io::{self, BufRead};
use std::str::Utf8Error;

/// What `git log --format` is to print of a commit.
pub(crate) const HEADER_FORMAT: &str = "commit%x09%H%x09%P%x09%at%x09%as%x09%aE";

/// An iterator over the commits of a history.
#[derive(Debug)]
pub(crate) struct GitHistory<R> {
    reader: R,
    end: u8,
    /// A token read to see that it belongs to the next commit.
    ahead: Option<Vec<u8>>,
}

/// One commit, with what it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) id: String,
    /// What it was made on; `None` of a root.
    pub(crate) first_parent: Option<String>,
    /// Whether it has several parents; its changes are then those against the first.
    pub(crate) is_merge: bool,
    /// Seconds since the Unix epoch; `None` when git could not read them.
    pub(crate) authored_at: Option<i64>,
    /// Day of the author's own calendar, `yyyy-mm-dd`; empty when git could not read it.
    pub(crate) day: String,
    /// Whatever identifies the author. Never stored as it is.
    pub(crate) author: Vec<u8>,
    pub(crate) changes: Vec<Change>,
}

/// What happened to one file. Modes and blobs as git spells them: octal and hexadecimal, all zero
/// where there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) status: Status,
    pub(crate) path: Vec<u8>,
    /// The path it had before; of renames and copies.
    pub(crate) old_path: Option<Vec<u8>>,
    pub(crate) old_mode: String,
    pub(crate) new_mode: String,
    pub(crate) old_blob: String,
    pub(crate) new_blob: String,
    pub(crate) lines: Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Added,
    Copied,
    Deleted,
    Modified,
    Renamed,
    TypeChanged,
}

/// How many lines a change touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lines {
    /// git said nothing of it.
    #[default]
    Unknown,
    /// The file has no lines.
    Binary,
    Counted {
        added: u64,
        deleted: u64,
    },
}

/// Text that is no history.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("cannot read")]
    Read(#[from] io::Error),
    #[error("found {found:?}, expected {expected}; is this git 2.31 or later?")]
    Unexpected {
        found: String,
        expected: &'static str,
    },
    #[error("it ends where {expected} should follow")]
    Ends { expected: &'static str },
}

impl<R: BufRead> GitHistory<R> {
    /// What `git log -z` prints.
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            end: 0,
            ahead: None,
        }
    }

    /// The same with a line feed for every NUL.
    pub(crate) fn of_lines(reader: R) -> Self {
        Self {
            reader,
            end: b'\n',
            ahead: None,
        }
    }

    fn next_commit(&mut self) -> Result<Option<Commit>, HistoryError> {
        let Some(header) = self.entry()? else {
            return Ok(None);
        };
        let mut commit = parse_header(&header)?;
        let mut next_uncounted = 0;
        while let Some(entry) = self.entry()? {
            if entry.starts_with(HEADER_START) {
                self.ahead = Some(entry);
                break;
            } else if entry.starts_with(b":") {
                let change = self.raw(&entry)?;
                commit.changes.push(change);
            } else {
                let (lines, path) = self.numstat(&entry)?;
                // Both lists have the same order, so the place is found at the first look.
                let place = commit.changes[next_uncounted..]
                    .iter()
                    .position(|change| change.path == path);
                if let Some(place) = place {
                    next_uncounted += place;
                    commit.changes[next_uncounted].lines = lines;
                    next_uncounted += 1;
                }
            }
        }
        Ok(Some(commit))
    }

    /// The rest of a raw entry, whose first token is `entry`.
    fn raw(&mut self, entry: &[u8]) -> Result<Change, HistoryError> {
        let unexpected =
            || HistoryError::unexpected(entry, "`:old-mode new-mode old-blob new-blob status`");
        let fields = std::str::from_utf8(&entry[1..]).map_err(|_| unexpected())?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let &[old_mode, new_mode, old_blob, new_blob, status] = fields.as_slice() else {
            return Err(unexpected());
        };
        let status = match status.as_bytes().first() {
            Some(b'A') => Status::Added,
            Some(b'C') => Status::Copied,
            Some(b'D') => Status::Deleted,
            Some(b'M') => Status::Modified,
            Some(b'R') => Status::Renamed,
            Some(b'T') => Status::TypeChanged,
            _ => return Err(unexpected()),
        };
        let path = self.path()?;
        let (old_path, path) = match status {
            Status::Renamed | Status::Copied => (Some(path), self.path()?),
            _ => (None, path),
        };
        Ok(Change {
            status,
            path,
            old_path,
            old_mode: old_mode.to_owned(),
            new_mode: new_mode.to_owned(),
            old_blob: old_blob.to_owned(),
            new_blob: new_blob.to_owned(),
            lines: Lines::Unknown,
        })
    }

    /// The rest of a numstat entry, whose first token is `entry`: the counts and the (new) path.
    fn numstat(&mut self, entry: &[u8]) -> Result<(Lines, Vec<u8>), HistoryError> {
        let unexpected = || HistoryError::unexpected(entry, "`added TAB deleted TAB path`");
        let mut fields = entry.splitn(3, |byte| *byte == b'\t');
        let (Some(added), Some(deleted), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(unexpected());
        };
        let lines = match (added, deleted) {
            (b"-", b"-") => Lines::Binary,
            _ => Lines::Counted {
                added: parse_number(added).ok_or_else(unexpected)?,
                deleted: parse_number(deleted).ok_or_else(unexpected)?,
            },
        };
        if path.is_empty() {
            self.path()?;
            return Ok((lines, self.path()?));
        }
        Ok((lines, path.to_vec()))
    }

    fn path(&mut self) -> Result<Vec<u8>, HistoryError> {
        self.token()?
            .ok_or(HistoryError::Ends { expected: "a path" })
    }

    /// The first token of a header, raw entry or numstat entry.
    fn entry(&mut self) -> Result<Option<Vec<u8>>, HistoryError> {
        if let Some(entry) = self.ahead.take() {
            return Ok(Some(entry));
        }
        while let Some(mut token) = self.token()? {
            let breaks = token.iter().take_while(|byte| **byte == b'\n').count();
            token.drain(..breaks);
            if !token.is_empty() {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    fn token(&mut self) -> Result<Option<Vec<u8>>, HistoryError> {
        let mut token = Vec::new();
        if self.reader.read_until(self.end, &mut token)? == 0 {
            return Ok(None);
        }
        if token.last() == Some(&self.end) {
            token.pop();
        }
        Ok(Some(token))
    }
}

impl<R: BufRead> Iterator for GitHistory<R> {
    type Item = Result<Commit, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_commit().transpose()
    }
}

impl HistoryError {
    fn unexpected(found: &[u8], expected: &'static str) -> Self {
        let shown = &found[..found.len().min(FOUND_LEN_MAX)];
        Self::Unexpected {
            found: String::from_utf8_lossy(shown).into_owned(),
            expected,
        }
    }
}

fn parse_header(header: &[u8]) -> Result<Commit, HistoryError> {
    let unexpected = || HistoryError::unexpected(header, "`commit` and five fields");
    let fields = header.strip_prefix(HEADER_START).ok_or_else(unexpected)?;
    let fields: Vec<&[u8]> = fields.splitn(5, |byte| *byte == b'\t').collect();
    let &[id, parents, seconds, day, author] = fields.as_slice() else {
        return Err(unexpected());
    };
    Ok(Commit {
        id: str::from_utf8(id).map_err(|_| unexpected())?.to_owned(),
        first_parent: first_parent(parents).map_err(|_| unexpected())?,
        is_merge: parents.contains(&b' '),
        authored_at: parse_number(seconds),
        day: String::from_utf8_lossy(day).into_owned(),
        author: author.to_vec(),
        changes: Vec::new(),
    })
}

fn first_parent(parents: &[u8]) -> Result<Option<String>, Utf8Error> {
    let first = parents
        .split(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    Ok(Some(str::from_utf8(first)?.to_owned()).filter(|id| !id.is_empty()))
}

fn parse_number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}

const HEADER_START: &[u8] = b"commit\t";

/// Bytes of foreign text that an error shows.
const FOUND_LEN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const OLD: &str = "de980441c3ab03a8c07dda1ad27b8a11f39deb1e";
    const NEW: &str = "94b2ad808d0782d38d9ed598d936ea25bdcb2e58";

    fn header(id: &str, parents: &str) -> String {
        format!("commit\t{id}\t{parents}\t1700000000\t2023-11-14\tkeeper@light.invalid\0")
    }

    fn commits(text: impl AsRef<[u8]>) -> Vec<Commit> {
        GitHistory::new(text.as_ref())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    fn error(text: impl AsRef<[u8]>) -> String {
        GitHistory::new(text.as_ref())
            .collect::<Result<Vec<_>, _>>()
            .unwrap_err()
            .to_string()
    }

    fn change(status: Status, path: &[u8], lines: Lines) -> Change {
        Change {
            status,
            path: path.to_vec(),
            old_path: None,
            old_mode: "100644".into(),
            new_mode: "100644".into(),
            old_blob: OLD.into(),
            new_blob: NEW.into(),
            lines,
        }
    }

    #[test]
    fn the_root_commit_adds_its_files() {
        let text = header("c1", "")
            + &format!(
                "\n:000000 100644 {ZERO} {NEW} A\0a.txt\0:000000 100644 {ZERO} {NEW} A\0pic\0"
            )
            + "3\t0\ta.txt\0-\t-\tpic\0";
        let added = |path: &[u8], lines| Change {
            old_mode: "000000".into(),
            old_blob: ZERO.into(),
            ..change(Status::Added, path, lines)
        };
        assert_eq!(
            commits(text),
            [Commit {
                id: "c1".into(),
                first_parent: None,
                is_merge: false,
                authored_at: Some(1_700_000_000),
                day: "2023-11-14".into(),
                author: b"keeper@light.invalid".to_vec(),
                changes: vec![
                    added(
                        b"a.txt",
                        Lines::Counted {
                            added: 3,
                            deleted: 0
                        }
                    ),
                    added(b"pic", Lines::Binary)
                ],
            }]
        );
    }

    #[test]
    fn commits_without_changes_stand_between_others() {
        let text = header("c1", "")
            + &header("c2", "c1")
            + &header("c3", "c2")
            + &format!("\n:100644 100644 {OLD} {NEW} M\0a\0")
            + "1\t2\ta\0"
            + &header("c4", "c3 c2");
        let found = commits(text);
        assert_eq!(found[3].first_parent.as_deref(), Some("c3"));
        let shape: Vec<(&str, bool, usize)> = found
            .iter()
            .map(|commit| (commit.id.as_str(), commit.is_merge, commit.changes.len()))
            .collect();
        assert_eq!(
            shape,
            [
                ("c1", false, 0),
                ("c2", false, 0),
                ("c3", false, 1),
                ("c4", true, 0)
            ]
        );
    }

    #[test]
    fn renames_have_two_paths_in_both_lists() {
        let text = header("c2", "c1")
            + &format!(
                "\n:100644 100644 {OLD} {NEW} M\0a\0:100644 100644 {OLD} {NEW} R087\0old\0new\0"
            )
            + &format!(":100644 100644 {OLD} {OLD} R100\0p\0q\0")
            + "1\t0\ta\0"
            + "4\t5\t\0old\0new\0-\t-\t\0p\0q\0";
        let found = commits(text).remove(0).changes;
        assert_eq!(
            found[0].lines,
            Lines::Counted {
                added: 1,
                deleted: 0
            }
        );
        let renamed = Change {
            old_path: Some(b"old".to_vec()),
            ..change(
                Status::Renamed,
                b"new",
                Lines::Counted {
                    added: 4,
                    deleted: 5,
                },
            )
        };
        assert_eq!(found[1], renamed);
        assert_eq!(
            (found[2].old_path.as_deref(), found[2].lines),
            (Some(&b"p"[..]), Lines::Binary)
        );
    }

    #[test]
    fn paths_may_hold_any_byte_but_nul() {
        let paths: [&[u8]; 5] = [
            b"tab\there",
            b"line\nbreak",
            b"\xff\xfe",
            b"\"quoted\" :x",
            b"commit\tx\ty",
        ];
        let mut text = header("c1", "").into_bytes();
        for (place, path) in paths.iter().enumerate() {
            let start = if place == 0 { "\n" } else { "" };
            text.extend(format!("{start}:100644 100644 {OLD} {NEW} M\0").bytes());
            text.extend_from_slice(path);
            text.push(0);
        }
        for path in paths {
            text.extend_from_slice(b"1\t2\t");
            text.extend_from_slice(path);
            text.push(0);
        }
        let expected = paths.map(|path| {
            change(
                Status::Modified,
                path,
                Lines::Counted {
                    added: 1,
                    deleted: 2,
                },
            )
        });
        assert_eq!(commits(text).remove(0).changes, expected);
    }

    #[test]
    fn modes_types_and_submodules_are_read_as_they_stand() {
        let text = header("c1", "c0")
            + &format!("\n:100644 100755 {OLD} {OLD} M\0run\0:100644 120000 {OLD} {NEW} T\0link\0")
            + &format!(":160000 160000 {OLD} {NEW} M\0sub\0:100644 000000 {OLD} {ZERO} D\0gone\0")
            + "0\t0\trun\x001\t9\tlink\x001\t1\tsub\x000\t7\tgone\0";
        let found = commits(text).remove(0).changes;
        let seen: Vec<(Status, &str, &str)> = found
            .iter()
            .map(|change| {
                (
                    change.status,
                    change.old_mode.as_str(),
                    change.new_mode.as_str(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Status::Modified, "100644", "100755"),
                (Status::TypeChanged, "100644", "120000"),
                (Status::Modified, "160000", "160000"),
                (Status::Deleted, "100644", "000000"),
            ]
        );
        assert_eq!(
            found[3].lines,
            Lines::Counted {
                added: 0,
                deleted: 7
            }
        );
    }

    #[test]
    fn counts_for_a_path_that_is_not_listed_are_left_out() {
        let text = header("c1", "c0")
            + &format!("\n:100644 100644 {OLD} {NEW} M\0a\0")
            + "1\t1\tother\x002\t2\ta\0";
        assert_eq!(
            commits(text).remove(0).changes[0].lines,
            Lines::Counted {
                added: 2,
                deleted: 2
            }
        );
    }

    #[test]
    fn an_author_without_time_or_name_is_no_error() {
        let found = commits("commit\tc1\t\t\t\t\0");
        assert_eq!(
            found,
            [Commit {
                id: "c1".into(),
                ..Commit::default()
            }]
        );
    }

    #[test]
    fn text_that_is_no_history_is_refused() {
        assert!(error("fatal: bad\0").contains("expected `commit` and five fields"));
        assert!(error(header("c", "") + "\n:1 2 3\0").contains("expected `:old-mode"));
        assert!(
            error(header("c", "") + &format!("\n:1 2 {OLD} {NEW} X\0p\0"))
                .contains("expected `:old-mode")
        );
        assert!(error(header("c", "") + "one\ttwo\tp\0").contains("expected `added TAB"));
        assert!(
            error(header("c", "") + &format!("\n:1 2 {OLD} {NEW} R100\0p\0"))
                .contains("a path should follow")
        );
        assert_eq!(commits(""), []);
    }

    #[test]
    fn line_feeds_can_stand_for_nul() {
        let text = header("c1", "")
            + &format!("\n:100644 100644 {OLD} {NEW} R100\0a\0b\0")
            + "1\t0\t\0a\0b\0"
            + &header("c2", "c1");
        let lines = text.replace('\0', "\n");
        let found: Vec<Commit> = GitHistory::of_lines(lines.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(found, commits(text));
    }
}
