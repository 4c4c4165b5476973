//! Dropout masks.

use ndarray::{Array, Dimension};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::float::Float;

/// Returns a source of factors for inverted dropout: 0 with probability `p`, else 1 / (1 − p).
pub(crate) fn dropout_factors<T: Float>(rng: &mut dyn Rng, p: f64) -> impl FnMut() -> T {
    let keep = T::from_f64(1.0 / (1.0 - p));
    move || if rng.random::<f64>() < p { T::zero() } else { keep }
}

/// Returns factors of dropout with probability `p`: those from `first` on of a stream of factors that is given
/// by a seed and a number.
pub(crate) fn dropout_mask<T: Float, D: Dimension>(
    p: f64,
    (seed, stream): (u64, usize),
    first: usize,
    dim: D,
) -> Array<T, D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    // A random number takes two words.
    rng.set_word_pos(2 * first as u128);
    Array::from_shape_simple_fn(dim, dropout_factors(&mut rng, p))
}
