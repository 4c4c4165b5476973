//! Dropout: zeros at random while training, nothing otherwise.
//!
//! ```text
//! y = m ∘ x      m = 0 with probability p, else 1 / (1 − p)      d_x = m ∘ d_y
//! ```
//!
//! Source: Srivastava et al., *Dropout*, 2014, in the inverted form, so that prediction needs no
//! factor.

use ndarray::{Array, Dimension};
use rand::Rng;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::random::dropout_mask;

/// Zeros at random; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Dropout with probability `p`.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64) -> Result<Self> {
        if (0.0..1.0).contains(&p) {
            return Ok(Self { p });
        }
        Err(Error::argument("p", "0 ≤ p < 1", p))
    }

    /// y and the factors m, both of the shape of `x`. d_x is m ∘ d_y.
    pub fn forward_train<T: Float, D: Dimension>(
        &self,
        x: &Array<T, D>,
        rng: &mut dyn Rng,
    ) -> (Array<T, D>, Array<T, D>) {
        let mut factors = dropout_mask(rng, self.p, x.len()).into_iter();
        let mask =
            Array::from_shape_simple_fn(x.raw_dim(), || factors.next().unwrap_or_else(T::one));
        (x * &mask, mask)
    }
}
