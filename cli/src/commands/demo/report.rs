//! What the demo prints: one JSON object, or tables.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use annals_engine::Stats;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::commands::demo::file_life::FileLife;
use crate::figures::{counted, grouped, printable, ratio, shell_quoted, size, span};
use crate::table::{Align, Table};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) source: SourceReport,
    /// Of the log.
    pub(crate) dir: String,
    /// Whether it is there afterwards.
    pub(crate) kept: bool,
    pub(crate) commits: u64,
    pub(crate) events: u64,
    pub(crate) aggregates: u64,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_event: f64,
    pub(crate) log_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) append: AppendReport,
    /// Opening the log anew after the import.
    #[serde(rename = "open_seconds", serialize_with = "seconds")]
    pub(crate) open: Duration,
    pub(crate) replay: ReplayReport,
    pub(crate) hottest: Vec<HotFile>,
    /// Every event of the hottest file, as `annals cat` prints them.
    pub(crate) life: Vec<Box<RawValue>>,
    pub(crate) state_at_half: Option<HalfLife>,
    #[serde(skip)]
    pub(crate) life_rows: Vec<LifeRow>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum SourceReport {
    Repository { place: String },
    Bundled { why: String },
}

#[derive(Debug, Serialize)]
pub(crate) struct AppendReport {
    pub(crate) durability: &'static str,
    pub(crate) appends: u64,
    pub(crate) events_per_second: u64,
    /// In the log alone, with the sync at the end.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) in_log: Duration,
    #[serde(rename = "sync_seconds", serialize_with = "seconds")]
    pub(crate) sync: Duration,
    /// With what git took.
    #[serde(rename = "import_seconds", serialize_with = "seconds")]
    pub(crate) whole: Duration,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReplayReport {
    pub(crate) events: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) events_per_second: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) took: Duration,
}

#[derive(Debug, Serialize)]
pub(crate) struct HotFile {
    pub(crate) aggregate_id: String,
    pub(crate) path: String,
    pub(crate) changes: u64,
    pub(crate) merges: u64,
    pub(crate) added: u64,
    pub(crate) deleted: u64,
}

/// The hottest file half way.
#[derive(Debug, Serialize)]
pub(crate) struct HalfLife {
    pub(crate) version: u64,
    pub(crate) versions: u64,
    pub(crate) state: FileLife,
}

/// An event in the life of a file.
#[derive(Debug)]
pub(crate) struct LifeRow {
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) authored_at: Option<i64>,
    pub(crate) topic: String,
    pub(crate) added: Option<u64>,
    pub(crate) deleted: Option<u64>,
    pub(crate) commit: String,
    pub(crate) author: String,
}

impl Report {
    /// What `stats` says goes where it is printed.
    pub(crate) fn set_stats(&mut self, stats: &Stats, aggregates: u64) {
        self.events = stats.events;
        self.aggregates = aggregates;
        self.segments = stats.segments;
        self.bytes = stats.bytes;
        self.bytes_per_event = ratio(stats.bytes, stats.events);
        self.log_bytes = stats.log_bytes;
        self.index_bytes = stats.index_bytes;
    }

    pub(crate) fn write_tables(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_figures(out)?;
        self.write_hottest(out)?;
        self.write_life(out)?;
        self.write_half(out)
    }

    /// The command that shows the life of the hottest file, to be pasted.
    pub(crate) fn next_command(&self) -> String {
        let dir = shell_quoted(&self.dir);
        let command = match self.hottest.first() {
            Some(file) => format!(
                "annals cat {dir} --aggregate {}",
                shell_quoted(&file.aggregate_id)
            ),
            None => format!("annals cat {dir}"),
        };
        printable(&command).into_owned()
    }

    fn write_figures(&self, out: &mut impl Write) -> io::Result<()> {
        let source = match &self.source {
            SourceReport::Repository { place } => printable(place),
            SourceReport::Bundled { .. } => "the bundled history".into(),
        };
        writeln!(out, "{} of {source}\n", counted(self.commits, "commit"))?;

        let whole = match &self.source {
            SourceReport::Repository { .. } => "the whole import with git",
            SourceReport::Bundled { .. } => "the whole import",
        };
        let several = if self.append.appends == self.commits {
            ""
        } else {
            " (large commits take several)"
        };

        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        let mut row =
            |name: &str, value: String, note: String| table.row([name.to_owned(), value, note]);
        row(
            "events",
            grouped(self.events),
            "one for each change, one for each author's commit".into(),
        );
        row(
            "aggregates",
            grouped(self.aggregates),
            "one a file path, one an author and day".into(),
        );
        row(
            "bytes per event",
            format!("{:.1}", self.bytes_per_event),
            format!(
                "{} log and {} indexes in {}",
                size(self.log_bytes),
                size(self.index_bytes),
                counted(self.segments, "segment")
            ),
        );
        row(
            "append",
            format!("{} events/s", grouped(self.append.events_per_second)),
            format!(
                "{}{several} in {}, {}; {whole} {}",
                counted(self.append.appends, "append"),
                span(self.append.in_log),
                self.append.durability,
                span(self.append.whole)
            ),
        );
        row("open", span(self.open), "the log opened anew".into());
        row(
            "replay",
            format!("{} events/s", grouped(self.replay.events_per_second)),
            format!(
                "{} in {}, every checksum verified",
                counted(self.replay.events, "event"),
                span(self.replay.took)
            ),
        );
        table.write(out)
    }

    fn write_hottest(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nHottest files")?;
        let mut table = Table::new([
            Align::Right,
            Align::Right,
            Align::Right,
            Align::Right,
            Align::Left,
        ]);
        table.row(["changes", "merges", "added", "deleted", "path"]);
        for file in &self.hottest {
            table.row([
                grouped(file.changes),
                grouped(file.merges),
                format!("+{}", grouped(file.added)),
                format!("-{}", grouped(file.deleted)),
                file.path.clone(),
            ]);
        }
        table.write(out)
    }

    fn write_life(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(file) = self.hottest.first() else {
            return Ok(());
        };
        let rows = &self.life_rows;
        writeln!(
            out,
            "\nLife of {} ({})",
            printable(&file.aggregate_id),
            counted(rows.len() as u64, "event")
        )?;
        let left_out = rows.len().saturating_sub(2 * LIFE_END_ROWS);
        let mut table = Table::new(LIFE_ALIGN);
        table.row([
            "version", "position", "day", "event", "added", "deleted", "commit", "author",
        ]);
        for (place, row) in rows.iter().enumerate() {
            if left_out > 0 && place == LIFE_END_ROWS {
                let more = format!("... {} more", grouped(left_out as u64));
                table.row(["...", "", "", &more, "", "", "", ""]);
            }
            if left_out == 0 || place < LIFE_END_ROWS || place >= LIFE_END_ROWS + left_out {
                table.row(row.cells());
            }
        }
        table.write(out)?;
        if left_out > 0 {
            writeln!(out, "  (--json prints them all)")?;
        }
        Ok(())
    }

    fn write_half(&self, out: &mut impl Write) -> io::Result<()> {
        let (Some(half), Some(file)) = (&self.state_at_half, self.hottest.first()) else {
            return Ok(());
        };
        let state = &half.state;
        writeln!(
            out,
            "\nState of {} at version {} of {}",
            printable(&file.aggregate_id),
            grouped(half.version),
            grouped(half.versions)
        )?;
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("status", state.status.to_string());
        row(
            "lines",
            format!("{} on the main line", grouped(state.lines)),
        );
        row(
            "changes",
            format!(
                "{}, +{} -{}",
                grouped(state.changes),
                grouped(state.added),
                grouped(state.deleted)
            ),
        );
        row("merges", grouped(state.merges));
        row("authors", grouped(state.authors.len() as u64));
        row("mode", state.mode.clone());
        table.write(out)
    }
}

/// Where the log lies, and what becomes of it.
pub(crate) fn write_place(out: &mut impl Write, dir: &Path, kept: bool) -> io::Result<()> {
    let becomes = if kept {
        "kept"
    } else {
        "temporary, removed at the end unless interrupted; --into DIR keeps it"
    };
    let dir = dir.display().to_string();
    writeln!(out, "log in {} ({becomes})", printable(&dir))
}

impl LifeRow {
    fn cells(&self) -> [String; 8] {
        let day = self
            .authored_at
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        [
            grouped(self.version),
            grouped(self.position),
            day.map(|day| day.strftime("%Y-%m-%d").to_string())
                .unwrap_or_default(),
            self.topic.clone(),
            self.added
                .map(|added| format!("+{}", grouped(added)))
                .unwrap_or_default(),
            self.deleted
                .map(|deleted| format!("-{}", grouped(deleted)))
                .unwrap_or_default(),
            self.commit.chars().take(12).collect(),
            self.author.chars().take(8).collect(),
        ]
    }
}

fn seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// Rows shown of either end of a long life.
const LIFE_END_ROWS: usize = 10;

const LIFE_ALIGN: [Align; 8] = [
    Align::Right,
    Align::Right,
    Align::Left,
    Align::Left,
    Align::Right,
    Align::Right,
    Align::Left,
    Align::Left,
];
