//! `annals verify`: every byte of a log read and checked.

use std::io::Write;

use annals_engine::{Log, RecoveryReport, VerifyReport};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{counted, size};
use crate::log_report::{
    DamageJson, RecoveryInWords, RecoveryJson, is_damaged, say_what_may_be_missing, write_damage,
    write_damage_as,
};
use crate::output::write_json_line;
use crate::progress;

pub(crate) fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    // As it is now: nobody looks for more.
    let log = Log::options().background(false).open_read_only(&args.dir)?;
    let bar = progress::of_bytes(0, "verifying");
    let report = log.verify(|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();

    if args.json {
        write_json_line(out, &VerifyJson::new(&report, log.recovery()))?;
    } else {
        write_words(out, &report, log.recovery())?;
    }
    out.flush()?;
    say_what_may_be_missing(&args.dir, log.recovery());
    Ok(Outcome::of_damage(
        !report.damages.is_empty() || is_damaged(log.recovery()),
    ))
}

#[derive(Debug, Serialize)]
struct VerifyJson {
    events: u64,
    lost_events: u64,
    segments: u64,
    bytes: u64,
    recovery: RecoveryJson,
    damages: Vec<DamageJson>,
    quarantined: Vec<DamageJson>,
}

impl VerifyJson {
    fn new(report: &VerifyReport, recovery: &RecoveryReport) -> Self {
        Self {
            events: report.events,
            lost_events: report.lost,
            segments: report.segments,
            bytes: report.bytes,
            recovery: recovery.into(),
            damages: report.damages.iter().map(DamageJson::from).collect(),
            quarantined: report.quarantined.iter().map(DamageJson::from).collect(),
        }
    }
}

fn write_words(
    out: &mut impl Write,
    report: &VerifyReport,
    recovery: &RecoveryReport,
) -> Result<(), CliError> {
    let damages = &report.damages;
    for damage in damages {
        write_damage(out, damage)?;
    }
    for damage in &report.quarantined {
        write_damage_as(out, "quarantined", damage)?;
    }
    writeln!(
        out,
        "{}: {} in {}, {} read{}; recovery: {}",
        if damages.is_empty() {
            "sound".to_owned()
        } else {
            counted(damages.len() as u64, "damage")
        },
        counted(report.events, "event"),
        counted(report.segments, "segment"),
        size(report.bytes),
        match report.lost {
            0 => String::new(),
            lost => format!("; {} cannot be read", counted(lost, "event")),
        },
        RecoveryInWords(recovery)
    )?;
    if !damages.is_empty() {
        writeln!(
            out,
            "restore the damaged segments from a backup, or go on without what is lost: annals repair says what that \
             means; what is derived (.idx, heads-*) is made anew when the log is opened for writing without it"
        )?;
    }
    Ok(())
}
