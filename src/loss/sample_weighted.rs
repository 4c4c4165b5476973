//! Weights of samples or of steps.
//!
//! With the terms l of row or step r and its weight w_r:
//!
//! ```text
//! L = Σ_r w_r·Σ l / Σ_r w_r·count_r
//! ```
//!
//! This is the mean of scikit-learn's `sample_weight`. Where all weights are zero, loss and gradient are
//! zero.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_shape};
use crate::float::Float;
use crate::loss::{Batch, Loss, RowLoss};
use crate::sequences::Sequences;

/// A loss with a weight for each sample or each step; see the [module](self). The target is a pair: that of
/// the loss, and the weights.
///
/// | `W` | weights |
/// |---|---|
/// | `Array2<T>` [batch, 1], the default | of rows, or of sequences with all their steps |
/// | [`Sequences<T>`](Sequences) [time, batch, 1] | of the steps of sequences |
///
/// A weight is finite and at least 0. A row or step of weight 0 is not read, and may contain NaN.
/// [`Composed`](crate::model::Composed) trains by it on a [`Dataset`](crate::data::Dataset) whose targets are
/// pairs, such as a class and its weight.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{CrossEntropy, Loss, Mse, SampleWeighted};
///
/// let loss = SampleWeighted::new(Mse);
/// let (predicted, target) = (array![[1.0], [5.0]], array![[0.0], [2.0]]); // [rows, features]
/// let (value, d) = loss.loss(&predicted, &(target, array![[3.0], [1.0]]))?;
/// assert_eq!((value, d), ((3.0 * 1.0 + 1.0 * 9.0) / 4.0, array![[1.5], [1.5]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleWeighted<L, W = Array2<f32>> {
    loss: L,
    #[serde(skip)]
    weights: PhantomData<fn() -> W>,
}

impl<L, W> SampleWeighted<L, W> {
    /// Returns `loss` with weights.
    pub fn new(loss: L) -> Self {
        Self { loss, weights: PhantomData }
    }

    /// Returns the loss.
    pub fn inner(&self) -> &L {
        &self.loss
    }
}

/// Weights of the samples or steps of predictions `P`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be weights of predictions of type `{P}`",
    note = "weights are an `Array2<T>` [batch, 1], or `Sequences<T>` [time, batch, 1] for the steps of sequences"
)]
pub trait SampleWeights<P: Batch> {
    /// Returns the weight of each step, [time, batch]. Rows are one step.
    ///
    /// # Errors
    /// If the weights do not fit `predicted`.
    fn by_step(&self, predicted: &P) -> Result<Array2<f64>>;
}

impl<T: Float, P: Batch> SampleWeights<P> for Array2<T> {
    fn by_step(&self, predicted: &P) -> Result<Array2<f64>> {
        let (time, batch, _) = predicted.values().dim();
        check_shape("weights", "batch, 1", &[batch, 1], self.shape())?;
        Ok(Array2::from_shape_fn((time, batch), |(_, b)| self[[b, 0]].as_f64()))
    }
}

impl<T: Float> SampleWeights<Sequences<T>> for Sequences<T> {
    fn by_step(&self, predicted: &Sequences<T>) -> Result<Array2<f64>> {
        let expected = [predicted.time(), predicted.batch(), 1];
        self.check("weights", ("time, batch, 1", expected), predicted.lengths())?;
        let values = self.values();
        Ok(Array2::from_shape_fn((expected[0], expected[1]), |(t, b)| values[[t, b, 0]].as_f64()))
    }
}

impl<P: Batch, L: RowLoss<P>, W: SampleWeights<P>> Loss<P> for SampleWeighted<L, W> {
    type Target = (L::Target, W);

    fn loss(&self, predicted: &P, target: &Self::Target) -> Result<(f64, P)> {
        let weights = target.1.by_step(predicted)?;
        self.loss.weighted(predicted, &target.0, Some(weights.view()))
    }

    fn count(&self, predicted: &P, target: &Self::Target) -> Result<f64> {
        let weights = target.1.by_step(predicted)?;
        self.loss.weighted_count(predicted, &target.0, Some(weights.view()))
    }
}

impl<L: Clone, W> Clone for SampleWeighted<L, W> {
    fn clone(&self) -> Self {
        Self::new(self.loss.clone())
    }
}

impl<L: Debug, W> Debug for SampleWeighted<L, W> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SampleWeighted").field(&self.loss).finish()
    }
}
