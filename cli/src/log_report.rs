//! Recovery and damage reports, as JSON and in words.

use std::fmt;
use std::io::{self, Write};

use annals_engine::{Damage, RecoveryOutcome, RecoveryReport};
use serde::Serialize;

use crate::figures::{counted, printable, size};

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
            last_position: affects_events.then_some(damage.last),
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
            RecoveryOutcome::Damaged => " (annals verify says where)",
            _ => "",
        })?;
        if let Some(torn) = &report.torn {
            write!(
                formatter,
                "; {} never acknowledged at the end",
                size(torn.bytes)
            )?;
        }
        if !report.rebuilt_indexes.is_empty() {
            write!(
                formatter,
                "; {} derived anew",
                counted(report.rebuilt_indexes.len() as u64, "index file")
            )?;
        }
        Ok(())
    }
}

/// One line about a damage.
pub(crate) fn write_damage(out: &mut impl Write, damage: &Damage) -> io::Result<()> {
    let path = damage.path.display().to_string();
    write!(
        out,
        "damaged: {}, offset {}",
        printable(&path),
        damage.offset
    )?;
    if damage.first <= damage.last {
        write!(out, ", positions {} to {}", damage.first, damage.last)?;
    } else {
        write!(out, ", no event affected")?;
    }
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
    fn recovery_always_has_its_keys() {
        let json = serde_json::to_string(&RecoveryJson::from(&RecoveryReport::default())).unwrap();
        assert_eq!(
            json,
            r#"{"outcome":"created","torn_bytes":0,"rewritten_events":0,"rebuilt_indexes":[],"damages":[]}"#
        );
    }
}
