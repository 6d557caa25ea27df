//! The fuzzer's bytes as a source of choices.
//!
//! Past the end every choice is zero, so that any input is a whole one and cutting it makes it simpler.
//! Small numbers are likely and great ones possible: a fuzzer changes bytes, not distributions.

/// Bytes that are read front to back.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whatever has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: u8) -> u8 {
        self.u8() % bound
    }

    /// Yes, once in a while: in one byte value out of `rarity`, never for a zero.
    pub(super) fn rarely(&mut self, rarity: u8) -> bool {
        self.u8() % rarity == rarity - 1
    }

    /// One of a few, the first when the input is at its end.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    /// A number that is small, at an edge of its type, or anything.
    pub(super) fn number(&mut self) -> u64 {
        match self.u8() {
            small @ 0..200 => u64::from(small),
            200..220 => u64::from(self.u16()),
            220..240 => u64::MAX - u64::from(self.u8()),
            240..250 => u64::from(u32::MAX) - 2 + u64::from(self.below(5)),
            _ => self.u64(),
        }
    }

    /// Up to `len_max` of the following bytes.
    pub(super) fn bytes(&mut self, len_max: usize) -> &'a [u8] {
        let len = (self.u8() as usize).min(len_max).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let len = N.min(self.rest.len());
        array[..len].copy_from_slice(&self.rest[..len]);
        self.rest = &self.rest[len..];
        array
    }
}
