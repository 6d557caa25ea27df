//! T1, the quick tier: a crash at every call of every workload, and that a run can be had again.

use annals_tests::SeededRandom;
use annals_tests::harness::driver::Driver;
use annals_tests::harness::{Tally, crash_points, workloads};

#[test]
fn a_crash_at_any_call_of_any_workload_breaks_no_promise() {
    let mut tally = Tally::default();
    for workload in workloads::ALL {
        crash_points::run(*workload, 1, crash_points::Effort::QUICK, &mut tally)
            .unwrap_or_else(|trouble| panic!("{trouble}"));
    }
    assert!(tally.states > 10_000, "{tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_calls_and_the_same_bytes() {
    let run = |workload: &workloads::Workload, seed| {
        let mut driver = Driver::new(seed);
        (workload.run)(&mut driver, &SeededRandom::new(seed)).unwrap();
        driver.kill();
        (
            driver.disk.trace(),
            driver.disk.snapshot().seen().fingerprint(),
        )
    };
    for workload in workloads::ALL {
        assert_eq!(run(workload, 1), run(workload, 1), "{}", workload.name);
        assert_ne!(run(workload, 1), run(workload, 2), "{}", workload.name);
    }
}
