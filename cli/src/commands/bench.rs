//! `annals bench`: the workloads of [`mod@crate::bench`] on a disk of the user's, as lines or as a table.

use std::io::Write;

use crate::args::BenchArgs;
use crate::bench::{BenchError, Line, Plan, Selection};
use crate::commands::Outcome;
use crate::error::CliError;
use crate::output::write_json_line;

pub(crate) fn run(args: &BenchArgs, out: &mut impl Write) -> Result<Outcome, CliError> {
    let only = match args.only.is_empty() {
        true => Selection::all(),
        false => Selection::of(args.only.iter().map(String::as_str))?,
    };
    let plan = Plan {
        events: args.events,
        dir: args.dir.clone(),
        only,
    };
    plan.run(&mut |line: Line| {
        write_json_line(out, &line)
            .and_then(|()| out.flush())
            .map_err(BenchError::Output)
    })?;
    Ok(Outcome::Fine)
}
