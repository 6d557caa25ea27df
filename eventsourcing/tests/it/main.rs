//! The promises of the library, kept by all recorders.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

#[path = "../../examples/cargo_shipping.rs"]
mod cargo_shipping;
#[path = "../../examples/content_management.rs"]
mod content_management;
#[path = "../../examples/shop_aggregates.rs"]
mod shop_aggregates;

mod application;
mod awaiting;
#[cfg(all(feature = "encryption", feature = "messagepack"))]
mod bad_input;
mod dcb;
mod dcb_models;
mod dcb_snapshots;
mod diagnostics;
mod dog_school;
mod editing;
#[cfg(all(feature = "compression", feature = "encryption"))]
mod encryption;
mod enrolment;
mod environment;
mod examples;
mod following;
#[cfg(all(feature = "encryption", feature = "hash-chain"))]
mod hash_chain;
mod layers;
mod log_recorder;
mod macros;
mod metadata_scope;
mod projections;
mod recorders;
mod reservations;
mod school;
mod shop_slices;
mod snapshots;
#[cfg(feature = "sqlite")]
mod sqlite_examples;
#[cfg(feature = "sqlite")]
mod sqlite_kills;
#[cfg(feature = "sqlite")]
mod sqlite_model;
#[cfg(feature = "sqlite")]
mod sqlite_recorder;
#[cfg(feature = "sqlite")]
mod sqlite_view;
mod stores;
mod systems;
mod watched;
