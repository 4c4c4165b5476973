//! [`Loss`]: the distance of predictions from their targets; [`RowLoss`]: of each row or step;
//! [`Batch`]: rows or sequences; [`Logits`]: those that have classes as targets.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis};

use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::sequences::Sequences;

/// A mean loss of predictions `P`, with its gradient.
///
/// `P` is the type of the predictions: rows `[batch, features]`, [`Sequences`] `[time, batch, features]`,
/// or a pair. The gradient has the same type.
///
/// A loss of your own implements two functions. To train the models of [`model`](crate::model) with it,
/// implement [`model::Scored`](crate::model::Scored) too.
///
/// ```
/// use ndarray::{Array2, array};
/// use recurrent::Result;
/// use recurrent::loss::{Loss, Sum};
///
/// /// The mean of ln cosh(p − y): squared near zero, absolute far from it, and smooth.
/// struct LogCosh;
///
/// impl Loss<Array2<f64>> for LogCosh {
///     type Target = Array2<f64>;
///
///     fn loss(&self, predicted: &Array2<f64>, target: &Array2<f64>) -> Result<(f64, Array2<f64>)> {
///         let (error, count) = (predicted - target, predicted.len() as f64);
///         Ok((error.mapv(|e| e.cosh().ln()).sum() / count, error.mapv(f64::tanh) / count))
///     }
///
///     fn count(&self, predicted: &Array2<f64>, _: &Array2<f64>) -> Result<f64> {
///         Ok(predicted.len() as f64)
///     }
/// }
///
/// let (loss, d_predicted) = LogCosh.loss(&array![[1.0, 2.0]], &array![[1.0, 4.0]])?;
/// assert!((loss - 2_f64.cosh().ln() / 2.0).abs() < 1e-15 && d_predicted[[0, 0]] == 0.0);
/// let (sum, _) = Sum(LogCosh).loss(&array![[1.0, 2.0]], &array![[1.0, 4.0]])?;
/// assert_eq!(sum, 2.0 * loss);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a loss of predictions of type `{P}`",
    label = "`Loss<{P}>` is not implemented for `{Self}`",
    note = "the losses of this crate take `Array2<T>` [batch, features] and `Sequences<T>`; `Weighted` takes pairs"
)]
pub trait Loss<P> {
    /// The type of the targets.
    type Target;

    /// Returns the mean loss, and its gradient with respect to `predicted`. Both are zero if nothing
    /// counts: there is no row or step, or all of them are ignored or have weight zero.
    ///
    /// # Errors
    /// If `target` does not fit `predicted`, or the loss is not finite. The losses of this crate then return
    /// [`Error::NonFinite`](crate::Error::NonFinite) with the index in `predicted` of the first value, or row,
    /// whose loss is not finite.
    fn loss(&self, predicted: &P, target: &Self::Target) -> Result<(f64, P)>;

    /// Returns the sum of the weights that the mean is divided by: the number of its terms, unless they
    /// have weights. It is zero if nothing counts.
    ///
    /// The mean over several batches is Σ count·loss / Σ count, and so is its gradient. It does not depend
    /// on the division into batches. [`Sum`](crate::loss::Sum) multiplies the mean by the count.
    ///
    /// # Errors
    /// If `target` does not fit `predicted`.
    fn count(&self, predicted: &P, target: &Self::Target) -> Result<f64>;

    /// Returns whether the loss is a mean, so that the loss of a batch is the mean of those of its parts by
    /// their [`count`](Self::count). The default is true; it is false of a [`Sum`](crate::loss::Sum).
    fn is_mean(&self) -> bool {
        true
    }
}

/// A loss that is a mean over rows or steps. It returns the loss of each of them too, and their mean with
/// weights.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, Mse, RowLoss};
///
/// let (predicted, target) = (array![[1.0], [5.0]], array![[0.0], [2.0]]); // [rows, features]
/// assert_eq!(Mse.losses(&predicted, &target)?, array![1.0, 9.0]);
/// assert_eq!(Mse.loss(&predicted, &target)?.0, 5.0);
/// let weights = array![[3.0, 1.0]]; // [time, batch]; rows have time 1
/// assert_eq!(Mse.weighted(&predicted, &target, Some(weights.view()))?.0, 3.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait RowLoss<P: Batch>: Loss<P> {
    /// Returns the loss of each row, `[rows]`, or of each step, `[time, batch]`, zero in the padding. This is
    /// PyTorch's reduction "none", with the mean over the features of a row.
    ///
    /// # Errors
    /// If `target` does not fit `predicted`, or a loss is not finite.
    fn losses(&self, predicted: &P, target: &Self::Target) -> Result<P::Losses>;

    /// Returns the mean with a weight for each row or step, [time, batch], and its gradient: with the
    /// terms l of row r, Σ_r w_r·Σ l / Σ_r w_r·count_r. `None` is a weight of 1 for each. A row of weight
    /// zero is not read, and may contain NaN.
    ///
    /// # Errors
    /// As [`loss`](Loss::loss); also unless each weight is finite and at least 0.
    fn weighted(
        &self,
        predicted: &P,
        target: &Self::Target,
        weights: Option<ArrayView2<'_, f64>>,
    ) -> Result<(f64, P)>;

    /// Returns the [`count`](Loss::count) of that mean, Σ_r w_r·count_r.
    ///
    /// # Errors
    /// If an argument does not fit.
    fn weighted_count(
        &self,
        predicted: &P,
        target: &Self::Target,
        weights: Option<ArrayView2<'_, f64>>,
    ) -> Result<f64>;
}

/// A batch of predictions or targets: rows [batch, features] or sequences [time, batch, features]. A
/// loss that is generic over `Batch` takes both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither rows nor sequences",
    note = "losses take `Array2<T>` [batch, features] and `Sequences<T>` by reference; `Weighted` takes pairs"
)]
pub trait Batch: Arrays {
    /// The losses of all rows, `[rows]`, or of all steps, `[time, batch]`.
    type Losses;

    /// The names of the axes of [`shape`](Self::shape), for errors.
    const AXES: &'static str;

    /// Returns the values [time, batch, features]. Rows have time 1.
    fn values(&self) -> ArrayView3<'_, Self::Elem>;

    /// Returns the length of each sequence, or `None` for rows.
    fn lengths(&self) -> Option<&[usize]>;

    /// Returns the sizes of the axes.
    fn shape(&self) -> &[usize];

    /// Returns `values` [time, batch, features], a gradient, as a value of this type. The number of
    /// features may differ from that of `self`.
    ///
    /// # Errors
    /// If time or batch differs.
    fn with_gradient(&self, values: Array3<Self::Elem>) -> Result<Self>;

    /// Returns the `losses` [time, batch] of all steps, without the axis of time for rows.
    fn losses(losses: Array2<f64>) -> Self::Losses;

    /// Returns the number of rows, or of steps without the padding.
    fn steps(&self) -> usize {
        let (time, batch, _) = self.values().dim();
        self.lengths().map_or(time * batch, |lengths| lengths.iter().sum())
    }

    /// Returns whether sequence `b` has step `t`; false in the padding, and of a sequence that the batch does
    /// not have.
    fn has_step(&self, t: usize, b: usize) -> bool {
        self.lengths().is_none_or(|lengths| lengths.get(b).is_some_and(|&length| t < length))
    }
}

impl<T: Float> Batch for Array2<T> {
    type Losses = Array1<f64>;

    const AXES: &'static str = "rows, features";

    fn values(&self) -> ArrayView3<'_, T> {
        self.view().insert_axis(Axis(0))
    }

    fn lengths(&self) -> Option<&[usize]> {
        None
    }

    fn shape(&self) -> &[usize] {
        (**self).shape()
    }

    fn with_gradient(&self, values: Array3<T>) -> Result<Self> {
        crate::error::check_shape(
            "values",
            "1, rows, features",
            &[1, self.nrows(), values.dim().2],
            values.shape(),
        )?;
        Ok(values.index_axis_move(Axis(0), 0))
    }

    fn losses(losses: Array2<f64>) -> Array1<f64> {
        losses.into_iter().collect()
    }
}

impl<T: Float> Batch for Sequences<T> {
    type Losses = Array2<f64>;

    const AXES: &'static str = "time, batch, features";

    fn values(&self) -> ArrayView3<'_, T> {
        self.values().view()
    }

    fn lengths(&self) -> Option<&[usize]> {
        Some(self.lengths())
    }

    fn shape(&self) -> &[usize] {
        self.values().shape()
    }

    fn with_gradient(&self, values: Array3<T>) -> Result<Self> {
        self.with_values(values)
    }

    fn losses(losses: Array2<f64>) -> Array2<f64> {
        losses
    }
}

/// Logits of rows or of steps, each with a class.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be logits",
    note = "classes are predicted by logits `Array2<T>` [batch, classes] or `Sequences<T>`"
)]
pub trait Logits: Batch {
    /// The classes of all rows or steps.
    type Classes;

    /// Returns the sizes of the axes of `classes`.
    fn shape_of(classes: &Self::Classes) -> Vec<usize>;

    /// Returns the class of step `t` of sequence `b`. Rows are one step.
    fn class(classes: &Self::Classes, t: usize, b: usize) -> usize;
}

/// The class of each row of logits [rows, classes].
impl<T: Float> Logits for Array2<T> {
    type Classes = Vec<usize>;

    fn shape_of(classes: &Vec<usize>) -> Vec<usize> {
        vec![classes.len()]
    }

    fn class(classes: &Vec<usize>, _: usize, b: usize) -> usize {
        classes[b]
    }
}

/// The class [time, batch] of each step of logits [time, batch, classes]. Classes in the padding are not
/// read.
impl<T: Float> Logits for Sequences<T> {
    type Classes = Array2<usize>;

    fn shape_of(classes: &Array2<usize>) -> Vec<usize> {
        classes.shape().to_vec()
    }

    fn class(classes: &Array2<usize>, t: usize, b: usize) -> usize {
        classes[[t, b]]
    }
}
