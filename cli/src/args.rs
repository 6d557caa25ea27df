//! What the command line accepts, and the help that goes with it.
//!
//! The doc comments below are the help texts. Nothing here does anything.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand};

use crate::bench::EVENTS_MIN;

/// An event log in one directory: try it, fill it, read it, check it, keep a copy of it.
#[derive(Debug, Parser)]
#[command(name = "annals", version, color = ColorChoice::Never, propagate_version = true, after_long_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Import(ImportArgs),
    Cat(CatArgs),
    Stat(StatArgs),
    Verify(VerifyArgs),
    Repair(RepairArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Bench(BenchArgs),
    #[command(hide = true)]
    BenchAppend(BenchAppendArgs),
}

/// Turn the history of a git repository into events, and read them back in every way.
///
/// Each commit of the checked-out branch becomes one append: an event per changed file on the file's
/// aggregate (FileAdded, FileModified, FileRenamed, ...) and a DayOfWork event on the aggregate of its
/// author's day. Authors are kept as hashes under a key that is made for the run and forgotten. A merge
/// is shown once, against its first parent, as FileMerged: who wrote what stands where it was written.
/// Then the log is closed, opened anew and replayed, and the ten hottest files, the life of the
/// hottest one and its state at half its versions are printed.
///
/// Appends are buffered and synced at the end, as for any import that can be repeated.
///
/// Without --into the log lies in a temporary directory, which the first line names and which is removed at
/// the end; an interrupted run leaves it there (annals-demo-*, safe to delete).
///
/// Without git, without a repository, or with an empty or shallow one, the demo says so and runs on a small
/// history that comes with the program.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DEMO_EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Repository to read; the one around the current directory by default.
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: Option<PathBuf>,

    /// Directory for the log, kept afterwards. It must be missing, empty, or hold a log without events.
    /// By default a temporary directory is used and removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,

    /// Print one JSON object instead of tables, with the whole life of the hottest file.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) segment: SegmentArgs,
}

/// Append events from newline-delimited JSON
///
/// One object a line:
///
///   {"aggregate_id": "dog-1", "topic": "Registered", "payload": {"name": "Fido"}}
///
///   topic             name of the event type; needed
///   payload           any JSON value, stored as its exact source text; needed
///   aggregate_id      text of 1 to 255 bytes; a UUID in lower case with hyphens
///                     becomes one. Left out: the event has no version
///   expected_version  the aggregate's version before this event, 0 for no
///                     events yet. Left out: any. The event gets the next one
///   tags              list of texts. A set: doubles count once, and they are
///                     kept in ascending order
///   metadata          object of texts
///   event_id          UUID; made when left out
///
/// Other fields are errors. Blank lines are skipped. A line has at most 64 MiB.
///
/// A bad line, or a version that is not as expected, stops the import with file,
/// line and reason. What stands before that line is stored, and nothing from it on.
/// Once line N is mended, the rest is imported with
///
///   tail -n +N FILE | annals import DIR -
///
/// Event ids are not checked for duplicates: a file imported twice is stored twice,
/// unless its lines have an expected_version.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = IMPORT_EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Directory of the log; created when missing.
    pub(crate) dir: PathBuf,

    /// File to read; `-` for standard input.
    pub(crate) file: PathBuf,

    /// Most events in one commit: they become visible together, and share a sync. Fewer when together they
    /// would be longer than a commit may be, or when an expected version can only be checked after those before it.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) batch: NonZeroUsize,

    /// Print the last position after every commit, one a line, flushed. Up to there the events survive a loss
    /// of power (with --buffered: the end of this process, however sudden).
    #[arg(long)]
    pub(crate) acks: bool,

    /// Acknowledge commits once the operating system has them, and sync at the end. Much faster; a crash
    /// of the system may lose the latest events, always the last ones.
    #[arg(long)]
    pub(crate) buffered: bool,

    /// Print the summary as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) segment: SegmentArgs,
}

/// Print events as JSON, one object a line
///
/// Fields, always all of them and in this order:
///
///   position      place in the global sequence, from 1
///   aggregate_id  null when the event has none
///   version       place in its aggregate, from 1 unless the writer gave another;
///                 null without aggregate
///   topic         name of the event type
///   event_id      UUID
///   time          when it was stored, RFC 3339, UTC, microseconds
///   tags          texts; a tag that is not UTF-8 is {"base64": "..."}
///   metadata      object of texts
///   payload       the stored text when it is JSON: every byte of it, except
///                 line breaks between tokens, which would break the line.
///                 Otherwise payload_base64 stands in its place
///
/// Works while another process writes to the log, and shows what was durable at
/// the start, and with --follow what becomes durable later. A damaged event is
/// reported on stderr and skipped, and the exit code is then 1.
///
/// An --aggregate that has no events is an error, exit code 2, unless --follow is
/// given. A --topic or --tag that no event has matches nothing, exit code 0.
///
/// Ids are compared byte for byte. A UUID in lower case with hyphens is taken for a
/// UUID, as import takes it; every other spelling is text, and a different aggregate.
///
/// In a log whose last writer was killed, events that it had not synced may not be
/// shown; that is said on stderr, and opening the log for writing finds them.
///
/// In a log whose oldest events were dropped, what is left is printed. That some are
/// missing is said on stderr when they were asked for, as by --from or --aggregate;
/// the exit code stays 0.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = CAT_EXAMPLES)]
pub(crate) struct CatArgs {
    /// Directory of the log.
    pub(crate) dir: PathBuf,

    /// First position to look at; with --reverse, the last one. A position, also with --aggregate.
    #[arg(long, value_name = "P")]
    pub(crate) from: Option<u64>,

    /// Most events to print.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// Only events of this aggregate, in the order of its versions.
    #[arg(long, value_name = "ID")]
    pub(crate) aggregate: Option<String>,

    /// Only events with this topic; given several times, with any of them.
    #[arg(long = "topic", value_name = "T")]
    pub(crate) topics: Vec<String>,

    /// Only events with this tag; given several times, with all of them.
    #[arg(long = "tag", value_name = "T")]
    pub(crate) tags: Vec<String>,

    /// Newest first.
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Go on with new events as they become durable, whoever writes them, until Ctrl-C or --limit.
    #[arg(long, short, conflicts_with = "reverse")]
    pub(crate) follow: bool,

    /// Accepted for symmetry: the output is always JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what a log holds and how it was found.
///
/// `recovery` says how the log was found: clean, in_use (another process writes to it), needs_recovery
/// (the last writer did not close it; the next one will see to it) or damaged (the exit code is then 1).
/// Works while another process writes to the log.
///
/// With --json, positions are numbers, sizes bytes: `bytes` is `log_bytes` and `index_bytes`, without what is
/// prepared ahead and without snapshots; `memory` is what reading takes in this process. `recovery` has `outcome`,
/// which is the word above, `torn_bytes`, those at the end that were never acknowledged, and `damages`.
/// `followers` are those that hold up truncation, each with `name` and `position`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = STAT_EXAMPLES)]
pub(crate) struct StatArgs {
    /// Directory of the log.
    pub(crate) dir: PathBuf,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Read every byte of a log and check it.
///
/// Checks every checksum, the sequence of positions and of versions, and the indexes against the log. Each
/// damage is reported with file, offset and the positions that cannot be read because of it; the exit code is 1 when
/// there is any, 2 when the log cannot be looked at. Changes nothing, and works while another process writes to the log.
///
/// With --json: what was read as `events`, `segments`, `bytes`; `lost_events`, how many cannot be; `recovery`, how the log was
/// found, as stat has it; `damages`, each with `file`, `offset`, `first_position`, `last_position` (both null when no event
/// is affected, the last one when nobody knows how many are) and `what`, empty when the log is sound;
/// `quarantined`, the same for damage that `annals repair` was told to go on without, which is not counted as damage.
#[derive(Debug, clap::Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Directory of the log.
    pub(crate) dir: PathBuf,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Go on with a damaged log: say what is lost, ask, and keep every byte.
///
/// A log whose acknowledged events are damaged can be read, but for those, and may not open for writing. Where there is a
/// backup, restoring the damaged files from it is better: they can be put back at any time, and what they hold is there
/// again. Where there is none, this makes the log go on without what is lost.
///
/// Reads and checks every byte, while nobody else writes to the log, and says where the damage is, which positions and,
/// as far as an index knows, whose events it takes. With --quarantine, and once that is agreed to, a copy of the damaged
/// bytes goes into quarantine-* files, and the manifest lists their places. Nothing else is changed: segments are not
/// touched, positions stay, and whoever reads there gets an error that says so. `annals verify` then tells such damage
/// apart from what is new. Safe to be interrupted, and to be done again.
///
/// What is derived (.idx, .tail, heads-*), and one of the two manifests, needs no repair.
///
/// Exit code 0: nothing to repair, or repaired. 1: there is damage, and it was left as it is. 2: could not run.
///
/// With --json: `needed`, `repaired`; `refused`, why the log does not open for writing, or null; `losses`, each with `file`,
/// `offset`, `bytes`, `first_position`, `last_position`, `events`, `what`, `aggregates`, `topics`, `all_known` and
/// `quarantine`; `kept` and `healed`, of what was quarantined before; `forgets_versions`, whether aggregates may get versions
/// again that they had; `forgets_positions`, whether positions may be given again. What healed is no damage: --quarantine takes it off the list, and asks nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = REPAIR_EXAMPLES)]
pub(crate) struct RepairArgs {
    /// Directory of the log.
    pub(crate) dir: PathBuf,

    /// Quarantine the damage, after asking. Without it, what there is to do is only told.
    #[arg(long)]
    pub(crate) quarantine: bool,

    /// Do not ask: for scripts. Needed where nobody can be asked.
    #[arg(long, requires = "quarantine")]
    pub(crate) yes: bool,

    /// Change nothing, whatever else is given.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a backup of a log, while another process writes to it or not.
///
/// TO is new, empty, or holds an earlier backup of this log: then only what is new is brought. In it is every event that
/// was durable at the start. TO cannot lie inside of the log. It can be read and checked like a log (annals cat, stat, verify), and is not written to;
/// `annals restore` makes a log of it. Interrupted, it stays the backup it was, or says that it is not whole: make it again.
///
/// Segments that are finished are linked where the file system can, which takes no room: that keeps what the log drops or
/// loses by mistake, and not what the device loses. --copy copies them; so does another file system. Indexes and
/// snapshots are not in it: they are made anew.
///
/// Exit code 0: made. 1: made, and there is damage in the log, which is in the backup too. 2: not made; what is in TO then is
/// said.
///
/// With --json: `first_position`, `last_position`; `files` and `bytes` of all of it; `kept_files`, `linked_files`,
/// `copied_files`, `copied_bytes`; `damages`, as verify has them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupArgs {
    /// Directory of the log.
    pub(crate) dir: PathBuf,

    /// Directory of the backup; created when missing.
    pub(crate) to: PathBuf,

    /// Copy what could be linked.
    #[arg(long)]
    pub(crate) copy: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a log of a backup.
///
/// Every file is checked against what the backup says as it is copied; one that is not right ends it. Then the log is
/// opened once, and closed. Interrupted, it leaves a directory that nobody opens: restore again.
///
/// The log is the one that was backed up, as it was then, with the same id. What was appended since is not in it, and its
/// positions are given again: let only one of the two go on, and have followers that have seen more start anew.
///
/// Exit code 0: restored. 1: the backup is damaged, and nothing was restored. 2: could not run.
///
/// With --json: `last_position`, `files`, `bytes`, and `created_us`, when the backup was made, microseconds since 1970.
#[derive(Debug, clap::Args)]
#[command(after_long_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Directory of the backup.
    pub(crate) backup: PathBuf,

    /// Directory for the log: new, or empty.
    pub(crate) dir: PathBuf,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure the log on a disk of yours, beside what that disk does at most
///
/// W1                    durable appends of one thread, an event a commit
/// W2.16 W2.64           durable appends of many threads
/// W2.submit             durable appends of one thread, 1,000 tickets under way
/// W3a W3b               buffered appends, 1 and 100 events a commit
/// W4 W4hot              reads of small aggregates in no order; of one of 10,000
/// W5 W5.topic W5.tag    replays of everything; by topic; by tag
/// W6killed W6clean      opening after a kill (also W6killed_buffered); a close
/// W7bytes W7heap        bytes an event takes on the disk; growth of the heap
/// W8                    a durable writer beside readers
/// W9.1 W9.8 WC          appends on conditions; writers beside heavy conditions
/// W10                   the same on ten times the events, and more
///
/// In the table, `of` is the raw limit of the disk, or what was run beside it, and
/// ratio is the value over that. `others` are the cores kept busy by the rest of
/// the machine: with more than a little, figures are for this run only.
///
/// With --json, fields that a workload does not have are left out:
///
///   workload, value, unit   what the table has; higher_is_better says which way
///   p50_us, p99_us          latency of one operation, microseconds
///   raw, ratio_to_raw       the raw limit, and value over it
///   base, ratio_to_base     another workload of the run, and value over it
///   ratio_paired            median of the ratios of the rounds; disturbed less
///                           by others than the two ratios above
///   foreign_cpu             cores kept busy by others
///   runs                    rounds or opens measured
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = BENCH_EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Print one JSON object a line, as soon as it is known.
    #[arg(long)]
    pub(crate) json: bool,

    /// Events of the logs that are read; other figures are scaled with it. At least 1000.
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(EVENTS_MIN..))]
    pub(crate) events: u64,

    /// A directory of the disk that is meant; the current one by default. A new directory is made in it
    /// (annals-bench-*) and removed at the end; nothing else is touched.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Only these workloads, with commas between; a part such as W2 or W10 stands for all of it.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

/// Append to a log until killed. For `annals bench`, which kills it.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchAppendArgs {
    /// Directory of a log with nothing but the benchmark's events.
    pub(crate) dir: PathBuf,

    /// Events after which the generator turns to other aggregates.
    #[arg(long)]
    pub(crate) window: u64,

    /// Aggregates of the generator that live everywhere.
    #[arg(long)]
    pub(crate) scattered: u64,

    /// Events to append before it may be killed.
    #[arg(long)]
    pub(crate) events: u64,

    /// Without a sync for each event.
    #[arg(long)]
    pub(crate) buffered: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SegmentArgs {
    /// Bytes of a segment file: 65536 to 2147483648, 64 MiB by default. A commit has at most a quarter of it.
    /// Smaller segments make more files; a log may change it at every open.
    #[arg(long, value_name = "BYTES", hide_short_help = true, value_parser = clap::value_parser!(u64).range(SEGMENT_LENS))]
    pub(crate) segment_len: Option<u64>,
}

/// What the engine takes, said here with the name of the flag.
const SEGMENT_LENS: std::ops::RangeInclusive<u64> = 65_536..=2_147_483_648;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  damage was found, or a version was not as expected
  2  wrong usage, bad input, or the system refused something

Example:
  annals demo";

const DEMO_EXAMPLES: &str = "\
Examples:
  annals demo
  annals demo --repo ~/src/project --into ~/project-log
  annals demo --json | jq .hottest";

const IMPORT_EXAMPLES: &str = r#"Examples:
  echo '{"aggregate_id":"dog-1","topic":"Registered","payload":{}}' | annals import dogs -
  annals import dogs events.ndjson --batch 1000
  annals import dogs events.ndjson --acks | tail -1"#;

const CAT_EXAMPLES: &str = "\
Examples:
  annals cat dogs
  annals cat dogs --aggregate dog-1
  annals cat dogs --topic Registered --topic TrickAdded --tag kennel:north
  annals cat dogs --reverse --limit 10
  annals cat dogs --follow --from 1000 | jq --unbuffered .topic";

const STAT_EXAMPLES: &str = "\
Examples:
  annals stat dogs
  annals stat dogs --json | jq .events";

const VERIFY_EXAMPLES: &str = "\
Examples:
  annals verify dogs
  annals verify dogs --json | jq '.damages[]'";

const REPAIR_EXAMPLES: &str = "\
Examples:
  annals repair dogs
  annals repair dogs --quarantine
  annals repair dogs --quarantine --yes --json | jq '.losses[]'";

const BACKUP_EXAMPLES: &str = "\
Examples:
  annals backup dogs dogs-backup
  annals backup dogs other-disk/dogs-backup && annals verify other-disk/dogs-backup";

const RESTORE_EXAMPLES: &str = "\
Examples:
  annals restore dogs-backup dogs-restored
  annals restore dogs-backup dogs-restored --json | jq .last_position";

const BENCH_EXAMPLES: &str = "\
Examples:
  annals bench
  annals bench --only W1,W2 --dir ~/on-the-other-disk
  annals bench --json --events 100000 | jq -r '[.workload, .value, .unit] | @tsv'";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let mut args = Args::command();
        let commands = args.get_subcommands_mut();
        for command in commands.filter(|command| !command.is_hide_set()) {
            let help = command.render_long_help().to_string();
            assert!(
                help.contains(&format!("annals {}", command.get_name())),
                "{help}"
            );
        }
    }
}
