//! The promises of Annals, one module a subject.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the part of the world around the log"
)]

mod append;
mod backup;
mod checkpoint;
mod clock;
mod conditions;
mod damage;
mod follow;
mod fork;
mod fuzz_seeds;
mod harness_finds;
mod harnesses;
mod kill;
mod limits;
mod power_loss;
mod pread;
mod real_kernel;
mod refusals;
mod reopen;
mod repair;
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
