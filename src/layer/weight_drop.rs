//! Weight drop: dropout of weights, with one mask for a whole training step.
//!
//! ```text
//! W' = m ∘ W      m = 0 with probability p, else 1 / (1 − p)      dW = m ∘ dW'
//! ```
//!
//! Applied to W_hh, it drops the same recurrent connections at every step of the sequences. Source: Wan
//! et al., *Regularization of Neural Networks using DropConnect*, 2013; on W_hh: Merity, Keskar and
//! Socher, *Regularizing and Optimizing LSTM Language Models*, 2018.

use std::iter::repeat_with;

use rand::Rng;

use crate::arrays::{Arrays, matches};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::dropout::check_probability;
use crate::tensor::random::dropout_factors;

/// Dropout of the weights whose names match a pattern; see the [module](self).
///
/// ```
/// use ndarray::Array3;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::WeightDrop;
/// use recurrent::loss::{Loss, Mse};
/// use recurrent::{Arrays, Lstm, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let lstm = Lstm::<f32>::builder(3, 8).num_layers(2).build(&mut rng)?;
/// let x = Sequences::full(Array3::ones((10, 4, 3)))?;
/// let target = x.with_values(Array3::zeros((10, 4, 8)))?;
///
/// let mut grad = lstm.zeros_like();
/// let loss = WeightDrop::new(0.5, "weight_hh*")?.loss_and_grad(&lstm, &mut grad, &mut rng, |lstm, grad, rng| {
///     let (output, _, tape) = lstm.forward_train(&x, None, rng)?;
///     let (loss, d_output) = Mse.loss(&output, &target)?;
///     lstm.backward(tape, &d_output, None, grad)?;
///     Ok(loss)
/// })?;
/// # assert!(loss > 0.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDrop {
    p: f64,
    pattern: String,
}

impl WeightDrop {
    /// Creates weight drop with probability `p` for the arrays whose names match `pattern`. In a pattern
    /// `*` matches any text.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64, pattern: impl Into<String>) -> Result<Self> {
        check_probability(p)?;
        Ok(Self { p, pattern: pattern.into() })
    }

    /// Calls `f` with a copy of `model` with dropped weights and a gradient of zeros, to which `f` adds.
    /// Adds that gradient, times the mask, to `grad`, and returns the result of `f`.
    ///
    /// # Errors
    /// If the pattern matches no array, `grad` has other names or shapes than `model`, or `f` fails.
    /// `grad` is unchanged then.
    pub fn loss_and_grad<T: Float, A: Arrays<Elem = T>, R>(
        &self,
        model: &A,
        grad: &mut A,
        rng: &mut dyn Rng,
        f: impl FnOnce(&A, &mut A, &mut dyn Rng) -> Result<R>,
    ) -> Result<R> {
        if !model.names().iter().any(|name| matches(&self.pattern, name)) {
            let expected = format!("a pattern that matches one of {:?}", model.names());
            return Err(Error::argument("pattern", expected, &self.pattern));
        }
        let (mut dropped, mut masks) = (model.clone(), Vec::new());
        dropped.for_each_mut(&mut |name, mut array| {
            if matches(&self.pattern, name) {
                let mask: Vec<T> =
                    repeat_with(dropout_factors(rng, self.p)).take(array.len()).collect();
                array.iter_mut().zip(&mask).for_each(|(weight, &m)| *weight *= m);
                masks.push(mask);
            }
        });
        let mut own = model.zeros_like();
        let result = f(&dropped, &mut own, rng)?;
        let mut masks = masks.into_iter();
        own.for_each_mut(&mut |name, mut array| {
            // A gradient that `f` has replaced by one of other arrays is refused below.
            if matches(&self.pattern, name)
                && let Some(mask) = masks.next()
            {
                array.iter_mut().zip(mask).for_each(|(d, m)| *d *= m);
            }
        });
        grad.add_arrays("grad", &own)?;
        Ok(result)
    }
}
