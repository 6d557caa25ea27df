//! A commit as events.
//!
//! - One event for each changed file, on the aggregate of its path; a rename is one on either path. Then
//!   one on the aggregate of the author's day.
//! - Departures come before arrivals, so that two files that swap their names both end up present.
//! - No name and no mail address gets into an event: an author is a hash under a key that nobody keeps.
//! - The commits of all branches are there. What a merge brings has been told where it was made, so it is told
//!   again under a topic of its own, [`MERGED`].
//! - Only the main line, which is one commit after the other, says how many lines a file has: added up over
//!   branches that ran side by side, they would be counted where each of two made the same change.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use annals_engine::{AggregateId, Error, NewEvent};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::commands::demo::file_change::{
    ADDED, AUTHOR, CORRELATION_ID, DAY_OF_WORK, DELETED, DayOfWork, FILE_ID_START, FileChange,
    MERGED, MODE_CHANGED, MODIFIED, MOVED_AWAY, RENAMED, TYPE_CHANGED,
};
use crate::commands::demo::git_history::{Change, Commit, Lines, Status};

/// Makes events of the commits of a history, in its order.
#[derive(Debug)]
pub(crate) struct CommitEvents<S> {
    /// The commits of the main line.
    main_line: HashSet<String>,
    /// The files that are there on the main line, with their lines. Binary files have none.
    files: HashMap<Vec<u8>, u64>,
    /// Keyed; hides the authors.
    hashes: S,
    /// Changes of paths that are no UTF-8, which are shown with replacement characters.
    pub(crate) odd_path_changes: u64,
}

/// An event and about how long it is.
#[derive(Debug)]
pub(crate) struct SizedEvent {
    pub(crate) event: NewEvent,
    /// Bytes, not less than it takes in the log.
    pub(crate) len: usize,
}

impl<S: BuildHasher> CommitEvents<S> {
    /// `hashes`: keyed at random, so that nobody can test whether a name they know is in the log.
    pub(crate) fn new(hashes: S, main_line: HashSet<String>) -> Self {
        Self {
            main_line,
            files: HashMap::new(),
            hashes,
            odd_path_changes: 0,
        }
    }

    /// The events of the next commit, at least one.
    pub(crate) fn of(&mut self, commit: &Commit) -> Result<Vec<SizedEvent>, Error> {
        let made = Made {
            commit,
            author: format!("{:016x}", self.hashes.hash_one(&commit.author)),
            on_main_line: self.main_line.contains(&commit.id),
        };
        let mut events = Vec::with_capacity(commit.changes.len() + 1);
        // Before anything of this commit is noted: a path may be left and taken in the same commit.
        let lines_before: Vec<u64> = commit
            .changes
            .iter()
            .map(|change| self.lines_at(change.origin()))
            .collect();

        for change in commit
            .changes
            .iter()
            .filter(|change| change.status == Status::Renamed)
        {
            if made.on_main_line {
                self.files.remove(change.origin());
            }
            let payload = FileChange {
                to: Some(String::from_utf8_lossy(&change.path)),
                ..made.payload(MOVED_AWAY, change.origin())
            };
            events.push(self.file_event(&made, MOVED_AWAY, change.origin(), &payload)?);
        }
        for (change, lines_before) in commit.changes.iter().zip(lines_before) {
            events.push(self.arrival(&made, change, lines_before)?);
        }
        events.push(made.day_of_work()?);
        Ok(events)
    }

    fn lines_at(&self, path: &[u8]) -> u64 {
        self.files.get(path).copied().unwrap_or(0)
    }

    /// What happened at the path where the file now is, or was. `lines_before`: where it comes from.
    fn arrival(
        &mut self,
        made: &Made<'_>,
        change: &Change,
        lines_before: u64,
    ) -> Result<SizedEvent, Error> {
        let what = topic(change);
        let (added, deleted) = change.lines.counts();
        let comes_from = change.old_path.as_deref();
        let payload = FileChange {
            from: comes_from.map(String::from_utf8_lossy),
            added,
            deleted,
            binary: change.lines == Lines::Binary,
            lines_before: comes_from
                .filter(|_| made.on_main_line)
                .map(|_| lines_before),
            mode: present(&change.new_mode),
            blob: present(&change.new_blob),
            ..made.payload(what, &change.path)
        };
        if made.on_main_line {
            match what {
                DELETED => self.files.remove(&change.path),
                _ => self
                    .files
                    .insert(change.path.clone(), change.lines.after(lines_before)),
            };
        }
        self.file_event(made, what, &change.path, &payload)
    }

    fn file_event(
        &mut self,
        made: &Made<'_>,
        what: &str,
        path: &[u8],
        payload: &FileChange<'_>,
    ) -> Result<SizedEvent, Error> {
        if str::from_utf8(path).is_err() {
            self.odd_path_changes += 1;
        }
        let topic = if made.commit.is_merge { MERGED } else { what };
        let SizedEvent { mut event, mut len } = made.event(topic, file_id(path)?, payload);
        if let Some(extension) = extension(&payload.path) {
            let tag = format!("ext:{extension}");
            len += tag.len();
            event = event.tag(tag);
        }
        Ok(SizedEvent { event, len })
    }
}

/// A commit and what all its events say of it.
struct Made<'a> {
    commit: &'a Commit,
    author: String,
    on_main_line: bool,
}

impl<'a> Made<'a> {
    /// The payload of an event about a file, as far as it is the same for all of them.
    fn payload<'p>(&self, what: &'static str, path: &'p [u8]) -> FileChange<'p> {
        FileChange {
            path: String::from_utf8_lossy(path),
            branch: !self.on_main_line,
            brought: self.commit.is_merge.then_some(Cow::Borrowed(what)),
            authored_at: self.commit.authored_at,
            ..FileChange::default()
        }
    }

    fn day_of_work(&self) -> Result<SizedEvent, Error> {
        let commit = self.commit;
        let day = if commit.day.is_empty() {
            "unknown"
        } else {
            &commit.day
        };
        // The lines that a merge brings were work on the day they were written.
        let written = commit
            .changes
            .iter()
            .filter(|_| !commit.is_merge)
            .map(|change| change.lines.counts());
        let (added, deleted) = written.fold((0_u64, 0_u64), |sums, (added, deleted)| {
            (
                sums.0.saturating_add(added.unwrap_or(0)),
                sums.1.saturating_add(deleted.unwrap_or(0)),
            )
        });
        let payload = DayOfWork {
            day,
            merge: commit.is_merge,
            files: commit.changes.len() as u64,
            added,
            deleted,
            authored_at: commit.authored_at,
        };
        let id = AggregateId::text(format!("author-day:{}:{day}", self.author))?;
        Ok(self.event(DAY_OF_WORK, id, &payload))
    }

    fn event(&self, topic: &str, id: AggregateId, payload: &impl Serialize) -> SizedEvent {
        let payload = serde_json::to_vec(payload)
            .expect("structs of texts and numbers always have a JSON form");
        let commit = &self.commit.id;
        let len = FIXED_LEN_MAX + payload.len() + 2 * commit.len();
        let event = NewEvent::new(topic.to_owned(), payload)
            .aggregate(id)
            .tag(format!("commit:{commit}"))
            .metadata(CORRELATION_ID, commit)
            .metadata(AUTHOR, &self.author);
        SizedEvent { event, len }
    }
}

/// The commits that are reached from the last one by first parents alone, for whoever has no git to ask.
pub(crate) fn main_line(commits: &[Commit]) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut next = commits.last().map(|commit| commit.id.as_str());
    for commit in commits.iter().rev() {
        if next == Some(&commit.id) {
            found.insert(commit.id.clone());
            next = commit.first_parent.as_deref();
        }
    }
    found
}

impl Change {
    /// The path the content comes from.
    fn origin(&self) -> &[u8] {
        self.old_path.as_ref().unwrap_or(&self.path)
    }
}

impl Lines {
    fn counts(self) -> (Option<u64>, Option<u64>) {
        match self {
            Self::Counted { added, deleted } => (Some(added), Some(deleted)),
            Self::Unknown | Self::Binary => (None, None),
        }
    }

    fn after(self, before: u64) -> u64 {
        match self {
            Self::Counted { added, deleted } => {
                before.saturating_add(added).saturating_sub(deleted)
            }
            Self::Unknown => before,
            Self::Binary => 0,
        }
    }
}

fn topic(change: &Change) -> &'static str {
    match change.status {
        Status::Added | Status::Copied => ADDED,
        Status::Deleted => DELETED,
        Status::Renamed => RENAMED,
        Status::TypeChanged => TYPE_CHANGED,
        Status::Modified if change.old_blob == change.new_blob => MODE_CHANGED,
        Status::Modified => MODIFIED,
    }
}

/// The aggregate of a path. A path too long for an id, or one that is no text, keeps its start and gets a hash
/// of the whole, so that two paths never share an aggregate.
fn file_id(path: &[u8]) -> Result<AggregateId, Error> {
    let shown = String::from_utf8_lossy(path);
    if matches!(shown, Cow::Borrowed(_)) && FILE_ID_START.len() + shown.len() <= ID_LEN_MAX {
        return AggregateId::text(format!("{FILE_ID_START}{shown}"));
    }
    let hash = format!("#{:016x}", xxh3_64(path));
    let start = &shown[..shown.floor_char_boundary(ID_LEN_MAX - FILE_ID_START.len() - hash.len())];
    AggregateId::text(format!("{FILE_ID_START}{start}{hash}"))
}

/// `rs` of `src/main.rs`, in lower case; none of `Makefile`, `.gitignore`, or where it would be no word.
fn extension(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.')?;
    let is_word = (1..=EXTENSION_LEN_MAX).contains(&extension.len())
        && !extension.contains(char::is_whitespace);
    (!stem.is_empty() && is_word).then(|| extension.to_lowercase())
}

/// What git gives for a mode or blob that is there: not all zeros.
fn present(text: &str) -> Option<Cow<'_, str>> {
    text.bytes()
        .any(|byte| byte != b'0')
        .then_some(Cow::Borrowed(text))
}

/// Bytes of an aggregate id at most, as the log has it.
const ID_LEN_MAX: usize = 255;

/// Longer ones are parts of a name rather than its type.
const EXTENSION_LEN_MAX: usize = 24;

/// Bytes of an event beside its payload, commit ids and tags: header, aggregate id, topic, keys of metadata.
const FIXED_LEN_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    type TestEvents = CommitEvents<BuildHasherDefault<DefaultHasher>>;

    /// Events of a history whose commits are all called alike, on the main line.
    fn test_events() -> TestEvents {
        TestEvents::new(Default::default(), HashSet::from(["c0ffee".to_owned()]))
    }

    const BLOB: &str = "94b2ad808d0782d38d9ed598d936ea25bdcb2e58";

    fn change(
        status: Status,
        old_path: Option<&str>,
        path: &str,
        added: u64,
        deleted: u64,
    ) -> Change {
        Change {
            status,
            path: path.into(),
            old_path: old_path.map(Into::into),
            old_mode: "100644".into(),
            new_mode: "100644".into(),
            old_blob: "0".repeat(40),
            new_blob: BLOB.into(),
            lines: Lines::Counted { added, deleted },
        }
    }

    fn commit(is_merge: bool, changes: Vec<Change>) -> Commit {
        Commit {
            id: "c0ffee".into(),
            first_parent: None,
            is_merge,
            authored_at: Some(1_700_000_000),
            day: "2023-11-14".into(),
            author: b"keeper@light.invalid".to_vec(),
            changes,
        }
    }

    /// The events in words: what the log would store of them, as far as it can be seen from outside.
    fn shown(events: &mut TestEvents, commit: &Commit) -> Vec<String> {
        let events = events.of(commit).unwrap();
        events
            .iter()
            .map(|sized| format!("{:?}", sized.event))
            .collect()
    }

    fn file_event(topic: &str, path: &str, payload: &str) -> String {
        let author = author_of(&commit(false, Vec::new()));
        let event = NewEvent::new(topic.to_owned(), payload.to_owned())
            .aggregate(AggregateId::text(format!("file:{path}")).unwrap())
            .tag("commit:c0ffee")
            .metadata("correlation_id", "c0ffee")
            .metadata("author", author);
        let event = match extension(path) {
            Some(extension) => event.tag(format!("ext:{extension}")),
            None => event,
        };
        format!("{event:?}")
    }

    fn author_of(commit: &Commit) -> String {
        format!(
            "{:016x}",
            BuildHasherDefault::<DefaultHasher>::default().hash_one(&commit.author)
        )
    }

    fn topics(shown: &[String]) -> Vec<&str> {
        shown
            .iter()
            .map(|text| {
                text.split("topic: \"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn a_change_has_its_path_counts_and_origin() {
        let mut events = test_events();
        let found = shown(
            &mut events,
            &commit(false, vec![change(Status::Added, None, "src/a.RS", 3, 0)]),
        );
        let payload = format!(
            r#"{{"path":"src/a.RS","added":3,"deleted":0,"binary":false,"mode":"100644","blob":"{BLOB}","authored_at":1700000000}}"#
        );
        assert_eq!(found[0], file_event(ADDED, "src/a.RS", &payload));
        assert!(
            found[0].contains(&format!("{:?}", b"ext:rs".to_vec())),
            "{}",
            found[0]
        );
        assert_eq!(topics(&found), [ADDED, DAY_OF_WORK]);
    }

    #[test]
    fn a_rename_is_an_event_on_either_path_and_carries_the_lines() {
        let mut events = test_events();
        shown(
            &mut events,
            &commit(false, vec![change(Status::Added, None, "a", 30, 0)]),
        );
        let found = shown(
            &mut events,
            &commit(false, vec![change(Status::Renamed, Some("a"), "b", 2, 1)]),
        );
        assert_eq!(topics(&found), [MOVED_AWAY, RENAMED, DAY_OF_WORK]);
        assert_eq!(
            found[0],
            file_event(
                MOVED_AWAY,
                "a",
                r#"{"path":"a","to":"b","binary":false,"authored_at":1700000000}"#
            )
        );
        let payload = format!(
            r#"{{"path":"b","from":"a","added":2,"deleted":1,"binary":false,"lines_before":30,"mode":"100644","blob":"{BLOB}","authored_at":1700000000}}"#
        );
        assert_eq!(found[1], file_event(RENAMED, "b", &payload));
        assert_eq!(events.files, HashMap::from([(b"b".to_vec(), 31)]));
    }

    #[test]
    fn files_that_swap_names_keep_their_lines_and_end_present() {
        let mut events = test_events();
        let both = vec![
            change(Status::Added, None, "a", 10, 0),
            change(Status::Added, None, "b", 20, 0),
        ];
        shown(&mut events, &commit(false, both));
        let swap = vec![
            change(Status::Renamed, Some("b"), "a", 0, 0),
            change(Status::Renamed, Some("a"), "b", 0, 0),
        ];
        let found = shown(&mut events, &commit(false, swap));
        assert_eq!(
            topics(&found),
            [MOVED_AWAY, MOVED_AWAY, RENAMED, RENAMED, DAY_OF_WORK]
        );
        assert_eq!(
            events.files,
            HashMap::from([(b"a".to_vec(), 20), (b"b".to_vec(), 10)])
        );
    }

    #[test]
    fn a_merge_is_told_under_its_own_topic_and_moves_the_main_line() {
        let mut events = test_events();
        let base = vec![
            change(Status::Added, None, "a", 10, 0),
            change(Status::Added, None, "old", 5, 0),
        ];
        shown(&mut events, &commit(false, base));
        let merge = vec![
            change(Status::Modified, None, "a", 2, 1),
            change(Status::Renamed, Some("old"), "new", 1, 0),
        ];
        let found = shown(&mut events, &commit(true, merge));
        assert_eq!(topics(&found), [MERGED, MERGED, MERGED, DAY_OF_WORK]);
        let away = r#"{"path":"old","brought":"FileMovedAway","to":"new","binary":false,"authored_at":1700000000}"#;
        assert_eq!(found[0], file_event(MERGED, "old", away));
        assert_eq!(
            events.files,
            HashMap::from([(b"a".to_vec(), 11), (b"new".to_vec(), 6)])
        );
    }

    #[test]
    fn a_branch_does_not_move_the_main_line() {
        let mut events = test_events();
        shown(
            &mut events,
            &commit(false, vec![change(Status::Added, None, "a", 10, 0)]),
        );
        let renamed = vec![change(Status::Renamed, Some("a"), "b", 1, 0)];
        let beside = Commit {
            id: "beside".into(),
            ..commit(false, renamed)
        };
        let found = events.of(&beside).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(events.files, HashMap::from([(b"a".to_vec(), 10)]));
        let arrived = serde_json::to_string(&FileChange {
            branch: true,
            from: Some("a".into()),
            added: Some(1),
            deleted: Some(0),
            mode: Some("100644".into()),
            blob: Some(BLOB.into()),
            authored_at: Some(1_700_000_000),
            path: "b".into(),
            ..FileChange::default()
        });
        let bytes = format!("{:?}", arrived.unwrap().into_bytes());
        assert!(
            format!("{:?}", found[1].event).contains(&bytes),
            "{:?}",
            found[1].event
        );
    }

    #[test]
    fn the_main_line_follows_first_parents() {
        let made = |id: &str, first_parent: Option<&str>| Commit {
            id: id.into(),
            first_parent: first_parent.map(str::to_owned),
            ..Commit::default()
        };
        let history = [
            made("1", None),
            made("2", Some("1")),
            made("side", Some("1")),
            made("3", Some("2")),
            made("4", Some("3")),
        ];
        let expected = ["1", "2", "3", "4"].map(str::to_owned);
        assert_eq!(main_line(&history), HashSet::from(expected));
        assert_eq!(main_line(&[]), HashSet::new());
    }

    #[test]
    fn only_the_mode_changed() {
        let mut events = test_events();
        let mut made_executable = change(Status::Modified, None, "run", 0, 0);
        made_executable.old_blob = made_executable.new_blob.clone();
        made_executable.new_mode = "100755".into();
        let retyped = change(Status::TypeChanged, None, "link", 1, 9);
        let found = shown(&mut events, &commit(false, vec![made_executable, retyped]));
        assert_eq!(topics(&found), [MODE_CHANGED, TYPE_CHANGED, DAY_OF_WORK]);
    }

    #[test]
    fn authors_are_hashed_and_days_are_aggregates() {
        let mut events = test_events();
        let made = commit(false, Vec::new());
        let found = shown(&mut events, &made);
        assert_eq!(found.len(), 1);
        assert!(!found[0].contains("keeper"), "{}", found[0]);
        assert!(
            found[0].contains(&format!("author-day:{}:2023-11-14", author_of(&made))),
            "{}",
            found[0]
        );
        let without_day = Commit {
            day: String::new(),
            ..made
        };
        assert!(shown(&mut events, &without_day)[0].contains(":unknown"));
    }

    #[test]
    fn ids_fit_and_never_collide() {
        let long = "d/".repeat(2000);
        let (one, two) = (
            file_id(format!("{long}1").as_bytes()).unwrap(),
            file_id(format!("{long}2").as_bytes()).unwrap(),
        );
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), ID_LEN_MAX);
        assert_ne!(file_id(b"\xff").unwrap(), file_id(b"\xfe").unwrap());
        assert_ne!(
            file_id(b"\xff").unwrap(),
            file_id("\u{fffd}".as_bytes()).unwrap()
        );
        let longest = "x".repeat(250);
        assert_eq!(
            file_id(longest.as_bytes()).unwrap().to_string(),
            format!("file:{longest}")
        );
        assert!(file_id("é".repeat(200).as_bytes()).is_ok());
    }

    #[test]
    fn extensions_are_words() {
        let found = [
            "a.rs",
            "x/y.tar.GZ",
            "Makefile",
            ".gitignore",
            "a.",
            "v1.2 final",
            "x.y/z",
        ]
        .map(extension);
        let expected = [Some("rs"), Some("gz"), None, None, None, None, None];
        assert_eq!(
            found,
            expected.map(|extension| extension.map(str::to_owned))
        );
    }
}
