//! Runs the harnesses: `annals-harness quick|full [HARNESS [FROM..TO]]`.
//!
//! Prints what each has tried and found, adds it to the ledger, and fails when a promise was broken.

use std::ops::Range;
use std::process::ExitCode;

use annals_tests::harness::runner::{ALL, Harness, Tier};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let tier = match arguments.first() {
        Some(&"quick") => Tier::Quick,
        Some(&"full") => Tier::Full,
        _ => return usage("say how much is to be tried"),
    };
    let chosen: Vec<&Harness> = match arguments.get(1) {
        None => ALL.iter().collect(),
        Some(name) => match Harness::named(name) {
            Some(harness) => vec![harness],
            None => return usage(&format!("there is no harness '{name}'")),
        },
    };
    let seeds = match arguments.get(2).map(|seeds| range(seeds)) {
        None => None,
        Some(Some(seeds)) => Some(seeds),
        Some(None) => return usage("seeds are FROM..TO"),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut is_sound = true;
    for harness in chosen {
        let seeds = seeds.clone().unwrap_or_else(|| (harness.seeds)(tier));
        let outcome = harness.run_all(tier, seeds.clone(), threads, true);
        println!(
            "{}: seeds {}..{}: {} states, {} of them crashed twice, {} faults; {} broken promises; {:.1} s",
            harness.name,
            seeds.start,
            seeds.end,
            outcome.tally.states,
            outcome.tally.double,
            outcome.tally.faults,
            outcome.troubles.len(),
            outcome.elapsed.as_secs_f64()
        );
        for trouble in &outcome.troubles {
            println!("{trouble}");
        }
        is_sound &= outcome.troubles.is_empty();
    }
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn usage(what: &str) -> ExitCode {
    eprintln!(
        "annals-harness: {what}\n\nannals-harness quick|full [HARNESS [FROM..TO]]\n\nharnesses:"
    );
    for harness in ALL {
        eprintln!("  {:14} {}", harness.name, harness.about);
    }
    ExitCode::from(2)
}
