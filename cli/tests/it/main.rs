//! The promises of the `annals` command, kept by the built binary as a user runs it.
//!
//! Each test has a directory of its own, starts processes, and looks at nothing but their output, their
//! exit codes and, to damage them, their files.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make, damage and list files beside the log's own disk"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod backup;
mod bench;
mod cat;
mod crash;
mod damaged;
mod demo;
mod import;
mod inspection;
mod payload_sizes;
mod process;
mod reference;
mod repair;
mod sample;
