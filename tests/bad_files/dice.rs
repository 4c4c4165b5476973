//! [`Dice`]: the choices of a mutation, the same for the same seed.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Numbers at which sizes and counts overflow or change their meaning.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    0x7fff,
    0xffff,
    0x1_0000,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x20_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// A source of choices.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// Creates the source for the input `index`.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        Self(rng)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number below `bound`, or 0 if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// Returns true in one of `count` calls.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, values: &[&'a T]) -> &'a T {
        values[self.below(values.len())]
    }

    /// Returns a number at which a reader may fail, a neighbour of `near`, or any number.
    pub(crate) fn number(&mut self, near: u64) -> u64 {
        match self.below(8) {
            0 => near.wrapping_add(1),
            1 => near.wrapping_sub(1),
            2 => near.wrapping_mul(2),
            3 => self.bits() >> self.below(64),
            4 => near ^ 1 << self.below(64),
            _ => NUMBERS[self.below(NUMBERS.len())],
        }
    }

    /// Returns a range within `length`, mostly a short one.
    pub(crate) fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let most = if self.one_in(4) { length } else { 16 };
        start..(start + self.below(most + 1)).min(length)
    }
}
