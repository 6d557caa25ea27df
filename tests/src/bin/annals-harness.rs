//! Runs the harnesses: `annals-harness quick|full [HARNESS [FROM..TO]]`; `annals-harness planted` lets them look for bugs
//! that were put in on purpose, when it is built with the feature `planted-bugs`; `annals-harness ledger [FILE]` prints
//! what all runs of a ledger come to, as a table in Markdown.
//!
//! Prints what each has tried and found, adds it to the ledger, and fails when a promise was broken.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use annals_tests::counting_allocator::CountingAllocator;
use annals_tests::harness::runner::{ALL, Harness, Tier};
use annals_tests::ledger;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let tier = match arguments.first() {
        Some(&"quick") => Tier::Quick,
        Some(&"full") => Tier::Full,
        #[cfg(feature = "planted-bugs")]
        Some(&"planted") => return hunt_planted(),
        #[cfg(not(feature = "planted-bugs"))]
        Some(&"planted") => return usage("there are bugs only with --features planted-bugs"),
        Some(&"ledger") => return show_ledger(arguments.get(1).copied()),
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
        if let Err(error) = ledger::record(&harness.entry(&seeds, &outcome)) {
            eprintln!("the ledger cannot be written: {error}");
            is_sound = false;
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

/// Has each harness look for the bugs that it has to find.
#[cfg(feature = "planted-bugs")]
fn hunt_planted() -> ExitCode {
    use annals_tests::planted::{Hunt, hunt};

    // They are what a sound log wrote.
    let _ = annals_tests::harness::rot::samples();
    let names = ALL.iter().map(|harness| harness.name);
    hunt("simulated", names, 1, |name, _| {
        let harness = Harness::named(name).expect("it is one of them");
        let outcome = harness.run_all(Tier::Quick, (harness.seeds)(Tier::Quick), 1, false);
        let found = outcome.troubles.first();
        found.map_or(Hunt::Survived, |found| {
            Hunt::Caught(found.breach.to_string())
        })
    })
}

/// Prints what a ledger comes to.
#[expect(
    clippy::disallowed_methods,
    reason = "the ledger is no part of a log; it is written beside the build"
)]
fn show_ledger(path: Option<&str>) -> ExitCode {
    let Some(path) = path.map(PathBuf::from).or_else(ledger::path) else {
        return usage("name the ledger: ANNALS_LEDGER says that there is none");
    };
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match text.and_then(|text| ledger::parse(&text)) {
        Ok(entries) => {
            print!("{}", ledger::table(&entries));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("annals-harness: {}: {error}", path.display());
            ExitCode::from(2)
        }
    }
}

fn usage(what: &str) -> ExitCode {
    eprintln!(
        "annals-harness: {what}\n\nannals-harness quick|full [HARNESS [FROM..TO]]\nannals-harness planted\nannals-harness ledger [FILE]\n\n\
         harnesses:"
    );
    for harness in ALL {
        eprintln!("  {:14} {}", harness.name, harness.about);
    }
    ExitCode::from(2)
}
