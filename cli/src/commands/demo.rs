//! `annals demo`: the history of a git repository as events, written once and read in every way.
//!
//! The steps stand in [`run`]; each has its file: the repository and its text ([`repository`],
//! [`git_history`]), commits as events ([`commit_events`], [`mod@file_change`]), a projection over the log
//! ([`mod@hottest`]), an aggregate ([`file_life`]), and what is printed ([`report`]).

mod commit_events;
mod file_change;
mod file_life;
pub(crate) mod git_history;
mod hottest;
mod report;
mod repository;

use std::collections::HashSet;
use std::hash::RandomState;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_engine::{AggregateId, Batch, Direction, Durability, Event, Log, Query, View};
use indicatif::ProgressBar;
use serde_json::value::RawValue;
use tempfile::TempDir;

use self::commit_events::{CommitEvents, SizedEvent};
use self::file_change::{AUTHOR, CORRELATION_ID, FILE_ID_START, FileChange};
use self::file_life::FileLife;
use self::git_history::{Commit, GitHistory, HistoryError};
use self::hottest::{Heat, Hottest};
use self::report::{AppendReport, HalfLife, HotFile, LifeRow, ReplayReport, Report, SourceReport};
use self::repository::{GitLog, Repository, Unusable};
use crate::args::{DemoArgs, SegmentArgs};
use crate::commands::{Outcome, log_options};
use crate::error::{self, CliError};
use crate::event_line::write_event;
use crate::figures::{counted, per_second};
use crate::output::write_json_line;
use crate::progress;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(args: &DemoArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let home = Home::of(args)?;
    let log = log_options(&args.segment).open(home.dir())?;
    if log.head() > 0 {
        return Err(CliError::IntoHasEvents {
            dir: home.dir().to_owned(),
            events: log.head(),
        });
    }
    if !args.json {
        // Before the work: whoever interrupts it is to know what is left behind.
        report::write_place(out, home.dir(), home.is_kept())?;
        out.flush()?;
    }
    let source = Source::choose(args.repo.as_deref());
    let (source, commits, append) = import(source, &log, &args.segment)?;
    log.close()?;
    drop(log);

    let stopwatch = Stopwatch::start();
    let log = log_options(&args.segment).open(home.dir())?;
    let open = stopwatch.elapsed();
    let view = log.view();
    let replay = replay(&view)?;
    let hottest = hottest(&view)?;
    let hottest_id = hottest
        .first()
        .map(|file| AggregateId::text(file.aggregate_id.as_str()))
        .transpose()?;
    let (life, life_rows, state_at_half) = match &hottest_id {
        Some(id) => life(&view, id, args.json)?,
        None => Default::default(),
    };

    let mut report = Report {
        source,
        dir: home.dir().display().to_string(),
        kept: home.is_kept(),
        commits,
        events: 0,
        aggregates: 0,
        segments: 0,
        bytes: 0,
        bytes_per_event: 0.0,
        log_bytes: 0,
        index_bytes: 0,
        append,
        open,
        replay,
        hottest,
        life,
        state_at_half,
        life_rows,
    };
    report.set_stats(&log.stats()?, log.count_aggregates()?);
    drop(view);
    log.close()?;
    if args.json {
        write_json_line(out, &report)?;
    } else {
        report.write_tables(out)?;
        if home.is_kept() {
            out.flush()?;
            eprintln!("annals: next: {}", report.next_command());
        }
    }
    Ok(Outcome::Fine)
}

/// Where the log lies: given and kept, or removed when this is dropped.
enum Home {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Home {
    fn of(args: &DemoArgs) -> Result<Self, CliError> {
        match &args.into {
            Some(dir) => Ok(Self::Given(dir.clone())),
            None => {
                let made = tempfile::Builder::new().prefix("annals-demo-").tempdir();
                made.map(Self::Temporary)
                    .map_err(|source| CliError::TemporaryDir { source })
            }
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Given(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Given(_))
    }
}

/// Where the history comes from.
enum Source {
    Repository {
        repository: Repository,
        first: Commit,
        log: Box<GitLog>,
    },
    Bundled {
        why: Unusable,
        commits: Vec<Commit>,
    },
}

impl Source {
    /// The repository if it is of use; if not, says why on stderr and takes the bundled history.
    fn choose(asked: Option<&Path>) -> Self {
        Self::repository(asked).unwrap_or_else(|why| {
            eprintln!(
                "annals: {}; running on the small history that comes with the program",
                error::one_line(&why)
            );
            Self::Bundled {
                why,
                commits: bundled_history(),
            }
        })
    }

    fn repository(asked: Option<&Path>) -> Result<Self, Unusable> {
        let repository = Repository::find(asked)?;
        let mut log = Box::new(repository.log()?);
        // Whether git understood what it was asked shows at its first commit.
        let first = log.history.next();
        if let Some(Ok(first)) = first {
            return Ok(Self::Repository {
                repository,
                first,
                log,
            });
        }
        let read = first
            .and_then(Result::err)
            .map_or("it printed nothing".to_owned(), |error| {
                error::one_line(&error)
            });
        let said = log
            .finish()
            .err()
            .map_or(read, |failed| error::one_line(&failed));
        Err(Unusable::Unreadable {
            place: repository.place,
            said,
        })
    }

    fn main_line(&self) -> HashSet<String> {
        match self {
            Self::Repository { repository, .. } => repository.main_line.clone(),
            Self::Bundled { commits, .. } => commit_events::main_line(commits),
        }
    }
}

/// Appends the history. Answers where it came from, the number of commits, and what appending took.
fn import(
    source: Source,
    log: &Log,
    segment: &SegmentArgs,
) -> Result<(SourceReport, u64, AppendReport), CliError> {
    let main_line = source.main_line();
    let mut import = Import::new(log, segment, main_line);
    let whole = Stopwatch::start();
    let source = match source {
        Source::Repository {
            repository,
            first,
            log: mut git,
        } => {
            let bar = progress::of_commits(repository.commit_count, "importing");
            import.commit(&first)?;
            bar.inc(1);
            import.history(&mut git.history, &bar)?;
            bar.finish_and_clear();
            git.finish()?;
            SourceReport::Repository {
                place: repository.place,
            }
        }
        Source::Bundled { why, commits } => {
            import.history(&mut commits.into_iter().map(Ok), &ProgressBar::hidden())?;
            SourceReport::Bundled {
                why: error::one_line(&why),
            }
        }
    };
    let sync = Stopwatch::start();
    log.sync()?;
    let sync = sync.elapsed();
    if import.events.odd_path_changes > 0 {
        eprintln!(
            "annals: {} of paths that are no UTF-8; replacement characters stand in them",
            counted(import.events.odd_path_changes, "change")
        );
    }
    let append = AppendReport {
        durability: "buffered, synced at the end",
        appends: import.appends,
        events_per_second: per_second(log.head(), import.in_log + sync),
        in_log: import.in_log + sync,
        sync,
        whole: whole.elapsed(),
    };
    Ok((source, import.commits, append))
}

/// Appends commits: each as one batch, or as several when it is huge.
///
/// Not one batch for many commits, which would be faster: this is what an application does, one decision after the
/// other. But buffered, since a demo that loses power is simply run again.
struct Import<'a> {
    log: &'a Log,
    events: CommitEvents<RandomState>,
    batch_len_max: usize,
    commits: u64,
    appends: u64,
    in_log: Duration,
}

impl<'a> Import<'a> {
    fn new(log: &'a Log, segment: &SegmentArgs, main_line: HashSet<String>) -> Self {
        let quarter = segment
            .segment_len
            .map_or(BATCH_LEN_MAX as u64, |bytes| bytes / 4);
        Self {
            log,
            // Keyed by the system's randomness, and forgotten with the import.
            events: CommitEvents::new(RandomState::new(), main_line),
            batch_len_max: BATCH_LEN_MAX.min(usize::try_from(quarter).unwrap_or(usize::MAX)),
            commits: 0,
            appends: 0,
            in_log: Duration::ZERO,
        }
    }

    fn history(
        &mut self,
        history: &mut impl Iterator<Item = Result<Commit, HistoryError>>,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        for commit in history {
            self.commit(&commit?)?;
            bar.inc(1);
        }
        Ok(())
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), CliError> {
        let (mut batch, mut batch_len) = (empty_batch(), 0);
        for SizedEvent { event, len } in self.events.of(commit)? {
            let is_full = batch.len() == BATCH_EVENTS_MAX || batch_len + len > self.batch_len_max;
            if is_full && !batch.is_empty() {
                self.append(std::mem::replace(&mut batch, empty_batch()))?;
                batch_len = 0;
            }
            batch.push(event);
            batch_len += len;
        }
        self.append(batch)?;
        self.commits += 1;
        Ok(())
    }

    fn append(&mut self, batch: Batch) -> Result<(), CliError> {
        let stopwatch = Stopwatch::start();
        let _appended = self.log.append(batch)?;
        self.in_log += stopwatch.elapsed();
        self.appends += 1;
        Ok(())
    }
}

fn empty_batch() -> Batch {
    Batch::new().durability(Durability::Buffered)
}

/// Reads every event, in place, and does nothing with it.
fn replay(view: &View) -> Result<ReplayReport, CliError> {
    let stopwatch = Stopwatch::start();
    let (mut events, mut payload_bytes) = (0, 0);
    for event in view.read(.., &Query::all(), Direction::Forward) {
        payload_bytes += event?.payload().len() as u64;
        events += 1;
    }
    let took = stopwatch.elapsed();
    let events_per_second = per_second(events, took);
    Ok(ReplayReport {
        events,
        payload_bytes,
        events_per_second,
        took,
    })
}

/// The hottest files, by a projection over the whole log; their lines, by reading those aggregates.
fn hottest(view: &View) -> Result<Vec<HotFile>, CliError> {
    let mut hottest = Hottest::default();
    for event in view.read(.., &Query::all(), Direction::Forward) {
        hottest.observe(&event?);
    }
    hottest
        .top(HOTTEST_COUNT)
        .into_iter()
        .map(|(id, heat)| hot_file(view, &id, heat))
        .collect()
}

fn hot_file(view: &View, id: &AggregateId, heat: Heat) -> Result<HotFile, CliError> {
    let mut state = FileLife::default();
    for event in view.read_aggregate(id, .., Direction::Forward) {
        apply(&mut state, &event?)?;
    }
    let aggregate_id = id.to_string();
    // The id of a path that is long or no UTF-8 is not the path.
    let path = if state.path.is_empty() {
        aggregate_id.replacen(FILE_ID_START, "", 1)
    } else {
        state.path
    };
    Ok(HotFile {
        aggregate_id,
        path,
        changes: heat.changes,
        merges: heat.merges,
        added: state.added,
        deleted: state.deleted,
    })
}

type Life = (Vec<Box<RawValue>>, Vec<LifeRow>, Option<HalfLife>);

/// Every event of a file, as JSON if wanted and as rows, and what the first half of them makes of it.
fn life(view: &View, id: &AggregateId, as_json: bool) -> Result<Life, CliError> {
    let (mut json, mut rows) = (Vec::new(), Vec::new());
    for event in view.read_aggregate(id, .., Direction::Forward) {
        let event = event?;
        if as_json {
            let mut line = Vec::new();
            write_event(&mut line, &event)?;
            json.push(
                serde_json::from_slice(&line)
                    .map_err(|source| CliError::payload(&event, source))?,
            );
        }
        rows.push(life_row(&event)?);
    }

    let versions = rows.len() as u64;
    let version = versions.div_ceil(2);
    let mut state = FileLife::default();
    for event in view.read_aggregate(id, ..=version, Direction::Forward) {
        apply(&mut state, &event?)?;
    }
    Ok((
        json,
        rows,
        Some(HalfLife {
            version,
            versions,
            state,
        }),
    ))
}

fn life_row(event: &Event<'_>) -> Result<LifeRow, CliError> {
    let change = file_change(event)?;
    Ok(LifeRow {
        version: event.version().unwrap_or_default(),
        position: event.position(),
        authored_at: change.authored_at,
        topic: event.topic().to_owned(),
        added: change.added,
        deleted: change.deleted,
        commit: metadata(event, CORRELATION_ID).unwrap_or_default(),
        author: metadata(event, AUTHOR).unwrap_or_default(),
    })
}

fn apply(state: &mut FileLife, event: &Event<'_>) -> Result<(), CliError> {
    state.apply(
        event.topic(),
        metadata(event, AUTHOR).as_deref(),
        &file_change(event)?,
    );
    Ok(())
}

fn file_change<'a>(event: &Event<'a>) -> Result<FileChange<'a>, CliError> {
    serde_json::from_slice(event.payload()).map_err(|source| CliError::payload(event, source))
}

fn metadata(event: &Event<'_>, name: &str) -> Option<String> {
    event
        .metadata()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn bundled_history() -> Vec<Commit> {
    let history = GitHistory::of_lines(BUNDLED_HISTORY.as_bytes());
    history
        .collect::<Result<_, _>>()
        .expect("a test reads the bundled history")
}

/// About sixty commits of an invented project.
const BUNDLED_HISTORY: &str = include_str!("demo/bundled_history.txt");

const HOTTEST_COUNT: usize = 10;

/// A commit may change a hundred thousand files, a batch has at most 32 MiB and a quarter of a segment. Such
/// a commit is rare, and nothing is gained by making it visible all at once.
const BATCH_EVENTS_MAX: usize = 1_000;
const BATCH_LEN_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_history_shows_every_kind_of_change() {
        let commits = bundled_history();
        assert!((50..=80).contains(&commits.len()), "{}", commits.len());
        assert!(commits.iter().any(|commit| commit.is_merge));
        assert!(
            commits
                .iter()
                .all(|commit| commit.author.ends_with(b".invalid"))
        );
        let changes: Vec<_> = commits.iter().flat_map(|commit| &commit.changes).collect();
        for status in [
            git_history::Status::Added,
            git_history::Status::Modified,
            git_history::Status::Deleted,
            git_history::Status::Renamed,
            git_history::Status::TypeChanged,
        ] {
            assert!(
                changes.iter().any(|change| change.status == status),
                "{status:?}"
            );
        }
        assert!(
            changes
                .iter()
                .any(|change| change.lines == git_history::Lines::Binary)
        );
        assert!(
            changes
                .iter()
                .all(|change| change.lines != git_history::Lines::Unknown)
        );
    }
}
