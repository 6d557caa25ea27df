//! Applications that follow each other: who reacts to whom, and what runs it.
//!
//! What holds here:
//! - A [`System`] is a definition: names, policies, pipes. It knows no recorder and no thread, and has the same effect
//!   on every recorder and under every runner.
//! - Each application has a recorder of its own; what a follower does to it is stored with the position it is an effect
//!   of, so each event takes effect exactly once in each follower.
//! - Followers read what is durable. None sees an event that could still be lost.
//!
//! `projection` and what is below it are imported here.

mod error;
mod partitions;
mod runner;
mod saga;
mod single_threaded;
mod threaded;
mod timers;
mod topology;
mod wiring;

pub use error::SystemError;
pub use partitions::PARTITIONS_MAX;
pub use runner::{Runner, RunnerOptions};
pub use saga::{Saga, SagaPolicy, SagaStep};
pub use single_threaded::SingleThreadedRunner;
pub use threaded::MultiThreadedRunner;
pub use topology::{Role, System, SystemBuilder};
pub use wiring::Member;
