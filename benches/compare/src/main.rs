//! The workloads of Annals over Annals and its peers, with the raw limits of the disk in the same run.
//!
//! README.md says how to run it and how to read what it writes. Each measurement is made by a process of its own
//! (`job.rs`), which this program starts by its own name.

mod conformance;
mod disk_use;
mod engine;
mod engines;
mod grouped;
mod job;
mod machine;
mod plot;
mod results;
mod runner;
mod source;
mod table;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::engine::Failure;
use crate::job::{JOB, Job};
use crate::results::Results;
use crate::runner::Plan;

/// Runs the workloads of Annals over other engines, and writes results.json, table.md and plots.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Events of a loaded store; other figures are scaled with it.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    events: u64,

    /// Times that everything is measured; figures are medians over them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Workloads, separated by commas; a part such as W2 stands for all of it.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// Engines beside Annals, separated by commas.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,

    /// On a machine that others use too: waits, a minute at most, until fewer cores than this are busy for others,
    /// and measures again, three times at most, what was disturbed all the same.
    #[arg(long, value_name = "CORES")]
    quiet: Option<f64>,

    /// A directory of the disk that is meant: the stores are made in it, and removed.
    #[arg(long, default_value = "target/compare")]
    dir: PathBuf,

    /// Where the results go.
    #[arg(long, default_value = "target/compare")]
    out: PathBuf,

    /// Writes table and plots anew from the results that are there, and measures nothing.
    #[arg(long)]
    render: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next(), arguments.next()) {
        (Some(first), Some(job)) if first == JOB => do_job(&job),
        _ => run(&Options::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("annals-compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn do_job(job: &str) -> Result<(), Failure> {
    let job: Job = serde_json::from_str(job)?;
    workloads::run(&job).map_err(|failure| Failure::broken(format!("{job}: {failure}")))
}

fn run(options: &Options) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.out)?;
    let path = options.out.join("results.json");
    if options.render {
        return render(&Results::read(&path)?, &options.out);
    }
    std::fs::create_dir_all(&options.dir)?;
    if annals_cli::bench::is_in_memory(&options.dir) {
        eprintln!(
            "annals-compare: the stores lie in memory, where a sync costs nothing; see --dir"
        );
    }
    let home = tempfile::Builder::new()
        .prefix("annals-compare-")
        .tempdir_in(&options.dir)?;
    let plan = Plan {
        events: options.events,
        rounds: options.rounds.into(),
        slice: slice_of(options.events),
        kinds: runner::kinds(&options.peers)?,
        only: runner::only(&options.only)?,
        home: home.path().to_owned(),
        quiet: options.quiet,
    };
    let results = plan.run()?;
    std::fs::write(path, serde_json::to_string_pretty(&results)? + "\n")?;
    render(&results, &options.out)
}

fn render(results: &Results, out: &Path) -> Result<(), Failure> {
    let table = table::markdown(results);
    print!("{table}");
    std::fs::write(out.join("table.md"), table)?;
    for (name, svg) in plot::pictures(results) {
        std::fs::write(out.join(name), svg)?;
    }
    Ok(())
}

/// Two seconds for a million events, hardly anything for a few thousand.
fn slice_of(events: u64) -> Duration {
    Duration::from_micros(events * 2).clamp(Duration::from_millis(20), Duration::from_secs(2))
}
