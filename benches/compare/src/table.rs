//! The table for people: a row a workload, a column an engine, the best of each row marked; and what is not
//! Annals' in sentences.

use std::fmt::Write;

use crate::engine::{Buffered, Form, Kind};
use crate::engines;
use crate::results::{Median, Results};
use crate::workloads::{self, RAW, Workload};

/// The whole text, in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let machine = &results.machine;
    let kinds: Vec<&Kind> = engines::ALL
        .iter()
        .filter(|kind| took_part(results, kind))
        .collect();
    let _ = writeln!(
        text,
        "{} UTC, commit {}: {}, {} cores, {} GiB, {}, {}, {}. {} events over {} aggregates, medians of {} round{}.",
        results.date,
        results.commit,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.file_system,
        machine.rustc,
        number(results.events as f64),
        number((results.events / 10) as f64),
        results.rounds,
        if results.rounds == 1 { "" } else { "s" },
    );
    if let Some((greatest, median)) = results.foreign_cpu() {
        let _ = writeln!(
            text,
            "Cores busy for others meanwhile: median {median:.2}, at most {greatest:.2}."
        );
    }
    let _ = write!(text, "\n| |");
    for kind in &kinds {
        let _ = write!(
            text,
            " {} {} |",
            kind.name,
            results.versions.get(kind.name).map_or("", String::as_str)
        );
    }
    let _ = writeln!(
        text,
        " raw limit |\n|---|{}",
        "---:|".repeat(kinds.len() + 1)
    );
    for row in rows(results) {
        let best = row.best(&kinds).map(|(_, value)| value);
        let _ = write!(text, "| {} |", row.title());
        for kind in &kinds {
            let _ = write!(text, " {} |", row.cell(kind, best));
        }
        let raw = row
            .results
            .median(row.workload.name, RAW)
            .map(|raw| figure(raw.value));
        let _ = writeln!(text, " {} |", raw.unwrap_or_default());
    }
    let _ = writeln!(text, "\n{}", NOTES.trim());
    for line in sentences(results, &kinds) {
        let _ = writeln!(text, "- {line}");
    }
    text
}

const NOTES: &str = "
Best of each row in bold; latencies in microseconds as p50/p99. `+group`: behind a group commit of the application's,
which engines with one of their own do not need. ° loses on kill what it has acknowledged as buffered. ' is always
durable, with 100 commits in flight instead of 100 events in a commit. W8 is judged by its writer.
";

struct Row<'a> {
    results: &'a Results,
    workload: &'static Workload,
    is_grouped: bool,
}

fn rows(results: &Results) -> impl Iterator<Item = Row<'_>> {
    let with_groups = workloads::ALL.iter().flat_map(|workload| {
        let both = if workload.has_groups() { 2 } else { 1 };
        [(workload, false), (workload, true)].into_iter().take(both)
    });
    let rows = with_groups.map(|(workload, is_grouped)| Row {
        results,
        workload,
        is_grouped,
    });
    rows.filter(|row| {
        results
            .measurements
            .iter()
            .any(|one| one.workload == row.workload.name)
    })
}

impl Row<'_> {
    fn title(&self) -> String {
        let group = if self.is_grouped { ", +group" } else { "" };
        format!(
            "**{}** {}{group}, {}",
            self.workload.name, self.workload.what, self.workload.unit
        )
    }

    fn median(&self, kind: &Kind) -> Option<Median> {
        let is_grouped = self.is_grouped && kind.form == Form::Database;
        self.results
            .median(self.workload.name, &engine_name(kind, is_grouped))
    }

    fn best<'k>(&self, kinds: &[&'k Kind]) -> Option<(&'k Kind, f64)> {
        let found = kinds
            .iter()
            .filter_map(|kind| Some((*kind, self.median(kind)?.value)));
        found.reduce(
            |best, other| match (other.1 > best.1) == self.workload.higher_is_better {
                true => other,
                false => best,
            },
        )
    }

    fn cell(&self, kind: &Kind, best: Option<f64>) -> String {
        let Some(median) = self.median(kind) else {
            return "–".to_owned();
        };
        let mark = match (self.workload.name, kind.buffered) {
            ("W3a" | "W3b", Buffered::LostOnKill) => "°",
            ("W3b", Buffered::Never) => "'",
            _ => "",
        };
        let value = format!("{}{mark}", figure(median.value));
        let value = if best == Some(median.value) {
            format!("**{value}**")
        } else {
            value
        };
        // Where the figure is the median latency itself, the 99th percentile is enough.
        let latency = match (self.workload.name, median.p50_us, median.p99_us) {
            ("W4", _, Some(p99)) => format!(" (p99 {})", figure(p99)),
            ("W4hot", _, Some(p99)) => format!(" (p99 {})", figure(p99 / 1e3)),
            (
                "W1" | "W2.16" | "W2.64" | "W2.submit" | "W3a" | "W8" | "W9.1" | "W9.8",
                Some(p50),
                Some(p99),
            ) => {
                format!(" ({}/{})", figure(p50), figure(p99))
            }
            _ => String::new(),
        };
        let more = |name: &str| median.more.get(name).map(|value| figure(*value));
        let more = match self.workload.name {
            "W6killed" | "W6clean" => more("open_ms").map(|open| format!(" (open alone {open})")),
            "W7bytes" => more("allocated").map(|bytes| format!(" ({bytes} with what is prepared)")),
            "W8" => more("reads_per_s").map(|reads| format!("; {reads} reads/s")),
            _ => None,
        };
        let more = more.unwrap_or_default();
        format!("{value}{latency}{more}")
    }
}

/// Where somebody is better than Annals, and by how much.
fn sentences(results: &Results, kinds: &[&Kind]) -> Vec<String> {
    let Some(annals) = kinds.iter().find(|kind| kind.name == "annals") else {
        return Vec::new();
    };
    let better = |row: Row<'_>| {
        let own = row.median(annals)?.value;
        let (best, value) = row.best(kinds)?;
        (best.name != annals.name).then(|| {
            let group = if row.is_grouped { " (+group)" } else { "" };
            format!(
                "{}{group}: {} is better, {} {} against {}.",
                row.workload.name,
                best.name,
                figure(value),
                row.workload.unit,
                figure(own),
            )
        })
    };
    // Where groups make a difference, the row with them is the fair one.
    let is_fair = |row: &Row<'_>| row.is_grouped || !row.workload.has_groups();
    rows(results).filter(is_fair).filter_map(better).collect()
}

fn took_part(results: &Results, kind: &Kind) -> bool {
    results
        .measurements
        .iter()
        .any(|one| one.engine == kind.name)
}

/// Name of an engine in measurements.
pub(crate) fn engine_name(kind: &Kind, is_grouped: bool) -> String {
    let group = if is_grouped { "+group" } else { "" };
    format!("{}{group}", kind.name)
}

/// A number as people read it: whole from 100 on, with three digits that count below.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => number(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with its thousands apart.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(figure(1_234_567.8), "1,234,568");
        assert_eq!(figure(100.4), "100");
        assert_eq!(figure(12.34), "12.3");
        assert_eq!(figure(0.171), "0.17");
    }
}
