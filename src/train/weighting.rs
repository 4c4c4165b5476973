//! Means over batches, each batch with the weight of what it counts. A mean over a data set does then not
//! depend on how it is divided into batches.
//!
//! ```text
//! L = Σ_k w_k·L_k / Σ_k w_k        ∂L/∂θ = Σ_k w_k·∂L_k/∂θ / Σ_k w_k
//! ```
//!
//! L_k is the mean loss of batch k, and w_k the sum of weights that this mean was divided by.

use crate::arrays::{Arrays, Views, ViewsMut, scale_all, views, views_mut};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};

/// The mean loss over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct MeanOfBatches {
    /// Σ w·L.
    pub(super) sum: f64,
    /// Σ w.
    pub(super) weight: f64,
}

impl MeanOfBatches {
    /// Adds a batch, or other batches, with their mean `loss` and the sum of their weights.
    ///
    /// # Errors
    /// If the loss is not finite, or the weight is negative or not finite.
    pub(super) fn add(&mut self, loss: f64, weight: f64) -> Result<()> {
        if !loss.is_finite() {
            return Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value: loss });
        }
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::argument("weight", "a finite number of at least 0", weight));
        }
        self.sum += weight * loss;
        self.weight += weight;
        Ok(())
    }

    /// Returns the mean loss; NaN if nothing counts.
    pub(super) fn get(self) -> f64 {
        self.sum / self.weight
    }
}

/// The mean gradient over the batches of an optimiser step.
pub(super) struct MeanGradient<M> {
    mean: M,
    /// The gradient of one batch, if a step has several.
    batch: Option<M>,
    /// The weight of the first batch that counts, relative to which the others are added.
    first: Option<f64>,
}

impl<T: Float, M: Arrays<Elem = T>> MeanGradient<M> {
    /// Takes zeros for steps of up to `batches` batches.
    pub(super) fn new(zeros: M, batches: usize) -> Self {
        Self { batch: (batches > 1).then(|| zeros.clone()), mean: zeros, first: None }
    }

    /// Begins a step.
    pub(super) fn begin(&mut self) {
        self.first = None;
        self.mean.fill(T::zero());
    }

    /// Returns zeros, to which the gradient of the next batch is added.
    pub(super) fn next_batch(&mut self) -> &mut M {
        let Some(batch) = &mut self.batch else { return &mut self.mean };
        batch.fill(T::zero());
        batch
    }

    /// Weighs the gradient of the batch that was begun last. A batch of weight 0 adds nothing.
    pub(super) fn add(&mut self, weight: f64) {
        if weight > 0.0
            && let Some(batch) = &self.batch
        {
            let first = *self.first.get_or_insert(weight);
            add_scaled(views_mut(&mut self.mean), views(batch), T::from_f64(weight / first));
        }
    }

    /// Divides the sum of the gradients by `weight`, the sum of the weights, and returns the mean.
    pub(super) fn finish(&mut self, weight: f64) -> &mut M {
        if let Some(first) = self.first
            && first != weight
        {
            scale_all(views_mut(&mut self.mean), T::from_f64(first / weight));
        }
        &mut self.mean
    }
}

per_float! {
    /// Adds `factor` times each value of `from` to `to`.
    fn add_scaled<'a, T>(to: ViewsMut<'a, T>, from: Views<'a, T>, factor: T) = add_each_scaled;
}

fn add_each_scaled<T: Float>(to: ViewsMut<'_, T>, from: Views<'_, T>, factor: T) {
    for ((_, mut to), (_, from)) in to.into_iter().zip(from) {
        to.zip_mut_with(&from, |to, &from| *to += factor * from);
    }
}
