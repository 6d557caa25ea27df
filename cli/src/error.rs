//! What can go wrong on the command line, how it is said, and the exit code it gets.
//!
//! Every error ends up as one line on stderr: `annals: ` and what was found, what was expected, what to do.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::BenchError;
use crate::commands::Outcome;
use crate::commands::demo::git_history::HistoryError;
use crate::commands::import::LineError;
use crate::figures::{counted, printable, shell_quoted};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{0}")]
    Log(#[from] annals_engine::Error),

    /// Only for stdout, so that a closed pipe can be told from every other failure.
    #[error("stdout: cannot write")]
    Stdout(#[from] io::Error),

    #[error("{path}: cannot read; expected a file of newline-delimited JSON, or - for standard input", path = path.display())]
    Input { path: PathBuf, source: io::Error },

    #[error("{input}:{line}: {cause}; {stored}")]
    Line {
        input: String,
        line: u64,
        cause: Box<LineError>,
        stored: Stored,
    },

    #[error(
        "{dir}: aggregate {id} has no events, expected at least one; ids are compared byte for byte, and only \
         lower case with hyphens is taken for a UUID (annals cat {quoted} shows the ids there are)",
        dir = dir.display(), quoted = shell_quoted(&dir.to_string_lossy())
    )]
    UnknownAggregate { dir: PathBuf, id: String },

    #[error(
        "{dir}: holds {events}, expected a missing or empty directory; \
         give another --into, or leave it out",
        dir = dir.display(), events = counted(*events, "event")
    )]
    IntoHasEvents { dir: PathBuf, events: u64 },

    #[error("cannot make a temporary directory; give one with --into")]
    TemporaryDir { source: io::Error },

    #[error("git log: cannot follow its output")]
    History(#[from] HistoryError),

    #[error("position {position}: a payload that the demo did not write; give another --into")]
    ForeignPayload {
        position: u64,
        source: serde_json::Error,
    },

    #[error(
        "stdin: no terminal to ask on, expected one; give --yes to quarantine without asking, or --dry-run to see what that means"
    )]
    NobodyToAsk,

    #[error(
        "{error}; {to} holds an unfinished backup now, which is none yet: mend this and run the same command again, \
         which goes on with it, or delete it",
        to = to.display()
    )]
    BackupCutShort {
        to: PathBuf,
        #[source]
        error: Box<annals_engine::Error>,
    },

    #[error("{error}; the earlier backup in {to} is what it was", to = to.display())]
    BackupNotRenewed {
        to: PathBuf,
        #[source]
        error: Box<annals_engine::Error>,
    },

    #[error("{0}")]
    Bench(BenchError),

    #[error(
        "git log: {status}, expected success ({said}); the import is incomplete, check the repository with `git fsck`"
    )]
    GitFailed { status: String, said: String },
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Log(error) => Self::Log(error),
            BenchError::Output(error) => Self::Stdout(error),
            error => Self::Bench(error),
        }
    }
}

impl CliError {
    pub(crate) fn payload(event: &annals_engine::Event<'_>, source: serde_json::Error) -> Self {
        Self::ForeignPayload {
            position: event.position(),
            source,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Log(error) => exit_code_of_log(error),
            Self::Line { cause, .. } => match &**cause {
                LineError::Log(error) => exit_code_of_log(error),
                _ => EXIT_FAILED,
            },
            // Whoever closed the pipe has seen enough.
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_FINE,
            _ => EXIT_FAILED,
        }
    }
}

fn exit_code_of_log(error: &annals_engine::Error) -> u8 {
    if error.is_conflict() || error.is_corrupt() {
        EXIT_FOUND
    } else {
        EXIT_FAILED
    }
}

/// How far an import came before it stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) events: u64,
    pub(crate) last_position: u64,
}

impl std::fmt::Display for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.events {
            0 => write!(
                formatter,
                "nothing was stored before it; mend it and import again"
            ),
            events => write!(
                formatter,
                "{} stored before it, up to position {}; mend it and import from this line on",
                counted(events, "event"),
                self.last_position
            ),
        }
    }
}

/// Says what went wrong, if anything did, and answers the exit code.
pub(crate) fn exit_code(result: Result<Outcome, CliError>) -> ExitCode {
    match result {
        Ok(Outcome::Fine) => EXIT_FINE.into(),
        Ok(Outcome::DamageFound) => EXIT_FOUND.into(),
        Err(error) => {
            let code = error.exit_code();
            if code != EXIT_FINE {
                say(&error);
            }
            code.into()
        }
    }
}

/// Prints help, version, or what is wrong with the command line.
pub(crate) fn exit_code_of_usage(answer: &clap::Error) -> ExitCode {
    if !answer.use_stderr() {
        // Only a closed pipe can keep help from being printed, and then nobody reads it.
        let _ = answer.print();
        return EXIT_FINE.into();
    }
    let text = answer.to_string();
    eprint!("annals: {}", text.strip_prefix("error: ").unwrap_or(&text));
    EXIT_FAILED.into()
}

/// One line on stderr about an error, with its causes.
pub(crate) fn say(error: &dyn Error) {
    eprintln!("annals: {}", one_line(error));
}

/// An error and its causes on one line. A cause whose words the text already has is not repeated.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    printable(&text).into_owned()
}

const EXIT_FINE: u8 = 0;
const EXIT_FOUND: u8 = 1;
const EXIT_FAILED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_on_the_same_line() {
        let source = io::Error::other("the disk\nis tired");
        let error = CliError::Input {
            path: "events".into(),
            source,
        };
        assert_eq!(
            one_line(&error),
            "events: cannot read; expected a file of newline-delimited JSON, or - for standard input: the disk\\nis tired"
        );
    }

    #[test]
    fn a_cause_that_is_already_said_is_not_repeated() {
        let source = io::Error::other("no such thing");
        let error = annals_engine::Error::Io {
            path: "dir".into(),
            doing: "open",
            source,
        };
        assert_eq!(
            one_line(&CliError::Log(error)),
            "dir: cannot open: no such thing"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_conflict_is_a_finding() {
        let pipe = CliError::Stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!(pipe.exit_code(), EXIT_FINE);
        let full = CliError::Stdout(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), EXIT_FAILED);
        let conflict = annals_engine::Error::TrackingConflict {
            name: "up".into(),
            given: 1,
            found: 2,
        };
        let line = CliError::Line {
            input: "f".into(),
            line: 3,
            cause: Box::new(LineError::Log(conflict)),
            stored: Stored::default(),
        };
        assert_eq!(line.exit_code(), EXIT_FOUND);
        assert_eq!(
            CliError::Log(annals_engine::Error::Closed).exit_code(),
            EXIT_FAILED
        );
    }
}
