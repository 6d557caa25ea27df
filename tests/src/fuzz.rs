//! The bodies of the fuzz targets, as plain functions over bytes.
//!
//! A body may do anything with its input but panic, loop for long, or allocate without bound: a breach of
//! a promise is a panic. The fuzzer (`fuzz/`) calls them with what it invents; a test calls them with
//! the seeds in `fuzz/seeds` on every run, so that they neither rot nor forget what was once found.
//!
//! Checksums keep random bytes out of the deeper rooms. So most bodies read their input as a choice:
//! bytes taken as they are, or a description from which structures with valid checksums and lying
//! contents are built.

mod aead_open;
mod api_ops;
mod frame_decode;
mod hostile;
mod index_open_query;
mod input;
mod manifest_open;
mod segment_recover;
mod segment_recover_structured;
mod snapshot_load;
mod zstd_payload;

pub use aead_open::aead_open;
pub use api_ops::api_ops;
pub use frame_decode::frame_decode;
pub use index_open_query::index_open_query;
pub use manifest_open::manifest_open;
pub use segment_recover::segment_recover;
pub use segment_recover_structured::segment_recover_structured;
pub use snapshot_load::snapshot_load;
pub use zstd_payload::zstd_payload;

/// A target: its name, which is that of its file in `fuzz/fuzz_targets` and of its folder of seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// The body.
    pub run: fn(&[u8]),
    /// Inputs to start from, made rather than found, each with its name.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// Every target there is.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "frame_decode",
        run: frame_decode,
        seeds: frame_decode::seeds,
    },
    Target {
        name: "segment_recover",
        run: segment_recover,
        seeds: segment_recover::seeds,
    },
    Target {
        name: "segment_recover_structured",
        run: segment_recover_structured,
        seeds: segment_recover_structured::seeds,
    },
    Target {
        name: "snapshot_load",
        run: snapshot_load,
        seeds: snapshot_load::seeds,
    },
    Target {
        name: "manifest_open",
        run: manifest_open,
        seeds: manifest_open::seeds,
    },
    Target {
        name: "index_open_query",
        run: index_open_query,
        seeds: index_open_query::seeds,
    },
    Target {
        name: "api_ops",
        run: api_ops,
        seeds: api_ops::seeds,
    },
    Target {
        name: "zstd_payload",
        run: zstd_payload,
        seeds: zstd_payload::seeds,
    },
    Target {
        name: "aead_open",
        run: aead_open,
        seeds: aead_open::seeds,
    },
];
