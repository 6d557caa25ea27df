//! Which event ids a segment may hold, told from the times inside version-7 UUIDs.
//!
//! A v7 id opens only the segments whose range holds its time; without it, a search for one id would touch
//! the id table of every segment. It excludes, it never proves: a hit still needs the table and the record.

/// Range of the times in the v7 event ids of a segment, and whether it holds other ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdTimes {
    /// Least and greatest time of the v7 ids, both inclusive, in milliseconds since the epoch
    /// (48 bits); `None` when no id is v7.
    pub v7_ms: Option<(u64, u64)>,
    /// Whether at least one id is not v7; such an id may be anywhere.
    pub has_others: bool,
}

impl IdTimes {
    /// Whether the segment may hold `event_id`. `false` is certain, `true` is not.
    #[must_use]
    pub fn may_hold(&self, event_id: &[u8; 16]) -> bool {
        match v7_time_ms(event_id) {
            Some(ms) => self
                .v7_ms
                .is_some_and(|(min, max)| (min..=max).contains(&ms)),
            None => self.has_others,
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        let v7_ms = match (self.v7_ms, other.v7_ms) {
            (Some((min, max)), Some((other_min, other_max))) => {
                Some((min.min(other_min), max.max(other_max)))
            }
            (one, other) => one.or(other),
        };
        Self {
            v7_ms,
            has_others: self.has_others || other.has_others,
        }
    }

    /// Widens the range by one more id.
    pub(crate) fn add(&mut self, event_id: &[u8; 16]) {
        match v7_time_ms(event_id) {
            Some(ms) => {
                let (min, max) = self.v7_ms.unwrap_or((ms, ms));
                self.v7_ms = Some((min.min(ms), max.max(ms)));
            }
            None => self.has_others = true,
        }
    }
}

/// Milliseconds since the epoch in a v7 UUID (RFC 9562, 5.7); `None` for any other id.
fn v7_time_ms(event_id: &[u8; 16]) -> Option<u64> {
    let bits = u128::from_be_bytes(*event_id);
    let version = (bits >> 76) & 0xf;
    let variant = (bits >> 62) & 0b11;
    (version == 7 && variant == 0b10).then_some((bits >> 80) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9562, A.6: 2022-02-22 19:22:22 UTC.
    const RFC_EXAMPLE: u128 = 0x017F22E2_79B0_7CC3_98C4_DC0C0C07398F;

    #[test]
    fn the_time_of_a_v7_id_is_the_one_of_the_rfc() {
        assert_eq!(
            v7_time_ms(&RFC_EXAMPLE.to_be_bytes()),
            Some(0x017F_22E2_79B0)
        );
    }

    #[test]
    fn ids_of_other_versions_are_only_expected_where_others_are() {
        let v7 = RFC_EXAMPLE.to_be_bytes();
        let v4 = (RFC_EXAMPLE & !(0xf << 76) | 4 << 76).to_be_bytes();
        let mut times = IdTimes::default();
        assert!(!times.may_hold(&v7) && !times.may_hold(&v4));
        times.add(&v7);
        assert!(times.may_hold(&v7) && !times.may_hold(&v4));
        assert!(!times.may_hold(&(RFC_EXAMPLE + (1 << 80)).to_be_bytes()));
        times.add(&v4);
        assert!(times.may_hold(&v7) && times.may_hold(&v4));
    }
}
