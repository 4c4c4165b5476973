//! The quantile, or pinball, loss: what is least where p is the quantile of level q of y.
//!
//! ```text
//! e = y − p        L = mean max(q·e, (q − 1)·e)        ∂L/∂p = −q where e > 0, 1 − q where e < 0
//! ```
//!
//! Source: Koenker and Bassett, *Regression Quantiles*, 1978.

use ndarray::{Array2, Array3, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::{as_sequences, elementwise};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The mean pinball loss over one or more levels; see the [module](self).
///
/// Of k levels, the prediction of level j of target i is feature i·k + j.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::Quantile;
///
/// let loss = Quantile::new(vec![0.1, 0.5, 0.9])?;
/// let (predicted, target) = (array![[0.0, 2.0, 4.0]], array![[3.0]]); // [rows, features]
/// let (value, d_predicted) = loss.rows(predicted.view(), target.view())?;
/// assert!((value - (0.3 + 0.5 + 0.1) / 3.0_f64).abs() < 1e-12);
/// assert!((d_predicted[[0, 2]] - 0.1 / 3.0_f64).abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Quantile {
    levels: Vec<f64>,
}

impl TryFrom<Vec<f64>> for Quantile {
    type Error = Error;

    fn try_from(levels: Vec<f64>) -> Result<Self> {
        Self::new(levels)
    }
}

impl From<Quantile> for Vec<f64> {
    fn from(quantile: Quantile) -> Self {
        quantile.levels
    }
}

impl Quantile {
    /// The loss of the given levels q.
    ///
    /// # Errors
    /// Unless there is one, and each lies between 0 and 1.
    pub fn new(levels: Vec<f64>) -> Result<Self> {
        if !levels.is_empty() && levels.iter().all(|&q| 0.0 < q && q < 1.0) {
            return Ok(Self { levels });
        }
        Err(Error::argument("levels", "levels between 0 and 1", format!("{levels:?}")))
    }

    /// The levels.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }

    /// The loss and ∂L/∂predicted, of `predicted` [rows, targets · levels] and `target`
    /// [rows, targets].
    ///
    /// # Errors
    /// Where the shapes do not fit, there is nothing, or the loss is not finite.
    pub fn rows<T: Float>(
        &self,
        predicted: ArrayView2<'_, T>,
        target: ArrayView2<'_, T>,
    ) -> Result<(T, Array2<T>)> {
        let expected = [target.nrows(), target.ncols() * self.levels.len()];
        check_shape("predicted", "rows, targets · levels", &expected, predicted.shape())?;
        let (loss, gradient) = self.sequences(&as_sequences(predicted)?, &as_sequences(target)?)?;
        Ok((loss, gradient.index_axis_move(Axis(0), 0)))
    }

    /// The loss and ∂L/∂predicted, of `predicted` [time, batch, targets · levels] and `target`
    /// [time, batch, targets], with the same lengths.
    ///
    /// # Errors
    /// Where shapes or lengths do not fit, there is no step, or the loss is not finite.
    pub fn sequences<T: Float>(
        &self,
        predicted: &Sequences<T>,
        target: &Sequences<T>,
    ) -> Result<(T, Array3<T>)> {
        let (time, batch, targets) = target.values().dim();
        let levels = self.levels.len();
        let expected = [time, batch, targets * levels];
        let axes = "time, batch, targets · levels";
        check_shape("predicted", axes, &expected, predicted.values().shape())?;
        let wide = Array3::from_shape_fn((time, batch, targets * levels), |(t, b, j)| {
            target.values()[[t, b, j / levels]]
        });
        elementwise(predicted, &target.with_values(wide)?, |j, p, y| {
            let (error, q) = (y - p, self.levels[j % levels]);
            match error {
                e if e > 0.0 => (q * e, -q),
                e if e < 0.0 => ((q - 1.0) * e, 1.0 - q),
                e => (e.abs(), 0.0),
            }
        })
    }
}
