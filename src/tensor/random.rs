//! Dropout masks.

use rand::{Rng, RngExt};

use crate::float::Float;

/// Returns `len` factors for inverted dropout: 0 with probability `p`, else 1 / (1 − p).
pub(crate) fn dropout_mask<T: Float>(rng: &mut dyn Rng, p: f64, len: usize) -> Vec<T> {
    let keep = T::from_f64(1.0 / (1.0 - p));
    (0..len).map(|_| if rng.random::<f64>() < p { T::zero() } else { keep }).collect()
}
