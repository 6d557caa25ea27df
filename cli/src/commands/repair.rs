//! `annals repair`: going on with a damaged log, explained and asked for first.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use annals_engine::{Log, Loss, RepairPlan};
use serde::Serialize;

use crate::args::RepairArgs;
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{counted, printable, shell_quoted, size};
use crate::log_report::{DamageJson, write_damage};
use crate::output::write_json_line;
use crate::progress;

pub(crate) fn run(args: &RepairArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let is_to_run = args.quarantine && !args.dry_run;
    let can_ask = !args.json && io::stdin().is_terminal() && io::stderr().is_terminal();
    let bar = progress::of_bytes(0, "checking");
    let repair = Log::options().repair(&args.dir, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();

    let plan = repair.plan().clone();
    if !args.json {
        explain(out, &args.dir, &plan)?;
        out.flush()?;
    }
    // What can be read again comes off the list without a question, and what is derived is made anew: nothing is given
    // up by it.
    let has_to_ask = plan.is_needed() && is_to_run && !args.yes;
    let is_wanted = match has_to_ask {
        true => can_ask && ask(&mut io::stdin().lock())?,
        false => is_to_run && (plan.is_needed() || plan.healed > 0 || !plan.derived.is_empty()),
    };
    let done = match is_wanted {
        true => Some(repair.run()?),
        false => None,
    };
    if args.json {
        write_json_line(out, &RepairJson::new(&plan, done.is_some()))?;
    } else if done.is_some() && plan.is_needed() {
        writeln!(
            out,
            "repaired: the log opens for writing; `annals verify {}` tells what stays lost",
            printable(&shell_quoted(&args.dir.to_string_lossy()))
        )?;
    } else if done.is_some() {
        if plan.healed > 0 {
            writeln!(out, "what can be read again is off the list")?;
        }
        if !plan.derived.is_empty() {
            writeln!(out, "what is derived has been made anew")?;
        }
    } else if plan.is_needed() && !is_to_run {
        writeln!(
            out,
            "nothing was changed; `annals repair {} --quarantine` does it, and asks first",
            printable(&shell_quoted(&args.dir.to_string_lossy()))
        )?;
    } else if plan.is_needed() {
        writeln!(out, "nothing was changed")?;
    }
    if has_to_ask && !can_ask {
        out.flush()?;
        return Err(CliError::NobodyToAsk);
    }
    Ok(Outcome::of_damage(plan.is_needed() && done.is_none()))
}

/// Whether somebody says yes.
fn ask(answers: &mut impl BufRead) -> Result<bool, CliError> {
    eprint!("quarantine this damage and go on without what is lost? [y/N] ");
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = answers.read_line(&mut answer);
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES")
}

fn explain(out: &mut impl Write, dir: &Path, plan: &RepairPlan) -> Result<(), CliError> {
    let name = dir.display().to_string();
    let name = printable(&name);
    if let Some(refused) = &plan.refused {
        // Told once, with what it costs, when it is one of the losses.
        let is_loss = plan
            .losses
            .iter()
            .any(|loss| (&loss.path, loss.offset) == (&refused.path, refused.offset));
        writeln!(out, "{name}: cannot be opened for writing as it is:")?;
        if !is_loss {
            write_damage(out, refused)?;
        }
    }
    for loss in &plan.losses {
        write_loss(out, loss)?;
    }
    let derived = plan
        .verified
        .damages
        .iter()
        .filter(|damage| plan.derived.contains(&damage.path));
    for damage in derived {
        write_damage(out, damage)?;
        writeln!(
            out,
            "  nothing is lost by it: `--quarantine` makes the file anew"
        )?;
    }
    if plan.kept > 0 {
        writeln!(
            out,
            "{} quarantined before, and still damaged",
            counted(plan.kept, "place")
        )?;
    }
    if plan.healed > 0 {
        writeln!(
            out,
            "{} quarantined before can be read again; to take {} off the list: annals repair {} --quarantine",
            counted(plan.healed, "place"),
            if plan.healed == 1 { "it" } else { "them" },
            printable(&shell_quoted(&dir.to_string_lossy()))
        )?;
    }
    if !plan.is_needed() {
        writeln!(out, "{name}: nothing to repair")?;
        return Ok(());
    }
    let events: u64 = plan.losses.iter().map(|loss| loss.events).sum();
    let bytes: u64 = plan.losses.iter().map(|loss| loss.bytes).sum();
    writeln!(
        out,
        "to quarantine means: {} at {} stay lost, unless the damaged files are restored from a backup, which is better \
         where there is one. {} are copied into quarantine files, and stay where they are too. Positions keep their \
         place: whoever reads there gets an error, and {}. All else is read as before, and the log opens for writing.",
        counted(events, "event"),
        counted(plan.losses.len() as u64, "place"),
        size(bytes),
        match plan.forgets_positions {
            false => "none is given again",
            true => "those told above are not given again",
        }
    )?;
    if plan.forgets_positions {
        writeln!(
            out,
            "more events may be lost than are told: nothing says how far the segment that was being written went, and \
             positions behind those told, which may have been acknowledged, are given again"
        )?;
    }
    if plan.forgets_dropped {
        writeln!(
            out,
            "the last versions of aggregates whose events were all dropped are forgotten: such an aggregate starts again \
             at version 1"
        )?;
    }
    if plan.losses.iter().any(|loss| !loss.is_known) {
        writeln!(
            out,
            "where no index knows whose the lost events were, their versions may be given again, and conditions are \
             decided without them"
        )?;
    }
    Ok(())
}

fn write_loss(out: &mut impl Write, loss: &Loss) -> Result<(), CliError> {
    let damage = annals_engine::Damage {
        path: loss.path.clone(),
        offset: loss.offset,
        first: loss.first,
        last: loss.last,
        what: loss.what.clone(),
    };
    write_damage(out, &damage)?;
    let kept = match &loss.quarantine {
        Some(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{} to be kept in {}", size(loss.bytes), printable(&name))
        }
        None => "no bytes are left of it".to_owned(),
    };
    writeln!(
        out,
        "  {} cannot be read; {kept}",
        counted(loss.events, "event")
    )?;
    let mut names = |what: &str, names: Vec<String>| {
        let shown = names.iter().take(NAMES_SHOWN).map(|name| printable(name));
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            return Ok(());
        }
        let more = match names.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        writeln!(out, "  {what}: {}{more}", shown.join(", "))
    };
    let aggregates = loss.aggregates.iter().map(ToString::to_string).collect();
    names("aggregates", aggregates)?;
    names("topics", loss.topics.clone())?;
    if !loss.is_known {
        writeln!(out, "  others may be affected: no index knows all of them")?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct RepairJson {
    /// Whether there is damage to decide on.
    needed: bool,
    /// Whether anything was changed.
    repaired: bool,
    refused: Option<DamageJson>,
    losses: Vec<LossJson>,
    kept: u64,
    healed: u64,
    forgets_versions: bool,
    forgets_positions: bool,
}

#[derive(Debug, Serialize)]
struct LossJson {
    file: String,
    offset: u64,
    bytes: u64,
    /// Null, as is the last one, when no event is affected.
    first_position: Option<u64>,
    last_position: Option<u64>,
    events: u64,
    what: String,
    aggregates: Vec<String>,
    topics: Vec<String>,
    all_known: bool,
    quarantine: Option<String>,
}

impl RepairJson {
    fn new(plan: &RepairPlan, repaired: bool) -> Self {
        Self {
            needed: plan.is_needed(),
            repaired,
            refused: plan.refused.as_ref().map(DamageJson::from),
            losses: plan.losses.iter().map(LossJson::from).collect(),
            kept: plan.kept,
            healed: plan.healed,
            forgets_versions: plan.forgets_versions,
            forgets_positions: plan.forgets_positions,
        }
    }
}

impl From<&Loss> for LossJson {
    fn from(loss: &Loss) -> Self {
        let affects_events = loss.first <= loss.last;
        Self {
            file: loss.path.display().to_string(),
            offset: loss.offset,
            bytes: loss.bytes,
            first_position: affects_events.then_some(loss.first),
            last_position: Some(loss.last).filter(|last| affects_events && *last < u64::MAX),
            events: loss.events,
            what: loss.what.clone(),
            aggregates: loss.aggregates.iter().map(ToString::to_string).collect(),
            topics: loss.topics.clone(),
            all_known: loss.is_known,
            quarantine: loss
                .quarantine
                .as_ref()
                .map(|path| path.display().to_string()),
        }
    }
}

/// Aggregates and topics of a loss that are shown to people.
const NAMES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, expected) in [
            ("y\n", true),
            ("yes\n", true),
            ("", false),
            ("\n", false),
            ("yess\n", false),
        ] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
        assert!(!ask(&mut &b"n\n"[..]).unwrap());
    }
}
