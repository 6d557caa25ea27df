//! `annals import`: events from newline-delimited JSON.
//!
//! - Lines are stored in their order, each as one event; a commit never spans a line that was refused.
//! - When a line is refused, everything before it is stored and nothing from it on. So whoever mends the line
//!   goes on from it.
//! - An acknowledgement is printed after the commit, never before.

mod commit_plan;
mod import_line;
mod line_fault;
mod line_reader;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use annals_engine::{Batch, Durability, Error, Log};
use indicatif::ProgressBar;
use serde::Serialize;

use self::commit_plan::CommitPlan;
use self::import_line::{ImportLine, parse};
pub(crate) use self::line_fault::LineError;
use self::line_reader::{LineRead, LineReader};
use crate::args::ImportArgs;
use crate::commands::{Outcome, log_options};
use crate::error::{CliError, Stored};
use crate::figures::{counted, grouped, per_second, span};
use crate::log_report::{RecoveryJson, say_what_was_recovered};
use crate::output::write_json_line;
use crate::progress;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(args: &ImportArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let (input, name, bar) = open_input(&args.file)?;
    let log = log_options(&args.segment).open(&args.dir)?;
    // At once: were the import to fail, it would be said by nobody else.
    say_what_was_recovered(&args.dir, log.recovery());
    let stopwatch = Stopwatch::start();
    let mut import = Import {
        log: &log,
        input: name,
        batch: args.batch.get(),
        durability: if args.buffered {
            Durability::Buffered
        } else {
            Durability::Sync
        },
        acks: args.acks.then_some(&mut *out),
        pending: VecDeque::new(),
        pending_len: 0,
        stored: Stored::default(),
        commits: 0,
    };
    let ended = import.all_lines(input, args, &bar);
    let (stored, commits) = (import.stored, import.commits);
    bar.finish_and_clear();
    let head = log.head();
    // Also after a bad line: what is stored is to survive, and the log is to be found closed.
    let closed = if stored.events > 0 {
        log.sync().map(drop)
    } else {
        Ok(())
    }
    .and_then(|()| log.close());
    ended?;
    closed?;

    let summary = Summary {
        events: stored.events,
        commits,
        last_position: head,
        seconds: stopwatch.elapsed().as_secs_f64(),
        events_per_second: per_second(stored.events, stopwatch.elapsed()),
        recovery: log.recovery().into(),
    };
    if args.json {
        write_json_line(out, &summary)?;
    } else if stored.events == 0 {
        eprintln!(
            "annals: no events in the input, nothing stored; the log ends at position {head}"
        );
    } else {
        eprintln!(
            "annals: {} in {} stored, up to position {} ({}, {} events/s)",
            counted(summary.events, "event"),
            counted(summary.commits, "commit"),
            summary.last_position,
            span(stopwatch.elapsed()),
            grouped(summary.events_per_second)
        );
    }
    Ok(Outcome::Fine)
}

#[derive(Debug, Serialize)]
struct Summary {
    events: u64,
    commits: u64,
    /// Of the log, also when nothing was stored.
    last_position: u64,
    seconds: f64,
    events_per_second: u64,
    /// How the log was found.
    recovery: RecoveryJson,
}

/// The input, its name for messages, and a bar that suits it.
fn open_input(path: &Path) -> Result<(Box<dyn BufRead>, String, ProgressBar), CliError> {
    if path == Path::new("-") {
        return Ok((
            Box::new(io::stdin().lock()),
            "stdin".to_owned(),
            progress::of_unknown_bytes("importing"),
        ));
    }
    let cannot_read = |source| CliError::Input {
        path: path.to_owned(),
        source,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the user's, not of the log"
    )]
    let file = File::open(path).map_err(cannot_read)?;
    let about = file.metadata().map_err(cannot_read)?;
    if about.is_dir() {
        return Err(cannot_read(io::ErrorKind::IsADirectory.into()));
    }
    // A pipe has no length to make a bar of.
    let bar = match about.is_file() {
        true => progress::of_bytes(about.len(), "importing"),
        false => progress::of_unknown_bytes("importing"),
    };
    Ok((
        Box::new(BufReader::with_capacity(READ_LEN, file)),
        path.display().to_string(),
        bar,
    ))
}

struct Import<'a, W> {
    log: &'a Log,
    input: String,
    batch: usize,
    durability: Durability,
    /// Where acknowledgements go; `None` when nobody wants them, or any more.
    acks: Option<&'a mut W>,
    /// Lines read and not yet stored, in order.
    pending: VecDeque<ImportLine>,
    /// Bytes of text that the pending lines were read from.
    pending_len: usize,
    stored: Stored,
    commits: u64,
}

impl<W: Write> Import<'_, W> {
    fn all_lines(
        &mut self,
        input: impl BufRead,
        args: &ImportArgs,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        let mut reader = LineReader::new(input);
        loop {
            let read = reader.next_line().map_err(|source| CliError::Input {
                path: args.file.clone(),
                source,
            })?;
            let (number, parsed) = match read {
                LineRead::End => return self.store_pending(),
                LineRead::TooLong { number } => (number, Err(LineError::TooLong)),
                LineRead::Line { number, text } => {
                    bar.inc(text.len() as u64 + 1);
                    if text.trim_ascii().is_empty() {
                        continue;
                    }
                    self.pending_len += text.len();
                    (number, parse(number, text))
                }
            };
            match parsed {
                Ok(line) => self.pending.push_back(line),
                Err(cause) => {
                    // The lines before it are good, and part of what is kept.
                    self.store_pending()?;
                    return Err(self.stopped_at(number, cause));
                }
            }
            if self.pending.len() >= self.batch || self.pending_len >= PENDING_LEN_MAX {
                self.store_pending()?;
            }
        }
    }

    fn store_pending(&mut self) -> Result<(), CliError> {
        let mut most = usize::MAX;
        while !self.pending.is_empty() {
            let plan = CommitPlan::of(self.pending.iter().take(most));
            let (count, first_line) = (plan.count, self.pending[0].number);
            let batch = self.batch_of(plan);
            match self.log.append(batch) {
                Ok(appended) => {
                    self.pending.drain(..count);
                    self.acknowledge(count as u64, appended.last)?;
                    most = most.saturating_mul(2);
                }
                // Too long together, or one of them too long alone: halves find out which, and what can be stored is.
                Err(Error::Limit { .. }) if count > 1 => most = count / 2,
                // The line at fault may not be the first; the ones before it are good.
                Err(Error::VersionConflict {
                    aggregate,
                    expected,
                    found,
                }) if count > 1 => {
                    let at_fault = self
                        .pending
                        .iter()
                        .take(count)
                        .position(|line| line.expects(&aggregate))
                        .expect(
                            "only a line that expects a version of an aggregate can conflict on it",
                        );
                    if at_fault == 0 {
                        let conflict = Error::VersionConflict {
                            aggregate,
                            expected,
                            found,
                        };
                        return Err(self.stopped_at(first_line, LineError::Log(conflict)));
                    }
                    most = at_fault;
                }
                Err(error) => return Err(self.stopped_at(first_line, LineError::Log(error))),
            }
        }
        self.pending_len = 0;
        Ok(())
    }

    /// The events of the plan with what they expect. With a single line, the usual case, nothing is copied;
    /// of several the events stay behind, in case that fewer of them have to be tried.
    fn batch_of(&mut self, plan: CommitPlan) -> Batch {
        let mut batch = Batch::new().durability(self.durability);
        for (aggregate, expected) in plan.expected {
            batch = batch.expect(aggregate, expected);
        }
        if plan.count == 1 {
            batch.push(self.pending[0].take_event());
        } else {
            for line in self.pending.iter().take(plan.count) {
                batch.push(line.event());
            }
        }
        batch
    }

    fn acknowledge(&mut self, events: u64, last_position: u64) -> Result<(), CliError> {
        self.stored = Stored {
            events: self.stored.events + events,
            last_position,
        };
        self.commits += 1;
        let Some(out) = &mut self.acks else {
            return Ok(());
        };
        match writeln!(out, "{last_position}").and_then(|()| out.flush()) {
            // Nobody listens any more. That is no reason to leave the rest of the input out.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.acks = None,
            written => written?,
        }
        Ok(())
    }

    fn stopped_at(&self, line: u64, cause: LineError) -> CliError {
        CliError::Line {
            input: self.input.clone(),
            line,
            cause: Box::new(cause),
            stored: self.stored,
        }
    }
}

const READ_LEN: usize = 256 << 10;

/// Bytes of lines gathered for one commit, however many were asked for: so that memory is bounded, and
/// a commit rarely longer than the log takes.
const PENDING_LEN_MAX: usize = 8 << 20;
