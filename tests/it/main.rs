//! The promises of Annals, one module a subject.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the part of the world around the log"
)]

/// So that tests can bound what hostile bytes make a log allocate.
#[global_allocator]
static ALLOCATOR: annals_tests::counting_allocator::CountingAllocator =
    annals_tests::counting_allocator::CountingAllocator;

mod append;
mod backup;
mod backup_damage;
mod checkpoint;
mod clock;
mod conditions;
mod damage;
mod follow;
mod fork;
mod fuzz_seeds;
mod golden;
mod harness_finds;
mod harnesses;
mod key_directory;
mod kill;
mod limits;
mod model;
mod power_loss;
mod pread;
mod real_kernel;
mod refusals;
mod reopen;
mod repair;
mod restored;
mod retention;
mod retention_crashes;
mod retry;
mod snapshots;
mod stats;
mod streams;
mod subscriptions;
mod tickets;
mod tidy;
mod two_processes;
