//! `annals verify`: every byte of a log read and checked.

use std::io::Write;

use annals_engine::{Damage, Log, RecoveryReport, VerifyReport};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{counted, size};
use crate::log_report::{DamageJson, RecoveryInWords, RecoveryJson, is_damaged, write_damage};
use crate::output::write_json_line;
use crate::progress;

pub(crate) fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let log = Log::open_read_only(&args.dir)?;
    let bar = progress::of_bytes(0, "verifying");
    let report = log.verify(|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();

    let damages = all_damages(&report, log.recovery());
    if args.json {
        write_json_line(out, &VerifyJson::new(&report, log.recovery(), &damages))?;
    } else {
        write_words(out, &report, log.recovery(), &damages)?;
    }
    Ok(Outcome::of_damage(
        !damages.is_empty() || is_damaged(log.recovery()),
    ))
}

/// What verifying found, and what opening had found of which verifying says nothing.
fn all_damages<'a>(report: &'a VerifyReport, recovery: &'a RecoveryReport) -> Vec<&'a Damage> {
    let only_at_open = recovery.damages.iter().filter(|at_open| {
        !report
            .damages
            .iter()
            .any(|damage| (&damage.path, damage.offset) == (&at_open.path, at_open.offset))
    });
    report.damages.iter().chain(only_at_open).collect()
}

#[derive(Debug, Serialize)]
struct VerifyJson {
    events: u64,
    segments: u64,
    bytes: u64,
    recovery: RecoveryJson,
    damages: Vec<DamageJson>,
}

impl VerifyJson {
    fn new(report: &VerifyReport, recovery: &RecoveryReport, damages: &[&Damage]) -> Self {
        Self {
            events: report.events,
            segments: report.segments,
            bytes: report.bytes,
            recovery: recovery.into(),
            damages: damages
                .iter()
                .map(|damage| DamageJson::from(*damage))
                .collect(),
        }
    }
}

fn write_words(
    out: &mut impl Write,
    report: &VerifyReport,
    recovery: &RecoveryReport,
    damages: &[&Damage],
) -> Result<(), CliError> {
    for damage in damages {
        write_damage(out, damage)?;
    }
    writeln!(
        out,
        "{}: {} in {}, {} read; recovery: {}",
        if damages.is_empty() {
            "sound".to_owned()
        } else {
            counted(damages.len() as u64, "damage")
        },
        counted(report.events, "event"),
        counted(report.segments, "segment"),
        size(report.bytes),
        RecoveryInWords(recovery)
    )?;
    if !damages.is_empty() {
        writeln!(
            out,
            "restore the damaged segments from a backup; what is derived (.idx, heads-*) is made anew when the log is \
             opened for writing without it"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_seen_twice_is_reported_once() {
        let damage = |offset| Damage {
            path: "1.seg".into(),
            offset,
            first: 1,
            last: 2,
            what: "crc".into(),
        };
        let report = VerifyReport {
            damages: vec![damage(1), damage(2)],
            ..Default::default()
        };
        let recovery = RecoveryReport {
            damages: vec![damage(2), damage(3)],
            ..Default::default()
        };
        let offsets: Vec<u64> = all_damages(&report, &recovery)
            .iter()
            .map(|damage| damage.offset)
            .collect();
        assert_eq!(offsets, [1, 2, 3]);
    }
}
