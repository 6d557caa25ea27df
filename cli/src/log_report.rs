//! Recovery and damage reports, as JSON and in words.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use annals_engine::{Damage, RecoveryOutcome, RecoveryReport};
use serde::Serialize;

use crate::figures::{counted, printable, shell_quoted, size};

/// How a log was found, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct RecoveryJson {
    outcome: String,
    torn_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    torn: Option<TornJson>,
    rewritten_events: u64,
    rebuilt_indexes: Vec<u64>,
    damages: Vec<DamageJson>,
}

#[derive(Debug, Serialize)]
struct TornJson {
    file: String,
    offset: u64,
    quarantine: Option<String>,
}

/// Damage to a file, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct DamageJson {
    file: String,
    offset: u64,
    /// Null, as is the last one, when no event is affected.
    first_position: Option<u64>,
    /// Null, too, when nobody knows how many are.
    last_position: Option<u64>,
    what: String,
}

impl From<&RecoveryReport> for RecoveryJson {
    fn from(report: &RecoveryReport) -> Self {
        Self {
            outcome: report.outcome.to_string(),
            torn_bytes: report.torn.as_ref().map_or(0, |torn| torn.bytes),
            torn: report.torn.as_ref().map(|torn| TornJson {
                file: torn.path.display().to_string(),
                offset: torn.offset,
                quarantine: torn
                    .quarantine
                    .as_ref()
                    .map(|path| path.display().to_string()),
            }),
            rewritten_events: report.rewritten_events,
            rebuilt_indexes: report.rebuilt_indexes.clone(),
            damages: report.damages.iter().map(DamageJson::from).collect(),
        }
    }
}

impl From<&Damage> for DamageJson {
    fn from(damage: &Damage) -> Self {
        let affects_events = damage.first <= damage.last;
        Self {
            file: damage.path.display().to_string(),
            offset: damage.offset,
            first_position: affects_events.then_some(damage.first),
            last_position: Some(damage.last).filter(|last| affects_events && *last < u64::MAX),
            what: damage.what.clone(),
        }
    }
}

/// Whether opening found acknowledged data damaged.
pub(crate) fn is_damaged(report: &RecoveryReport) -> bool {
    report.outcome == RecoveryOutcome::Damaged || !report.damages.is_empty()
}

/// How a log was found, in words.
pub(crate) struct RecoveryInWords<'a>(pub(crate) &'a RecoveryReport);

impl fmt::Display for RecoveryInWords<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        write!(formatter, "{}", report.outcome)?;
        formatter.write_str(match report.outcome {
            RecoveryOutcome::NeedsRecovery => {
                " (the last writer did not close the log; opening it for writing sees to that)"
            }
            RecoveryOutcome::InUse => " (another process has it open for writing)",
            _ => "",
        })?;
        for done in what_was_done(report) {
            write!(formatter, "; {done}")?;
        }
        Ok(())
    }
}

/// What opening a log mended, and what it found at its end.
fn what_was_done(report: &RecoveryReport) -> Vec<String> {
    let mut done = Vec::new();
    if report.rewritten_events > 0 {
        done.push(format!(
            "{} found behind what was synced, and written again",
            counted(report.rewritten_events, "event")
        ));
    }
    if let Some(torn) = &report.torn {
        let kept = torn.quarantine.as_ref().map_or(String::new(), |path| {
            format!(", kept in {}", printable(&path.display().to_string()))
        });
        done.push(format!(
            "{} never acknowledged at the end{kept}",
            size(torn.bytes)
        ));
    }
    if !report.rebuilt_indexes.is_empty() {
        done.push(format!(
            "{} derived anew",
            counted(report.rebuilt_indexes.len() as u64, "index file")
        ));
    }
    done
}

/// For whoever opened a log for writing: one line on stderr when opening mended something.
pub(crate) fn say_what_was_recovered(dir: &Path, report: &RecoveryReport) {
    let done = what_was_done(report);
    if !done.is_empty() {
        // Files that are derived may be missing from a log that was closed.
        let why = match report.outcome {
            RecoveryOutcome::Recovered => "the last writer did not close the log; recovered: ",
            _ => "",
        };
        eprintln!(
            "annals: {}: {why}{}",
            printable(&dir.display().to_string()),
            done.join("; ")
        );
    }
}

/// For whoever opened a log read-only: one line on stderr when a writer might find more in it.
pub(crate) fn say_what_may_be_missing(dir: &Path, report: &RecoveryReport) {
    if report.outcome == RecoveryOutcome::NeedsRecovery {
        let dir = dir.display().to_string();
        eprintln!(
            "annals: {}: the last writer did not close the log; more events than shown may be found when it is opened \
             for writing, for example with `annals import {} /dev/null`",
            printable(&dir),
            printable(&shell_quoted(&dir))
        );
    }
}

/// One line about a damage.
pub(crate) fn write_damage(out: &mut impl Write, damage: &Damage) -> io::Result<()> {
    write_damage_as(out, "damaged", damage)
}

/// The same with another word for it.
pub(crate) fn write_damage_as(out: &mut impl Write, word: &str, damage: &Damage) -> io::Result<()> {
    let path = damage.path.display().to_string();
    write!(
        out,
        "{word}: {}, offset {}",
        printable(&path),
        damage.offset
    )?;
    match (damage.first, damage.last) {
        (first, last) if first > last => write!(out, ", no event affected"),
        (first, last) if first == last => write!(out, ", position {first}"),
        (first, u64::MAX) => write!(out, ", positions from {first} on"),
        (first, last) => write!(out, ", positions {first} to {last}"),
    }?;
    writeln!(out, ": {}", printable(&damage.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_without_events_has_no_positions() {
        let damage = Damage {
            path: "1.idx".into(),
            offset: 7,
            first: 1,
            last: 0,
            what: "bits".into(),
        };
        let json = serde_json::to_string(&DamageJson::from(&damage)).unwrap();
        assert_eq!(
            json,
            r#"{"file":"1.idx","offset":7,"first_position":null,"last_position":null,"what":"bits"}"#
        );
        let mut line = Vec::new();
        write_damage(&mut line, &damage).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "damaged: 1.idx, offset 7, no event affected: bits\n"
        );
    }

    #[test]
    fn damage_without_an_end_has_no_last_position() {
        let damage = Damage {
            path: "1.seg".into(),
            offset: 0,
            first: 3,
            last: u64::MAX,
            what: "bits".into(),
        };
        let json = serde_json::to_value(DamageJson::from(&damage)).unwrap();
        assert_eq!(json["first_position"], 3);
        assert_eq!(json["last_position"], serde_json::Value::Null);
    }

    #[test]
    fn recovery_always_has_its_keys() {
        let json = serde_json::to_string(&RecoveryJson::from(&RecoveryReport::default())).unwrap();
        assert_eq!(
            json,
            r#"{"outcome":"created","torn_bytes":0,"rewritten_events":0,"rebuilt_indexes":[],"damages":[]}"#
        );
    }
}
