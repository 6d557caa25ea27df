//! Which log and segment a derived file was derived from.
//!
//! A derived file that outlived its source (a restored backup, a segment rewritten by recovery) must not
//! answer for another. So the files carry these fields, and opening one compares each of them.

use crate::error::{Error, IdentityField};

/// The segment that a sealed index was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random id of the log.
    pub log_id: [u8; 16],
    /// Number of the segment, in `1..=SEGMENT_NUMBER_MAX`.
    pub segment: u64,
    /// Random salt of the segment: parts two segments that bore the same number.
    pub salt: u64,
    /// First position the segment may hold, 1-based; ordinals count from it.
    pub base_position: u64,
    /// Events in the segment. A [`TailIndex`](crate::TailIndex) counts for itself and ignores this field.
    pub event_count: u32,
}

impl Identity {
    /// Compares every field of `self`, the one found, with the one expected.
    pub(crate) fn check(&self, expected: &Self) -> Result<(), Error> {
        check_log_id(self.log_id, expected.log_id)?;
        check(IdentityField::Segment, self.segment, expected.segment)?;
        check(IdentityField::Salt, self.salt, expected.salt)?;
        check(
            IdentityField::BasePosition,
            self.base_position,
            expected.base_position,
        )?;
        check(
            IdentityField::EventCount,
            self.event_count,
            expected.event_count,
        )
    }
}

/// The log and the range of segments that a heads file was folded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadsIdentity {
    /// Random id of the log.
    pub log_id: [u8; 16],
    /// Number of the last segment folded in, inclusive; 0 when none is.
    pub covers: u64,
}

impl HeadsIdentity {
    /// Compares every field of `self`, the one found, with the one expected.
    pub(crate) fn check(&self, expected: &Self) -> Result<(), Error> {
        check_log_id(self.log_id, expected.log_id)?;
        check(IdentityField::Covers, self.covers, expected.covers)
    }
}

fn check_log_id(found: [u8; 16], expected: [u8; 16]) -> Result<(), Error> {
    // Big-endian, so that the error shows the bytes in their order.
    check(
        IdentityField::LogId,
        u128::from_be_bytes(found),
        u128::from_be_bytes(expected),
    )
}

fn check<T: Into<u128>>(field: IdentityField, found: T, expected: T) -> Result<(), Error> {
    let (found, expected) = (found.into(), expected.into());
    if found == expected {
        Ok(())
    } else {
        Err(Error::WrongIdentity {
            field,
            found,
            expected,
        })
    }
}
