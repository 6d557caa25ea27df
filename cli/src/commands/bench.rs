//! `annals bench`: the workloads of [`mod@crate::bench`] on a disk of the user's, as lines or as a table.

use std::io::Write;

use annals_engine::Durability;

use crate::args::{BenchAppendArgs, BenchArgs};
use crate::bench::{
    BenchError, Generator, Line, Plan, SEED, Selection, append_until_killed, cores, is_in_memory,
};
use crate::commands::Outcome;
use crate::error::CliError;
use crate::figures::{counted, grouped, size};
use crate::output::write_json_line;
use crate::table::{Align, Table};

pub(crate) fn run(args: &BenchArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let only = match args.only.is_empty() {
        true => Selection::all(),
        false => Selection::of(args.only.iter().map(String::as_str))?,
    };
    let program = std::env::current_exe().map_err(|source| BenchError::Child {
        program: "annals".into(),
        doing: "find its own file",
        source,
    })?;
    let plan = Plan {
        events: args.events,
        dir: args.dir.clone(),
        only,
        program,
    };
    plan.check()?;
    say_where(&plan);
    let mut lines = Vec::new();
    plan.run(&mut |line: Line| {
        if args.json {
            let written = write_json_line(out, &line).and_then(|()| out.flush());
            return written.map_err(BenchError::Output);
        }
        lines.push(line);
        Ok(())
    })?;
    if !args.json {
        write_table(out, &plan, &lines)?;
    }
    Ok(Outcome::Fine)
}

/// What the benchmark starts to be killed.
pub(crate) fn append(args: &BenchAppendArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let generator = Generator::windowed(SEED, args.window, args.scattered);
    let durability = match args.buffered {
        true => Durability::Buffered,
        false => Durability::Sync,
    };
    append_until_killed(&args.dir, &generator, args.events, durability, out)?;
    Ok(Outcome::Fine)
}

/// Before the work: whoever interrupts it is to know what is left behind.
fn say_where(plan: &Plan) {
    let dir = plan.dir.canonicalize().unwrap_or_else(|_| plan.dir.clone());
    eprintln!(
        "annals: benchmarks in {}, up to {} there, removed at the end (after an interrupt: annals-bench-*)",
        dir.display(),
        size(plan.bytes_needed())
    );
    if is_in_memory(&plan.dir) {
        eprintln!(
            "annals: {} lies in memory, where a sync costs nothing and no figure says anything of a disk; \
             give a --dir on the disk that is meant",
            dir.display()
        );
    }
}

fn write_table(out: &mut impl Write, plan: &Plan, lines: &[Line]) -> Result<(), CliError> {
    writeln!(
        out,
        "{}, {}; p50 and p99 in microseconds; `of` is the raw limit or what was run beside it; \
         `others` are the cores that everything else kept busy",
        counted(plan.events, "event"),
        counted(cores() as u64, "core")
    )?;
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        left, right, left, right, right, right, left, right, right, left,
    ]);
    table.row([
        "workload", "value", "unit", "p50", "p99", "of", "", "ratio", "others", "",
    ]);
    for line in lines {
        let number = |name: &str| line.more.get(name).and_then(serde_json::Value::as_f64);
        let base = line.more.get("base").and_then(serde_json::Value::as_str);
        let shown = |number: Option<f64>| number.map(figure).unwrap_or_default();
        let two_digits = |number: Option<f64>| {
            number
                .map(|number| format!("{number:.2}"))
                .unwrap_or_default()
        };
        table.row([
            line.workload.clone(),
            figure(line.value),
            line.unit.clone(),
            shown(line.p50_us),
            shown(line.p99_us),
            shown(line.raw.or_else(|| number("base_value"))),
            match line.raw {
                Some(_) => "raw".to_owned(),
                None => base.unwrap_or_default().to_owned(),
            },
            two_digits(line.ratio_to_raw.or_else(|| number("ratio_to_base"))),
            two_digits(number("foreign_cpu")),
            ALSO.iter()
                .filter_map(|(name, words)| Some(format!("{words} {}", figure(number(name)?))))
                .collect::<Vec<_>>()
                .join(", "),
        ]);
    }
    table.write(out)?;
    Ok(())
}

/// Whole above a hundred, else with decimals.
fn figure(number: f64) -> String {
    match number.abs() {
        100.0.. => grouped(number as u64),
        1.0.. => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// Fields beside the figure that a reader of the table wants, and how they are called there.
const ALSO: [(&str, &str); 5] = [
    ("raw_p99_us", "raw p99"),
    ("commits_of_1", "in commits of 1:"),
    ("mean_segments", "mean segments"),
    ("ratio_to_beside_a_reader", "of those beside a reader"),
    ("reader_p99_us", "readers' p99"),
];
