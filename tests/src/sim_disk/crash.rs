//! Which part of what no sync has covered a power cut spares: rules that give each operation its fate.

use super::image::Image;
use super::pending::{Fate, PendingOp, Snapshot, Tear};
use crate::SeededRandom;

/// What a power cut spares.
#[derive(Clone, Copy, Debug)]
pub enum Spared<'a> {
    /// Nothing.
    Nothing,
    /// Everything: as if nothing but the process had ended, and the system had then written all.
    Everything,
    /// The operations whose bit is set, whole: the first one is bit 0. Those beyond the 64th are lost.
    Subset(u64),
    /// Everything issued before the operation of this number, and of that a part.
    TornAt(usize, Tear, u64),
    /// Nothing but a part of the operation of this number and everything behind it: out of order.
    TornFrom(usize, Tear, u64),
    /// Each by the toss of a coin, whole or torn in any way.
    Some(&'a SeededRandom),
}

impl Spared<'_> {
    fn fate(self, place: usize, op: &PendingOp) -> Fate {
        let if_kept = |is_kept| match is_kept {
            true => Fate::Kept,
            false => Fate::Lost,
        };
        match self {
            Self::Nothing => Fate::Lost,
            Self::Everything => Fate::Kept,
            Self::Subset(bits) => if_kept(place < 64 && bits >> place & 1 == 1),
            Self::TornAt(torn, tear, seed) if torn == place => Fate::Torn(tear, seed),
            Self::TornFrom(torn, tear, seed) if torn == place => Fate::Torn(tear, seed),
            Self::TornAt(torn, ..) => if_kept(place < torn),
            Self::TornFrom(torn, ..) => if_kept(place > torn),
            Self::Some(random) => match random.next_u64() % 8 {
                0..3 => Fate::Lost,
                3..6 => Fate::Kept,
                _ if matches!(op, PendingOp::Write(..) | PendingOp::Rename(..)) => {
                    let tear = random.next_u64() as usize % Tear::ALL.len();
                    Fate::Torn(Tear::ALL[tear], random.next_u64())
                }
                _ => Fate::Kept,
            },
        }
    }
}

impl Snapshot {
    /// What a power cut at this instant leaves.
    pub fn power_cut(&self, spared: Spared<'_>) -> Image {
        self.left(|place, op| spared.fate(place, op))
    }
}
