//! A follower in parts that run beside each other: which part processes which event.
//!
//! All events of an aggregate are processed by one part, in order. Each part records its place under a name of its own,
//! which tells how many there are. When their number changes, what earlier parts have processed is known from those
//! names, event by event: so none is processed twice, and none is left out.

use std::sync::Arc;

use crate::persistence::{Notification, PersistenceError, TrackingRecorder};
use crate::projection::Share;

/// Name under which a part records its place. One part has the upstream's name, as an unpartitioned follower.
pub(super) fn tracking_name(upstream: &str, part: usize, parts: usize) -> String {
    match parts {
        1 => upstream.to_owned(),
        _ => format!("{upstream}#{part}/{parts}"),
    }
}

/// What a part takes, given what other divisions have processed before.
pub(super) fn share(
    recorder: &dyn TrackingRecorder,
    upstream: &str,
    part: usize,
    parts: usize,
) -> Result<Share, PersistenceError> {
    let mut earlier = Vec::new();
    for count in (1..=PARTITIONS_MAX).filter(|count| *count != parts) {
        let name = |part| tracking_name(upstream, part, count);
        let places = (0..count).map(|part| Ok(recorder.max_tracking(&name(part))?.unwrap_or(0)));
        let places = places.collect::<Result<Vec<u64>, PersistenceError>>()?;
        if places.iter().any(|place| *place > 0) {
            earlier.push(places);
        }
    }
    let whole = earlier.iter().filter_map(|places| places.iter().min());
    let begins_after = whole.max().copied().unwrap_or(0);
    if parts == 1 && earlier.is_empty() {
        return Ok(Share::default());
    }
    let takes = move |notification: &Notification| {
        let is_done = |places: &Vec<u64>| {
            notification.position <= places[part_of(notification, places.len())]
        };
        part_of(notification, parts) == part && !earlier.iter().any(is_done)
    };
    Ok(Share {
        takes: Some(Arc::new(takes)),
        begins_after,
    })
}

/// The part that an event belongs to; the first one has those of no aggregate, in order.
fn part_of(notification: &Notification, parts: usize) -> usize {
    let Some(id) = notification.event.aggregate_id() else {
        return 0;
    };
    let hash = match (id.as_uuid(), id.as_text()) {
        (Some(uuid), _) => fnv1a(uuid.as_bytes()),
        (None, text) => fnv1a(text.unwrap_or_default().as_bytes()),
    };
    // The high bits are the better ones; the cast cannot lose any of so small a number.
    (((hash >> 32) * parts as u64) >> 32) as usize
}

/// The same in every release: places recorded rest on it. Source: Fowler, Noll, Vo; the final mix is that of MurmurHash3,
/// without which ids that differ in their last byte only stay near each other.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Most parts that a follower runs in.
pub const PARTITIONS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::AggregateId;
    use crate::persistence::StoredEvent;

    fn event(id: AggregateId) -> Notification {
        Notification {
            position: 1,
            time_us: 1,
            event: StoredEvent::new(Uuid::nil(), "x", "{}").of(id, 1),
        }
    }

    #[test]
    fn parts_of_ids_never_change() {
        let text = |number| AggregateId::text(format!("a{number}")).unwrap();
        let parts: Vec<_> = (0..12)
            .map(|number| part_of(&event(text(number)), 4))
            .collect();
        assert_eq!(parts, GOLDEN_PARTS);
        let uuid = event(Uuid::from_u128(7).into());
        assert_eq!(part_of(&uuid, 16), GOLDEN_UUID_PART);
    }

    #[test]
    fn aggregates_spread_over_all_parts() {
        for parts in 1..=PARTITIONS_MAX {
            let mut counts = vec![0; parts];
            for number in 0..1_000_u128 {
                counts[part_of(&event(Uuid::from_u128(number).into()), parts)] += 1;
            }
            let fair = 1_000 / parts;
            let is_fair = |count: &usize| (fair / 2..=fair * 2).contains(count);
            assert!(counts.iter().all(is_fair), "{counts:?}");
        }
    }

    const GOLDEN_PARTS: [usize; 12] = [0, 1, 1, 2, 0, 0, 2, 0, 1, 0, 2, 3];
    const GOLDEN_UUID_PART: usize = 1;
}
