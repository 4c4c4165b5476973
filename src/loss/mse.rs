//! The squared error.
//!
//! ```text
//! L = mean (p − y)²        ∂L/∂p = 2 (p − y) / count
//! ```

use ndarray::{Array2, Array3, ArrayView2, Axis};

use super::{as_sequences, elementwise};
use crate::error::{Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The mean squared error; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::Mse;
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 4.0]]); // [rows, features]
/// let (loss, d_predicted) = Mse.rows(predicted.view(), target.view())?;
/// assert_eq!((loss, d_predicted), (2.5, array![[1.0, -2.0]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mse;

impl Mse {
    /// The loss and ∂L/∂predicted, of `predicted` and `target`, both [rows, features].
    pub fn rows<T: Float>(
        &self,
        predicted: ArrayView2<'_, T>,
        target: ArrayView2<'_, T>,
    ) -> Result<(T, Array2<T>)> {
        check_shape("target", "rows, features", predicted.shape(), target.shape())?;
        let (loss, gradient) =
            elementwise(&as_sequences(predicted)?, &as_sequences(target)?, squared)?;
        Ok((loss, gradient.index_axis_move(Axis(0), 0)))
    }

    /// The loss and ∂L/∂predicted, of `predicted` and `target`, both [time, batch, features], with
    /// the same lengths.
    pub fn sequences<T: Float>(
        &self,
        predicted: &Sequences<T>,
        target: &Sequences<T>,
    ) -> Result<(T, Array3<T>)> {
        elementwise(predicted, target, squared)
    }
}

fn squared(p: f64, y: f64) -> (f64, f64) {
    ((p - y) * (p - y), 2.0 * (p - y))
}
