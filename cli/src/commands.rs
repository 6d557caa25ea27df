//! The commands, one file each, and what they have in common.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod cat;
pub(crate) mod demo;
pub(crate) mod import;
pub(crate) mod repair;
pub(crate) mod stat;
pub(crate) mod verify;

use std::io::Write;

use annals_engine::{Log, LogOptions};

use crate::args::{Args, Command, SegmentArgs};
use crate::error::CliError;
use crate::output;

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Fine,
    DamageFound,
}

impl Outcome {
    pub(crate) fn of_damage(found: bool) -> Self {
        if found { Self::DamageFound } else { Self::Fine }
    }
}

/// Runs a command with stdout as its output.
pub(crate) fn run(args: Args) -> Result<Outcome, CliError> {
    let mut out = output::stdout();
    let outcome = match args.command {
        Command::Demo(args) => demo::run(&args, &mut out),
        Command::Import(args) => import::run(&args, &mut out),
        Command::Cat(args) => cat::run(&args, &mut out),
        Command::Stat(args) => stat::run(&args, &mut out),
        Command::Verify(args) => verify::run(&args, &mut out),
        Command::Repair(args) => repair::run(&args, &mut out),
        Command::Backup(args) => backup::run(&args, &mut out),
        Command::Restore(args) => backup::restore(&args, &mut out),
        Command::Bench(args) => bench::run(&args, &mut out),
        Command::BenchAppend(args) => bench::append(&args, &mut out),
    }?;
    out.flush()?;
    Ok(outcome)
}

/// Options for a log that is written to.
fn log_options(args: &SegmentArgs) -> LogOptions {
    match args.segment_len {
        Some(bytes) => Log::options().segment_len(bytes),
        None => Log::options(),
    }
}
