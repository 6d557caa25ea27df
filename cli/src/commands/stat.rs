//! `annals stat`: what a log holds and how it was found.

use std::io::Write;
use std::path::Path;

use annals_engine::{Log, Stats};
use serde::Serialize;

use crate::args::StatArgs;
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{grouped, printable, ratio, size};
use crate::log_report::{RecoveryInWords, RecoveryJson, is_damaged, say_what_may_be_missing};
use crate::output::write_json_line;
use crate::table::{Align, Table};

pub(crate) fn run(args: &StatArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    // As it is now: nobody looks for more.
    let log = Log::options().background(false).open_read_only(&args.dir)?;
    // First, so that the indexes it opens are among those told of.
    let aggregates = log.count_aggregates()?;
    let stats = log.stats()?;
    if args.json {
        write_json_line(out, &StatJson::new(&stats, aggregates, &log))?;
    } else {
        write_table(out, &args.dir, &stats, aggregates, &log)?;
    }
    out.flush()?;
    say_what_may_be_missing(&args.dir, log.recovery());
    Ok(Outcome::of_damage(is_damaged(log.recovery())))
}

#[derive(Debug, Serialize)]
struct StatJson {
    events: u64,
    aggregates: u64,
    segments: u64,
    sealed_segments: u64,
    bytes: u64,
    last_position: u64,
    format_version: u16,
    recovery: RecoveryJson,
    first_position: u64,
    log_bytes: u64,
    index_bytes: u64,
    bytes_per_event: f64,
    memory: MemoryJson,
    followers: Vec<FollowerJson>,
}

/// What the indexes take in a process that has the log open for reading.
#[derive(Debug, Serialize)]
struct MemoryJson {
    tail_index_bytes: u64,
    sealed_index_bytes: u64,
    heads_bytes: u64,
}

#[derive(Debug, Serialize)]
struct FollowerJson {
    name: String,
    position: u64,
}

impl StatJson {
    fn new(stats: &Stats, aggregates: u64, log: &Log) -> Self {
        let followers = log.followers().into_iter();
        Self {
            events: stats.events,
            aggregates,
            segments: stats.segments,
            sealed_segments: stats.sealed_segments,
            bytes: stats.bytes,
            last_position: stats.last_position,
            format_version: stats.format_version,
            recovery: log.recovery().into(),
            first_position: stats.first_position,
            log_bytes: stats.log_bytes,
            index_bytes: stats.index_bytes,
            bytes_per_event: ratio(stats.bytes, stats.events),
            memory: MemoryJson {
                tail_index_bytes: stats.memory.tail_index_bytes,
                sealed_index_bytes: stats.memory.sealed_index_bytes,
                heads_bytes: stats.memory.heads_bytes,
            },
            followers: followers
                .map(|(name, position)| FollowerJson { name, position })
                .collect(),
        }
    }
}

fn write_table(
    out: &mut impl Write,
    dir: &Path,
    stats: &Stats,
    aggregates: u64,
    log: &Log,
) -> Result<(), CliError> {
    let recovery = log.recovery();
    let mut table = Table::new([Align::Left, Align::Left]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("log", dir.display().to_string());
    row("events", grouped(stats.events));
    row("aggregates", grouped(aggregates));
    row(
        "positions",
        format!("{}..={}", stats.first_position, stats.last_position),
    );
    row(
        "segments",
        format!(
            "{} ({} sealed)",
            grouped(stats.segments),
            grouped(stats.sealed_segments)
        ),
    );
    row(
        "bytes",
        format!(
            "{} ({} log, {} indexes)",
            grouped(stats.bytes),
            size(stats.log_bytes),
            size(stats.index_bytes)
        ),
    );
    row(
        "bytes per event",
        format!("{:.1}", ratio(stats.bytes, stats.events)),
    );
    let memory = &stats.memory;
    row(
        "indexes in use",
        format!(
            "{} in memory, {} of sealed segments and {} of heads mapped",
            size(memory.tail_index_bytes),
            size(memory.sealed_index_bytes),
            size(memory.heads_bytes)
        ),
    );
    for (name, position) in log.followers() {
        row(
            "follower",
            format!("{} up to position {position}", printable(&name)),
        );
    }
    row("format version", stats.format_version.to_string());
    let hint = if is_damaged(recovery) {
        "; annals verify says where"
    } else {
        ""
    };
    row("recovery", format!("{}{hint}", RecoveryInWords(recovery)));
    table.write(out)?;
    Ok(())
}
