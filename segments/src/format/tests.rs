//! Goal: bytes on disk never change by accident, and no bytes make a reader panic or show what was
//! never written.
//!
//! Method: golden bytes typed by hand, their checksums made by another implementation (Python's
//! `zlib.crc32` over the ranges FORMAT.md names); round trips of random values; every single flipped
//! bit; and hostile bytes, raw as well as with all checksums made to fit again
//! ([`reseal`](second_reading::reseal)), so that the checks behind the checksums are reached.

mod damage;
mod features;
mod golden;
mod hostile;
mod names;
mod refusals;
mod round_trip;
mod samples;
mod second_reading;
mod validity;
mod version_table;
