//! [`Loss`]: the distance of predictions from their targets; [`Batch`]: rows or sequences.

use ndarray::{Array2, Array3, ArrayView3, Axis};

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
    /// If `target` does not fit `predicted`, or the loss is not finite.
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
}

/// A batch of predictions or targets: rows [batch, features] or sequences [time, batch, features]. A
/// loss that is generic over `Batch` takes both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither rows nor sequences",
    note = "losses take `Array2<T>` [batch, features] and `Sequences<T>` by reference; `Weighted` takes pairs"
)]
pub trait Batch: Arrays {
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

    /// Returns the number of rows, or of steps without the padding.
    fn steps(&self) -> usize {
        let (time, batch, _) = self.values().dim();
        self.lengths().map_or(time * batch, |lengths| lengths.iter().sum())
    }

    /// Returns whether sequence `b` has step `t`; false in the padding.
    fn has_step(&self, t: usize, b: usize) -> bool {
        self.lengths().is_none_or(|lengths| t < lengths[b])
    }
}

impl<T: Float> Batch for Array2<T> {
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
}

impl<T: Float> Batch for Sequences<T> {
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
}
