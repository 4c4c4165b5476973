//! Dropout masks.

use rand::{Rng, RngExt};

use crate::float::Float;

/// Returns a source of factors for inverted dropout: 0 with probability `p`, else 1 / (1 − p).
pub(crate) fn dropout_factors<T: Float>(rng: &mut dyn Rng, p: f64) -> impl FnMut() -> T {
    let keep = T::from_f64(1.0 / (1.0 - p));
    move || if rng.random::<f64>() < p { T::zero() } else { keep }
}
