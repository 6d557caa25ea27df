//! What everyday tests have the time for of the crashes of the real kernel; `./test real-kernel` does all of it.
//!
//! Each harness is a run of the program `real_kernel`, which says what it does. What a machine cannot do (mount,
//! trace) is skipped there, and said.

use std::process::Command;

#[track_caller]
fn run(harness: &str) {
    let mut quick = Command::new(env!("CARGO_BIN_EXE_real_kernel"));
    // What everyday tests count is not evidence.
    let quick = quick.args(["quick", harness]).env("ANNALS_LEDGER", "");
    let run = quick.output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    print!("{text}");
    assert!(
        run.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn a_writer_killed_at_any_moment_keeps_what_it_acknowledged() {
    run("kills");
}

#[test]
fn a_writer_killed_or_failed_at_any_system_call_keeps_what_it_acknowledged() {
    run("syscalls");
}

#[test]
fn a_power_cut_of_a_real_file_system_takes_nothing_durable() {
    run("power_cuts");
}

#[test]
fn a_sync_that_failed_for_good_takes_nothing_acknowledged() {
    run("failed_syncs");
}

#[test]
fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    run("full_disk");
}

#[test]
fn a_file_cut_or_replaced_under_a_reader_is_an_error_and_no_signal() {
    run("cut_files");
}

#[test]
fn processes_on_one_log_neither_miss_nor_repeat_anything() {
    run("processes");
}

#[test]
fn what_threads_saw_of_one_log_fits_together() {
    run("history");
}
