//! Streams of random numbers by seed, use and step; dropout masks.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::float::Float;

/// The generator of one use of randomness at one step: the same arguments give the same numbers,
/// on every machine and in any order of calls.
pub(crate) fn stream(seed: u64, step: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(step);
    generator
}

/// `len` factors for inverted dropout: 0 with probability `p`, else 1 / (1 − p).
pub(crate) fn dropout_mask<T: Float>(rng: &mut dyn Rng, p: f64, len: usize) -> Vec<T> {
    let keep = T::of(1.0 / (1.0 - p));
    (0..len).map(|_| if rng.random::<f64>() < p { T::zero() } else { keep }).collect()
}
