//! The quick tier of the harnesses: what `annals-harness full` tries by the million, by the thousand.

use annals_tests::SeededRandom;
use annals_tests::harness::driver::Driver;
use annals_tests::harness::runner::{Harness, Tier};
use annals_tests::harness::workloads;

fn run(name: &str) {
    let harness = Harness::named(name).unwrap();
    let outcome = harness.run_all(Tier::Quick, (harness.seeds)(Tier::Quick), 1, false);
    assert!(outcome.troubles.is_empty(), "{}", outcome.troubles[0]);
    assert!(outcome.tally.states > 500, "{:?}", outcome.tally);
}

#[test]
fn a_crash_at_any_call_of_any_workload_breaks_no_promise() {
    run("crash-points");
}

#[test]
fn a_fault_of_any_call_breaks_no_promise() {
    run("io-faults");
}

#[test]
fn rot_anywhere_is_told_or_harmless() {
    run("rot");
}

#[test]
fn long_runs_over_a_failing_disk_break_no_promise() {
    run("simulation");
}

#[test]
fn who_waits_is_woken() {
    run("wake-ups");
}

#[test]
fn the_same_seed_gives_the_same_calls_and_the_same_bytes() {
    let run = |workload: &workloads::Workload, seed| {
        let mut driver = Driver::new(seed);
        (workload.run)(&mut driver, &SeededRandom::new(seed)).unwrap();
        driver.kill();
        let seen = driver.disk.snapshot().seen();
        (driver.disk.trace(), seen.fingerprint())
    };
    for workload in workloads::ALL {
        assert_eq!(run(workload, 1), run(workload, 1), "{}", workload.name);
        assert_ne!(run(workload, 1), run(workload, 2), "{}", workload.name);
    }
}
