//! `annals backup` and `annals restore`: a copy of a log made while it is written to, and a log made of it.

use std::io::Write;
use std::path::Path;

use annals_engine::{BackupMode, BackupReport, Error, Log, RestoreReport};
use serde::Serialize;

use crate::args::{BackupArgs, RestoreArgs};
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{counted, printable, size};
use crate::log_report::{DamageJson, say_what_may_be_missing, write_damage};
use crate::output::write_json_line;
use crate::progress;

pub(crate) fn run(args: &BackupArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    // As it is now: nobody looks for more.
    let log = Log::options().background(false).open_read_only(&args.dir)?;
    let mode = match args.copy {
        true => BackupMode::Copy,
        false => BackupMode::Link,
    };
    let bar = progress::of_bytes(0, "backing up");
    let report = log.backup(&args.to, mode, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| cut_short(&args.to, error))?;
    if args.json {
        write_json_line(out, &BackupJson::from(&report))?;
    } else {
        for damage in &report.damages {
            write_damage(out, damage)?;
        }
        if !report.damages.is_empty() {
            writeln!(out, "the backup is whole, and damaged as the log is:")?;
        }
        writeln!(
            out,
            "{}: positions {} to {} in {}, {}; {} copied ({}), {} linked, {} there already",
            printable(&args.to.display().to_string()),
            report.first_position,
            report.last_position,
            counted(report.files, "file"),
            size(report.bytes),
            counted(report.copied_files, "file"),
            size(report.copied_bytes),
            report.linked_files,
            report.kept_files
        )?;
    }
    out.flush()?;
    say_what_may_be_missing(&args.dir, log.recovery());
    Ok(Outcome::of_damage(!report.damages.is_empty()))
}

/// The error of a backup that has begun, with what it has left behind.
fn cut_short(to: &Path, error: Error) -> CliError {
    // These refuse before anything is written.
    if matches!(
        error,
        Error::NotALog { .. } | Error::Locked { .. } | Error::NotWritable { .. }
    ) {
        return error.into();
    }
    let (to, error) = (to.to_owned(), Box::new(error));
    match Log::options().background(false).open_read_only(&to) {
        Ok(_) => CliError::BackupNotRenewed { to, error },
        Err(_) => CliError::BackupCutShort { to, error },
    }
}

pub(crate) fn restore(args: &RestoreArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let bar = progress::of_bytes(0, "restoring");
    let report = Log::options().restore(&args.backup, &args.dir, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if args.json {
        write_json_line(out, &RestoreJson::from(&report))?;
    } else {
        writeln!(
            out,
            "{}: restored up to position {}; {} checked and copied, {}",
            printable(&args.dir.display().to_string()),
            report.last_position,
            counted(report.files, "file"),
            size(report.bytes)
        )?;
    }
    Ok(Outcome::Fine)
}

#[derive(Debug, Serialize)]
struct BackupJson {
    first_position: u64,
    last_position: u64,
    files: u64,
    bytes: u64,
    kept_files: u64,
    linked_files: u64,
    copied_files: u64,
    copied_bytes: u64,
    damages: Vec<DamageJson>,
}

impl From<&BackupReport> for BackupJson {
    fn from(report: &BackupReport) -> Self {
        Self {
            first_position: report.first_position,
            last_position: report.last_position,
            files: report.files,
            bytes: report.bytes,
            kept_files: report.kept_files,
            linked_files: report.linked_files,
            copied_files: report.copied_files,
            copied_bytes: report.copied_bytes,
            damages: report.damages.iter().map(DamageJson::from).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct RestoreJson {
    last_position: u64,
    files: u64,
    bytes: u64,
    created_us: u64,
}

impl From<&RestoreReport> for RestoreJson {
    fn from(report: &RestoreReport) -> Self {
        Self {
            last_position: report.last_position,
            files: report.files,
            bytes: report.bytes,
            created_us: report.created_us,
        }
    }
}
