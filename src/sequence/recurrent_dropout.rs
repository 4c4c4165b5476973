//! Recurrent dropout: in training, some units of h' are dropped in the product with W_hh.
//!
//! ```text
//! W' = W_hh diag(m), so W' h' = W_hh (m ∘ h')        m = 0 with probability p, else 1 / (1 − p)
//! dW_hh = dW' diag(m)
//! ```
//!
//! m is drawn for each call, layer and direction, and applies to every step of all sequences of the batch.
//! As a factor of the columns of W_hh, it needs no code in the cells. Other uses of h', such as z ∘ h' in a
//! GRU, keep all units. Source: Gal and Ghahramani, *A Theoretically Grounded Application of Dropout in
//! Recurrent Neural Networks*, 2016, where each sequence has its own m.

use std::borrow::Cow;
use std::iter::repeat_with;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::tensor::elementwise::scale_columns;
use crate::tensor::random::dropout_factors;

/// The prefix of the names of recurrent weights.
const WEIGHT_HH: &str = "weight_hh";

impl<T: Float, C: Cell<Elem = T>> Recurrent<C> {
    /// Returns this network with dropped recurrent weights by the given seed, or unchanged without one.
    pub(crate) fn dropped(&self, seed: Option<u64>) -> Cow<'_, Self> {
        let Some(seed) = seed else { return Cow::Borrowed(self) };
        let mut dropped = self.clone();
        dropped.drop_columns(seed);
        Cow::Owned(dropped)
    }

    /// Multiplies each W_hh, or its gradient, by diag(m).
    pub(crate) fn drop_columns(&mut self, seed: u64) {
        let (p, mut rng) = (self.recurrent_dropout, ChaCha8Rng::seed_from_u64(seed));
        self.for_each_mut(&mut |name, array| {
            if name.starts_with(WEIGHT_HH) {
                let units = array.shape().last().copied().unwrap_or(0);
                let mask: Vec<T> = repeat_with(dropout_factors(&mut rng, p)).take(units).collect();
                scale_columns(array, &mask);
            }
        });
    }

    /// Returns whether the network has weights whose columns can be dropped.
    pub(crate) fn has_columns(&self) -> bool {
        self.names().iter().any(|name| name.starts_with(WEIGHT_HH))
    }
}
