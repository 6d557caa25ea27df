//! The `annals` command: an event log from a shell.
//!
//! The commands live in `commands/`, one file each; what they accept stands in `args.rs`, what can go
//! wrong and which exit code it gets in `error.rs`. Results go to stdout, everything else to stderr.

mod args;
mod commands;
mod error;
mod event_line;
mod figures;
mod log_report;
mod output;
mod progress;
mod stopwatch;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => error::exit_code(commands::run(args)),
        Err(answer) => error::exit_code_of_usage(&answer),
    }
}
