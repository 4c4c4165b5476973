//! [`Source`]: indexed samples from which batches are made.

use ndarray::ArrayView2;
use rand::Rng;

use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::float::Float;

/// Indexed samples from which batches of type `B` are made.
///
/// [`Dataset`](super::Dataset), [`WindowedSeries`](super::WindowedSeries) and [`Texts`](super::Texts)
/// implement it. Implement it yourself to read samples from elsewhere or to generate them.
///
/// ```
/// use recurrent::Result;
/// use recurrent::data::Source;
///
/// /// The numbers from 0 on.
/// struct Numbers(usize);
/// impl Source<Vec<usize>> for Numbers {
///     fn len(&self) -> usize { self.0 }
///     fn batch(&self, indices: &[usize]) -> Result<Vec<usize>> { Ok(indices.to_vec()) }
/// }
/// assert_eq!(Numbers(9).batch(&[4, 2])?, [4, 2]);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait Source<B> {
    /// Returns the number of samples.
    fn len(&self) -> usize;

    /// Returns whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of steps of sample `index`, by which samples of similar length are put into
    /// one batch. The default, 1, suits samples of equal length.
    fn length(&self, index: usize) -> usize {
        let _ = index;
        1
    }

    /// Returns the names of the features in order. The default, no names, disables their comparison.
    ///
    /// A model that keeps [`columns`](crate::model::ModelBuilder::columns) neither trains on nor
    /// evaluates a source with other names or another order.
    fn columns(&self) -> &[String] {
        &[]
    }

    /// Returns whether this process holds sample `index`. The default is true.
    ///
    /// In [distributed](crate::train::Trainer::distributed) training either every rank holds all samples, or each
    /// sample is held by one rank, which alone makes batches of it, as of [`Sharded`](super::Sharded).
    fn holds(&self, index: usize) -> bool {
        let _ = index;
        true
    }

    /// Returns the batch of the given samples.
    fn batch(&self, indices: &[usize]) -> Result<B>;

    /// Returns the same samples with features that `scaler` has scaled, or `None` if the source cannot
    /// scale them ahead of its batches. Targets stay as they are.
    ///
    /// [`Trainer::fit`](crate::train::Trainer::fit) calls it once for a model with a scaler, and then
    /// trains on the result, which is a copy in memory of a [`Dataset`](super::Dataset) or of a
    /// [`WindowedSeries`](super::WindowedSeries). After `None`, the default, the model scales each batch.
    ///
    /// # Errors
    /// If `scaler` has another number of features.
    fn scaled_once(&self, scaler: &Scaler) -> Result<Option<Box<dyn Source<B> + '_>>> {
        let _ = scaler;
        Ok(None)
    }

    /// Fails at the first value of sample `index` that is NaN or infinite, naming its step and feature.
    ///
    /// Training and evaluation call it to explain a loss that is not finite. The default accepts
    /// everything; the error then names the sample alone.
    fn check_finite(&self, index: usize) -> Result<()> {
        let _ = index;
        Ok(())
    }

    /// Returns the batch of the given samples for a training step.
    ///
    /// The default returns [`batch`](Self::batch). Override it to augment or generate samples, and
    /// draw everything random from `rng`: training that resumes from a checkpoint then draws the same
    /// values again.
    fn draw(&self, indices: &[usize], rng: &mut dyn Rng) -> Result<B> {
        let _ = rng;
        self.batch(indices)
    }
}

impl<B, S: Source<B> + ?Sized> Source<B> for Box<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn length(&self, index: usize) -> usize {
        (**self).length(index)
    }

    fn columns(&self) -> &[String] {
        (**self).columns()
    }

    fn holds(&self, index: usize) -> bool {
        (**self).holds(index)
    }

    fn batch(&self, indices: &[usize]) -> Result<B> {
        (**self).batch(indices)
    }

    fn scaled_once(&self, scaler: &Scaler) -> Result<Option<Box<dyn Source<B> + '_>>> {
        (**self).scaled_once(scaler)
    }

    fn check_finite(&self, index: usize) -> Result<()> {
        (**self).check_finite(index)
    }

    fn draw(&self, indices: &[usize], rng: &mut dyn Rng) -> Result<B> {
        (**self).draw(indices, rng)
    }
}

/// Fails at the first of `values` [time, features] that is not finite. The error begins with `of` and names
/// the step and the feature, with its name if it has one.
pub(super) fn check_steps<T: Float>(
    of: &str,
    values: ArrayView2<'_, T>,
    columns: &[String],
) -> Result<()> {
    match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some(((t, j), value)) => {
            let name = columns.get(j).map_or(String::new(), |name| format!(" ({name})"));
            let place = format!("{of}step {t}, feature {j}{name}");
            Err(Error::argument(place, "a finite value", value))
        }
    }
}
