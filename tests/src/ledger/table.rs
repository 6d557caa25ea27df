//! The ledger, added up: a table in Markdown, for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Entry;

/// A row for each harness, in the order in which they come first, and one for all of them. What was planted is told
/// below: it is no find.
pub fn table(entries: &[Entry]) -> String {
    let (planted, entries): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry.harness == "planted");
    let mut text = String::from(
        "| Harness | Runs | Skipped | Commits | States | Double crashes | Faults | Tests | Executions | Found | Time |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut names: Vec<&str> = Vec::new();
    for entry in &entries {
        if !names.contains(&entry.harness.as_str()) {
            names.push(&entry.harness);
        }
    }
    for name in names {
        let of_it = entries.iter().filter(|entry| entry.harness == name);
        text += &row(name, &of_it.copied().collect::<Vec<_>>());
    }
    text += &row("all", &entries);
    if !planted.is_empty() {
        let bugs: u64 = planted.iter().map(|entry| entry.planted).sum();
        let caught: u64 = planted.iter().map(|entry| entry.caught).sum();
        let runs = planted.len();
        let _ = writeln!(
            text,
            "\nPlanted bugs that harnesses had to find: {bugs} in {runs} runs, {caught} of them found."
        );
    }
    text
}

fn row(name: &str, entries: &[&Entry]) -> String {
    let sum = |count: fn(&Entry) -> u64| {
        let sum = entries.iter().map(|entry| count(entry)).sum();
        grouped(sum)
    };
    // A run that was skipped whole has counted nothing.
    let is_skipped = |entry: &&&Entry| entry.skipped.is_some() && entry.states + entry.faults == 0;
    let skipped = entries.iter().filter(is_skipped).count();
    let commits = entries.iter().map(|entry| entry.commit.as_str());
    let commits: BTreeSet<&str> = commits.filter(|commit| !commit.is_empty()).collect();
    let seconds: f64 = entries.iter().map(|entry| entry.seconds).sum();
    format!(
        "| {name} | {} | {skipped} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        entries.len() - skipped,
        commits.len(),
        sum(|entry| entry.states),
        sum(|entry| entry.double_crashes),
        sum(|entry| entry.faults),
        sum(|entry| entry.tests),
        sum(|entry| entry.executions),
        sum(|entry| entry.found),
        time(seconds),
    )
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn time(seconds: f64) -> String {
    match seconds.round() as u64 {
        0..60 => format!("{seconds:.1} s"),
        whole @ 60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::parse;

    #[test]
    fn runs_of_one_harness_are_added_up_and_what_was_planted_is_no_find() {
        let ledger = [
            r#"{"harness":"kills","commit":"a","states":1200,"faults":2000,"found":0,"seconds":30.5}"#,
            r#"{"harness":"kills","commit":"b","states":300,"double_crashes":7,"found":1,"seconds":31}"#,
            r#"{"harness":"power_cuts","commit":"b","skipped":"no mount","seconds":0.1}"#,
            r#"{"harness":"planted","commit":"b","planted":9,"caught":8,"seconds":100}"#,
            r#"{"harness":"fuzz-api_ops","commit":"b","executions":1234567,"found":0,"seconds":4000}"#,
        ];
        let entries = parse(&ledger.join("\n")).expect("they are entries");
        let rows: Vec<String> = table(&entries).lines().map(str::to_owned).collect();
        assert_eq!(
            rows[2..],
            [
                "| kills | 2 | 0 | 2 | 1,500 | 7 | 2,000 | 0 | 0 | 1 | 1 min 02 s |",
                "| power_cuts | 0 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0.1 s |",
                "| fuzz-api_ops | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 1,234,567 | 0 | 1 h 06 min |",
                "| all | 3 | 1 | 2 | 1,500 | 7 | 2,000 | 0 | 1,234,567 | 1 | 1 h 07 min |",
                "",
                "Planted bugs that harnesses had to find: 9 in 1 runs, 8 of them found.",
            ]
        );
    }
}
