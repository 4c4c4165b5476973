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
use crate::train::ranks::Ranks;

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
pub(super) struct MeanGradient<M: Arrays> {
    mean: M,
    /// The gradient of one batch, if a step has several.
    batch: Option<M>,
    /// The weight of the first batch that counts, relative to which the others are added.
    first: Option<f64>,
    /// All values in one array, for the sum over several ranks.
    flat: Vec<M::Elem>,
}

impl<T: Float, M: Arrays<Elem = T>> MeanGradient<M> {
    /// Takes zeros for steps of up to `batches` batches.
    pub(super) fn new(zeros: M, batches: usize) -> Self {
        let batch = (batches > 1).then(|| zeros.clone());
        Self { batch, mean: zeros, first: None, flat: Vec::new() }
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

    /// Adds the gradient that was begun last at each rank, with the weight of each, in the order of the ranks.
    /// A weight of 0 adds nothing.
    pub(super) fn add(&mut self, weights: &[f64], ranks: Ranks<'_>) -> Result<()> {
        let Some(&weight) = weights.iter().find(|&&weight| weight > 0.0) else { return Ok(()) };
        let first = *self.first.get_or_insert(weight);
        let own = weights.get(ranks.rank()).copied().unwrap_or(0.0);
        let factor = T::from_f64(own / first);
        if ranks.size() == 1 {
            if let Some(batch) = &self.batch {
                add_scaled(views_mut(&mut self.mean), views(batch), factor);
            }
            return Ok(());
        }
        // The sum so far is a part of what rank 0 gives, so that its order is that of the batches.
        let so_far = (ranks.rank() == 0 && self.batch.is_some()).then(|| views(&self.mean));
        let own = self.batch.as_ref().unwrap_or(&self.mean);
        flatten(&mut self.flat, so_far, views(own), factor);
        ranks.sum(&mut self.flat)?;
        spread(&self.flat, views_mut(&mut self.mean));
        Ok(())
    }

    /// Returns the mean after [`finish`](Self::finish).
    pub(super) fn get(&self) -> &M {
        &self.mean
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
    /// Sets `flat` to `factor` times each value of `from`, added to `so_far`, if there is one.
    fn flatten<'a, T>(
        flat: &mut Vec<T>,
        so_far: Option<Views<'a, T>>,
        from: Views<'a, T>,
        factor: T,
    ) = flatten_each;
    /// Sets the arrays to the values of `flat`.
    fn spread<'a, T>(flat: &[T], to: ViewsMut<'a, T>) = spread_each;
}

fn add_each_scaled<T: Float>(to: ViewsMut<'_, T>, from: Views<'_, T>, factor: T) {
    for ((_, mut to), (_, from)) in to.into_iter().zip(from) {
        to.zip_mut_with(&from, |to, &from| *to += factor * from);
    }
}

fn flatten_each<T: Float>(
    flat: &mut Vec<T>,
    so_far: Option<Views<'_, T>>,
    from: Views<'_, T>,
    factor: T,
) {
    let values = |views: &Views<'_, T>, flat: &mut Vec<T>| {
        views.iter().for_each(|(_, array)| flat.extend(array.iter()));
    };
    flat.clear();
    match so_far {
        None => {
            values(&from, flat);
            let scaled =
                |value: &mut T| *value = if factor == T::zero() { factor } else { factor * *value };
            flat.iter_mut().for_each(scaled);
        }
        Some(so_far) => {
            values(&so_far, flat);
            if factor != T::zero() {
                let from = from.iter().flat_map(|(_, array)| array.iter());
                flat.iter_mut().zip(from).for_each(|(to, &from)| *to += factor * from);
            }
        }
    }
}

fn spread_each<T: Float>(flat: &[T], to: ViewsMut<'_, T>) {
    let mut values = flat.iter();
    for (_, mut array) in to {
        array.iter_mut().zip(&mut values).for_each(|(to, &from)| *to = from);
    }
}
