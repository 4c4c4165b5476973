//! Recurrent dropout: in training, W_hh does not see some units of h'.
//!
//! ```text
//! W' = W_hh diag(m), so W' h' = W_hh (m ∘ h')        m = 0 with probability p, else 1 / (1 − p)
//! dW_hh = dW' diag(m)
//! ```
//!
//! m is drawn for each call, layer and direction, and holds at every step of all sequences of the batch:
//! as a factor of columns no cell needs to know of it. Other uses of h', such as z ∘ h' in a GRU, see all
//! units. Source: Gal and Ghahramani, *A Theoretically Grounded Application of Dropout in Recurrent
//! Neural Networks*, 2016; there each sequence has an m of its own.

use std::borrow::Cow;
use std::iter::repeat_with;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::tensor::random::dropout_factors;

/// The prefix of the names of recurrent weights.
const WEIGHT_HH: &str = "weight_hh";

impl<T: Float, C: Cell<Elem = T>> Recurrent<C> {
    /// Returns this network as training with the given seed sees it. Without a seed it is unchanged.
    pub(crate) fn dropped(&self, seed: Option<u64>) -> Cow<'_, Self> {
        let Some(seed) = seed else { return Cow::Borrowed(self) };
        let mut dropped = self.clone();
        dropped.drop_columns(seed);
        Cow::Owned(dropped)
    }

    /// Multiplies each W_hh, or its gradient, by diag(m).
    pub(crate) fn drop_columns(&mut self, seed: u64) {
        let (p, mut rng) = (self.recurrent_dropout, ChaCha8Rng::seed_from_u64(seed));
        self.for_each_mut(&mut |name, mut array| {
            if name.starts_with(WEIGHT_HH) {
                let units = array.shape().last().copied().unwrap_or(0);
                let mask: Vec<T> = repeat_with(dropout_factors(&mut rng, p)).take(units).collect();
                for mut row in array.rows_mut() {
                    row.iter_mut().zip(&mask).for_each(|(weight, &m)| *weight *= m);
                }
            }
        });
    }

    /// Returns whether there are weights to drop columns of.
    pub(crate) fn has_columns(&self) -> bool {
        self.names().iter().any(|name| name.starts_with(WEIGHT_HH))
    }
}
